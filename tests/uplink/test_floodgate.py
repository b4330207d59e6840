"""A flood of commands shuts its own gate, and the gate opens again."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.floodgate import BURST, PER_S, SHUT_S, Floodgate


def test_what_a_broker_kept_for_us_comes_through_at_once() -> None:
    gate = Floodgate()
    assert all(gate.let(5.0) for _ in range(BURST))
    assert gate.turn(5.0) is None


def test_a_flood_leaves_the_topics_once_and_rejoins_them_once() -> None:
    gate = Floodgate()
    let = [gate.let(5.0) for _ in range(BURST + 7)]
    assert (sum(let), gate.dropped) == (BURST, 7)
    assert [gate.turn(5.0), gate.turn(6.0), gate.due_s()] == ["leave", None, 5.0 + SHUT_S]
    assert not gate.let(6.0), "what was on its way already is dropped"
    assert [gate.turn(5.0 + SHUT_S), gate.turn(5.0 + SHUT_S), gate.due_s()] == ["rejoin", None, None]
    assert gate.let(5.0 + SHUT_S)


def test_a_new_connection_hears_everything() -> None:
    gate = Floodgate()
    while gate.let(5.0):
        pass
    gate.turn(5.0)
    gate.connected()
    assert gate.turn(6.0) is None
    assert gate.let(6.0)


@given(st.lists(st.floats(0.0, 0.5), max_size=3000))
def test_no_stream_brings_more_than_its_share(steps_s: list[float]) -> None:
    gate, now, let = Floodgate(), 0.0, 0
    for step_s in steps_s:
        now += step_s
        let += gate.let(now)
        gate.turn(now)
    assert let <= BURST + PER_S * now + 1
