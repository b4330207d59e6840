"""The ring of encoded pictures: within its time and size, always shown from a key picture on."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.ring import Coded, Ring, widened


def coded(t: float, *, key: bool = False, size: int = 10, width: int = 64) -> Coded:
    return Coded(at_s=t, wall_s=1000 + t, data=bytes(size), key=key, width=width, height=48)


def filled(seconds: float = 5, max_bytes: int = 10_000, until: float = 20) -> Ring:
    ring = Ring(seconds, max_bytes)
    for n in range(int(until * 10)):
        ring.add(coded(n / 10, key=n % 10 == 0))
    return ring


def test_it_keeps_its_seconds_and_at_most_a_group_more() -> None:
    ring = filled()
    assert ring.oldest
    assert ring.newest
    assert 5 <= ring.newest.at_s - ring.oldest.at_s <= 6


def test_it_keeps_within_its_bytes() -> None:
    ring = filled(seconds=1000, max_bytes=500)
    assert ring.bytes <= 500
    assert ring.oldest
    assert ring.oldest.key


def test_a_cut_begins_at_the_key_picture_before_and_ends_where_asked() -> None:
    found = filled().cut(16.55, 18.25)
    assert (found[0].at_s, found[0].key, found[-1].at_s) == (16.0, True, 18.2)


def test_a_time_that_is_not_kept_gives_nothing_or_what_is_left() -> None:
    ring = filled()
    assert ring.cut(1.0, 2.0) == []
    assert ring.cut(25.0, 30.0) == []
    assert ring.cut(0.0, 30.0)[-1].at_s == 19.9


def test_a_clock_that_steps_back_or_another_size_begins_anew() -> None:
    ring = filled()
    ring.add(coded(3.0, key=True))
    assert ring.cut(0, 100)[0].at_s == 3.0
    ring.add(coded(4.0, key=True, width=128))
    assert [one.width for one in ring.cut(0, 100)] == [128]
    assert ring.bytes == 10


def test_pictures_that_nothing_can_be_shown_from_are_not_kept() -> None:
    ring = Ring(5, 1000)
    ring.add(coded(1.0))
    assert ring.newest is None


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.integers(1, 300)), max_size=80))
def test_whatever_comes_it_begins_with_a_key_and_counts_its_bytes(pictures: list[tuple[float, bool, int]]) -> None:
    ring = Ring(10, 1000)
    for t, key, size in pictures:
        ring.add(coded(t, key=key, size=size))
    kept = ring.cut(0, 100)
    assert not kept or kept[0].key
    assert ring.bytes == sum(len(one.data) for one in kept)


def test_what_is_private_is_so_in_the_pictures_around_it() -> None:
    boxes = [(), ((1, (0.0, 0.0, 1.0, 1.0)),), (), (), ()]
    pictures = [
        Coded(at_s=n * 0.3, wall_s=0, data=b"", key=True, width=64, height=48, private=box)
        for n, box in enumerate(boxes)
    ]
    assert [len(found) for found in widened(pictures, 0.35)] == [1, 1, 1, 0, 0]


def test_whoever_asks_for_the_newest_while_it_is_cleared_gets_that_or_none() -> None:
    ring = filled()

    class Raced(deque[list[Coded]]):
        def __bool__(self) -> bool:
            there = len(self) > 0
            ring.clear()  # as the camera's thread may, between the question and the answer
            return there

    ring._groups = Raced(ring._groups)
    assert ring.newest == coded(20, key=True) or ring.newest is None
    ring._groups = Raced([[coded(1, key=True)]])
    assert ring.oldest == coded(1, key=True)
