"""Where the vehicle was and how it stood when a picture was taken: the last seconds of what it said, interpolated.

The vehicle stamps what it says with a clock of its own, and packets come late in bursts, never early. So its clock is
set against ours by the packet that was least late (the least of heard - boot), which is let go slowly, since the clocks
drift apart. Pure; angles in radians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from msgspec import Struct, structs

from edge_agent import geo
from edge_agent.messages import Attitude, GimbalAttitude, Posed, Position

KEEP_S = 3.0
DRIFT = 1e-4  # of the time that passed: crystals differ by less
REBOOT_S = 5.0
AHEAD_S = 0.4  # so much later than the last word the vehicle is taken to have turned on as it turned


class Stamped(Protocol):
    """What the vehicle says with the time of its own clock."""

    @property
    def heard_s(self) -> float: ...
    @property
    def boot_s(self) -> float: ...


P = TypeVar("P", bound=Stamped)


class Pose(Struct, frozen=True, kw_only=True):
    """The vehicle at one moment: place, height above home, attitude, and how both change."""

    position: Position
    attitude: Attitude
    gimbal: GimbalAttitude | None = None


class Poses:
    """Take what the vehicle says with `hear`; `at` gives the pose of a moment on our clock. Any thread may ask."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._lead_s: float | None = None  # our clock less the vehicle's
        self._heard_s = self._boot_s = 0.0
        self._attitudes, self._positions, self._gimbals = _Ring[Attitude](), _Ring[Position](), _Ring[GimbalAttitude]()

    def hear(self, said: Posed) -> None:
        """Keep it; a vehicle that restarted is begun anew."""
        if said.boot_s < self._boot_s - REBOOT_S:
            self._forget()
        lead_s = said.heard_s - said.boot_s
        passed_s = max(0.0, said.heard_s - self._heard_s)
        self._lead_s = lead_s if self._lead_s is None else min(lead_s, self._lead_s + DRIFT * passed_s)
        self._heard_s, self._boot_s = said.heard_s, said.boot_s
        match said:
            case Attitude():
                self._attitudes.add(said)
            case Position():
                self._positions.add(said)
            case GimbalAttitude():
                self._gimbals.add(said)

    def at(self, at_s: float, *, gimbal: bool = False) -> Pose | None:
        """The pose at a moment of our clock; None where what is known is too old, or not yet there."""
        if self._lead_s is None:
            return None
        boot_s = at_s - self._lead_s
        position, attitude = _position(self._positions, boot_s), _attitude(self._attitudes, boot_s)
        turned = _gimbal(self._gimbals, boot_s) if gimbal else None
        if position is None or attitude is None or (gimbal and turned is None):
            return None
        return Pose(position=position, attitude=attitude, gimbal=turned)


class _Ring(Generic[P]):
    """The last seconds in order of the vehicle's clock; replaced as a whole, so that readers need no lock."""

    def __init__(self) -> None:
        self.said: tuple[P, ...] = ()

    def add(self, one: P) -> None:
        if self.said and one.boot_s <= self.said[-1].boot_s:
            return  # the network reordered it, or it came twice
        self.said = (*(old for old in self.said if one.boot_s - old.boot_s <= KEEP_S), one)

    def around(self, boot_s: float) -> tuple[P, P, float] | None:
        """The two around a moment and where between them it is (0..1), or the last twice and the seconds since."""
        said: Sequence[P] = self.said
        if not said or not said[0].boot_s <= boot_s <= said[-1].boot_s + AHEAD_S:
            return None
        if boot_s >= said[-1].boot_s:
            return said[-1], said[-1], boot_s - said[-1].boot_s
        i = next(i for i, one in enumerate(said) if one.boot_s > boot_s)
        a, b = said[i - 1], said[i]
        return a, b, (boot_s - a.boot_s) / (b.boot_s - a.boot_s)


def _attitude(ring: _Ring[Attitude], boot_s: float) -> Attitude | None:
    found = ring.around(boot_s)
    if found is None:
        return None
    a, b, part = found
    if a is b:  # it turned on; the rates of the Euler angles are near those of the body where it is near level
        roll, pitch, yaw = (angle + rate * part for angle, rate in zip((a.roll, a.pitch, a.yaw), a.rates, strict=True))
    else:
        roll, pitch, yaw = _turned(a.roll, b.roll, part), _turned(a.pitch, b.pitch, part), _turned(a.yaw, b.yaw, part)
    return structs.replace(a, boot_s=boot_s, roll=roll, pitch=pitch, yaw=yaw)


def _gimbal(ring: _Ring[GimbalAttitude], boot_s: float) -> GimbalAttitude | None:
    found = ring.around(boot_s)
    if found is None:
        return None
    a, b, part = found
    if a is b or a.earth != b.earth:
        return b
    near = 1.0 if sum(x * y for x, y in zip(a.q, b.q, strict=True)) >= 0 else -1.0
    w, x, y, z = ((1 - part) * one + part * near * other for one, other in zip(a.q, b.q, strict=True))
    size = math.hypot(w, x, y, z)
    return structs.replace(b, boot_s=boot_s, q=(w / size, x / size, y / size, z / size))


def _position(ring: _Ring[Position], boot_s: float) -> Position | None:
    """Moved on from the one before by its velocity: of two that follow each other that is what interpolation gives."""
    found = ring.around(boot_s)
    if found is None:
        return None
    a, b, _ = found
    base = b if b.boot_s - boot_s < boot_s - a.boot_s else a
    since_s = boot_s - base.boot_s
    lat, lon = geo.from_local(base.north_mps * since_s, base.east_mps * since_s, base.lat, base.lon)
    return structs.replace(base, boot_s=boot_s, lat=lat, lon=lon, alt_m=base.alt_m + base.up_mps * since_s)


def _turned(a: float, b: float, part: float) -> float:
    """From one angle towards another the short way."""
    return a + math.remainder(b - a, math.tau) * part
