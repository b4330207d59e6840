"""The simulated multicopter's body: kinematics with acceleration limits, wind and a battery. Pure, deterministic."""

from __future__ import annotations

import math

from msgspec import Struct

ACCEL_MPS2 = 4.0
CLIMB_ACCEL_MPS2 = 2.5
CLIMB_MPS, DESCENT_MPS, TOUCHDOWN_MPS, TOUCHDOWN_BELOW_M = 3.0, 3.0, 1.0, 10.0
MAX_AIRSPEED_MPS = 15.0
GRAVITY_MPS2 = 9.81

HOVER_ENDURANCE_S = 1500.0  # from a full battery
CLIMB_POWER, DRAG_POWER = 0.3, 0.004  # of hover power: at full climb, and per (m/s)² of airspeed
EMPTY_V, FULL_V = 13.2, 16.8  # four cells


class Body(Struct, kw_only=True):
    """Where the vehicle is and how it moves; metres and m/s, north, east and up of where it was switched on."""

    north_m: float = 0.0
    east_m: float = 0.0
    up_m: float = 0.0
    north_mps: float = 0.0
    east_mps: float = 0.0
    up_mps: float = 0.0
    heading_deg: float = 0.0
    battery_pct: float = 100.0

    @property
    def speed_mps(self) -> float:
        return math.hypot(self.north_mps, self.east_mps)

    @property
    def on_ground(self) -> bool:
        return self.up_m <= 0.0

    @property
    def voltage(self) -> float:
        return EMPTY_V + (FULL_V - EMPTY_V) * self.battery_pct / 100


class Aim(Struct, frozen=True, kw_only=True):
    """What the flight controller wants: a place to be at, or None to hold; and a height, or a climb rate."""

    place: tuple[float, float] | None = None  # north_m, east_m
    speed_mps: float = 8.0
    up_m: float | None = None
    up_mps: float | None = None
    adrift: bool = False  # nobody holds the position: the wind takes it


def move(body: Body, aim: Aim, wind: tuple[float, float], dt: float) -> None:
    """Move for `dt` seconds under power towards what is aimed at; `wind` blows towards (north, east) m/s."""
    want_n, want_e = wind if aim.adrift else _towards(body, aim)
    # The rotors reach only so much airspeed: what the wind exceeds it by is drift.
    air_n, air_e = want_n - wind[0], want_e - wind[1]
    air = math.hypot(air_n, air_e)
    if air > MAX_AIRSPEED_MPS:
        air_n, air_e = air_n * MAX_AIRSPEED_MPS / air, air_e * MAX_AIRSPEED_MPS / air
        want_n, want_e = air_n + wind[0], air_e + wind[1]
    dn, de = want_n - body.north_mps, want_e - body.east_mps
    change = math.hypot(dn, de)
    share = min(1.0, ACCEL_MPS2 * dt / change) if change else 0.0
    body.north_mps += dn * share
    body.east_mps += de * share
    rate = _climb(body, aim)
    body.up_mps += max(-CLIMB_ACCEL_MPS2 * dt, min(CLIMB_ACCEL_MPS2 * dt, rate - body.up_mps))
    if aim.place is not None and body.speed_mps > 1.0:
        body.heading_deg = math.degrees(math.atan2(body.east_mps, body.north_mps)) % 360
    _integrate(body, dt)
    climbing = CLIMB_POWER * max(0.0, body.up_mps) / CLIMB_MPS
    drag = DRAG_POWER * ((body.north_mps - wind[0]) ** 2 + (body.east_mps - wind[1]) ** 2)
    _discharge(body, 1.0 + climbing + drag, dt)


def fall(body: Body, dt: float) -> bool:
    """Motors off in the air; True when it hits the ground."""
    body.up_mps -= GRAVITY_MPS2 * dt
    _integrate(body, dt)
    return body.on_ground


def rest(body: Body, dt: float, *, idling: bool) -> None:
    """On the ground."""
    body.north_mps = body.east_mps = body.up_mps = 0.0
    if idling:
        _discharge(body, 0.1, dt)


def _towards(body: Body, aim: Aim) -> tuple[float, float]:
    """The ground velocity to a place, slowing so as to stop there; to a stand where there is none."""
    if aim.place is None:
        return 0.0, 0.0
    dn, de = aim.place[0] - body.north_m, aim.place[1] - body.east_m
    left_m = math.hypot(dn, de)
    if left_m < 0.05:
        return 0.0, 0.0
    speed = min(aim.speed_mps, math.sqrt(2 * 0.7 * ACCEL_MPS2 * left_m), left_m * 2)
    return dn / left_m * speed, de / left_m * speed


def _climb(body: Body, aim: Aim) -> float:
    if aim.up_mps is not None:
        return aim.up_mps
    if aim.up_m is None:
        return 0.0
    left_m = aim.up_m - body.up_m
    speed = min(math.sqrt(2 * 0.7 * CLIMB_ACCEL_MPS2 * abs(left_m)), abs(left_m) * 2)
    return max(-DESCENT_MPS, min(CLIMB_MPS, math.copysign(speed, left_m)))


def _integrate(body: Body, dt: float) -> None:
    body.north_m += body.north_mps * dt
    body.east_m += body.east_mps * dt
    body.up_m += body.up_mps * dt
    if body.up_m <= 0.0:
        body.up_m = 0.0
        body.up_mps = max(0.0, body.up_mps)


def _discharge(body: Body, hover_power: float, dt: float) -> None:
    body.battery_pct = max(0.0, body.battery_pct - 100 / HOVER_ENDURANCE_S * hover_power * dt)
