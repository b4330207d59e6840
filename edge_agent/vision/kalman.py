"""A constant-velocity Kalman filter over many boxes at once, with true time steps: pure, vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_agent.vision.boxes import Floats

# All in units of the object's own size (root of its area), so that near and far objects are treated alike.
MEASURED_STD = np.array([0.06, 0.06, 0.08, 0.08])  # of cx, cy, w, h as a detector gives them
DRIFT_STD = np.array([1.0, 0.7, 0.3, 0.3])  # how far a velocity wanders in one second, per second
FIRST_SPEED_STD = np.array([2.0, 1.0, 0.5, 0.5])  # per second, of an object just seen
RETRACE_S, RETRACE_STEPS = 0.5, 4  # who was unseen for so long is led over the way to where it is seen again
_DRIFT, _NOISE = DRIFT_STD**2, MEASURED_STD**2


class Kalman:
    """Rows of (cx, cy, w, h), each coordinate a filter of its own: position, velocity and their 2x2 covariance.

    The noises are independent per coordinate, so the 8x8 filter of SORT falls apart into four 2x2 ones; the process
    noise is that of white acceleration over dt (Bar-Shalom, Estimation with Applications, eq. 6.2.2-4).
    """

    def __init__(self) -> None:
        # (5, n, 4): position, velocity, and the variances of position, of both, and of velocity
        self._now: Floats = np.empty((5, 0, 4))
        self._sight: Floats = np.empty((5, 0, 4))  # the same when each row was last seen, moved with the picture since
        self._unseen_s = np.empty(0)
        self._step_s = 0.0

    def __len__(self) -> int:
        return len(self._unseen_s)

    @property
    def position(self) -> Floats:
        """(n, 4): cx, cy, w, h."""
        position: Floats = self._now[0]
        return position

    @property
    def velocity(self) -> Floats:
        """(n, 4), per second; may be written to."""
        velocity: Floats = self._now[1]
        return velocity

    @property
    def last_seen(self) -> Floats:
        """(n, 4): `position` as it was when each row was last corrected, moved with the picture since."""
        position: Floats = self._sight[0]
        return position

    def sizes(self) -> Floats:
        """(n, 1): the root of each row's area, in pixels."""
        return np.sqrt(_area(self.position))

    def deviation(self) -> Floats:
        """(n, 2): the standard deviation of each row's centre."""
        return np.sqrt(np.maximum(self._now[2, :, :2], 0.0))

    def boxes(self) -> Floats:
        """The estimates as (x1, y1, x2, y2)."""
        centre, half = self.position[:, :2], self.position[:, 2:] / 2
        return np.concatenate([centre - half, centre + half], axis=1)

    def add(self, boxes: Floats) -> None:
        """New rows, at rest, for boxes just seen."""
        if not len(boxes):
            return
        measured = centred(boxes)
        area, nothing = _area(measured), np.zeros_like(measured)
        rows = np.stack([measured, nothing, area * _NOISE, nothing, area * FIRST_SPEED_STD**2])
        self._now = np.concatenate([self._now, rows], axis=1)
        self._sight = np.concatenate([self._sight, rows], axis=1)
        self._unseen_s = np.concatenate([self._unseen_s, np.zeros(len(boxes))])

    def keep(self, rows: list[int]) -> None:
        """Only these rows stay, in this order."""
        self._now, self._sight, self._unseen_s = self._now[:, rows], self._sight[:, rows], self._unseen_s[rows]

    def predict(self, dt_s: float) -> None:
        """Move all rows on by a time step."""
        if dt_s <= 0:
            return
        _move(self._now, dt_s)
        self._unseen_s += dt_s
        self._step_s = dt_s

    def warp(self, affine: Floats) -> None:
        """Move all rows with the picture: `affine` (2, 3) is the camera's motion, in pixels of the frame."""
        turn = affine[:, :2]
        area = abs(np.linalg.det(turn))
        for state in (self._now, self._sight):
            state[:2, :, :2] = state[:2, :, :2] @ turn.T
            state[0, :, :2] += affine[:, 2]
            state[:2, :, 2:] *= np.sqrt(area)
            state[2:, :, :2] = state[2:, :, :2] @ turn.T**2
            state[2:, :, 2:] *= area

    def correct(self, rows: list[int], boxes: Floats) -> None:
        """Take the measured boxes of some rows into account."""
        measured, at = centred(boxes), np.array(rows)
        state = self._now.take(at, axis=1)
        late = self._unseen_s[at] > max(RETRACE_S, self._step_s)
        if late.any():
            state[:, late] = self._retraced(at[late], measured[late])
        _take(state, measured)
        self._now[:, at] = self._sight[:, at] = state
        self._unseen_s[at] = 0.0

    def _retraced(self, rows: npt.NDArray[np.int_], measured: Floats) -> Floats:
        """How these rows would stand now, had they been seen on a straight way to where they are seen again.

        Where something was hidden it may have stopped or turned; what was predicted meanwhile is no ground to judge its
        speed by. The observation-centric re-update of OC-SORT (Cao et al., 2023, section 4.1), in true time.
        """
        state, step_s = self._sight[:, rows], self._unseen_s[rows][:, None] / RETRACE_STEPS
        start = state[0].copy()
        for n in range(1, RETRACE_STEPS):
            _move(state, step_s)
            _take(state, start + (measured - start) * (n / RETRACE_STEPS))
        _move(state, step_s)
        return state


def _move(state: Floats, dt_s: Floats | float) -> None:
    """A time step, of all rows or of each its own (n, 1)."""
    position, velocity, pp, pv, vv = state
    drift = _area(position) * _DRIFT
    pp += 2 * dt_s * pv + dt_s**2 * vv + drift * (dt_s**3 / 3)
    pv += dt_s * vv + drift * (dt_s**2 / 2)
    vv += drift * dt_s
    position += velocity * dt_s
    np.maximum(position[:, 2:], 1.0, out=position[:, 2:])  # a shrinking box never turns inside out


def _take(state: Floats, measured: Floats) -> None:
    """A measurement of every row."""
    position, velocity, pp, pv, vv = state
    noise = _area(measured) * _NOISE
    spread = pp + noise
    gain_p, gain_v = pp / spread, pv / spread
    surprise = measured - position
    position += gain_p * surprise
    velocity += gain_v * surprise
    vv -= gain_v * pv
    pp[:] = gain_p * noise  # (1 - gain) pp
    pv[:] = gain_v * noise


def centred(boxes: Floats) -> Floats:
    """Rows of (cx, cy, w, h) for boxes (x1, y1, x2, y2); nothing is smaller than a pixel."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, np.maximum(high - low, 1.0)], axis=1)


def _area(centred: Floats) -> Floats:
    """(n, 1)"""
    return (centred[:, 2] * centred[:, 3])[:, None]
