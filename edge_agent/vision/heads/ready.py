"""Families whose boxes come ready from the net: end-to-end YOLOs, exports with suppression, DETRs, SSD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_agent.vision.boxes import Floats
from edge_agent.vision.heads.form import IMAGENET_RGB, UNIT_RGB, Candidates, Input, Tensor, centred, finite

STRETCHED_RGB = UNIT_RGB._replace(fit="stretch")


class Table:
    """One table of found boxes, a row each: where x1, score and class stand is told; boxes are in input pixels, or
    centre and size in fractions of `size`.

    What stands behind, as coefficients of masks, is not read, but for the four key points of plates.

    YOLOv10, YOLO26 and ultralytics' `nms=True`: x1, y1, x2, y2, score, class. YOLOv7's end2end: batch, x1, y1, x2, y2,
    class, score. PicoDet with its post-processing: class, score, x1, y1, x2, y2.
    """

    classes = 0
    overlapping = False

    def __init__(
        self,
        family: str,
        form: Input,
        *,
        box: int,
        score: int,
        cls: int,
        point: int = 0,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.family, self.input, self._point = family, form, point
        self._size = None if size is None else np.array(size * 2, dtype=np.float64)
        self._box, self._score, self._class = box, score, cls

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        rows = outputs[0].reshape(-1, outputs[0].shape[-1])
        rows = rows[rows[:, self._score] >= score].astype(np.float64)
        points = rows[:, 6 : 6 + 4 * self._point].reshape(len(rows), 4, self._point)
        corners = points[:, :, :2] if self._point else None
        boxes = rows[:, self._box : self._box + 4]
        if self._size is not None:
            half = boxes[:, 2:] / 2
            boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1) * self._size
        return _named(boxes, rows[:, self._score], rows[:, self._class], corners)


class Lists:
    """Boxes (1, M, 4), scores (1, M) and classes (1, M) as tensors of their own; some exports leave the 1 out.

    The DETR family (RT-DETR, D-FINE, DEIM) and EfficientNMS give pixels: of the size that `orig_target_sizes` asks for,
    which is the input's; torchvision's SSD gives pixels too, and COCO's own class numbers. TensorFlow's SSD gives
    y1, x1, y2, x2 as fractions, and counts its classes from 1.
    """

    classes = 0
    overlapping = False

    def __init__(
        self, family: str, form: Input, at: Sequence[int], *, size: tuple[int, int] | None = None, first: int = 0
    ) -> None:
        """`at`: where boxes, scores and classes stand; `size`: of the input, where boxes are its fractions, y first."""
        self.family, self.input, self._at, self._first = family, form, at, first
        self._fractions = None if size is None else np.array([size[1], size[0], size[1], size[0]], dtype=np.float64)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        boxes, scores, classes = (
            outputs[i].reshape(*each) for i, each in zip(self._at, ((-1, 4), (-1,), (-1,)), strict=True)
        )
        keep = np.flatnonzero(scores >= score)
        found: Floats = boxes[keep].astype(np.float64)
        if self._fractions is not None:
            found = (found * self._fractions)[:, [1, 0, 3, 2]]
        return _named(found, scores[keep].astype(np.float64), classes[keep].astype(np.float64) - self._first)


class Queries:
    """A box a query as cx, cy, w, h in fractions of the input, and a score for each class.

    RF-DETR tells `dets` and logits `labels`, whose sigmoid is taken, each query and class on its own as in its
    `PostProcess`, as of `pred_boxes` and `logits` of RT-DETR and D-FINE in Hugging Face's exports; RT-DETR as
    ultralytics exported it earlier has one table (1, Q, 4 + C) of probabilities. The first DETR takes a softmax, whose
    last class is nothing.
    """

    overlapping = False

    def __init__(
        self,
        family: str,
        form: Input,
        size: tuple[int, int],
        classes: int,
        at: Sequence[int] | None = None,
        *,
        softmax: bool = False,
    ) -> None:
        self.family, self.input, self.classes, self._at, self._softmax = family, form, classes, at, softmax
        self._size = np.array(size, dtype=np.float64)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        if self._at is None:
            boxes, named = outputs[0][0, :, :4], outputs[0][0, :, 4:]
        else:
            boxes, logits = (outputs[i][0] for i in self._at)
            if self._softmax:
                powers = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
                named = powers[:, :-1] / powers.sum(axis=1, keepdims=True)
            else:
                named = 1 / (1 + np.exp(-logits.astype(np.float64)))
        query, classes = np.nonzero(named >= score)
        found = boxes[query].astype(np.float64)
        return centred(
            found[:, :2] * self._size, found[:, 2:] * self._size, named[query, classes].astype(np.float64), classes
        )


class Scored:
    """A box and its scores a prior, as pytorch-ssd and Ultra-Light-Fast-Generic-Face-Detector export them.

    `boxes` (1, N, 4) are x1, y1, x2, y2 in fractions of the input; of `scores` (1, N, 1 + C) the first is of nothing
    (pytorch-ssd, `vision/ssd/predictor.py`); (x - 127) / 128 in RGB.
    """

    family = "ssd-scores"
    input = Input(rgb=True, fit="stretch", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
    overlapping = True

    def __init__(self, width: int, height: int, classes: int, at: Sequence[int]) -> None:
        """`at`: where boxes and scores stand."""
        self.classes, self._at = classes, at
        self._size = np.array([width, height, width, height], dtype=np.float64)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        boxes, scores = (outputs[i][0] for i in self._at)
        prior, classes = np.nonzero(scores[:, 1:] >= score)
        return finite(boxes[prior] * self._size, scores[prior, classes + 1].astype(np.float64), classes)


def end_to_end(point: int = 0) -> Table:
    """YOLOv10, YOLO26, and any ultralytics export with `nms=True`; of plates with corners of `point` numbers each."""
    family = "yolo-end-to-end-plate" if point else "yolo-end-to-end"
    return Table(family, UNIT_RGB, box=0, score=4, cls=5, point=point)


def yolov7_end_to_end() -> Table:
    """YOLOv7's `--end2end`, and open-image-models' YOLOv9."""
    return Table("yolov7-end-to-end", UNIT_RGB, box=1, score=6, cls=5)


def rt_detr_found(size: tuple[int, int]) -> Table:
    """RT-DETR as ultralytics 8.4.190 exports it, its best already chosen: cx, cy, w, h, score, class."""
    return Table("rt-detr", STRETCHED_RGB, box=0, score=4, cls=5, size=size)


def picodet_nms(*, detr: bool = False) -> Table:
    """PicoDet with its post-processing inside; PaddleDetection's RT-DETR has the same table, and other pixels."""
    return Table("picodet-nms", STRETCHED_RGB if detr else IMAGENET_RGB, box=2, score=1, cls=0)


def _named(
    boxes: Floats, scores: Floats, classes: npt.NDArray[np.float64], corners: Floats | None = None
) -> Candidates:
    """Classes that are no whole number from 0 up are no classes."""
    good = np.isfinite(classes) & (classes >= 0) & (classes < 1e6)
    kept = None if corners is None else corners[good]
    return finite(boxes[good], scores[good], classes[good].astype(np.intp), kept)
