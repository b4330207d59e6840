"""The place of a track from all of its pictures: a Kalman filter that knows which errors no number of pictures removes.

What each picture adds by itself (a box trembles) averages out. What all have in common (the vehicle's position, height,
heading, tilt and clock, the lens, the survey) does not, and is not estimated: how it moved each picture's place is
carried through the filter, so the ellipse never shrinks below it but where the camera's way around the object really
made errors cancel (a consider filter: Schmidt, 1966). Objects stand, or go on at constant velocity. Pure; metres north
and east of a track's first place, seconds of the frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edge_agent import geo
from edge_agent.messages import Fix, Track, Tracks
from edge_agent.vision.locate import Find, Floats, fix_of

SPEED_MPS = 5.0  # one standard deviation of what an object may do when it is first seen
WANDER = 1.0  # how it changes its velocity: the spectral density of its acceleration, m²/s³
ALIKE_S = 0.5  # boxes of one object tremble together for so long: pictures within it are no new evidence
FORGET_S = 5.0
JUMP = 18.4  # chi² of two degrees of freedom, one in 10,000: this is not the same place any more
LEAST_M2 = 1e-6


@dataclass(slots=True)
class _State:
    """Position and velocity with what is uncertain by the pictures alone, and what each shared cause did to both."""

    lat: float
    lon: float
    at_s: float
    mean: Floats  # (4,)
    spread: Floats  # (4, 4)
    shared: Floats  # (4, causes)
    last: Find


class Fuser:
    """The tracks of one camera."""

    def __init__(self) -> None:
        self._states: dict[tuple[int, float], _State] = {}

    def update(self, tracks: Tracks, finds: Sequence[Find | None]) -> list[Fix | None]:
        """The place of each track after this frame; where it is only predicted, by how it moved until then."""
        now = tracks.at_s
        fixes = [self._place(track, find, now) for track, find in zip(tracks.tracks, finds, strict=True)]
        self._states = {key: one for key, one in self._states.items() if 0 <= now - one.at_s < FORGET_S}
        return fixes

    def forget(self, ended: Iterable[Track]) -> None:
        """These have left."""
        for track in ended:
            self._states.pop((track.id, track.first_s), None)

    def _place(self, track: Track, find: Find | None, now: float) -> Fix | None:
        key = (track.id, track.first_s)
        state = self._states.get(key)
        if find is None or (state is None and not track.seen):
            self._states.pop(key, None)
            return find.fix() if find else None
        if state is None or not 0 <= now - state.at_s < FORGET_S or state.shared.shape[1] != find.shared.shape[1]:
            state = self._states[key] = _begun(find, now)
            return _fix(state)
        dt = _predict(state, now)
        if track.seen and dt > 0 and not _correct(state, find, dt):
            state = self._states[key] = _begun(find, now)
        return _fix(state)


def _begun(find: Find, now: float) -> _State:
    spread = np.diag([0.0, 0.0, SPEED_MPS**2, SPEED_MPS**2])
    spread[:2, :2] = find.own @ find.own.T
    shared = np.vstack([find.shared, np.zeros_like(find.shared)])
    return _State(find.lat, find.lon, now, np.zeros(4), spread, shared, find)


@lru_cache(maxsize=8)
def _motion(dt: float) -> tuple[Floats, Floats]:
    """How position and velocity go on in `dt`, and what is uncertain about it; all tracks of a frame share it."""
    move, noise = np.eye(4), np.zeros((4, 4))
    move[0, 2] = move[1, 3] = dt
    for axis in (0, 1):
        noise[axis, axis], noise[axis + 2, axis + 2] = dt**3 / 3, dt
        noise[axis, axis + 2] = noise[axis + 2, axis] = dt**2 / 2
    return move, noise * WANDER


def _predict(state: _State, now: float) -> float:
    """Move on to a moment; returns the seconds passed."""
    dt = now - state.at_s
    move, noise = _motion(dt)
    state.mean, state.shared = move @ state.mean, move @ state.shared
    state.spread = move @ state.spread @ move.T + noise
    state.at_s = now
    return dt


def _correct(state: _State, find: Find, dt: float) -> bool:
    """Take one picture's place in; False where it is another place than this object can have reached."""
    seen = np.array(geo.to_local(find.lat, find.lon, state.lat, state.lon))
    trembling = find.own @ find.own.T * max(1.0, ALIKE_S / dt)
    off = seen - state.mean[:2]
    together = state.spread[:2, :2] + trembling
    between = find.shared - state.shared[:2]  # what the shared causes may do to one place and not to the other
    if float(off @ _inverse(together + between @ between.T) @ off) > JUMP:
        return False
    gain = state.spread[:, :2] @ _inverse(together)
    left = np.eye(4)
    left[:, :2] -= gain
    state.mean = state.mean + gain @ off
    state.spread = left @ state.spread @ left.T + gain @ trembling @ gain.T  # Joseph's form: it stays a covariance
    state.shared = left @ state.shared + gain @ find.shared
    state.last = find
    return True


def _inverse(matrix: Floats) -> Floats:
    """Of a covariance (2, 2), a millimetre² added so that there is one."""
    a, b, _, d = matrix.ravel().tolist()
    a, d = a + LEAST_M2, d + LEAST_M2
    return np.array([[d, -b], [-b, a]]) / (a * d - b * b)


def _fix(state: _State) -> Fix:
    lat, lon = geo.from_local(float(state.mean[0]), float(state.mean[1]), state.lat, state.lon)
    covariance = state.spread[:2, :2] + state.shared[:2] @ state.shared[:2].T
    last = state.last
    return fix_of(lat, lon, covariance, method=last.method, ref=last.ref, wide_m=last.wide_m)
