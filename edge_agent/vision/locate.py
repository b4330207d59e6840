"""Where on the ground a place of the picture is, with an error ellipse, and where in the picture a place on the ground.

The way: picture → lens → camera → (gimbal or mount) → body → north, east, down → the plane or the terrain → WGS-84.
Errors go the same way to first order, so the covariance is a sum over causes: position, height, tilt, heading, time and
focal length, which the pictures of a while have in common, and the pixel itself. Within `MIN_DEPRESSION_DEG` of the
horizon nothing is located: there a degree of tilt is hundreds of metres. Camera axes are right, down, forward; body
axes forward, right, down. Pure.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge_agent import geo
from edge_agent.messages import Fix
from edge_agent.plans.terrain import Ground
from edge_agent.vision.lens import Lens

Floats = npt.NDArray[np.float64]
Corner = tuple[float, float]

MIN_DEPRESSION_DEG = 10.0
MAX_RANGE_M = 3000.0
SLOPE_M = 15.0  # half of what the slope of the ground is taken over: the best maps have a height each 30 m
CHI2_95 = 5.991464547107979  # of two degrees of freedom
EDGE_PARTS = 8  # pieces of a polygon's edge: a lens bends it
FAR = 10.0  # a slope beyond every picture, where a lens has no ray for its edge
NEAR = 0.02  # of the distance: what is nearer to the camera's own plane cannot be projected

_FORWARD = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # a camera that looks ahead, in body axes


class Errors(Struct, frozen=True, kw_only=True):
    """One standard deviation of each cause."""

    place_m: float = 2.0
    height_m: float = 3.0
    tilt_deg: float = 0.7
    heading_deg: float = 2.0
    time_s: float = 0.1
    focal: float = 0.005  # of its length
    picture: float = 0.003  # of the picture's width


class Find(Struct, frozen=True, kw_only=True):
    """A place as one picture shows it, and what each cause of error does to it: north and east in metres, one σ each.

    `shared` (2, causes) moves the places of all pictures together, in the same order of causes; `own` is this one's.
    """

    lat: float
    lon: float
    shared: Floats
    own: Floats
    method: Literal["drone", "pole", "points"]
    ref: Literal["home", "terrain", "plane"]
    wide_m: float = 0.0

    def fix(self) -> Fix:
        """The place with its 95 % ellipse."""
        covariance = self.shared @ self.shared.T + self.own @ self.own.T
        return fix_of(self.lat, self.lon, covariance, method=self.method, ref=self.ref, wide_m=self.wide_m)


class Sight(ABC):
    """How a camera looks at the ground at one moment."""

    @abstractmethod
    def finds(self, places: Sequence[Corner], wide: Sequence[float] = ()) -> list[Find | None]:
        """Where on the ground these places of the picture are (fractions of its sides); None for sky and horizon.

        `wide` is how wide what stands there is in the picture, also as a fraction.
        """

    @abstractmethod
    def outline(self, corners: Sequence[Corner]) -> list[Corner]:
        """A polygon of (lat, lon) in fractions of the picture, cut where it leaves it; empty where it is not seen."""

    @abstractmethod
    def pixel(self, lat: float, lon: float) -> Corner | None:
        """A place on the ground in fractions of the picture, within it or beyond; None for what no ray comes from."""

    def fixes(self, places: Sequence[Corner], wide: Sequence[float] = ()) -> list[Fix | None]:
        """The same as `finds`, with ellipses."""
        return [found.fix() if found else None for found in self.finds(places, wide)]


def rotation(roll: float, pitch: float, yaw: float) -> Floats:
    """Body axes to north, east, down: yaw, then pitch (nose up), then roll (right side down), in radians."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def mounted(roll_deg: float, pitch_deg: float, yaw_deg: float) -> Floats:
    """Camera axes to those of what it is mounted on; pitch -90 looks straight down, top of the picture ahead."""
    found: Floats = rotation(math.radians(roll_deg), math.radians(pitch_deg), math.radians(yaw_deg)) @ _FORWARD
    return found


class PosedSight(Sight):
    """A camera whose place and direction are known: on a vehicle at one moment, or on a surveyed pole."""

    def __init__(
        self,
        lens: Lens,
        turn: Floats,
        *,
        lat: float,
        lon: float,
        alt_m: float,
        errors: Errors,
        method: Literal["drone", "pole"] = "drone",
        velocity: tuple[float, float, float] = (0.0, 0.0, 0.0),
        rates: tuple[float, float, float] = (0.0, 0.0, 0.0),
        ground: Ground | None = None,
        home_msl_m: float = 0.0,
    ) -> None:
        """`turn` takes camera axes to north, east, down; `velocity` (m/s) and `rates` (rad/s) are in these too.

        `alt_m` is above home; with a `ground` home's height above the sea is needed.
        """
        self._lens, self._turn, self._errors, self._method = lens, turn, errors, method
        self._lat, self._lon, self._alt_m = lat, lon, alt_m
        self._velocity, self._rates = np.array(velocity), np.array(rates)
        self._ground, self._home_msl_m = ground, home_msl_m

    def finds(self, places: Sequence[Corner], wide: Sequence[float] = ()) -> list[Find | None]:
        """As `Sight` says."""
        if not places:
            return []
        slopes = self._lens.rays(np.asarray(places, dtype=float).reshape(-1, 2))
        rays = np.column_stack([slopes, np.ones(len(slopes))]) @ self._turn.T
        widths = wide or (0.0,) * len(places)
        return [self._find(ray, slope, width) for ray, slope, width in zip(rays, slopes, widths, strict=True)]

    def pixel(self, lat: float, lon: float) -> Corner | None:
        """As `Sight` says."""
        seen = self._turn.T @ self._towards(lat, lon)
        if seen[2] < NEAR * float(np.linalg.norm(seen)):
            return None
        return self._lens.place(seen[:2] / seen[2])

    def outline(self, corners: Sequence[Corner]) -> list[Corner]:
        """As `Sight` says."""
        seen = [self._turn.T @ self._towards(lat, lon) for lat, lon in corners]
        return outlined(seen, self._lens, NEAR * max(1.0, self._alt_m))

    def _towards(self, lat: float, lon: float) -> Floats:
        north, east = geo.to_local(lat, lon, self._lat, self._lon)
        return np.array([north, east, self._alt_m - self._height_m(lat, lon)])

    def _height_m(self, lat: float, lon: float) -> float:
        """The ground's height above home."""
        known = self._ground.height_m(lat, lon) if self._ground is not None else None
        return 0.0 if known is None else known - self._home_msl_m

    def _find(self, ray: Floats, slope: Floats, width: float) -> Find | None:
        down = ray[2] / float(np.linalg.norm(ray))
        if not down >= math.sin(math.radians(MIN_DEPRESSION_DEG)):  # nor where the lens has no ray
            return None
        per_m = ray[:2] / ray[2]  # metres north and east for each metre down
        below_m = self._below_m(per_m)
        if below_m is None or below_m <= 0 or below_m * float(np.hypot(*per_m)) > MAX_RANGE_M:
            return None
        north, east = below_m * per_m
        lat, lon = geo.from_local(float(north), float(east), self._lat, self._lon)
        known = self._ground is not None and self._ground.height_m(lat, lon) is not None
        leans = self._leans(lat, lon)
        closes = ray[2] + float(leans @ ray[:2])  # how fast the ray nears the slope
        if closes <= 0:
            return None
        per_m = ray[:2] / closes
        by_ray = below_m / ray[2] * (np.eye(2, 3) - np.outer(per_m, [*leans, 1.0]))
        shared, own = self._causes(ray, slope, by_ray, per_m, np.eye(2) - np.outer(per_m, leans))
        return Find(
            lat=lat,
            lon=lon,
            shared=shared,
            own=own,
            method=self._method,
            ref="terrain" if known else "home",
            wide_m=math.hypot(*(by_ray @ self._turn[:, 0])) * width / self._lens.fx,
        )

    def _leans(self, lat: float, lon: float) -> Floats:
        """How many metres the ground rises for each metre north and east; level where the map ends."""
        off = ((-SLOPE_M, 0.0), (SLOPE_M, 0.0), (0.0, -SLOPE_M), (0.0, SLOPE_M))
        around = [self._ground.height_m(*geo.from_local(n, e, lat, lon)) for n, e in off] if self._ground else [None]
        known = [height for height in around if height is not None]
        if len(known) < len(off):
            return np.zeros(2)
        south, north, west, east = known
        return np.array([north - south, east - west]) / (2 * SLOPE_M)

    def _below_m(self, per_m: Floats) -> float | None:
        """How far below the camera the ray meets the ground."""
        if self._ground is None:
            return self._alt_m

        def clear_m(below_m: float) -> float:
            north, east = below_m * per_m
            place = geo.from_local(float(north), float(east), self._lat, self._lon)
            return self._alt_m - below_m - self._height_m(*place)

        flat = float(np.hypot(*per_m))
        low, step = 0.0, max(2.0, 0.02 * max(self._alt_m, 1.0))
        if clear_m(low) <= 0:
            return None  # the camera would be under the ground
        while True:
            high = low + step / max(flat, 1.0)
            if high * max(flat, 1.0) > MAX_RANGE_M:
                return None
            if clear_m(high) <= 0:
                break
            low, step = high, step * 1.05
        while high - low > 0.01:
            middle = (low + high) / 2
            low, high = (low, middle) if clear_m(middle) <= 0 else (middle, high)
        return high

    def _causes(
        self, ray: Floats, slope: Floats, by_ray: Floats, by_height: Floats, by_place: Floats
    ) -> tuple[Floats, Floats]:
        """What one σ of each shared cause and of the pixel does to the place.

        `by_ray`, `by_height` and `by_place` are how it moves with the ray, and with the camera's height and place.
        """
        one, (x, y, z) = self._errors, ray
        by_turn = by_ray @ np.array([[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]])  # δ × ray, as a matrix of δ
        tilt, heading = math.radians(one.tilt_deg), math.radians(one.heading_deg)
        north, east, down = self._velocity
        by_time = by_place @ [north, east] - down * by_height + by_turn @ self._rates
        fx_picture = one.picture / np.array([self._lens.fx, self._lens.fx])  # of the width, also downwards
        by_picture = by_ray @ self._turn[:, :2] * fx_picture
        by_focal = by_ray @ self._turn[:, :2] @ slope * one.focal
        shared = np.column_stack(
            [
                by_place * one.place_m,
                by_height * one.height_m,
                by_turn[:, :2] * tilt,
                by_turn[:, 2] * heading,
                by_time * one.time_s,
                by_focal,
            ]
        )
        return shared, by_picture


def fix_of(
    lat: float,
    lon: float,
    covariance: Floats,
    *,
    method: Literal["drone", "pole", "points"],
    ref: Literal["home", "terrain", "plane"],
    wide_m: float = 0.0,
) -> Fix:
    """A place with the 95 % ellipse of a covariance over (north, east)."""
    a, b, c = float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])
    middle, half = (a + c) / 2, math.hypot((a - c) / 2, b)
    return Fix(
        lat=lat,
        lon=lon,
        major_m=math.sqrt(CHI2_95 * (middle + half)),
        minor_m=math.sqrt(CHI2_95 * max(0.0, middle - half)),
        azimuth_deg=math.degrees(math.atan2(2 * b, a - c) / 2) % 180.0,
        method=method,
        height_ref=ref,
        wide_m=wide_m,
    )


def covers(fix: Fix, lat: float, lon: float) -> bool:
    """Whether a place lies in the ellipse."""
    north, east = geo.to_local(lat, lon, fix.lat, fix.lon)
    turn = math.radians(fix.azimuth_deg)
    along = north * math.cos(turn) + east * math.sin(turn)
    across = east * math.cos(turn) - north * math.sin(turn)
    return (along / max(fix.major_m, 1e-9)) ** 2 + (across / max(fix.minor_m, 1e-9)) ** 2 <= 1.0


def outlined(corners: Sequence[Floats], lens: Lens, near: float) -> list[Corner]:
    """A polygon of places (right, down, ahead of the camera) in fractions of the picture, cut at its edges."""
    left, top = np.nan_to_num(lens.rays(np.array([[0.0, 0.5], [0.5, 0.0]]))[[0, 1], [0, 1]], nan=-FAR)
    right, bottom = np.nan_to_num(lens.rays(np.array([[1.0, 0.5], [0.5, 1.0]]))[[0, 1], [0, 1]], nan=FAR)
    ahead = _cut(corners, np.array([0.0, 0.0, 1.0]), near)
    for side in ((1.0, 0.0, -left), (-1.0, 0.0, right), (0.0, 1.0, -top), (0.0, -1.0, bottom)):
        ahead = _cut(ahead, np.array(side), 0.0)  # a little of the picture's corners goes where the lens bends most
    if len(ahead) < 3:
        return []
    pairs = zip(ahead, [*ahead[1:], ahead[0]], strict=True)
    fine = np.array([a + (b - a) * part / EDGE_PARTS for a, b in pairs for part in range(EDGE_PARTS)])
    found = np.clip(lens.places(fine[:, :2] / fine[:, 2:]), 0.0, 1.0)
    return [(float(x), float(y)) for x, y in found]


def _cut(polygon: Sequence[Floats], inward: Floats, least: float) -> list[Floats]:
    """The part of a polygon in space on the inner side of a plane (Sutherland and Hodgman, 1974)."""
    found: list[Floats] = []
    for i, corner in enumerate(polygon):
        before = polygon[i - 1]
        here, there = float(corner @ inward) - least, float(before @ inward) - least
        if here * there < 0:
            found.append(before + (corner - before) * (there / (there - here)))
        if here >= 0:
            found.append(corner)
    return found
