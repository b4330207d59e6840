"""A constant-velocity Kalman filter over many boxes at once, with true time steps: pure, vectorised."""

from __future__ import annotations

import numpy as np

from edge_agent.vision.boxes import Floats

# All in units of the object's own size (root of its area), so that near and far objects are treated alike.
MEASURED_STD = np.array([0.06, 0.06, 0.08, 0.08])  # of cx, cy, w, h as a detector gives them
DRIFT_STD = np.array([1.0, 0.7, 0.3, 0.3])  # how far a velocity wanders in one second, per second
FIRST_SPEED_STD = np.array([2.0, 1.0, 0.5, 0.5])  # per second, of an object just seen


class Kalman:
    """Rows of (cx, cy, w, h), each coordinate a filter of its own: position, velocity and their 2x2 covariance.

    The noises are independent per coordinate, so the 8x8 filter of SORT falls apart into four 2x2 ones; the process
    noise is that of white acceleration over dt (Bar-Shalom, Estimation with Applications, eq. 6.2.2-4).
    """

    def __init__(self) -> None:
        self.position = np.empty((0, 4))
        self.velocity = np.empty((0, 4))
        self._var = np.empty((0, 4, 3))  # of position, of both, of velocity

    def __len__(self) -> int:
        return len(self.position)

    def boxes(self) -> Floats:
        """The estimates as (x1, y1, x2, y2)."""
        centre, half = self.position[:, :2], self.position[:, 2:] / 2
        return np.concatenate([centre - half, centre + half], axis=1)

    def add(self, boxes: Floats) -> None:
        """New rows, at rest, for boxes just seen."""
        measured = _centred(boxes)
        size = _size(measured)
        variance = np.zeros((len(boxes), 4, 3))
        variance[:, :, 0] = (size * MEASURED_STD) ** 2
        variance[:, :, 2] = (size * FIRST_SPEED_STD) ** 2
        self.position = np.concatenate([self.position, measured])
        self.velocity = np.concatenate([self.velocity, np.zeros_like(measured)])
        self._var = np.concatenate([self._var, variance])

    def keep(self, rows: list[int]) -> None:
        """Only these rows stay, in this order."""
        self.position, self.velocity, self._var = self.position[rows], self.velocity[rows], self._var[rows]

    def predict(self, dt_s: float) -> None:
        """Move all rows on by a time step."""
        if dt_s <= 0:
            return
        drift = (_size(self.position) * DRIFT_STD) ** 2
        pp, pv, vv = self._var[:, :, 0], self._var[:, :, 1], self._var[:, :, 2]
        pp += 2 * dt_s * pv + dt_s**2 * vv + drift * dt_s**3 / 3
        pv += dt_s * vv + drift * dt_s**2 / 2
        vv += drift * dt_s
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
        noise = (_size(measured) * MEASURED_STD) ** 2
        pp, pv, vv = np.moveaxis(self._var[rows], 2, 0)
        gain_p, gain_v = pp / (pp + noise), pv / (pp + noise)
        surprise = measured - self.position[rows]
        self.position[rows] += gain_p * surprise
        self.velocity[rows] += gain_v * surprise
        self._var[rows] = np.stack([(1 - gain_p) * pp, (1 - gain_p) * pv, vv - gain_v * pv], axis=2)


def _centred(boxes: Floats) -> Floats:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)], axis=1)


def _size(centred: Floats) -> Floats:
    return np.sqrt(centred[:, 2] * centred[:, 3])[:, None]
