"""A lens: places in the picture to rays and back, by Brown's distortion (1971) with OpenCV's coefficients. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Floats = npt.NDArray[np.float64]

ROUNDS = 20  # of Newton's method that undoes the distortion; some five are enough
EXACT, NEAR = 1e-9, 1e-6


class Lens(Struct, frozen=True, kw_only=True):
    """In fractions of the picture's sides, so it serves every size of the same shape; `k` is k1, k2, p1, p2, k3."""

    fx: float
    fy: float
    cx: float = 0.5
    cy: float = 0.5
    k: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def rays(self, places: Floats) -> Floats:
        """(N, 2) places in fractions of the picture to (N, 2) slopes right and down of the optical axis.

        NaN where no ray comes to a place: the distortion's polynomial turns back before it.
        """
        wanted: Floats = (places - (self.cx, self.cy)) / (self.fx, self.fy)
        if not any(self.k):
            return wanted
        found = wanted.copy()
        with np.errstate(all="ignore"):  # what runs away is judged below
            for _ in range(ROUNDS):
                (xx, xy, yy), off = self._bend(found), wanted - self._distorted(found)
                found += (np.stack([yy, xx]) * off.T - xy * off.T[::-1]).T / (xx * yy - xy * xy)[:, None]
                if np.abs(off).max(initial=0.0) < EXACT:
                    break
            (xx, xy, yy), off = self._bend(found), wanted - self._distorted(found)
            turned = (np.abs(off).max(axis=1) < NEAR) & (xx * yy > xy * xy) & (xx + yy > 0)
        found[~turned] = np.nan
        return found

    def place(self, slope: Floats) -> tuple[float, float] | None:
        """Where a slope right and down comes to lie, in the picture or beyond; None where no ray comes from there."""
        x, y = self.places(slope.reshape(1, 2))[0].tolist()
        seen = self.rays(np.array([[x, y]]))[0]
        return (x, y) if float(np.abs(seen - slope).max()) < NEAR * 100 else None

    def places(self, slopes: Floats) -> Floats:
        """The inverse of `rays`, where there is one."""
        found: Floats = self._distorted(slopes) * (self.fx, self.fy) + (self.cx, self.cy)
        return found

    def _distorted(self, slopes: Floats) -> Floats:
        if not any(self.k):
            return slopes
        k1, k2, p1, p2, k3 = self.k
        x, y = slopes[:, 0], slopes[:, 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            axis=1,
        )

    def _bend(self, slopes: Floats) -> tuple[Floats, Floats, Floats]:
        """How a distorted slope moves with its own: d x'/dx, d x'/dy (which is d y'/dx), d y'/dy."""
        k1, k2, p1, p2, k3 = self.k
        x, y = slopes[:, 0], slopes[:, 1]
        r2 = x * x + y * y
        radial, change = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
        return (
            radial + x * x * change + 2 * p1 * y + 6 * p2 * x,
            x * y * change + 2 * p1 * x + 2 * p2 * y,
            radial + y * y * change + 6 * p1 * y + 2 * p2 * x,
        )


def by_angle(hfov_deg: float, aspect: float) -> Lens:
    """A lens without distortion, of a horizontal angle, for a picture `aspect` times as wide as high."""
    fx = 0.5 / math.tan(math.radians(hfov_deg) / 2)
    return Lens(fx=fx, fy=fx * aspect)


def lens_of(found: dict[str, Any]) -> Lens:
    """A calibration (width, height, matrix, distortion) as a lens; ValueError, KeyError or TypeError for none."""
    width, height = float(found["width"]), float(found["height"])
    (fx, _, cx), (_, fy, cy), _ = found["matrix"]
    k = [float(value) for value in found["distortion"]]
    if min(width, height, fx, fy) <= 0 or len(k) != 5 or not all(map(math.isfinite, (fx, fy, cx, cy, *k))):
        raise ValueError("its numbers are those of no camera")
    k1, k2, p1, p2, k3 = k
    return Lens(fx=fx / width, fy=fy / height, cx=cx / width, cy=cy / height, k=(k1, k2, p1, p2, k3))
