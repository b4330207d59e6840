"""When a schedule is due: occurrences of cron lines and RFC 5545 rules in a site's time zone: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim
from dateutil import parser
from dateutil.rrule import rrule, rrulestr

from edge_agent import sun

if TYPE_CHECKING:
    from edge_agent import config

FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")  # finer is no patrol, and takes seconds to walk
COUNT_MAX, INTERVAL_MAX = 10_000, 10_000
START_YEARS = (1970, 2100)
_DAYS = ("BYMONTH", "BYMONTHDAY", "BYDAY", "BYYEARDAY", "BYWEEKNO")
AHEAD = timedelta(days=3653)  # a rule is looked at so far ahead: one that never matches must not be walked for ever
LONGEST = timedelta(days=36_525)  # a rule with COUNT that has not ended by then ends there


class Occurrence(NamedTuple):
    """One planned instant of a schedule: in UTC, and the local time that its rule names."""

    schedule: config.Schedule
    planned_utc: datetime
    local: datetime
    note: str | None = None  # what a clock change or the sun made of it
    never: str | None = None  # why this one does not happen at all: the sun does not set that day


def next_occurrences(
    schedule: config.Schedule, zone: ZoneInfo, after_utc: datetime, place: tuple[float, float] | None = None
) -> Iterator[Occurrence]:
    """Occurrences strictly later than `after_utc`, in order, each instant once.

    A local time that a clock change skips is due at the first instant after the gap; one that happens twice is due
    the first time only. A cron line whose minute or hour is `*` follows elapsed time instead (Debian's cron(8)).
    `place` is the (lat, lon) whose sun a sun-relative schedule follows.
    """
    zone = ZoneInfo(schedule.time_zone) if schedule.time_zone else zone
    last = after_utc
    if schedule.cron:
        found = _cron(schedule, zone, after_utc)
    elif schedule.sun:
        found = _sunny(schedule, zone, after_utc, place)
    else:
        found = _rrule(schedule, zone, after_utc)
    for occurrence in found:
        if occurrence.planned_utc > last:
            last = occurrence.planned_utc
            yield occurrence


def read_ical(text: str) -> dict[str, object]:
    """The keys of a schedule in the lines of an iCalendar event: DTSTART (with TZID), RRULE, EXDATE; ValueError."""
    keys: dict[str, object] = {}
    exdates: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, value = line.partition(":")
        name, *parameters = name.upper().split(";")
        zones = [
            p.removeprefix("TZID=") for p in line.partition(":")[0].split(";")[1:] if p.upper().startswith("TZID=")
        ]
        if name not in ("DTSTART", "RRULE", "EXDATE"):
            raise ValueError(f"{name} is none of DTSTART, RRULE, EXDATE")
        if name == "RRULE":
            keys["rrule"] = value
            continue
        if value.upper().endswith("Z"):
            zones, value = ["UTC"], value.upper().replace("Z", "")
        if zones and keys.setdefault("time_zone", zones[0].removeprefix("tzid=")) != zones[0].removeprefix("tzid="):
            raise ValueError("one TZID is wanted for all")
        days = [datetime.fromisoformat(one).isoformat(timespec="minutes") for one in value.split(",")]
        if name == "DTSTART":
            keys["dtstart"] = days[0]
        else:
            exdates += [day[:10] if "VALUE=DATE" in parameters else day for day in days]
    if exdates:
        keys["exdate"] = exdates
    return keys


def rule_fault(text: str, dtstart: str) -> str | None:
    """Why an `rrule` from `dtstart` is no schedule, as "key: what is wrong"; its walk is bounded where this is None."""
    try:
        start = datetime.fromisoformat(dtstart)
    except ValueError as error:
        return f"dtstart: {error}, got {dtstart!r}"
    first, last = START_YEARS
    if not first <= start.year <= last:
        return f"dtstart: {dtstart!r} is not within the years {first} to {last}"
    try:
        if fault := _text_fault(text):
            return f"rrule: {fault}, got {text!r}"
        if _no_such_day(text, start) or next(_local(text, dtstart, start, UTC), None) is None:
            return f"rrule: is not due once within {AHEAD.days // 365} years of {dtstart!r}, got {text!r}"
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        return f"rrule: {error}, got {text!r} from {dtstart!r}"
    return None


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


def _cron(schedule: config.Schedule, zone: ZoneInfo, after_utc: datetime) -> Iterator[Occurrence]:
    assert schedule.cron is not None
    for planned in CronSim(schedule.cron, after_utc.astimezone(zone)):
        local = planned.replace(tzinfo=None, fold=0)
        yield _noted(schedule, planned.astimezone(UTC), local, zone, _moved(schedule.cron, local))


def _moved(line: str, local: datetime) -> bool:
    """Whether the line does not name this local time: then the clock change put it there."""
    return next(CronSim(line, local - timedelta(minutes=1))) != local


def _rrule(schedule: config.Schedule, zone: ZoneInfo, after_utc: datetime) -> Iterator[Occurrence]:
    """dateutil counts in naive local time, which it does well; what that means in the zone is our own rule."""
    assert schedule.rrule is not None and schedule.dtstart is not None  # config.load saw to it
    # A local time up to a gap's length before `after` may still be due after it.
    since = after_utc.astimezone(zone).replace(tzinfo=None, fold=0) - timedelta(hours=3)
    for local in _local(schedule.rrule, schedule.dtstart, since, zone):
        planned = localise(local, zone)
        moved = planned.astimezone(zone).replace(tzinfo=None, fold=0) != local
        yield _noted(schedule, planned, local, zone, moved)


def _noted(schedule: config.Schedule, planned: datetime, local: datetime, zone: ZoneInfo, moved: bool) -> Occurrence:
    note = None
    if moved:
        note = "the clock skips that local time; this is the first instant after the gap"
    elif local.replace(tzinfo=zone, fold=1).astimezone(UTC) != local.replace(tzinfo=zone, fold=0).astimezone(UTC):
        note = "the clock shows that local time twice; this is the first"
    return Occurrence(schedule, planned, local, note)


def _sunny(
    schedule: config.Schedule, zone: ZoneInfo, after_utc: datetime, place: tuple[float, float] | None
) -> Iterator[Occurrence]:
    """Each local day that the rule names (every day without one), at the sun's event, within the clamps."""
    assert schedule.sun is not None and place is not None  # config.load saw to it
    since = after_utc.astimezone(zone).replace(tzinfo=None, fold=0) - timedelta(days=2)
    for day in _days(schedule, since, zone):
        solar = day.date() + (day.date() - sun.noon_utc(day.date(), place[1]).astimezone(zone).date())
        event = sun.event_utc(schedule.sun, solar, *place)
        if event is None:
            noon = sun.noon_utc(solar, place[1]).replace(microsecond=0)
            local = noon.astimezone(zone).replace(tzinfo=None, fold=0)
            yield Occurrence(schedule, noon, local, None, f"there is no {schedule.sun} on {day:%Y-%m-%d} at this place")
            continue
        planned = event + timedelta(minutes=schedule.offset_min)
        notes = [f"{schedule.sun} is at {event.astimezone(zone):%H:%M}"]
        for clamp, pick, what in ((schedule.not_before, max, "not before"), (schedule.not_after, min, "not after")):
            if clamp is None:
                continue
            border = localise(datetime.fromisoformat(f"{day:%Y-%m-%d}T{clamp}"), zone)
            if pick(planned, border) != planned:
                planned = border
                notes.append(f"{what} {clamp}")
        yield Occurrence(schedule, planned, planned.astimezone(zone).replace(tzinfo=None, fold=0), ", ".join(notes))


def _days(schedule: config.Schedule, since: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    if schedule.rrule is not None and schedule.dtstart is not None:
        yield from _local(schedule.rrule, schedule.dtstart, since, zone)
        return
    for n in range(AHEAD.days):
        yield since + timedelta(days=n)


class _Rule(NamedTuple):
    """A rule without its end; `end` is the last instant that may be due, where there is one.

    It is local, or with a zone: RFC 5545, 3.3.10, wants UNTIL in UTC where DTSTART has a TZID.
    """

    endless: rrule
    start: datetime
    freq: str
    interval: int
    end: datetime | None


def _local(text: str, dtstart: str, since: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Local times from `since` on, for `AHEAD` at most."""
    rule = _rule(text, dtstart)
    start, until = _near(rule, since), max(since, rule.start) + AHEAD
    end = rule.end or until
    if end.tzinfo is not None:
        end = end.astimezone(zone).replace(tzinfo=None, fold=0)
    walk = rule.endless.replace(dtstart=start, until=min(until, end))
    return (local for local in walk if local >= since)


@lru_cache(maxsize=256)
def _rule(text: str, dtstart: str) -> _Rule:
    """A COUNT is walked here, once, and stands as an end from then on: only what has no COUNT may start later."""
    parts, start = _parts(text), datetime.fromisoformat(dtstart)
    rest = ";".join(f"{key}={value}" for key, value in parts.items() if key not in ("COUNT", "UNTIL"))
    endless = rrulestr(rest, dtstart=start)
    assert isinstance(endless, rrule)  # a set needs several lines, and there is one
    end = None
    if "UNTIL" in parts:
        end = parser.parse(parts["UNTIL"])
    elif "COUNT" in parts:
        counted = deque(islice(endless.replace(until=start + LONGEST), int(parts["COUNT"])), maxlen=1)
        end = counted[0] if counted else start
    return _Rule(endless, start, parts["FREQ"], int(parts.get("INTERVAL", 1)), end)


def _near(rule: _Rule, since: datetime) -> datetime:
    """The start moved towards `since` by whole intervals, which keeps their phase; one is left, for sets cut short."""
    if since <= rule.start:
        return rule.start
    match rule.freq:
        case "HOURLY" | "DAILY" | "WEEKLY":
            unit = {"HOURLY": timedelta(hours=1), "DAILY": timedelta(days=1), "WEEKLY": timedelta(weeks=1)}[rule.freq]
            step = unit * rule.interval
            return rule.start + max(0, (since - rule.start) // step - 1) * step
    months = rule.interval * (12 if rule.freq == "YEARLY" else 1)
    passed = (since.year - rule.start.year) * 12 + since.month - rule.start.month
    for steps in range(passed // months - 1, 0, -1):
        year, month = divmod(rule.start.year * 12 + rule.start.month - 1 + steps * months, 12)
        try:
            return rule.start.replace(year=year, month=month + 1)
        except ValueError:  # the month has no such day: the interval before may have it
            continue
    return rule.start


def _parts(text: str) -> dict[str, str]:
    """RRULE's parts, in capitals."""
    pairs = (part.split("=") for part in _bare(text).split(";"))
    return {pair[0]: pair[1] for pair in pairs}


def _bare(text: str) -> str:
    return text.upper().strip().removeprefix("RRULE:").rstrip(";")


def _no_such_day(text: str, start: datetime) -> bool:
    """Whether no year has such a day: dateutil looks for it until 9999, year by year in no time, not hour by hour."""
    days = [f"{key}={value}" for key, value in _parts(text).items() if key in _DAYS]
    return next(iter(rrulestr(";".join(["FREQ=YEARLY", *days]), dtstart=start)), None) is None


def _text_fault(text: str) -> str | None:
    if any(letter.isspace() or letter == ":" for letter in _bare(text)):
        return "one rule is wanted, without DTSTART, EXDATE or RDATE"
    if bare := [part for part in _bare(text).split(";") if part.count("=") != 1]:
        return f"KEY=VALUE is wanted, not {bare[0]!r}"
    parts = _parts(text)
    freq, among = parts.get("FREQ", ""), ", ".join(FREQUENCIES)
    if freq not in FREQUENCIES:
        return f"FREQ={freq} is none of {among}; a patrol is flown hourly at the most"
    for key, most in (("INTERVAL", INTERVAL_MAX), ("COUNT", COUNT_MAX)):
        if key in parts and not (parts[key].isdecimal() and 1 <= int(parts[key]) <= most):
            return f"{key}={parts[key]} is not within 1 to {most}"
    if "COUNT" in parts and "UNTIL" in parts:
        return "give COUNT or UNTIL, not both"
    if "BYSETPOS" in parts and freq in ("DAILY", "HOURLY"):
        return f"BYSETPOS={parts['BYSETPOS']} picks among the days of a week, month or year, not with FREQ={freq}"
    if "," in parts.get("BYSECOND", ""):
        return f"BYSECOND={parts['BYSECOND']} is several flights a minute"
    return None
