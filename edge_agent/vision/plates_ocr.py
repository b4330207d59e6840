"""Reading by PP-OCRv4: lines of text in a vehicle's pixels, told to be plates by the grammar."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent import plate_types
from edge_agent.messages import Box, Plate
from edge_agent.vision.camera import Frame
from edge_agent.vision.ocr import Line, Quad, TextReader
from edge_agent.vision.plates import ground_color, moved, quality
from edge_agent.vision.votes import Read

Pixels = npt.NDArray[np.uint8]

CROP_SIDE, MAX_ENLARGE = 640, 3.0  # vehicles are scaled towards this side, which bounds the cost of a read
MAX_LINES = 6  # of text on one vehicle: vans carry advertisements
FIND_SIDE, FIND_LINES = 1280, 40  # of a whole picture
TWO_ROWS = (1.0, 2.4)  # how many times wider than high a crop with two rows of text is
UPPER_ROW, LOWER_ROW = (0.02, 0.42), (0.36, 0.98)  # GA 36-2018: the upper third holds province and authority


class OcrPlates:
    """Reads plates of any kind that the grammar knows."""

    def __init__(self, threads: int, types: tuple[plate_types.Type, ...] = plate_types.CHINESE) -> None:
        self._reader = TextReader(threads, plate_types.characters(types))
        self.types, self.calibration = types, self._reader.calibration

    def read(self, frame: Frame, box: Box) -> Read | None:
        """The plate within a vehicle's box that reads best, in frame pixels; None where nothing reads as a plate."""
        height, width = frame.pixels.shape[:2]
        x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
        x2, y2 = min(width, int(box[2]) + 1), min(height, int(box[3]) + 1)
        if x2 - x1 < 16 or y2 - y1 < 16:
            return None
        scale = min(CROP_SIDE / max(x2 - x1, y2 - y1), MAX_ENLARGE)
        crop = np.asarray(cv2.resize(frame.pixels[y1:y2, x1:x2], None, fx=scale, fy=scale), dtype=np.uint8)
        plates = self._plates(crop, self._reader.read(crop, MAX_LINES))
        best = max(plates, key=lambda read: read.plate.confidence, default=None)
        if best is None:
            return None
        plate = moved(best.plate, x1, y1, 1 / scale)
        return best._replace(plate=plate, quality=quality(frame.pixels, plate.corners))

    def find(self, pixels: Pixels) -> list[Plate]:
        """All plates of a whole BGR picture, the surest first."""
        if min(pixels.shape[:2]) < 16:
            return []
        scale = min(max(1.0, CROP_SIDE / max(pixels.shape[:2])), MAX_ENLARGE)
        larger = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale), dtype=np.uint8) if scale > 1 else pixels
        plates = [read.plate for read in self._plates(larger, self._reader.read(larger, FIND_LINES, FIND_SIDE))]
        return [moved(plate, 0, 0, 1 / scale) for plate in sorted(plates, key=lambda plate: -plate.confidence)]

    def read_crop(self, pixels: Pixels) -> Read | None:
        """The plate that a picture shows and nothing else, of one row or two."""
        height, width = pixels.shape[:2]
        if min(height, width) < 8:
            return None
        color = ground_color(pixels)
        reads = [(self._reader.line(pixels, _part(width, height, 0.0, 1.0)).places, _part(width, height, 0.0, 1.0))]
        if TWO_ROWS[0] <= width / height <= TWO_ROWS[1]:
            rows = [self._reader.line(pixels, _part(width, height, *row)).places for row in (UPPER_ROW, LOWER_ROW)]
            reads.append((rows[0] + rows[1], reads[0][1]))
        lines = self._reader.read(pixels, MAX_LINES) if min(height, width) >= 24 else []
        found = [self._plate(places, quad, color) for places, quad in reads] + [*self._plates(pixels, lines)]
        best = max((read for read in found if read), key=lambda read: read.plate.confidence, default=None)
        return best._replace(quality=quality(pixels, best.plate.corners)) if best else None

    def _plates(self, pixels: Pixels, lines: Sequence[Line]) -> list[Read]:
        """What of the lines is a plate, two rows of one plate joined; a line is part of one plate at most."""
        found: list[Read] = []
        used: set[int] = set()
        for i, line in enumerate(lines):
            plate = self._plate(line.places, line.quad, ground_color(_within(pixels, line.quad)))
            if plate is not None:
                found.append(plate)
                used.add(i)
        for i, upper in enumerate(lines):
            for j, lower in enumerate(lines):
                if i != j and not used & {i, j} and _are_rows(upper, lower):
                    quad = _around(upper.quad, lower.quad)
                    plate = self._plate(upper.places + lower.places, quad, ground_color(_within(pixels, quad)))
                    if plate is not None:
                        found.append(plate)
                        used |= {i, j}
        return found

    def _plate(self, places: tuple[dict[str, float], ...], quad: Quad, color: str | None) -> Read | None:
        decoded = plate_types.decode(places, self.types, color)
        if decoded is None:
            return None
        (x1, y1), (x2, y2) = quad.min(axis=0).tolist(), quad.max(axis=0).tolist()
        plate = Plate(
            text=decoded.text,
            confidence=self.calibration.confidence(decoded.log_chance),
            box=(x1, y1, x2, y2),
            country=decoded.type.country,
            type=decoded.type.id,
            color=color if color in decoded.type.colors else decoded.type.colors[0],  # text says more than light
            corners=tuple((float(x), float(y)) for x, y in quad),
        )
        return Read(plate, decoded.places, color, 1.0)


def _part(width: int, height: int, top: float, bottom: float) -> Quad:
    """The corners of a band of a picture."""
    y1, y2 = top * height, bottom * height
    return np.array([[0, y1], [width, y1], [width, y2], [0, y2]], dtype=np.float32)


def _within(pixels: Pixels, quad: Quad) -> Pixels:
    """The upright part of a picture around four corners."""
    height, width = pixels.shape[:2]
    (x1, y1), (x2, y2) = quad.min(axis=0), quad.max(axis=0)
    return pixels[max(0, int(y1)) : min(height, int(y2) + 1), max(0, int(x1)) : min(width, int(x2) + 1)]


def _are_rows(upper: Line, lower: Line) -> bool:
    """Whether two lines are the rows of one plate: short over long, close together, of one width."""
    if not (2 <= len(upper.places) <= 3 and 4 <= len(lower.places) <= 6):
        return False
    (ax1, ay1), (ax2, ay2) = upper.quad.min(axis=0), upper.quad.max(axis=0)
    (bx1, by1), (bx2, by2) = lower.quad.min(axis=0), lower.quad.max(axis=0)
    overlap = min(ax2, bx2) - max(ax1, bx1)
    return bool(
        overlap > 0.7 * (ax2 - ax1)
        and (ay1 + ay2) / 2 < by1 + 0.2 * (by2 - by1)
        and by1 - ay2 < 0.6 * (by2 - by1)
        and ax2 - ax1 < 1.2 * (bx2 - bx1)
    )


def _around(a: Quad, b: Quad) -> Quad:
    both = np.concatenate([a, b])
    (x1, y1), (x2, y2) = both.min(axis=0), both.max(axis=0)
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float32)
