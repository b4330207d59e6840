"""A zone in a camera's picture, whether a track stands in it, and how far two things are apart. Pure."""

from __future__ import annotations

import math

from msgspec import Struct

from edge_agent import config, geo
from edge_agent.messages import Box, Fix, Track, Tracks


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


class Spot(Struct, frozen=True):
    """Where something was seen: in a picture so `high` (0: as the other), and on the ground where that is known."""

    box: Box
    place: Fix | None = None
    high: int = 0


def spot_of(track: Track, tracks: Tracks) -> Spot:
    """Where a track is."""
    return Spot(track.box, track.place, tracks.height)


def centre(box: Box) -> geo.Point:
    """The middle of a box, in pixels."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def apart(a: Spot, b: Spot) -> float:
    """How far two things are apart, in sizes of the larger one.

    In the picture from middle to middle, by the root of its area, whatever size the stream had then. Seen by a camera
    that moves, the picture tells nothing: on the ground then, by their width, and no further than the places are sure.
    """
    if a.place is not None and b.place is not None and a.place.method == b.place.method == "drone":
        away_m = geo.distance_m(a.place.lat, a.place.lon, b.place.lat, b.place.lon)
        unsure_m = max(a.place.major_m, b.place.major_m)
        return max(0.0, away_m - unsure_m) / max(a.place.wide_m, b.place.wide_m, 0.1)
    times = a.high / b.high if a.high and b.high else 1.0
    other = (b.box[0] * times, b.box[1] * times, b.box[2] * times, b.box[3] * times)
    size = max(math.sqrt(max(0.0, (x2 - x1) * (y2 - y1))) for x1, y1, x2, y2 in (a.box, other))
    return math.dist(centre(a.box), centre(other)) / max(size, 1.0)
