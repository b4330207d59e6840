"""A fixed camera that knows the ground by marked points: a homography with the covariance of its fit. Pure.

Four points that are not in a line determine the eight numbers; more are fitted by least squares, weighted by how well
each is marked and surveyed (Hartley and Zisserman, Multiple View Geometry, 4.1 and 5.2). What lies far from the marked
points gets a large ellipse, as it should: the fit says little there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from edge_agent import geo
from edge_agent.vision.lens import Lens
from edge_agent.vision.locate import CHI2_95, Corner, Find, Sight, outlined

Floats = npt.NDArray[np.float64]

LEAST_POINTS = 4
ROUNDS = 20
MAX_STRETCH = 50.0  # metres on the ground for a hundredth of the picture: nearer to the horizon nothing is located
MAX_MAJOR_M = 200.0
NOT_AHEAD = 1e-3


class Mark(Struct, frozen=True, kw_only=True):
    """A point of the ground that can be made out: where in the picture (fractions) and where in the world."""

    x: float
    y: float
    lat: float
    lon: float


class Misfit(ValueError):  # noqa: N818  # it is what the points are
    """Marked points that determine no plane."""


class PointsSight(Sight):
    """The ground of a fixed camera. `mark` is the error of a mark in widths of the picture, `picture` that of a find.

    `survey_m` is the error of a mark's place as far as it differs between marks, `common_m` what all of them share; one
    standard deviation each.
    """

    def __init__(
        self,
        marks: Sequence[Mark],
        lens: Lens | None = None,
        *,
        mark: float = 0.002,
        survey_m: float = 0.3,
        common_m: float = 1.0,
        picture: float = 0.003,
    ) -> None:
        """Misfit where the points are too few, in a line, or contradict each other."""
        if len(marks) < LEAST_POINTS:
            raise Misfit(f"{LEAST_POINTS} points are needed, there are {len(marks)}")
        self._lens = lens or Lens(fx=1.0, fy=1.0)
        self._mark, self._survey_m, self._common_m, self._picture = mark, survey_m, common_m, picture
        self._lat, self._lon = marks[0].lat, marks[0].lon
        seen = self._lens.rays(np.array([(one.x, one.y) for one in marks]))
        if np.isnan(seen).any():
            raise Misfit("the lens has no ray for one of the points: is it the lens of this camera?")
        ground = np.array([geo.to_local(one.lat, one.lon, self._lat, self._lon) for one in marks])
        self._to_unit, self._from_unit = _unit(seen), _unit(ground)
        self._fit(_through(self._to_unit, seen), _through(self._from_unit, ground), float(self._from_unit[0, 0]))
        there = np.linalg.inv(self._from_unit) @ _matrix(self._h) @ self._to_unit
        ahead = float(np.mean(np.column_stack([seen, np.ones(len(seen))]) @ there[2]))
        if np.linalg.det(there) * ahead < 0:  # right and down in the picture is right and down on the map, turned
            raise Misfit("the points are a mirror image: are two of them exchanged, or latitude and longitude?")
        back = np.linalg.inv(there)
        self._there, self._back = (
            there,
            back / float(np.mean(np.column_stack([ground, np.ones(len(ground))]) @ back[2])),
        )
        misses = _through(there, seen) - ground
        self.misses_m = tuple(float(np.hypot(*miss)) for miss in misses)
        self.rms_m = math.sqrt(float(np.mean(np.sum(misses**2, axis=1))))

    # --- the fit --------------------------------------------------------------------------------------------------

    def _fit(self, seen: Floats, ground: Floats, per_m: float) -> None:
        """All in units in which the points are about 1 from their middle; `per_m` units are a metre on the ground."""
        h = _direct(seen, ground)
        for _ in range(ROUNDS):
            weights = self._weights(h, seen, per_m)
            jacobian, misses = _jacobian(h, seen), (_mapped(h, seen) - ground).ravel()
            normal = (jacobian.T * weights) @ jacobian
            if np.linalg.cond(normal) > 1e14:
                raise Misfit("the points lie in a line, or nearly: mark some that span the ground")
            step = np.linalg.solve(normal, (jacobian.T * weights) @ misses)
            h = h - step
            if np.abs(step).max() < 1e-12:
                break
        self._h, self._sign = h, float(np.sign(_depth(h, seen)).mean())
        if abs(self._sign) < 1.0:
            raise Misfit("the points lie on both sides of the horizon: is one of them marked wrongly?")
        free = 2 * len(seen) - 8
        chi2 = float(misses**2 @ weights) / free if free else 1.0
        sizes, turned = np.linalg.eigh(np.linalg.inv(normal) * max(1.0, chi2))
        self._causes = turned * np.sqrt(np.maximum(sizes, 0.0))  # eight that are independent, one σ each

    def _weights(self, h: Floats, seen: Floats, per_m: float) -> Floats:
        """1 / variance of each coordinate on the ground: the survey's, and the mark's error carried there."""
        carried = np.array([_by_picture(h, one) for one in seen]) * self._mark_error()
        variances = (self._survey_m * per_m) ** 2 + (carried**2).sum(axis=2)
        found: Floats = 1.0 / variances.ravel()
        return found

    def _mark_error(self, widths: float | None = None) -> Floats:
        """The error of a mark in units, right and down."""
        per = (self._mark if widths is None else widths) / self._lens.fx
        found: Floats = per * np.diag(self._to_unit)[:2]
        return found

    # --- picture to ground ----------------------------------------------------------------------------------------

    def finds(self, places: Sequence[Corner], wide: Sequence[float] = ()) -> list[Find | None]:
        """As `Sight` says."""
        if not places:
            return []
        slopes = self._lens.rays(np.asarray(places, dtype=float).reshape(-1, 2))
        widths = wide or (0.0,) * len(places)
        return [self._find(slope, width) for slope, width in zip(slopes, widths, strict=True)]

    def _find(self, slope: Floats, width: float) -> Find | None:
        unit = _through(self._to_unit, slope.reshape(1, 2))
        if not float(_depth(self._h, unit)[0]) * self._sign > 0:
            return None  # above the horizon, or the lens has no ray
        metre = 1.0 / float(self._from_unit[0, 0])
        by_picture = _by_picture(self._h, unit[0]) * metre
        if np.abs(by_picture * self._mark_error(0.01)).max() > MAX_STRETCH:
            return None
        by_h = _jacobian(self._h, unit) * metre
        pixel = by_picture * self._mark_error(self._picture)
        shared = np.column_stack([by_h @ self._causes, np.eye(2) * self._common_m])
        if CHI2_95 * np.linalg.eigvalsh(shared @ shared.T + pixel @ pixel.T)[-1] > MAX_MAJOR_M**2:
            return None
        north, east = _through(self._there, slope.reshape(1, 2))[0]
        lat, lon = geo.from_local(float(north), float(east), self._lat, self._lon)
        wide_m = math.hypot(*(by_picture[:, 0] * self._mark_error(width)[0]))
        return Find(lat=lat, lon=lon, shared=shared, own=pixel, method="points", ref="plane", wide_m=wide_m)

    # --- ground to picture ----------------------------------------------------------------------------------------

    def pixel(self, lat: float, lon: float) -> Corner | None:
        """As `Sight` says."""
        seen = self._towards(lat, lon)
        if seen[2] <= NOT_AHEAD:
            return None
        return self._lens.place(seen[:2] / seen[2])

    def outline(self, corners: Sequence[Corner]) -> list[Corner]:
        """As `Sight` says."""
        return outlined([self._towards(lat, lon) for lat, lon in corners], self._lens, NOT_AHEAD)

    def _towards(self, lat: float, lon: float) -> Floats:
        """Right, down and ahead, up to a scale: ahead is about 1 at the marked points, negative behind the camera."""
        found: Floats = self._back @ np.array([*geo.to_local(lat, lon, self._lat, self._lon), 1.0])
        return found


# --- homographies: h holds the first eight of nine numbers, the last is 1 --------------------------------------------


def _matrix(h: Floats) -> Floats:
    return np.append(h, 1.0).reshape(3, 3)


def _depth(h: Floats, points: Floats) -> Floats:
    found: Floats = points @ h[6:8] + 1.0
    return found


def _mapped(h: Floats, points: Floats) -> Floats:
    return _through(_matrix(h), points)


def _through(matrix: Floats, points: Floats) -> Floats:
    found = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(found[:, :2] / found[:, 2:])


def _unit(points: Floats) -> Floats:
    """The shift and scale that puts points around 0 at a mean distance of √2 (Hartley, 1997)."""
    middle = points.mean(axis=0)
    spread = float(np.hypot(*(points - middle).T).mean())
    if spread < 1e-9:
        raise Misfit("the points are all in one place")
    scale = math.sqrt(2.0) / spread
    return np.array([[scale, 0.0, -scale * middle[0]], [0.0, scale, -scale * middle[1]], [0.0, 0.0, 1.0]])


def _direct(seen: Floats, ground: Floats) -> Floats:
    """The direct linear transformation."""
    rows = []
    for (x, y), (u, v) in zip(seen, ground, strict=True):
        rows.append([x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, -u])
        rows.append([0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, -v])
    _, sizes, turned = np.linalg.svd(np.array(rows))
    solution = turned[-1]
    if sizes[7] < 1e-9 * sizes[0] or abs(solution[8]) < 1e-9:
        raise Misfit("the points lie in a line, or nearly: mark some that span the ground")
    found: Floats = solution[:8] / solution[8]
    return found


def _jacobian(h: Floats, points: Floats) -> Floats:
    """(2N, 8): how the mapped points, one coordinate after the other, move with h."""
    mapped, depth = _mapped(h, points), _depth(h, points)
    rows = []
    for (x, y), (u, v), w in zip(points, mapped, depth, strict=True):
        rows.append(np.array([x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y]) / w)
        rows.append(np.array([0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y]) / w)
    return np.array(rows)


def _by_picture(h: Floats, point: Floats) -> Floats:
    """(2, 2): how a mapped point moves with its place in the picture."""
    matrix = _matrix(h)
    u, v, w = (float(value) for value in matrix @ np.array([*point, 1.0]))
    found: Floats = np.array([matrix[0, :2] * w - u * matrix[2, :2], matrix[1, :2] * w - v * matrix[2, :2]])
    return found / w**2
