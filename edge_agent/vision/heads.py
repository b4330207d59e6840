"""Output tensors of detectors become boxes: layouts found by shape, decoding and suppression; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from edge_agent.vision import boxes as box_math
from edge_agent.vision.boxes import Floats

STRIDES = (8, 16, 32)
MAX_CANDIDATES = 1000  # kept for suppression, best first: bounds its cost on a picture (or a model) gone wild
FAMILIES = "YOLOX raw grid (1, N, 5+C) and YOLOv8 (1, 4+C, N), N = cells of the strides 8, 16, 32"

Tensor = npt.NDArray[Any]


class UnknownLayoutError(ValueError):
    """No family that we know has these shapes."""


class Input(NamedTuple):
    """What a family is fed: channel order, factor on 0..255, and where the letterboxed picture lies."""

    rgb: bool
    scale: float
    centred: bool


class Candidates(NamedTuple):
    """Boxes (n, 4) in pixels of the net's input, scores (n,), class numbers (n,)."""

    boxes: Floats
    scores: Floats
    classes: npt.NDArray[np.intp]


class Head(Protocol):
    """One family of output layouts."""

    family: str
    input: Input
    classes: int

    def decode(self, output: Tensor, score: float) -> Candidates:
        """Candidates of at least `score`, before suppression."""
        ...


class Yolox:
    """YOLOX as Megvii exports it: per cell x, y, w, h, objectness, classes; the last two after the sigmoid.

    Centre = (xy + cell) * stride, size = exp(wh) * stride (YOLOX, `yolo_head.py`, `decode_outputs`).
    """

    family = "YOLOX raw grid"
    input = Input(rgb=False, scale=1.0, centred=False)

    def __init__(self, width: int, height: int, classes: int) -> None:
        self.classes = classes
        self._cells, self._strides = _grid(width, height)

    def decode(self, output: Tensor, score: float) -> Candidates:
        rows = output[0]
        likely = np.flatnonzero(rows[:, 4] >= score)  # a class score is at most 1, so nothing that counts is lost
        rows = rows[likely].astype(np.float64)
        classes = rows[:, 5:].argmax(axis=1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + classes]
        keep = scores >= score
        rows, cells, strides = rows[keep], self._cells[likely[keep]], self._strides[likely[keep]]
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and is dropped
            centres, sizes = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides
        return _candidates(centres, sizes, scores[keep], classes[keep])


class Yolov8:
    """YOLOv8, v9, v11, v12 as ultralytics export them: cx, cy, w, h in input pixels and C class scores a column."""

    family = "YOLOv8"
    input = Input(rgb=True, scale=1 / 255, centred=True)

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def decode(self, output: Tensor, score: float) -> Candidates:
        columns = output[0]
        keep = np.flatnonzero(columns[4:].max(axis=0) >= score)
        columns = columns[:, keep].astype(np.float64)
        classes = columns[4:].argmax(axis=0)
        return _candidates(columns[:2].T, columns[2:4].T, columns[4:].max(axis=0), classes)


def find_head(width: int, height: int, outputs: Sequence[Tensor]) -> Head:
    """The family of a model from the size of its input and what it gave for a grey picture."""
    shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
    cells = len(_grid(width, height)[0])
    match [tuple(output.shape) for output in outputs]:
        case [(1, rows, columns)] if rows == cells and columns > 5:
            if np.nanmax(np.abs(outputs[0][0, :, :2])) > 4 * max(STRIDES):  # cell offsets are small, pixels are not
                raise UnknownLayoutError(
                    f"outputs {shapes} hold boxes that are decoded already (YOLOv6, or YOLOX exported with "
                    f"--decode_in_inference): export the raw grid; known are {FAMILIES}"
                )
            return Yolox(width, height, columns - 5)
        case [(1, rows, columns)] if columns == cells and rows > 4:
            return Yolov8(rows - 4)
        case _:
            raise UnknownLayoutError(f"outputs {shapes} for input (1, 3, {height}, {width}); known are {FAMILIES}")


def suppress(candidates: Candidates, iou: float) -> Candidates:
    """Greedy non-maximum suppression by class: best first, what overlaps a kept box by more than `iou` goes."""
    order = np.argsort(-candidates.scores, kind="stable")[:MAX_CANDIDATES]
    best = Candidates(candidates.boxes[order], candidates.scores[order], candidates.classes[order])
    clash = (box_math.iou(best.boxes[:, None], best.boxes[None]) > iou) & (
        best.classes[:, None] == best.classes[None, :]
    )
    alive = np.ones(len(order), dtype=bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~clash[i, i + 1 :]
    return Candidates(best.boxes[alive], best.scores[alive], best.classes[alive])


def _grid(width: int, height: int) -> tuple[Floats, Floats]:
    """Cells (N, 2) as x, y and strides (N, 1): stride 8 first, row by row."""
    cells, strides = [], []
    for stride in STRIDES:
        ys, xs = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([xs, ys], axis=-1).reshape(-1, 2))
        strides.append(np.full((xs.size, 1), stride))
    return np.concatenate(cells).astype(np.float64), np.concatenate(strides).astype(np.float64)


def _candidates(centres: Floats, sizes: Floats, scores: Floats, classes: npt.NDArray[np.intp]) -> Candidates:
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    finite = np.isfinite(boxes).all(axis=1)
    return Candidates(boxes[finite], scores[finite], classes[finite])
