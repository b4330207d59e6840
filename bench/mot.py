"""How well a tracker follows: MOTA, IDF1 and HOTA of one sequence, as TrackEval computes them.

CLEAR: Bernardin and Stiefelhagen, 2008; IDF1: Ristani et al., 2016; HOTA: Luiten et al., 2020. A match is an IoU of
0.5, for HOTA of 0.05 to 0.95. tests/vision/test_mot.py has cases computed by hand; on random sequences with gaps and
changes of id all six figures equalled those of trackeval 1.3 to nine digits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import lap
import numpy as np

Boxes = dict[int, tuple[float, float, float, float]]  # by id: x1, y1, x2, y2
ALPHAS = np.arange(0.05, 0.99, 0.05)
EPS = np.finfo(float).eps


class Score(NamedTuple):
    """All are shares of 1 but `switches`; MOTA may be below 0."""

    mota: float
    idf1: float
    hota: float
    deta: float
    assa: float
    switches: int


def score(frames: list[tuple[Boxes, Boxes]]) -> Score:
    """Of (true, told) boxes, frame by frame."""
    true_ids = {id: n for n, id in enumerate(sorted({id for true, _ in frames for id in true}))}
    told_ids = {id: n for n, id in enumerate(sorted({id for _, told in frames for id in told}))}
    steps = [
        (
            np.array([true_ids[id] for id in true], dtype=int),
            np.array([told_ids[id] for id in told], dtype=int),
            iou(list(true.values()), list(told.values())),
        )
        for true, told in frames
    ]
    size = len(true_ids), len(told_ids)
    mota, switches = clear(steps, size[0])
    return Score(mota, identity(steps, size), *higher_order(steps, size), switches)


def iou(a: list[Any], b: list[Any]) -> Any:
    """Every box of one list with every box of the other."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    left, right = np.array(a, float)[:, None], np.array(b, float)[None]
    sides = np.clip(np.minimum(left[..., 2:], right[..., 2:]) - np.maximum(left[..., :2], right[..., :2]), 0, None)
    common = sides.prod(axis=2)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=2) for box in (left, right)]
    return common / np.maximum(areas[0] + areas[1] - common, EPS)


def assign(worth: Any) -> tuple[Any, Any]:
    """Rows and columns of the pairs whose sum is the largest."""
    if not worth.size:
        return np.zeros(0, int), np.zeros(0, int)
    _, columns, _ = lap.lapjv(worth.max() - worth, extend_cost=True)
    rows = np.flatnonzero(columns >= 0)
    return rows, columns[rows]


def clear(steps: list[Any], count: int) -> tuple[float, int]:
    """MOTA, and how often a true object's id changed; a match of the frame before is kept where it still is one."""
    right = wrong = missed = switches = 0
    last, before = np.full(count, -1), np.full(count, -1)
    for true, told, alike in steps:
        kept = told[None] == before[true][:, None]
        worth = np.where(alike >= 0.5 - EPS, 1000.0 * kept + alike, 0.0)
        rows, columns = assign(worth)
        good = worth[rows, columns] > EPS
        rows, columns = rows[good], columns[good]
        whom, by = true[rows], told[columns]
        switches += int(((last[whom] >= 0) & (last[whom] != by)).sum())
        last[whom] = by
        before[:] = -1
        before[whom] = by
        right, wrong, missed = right + len(rows), wrong + len(told) - len(rows), missed + len(true) - len(rows)
    return (right - wrong - switches) / max(right + missed, 1), switches


def identity(steps: list[Any], size: tuple[int, int]) -> float:
    """IDF1: under the one assignment of ids that is best over the whole sequence."""
    together = np.zeros(size)
    trues = told_all = 0
    for true, told, alike in steps:
        rows, columns = np.nonzero(alike >= 0.5)
        together[true[rows], told[columns]] += 1
        trues, told_all = trues + len(true), told_all + len(told)
    rows, columns = assign(together)
    return float(2 * together[rows, columns].sum() / max(trues + told_all, 1))


def higher_order(steps: list[Any], size: tuple[int, int]) -> tuple[float, float, float]:
    """HOTA, DetA and AssA, each the mean over its thresholds."""
    near, true_count, told_count = np.zeros(size), np.zeros((size[0], 1)), np.zeros((1, size[1]))
    for true, told, alike in steps:
        both = alike.sum(axis=0)[None] + alike.sum(axis=1)[:, None] - alike
        near[true[:, None], told[None]] += np.divide(alike, both, out=np.zeros_like(alike), where=both > EPS)
        true_count[true, 0] += 1
        told_count[0, told] += 1
    aligned = near / np.maximum(true_count + told_count - near, EPS)
    matches = np.zeros((len(ALPHAS), *size))
    for true, told, alike in steps:
        rows, columns = assign(aligned[true[:, None], told[None]] * alike)
        for n, alpha in enumerate(ALPHAS):
            good = alike[rows, columns] >= alpha - EPS
            matches[n, true[rows[good]], told[columns[good]]] += 1
    found = matches.sum(axis=(1, 2))
    deta = found / np.maximum(true_count.sum() + told_count.sum() - found, 1)
    whole = matches / np.maximum(true_count + told_count - matches, 1)
    assa = (matches * whole).sum(axis=(1, 2)) / np.maximum(found, 1)
    return float(np.sqrt(deta * assa).mean()), float(deta.mean()), float(assa.mean())
