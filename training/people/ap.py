"""AP50 as it is meant here: greedy by score, IoU of 0.5, all points of the curve; with an interval by resampling. Pure.

What a set does not label is neither right nor wrong there: such detections are left out before they come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One picture and class: the score of each detection, whether it found something new, and how much was there."""

    scores: Floats
    hits: npt.NDArray[np.bool_]
    there: int


def iou(a: Floats, b: Floats) -> Floats:
    """(n, m) overlaps of boxes x1, y1, x2, y2."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    return both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-9)


def judge(boxes: Floats, scores: Floats, truth: Floats, at: float = 0.5) -> Judged:
    """The best detection first takes the free truth that it overlaps most, if by `at` or more."""
    order = np.argsort(-scores, kind="stable")
    overlaps = iou(boxes[order].reshape(-1, 4), truth.reshape(-1, 4))
    hits = np.zeros(len(order), dtype=bool)
    for number, row in enumerate(overlaps):
        if len(row) and row[best := int(np.argmax(row))] >= at:
            hits[number] = True
            overlaps[:, best] = -1.0
    return Judged(scores[order], hits, len(truth))


def average_precision(judged: Sequence[Judged]) -> float:
    """The area under precision over recall, precision made monotone; nan where nothing was there."""
    there = sum(one.there for one in judged)
    if not there:
        return float("nan")
    scores = np.concatenate([one.scores for one in judged])
    hits = np.concatenate([one.hits for one in judged]).astype(bool)[np.argsort(-scores, kind="stable")]
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(precision[hits]) / there)


def interval(judged: Sequence[Judged], rounds: int = 300, seed: int = 0) -> tuple[float, float]:
    """95 % of the average precisions of pictures drawn anew with replacement."""
    rng = np.random.default_rng(seed)
    drawn = [average_precision([judged[i] for i in rng.integers(0, len(judged), len(judged))]) for _ in range(rounds)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)
