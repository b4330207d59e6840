"""WGS-84 to local metres and back, distances, bearings, polygons: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

WGS84_A_M = 6378137.0
WGS84_E2 = 6.69437999014e-3

Point = tuple[float, float]


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Metres per degree of latitude and of longitude at `lat` (radii of curvature of the WGS-84 ellipsoid)."""
    s2 = math.sin(math.radians(lat)) ** 2
    meridian_m = WGS84_A_M * (1 - WGS84_E2) / (1 - WGS84_E2 * s2) ** 1.5
    normal_m = WGS84_A_M / math.sqrt(1 - WGS84_E2 * s2)
    return math.radians(meridian_m), math.radians(normal_m * math.cos(math.radians(lat)))


def to_local(lat: float, lon: float, lat0: float, lon0: float) -> Point:
    """(north_m, east_m) of a place from an origin; good to centimetres within 10 km."""
    per_lat, per_lon = metres_per_degree((lat + lat0) / 2)
    return (lat - lat0) * per_lat, _wrap180(lon - lon0) * per_lon


def from_local(north_m: float, east_m: float, lat0: float, lon0: float) -> Point:
    """(lat, lon) of a place given in metres from an origin; the inverse of `to_local`."""
    lat = lat0 + north_m / metres_per_degree(lat0)[0]
    for _ in range(2):  # the scale belongs to the middle latitude, which is not known at first
        per_lat, per_lon = metres_per_degree((lat + lat0) / 2)
        lat = lat0 + north_m / per_lat
    return lat, _wrap180(lon0 + east_m / per_lon)


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Horizontal distance between two places."""
    return math.hypot(*to_local(lat2, lon2, lat1, lon1))


def bearing_deg(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Bearing from the first place to the second, 0..360 clockwise from true north."""
    north, east = to_local(lat2, lon2, lat1, lon1)
    return math.degrees(math.atan2(east, north)) % 360


def in_polygon(x: float, y: float, polygon: Sequence[Point]) -> bool:
    """Even-odd rule; a point on the left or lower edge counts as inside."""
    inside = False
    x1, y1 = polygon[-1]
    for x2, y2 in polygon:
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
        x1, y1 = x2, y2
    return inside


def area(polygon: Sequence[Point]) -> float:
    """The area that a simple polygon encloses, in the square of its unit (shoelace formula)."""
    pairs = zip(polygon, (*polygon[1:], polygon[0]), strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2


def is_flat(polygon: Sequence[Point]) -> bool:
    """Whether all corners lie on one line, or in one place: the area is less than a millionth of its length squared."""
    length: float = max(max(axis) - min(axis) for axis in zip(*polygon, strict=True))
    return area(polygon) <= 1e-6 * length * length


def crosses_itself(polygon: Sequence[Point]) -> bool:
    """Whether any two edges that are not neighbours meet; a corner repeated at once (a closed ring) is one corner."""
    polygon = [corner for i, corner in enumerate(polygon) if corner != polygon[i - 1]]
    n = len(polygon)
    edges = [(polygon[i], polygon[(i + 1) % n]) for i in range(n)]
    return any(
        segments_meet(*edges[i], *edges[j]) for i in range(n) for j in range(i + 2, n) if not (i == 0 and j == n - 1)
    )


def side_of(a: Point, b: Point, point: Point) -> float:
    """How far a point is from the line through a and b; in a picture (y down) positive to the right of a to b."""
    (ax, ay), (bx, by), (x, y) = a, b, point
    return ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / (math.dist(a, b) or 1.0)


def segments_meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the segments a-b and c-d have a point in common."""

    """Whether the segments a-b and c-d have a point in common."""

    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    def on(p: Point, q: Point, r: Point) -> bool:
        return min(p[0], q[0]) <= r[0] <= max(p[0], q[0]) and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])

    s1, s2, s3, s4 = side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)
    if s1 * s2 < 0 and s3 * s4 < 0:
        return True
    return any(s == 0 and on(p, q, r) for s, p, q, r in ((s1, a, b, c), (s2, a, b, d), (s3, c, d, a), (s4, c, d, b)))


def _wrap180(deg: float) -> float:
    return (deg + 180) % 360 - 180
