"""A lens: places in the picture to rays and back, by Brown's distortion (1971) with OpenCV's coefficients. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

Floats = npt.NDArray[np.float64]

ROUNDS = 50  # of the fixed point that undoes the distortion; it converges in some ten where a lens is usable
EXACT = 1e-9


class Lens(Struct, frozen=True, kw_only=True):
    """In fractions of the picture's sides, so it serves every size of the same shape; `k` is k1, k2, p1, p2, k3."""

    fx: float
    fy: float
    cx: float = 0.5
    cy: float = 0.5
    k: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def rays(self, places: Floats) -> Floats:
        """(N, 2) places in fractions of the picture to (N, 2) slopes right and down of the optical axis."""
        wanted = (places - (self.cx, self.cy)) / (self.fx, self.fy)
        found = wanted.copy()
        for _ in range(ROUNDS):
            off = wanted - self._distorted(found)
            found = found + off
            if np.abs(off).max(initial=0.0) < EXACT:
                break
        return found

    def places(self, slopes: Floats) -> Floats:
        """The inverse of `rays`."""
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
