"""May the drone speak now? Only in the air, low and slow enough to be understood, high enough to harm no ear. Pure."""

from __future__ import annotations

from edge_agent import config, geo
from edge_agent.messages import Announcement, Refusal, Telemetry

OLD_S = 3.0


def may_speak(
    announcement: Announcement, telemetry: Telemetry | None, section: config.Announcements, now: float
) -> Refusal | str:
    """Why not, or what was seen: both stand in the announcement's record."""
    if telemetry is None:
        return _no("nothing is known of the flight", remedy="connect the [vehicle]")
    age_s = now - telemetry.at_s
    if age_s > OLD_S:
        return _no("what is known of the flight is old", f"{age_s:.1f} s", f"{OLD_S:g} s", age_s=age_s)
    if not telemetry.armed or telemetry.landed or telemetry.alt_m is None:
        if announcement.cls == "test":
            return "on the ground, for a test"
        return _no("the drone is not in the air", age_s=age_s, remedy="take off, or use a speaker on the ground")
    alt_m, speed_mps = telemetry.alt_m, telemetry.speed_mps or 0.0
    low, high = section.drone_min_alt_m, section.drone_max_alt_m
    if not low <= alt_m <= high:
        return _no("not at a height at which it is understood", f"{alt_m:.1f} m", f"{low:g}..{high:g} m", age_s=age_s)
    if speed_mps > section.drone_max_speed_mps:
        return _no(
            "too fast to be understood", f"{speed_mps:.1f} m/s", f"{section.drone_max_speed_mps:g} m/s", age_s=age_s
        )
    facts = f"alt {alt_m:.1f} m, {speed_mps:.1f} m/s, {age_s:.1f} s old"
    near = announcement.place or announcement.near
    if telemetry.lat is None or telemetry.lon is None:
        return facts if near is None else _no("where the drone is, is not known", age_s=age_s)
    facts += f", at {telemetry.lat:.6f}, {telemetry.lon:.6f}"
    if near is None:
        return facts
    away_m = geo.distance_m(telemetry.lat, telemetry.lon, near.lat, near.lon)
    if away_m > section.drone_radius_m:
        return _no("not over those who are meant", f"{away_m:.0f} m", f"{section.drone_radius_m:g} m", age_s=age_s)
    return f"{facts}, {away_m:.0f} m away"


def _no(
    reason: str,
    value: str | None = None,
    limit: str | None = None,
    *,
    age_s: float | None = None,
    remedy: str | None = None,
) -> Refusal:
    return Refusal(gate="drone voice", reason=reason, value=value, limit=limit, age_s=age_s, remedy=remedy)
