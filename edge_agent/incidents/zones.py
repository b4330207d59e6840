"""A zone in a camera's picture, and whether a track stands in it. Pure."""

from __future__ import annotations

import math

from edge_agent import config, geo
from edge_agent.messages import Box


class Area:
    """A zone's polygon in the pixels of a frame of `width` x `height`, computed once."""

    def __init__(self, zone: config.Zone, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._polygon = tuple((x * width, y * height) for x, y in zone.polygon)

    def holds(self, box: Box) -> bool:
        """Whether a box stands in the zone: its bottom centre, where feet and wheels are.

        What reaches past the picture stands at its edge: a zone drawn down to the edge holds it.
        """
        x1, _, x2, y2 = box
        x = min(max((x1 + x2) / 2, 0.5), self.width - 0.5)
        return geo.in_polygon(x, min(max(y2, 0.5), self.height - 0.5), self._polygon)


def centre(box: Box) -> geo.Point:
    """The middle of a box, in pixels."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def apart(a: Box, b: Box) -> float:
    """How far the middles of two boxes are apart, in sizes of the larger one (the root of its area)."""
    size = max(math.sqrt(max(0.0, (x2 - x1) * (y2 - y1))) for x1, y1, x2, y2 in (a, b))
    return math.dist(centre(a), centre(b)) / max(size, 1.0)
