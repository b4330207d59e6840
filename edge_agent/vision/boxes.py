"""Arithmetic on rows of boxes `(x1, y1, x2, y2)`: pure, vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of boxes (..., 4) against boxes (..., 4), broadcast; 0 where both are empty."""
    wide = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    high = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    common: Floats = np.maximum(wide, 0) * np.maximum(high, 0)
    return common / np.maximum(area(a) + area(b) - common, 1e-9)


def area(boxes: Floats) -> Floats:
    """Area of boxes (..., 4); an inverted box has none."""
    areas: Floats = np.maximum(boxes[..., 2] - boxes[..., 0], 0) * np.maximum(boxes[..., 3] - boxes[..., 1], 0)
    return areas


def grow(boxes: Floats, share: Floats) -> Floats:
    """Boxes (..., 4) enlarged on every side by `share` (...) of their own width and height, broadcast."""
    low, high = boxes[..., :2], boxes[..., 2:]
    margin = (high - low) * share[..., None]
    return np.concatenate([low - margin, high + margin], axis=-1)


def clip(boxes: Floats, width: int, height: int) -> Floats:
    """Boxes cut at the edges of a picture."""
    return np.minimum(np.maximum(boxes, 0), np.array([width, height, width, height], dtype=np.float64))
