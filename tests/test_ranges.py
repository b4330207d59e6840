"""A set of numbers kept as runs is the same set."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.ranges import Ranges, ranges

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 12)))


@given(CHANGES)
def test_runs_are_the_set_that_was_added_and_removed(changes: list[tuple[bool, int, int]]) -> None:
    found, plain = Ranges(), set()
    for adds, first, length in changes:
        numbers = set(range(first, first + length + 1))
        (found.add if adds else found.remove)(first, first + length)
        plain = plain | numbers if adds else plain - numbers
    assert {n for first, last in found.runs for n in range(first, last + 1)} == plain
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found.runs))
    assert {n for n in range(80) if n in found} == plain
    assert {n for first, last in found.within(20, 40) for n in range(first, last + 1)} == plain & set(range(20, 41))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(-3, 9))))
def test_runs_in_any_order_are_their_union_and_empty_ones_are_nothing(runs: list[tuple[int, int]]) -> None:
    found = ranges((first, first + length) for first, length in runs)
    plain = {n for first, length in runs for n in range(first, first + length + 1)}
    assert {n for n in range(60) if n in found} == plain
