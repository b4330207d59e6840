"""A constant-velocity Kalman filter over many boxes at once, with true time steps: pure, vectorised."""

from __future__ import annotations

import numpy as np

from edge_agent.vision.boxes import Floats

# All in units of the object's own size (root of its area), so that near and far objects are treated alike.
MEASURED_STD = np.array([0.06, 0.06, 0.08, 0.08])  # of cx, cy, w, h as a detector gives them
DRIFT_STD = np.array([1.0, 0.7, 0.3, 0.3])  # how far a velocity wanders in one second, per second
FIRST_SPEED_STD = np.array([2.0, 1.0, 0.5, 0.5])  # per second, of an object just seen
_DRIFT, _NOISE = DRIFT_STD**2, MEASURED_STD**2


class Kalman:
    """Rows of (cx, cy, w, h), each coordinate a filter of its own: position, velocity and their 2x2 covariance.

    The noises are independent per coordinate, so the 8x8 filter of SORT falls apart into four 2x2 ones; the process
    noise is that of white acceleration over dt (Bar-Shalom, Estimation with Applications, eq. 6.2.2-4).
    """

    def __init__(self) -> None:
        self.position = np.empty((0, 4))
        self.velocity = np.empty((0, 4))
        self._pp, self._pv, self._vv = np.empty((3, 0, 4))  # variances: of position, of both, of velocity

    def __len__(self) -> int:
        return len(self.position)

    def boxes(self) -> Floats:
        """The estimates as (x1, y1, x2, y2)."""
        centre, half = self.position[:, :2], self.position[:, 2:] / 2
        return np.concatenate([centre - half, centre + half], axis=1)

    def add(self, boxes: Floats) -> None:
        """New rows, at rest, for boxes just seen."""
        if not len(boxes):
            return
        measured = _centred(boxes)
        size, nothing = _size(measured), np.zeros_like(measured)
        self.position = np.concatenate([self.position, measured])
        self.velocity = np.concatenate([self.velocity, nothing])
        self._pp = np.concatenate([self._pp, (size * MEASURED_STD) ** 2])
        self._pv = np.concatenate([self._pv, nothing])
        self._vv = np.concatenate([self._vv, (size * FIRST_SPEED_STD) ** 2])

    def keep(self, rows: list[int]) -> None:
        """Only these rows stay, in this order."""
        self.position, self.velocity = self.position[rows], self.velocity[rows]
        self._pp, self._pv, self._vv = self._pp[rows], self._pv[rows], self._vv[rows]

    def predict(self, dt_s: float) -> None:
        """Move all rows on by a time step."""
        if dt_s <= 0:
            return
        drift = (self.position[:, 2] * self.position[:, 3])[:, None] * _DRIFT
        self._pp += 2 * dt_s * self._pv + dt_s**2 * self._vv + drift * (dt_s**3 / 3)
        self._pv += dt_s * self._vv + drift * (dt_s**2 / 2)
        self._vv += drift * dt_s
        self.position += self.velocity * dt_s
        np.maximum(self.position[:, 2:], 1.0, out=self.position[:, 2:])  # a shrinking box never turns inside out

    def warp(self, affine: Floats) -> None:
        """Move all rows with the picture: `affine` (2, 3) is the camera's motion, in pixels of the frame."""
        turn = affine[:, :2]
        scale = np.sqrt(abs(np.linalg.det(turn)))
        self.position[:, :2] = self.position[:, :2] @ turn.T + affine[:, 2]
        self.velocity[:, :2] = self.velocity[:, :2] @ turn.T
        self.position[:, 2:] *= scale
        self.velocity[:, 2:] *= scale

    def correct(self, rows: list[int], boxes: Floats) -> None:
        """Take the measured boxes of some rows into account."""
        measured = _centred(boxes)
        noise = (measured[:, 2] * measured[:, 3])[:, None] * _NOISE
        pp, pv = self._pp[rows], self._pv[rows]
        spread = pp + noise
        gain_p, gain_v = pp / spread, pv / spread
        surprise = measured - self.position[rows]
        self.position[rows] += gain_p * surprise
        self.velocity[rows] += gain_v * surprise
        self._pp[rows] = gain_p * noise  # (1 - gain) pp
        self._vv[rows] -= gain_v * pv
        self._pv[rows] = gain_v * noise


def _centred(boxes: Floats) -> Floats:
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, np.maximum(high - low, 1.0)], axis=1)


def _size(centred: Floats) -> Floats:
    return np.sqrt(centred[:, 2] * centred[:, 3])[:, None]
