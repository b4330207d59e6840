"""AP50 by hand: the figures in the cards rest on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.people.ap import Judged, average_precision, interval, iou, judge

NONE = np.zeros((0, 4))


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def judged(scores: list[float], hits: list[bool], there: int) -> Judged:
    return Judged(np.array(scores), np.array(hits), there)


def test_overlap_is_what_both_share_of_what_either_covers() -> None:
    a = boxes((0, 0, 10, 10))
    assert iou(a, boxes((0, 0, 10, 10), (5, 0, 15, 10), (20, 0, 30, 10)))[0] == pytest.approx([1, 1 / 3, 0])


def test_one_object_is_found_once_by_the_surest_detection() -> None:
    truth = boxes((0, 0, 10, 10))
    found = judge(boxes((0, 0, 10, 10), (0, 1, 10, 10)), np.array([0.5, 0.9]), truth)
    assert (found.scores.tolist(), found.hits.tolist(), found.there) == ([0.9, 0.5], [True, False], 1)


def test_a_detection_takes_the_object_that_it_overlaps_most() -> None:
    truth = boxes((0, 0, 10, 10), (4, 0, 14, 10))
    found = judge(boxes((4, 0, 14, 10), (0, 0, 10, 10)), np.array([0.9, 0.8]), truth)
    assert found.hits.tolist() == [True, True]


def test_less_than_half_is_no_hit() -> None:
    assert not judge(boxes((5, 0, 15, 10)), np.array([0.9]), boxes((0, 0, 10, 10))).hits.any()


def test_the_area_under_the_curve_as_worked_by_hand() -> None:
    """Hit, miss, hit of three: precision 1 at 1/3, 2/3 at 2/3, and 1/3 is never reached: (1 + 2/3) / 3."""
    assert average_precision([judged([0.9, 0.8, 0.7], [True, False, True], 3)]) == pytest.approx((1 + 2 / 3) / 3)


def test_precision_never_rises_again_with_recall() -> None:
    """Miss, hit, hit of two: precision 1/2 then 2/3 becomes 2/3 at both."""
    assert average_precision([judged([0.9, 0.8, 0.7], [False, True, True], 2)]) == pytest.approx(2 / 3)


def test_pictures_are_ranked_together() -> None:
    one, two = judged([0.6], [False], 1), judged([0.9], [True], 1)
    assert average_precision([one, two]) == average_precision([two, one]) == pytest.approx(0.5)


def test_where_nothing_was_there_is_no_figure() -> None:
    assert np.isnan(average_precision([judged([0.9], [False], 0)]))
    assert average_precision([judge(NONE, np.zeros(0), boxes((0, 0, 1, 1)))]) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30), st.integers(1, 40))
def test_it_is_a_share_and_its_interval_holds_it_loosely(found: list[tuple[float, bool]], more: int) -> None:
    hits = [hit for _, hit in found]
    one = judged([score for score, _ in found], hits, sum(hits) + more)
    value = average_precision([one])
    assert 0 <= value <= 1
    assert interval([one], rounds=5) == pytest.approx((value, value))
