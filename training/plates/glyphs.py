"""The shapes of plate characters as coverage masks: stamped as the standard's dies have them, drawn, or from fonts.

The strokes are ours, drawn after the proportions of GA 36-2018 (45 by 90 mm, strokes of 10 mm); Chinese characters
and the other cuts of letters come from the Debian packages fonts-noto-cjk, fonts-wqy-zenhei, fonts-wqy-microhei and
fonts-dejavu-core. The dies' own shapes are pictures that training/README.md says where to get; without them plates
are drawn all the same, with Chinese characters that no plate has.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Mask = npt.NDArray[np.uint8]

PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
SPECIAL = "学警挂试港澳使领应急民航"
DIGITS, LETTERS = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

NOTO = Path("/usr/share/fonts/opentype/noto")
WQY = Path("/usr/share/fonts/truetype/wqy")
DEJAVU = Path("/usr/share/fonts/truetype/dejavu")
CHINESE_FONTS = (  # file, index of the simplified-Chinese face within the collection
    (NOTO / "NotoSansCJK-Regular.ttc", 2),
    (NOTO / "NotoSansCJK-Bold.ttc", 2),
    (WQY / "wqy-zenhei.ttc", 0),
    (WQY / "wqy-microhei.ttc", 0),
)
LATIN_FONTS = (
    (DEJAVU / "DejaVuSans.ttf", 0),
    (DEJAVU / "DejaVuSans-Bold.ttf", 0),
    (NOTO / "NotoSansCJK-Regular.ttc", 2),
    (NOTO / "NotoSansCJK-Bold.ttc", 2),
)
STAMPS = Path(os.environ.get("PLATE_STAMPS", "build/plate-stamps"))  # pictures, black on white: 140_A.jpg, 220_up_A.jpg
STAMP_WEIGHTS = (-17, -11, -6, 1, 6)  # pixels by which a stamped character's strokes are thinned or thickened
STROKES = 4  # weights in which the drawn letters come, before fonts
LATIN_STYLES = STROKES + len(LATIN_FONTS)
LEANS = (1.0, 0.8, 1.25)  # how the left part of a Chinese character shares the width with the right
CHINESE_STYLES = 2 * len(CHINESE_FONTS) * len(LEANS)  # as they are, and thinned or thickened

BOX_WIDTH, BOX_HEIGHT = 180, 360  # pixels: four a millimetre of the 45 by 90 mm that a character has
_LEFT, _RIGHT, _TOP, _BOTTOM, _MIDDLE = 5.0, 40.0, 5.0, 85.0, 44.0


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[tuple[float, float]]:
    """Points of an ellipse from one angle to another, in degrees, clockwise from the right as pictures go."""
    angles = np.radians(np.linspace(start, end, 25))
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles]


def _stadium(top: float, bottom: float, r: float = 17.5) -> list[tuple[float, float]]:
    """An upright oblong with round ends, closed."""
    return [
        *_arc(22.5, top + r, 17.5, r, 180, 360),
        *_arc(22.5, bottom - r, 17.5, r, 0, 180),
        (_LEFT, top + r),
    ]


def _strokes() -> dict[str, list[list[tuple[float, float]]]]:
    """Each character as poly-lines in millimetres within 45 by 90."""
    left, right, top, bottom, mid = _LEFT, _RIGHT, _TOP, _BOTTOM, _MIDDLE
    bowl_high = [(left, top), (24, top), *_arc(24, 25, 16, 20, -90, 90), (left, 45)]
    d_bow = [(left, top), (22, top), *_arc(22, 23, 18, 18, -90, 0), *_arc(22, 67, 18, 18, 0, 90), (left, bottom)]
    c_bow = [*_arc(22.5, 23, 17.5, 18, -10, -180), *_arc(22.5, 67, 17.5, 18, 180, 10)]
    upright = [(left, top), (left, bottom)]
    return {
        "0": [_stadium(top, bottom)],
        "1": [[(12, 18), (23, top), (23, bottom)]],
        "2": [[*_arc(22.5, 23, 17.5, 18, 180, 360), (38, 34), (left, bottom), (right, bottom)]],
        "3": [[(left + 1, top), (right - 2, top), (19, 38), *_arc(22, 61, 18, 24, -80, 160)]],
        "4": [[(27, top), (left - 1, 64), (right + 2, 64)], [(31, 40), (31, bottom)]],
        "5": [[(37, top), (9, top), (7, 42), *_arc(22, 60, 18, 25, -140, 150)]],
        "6": [[(28, top), (10, 45), *_arc(22.5, 63, 17.5, 22, 200, 560)]],
        "7": [[(left, 14), (left, top), (right, top), (19, bottom)]],
        "8": [_stadium(top, mid, 16), _stadium(mid, bottom, 17.5)],
        "9": [[(17, bottom), (35, 45), *_arc(22.5, 27, 17.5, 22, 20, 380)]],
        "A": [[(left - 1, bottom), (22.5, top), (right + 1, bottom)], [(11, 60), (34, 60)]],
        "B": [upright, bowl_high, [(left, 44), (24, 44), *_arc(24, 64.5, 16, 20.5, -90, 90), (left, bottom)]],
        "C": [c_bow],
        "D": [upright, d_bow],
        "E": [[(right, top), (left, top), (left, bottom), (right, bottom)], [(left, mid), (35, mid)]],
        "F": [[(right, top), (left, top), (left, bottom)], [(left, mid), (35, mid)]],
        "G": [[*c_bow, (right, 67), (right, 50), (25, 50)]],
        "H": [upright, [(right, top), (right, bottom)], [(left, mid), (right, mid)]],
        "I": [[(22.5, top), (22.5, bottom)]],
        "J": [[(30, top), (30, 67), *_arc(18, 67, 12, 18, 0, 170)]],
        "K": [upright, [(right, top), (left, 54)], [(16, 42), (right, bottom)]],
        "L": [[(left, top), (left, bottom), (right, bottom)]],
        "M": [[(left, bottom), (left, top), (22.5, 58), (right, top), (right, bottom)]],
        "N": [[(left, bottom), (left, top), (right, bottom), (right, top)]],
        "O": [_stadium(top, bottom)],
        "P": [upright, bowl_high],
        "Q": [_stadium(top, bottom), [(24, 66), (40, 87)]],
        "R": [upright, bowl_high, [(20, 45), (right, bottom)]],
        "S": [[*_arc(22.5, 24, 17, 19, -10, -200), (36, 55), *_arc(22.5, 65, 17, 20, -25, 190)]],
        "T": [[(left - 1, top), (right + 1, top)], [(22.5, top), (22.5, bottom)]],
        "U": [[(left, top), (left, 67), *_arc(22.5, 67, 17.5, 18, 180, 0), (right, top)]],
        "V": [[(left - 1, top), (22.5, bottom), (right + 1, top)]],
        "W": [[(left - 1, top), (13, bottom), (22.5, 34), (32, bottom), (right + 1, top)]],
        "X": [[(left, top), (right, bottom)], [(right, top), (left, bottom)]],
        "Y": [[(left - 1, top), (22.5, 46), (right + 1, top)], [(22.5, 46), (22.5, bottom)]],
        "Z": [[(left, top), (right, top), (left, bottom), (right, bottom)]],
    }


STROKE_LINES = _strokes()
OTHER_LINES = {  # as some stamps have them
    "3": [[(_LEFT, _TOP), (_RIGHT - 1, _TOP), (22, 36), *_arc(22, 60, 17.5, 25, -75, 170)]],
    "1": [[(22.5, _TOP), (22.5, _BOTTOM)]],
    "A": [[(_LEFT - 1, _BOTTOM), (17, _TOP), (28, _TOP), (_RIGHT + 1, _BOTTOM)], [(10, 64), (35, 64)]],
    "M": [[(_LEFT, _BOTTOM), (_LEFT, _TOP), (22.5, 46), (_RIGHT, _TOP), (_RIGHT, _BOTTOM)]],
    "W": [[(_LEFT, _TOP), (11, _BOTTOM), (22.5, 50), (34, _BOTTOM), (_RIGHT, _TOP)]],
}


@lru_cache(maxsize=4096)
def glyph(character: str, style: int, width: int, height: int) -> Mask:
    """Coverage 0..255 of a character that fills `width` by `height` pixels; `style` counts modulo what there is."""
    large = _chinese(character, style % CHINESE_STYLES) if ord(character) > 127 else _latin(character, style)
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def stamped(names: tuple[str, ...], weight: int, width: int, height: int) -> Mask | None:
    """Coverage of the first of these pictures that is at hand, without its suffix; None where there is none of them."""
    large = _stamp(names, weight)
    if large is None:
        return None
    return np.asarray(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


@lru_cache(maxsize=2048)
def _stamp(names: tuple[str, ...], weight: int) -> Mask | None:
    file = next((file for name in names if (file := STAMPS / f"{name}.jpg").exists()), None)
    if file is None:
        return None
    grey = np.asarray(Image.open(file).convert("L"), dtype=np.uint8)  # OpenCV opens no such file names on every system
    mask = cv2.resize(255 - grey, (BOX_WIDTH, BOX_HEIGHT), interpolation=cv2.INTER_CUBIC)
    by_px = STAMP_WEIGHTS[weight % len(STAMP_WEIGHTS)]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (abs(by_px), abs(by_px)))
    return np.asarray((cv2.erode if by_px < 0 else cv2.dilate)(mask, kernel), dtype=np.uint8)


@lru_cache(maxsize=1024)
def _latin(character: str, style: int) -> Mask:
    style %= LATIN_STYLES
    if style >= STROKES:
        share = {"1": 0.45, "I": 0.25, "J": 0.75}.get(character, 1.0)
        return _from_font(character, *LATIN_FONTS[style - STROKES], share)
    weight_px = (7, 8, 9, 11)[style] * 4
    inset = (weight_px / 4 - 10) / 2  # thin strokes reach as far out as thick ones
    mask = np.zeros((BOX_HEIGHT, BOX_WIDTH), np.uint8)
    for line in OTHER_LINES.get(character, STROKE_LINES[character]) if style % 2 else STROKE_LINES[character]:
        points = np.array(line)
        points = np.array([22.5, 45.0]) + (points - [22.5, 45.0]) * [1 - inset / 17.5, 1 - inset / 40]
        cv2.polylines(mask, [np.round(points * 64).astype(np.int32)], False, 255, weight_px, cv2.LINE_AA, 4)
    return mask


@lru_cache(maxsize=256)
def _chinese(character: str, style: int) -> Mask:
    style, lean = divmod(style, len(LEANS))
    file, index = CHINESE_FONTS[style % len(CHINESE_FONTS)]
    mask = _from_font(character, file, index, 1.0)
    if LEANS[lean] != 1.0:
        columns = BOX_WIDTH * np.linspace(0, 1, BOX_WIDTH) ** LEANS[lean]
        x = np.tile(columns.astype(np.float32), (BOX_HEIGHT, 1))
        y = np.tile(np.arange(BOX_HEIGHT, dtype=np.float32)[:, None], (1, BOX_WIDTH))
        mask = np.asarray(cv2.remap(mask, x, y, cv2.INTER_LINEAR), dtype=np.uint8)
    if style < len(CHINESE_FONTS):
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    bold = "Bold" in file.name
    return np.asarray((cv2.erode if bold else cv2.dilate)(mask, kernel), dtype=np.uint8)


def _from_font(character: str, file: Path, index: int, share: float) -> Mask:
    """A font's character, its ink stretched to the box (to `share` of its width, in the middle)."""
    font = ImageFont.truetype(str(file), 300, index=index)
    picture = Image.new("L", (600, 600))
    ImageDraw.Draw(picture).text((120, 80), character, font=font, fill=255)
    ink = np.asarray(picture.crop(picture.getbbox()))
    width = round(BOX_WIDTH * share)
    mask = np.zeros((BOX_HEIGHT, BOX_WIDTH), np.uint8)
    left = (BOX_WIDTH - width) // 2
    mask[:, left : left + width] = cv2.resize(ink, (width, BOX_HEIGHT), interpolation=cv2.INTER_AREA)
    return mask
