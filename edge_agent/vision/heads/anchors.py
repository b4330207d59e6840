"""Families with several boxes a cell or prior: Yolo-FastestV2, the YOLOv5 plate family, LPD-YuNet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_agent.vision.boxes import Floats
from edge_agent.vision.heads.form import UNIT_RGB, Candidates, Input, Tensor, centred, finite, grid

# Yolo-FastestV2, `data/coco.data`: three anchors (w, h) for each of the two maps, for an input of 352 pixels.
FASTEST_V2_ANCHORS = (
    ((12.64, 19.39), (37.88, 51.48), (55.71, 138.31)),
    ((126.91, 78.23), (131.57, 214.55), (279.92, 258.87)),
)


class FastestV2:
    """Yolo-FastestV2 as `pytorch2onnx.py` exports it: two maps (1, h, w, 12 + 3 + C), all of them activated; or both
    in one table (cells, 12 + 3 + C).

    centre = (2t - 0.5 + cell) * stride, size = (2t)^2 * anchor, score = objectness * class
    (Yolo-FastestV2, `utils/utils.py`, `handel_preds`).
    """

    family = "yolo-fastestv2"
    input = Input(rgb=False, fit="stretch", std=(255.0, 255.0, 255.0))
    overlapping = True

    def __init__(self, width: int, height: int, classes: int) -> None:
        self.classes, self._width, self._height = classes, width, height

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        boxes, scores, numbers = [], [], []
        for map_, anchors in zip(self._maps(outputs), np.array(FASTEST_V2_ANCHORS), strict=True):
            rows, columns, _ = map_.shape
            stride = np.array([self._width / columns, self._height / rows])
            best = map_[:, :, 15:].max(axis=2, keepdims=True)
            likely = map_[:, :, 12:15] * best  # the classes are shared by the three boxes of a cell
            y, x, which = np.nonzero(likely >= score)
            t = map_[:, :, :12].reshape(rows, columns, 3, 4)[y, x, which]
            centres = (2 * t[:, :2] - 0.5 + np.stack([x, y], axis=1)) * stride
            sizes = (2 * t[:, 2:]) ** 2 * anchors[which]
            boxes.append(np.concatenate([centres, sizes], axis=1))
            scores.append(likely[y, x, which])
            numbers.append(map_[y, x, 15:].argmax(axis=1))
        all_boxes = np.concatenate(boxes)
        return centred(all_boxes[:, :2], all_boxes[:, 2:], np.concatenate(scores), np.concatenate(numbers))

    def _maps(self, outputs: Sequence[Tensor]) -> list[Floats]:
        sizes = [(self._height // stride, self._width // stride) for stride in (16, 32)]
        rows = np.concatenate([output.reshape(-1, output.shape[-1]) for output in outputs]).astype(np.float64)
        first = sizes[0][0] * sizes[0][1]
        return [part.reshape(*size, -1) for part, size in zip((rows[:first], rows[first:]), sizes, strict=True)]


class PlateRows:
    """The YOLOv5 plate family (HyperLPR's y5fu): rows cx, cy, w, h, objectness, 4 corners, one row or two.

    Corners from the top left, clockwise, in input pixels.
    """

    family = "yolov5-plate"
    input = UNIT_RGB._replace(pad=0)
    overlapping = True
    FIRST_CLASS = 13  # column

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        rows = outputs[0][0]
        likely = np.flatnonzero(rows[:, 4] * rows[:, self.FIRST_CLASS :].max(axis=1) >= score)
        found = rows[likely].astype(np.float64)
        named = found[:, self.FIRST_CLASS :]
        corners = found[:, 5 : self.FIRST_CLASS].reshape(-1, 4, 2)
        return centred(found[:, :2], found[:, 2:4], found[:, 4] * named.max(axis=1), named.argmax(axis=1), corners)


class LpdYuNet:
    """LPD-YuNet of opencv_zoo: loc (N, 14), conf (N, 2), iou (N, 1) over priors of the strides 8, 16, 32, 64.

    corner = prior + loc * 0.1 * prior size, score = sqrt(conf * iou) (opencv_zoo, `lpd_yunet.py`, `_decode`). Its
    corners come as top left, top right, bottom left, bottom right of the plate: told clockwise here.
    """

    family = "lpd-yunet"
    input = Input(rgb=False, fit="stretch")
    classes = 1
    overlapping = True
    SIZES = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
    STEPS = (8, 16, 32, 64)
    CORNERS = (4, 6, 10, 12)

    def __init__(self, width: int, height: int, at: Sequence[int]) -> None:
        """`at`: where loc, conf and iou stand in the outputs."""
        self._at = at
        middles, sizes = [], []
        columns, rows = (width + 1) // 2 // 2, (height + 1) // 2 // 2
        for step, steps in zip(self.STEPS, self.SIZES, strict=True):
            columns, rows = columns // 2, rows // 2
            cells, _ = grid(columns * step, rows * step, (step,))
            middles.append(np.repeat((cells + 0.5) * step, len(steps), axis=0))
            sizes.append(np.tile(np.array(steps, dtype=np.float64), len(cells)))
        self._middles, self._sizes = np.concatenate(middles), np.concatenate(sizes)[:, None]

    @property
    def priors(self) -> int:
        """How many rows the tensors must have."""
        return len(self._sizes)

    def decode(self, outputs: Sequence[Tensor], score: float) -> Candidates:
        place, sure, overlap = (outputs[i] for i in self._at)
        scores = np.sqrt(np.clip(sure[:, 1], 0, 1) * np.clip(overlap[:, 0], 0, 1))
        keep = np.flatnonzero(scores >= score)
        moved = place[keep].astype(np.float64)
        middles, sizes = self._middles[keep], self._sizes[keep]
        corners = np.stack([middles + moved[:, at : at + 2] * 0.1 * sizes for at in self.CORNERS], axis=1)
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return finite(boxes, scores[keep].astype(np.float64), np.zeros(len(keep), dtype=np.intp), corners)
