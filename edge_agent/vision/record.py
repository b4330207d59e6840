"""Pixels that leave or stay: evidence pictures with what was found drawn in, and small thumbnails."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.files import write_durably
from edge_agent.messages import Box, Picture
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame

QUALITY = 90
THUMBNAIL_SIDE = 320
THUMBNAIL_MARGIN = 0.6  # of the box's larger side, around it

# OpenCV's strokes know no Chinese: provinces are written as in ISO 3166-2:CN.
_PAIRS = (
    "京BJ津TJ冀HE晋SX蒙NM辽LN吉JL黑HL沪SH苏JS浙ZJ皖AH闽FJ赣JX鲁SD豫HA"
    "鄂HB湘HN粤GD桂GX琼HI渝CQ川SC贵GZ云YN藏XZ陕SN甘GS青QH宁NX新XJ"
)
_PROVINCES = {_PAIRS[i]: _PAIRS[i + 1 : i + 3] for i in range(0, len(_PAIRS), 3)}
_COLOUR, _INK = (0, 215, 255), (20, 20, 20)
_TINTS = ((60, 60, 255), (255, 160, 40), (60, 200, 60), (200, 60, 200), (0, 200, 255))

Pixels = npt.NDArray[np.uint8]


def write_picture(
    directory: Path, name: str, frame: Frame, boxes: Iterable[tuple[Box, str]], *, ours: bool = False
) -> Picture:
    """`directory/name.jpg`, for its owner alone: the whole frame with captioned boxes; on disk when this returns.

    They are drawn into a copy, but where the frame is `ours`. Raises DriverError.
    """
    marks = tuple(boxes)
    pixels = draw_boxes(frame.pixels, marks, ours=ours) if marks else frame.pixels
    data = jpeg(pixels, QUALITY)
    file = directory / f"{name}.jpg"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(file, data)
    except OSError as error:
        raise DriverError(f"{file}: cannot be written: {error.strerror}") from None
    return Picture(
        path=str(file),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        width=pixels.shape[1],
        height=pixels.shape[0],
    )


def write_sealed(directory: Path, name: str, frame: Frame, recipient: str) -> str:
    """`directory/name.jpg.age`: the whole frame, which the recipient alone can open; raises DriverError.

    Returns the SHA-256 of what the recipient will find.
    """
    from edge_agent.sealing import SUFFIX, seal

    file, data = directory / f"{name}.jpg{SUFFIX}", jpeg(frame.pixels, QUALITY)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(file, seal(data, recipient))
    except OSError as error:
        raise DriverError(f"{file}: cannot be written: {error.strerror}") from None
    return hashlib.sha256(data).hexdigest()


def thumbnail(frame: Frame, box: Box, max_bytes: int = 24 * 1024) -> bytes:
    """A JPEG of the box and its surroundings, at most `max_bytes` long."""
    height, width = frame.pixels.shape[:2]
    margin = THUMBNAIL_MARGIN * max(box[2] - box[0], box[3] - box[1])
    x1, y1 = max(0, int(box[0] - margin)), max(0, int(box[1] - margin))
    x2, y2 = min(width, int(box[2] + margin) + 1), min(height, int(box[3] + margin) + 1)
    crop = frame.pixels[y1:y2, x1:x2] if x2 > x1 and y2 > y1 else frame.pixels
    side, quality = float(THUMBNAIL_SIDE), 80
    while True:
        scale = min(side / max(crop.shape[:2]), 1.0)
        small = cv2.resize(
            crop,
            (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale))),
            interpolation=cv2.INTER_AREA,
        )
        data = jpeg(np.asarray(small, dtype=np.uint8), quality)
        if len(data) <= max_bytes or side < 16:
            return data
        side, quality = side * 0.8, max(quality - 10, 40)


def load_fonts() -> None:
    """OpenCV 5 reads its fonts anew in each thread that first writes with them, which takes 20 ms."""
    cv2.getTextSize("0", cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)


def draw_boxes(pixels: Pixels, boxes: Iterable[tuple[Box, str]], *, ours: bool = False) -> Pixels:
    """A copy of a picture, or itself if it is `ours`, with boxes and their captions, which stay inside it."""
    picture = pixels if ours else pixels.copy()
    height, width = picture.shape[:2]
    thick = max(1, round(min(width, height) / 360))
    size = max(0.4, min(width, height) / 1000)
    for (x1, y1, x2, y2), text in boxes:
        cv2.rectangle(picture, (round(x1), round(y1)), (round(x2), round(y2)), _COLOUR, thick)
        caption = ascii_caption(text)
        (wide, high), below = cv2.getTextSize(caption, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
        left = max(0, min(round(x1), width - wide))
        bottom = min(max(round(y1) - below, high + 2), height - below)
        cv2.rectangle(picture, (left, bottom - high - 2), (left + wide, bottom + below), _COLOUR, -1)
        cv2.putText(picture, caption, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, size, _INK, thick, cv2.LINE_AA)
    return picture


def draw_zones(pixels: Pixels, zones: Iterable[tuple[Sequence[tuple[float, float]], str]]) -> Pixels:
    """A copy of a picture with polygons (in fractions of its sides), tinted, outlined and captioned."""
    picture = pixels.copy()
    height, width = picture.shape[:2]
    corners = [(np.array([(x * width, y * height) for x, y in polygon]), text) for polygon, text in zones]
    for number, (points, _) in enumerate(corners):
        tint = picture.copy()
        cv2.fillPoly(tint, [points.round().astype(np.int32)], _TINTS[number % len(_TINTS)])
        picture = np.asarray(cv2.addWeighted(tint, 0.3, picture, 0.7, 0), dtype=np.uint8)
    for number, (points, _) in enumerate(corners):
        outline = points.round().astype(np.int32)
        cv2.polylines(picture, [outline], True, _TINTS[number % len(_TINTS)], max(2, width // 400), cv2.LINE_AA)
    marks = [((*points.mean(axis=0).tolist(), *points.mean(axis=0).tolist()), text) for points, text in corners]
    return draw_boxes(picture, marks)


def write_png(file: Path, pixels: Pixels) -> None:
    """A picture as PNG, all of it or none; raises DriverError."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise DriverError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels cannot be encoded as PNG")
    try:
        write_durably(file, data.tobytes(), 0o644)
    except OSError as error:
        raise DriverError(f"{file}: cannot be written: {error.strerror}") from None


def ascii_caption(text: str) -> str:
    """A caption that OpenCV can draw: a plate's province by its two letters, 京A12345 as BJ-A12345, the rest as `?`."""
    spelt = "".join(f"{_PROVINCES[c]}-" if c in _PROVINCES else c for c in text)
    return "".join(c if " " <= c <= "~" else "?" for c in spelt)


def jpeg(pixels: Pixels, quality: int = QUALITY) -> bytes:
    """A picture as JPEG; raises DriverError for one that cannot be."""
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise DriverError(f"a picture of {pixels.shape[1]}x{pixels.shape[0]} pixels cannot be encoded as JPEG")
    return data.tobytes()
