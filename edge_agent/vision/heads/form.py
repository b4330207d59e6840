"""What every family has in common: the form of its input, and the candidates that it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge_agent.vision import boxes as box_math
from edge_agent.vision.boxes import Floats

MAX_CANDIDATES = 1000  # of a picture, the best: bounds what a picture (or a model) gone wild costs

Tensor = npt.NDArray[Any]
Three = tuple[float, float, float]


class UnknownLayoutError(ValueError):
    """No family that we know has these tensors; the text names them, and the key to set."""


class Input(NamedTuple):
    """What a family is fed: (value - mean) / std of each channel in its order, values 0..255."""

    rgb: bool
    fit: Literal["centred", "top_left", "stretch"]  # letterboxed in the middle, at the top left, or stretched
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    pad: int = 114  # the grey around a letterboxed picture, before mean and std
    nhwc: bool = False


class Candidates(NamedTuple):
    """Boxes (n, 4) in pixels of the net's input, scores (n,), class numbers (n,), corners (n, 4, 2) of plates."""

    boxes: Floats
    scores: Floats
    classes: npt.NDArray[np.intp]
    corners: Floats | None = None

    def take(self, which: Any) -> Candidates:
        """Those that an index, a mask or a list of numbers names."""
        corners = None if self.corners is None else self.corners[which]
        return Candidates(self.boxes[which], self.scores[which], self.classes[which], corners)


class Head(Protocol):
    """One family of output layouts, for one model."""

    family: str
    input: Input
    classes: int  # how many the tensors tell of; 0 where they do not say
    overlapping: bool  # whether its boxes still want suppression

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        """Candidates of at least `score`, before suppression.

        What is no number is dropped at the end: to be called with NumPy's floating-point warnings off.
        """
        ...


UNIT_RGB = Input(rgb=True, fit="centred", std=(255.0, 255.0, 255.0))  # ultralytics and its kin
IMAGENET_RGB = Input(rgb=True, fit="stretch", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
IMAGENET_BGR = Input(rgb=False, fit="stretch", mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))


def centred(centres: Floats, sizes: Floats, scores: Floats, classes: Any, corners: Floats | None = None) -> Candidates:
    """Candidates from centres (n, 2) and sizes (n, 2)."""
    return finite(np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1), scores, classes, corners)


def finite(boxes: Floats, scores: Floats, classes: Any, corners: Floats | None = None) -> Candidates:
    """Candidates without those whose box or score is no number."""
    good = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    return Candidates(boxes, scores, classes, corners).take(good)


def grid(width: int, height: int, strides: Sequence[int]) -> tuple[Floats, Floats]:
    """Cells (N, 2) as x, y and strides (N, 1): the first stride first, row by row; part cells at the edges count."""
    cells, steps = [], []
    for stride in strides:
        ys, xs = np.mgrid[: -(-height // stride), : -(-width // stride)]
        cells.append(np.stack([xs, ys], axis=-1).reshape(-1, 2))
        steps.append(np.full((xs.size, 1), stride))
    return np.concatenate(cells).astype(np.float64), np.concatenate(steps).astype(np.float64)


def strongest(candidates: Candidates) -> Candidates:
    """Best first, and no more than `MAX_CANDIDATES`."""
    return candidates.take(np.argsort(-candidates.scores, kind="stable")[:MAX_CANDIDATES])


def suppress(candidates: Candidates, iou: float) -> Candidates:
    """Greedy non-maximum suppression by class: best first, what overlaps a kept box by more than `iou` goes."""
    best = strongest(candidates)
    with np.errstate(all="ignore"):
        alike = box_math.iou(best.boxes[:, None], best.boxes[None]) > iou
    clash = alike & (best.classes[:, None] == best.classes[None, :])
    alive = np.ones(len(best.scores), dtype=bool)
    for i in range(len(alive)):
        if alive[i]:
            alive[i + 1 :] &= ~clash[i, i + 1 :]
    return best.take(alive)
