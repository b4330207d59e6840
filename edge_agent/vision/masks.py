"""Parts of a camera's picture that are nobody's business, or tell nothing: hidden before anybody looks, or ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent import config, geo
from edge_agent.messages import Box, Detection
from edge_agent.vision.camera import Frame

VEIL = (96, 96, 96)
Pixels = npt.NDArray[np.uint8]


class Masks:
    """The masks of one camera."""

    def __init__(self, sections: Sequence[config.Mask]) -> None:
        self._all = [section.polygon for section in sections]
        self._hidden = [section.polygon for section in sections if section.hide]

    def veil(self, frame: Frame) -> Frame:
        """The frame with what is to be hidden painted over, so that neither clips nor originals ever hold it."""
        if not self._hidden:
            return frame
        lores = None if frame.lores is None else self.painted(frame.lores)
        return replace(frame, pixels=self.painted(frame.pixels), lores=lores)

    def believed(self, found: list[Detection], width: int, height: int) -> list[Detection]:
        """What stands in no mask, by its feet or wheels."""
        if not self._all:
            return found
        return [one for one in found if not any(_in(polygon, one.box, width, height) for polygon in self._all)]

    def painted(self, pixels: Pixels) -> Pixels:
        """A copy of a picture of this camera, with what is to be hidden painted over."""
        height, width = pixels.shape[:2]
        picture = pixels.copy()
        corners = [np.array([(x * width, y * height) for x, y in polygon]) for polygon in self._hidden]
        for points in corners:  # one by one: where two overlap, both hide
            cv2.fillPoly(picture, [points.round().astype(np.int32)], VEIL)
        return picture


def _in(polygon: Sequence[tuple[float, float]], box: Box, width: int, height: int) -> bool:
    return geo.in_polygon((box[0] + box[2]) / 2 / width, min(box[3] / height, 1.0 - 1e-6), polygon)
