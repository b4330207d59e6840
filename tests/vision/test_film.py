"""A stay that outlasts the ring: filmed whole at its entry and its end, sparsely between, every picture decodable."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from edge_agent.vision.film import MOST, Film
from edge_agent.vision.ring import Coded, Ring

RATE = 4  # pictures a second, one key picture in each


def coded(n: int, width: int = 64) -> Coded:
    return Coded(at_s=n / RATE, wall_s=1e9 + n / RATE, data=bytes(10), key=n % RATE == 0, width=width, height=48)


def filmed(entered_s: float, ended_s: float, *, around_s: float = 5.0, ring_s: float = 30.0) -> list[Coded]:
    """What is cut of a stay, in a stream that goes on for a minute after it."""
    ring, film = Ring(ring_s, 1 << 20), Film(entered_s, around_s, around_s)
    until_s = ended_s + around_s
    for n in range(int(until_s * RATE) + 1):
        ring.add(coded(n))
        if n / RATE >= entered_s + 1:  # it is known once the vehicle rests
            film.see(ring)
    return film.cut(ring, ended_s - around_s, until_s)


def decodable(pictures: list[Coded]) -> bool:
    """Whether each picture is a key picture, or stands right behind the one that it was coded after."""
    return all(
        one.key or (n > 0 and pictures[n - 1].at_s == one.at_s - 1 / RATE) for n, one in enumerate(pictures)
    )  # fmt: skip


def test_a_stay_of_an_hour_is_seen_from_before_its_entry_to_after_its_end() -> None:
    found = filmed(60.0, 3660.0)
    assert found[0].at_s <= 55.0
    assert found[-1].at_s == 3665.0
    assert decodable(found)
    times = [one.at_s for one in found]
    for at_s in (60.0, 3660.0):
        whole = [time for time in times if at_s - 5 <= time <= at_s + 5]
        assert len(whole) == 10 * RATE + 1
    between = [time for time in times if 66 < time < 3654]
    assert 40 <= len(between) <= MOST
    assert max(b - a for a, b in itertools.pairwise(between)) <= 64.0


@given(
    entered=st.integers(0, 50),
    lasts=st.integers(1, 500),
    around=st.integers(1, 20),
    ring=st.integers(1, 60),
)
def test_whatever_is_cut_is_in_order_decodable_and_bounded(entered: int, lasts: int, around: int, ring: int) -> None:
    found = filmed(entered, entered + lasts, around_s=around, ring_s=ring)
    times = [one.at_s for one in found]
    assert times == sorted(set(times))
    assert decodable(found)
    assert len(found) <= 2 * (2 * around + 2) * RATE + MOST
    assert found[-1].at_s == entered + lasts + around
    if ring >= 2 * around + 1:
        assert found[0].at_s <= max(0, entered - around)


def test_a_stream_of_another_size_or_one_that_begins_again_spoils_nothing() -> None:
    ring, film = Ring(30, 1 << 20), Film(10.0, 5.0, 5.0)
    for n in range(20 * RATE):
        ring.add(coded(n))
        film.see(ring)
    for n in range(20 * RATE, 40 * RATE):
        ring.add(coded(n, width=128))
        film.see(ring)
    found = film.cut(ring, 29.0, 39.0)
    assert {one.width for one in found} == {64}
    assert (found[0].at_s, found[-1].at_s) == (5.0, 19.0)
    assert decodable(found)
    for n in range(8):
        ring.add(coded(n))
    assert [one.at_s for one in film.cut(ring, 0.0, 1.0)] == [one.at_s for one in found]


def test_who_is_not_found_in_the_one_picture_that_is_kept_is_hidden_in_it_all_the_same() -> None:
    head = (-1, (1.0, 1.0, 5.0, 5.0))
    ring, film = Ring(30.0, 1 << 20), Film(5.0, 1.0, 1.0)
    for n in range(200 * RATE):
        ring.add(structs.replace(coded(n), private=() if n % RATE == 0 else (head,)))
        film.see(ring)
    between = [one for one in film.cut(ring, 199.0, 199.5) if 6.0 < one.at_s < 160.0]
    assert len(between) > 50
    assert all(one.private == (head,) for one in between)
