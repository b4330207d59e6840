"""Arithmetic on rows of boxes `(x1, y1, x2, y2)`: pure, vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (..., 4) against boxes (..., 4), broadcast; 0 where both are empty."""
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common: Floats = np.clip(sides[..., 0], 0, None) * np.clip(sides[..., 1], 0, None)
    union = area(a) + area(b) - common
    return common / np.where(union > 0, union, 1.0)


def area(boxes: Floats) -> Floats:
    """Area of boxes (..., 4); an inverted box has none."""
    sides: Floats = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    areas: Floats = sides[..., 0] * sides[..., 1]
    return areas


def grow(boxes: Floats, share: Floats) -> Floats:
    """Boxes (..., 4) enlarged on every side by `share` (...) of their own width and height, broadcast."""
    margin = (boxes[..., 2:] - boxes[..., :2]) * share[..., None]
    return np.concatenate([boxes[..., :2] - margin, boxes[..., 2:] + margin], axis=-1)


def clip(boxes: Floats, width: int, height: int) -> Floats:
    """Boxes cut at the edges of a picture."""
    return np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float64))
