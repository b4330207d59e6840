"""When the sun rises and sets: NOAA's solar calculator, good to about a minute below 72 degrees of latitude: pure.

Formulas of https://gml.noaa.gov/grad/solcalc/calcdetails.html, after Meeus, Astronomical Algorithms.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import Literal

Event = Literal["sunrise", "sunset", "dawn", "dusk"]
EVENTS: tuple[Event, ...] = ("dawn", "sunrise", "sunset", "dusk")
_HORIZON_DEG, _CIVIL_DEG = 90.833, 96.0  # zenith: refraction and the sun's radius; civil twilight


def event_utc(event: Event, solar_day: date, lat: float, lon: float) -> datetime | None:
    """The instant on the day whose solar noon lies on `solar_day` (UTC, by longitude); None where it does not happen.

    The sun may stay up, or down, for a whole day beyond 65 degrees of latitude (dusk and dawn: beyond 60).
    """
    zenith = math.radians(_HORIZON_DEG if event in ("sunrise", "sunset") else _CIVIL_DEG)
    side = -1 if event in ("sunrise", "dawn") else 1
    at = noon_utc(solar_day, lon)
    for _ in range(3):  # the sun moves while it sets: look again at where it stands then
        declination, equation_min = _position(at)
        cosine = math.cos(zenith) / (math.cos(math.radians(lat)) * math.cos(declination)) - math.tan(
            math.radians(lat)
        ) * math.tan(declination)
        if not -1 <= cosine <= 1:
            return None
        minutes = 720 - 4 * lon - equation_min + side * 4 * math.degrees(math.acos(cosine))
        at = _midnight(solar_day) + timedelta(minutes=minutes)
    return at.replace(microsecond=0)


def noon_utc(solar_day: date, lon: float) -> datetime:
    """When the sun stands highest."""
    roughly = _midnight(solar_day) + timedelta(minutes=720 - 4 * lon)
    return _midnight(solar_day) + timedelta(minutes=720 - 4 * lon - _position(roughly)[1])


def height_deg(wall_s: float, lat: float, lon: float) -> float:
    """How high the sun stands above the horizon, without refraction."""
    at = datetime.fromtimestamp(wall_s, UTC)
    declination, equation_min = _position(at)
    minutes = (at - _midnight(at.date())).total_seconds() / 60
    hour_angle = math.radians((minutes + equation_min + 4 * lon) / 4 - 180)
    place = math.radians(lat)
    sine = math.sin(place) * math.sin(declination) + math.cos(place) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _position(at: datetime) -> tuple[float, float]:
    """The sun's declination (radians) and the equation of time (minutes)."""
    t = (at.timestamp() / 86_400 + 2_440_587.5 - 2_451_545) / 36_525  # Julian centuries since J2000.0
    longitude = math.radians((280.46646 + t * (36_000.76983 + t * 0.0003032)) % 360)
    anomaly = math.radians(357.52911 + t * (35_999.05029 - 0.0001537 * t))
    eccentricity = 0.016708634 - t * (0.000042037 + 0.0000001267 * t)
    centre = (
        math.sin(anomaly) * (1.914602 - t * (0.004817 + 0.000014 * t))
        + math.sin(2 * anomaly) * (0.019993 - 0.000101 * t)
        + math.sin(3 * anomaly) * 0.000289
    )
    node = math.radians(125.04 - 1934.136 * t)
    apparent = longitude + math.radians(centre - 0.00569 - 0.00478 * math.sin(node))
    tilt_deg = 23 + (26 + (21.448 - t * (46.815 + t * (0.00059 - t * 0.001813))) / 60) / 60
    tilt = math.radians(tilt_deg + 0.00256 * math.cos(node))
    declination = math.asin(math.sin(tilt) * math.sin(apparent))
    y = math.tan(tilt / 2) ** 2
    equation = (
        y * math.sin(2 * longitude)
        - 2 * eccentricity * math.sin(anomaly)
        + 4 * eccentricity * y * math.sin(anomaly) * math.cos(2 * longitude)
        - 0.5 * y * y * math.sin(4 * longitude)
        - 1.25 * eccentricity * eccentricity * math.sin(2 * anomaly)
    )
    return declination, 4 * math.degrees(equation)
