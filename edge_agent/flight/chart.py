"""The picture of a route: its legs, fence, rally points and home on a map, and its heights below, as a PNG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from edge_agent import geo
from edge_agent.config import Route
from edge_agent.flight import route as routes
from edge_agent.plans.fence import breaks, way_back
from edge_agent.plans.terrain import Ground

WIDTH, MAP, PROFILE, PAD = 1000, 760, 200, 50
INK, GREY, LEG, BACK, BAD, INSIDE, OUTSIDE, RALLY = (  # BGR
    (40, 40, 40), (205, 205, 205), (190, 120, 30), (215, 195, 160), (40, 40, 220), (60, 150, 60), (60, 60, 200),
    (170, 60, 170),
)  # fmt: skip
FONT = cv2.FONT_HERSHEY_SIMPLEX
RING = 64  # corners of a circle

Point = tuple[float, float]
Pixel = tuple[int, int]


def draw(route: Route, home: Point, ground: Ground | None = None) -> bytes:
    """The PNG. Legs that break the fence are red; heights are above home, the ground where it is known."""
    canvas = np.full((MAP + PROFILE, WIDTH, 3), 255, np.uint8)
    places = [(stop.place.lat, stop.place.lon) for stop in routes.stops(route)]
    rings = [
        *((polygon.corners, polygon.inclusion) for polygon in route.fence.polygons),
        *((_circle((circle.lat, circle.lon), circle.radius_m), circle.inclusion) for circle in route.fence.circles),
    ]
    rally = [(one.lat, one.lon) for one in route.rally]
    everything = [home, *places, *rally, *(corner for ring, _ in rings for corner in ring)]
    pixel, metres = _fit(everything, home)
    for ring, inclusion in rings:
        outline = np.array([pixel(corner) for corner in ring], np.int32)
        cv2.polylines(canvas, [outline], True, INSIDE if inclusion else OUTSIDE, 2, cv2.LINE_AA)
    for place in places:
        cv2.line(canvas, pixel(place), pixel(way_back(route.rally, home, place)[0]), BACK, 1, cv2.LINE_AA)
    for a, b in pairwise([home, *places, home]):
        bad = breaks(route.fence, a, b) is not None
        cv2.line(canvas, pixel(a), pixel(b), BAD if bad else LEG, 2, cv2.LINE_AA)
    for number, place in enumerate(places):
        cv2.circle(canvas, pixel(place), 4, LEG, -1, cv2.LINE_AA)
        if len(places) <= 60:
            x, y = pixel(place)
            _text(canvas, str(number), (x + 6, y - 6), 0.4)
    for place in rally:
        cv2.drawMarker(canvas, pixel(place), RALLY, cv2.MARKER_DIAMOND, 14, 2)
    cv2.drawMarker(canvas, pixel(home), INK, cv2.MARKER_TRIANGLE_UP, 16, 2)
    _text(canvas, f"{route.id}: {len(places)} waypoints, {routes.length_m(route, *home):.0f} m", (16, 28), 0.6)
    _scale(canvas, metres)
    _profile(canvas, route, home, ground)
    done, data = cv2.imencode(".png", canvas)
    assert done  # a canvas of our own making
    return bytes(data.tobytes())


def _fit(places: Sequence[Point], home: Point) -> tuple[Callable[[Point], Pixel], float]:
    """How places become pixels, and how many metres the map is wide."""
    local = [geo.to_local(*place, *home) for place in places]
    norths, easts = [p[0] for p in local], [p[1] for p in local]
    middle = (max(norths) + min(norths)) / 2, (max(easts) + min(easts)) / 2
    across, down = max(max(easts) - min(easts), 20.0), max(max(norths) - min(norths), 20.0)
    scale = min((WIDTH - 2 * PAD) / across, (MAP - 2 * PAD) / down)

    def pixel(place: Point) -> Pixel:
        north, east = geo.to_local(*place, *home)
        return round(WIDTH / 2 + (east - middle[1]) * scale), round(MAP / 2 - (north - middle[0]) * scale)

    return pixel, WIDTH / scale


def _scale(canvas: Any, metres: float) -> None:
    power = 10.0 ** math.floor(math.log10(metres / 5))
    bar_m = max(step * power for step in (1, 2, 5) if step * power <= metres / 5)
    end = PAD + round(bar_m / metres * WIDTH)
    cv2.line(canvas, (PAD, MAP - 14), (end, MAP - 14), INK, 2)
    words = f"{bar_m:g} m   north is up   legs blue, out of the fence red, ways home pale, fence green, exclusion red"
    _text(canvas, words, (end + 10, MAP - 9), 0.42)


def _profile(canvas: Any, route: Route, home: Point, ground: Ground | None) -> None:
    """Heights above home along the route, and the ground below it."""
    stops = routes.stops(route)
    way = [home, *((stop.place.lat, stop.place.lon) for stop in stops), home]
    heights = [0.0, *(stop.place.alt_m for stop in stops), 0.0]
    along = [0.0]
    for a, b in pairwise(way):
        along.append(along[-1] + max(geo.distance_m(*a, *b), 0.01))
    below = [ground.height_m(*place) if ground else None for place in way]
    base_m = below[0]
    floor = [one - base_m for one in below if one is not None and base_m is not None]
    low, high = min([0.0, *floor]), max([*heights, *floor]) + 1
    left, right, top, bottom = PAD, WIDTH - 20, MAP + 26, MAP + PROFILE - 24

    def at(x: float, y: float) -> Pixel:
        return round(left + x / along[-1] * (right - left)), round(bottom - (y - low) / (high - low) * (bottom - top))

    cv2.rectangle(canvas, (left, top), (right, bottom), GREY, 1)
    line = [(0.0, 0.0), (0.0, heights[1]), *zip(along[1:-1], heights[1:-1], strict=True)]
    line += [(along[-1], heights[-2]), (along[-1], 0.0)]
    for start, end in pairwise(line):
        cv2.line(canvas, at(*start), at(*end), LEG, 2, cv2.LINE_AA)
    if base_m is not None and len(floor) == len(way):
        for start, end in pairwise(zip(along, floor, strict=True)):
            cv2.line(canvas, at(*start), at(*end), INSIDE, 2, cv2.LINE_AA)
    _text(canvas, f"{high - 1:.0f} m", (6, top + 12), 0.4)
    _text(canvas, f"{low:.0f} m", (6, bottom), 0.4)
    words = "heights above home" + ("" if ground else "; the ground is not known")
    _text(canvas, words, (left, bottom + 16), 0.42)


def _circle(middle: Point, radius_m: float) -> tuple[Point, ...]:
    angles = (2 * math.pi * k / RING for k in range(RING))
    return tuple(geo.from_local(radius_m * math.cos(a), radius_m * math.sin(a), *middle) for a in angles)


def _text(canvas: Any, words: str, at: Pixel, size: float) -> None:
    shown = words.encode("ascii", "replace").decode()
    cv2.putText(canvas, shown, at, FONT, size, INK, 1, cv2.LINE_AA)
