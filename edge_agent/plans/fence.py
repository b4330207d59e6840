"""Does a path keep within a fence? Straight legs against polygons and circles, in metres around home. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from edge_agent import geo
from edge_agent.plans.model import Fault, Fence, FenceCircle, FencePolygon, Rally

Point = geo.Point


def faults(fence: Fence, rally: Sequence[Rally], home: Point, places: Sequence[Point]) -> list[Fault]:
    """Everything that keeps a route from being flown within its fence: its shape, its legs, and every way back."""
    if not fence:
        return []
    stops = [("home", home), *((f"waypoint {n}", place) for n, place in enumerate(places)), ("home", home)]
    legs = [(f"leg from {a} to {b}", here, there) for (a, here), (b, there) in pairwise(stops)]
    backs = [(f"return from waypoint {n}", place, way_back(rally, home, place)[0]) for n, place in enumerate(places)]
    ends = [(f"rally[{n}]", (r.lat, r.lon), (r.lat, r.lon)) for n, r in enumerate(rally)]
    return shape_faults(fence, home) + leg_faults(fence, [*legs, *backs[:-1], *ends])


def shape_faults(fence: Fence, home: Point | None) -> list[Fault]:
    """What is wrong with the fence itself: edges that cross, and a home (lat, lon) that it keeps the drone from."""
    faults = []
    for n, polygon in enumerate(fence.polygons):
        lat0, lon0 = polygon.corners[0]
        ring = [geo.to_local(lat, lon, lat0, lon0) for lat, lon in polygon.corners]
        if geo.crosses_itself(ring):
            faults.append(
                Fault(where=f"fence.polygons[{n}]", reason="its edges cross each other", remedy="draw it anew")
            )
    if home is not None and (broken := breaks(fence, home, home)):
        faults.append(
            Fault(where="fence", reason=f"home is {broken}", value=f"{home[0]:.6f}, {home[1]:.6f}",
                  remedy="widen the fence, or take off elsewhere")
        )  # fmt: skip
    return faults


def leg_faults(fence: Fence, legs: Iterable[tuple[str, Point, Point]]) -> list[Fault]:
    """The named legs, from (lat, lon) to (lat, lon), that leave the fence."""
    return [
        Fault(where=name, reason=f"the leg is {broken}", value=_ends(a, b), limit="the fence",
              remedy="move the place, add one between, or mend the fence")
        for name, a, b in legs
        if (broken := breaks(fence, a, b))
    ]  # fmt: skip


def breaks(fence: Fence, a: Point, b: Point) -> str | None:
    """How a straight leg from (lat, lon) to (lat, lon) breaks the fence: "outside inclusion polygon 0" for one."""
    end = geo.to_local(*b, *a)
    for n, polygon in enumerate(fence.polygons):
        if polygon.inclusion and not _within(polygon, a, end):
            return f"outside inclusion polygon {n}"
        if not polygon.inclusion and _touches(polygon, a, end):
            return f"inside exclusion polygon {n}"
    for n, circle in enumerate(fence.circles):
        if circle.inclusion and max(_away(circle, a), _away(circle, b)) > circle.radius_m:
            return f"outside inclusion circle {n}"  # a circle holds a leg whose two ends it holds
        if not circle.inclusion and _nearest(circle, a, end) < circle.radius_m:
            return f"inside exclusion circle {n}"
    return None


def way_back(rally: Sequence[Rally], home: Point, place: Point) -> tuple[Point, str]:
    """Where the autopilot's RTL takes the drone from a place: straight to the nearest of home and the rally points.

    As AP_Rally::calc_best_rally_or_home_location does with RALLY_INCL_HOME 1, Copter's default.
    """
    ends = [(home, "home"), *(((r.lat, r.lon), f"rally point {n}") for n, r in enumerate(rally))]
    return min(ends, key=lambda end: geo.distance_m(*place, *end[0]))


def _within(polygon: FencePolygon, origin: Point, end: Point) -> bool:
    ring = _ring(polygon, origin)
    inside = geo.in_polygon(0.0, 0.0, ring) and geo.in_polygon(*end, ring)
    return inside and not _crosses(ring, end)


def _touches(polygon: FencePolygon, origin: Point, end: Point) -> bool:
    ring = _ring(polygon, origin)
    return geo.in_polygon(0.0, 0.0, ring) or geo.in_polygon(*end, ring) or _crosses(ring, end)


def _ring(polygon: FencePolygon, origin: Point) -> list[Point]:
    return [geo.to_local(lat, lon, *origin) for lat, lon in polygon.corners]


def _crosses(ring: Sequence[Point], end: Point) -> bool:
    edges = zip(ring, (*ring[1:], ring[0]), strict=True)
    return any(geo.segments_meet((0.0, 0.0), end, c, d) for c, d in edges)


def _away(circle: FenceCircle, place: Point) -> float:
    return geo.distance_m(circle.lat, circle.lon, *place)


def _nearest(circle: FenceCircle, origin: Point, end: Point) -> float:
    """From the circle's middle to the leg."""
    middle = geo.to_local(circle.lat, circle.lon, *origin)
    length2 = end[0] ** 2 + end[1] ** 2
    along = 0.0 if length2 == 0 else max(0.0, min(1.0, (middle[0] * end[0] + middle[1] * end[1]) / length2))
    return math.hypot(middle[0] - end[0] * along, middle[1] - end[1] * along)


def _ends(a: Point, b: Point) -> str:
    return f"{a[0]:.6f}, {a[1]:.6f} to {b[0]:.6f}, {b[1]:.6f}"
