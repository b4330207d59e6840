"""When nothing takes off: windows of the day that are closed, and the night. Pure; times are Unix seconds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
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
