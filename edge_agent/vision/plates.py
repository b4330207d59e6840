"""Licence plates: a vehicle's pixels become text, checked by the grammar (votes.py: what several readings make)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, assert_never

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent import config, plate_types
from edge_agent.messages import Box, Plate, PlateShot
from edge_agent.plate_types import Type
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.record import jpeg
from edge_agent.vision.votes import Calibration, Read

Pixels = npt.NDArray[np.uint8]

SHOT_MARGIN, SHOT_QUALITY = 0.15, 95  # of the plate's width, around it
UPRIGHT = (96, 32)  # the size at which crops are compared
GOOD_PX, SHARP, WORST = 120, 400.0, 0.01  # so wide it needs no more; detail at which sharpness counts half; the least


class PlateReader(Protocol):
    """Finds and reads plates, blocking; called from one thread at a time."""

    types: tuple[Type, ...]  # of plates that it tells
    calibration: Calibration

    def read(self, frame: Frame, box: Box) -> Read | None:
        """The plate within a vehicle's box that reads best, in frame pixels; None where nothing reads as a plate."""
        ...

    def find(self, pixels: Pixels) -> list[Plate]:
        """All plates of a whole BGR picture, the surest first."""
        ...

    def read_crop(self, pixels: Pixels) -> Read | None:
        """The plate that a picture shows and nothing else, of one row or two."""
        ...


def open_plate_reader(
    reader: config.PlateReader, threads: int, countries: tuple[str, ...], files: tuple[Path, ...] = ()
) -> PlateReader:
    """The reader of a name; raises DriverError where it cannot be had, or does not know a country's plates.

    `files` are kinds of plates beside those that are known.
    """
    try:
        types = plate_types.of_countries(countries, files)
    except ValueError as error:
        raise DriverError(str(error)) from None
    match reader:
        case "built-in":
            from edge_agent.vision.plates_own import OwnPlates

            return OwnPlates(threads, types)
        case "rapidocr":
            from edge_agent.vision.plates_ocr import OcrPlates

            return OcrPlates(threads, types)
        case _:
            assert_never(reader)


def quality(pixels: Pixels, corners: Sequence[tuple[float, float]]) -> float:
    """How well a plate can be read between its corners (frame pixels), above 0 to 1: size, sharpness, angle."""
    quad = np.array(corners, dtype=np.float32)
    top, right, bottom, left = (float(np.linalg.norm(quad[i - 3] - quad[i])) for i in range(4))
    if min(top, right, bottom, left) < 1:
        return WORST
    wide, high = UPRIGHT
    upright = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], dtype=np.float32)
    flat = cv2.warpPerspective(pixels, cv2.getPerspectiveTransform(quad, upright), UPRIGHT)
    detail = float(cv2.Laplacian(cv2.cvtColor(flat, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())
    slant = min(top, bottom) / max(top, bottom) * min(left, right) / max(left, right)
    level = abs(float(quad[1][0] - quad[0][0])) / top
    return max(WORST, min(top / GOOD_PX, 1.0) * detail / (detail + SHARP) * slant * level)


def shot_of(frame: Frame, plate: Plate) -> PlateShot | None:
    """The plate with its surroundings, as it stands in the frame that it was read in; None where it is beyond it."""
    height, width = frame.pixels.shape[:2]
    x1, y1, x2, y2 = plate.box
    margin = SHOT_MARGIN * (x2 - x1)
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    right, bottom = min(width, int(x2 + margin) + 1), min(height, int(y2 + margin) + 1)
    if right <= left or bottom <= top:
        return None
    return PlateShot(jpeg=jpeg(frame.pixels[top:bottom, left:right], SHOT_QUALITY), wall_s=frame.wall_s)


def ground_color(pixels: Pixels) -> str | None:
    """The colour of a plate's ground: blue, green, yellow-green, yellow, white or black; None where it is none."""
    if min(pixels.shape[:2]) < 4:
        return None
    height, width = pixels.shape[:2]
    inner = pixels[height // 10 : height - height // 10, width // 20 : width - width // 20]
    hue, saturation, value = np.moveaxis(cv2.cvtColor(inner, cv2.COLOR_BGR2HSV), 2, 0).astype(int)
    coloured = (saturation > 60) & (value > 40)
    shares = {
        "blue": float((coloured & (hue >= 92) & (hue <= 135)).mean()),
        "green": float((coloured & (hue >= 36) & (hue < 92)).mean()),
        "yellow": float((coloured & (hue >= 12) & (hue < 36)).mean()),
    }
    name, share = max(shares.items(), key=lambda pair: pair[1])
    if name != "blue" and min(shares["green"], shares["yellow"]) > 0.15:
        return "yellow-green"
    if share > 0.25:
        return name
    if (saturation < 60).mean() > 0.6:
        return "white" if np.median(value) > 110 else "black"
    return None


def moved(plate: Plate, left: float, top: float, scale: float) -> Plate:
    """A plate of a part of a picture, enlarged, in pixels of the picture."""
    x1, y1, x2, y2 = (side * scale for side in plate.box)
    return msgspec.structs.replace(
        plate,
        box=(x1 + left, y1 + top, x2 + left, y2 + top),
        corners=tuple((x * scale + left, y * scale + top) for x, y in plate.corners),
    )
