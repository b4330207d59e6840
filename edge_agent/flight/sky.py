"""When nothing takes off: windows of the day that are closed, and the night. Pure; times are Unix seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from edge_agent.config import NoFly

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TWILIGHT_DEG = -6.0  # civil: below it, it is night


def closed(windows: Iterable[NoFly], zone: ZoneInfo, begin_s: float, end_s: float) -> NoFly | None:
    """The first window that is open at some time between a take-off and its landing."""
    first = datetime.fromtimestamp(begin_s, zone).date() - timedelta(days=1)  # one that began yesterday may last
    days = (datetime.fromtimestamp(end_s, zone).date() - first).days + 1
    for window in windows:
        for number in range(days):
            day = first + timedelta(days=number)
            if window.days and DAYS[day.weekday()] not in window.days:
                continue
            opens = datetime.combine(day, time.fromisoformat(window.start), zone)
            shuts = datetime.combine(day, time.fromisoformat(window.end), zone)
            if shuts <= opens:
                shuts = datetime.combine(day + timedelta(days=1), time.fromisoformat(window.end), zone)
            if opens.timestamp() < end_s and begin_s < shuts.timestamp():
                return window
    return None


def sun_deg(wall_s: float, lat: float, lon: float) -> float:
    """How high the sun stands, to about 0.1° (NOAA, "General Solar Position Calculations", low accuracy)."""
    at = datetime.fromtimestamp(wall_s, UTC)
    hours = at.hour + at.minute / 60 + at.second / 3600
    year = 2 * math.pi / 365 * (at.timetuple().tm_yday - 1 + (hours - 12) / 24)
    minutes = 229.18 * (
        0.000075 + 0.001868 * math.cos(year) - 0.032077 * math.sin(year)
        - 0.014615 * math.cos(2 * year) - 0.040849 * math.sin(2 * year)
    )  # fmt: skip
    declination = (
        0.006918 - 0.399912 * math.cos(year) + 0.070257 * math.sin(year) - 0.006758 * math.cos(2 * year)
        + 0.000907 * math.sin(2 * year) - 0.002697 * math.cos(3 * year) + 0.00148 * math.sin(3 * year)
    )  # fmt: skip
    hour_angle = math.radians((hours * 60 + minutes + 4 * lon) / 4 - 180)
    place = math.radians(lat)
    height = math.sin(place) * math.sin(declination) + math.cos(place) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, height))))
