"""Areas become survey lines, lines become corridors, from the camera, the height and the overlap. Pure geometry.

The camera looks straight down, its long side across the path. A strip is as wide as the ground it sees; strips lie
`1 - side overlap` of that apart. Each is flown from where the area first meets it to where it last does, so that every
point of the area is inside some footprint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from edge_agent import geo
from edge_agent.plans.model import ALT_MAX_M, PLACES_MAX, Fault, Place, Plan, PlanError, Shape

Point = tuple[float, float]
Line = tuple[Point, Point]


class Camera(NamedTuple):
    """Angles of view, degrees: across the path and along it."""

    across_deg: float
    along_deg: float

    def footprint_m(self, height_m: float) -> tuple[float, float]:
        """Width and length of the ground that one picture shows."""
        across, along = (2 * height_m * math.tan(math.radians(deg) / 2) for deg in self)
        return across, along


class Survey(NamedTuple):
    """How an area or a line is flown over."""

    camera: Camera
    alt_m: float
    front_overlap: float = 0.7
    side_overlap: float = 0.3
    corridor_m: float = 0.0  # the width of ground to be seen along a line
    angle_deg: float | None = None  # of the strips, clockwise from north; None: along the side that needs the fewest

    @property
    def spacing_m(self) -> float:
        """Between strips."""
        return self.camera.footprint_m(self.alt_m)[0] * (1 - self.side_overlap)

    @property
    def picture_m(self) -> float:
        """Between pictures along a strip."""
        return self.camera.footprint_m(self.alt_m)[1] * (1 - self.front_overlap)


def camera(
    *,
    hfov_deg: float | None = None,
    sensor_mm: tuple[float, float] | None = None,
    focal_mm: float | None = None,
    pixels: tuple[int, int] = (16, 9),
) -> Camera:
    """From the angle of view across, or from the sensor and the lens; ValueError names what is wrong.

    The pinhole camera: angle = 2 atan(side / 2 focal length). `pixels` gives the shape where only one angle is known.
    """
    if hfov_deg is not None:
        if not 1 <= hfov_deg <= 150:
            raise ValueError(f"the angle of view, {hfov_deg:g} degrees, is not within 1 to 150")
        half = math.tan(math.radians(hfov_deg) / 2)
        return Camera(hfov_deg, 2 * math.degrees(math.atan(half * pixels[1] / pixels[0])))
    if sensor_mm is None or focal_mm is None:
        raise ValueError("the angle of view is wanted, or the sensor's size and the focal length")
    if not (focal_mm > 0 and min(sensor_mm) > 0):
        raise ValueError(
            f"sensor {sensor_mm[0]:g} x {sensor_mm[1]:g} mm, focal length {focal_mm:g} mm: above 0 is wanted"
        )
    across, along = (2 * math.degrees(math.atan(side / 2 / focal_mm)) for side in sensor_mm)
    return Camera(across, along)


def places(shapes: Sequence[Shape], how: Survey, file: str) -> tuple[Place, ...]:
    """Every shape's places in the file's order; PlanError where one is too large for a route."""
    if not 0 < how.alt_m <= ALT_MAX_M:
        raise PlanError(file, [Fault(where="height", reason="out of limits", value=f"{how.alt_m:g} m",
                                     limit=f"above 0 up to {ALT_MAX_M:g} m")])  # fmt: skip
    found: list[Place] = []
    for shape in shapes:
        lat0, lon0 = shape.corners[0]
        local = [geo.to_local(lat, lon, lat0, lon0) for lat, lon in shape.corners]
        points: Sequence[Point]
        match shape.kind:
            case "point":
                points = local
            case "line":
                points = corridor(local, how)
            case "area":
                if geo.crosses_itself(local):
                    raise PlanError(file, [Fault(where=shape.item, reason="its edges cross each other")])
                points = [end for line in strips(local, how) for end in line]
        if len(points) + len(found) > PLACES_MAX:
            raise PlanError(
                file, [Fault(where=shape.item, reason=f"the route would have {len(points) + len(found)} places",
                             value=str(len(points) + len(found)), limit=str(PLACES_MAX),
                             remedy="fly higher, overlap less, or make several routes of it")]
            )  # fmt: skip
        for north_m, east_m in points:
            lat, lon = geo.from_local(north_m, east_m, lat0, lon0)
            found.append(Place(lat=round(lat, 7), lon=round(lon, 7), alt_m=how.alt_m, item=shape.item))
    return tuple(found)


def surveyed(plan: Plan, how: Survey, file: str) -> Plan:
    """A map's plan with its places; a plan that has places already is as it was."""
    if plan.places or not plan.shapes:
        return plan
    return Plan(
        places=places(plan.shapes, how, file), home=plan.home, speed_mps=plan.speed_mps, fence=plan.fence,
        rally=plan.rally, shapes=plan.shapes, notes=plan.notes,
    )  # fmt: skip


def strips(area: Sequence[Point], how: Survey) -> list[Line]:
    """The strips over an area of (north, east) metres, to and fro."""
    angle = math.radians(how.angle_deg) if how.angle_deg is not None else _best_angle(area)
    turned = [_turn(point, -angle) for point in area]  # the strips run along the first axis from here on
    low, high = min(y for _, y in turned), max(y for _, y in turned)
    count = min(_needed(high - low, how), PLACES_MAX)
    lines: list[Line] = []
    for n in range(count):
        middle = low + (high - low) * (n + 0.5) / count
        half = (high - low) / count / 2
        first, last = _reach(turned, middle - half, middle + half)
        ends = ((first, middle), (last, middle)) if n % 2 == 0 else ((last, middle), (first, middle))
        lines.append((_turn(ends[0], angle), _turn(ends[1], angle)))
    return lines


def corridor(line: Sequence[Point], how: Survey) -> list[Point]:
    """The line itself where one strip shows its whole width, else several passes side by side."""
    width, along = how.corridor_m, how.camera.footprint_m(how.alt_m)[1]
    count = min(_needed(width, how), PLACES_MAX // len(line) + 1)
    if count == 1 and along >= width:
        return list(line)
    points: list[Point] = []
    for n in range(count):
        beside = -width / 2 + width * (n + 0.5) / count
        ends = [_beside(a, b, beside, width / 2) for a, b in pairwise(line) if a != b]
        passed = [point for pair in ends for point in pair]
        points += passed if n % 2 == 0 else passed[::-1]
    return points


def pictures(lines: Sequence[Line], how: Survey) -> list[tuple[Point, float]]:
    """Where pictures are taken, both ends of each line included, and the course there (radians from north)."""
    found = []
    for (n1, e1), (n2, e2) in lines:
        count = max(1, math.ceil(math.hypot(n2 - n1, e2 - e1) / how.picture_m))
        course = math.atan2(e2 - e1, n2 - n1)
        found += [((n1 + (n2 - n1) * k / count, e1 + (e2 - e1) * k / count), course) for k in range(count + 1)]
    return found


def _needed(width_m: float, how: Survey) -> int:
    """How many strips show a width: the outermost two need no overlap beyond the edge."""
    across = how.camera.footprint_m(how.alt_m)[0]
    return 1 if width_m <= across else max(2, math.ceil(width_m / how.spacing_m))


def _best_angle(area: Sequence[Point]) -> float:
    """Along the edge over which the area is narrowest: the fewest turns."""

    def width(angle: float) -> float:
        across = [_turn(point, -angle)[1] for point in area]
        return max(across) - min(across)

    edges = zip(area, (*area[1:], area[0]), strict=True)
    return min((math.atan2(b[1] - a[1], b[0] - a[0]) for a, b in edges if a != b), key=width, default=0.0)


def _reach(area: Sequence[Point], low: float, high: float) -> tuple[float, float]:
    """From where to where an area lies within a strip: its corners inside, and where its edges meet the borders."""
    found = [x for x, y in area if low <= y <= high]
    for (x1, y1), (x2, y2) in zip(area, (*area[1:], area[0]), strict=True):
        for border in (low, high):
            if (y1 - border) * (y2 - border) < 0:
                found.append(x1 + (x2 - x1) * (border - y1) / (y2 - y1))
    return min(found), max(found)


def _beside(a: Point, b: Point, beside: float, beyond: float) -> Line:
    length = math.hypot(b[0] - a[0], b[1] - a[1])
    ahead = ((b[0] - a[0]) / length, (b[1] - a[1]) / length)
    right = (-ahead[1], ahead[0])
    return (
        (a[0] - ahead[0] * beyond + right[0] * beside, a[1] - ahead[1] * beyond + right[1] * beside),
        (b[0] + ahead[0] * beyond + right[0] * beside, b[1] + ahead[1] * beyond + right[1] * beside),
    )


def _turn(point: Point, angle: float) -> Point:
    """A (north, east) point turned clockwise by `angle`, seen from above."""
    north, east = point
    return north * math.cos(angle) - east * math.sin(angle), north * math.sin(angle) + east * math.cos(angle)
