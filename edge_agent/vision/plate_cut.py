"""What lies between the corners of a plate, upright, as a reader of one row takes it.

A plate of two rows (GA 36-2018: 440 by 220 mm, and smaller ones in proportion) is taken apart: its characters are laid
where a plate of one row (440 by 140 mm) has them.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Corners = npt.NDArray[np.floating]  # (4, 2): top left, top right, bottom right, bottom left

MARGIN = 0.025  # of the crop, around the corners: as in training
HIGH_PLATE = (440.0, 220.0)
ONE_ROW = (  # x1, y1, x2, y2 on the high plate in mm, and which columns of the crop it fills, as shares
    ((62.0, -4.0, 201.0, 94.0), (0.0, 0.17)),  # the province
    ((240.0, -4.0, 360.0, 94.0), (0.17, 0.315)),  # the authority, without the dot before it
    ((4.0, 60.0, 450.0, 233.0), (0.315, 1.0)),  # the serial
)
NOT_ONE_ROW = 2.4  # times as wide as high: a plate that is less has two rows, or one that is seen from aside


class Cut(NamedTuple):
    """The corners of a plate, of how many rows it is to be taken, and how much to leave around, as a share."""

    corners: Corners
    two_rows: bool = False
    margin: float = MARGIN


def flatten(pixels: Pixels, cut: Cut, width: int, height: int) -> Pixels:
    """BGR (height, width, 3): one row of characters with a little around it."""
    if cut.two_rows:
        return _side_by_side(pixels, cut.corners, width, height)
    return _upright(pixels, cut.corners, _within(cut, width, height), (width, height))


def placed(cut: Cut, shares: Corners) -> Corners:
    """Where in the picture a place (n, 2) of the flattened plate lies, told in shares of its width and height."""
    back = cv2.getPerspectiveTransform(_within(cut, 1.0, 1.0), cut.corners.astype(np.float32))
    return np.asarray(cv2.perspectiveTransform(shares[None].astype(np.float32), back)[0], dtype=np.float64)


def whole(width: int, height: int) -> Corners:
    """The corners within a crop of which `flatten` shows the whole crop."""
    x, y = width * MARGIN, height * MARGIN
    return _rectangle(x, y, width - x, height - y)


def is_high(quad: Corners) -> bool:
    """Whether these corners are too close to a square for a plate of one row that is seen from the front."""
    top, right, bottom, left = (float(np.linalg.norm(quad[(i + 1) % 4] - quad[i])) for i in range(4))
    return top + bottom <= NOT_ONE_ROW * (left + right)


def _side_by_side(pixels: Pixels, quad: Corners, width: int, height: int) -> Pixels:
    to_picture = cv2.getPerspectiveTransform(_rectangle(0, 0, *HIGH_PLATE), quad.astype(np.float32))
    parts = []
    for part, (left, right) in ONE_ROW:
        there = cv2.perspectiveTransform(_rectangle(*part)[None], to_picture)[0]
        wide = round(right * width) - round(left * width)
        parts.append(_upright(pixels, there, _rectangle(0, 0, wide, height), (wide, height)))
    return np.hstack(parts)


def _within(cut: Cut, width: float, height: float) -> Corners:
    x, y = width * cut.margin, height * cut.margin
    return _rectangle(x, y, width - x, height - y)


def _upright(pixels: Pixels, quad: Corners, onto: Corners, size: tuple[int, int]) -> Pixels:
    """What lies between the corners; a plate much larger than that is averaged first, or its noise would stay."""
    height, width = pixels.shape[:2]
    back = cv2.getPerspectiveTransform(onto.astype(np.float32), quad.astype(np.float32))
    there = cv2.perspectiveTransform(_rectangle(0, 0, *size)[None], back)[0]
    less = int(min(np.linalg.norm(there[1] - there[0]) / size[0], np.linalg.norm(there[3] - there[0]) / size[1]))
    if less > 1:
        left, top = np.clip(np.floor(there.min(axis=0)) - less, 0, (width - 1, height - 1)).astype(int)
        right, bottom = np.clip(np.ceil(there.max(axis=0)) + less, (left + 1, top + 1), (width, height)).astype(int)
        part = pixels[top:bottom, left:right]
        small = [max(1, round(side / less)) for side in part.shape[1::-1]]
        quad = (quad - (left, top)) * small / part.shape[1::-1]
        pixels = np.asarray(cv2.resize(part, small, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    matrix = cv2.getPerspectiveTransform(quad.astype(np.float32), onto.astype(np.float32))
    cut = cv2.warpPerspective(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, dtype=np.uint8)


def _rectangle(x1: float, y1: float, x2: float, y2: float) -> Corners:
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float32)
