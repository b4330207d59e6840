"""What centres say of themselves is heeded within reason; one that says nothing limits nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.twin import Host
from edge_agent.uplink.hosts import MAX_HOSTS, MOST, PROBE, Hosts


def host(state: Any = "online", sess: str = "s1", **fields: Any) -> Host:
    return Host(state=state, sess=sess, time="2026-11-22T01:18:03Z", **fields)


def test_nobody_known_limits_nothing() -> None:
    assert (Hosts().limit(), Hosts().waiting) == (MOST, False)


@pytest.mark.parametrize(("asked", "given_"), [(10**9, MOST), (0, 1), (-5, 1), (200, 200), (None, MOST)])
def test_absurd_wishes_are_clamped_and_told(asked: int | None, given_: int) -> None:
    hosts = Hosts()
    fault = hosts.heard("c", host(max_in_flight=asked))
    assert hosts.limit() == given_
    assert (fault is None) == (asked in (None, 200))
    assert fault is None or f"wants {asked} " in fault


def test_the_most_modest_centre_that_is_online_counts() -> None:
    hosts = Hosts()
    hosts.heard("a", host(max_in_flight=300))
    hosts.heard("b", host(max_in_flight=50))
    assert hosts.limit() == 50
    hosts.heard("b", host("offline"))
    assert hosts.limit() == 300


def test_while_all_are_offline_one_event_at_a_time_looks_for_a_centre() -> None:
    hosts = Hosts()
    hosts.heard("a", host())
    hosts.heard("a", host("offline"))
    assert (hosts.waiting, hosts.limit()) == (True, PROBE)
    hosts.heard("a", host(sess="s2"))
    assert not hosts.waiting
    hosts.heard("a", host("offline", sess="s2"))
    hosts.gone("a")
    assert (hosts.waiting, hosts.limit()) == (False, MOST)


def test_the_will_of_an_older_life_is_void() -> None:
    hosts = Hosts()
    hosts.heard("a", host(sess="s2"))
    hosts.heard("a", host("offline", sess="s1"))
    assert not hosts.waiting


def test_a_centre_of_another_contract_is_named() -> None:
    assert "contract 2 to 3" in str(Hosts().heard("a", host(contract=(2, 3))))


def test_strangers_that_make_up_centres_cost_no_memory() -> None:
    hosts = Hosts()
    for n in range(10 * MAX_HOSTS):
        hosts.heard(f"c{n}", host())
    assert len(hosts._hosts) == MAX_HOSTS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["online", "offline"]), st.integers() | st.none())))
def test_whatever_is_said_something_may_be_sent(said: list[tuple[str, Any, int | None]]) -> None:
    hosts = Hosts()
    for centre, state, asked in said:
        hosts.heard(centre, host(state, max_in_flight=asked))
        assert 1 <= hosts.limit() <= MOST
