"""When a schedule is due: occurrences of cron lines and RFC 5545 rules in a site's time zone: pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim
from dateutil.rrule import rrulestr

from edge_agent import config


class Occurrence(NamedTuple):
    """One planned instant of a schedule, in UTC."""

    schedule: config.Schedule
    planned_utc: datetime


def next_occurrences(schedule: config.Schedule, zone: ZoneInfo, after_utc: datetime) -> Iterator[Occurrence]:
    """Occurrences strictly later than `after_utc`, in order, each instant once.

    A local time that a clock change skips is due at the first instant after the gap; one that happens twice is due
    the first time only. A cron line whose minute or hour is `*` follows elapsed time instead (Debian's cron(8)).
    """
    last = after_utc
    for planned in _cron(schedule.cron, zone, after_utc) if schedule.cron else _rrule(schedule, zone, after_utc):
        if planned > last:
            last = planned
            yield Occurrence(schedule, planned)


def localise(local: datetime, zone: ZoneInfo) -> datetime:
    """The UTC instant of a naive local time: the first of two, or the end of the gap that swallowed it."""
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None, fold=0) == local:
        return first
    # In a gap PEP 495 reads fold=0 with the offset before it and fold=1 with the one after: they enclose its end.
    early, late = local.replace(tzinfo=zone, fold=1).astimezone(UTC), first
    before = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = (early + (late - early) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late


def _cron(line: str, zone: ZoneInfo, after_utc: datetime) -> Iterator[datetime]:
    for planned in CronSim(line, after_utc.astimezone(zone)):
        yield planned.astimezone(UTC)


def _rrule(schedule: config.Schedule, zone: ZoneInfo, after_utc: datetime) -> Iterator[datetime]:
    """dateutil counts in naive local time, which it does well; what that means in the zone is our own rule."""
    assert schedule.rrule is not None and schedule.dtstart is not None  # config.load saw to it
    rule = rrulestr(schedule.rrule, dtstart=datetime.fromisoformat(schedule.dtstart))
    # A local time up to a gap's length before `after` may still be due after it.
    since = after_utc.astimezone(zone).replace(tzinfo=None, fold=0) - timedelta(hours=3)
    yield from (localise(local, zone) for local in rule.xafter(since, inc=True))
