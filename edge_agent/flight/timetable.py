"""From a rule to flights: exceptions, windows, jitter, blackouts and patrol levels, each explained. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from edge_agent import calendar, spans
from edge_agent.config import Blackout, LevelSpan, PatrolLevel, Schedule, Site

RANK: tuple[PatrolLevel, ...] = ("normal", "raised", "top")


class Entry(NamedTuple):
    """One occurrence: when its rule names it, when it flies, and what made it so, or why it does not fly at all."""

    schedule: Schedule
    planned_s: float
    named_s: float
    notes: tuple[str, ...]
    dropped: str | None = None


class Timetable:
    """The occurrences of schedules at a site; `level_at` says which patrol level holds at an instant."""

    def __init__(self, site: Site, blackouts: Iterable[Blackout] = (), levels: Iterable[LevelSpan] = ()) -> None:
        self._site_zone = ZoneInfo(site.time_zone)
        self._place = None if site.lat is None or site.lon is None else (site.lat, site.lon)
        self._blackouts, self._levels = tuple(blackouts), tuple(levels)

    def calendar_level(self, at_s: float) -> PatrolLevel:
        """What the calendar wants; the highest of those that hold."""
        local = self._local(at_s, self._site_zone)
        return max((span.level for span in self._levels if spans.holds(span, local)), key=RANK.index, default="normal")

    def entries(self, schedule: Schedule, after_s: float, level_at: Callable[[float], PatrolLevel]) -> Iterator[Entry]:
        """What is planned strictly later than `after_s`, in order, those that do not fly included with their reason.

        Jitter moves nothing past the middle between two neighbours, so the order stays and no flight is lost in it.
        """
        zone = self.zone(schedule)
        reach_s = schedule.jitter_s
        start = datetime.fromtimestamp(after_s - 3 * reach_s, UTC)
        for before_s, one, next_s in _neighbours(
            calendar.next_occurrences(schedule, self._site_zone, start, self._place)
        ):
            named_s = one.planned_utc.timestamp()
            planned_s, notes = named_s, [one.note] if one.note else []
            if reach_s and not one.never:
                early_s = min(reach_s, (named_s - before_s) / 2) if before_s is not None else reach_s
                late_s = min(reach_s, (next_s - named_s) / 2) if next_s is not None else reach_s
                planned_s, note = self._shifted(schedule, named_s, (early_s, late_s), zone)
                notes.append(note)
            if planned_s <= after_s:
                continue
            dropped = one.never or _exception(schedule, one.local) or self._barred(schedule, planned_s, zone)
            level = level_at(planned_s)
            if dropped is None and level not in schedule.levels:
                dropped = f"the patrol level is {level}; this schedule flies at {', '.join(schedule.levels)}"
            yield Entry(schedule, planned_s, named_s, tuple(notes), dropped)

    def zone(self, schedule: Schedule) -> ZoneInfo:
        """The schedule's own zone, or the site's."""
        return ZoneInfo(schedule.time_zone) if schedule.time_zone else self._site_zone

    def _shifted(
        self, schedule: Schedule, named_s: float, reach_s: tuple[float, float], zone: ZoneInfo
    ) -> tuple[float, str]:
        share = _draw(schedule, named_s)
        shift_s = float(round(-reach_s[0] + share * sum(reach_s)))
        if self._barred(schedule, named_s, zone) is None and self._barred(schedule, named_s + shift_s, zone):
            return named_s, "no jitter: it would lead out of the window or into a blackout"
        return named_s + shift_s, f"jitter {shift_s:+.0f} s"

    def _barred(self, schedule: Schedule, at_s: float, zone: ZoneInfo) -> str | None:
        local = self._local(at_s, zone)
        if schedule.windows and not any(spans.holds(span, local) for span in schedule.windows):
            among = ", ".join(_shown(span.start, span.end, span.days) for span in schedule.windows)
            return f"outside of its windows ({among})"
        for blackout in self._blackouts:
            concerns = not blackout.schedules or schedule.id in blackout.schedules
            if concerns and spans.holds(blackout, self._local(at_s, self._site_zone)):
                return f"blackout {blackout.id} ({_shown(blackout.start, blackout.end, blackout.days)})"
        return None

    @staticmethod
    def _local(at_s: float, zone: ZoneInfo) -> datetime:
        return datetime.fromtimestamp(at_s, zone).replace(tzinfo=None, fold=0)


def _neighbours(
    found: Iterator[calendar.Occurrence],
) -> Iterator[tuple[float | None, calendar.Occurrence, float | None]]:
    """Each occurrence between the instants of those beside it."""
    before_s: float | None = None
    one = next(found, None)
    while one is not None:
        following = next(found, None)
        yield before_s, one, following.planned_utc.timestamp() if following else None
        before_s, one = one.planned_utc.timestamp(), following


def _draw(schedule: Schedule, named_s: float) -> float:
    """0..1, the same whenever it is asked for: the seed, the schedule and the instant decide."""
    digest = hashlib.sha256(f"{schedule.seed} {schedule.id} {named_s:.0f}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _exception(schedule: Schedule, local: datetime) -> str | None:
    for day in schedule.exdate:
        at = datetime.fromisoformat(day)
        if at == local or (":" not in day and timedelta() <= local - at < timedelta(days=1)):
            return f"exdate {day}"
    return None


def _shown(start: str, end: str, days: Sequence[str]) -> str:
    return f"{start} to {end}" + (f" on {' '.join(days)}" if days else "")
