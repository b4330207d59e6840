"""Go or no go: what must hold before the motors start, each with its value, limit, age and remedy. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.config import Limits, Route
from edge_agent.flight import route as routes
from edge_agent.messages import Refusal, Telemetry

FRESH_S = 2.0
ENDURANCE_S = 900.0  # flying time of a full battery, taken low until a vehicle's own is known
RESERVE_PCT = 15.0  # what must be left after landing

# What autotest's wait_ready_to_arm asks of EKF_STATUS_REPORT, and what must not be there.
EKF_NEEDED = (
    mavlink.EKF_ATTITUDE | mavlink.EKF_VELOCITY_HORIZ | mavlink.EKF_VELOCITY_VERT | mavlink.EKF_POS_HORIZ_REL
    | mavlink.EKF_POS_HORIZ_ABS | mavlink.EKF_POS_VERT_ABS | mavlink.EKF_PRED_POS_HORIZ_REL
    | mavlink.EKF_PRED_POS_HORIZ_ABS
)  # fmt: skip
EKF_FORBIDDEN = mavlink.EKF_CONST_POS_MODE | mavlink.EKF_UNINITIALIZED | mavlink.EKF_GPS_GLITCHING


class Readiness(NamedTuple):
    """What the gates look at."""

    telemetry: Telemetry | None
    copter: bool  # the heartbeat is ArduPilot's, of a multicopter
    prearm_ok: bool | None  # None: the autopilot does not report it, or all checks are switched off
    complaints: tuple[str, ...]  # what the autopilot said of late
    ekf_flags: int | None
    site_lat: float
    site_lon: float
    limits: Limits
    route: Route


def refusals(ready: Readiness, now: float) -> list[Refusal]:
    """Every gate that says no, the one to mend first in front; empty means go."""
    t = ready.telemetry
    if t is None:
        return [_no("link", "the autopilot was not heard yet", remedy="check power, cable and baud rate")]
    age_s = now - t.at_s
    found = [gate(ready, t) for gate in _GATES]
    if age_s > FRESH_S:
        found.insert(0, _no("link", "telemetry is old", f"{age_s:.1f} s", f"{FRESH_S:g} s", "wait for the link"))
    return [structs.replace(refusal, age_s=round(age_s, 2)) for refusal in found if refusal is not None]


def _vehicle(ready: Readiness, _: Telemetry) -> Refusal | None:
    return None if ready.copter else _no("vehicle", "not a multicopter under ArduPilot", remedy="check vehicle.url")


def _on_ground(_: Readiness, t: Telemetry) -> Refusal | None:
    if t.landed is True and not t.armed:
        return None
    found = f"{'armed' if t.armed else 'disarmed'}, {'on the ground' if t.landed else 'not seen on the ground'}"
    return _no("ground", "a flight starts disarmed and on the ground", found, remedy="land and disarm")


def _gps(ready: Readiness, t: Telemetry) -> Refusal | None:
    if (t.gps_fix or 0) < mavlink.GPS_FIX_TYPE_3D_FIX:
        return _no("gps", "no 3D fix", str(t.gps_fix), "3", "wait, under open sky")
    if (t.satellites or 0) < ready.limits.min_satellites:
        return _no(
            "gps", "too few satellites", str(t.satellites), str(ready.limits.min_satellites), "wait, under open sky"
        )
    return None


def _ekf(ready: Readiness, _: Telemetry) -> Refusal | None:
    flags = ready.ekf_flags
    if flags is None or (flags & EKF_NEEDED == EKF_NEEDED and not flags & EKF_FORBIDDEN):
        return None
    return _no("ekf", "the position estimate is not good yet", f"{flags:#06x}", f"{EKF_NEEDED:#06x}", "wait")


def _prearm(ready: Readiness, _: Telemetry) -> Refusal | None:
    if ready.prearm_ok:
        return None
    if ready.prearm_ok is None:
        return _no("prearm", "the autopilot does not report its checks", remedy="set ARMING_CHECK to 1")
    said = "; ".join(text for text in ready.complaints if "Arm" in text) or None
    return _no("prearm", "the autopilot's own checks fail", said, remedy="mend what it names")


def _home(ready: Readiness, t: Telemetry) -> Refusal | None:
    if t.lat is None or t.lon is None:
        return _no("home", "no position yet", remedy="wait for the position fix")
    home_lat, home_lon = (t.lat, t.lon) if t.home_lat is None or t.home_lon is None else (t.home_lat, t.home_lon)
    for what, lat, lon in (("home", home_lat, home_lon), ("the vehicle", t.lat, t.lon)):
        away_m = geo.distance_m(ready.site_lat, ready.site_lon, lat, lon)
        if away_m > ready.limits.home_radius_m:
            limit = f"{ready.limits.home_radius_m:g} m"
            remedy = "carry it there, or mend site.lat/site.lon or limits.home_radius_m"
            return _no("home", f"{what} is away from the site's take-off place", f"{away_m:.0f} m", limit, remedy)
    return None


def _battery(ready: Readiness, t: Telemetry) -> Refusal | None:
    limit = f"{ready.limits.takeoff_battery_pct:g} %"
    if t.battery_pct is None:
        return _no("battery", "its charge is unknown", limit=limit, remedy="set BATT_MONITOR and BATT_CAPACITY")
    if t.battery_pct < ready.limits.takeoff_battery_pct:
        return _no("battery", "too low to take off", f"{t.battery_pct:g} %", limit, "charge or change it")
    return None


def _energy(ready: Readiness, t: Telemetry) -> Refusal | None:
    if t.battery_pct is None:
        return None  # the battery gate has said so
    need_pct = routes.duration_s(ready.route, ready.site_lat, ready.site_lon) / ENDURANCE_S * 100 + RESERVE_PCT
    if t.battery_pct >= need_pct:
        return None
    return _no(
        "energy", f"the route {ready.route.id} needs more than there is", f"{t.battery_pct:g} %", f"{need_pct:.0f} %",
        "charge, or fly a shorter route",
    )  # fmt: skip


_GATES: tuple[Callable[[Readiness, Telemetry], Refusal | None], ...] = (
    _vehicle, _on_ground, _gps, _ekf, _home, _prearm, _battery, _energy,
)  # fmt: skip


def _no(
    gate: str, reason: str, value: str | None = None, limit: str | None = None, remedy: str | None = None
) -> Refusal:
    return Refusal(gate=f"gate.{gate}", reason=reason, value=value, limit=limit, remedy=remedy)
