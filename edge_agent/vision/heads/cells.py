"""Families that tell of one box a cell: YOLOX, YOLOv6, YOLOv8 and its kin, NanoDet, PicoDet, FastestDet, YuNet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.vision.boxes import Floats
from edge_agent.vision.heads.form import (
    IMAGENET_BGR,
    IMAGENET_RGB,
    UNIT_RGB,
    Candidates,
    Input,
    Tensor,
    centred,
    finite,
    grid,
)

STRIDES = (8, 16, 32)


class Yolox:
    """YOLOX as Megvii exports it: per cell x, y, w, h, objectness, classes; the last two after the sigmoid.

    Centre = (xy + cell) * stride, size = exp(wh) * stride (YOLOX, `yolo_head.py`, `decode_outputs`).
    """

    family = "yolox"
    input = Input(rgb=False, fit="top_left")
    overlapping = True

    def __init__(self, width: int, height: int, classes: int) -> None:
        self.classes = classes
        self._cells, self._strides = grid(width, height, STRIDES)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        rows, likely, scores, classes = likely_rows(outputs[0][0], score)
        cells, strides = self._cells[likely], self._strides[likely]
        return centred((rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides, scores, classes)


class Rows:
    """Rows of cx, cy, w, h in input pixels, objectness, classes: YOLOv5 and v7 (3 a cell), YOLOv6 and decoded YOLOX."""

    overlapping = True

    def __init__(self, family: str, classes: int, form: Input = UNIT_RGB) -> None:
        self.family, self.classes, self.input = family, classes, form

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        rows, _, scores, classes = likely_rows(outputs[0][0][:, : 5 + self.classes], score)
        return centred(rows[:, :2], rows[:, 2:4], scores, classes)


class Yolov8:
    """YOLOv8, v9, v11, v12 as ultralytics exports them: cx, cy, w, h and C class scores a column, key points below.

    `turned`, all that is a row. Boxes are in input pixels; where an export divided them by the input's size, `unit`
    multiplies them back. Four key points are the corners of a plate: x, y, and a visibility in exports of three numbers
    a point.
    """

    input = UNIT_RGB
    overlapping = True

    def __init__(
        self, width: int, height: int, classes: int, point: int = 0, *, unit: bool = False, turned: bool = False
    ) -> None:
        self.family = "yolov8-plate" if point else "yolov8"
        self.classes, self._point, self._turned = classes, point, turned
        self._scale = np.array([width, height], dtype=np.float64) if unit else np.ones(2)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        columns = outputs[0][0].T if self._turned else outputs[0][0]
        keep = np.flatnonzero(columns[4 : 4 + self.classes].max(axis=0) >= score)
        columns = columns[:, keep].astype(np.float64)
        named = columns[4 : 4 + self.classes]
        corners = None
        if self._point:
            points = columns[4 + self.classes :][: 4 * self._point].T.reshape(len(keep), 4, self._point)
            corners = points[:, :, :2] * self._scale
        return centred(
            columns[:2].T * self._scale, columns[2:4].T * self._scale, named.max(axis=0), named.argmax(axis=0), corners
        )


class Distances:
    """NanoDet and PicoDet: class scores after the sigmoid, and four sides as distributions over `bins` distances.

    A side is the mean of 0..bins-1 under the softmax of its bins, times the stride (`Integral` of NanoDet's
    `gfl_head.py`). NanoDet-m and PicoDet measure from the middle of a cell, less half a pixel
    ((cell + 0.5) * stride - 0.5); NanoDet-Plus from its corner (cell * stride, `nanodet_plus_head.py`).
    """

    overlapping = True

    def __init__(
        self, family: str, form: Input, size: tuple[int, int], strides: Sequence[int], classes: int, *, middle: bool
    ) -> None:
        self.family, self.input, self.classes = family, form, classes
        cells, self._strides = grid(*size, strides)
        self._points = cells * self._strides + (0.5 * (self._strides - 1) if middle else 0.0)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        if outputs[0].shape[-1] != self.classes:  # a table of both, whatever maps stand beside it
            named, sides = outputs[0][0, :, : self.classes], outputs[0][0, :, self.classes :]
        else:  # one tensor a stride, all the classes first, or classes and sides in turn: told by their widths
            named = np.concatenate([t.reshape(-1, t.shape[-1]) for t in outputs if t.shape[-1] == self.classes])
            sides = np.concatenate([t.reshape(-1, t.shape[-1]) for t in outputs if t.shape[-1] != self.classes])
        scores = named.max(axis=1)
        keep = np.flatnonzero(scores >= score)
        bins = sides[keep].astype(np.float64).reshape(len(keep), 4, sides.shape[1] // 4)
        weights = np.exp(bins - bins.max(axis=2, keepdims=True))
        weights /= weights.sum(axis=2, keepdims=True)
        reach = weights @ np.arange(bins.shape[2]) * self._strides[keep]
        points = self._points[keep]
        found: Floats = np.concatenate([points - reach[:, :2], points + reach[:, 2:]], axis=1)
        return finite(found, scores[keep].astype(np.float64), named[keep].argmax(axis=1))


def nanodet_m(width: int, height: int, classes: int) -> Distances:
    """NanoDet-m: three strides, six tensors."""
    form = IMAGENET_BGR._replace(fit="centred", pad=0)
    return Distances("nanodet-m", form, (width, height), STRIDES, classes, middle=True)


def nanodet_plus(width: int, height: int, classes: int) -> Distances:
    """NanoDet-Plus: four strides, one tensor."""
    return Distances("nanodet-plus", IMAGENET_BGR, (width, height), (*STRIDES, 64), classes, middle=False)


def picodet(width: int, height: int, classes: int) -> Distances:
    """PicoDet without its post-processing: four strides, eight tensors; RGB and stretched."""
    return Distances("picodet", IMAGENET_RGB, (width, height), (*STRIDES, 64), classes, middle=True)


class FastestDet:
    """FastestDet: one map (5 + C, h, w) of objectness, tx, ty, tw, th and classes, the first and the last activated.

    score = objectness^0.6 * class^0.4, centre = (cell + tanh(t)) / (w, h), size = sigmoid(t) of the whole picture
    (FastestDet, `utils/tool.py`, `handle_preds`).
    """

    family = "fastestdet"
    input = Input(rgb=False, fit="stretch", std=(255.0, 255.0, 255.0))
    overlapping = True

    def __init__(self, width: int, height: int, classes: int) -> None:
        self.classes, self._size = classes, np.array([width, height], dtype=np.float64)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        map_ = outputs[0][0]
        _, rows, columns = map_.shape
        cells = map_.reshape(map_.shape[0], -1)
        scores = np.clip(cells[0], 0, None) ** 0.6 * np.clip(cells[5:].max(axis=0), 0, None) ** 0.4
        keep = np.flatnonzero(scores >= score)
        t = cells[1:5, keep].T.astype(np.float64)
        at = np.stack([keep % columns, keep // columns], axis=1)
        centres = (at + np.tanh(t[:, :2])) / np.array([columns, rows]) * self._size
        sizes = self._size / (1 + np.exp(-t[:, 2:]))
        return centred(centres, sizes, scores[keep].astype(np.float64), cells[5:, keep].argmax(axis=0))


class YuNet:
    """YuNet (2023mar): twelve tensors cls, obj, bbox, kps for the strides 8, 16, 32.

    score = sqrt(cls * obj), centre = (cell + d) * stride, size = exp(d) * stride (OpenCV, `face_detect.cpp`,
    `postProcess`). It finds faces, to be blurred; its key points are not read.
    """

    family = "yunet"
    input = Input(rgb=False, fit="top_left", pad=0)
    classes = 1
    overlapping = True

    def __init__(self, width: int, height: int, at: Sequence[int]) -> None:
        """`at`: where the nine tensors cls_8.., obj_8.., bbox_8.. stand in the outputs."""
        self._at = at
        self._cells, self._strides = grid(width, height, STRIDES)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        named, sure, moved = (
            np.concatenate([outputs[i].reshape(-1, outputs[i].shape[-1]) for i in self._at[first : first + 3]])
            for first in (0, 3, 6)
        )
        scores = np.sqrt(np.clip(named[:, 0], 0, 1) * np.clip(sure[:, 0], 0, 1))
        keep = np.flatnonzero(scores >= score)
        d, strides = moved[keep].astype(np.float64), self._strides[keep]
        return centred(
            (self._cells[keep] + d[:, :2]) * strides,
            np.exp(d[:, 2:4]) * strides,
            scores[keep].astype(np.float64),
            np.zeros(len(keep), dtype=np.intp),
        )


def likely_rows(rows: Tensor, score: float) -> tuple[Floats, Tensor, Floats, Tensor]:
    """Of rows x, y, w, h, objectness, classes: those of at least `score`, their numbers, scores, best classes."""
    likely = np.flatnonzero(rows[:, 4] >= score)  # a class score is at most 1, so nothing that counts is lost
    found = rows[likely].astype(np.float64)
    if found.shape[1] == 5:
        return found, likely, found[:, 4], np.zeros(len(found), dtype=np.intp)
    classes = found[:, 5:].argmax(axis=1)
    scores = found[:, 4] * found[np.arange(len(found)), 5 + classes]
    keep = scores >= score
    return found[keep], likely[keep], scores[keep], classes[keep]
