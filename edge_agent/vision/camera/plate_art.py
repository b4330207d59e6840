"""Draws Chinese licence plates (GA 36: 440 x 140 mm, blue and white); province characters are strokes of our own."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Stroke = tuple[tuple[int, int], ...]

# Strokes on a square of 100 x 100, from the top left.
GLYPHS: dict[str, tuple[Stroke, ...]] = {
    "京": (
        ((48, 0), (54, 12)),
        ((4, 17), (96, 17)),
        ((24, 33), (76, 33), (76, 55), (24, 55), (24, 33)),
        ((50, 55), (50, 97), (36, 90)),
        ((29, 66), (12, 88)),
        ((70, 66), (90, 88)),
    ),
    "沪": (
        ((8, 8), (24, 20)),
        ((2, 36), (18, 47)),
        ((4, 95), (24, 60)),
        ((60, 0), (68, 14)),
        ((38, 22), (92, 22), (92, 52), (38, 52)),
        ((38, 22), (38, 60), (26, 97)),
    ),
    "苏": (
        ((4, 15), (96, 15)),
        ((32, 1), (32, 28)),
        ((68, 1), (68, 28)),
        ((14, 45), (74, 45), (70, 92), (56, 86)),
        ((44, 30), (42, 58), (12, 97)),
        ((16, 58), (4, 80)),
        ((84, 56), (97, 78)),
    ),
    "浙": (
        ((4, 8), (17, 18)),
        ((1, 36), (13, 45)),
        ((2, 95), (16, 60)),
        ((22, 27), (52, 27)),
        ((37, 4), (37, 94), (27, 86)),
        ((20, 66), (52, 52)),
        ((92, 4), (62, 15)),
        ((62, 15), (62, 50), (52, 97)),
        ((62, 44), (99, 44)),
        ((82, 44), (82, 99)),
    ),
    "川": (((18, 6), (18, 60), (5, 97)), ((50, 12), (50, 84)), ((85, 4), (85, 99))),
    "吉": (
        ((6, 17), (94, 17)),
        ((50, 0), (50, 42)),
        ((18, 42), (82, 42)),
        ((22, 58), (78, 58), (78, 95), (22, 95), (22, 58)),
    ),
    "云": (((20, 12), (80, 12)), ((3, 40), (97, 40)), ((46, 40), (16, 90), (84, 82)), ((66, 60), (92, 99))),
    "甘": (
        ((3, 27), (97, 27)),
        ((26, 4), (26, 97)),
        ((74, 4), (74, 97)),
        ((26, 60), (74, 60)),
        ((26, 93), (74, 93)),
    ),
}

WIDTH, HEIGHT = 440, 140  # a pixel a millimetre
_BLUE, _WHITE = (160, 60, 10), (245, 245, 245)
_CHAR_WIDTH, _CHAR_HEIGHT, _STROKE = 45, 90, 11
_LEFTS = (15, 72, 151, 208, 265, 322, 379)  # of the seven characters; the dot stands between the second and the third


@lru_cache(maxsize=64)
def draw_plate(text: str) -> Pixels:
    """(140, 440, 3) BGR of a plate such as 京A73K56; its first character must be one of `GLYPHS`."""
    plate = np.full((HEIGHT, WIDTH, 3), _BLUE, dtype=np.uint8)
    cv2.rectangle(plate, (4, 4), (WIDTH - 5, HEIGHT - 5), _WHITE, 3, cv2.LINE_AA)
    for left, character in zip(_LEFTS, text, strict=True):
        cell = _strokes(GLYPHS[character]) if character in GLYPHS else _letter(character)
        place = plate[25 : 25 + _CHAR_HEIGHT, left : left + _CHAR_WIDTH]
        np.copyto(place, np.asarray(_WHITE, dtype=np.uint8), where=(cell > 127)[..., None])
    cv2.circle(plate, (134, 70), 6, _WHITE, -1, cv2.LINE_AA)
    plate.setflags(write=False)
    return plate


def _strokes(strokes: tuple[Stroke, ...]) -> Pixels:
    cell = np.zeros((_CHAR_HEIGHT, _CHAR_WIDTH), dtype=np.uint8)
    margin = 3
    scale = np.array([_CHAR_WIDTH - 1 - 2 * margin, _CHAR_HEIGHT - 1 - 2 * margin]) / 100
    for stroke in strokes:
        points = np.round(np.array(stroke) * scale + margin).astype(np.int32)
        cv2.polylines(cell, [points], isClosed=False, color=255, thickness=6, lineType=cv2.LINE_AA)
    return cell


def _letter(character: str) -> Pixels:
    """A letter or digit of OpenCV's stroke font, stretched to fill the cell; a plate's J has no bar at its head."""
    if character == "J":
        cell = _letter("U")
        cell[: _CHAR_HEIGHT * 3 // 5, : _CHAR_WIDTH // 2] = 0
        return cell
    big = np.zeros((220, 220), dtype=np.uint8)
    cv2.putText(big, character, (40, 180), cv2.FONT_HERSHEY_SIMPLEX, 5.0, 255, 2 * _STROKE, cv2.LINE_AA)
    x, y, w, h = cv2.boundingRect(big)
    width = _CHAR_WIDTH if w > h / 4 else _STROKE + 4  # the digit 1 stays narrow
    cell = np.zeros((_CHAR_HEIGHT, _CHAR_WIDTH), dtype=np.uint8)
    left = (_CHAR_WIDTH - width) // 2
    cell[:, left : left + width] = cv2.resize(
        big[y : y + h, x : x + w], (width, _CHAR_HEIGHT), interpolation=cv2.INTER_AREA
    )
    return cell
