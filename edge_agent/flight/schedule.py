"""Which flight is due: an occurrence ledger that a stepping clock can neither make repeat nor swallow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from edge_agent import calendar
from edge_agent.config import Schedule

LOOK_BACK_S = 7 * 86_400.0  # an agent that was off for longer does not list each flight that it missed
KEEP = 2000  # flown occurrences remembered per schedule: a minutely line over the longest grace


class LedgerState(Struct):
    """What survives a restart; keys are `Ledger.key`, times are Unix seconds of planned instants."""

    since: dict[str, float] = field(default_factory=dict)  # everything up to here is decided
    flown: dict[str, list[float]] = field(default_factory=dict)


class Planned(NamedTuple):
    """One occurrence."""

    schedule: Schedule
    planned_s: float


class Missed(NamedTuple):
    """An occurrence that nobody flew within its grace, and why."""

    schedule: Schedule
    planned_s: float
    reason: str


class Ledger:
    """Decides each occurrence once: flown, or missed with a reason.

    `since` follows the clock back, so that flights a wrong clock jumped over are still flown when their time comes;
    what has flown is remembered by its planned instant, so that it never flies again.
    """

    def __init__(self, schedules: Iterable[Schedule], zone: ZoneInfo, state: LedgerState) -> None:
        self._all = list(schedules)
        self._schedules = [schedule for schedule in self._all if schedule.enabled]
        self._zone, self.state = zone, state
        self._next: dict[str, tuple[float, float]] = {}  # key: (walked from, next planned)
        self._following: tuple[float, Planned | None] | None = None  # asked at, and what is next of all
        self._reasons: dict[tuple[str, float], str] = {}

    @staticmethod
    def key(schedule: Schedule) -> str:
        """A schedule and its rule: a changed rule starts afresh and owes nothing of the past."""
        return f"{schedule.id} {schedule.cron or f'{schedule.dtstart} {schedule.rrule}'}"

    def due(self, now_s: float) -> tuple[Planned | None, list[Missed]]:
        """The flight to start now (the one planned first), and those that it has become too late for.

        The same flight stays due until `take`, or until its grace is over.
        """
        due: list[Planned] = []
        missed: list[Missed] = []
        for schedule in self._schedules:
            key = self.key(schedule)
            since_s = self.state.since[key] = min(self.state.since.get(key, now_s), now_s)
            since_s = max(since_s, now_s - LOOK_BACK_S)
            for planned_s in self._past(schedule, since_s, now_s):
                if planned_s in self.state.flown.get(key, ()):
                    self.state.since[key] = planned_s
                elif now_s - planned_s > schedule.grace_s:
                    reason = self._reasons.pop((key, planned_s), "the agent was not running, or the clock jumped")
                    missed.append(Missed(schedule, planned_s, reason))
                    self.state.since[key] = planned_s
                else:
                    due.append(Planned(schedule, planned_s))
                    break
        return min(due, key=lambda planned: planned.planned_s, default=None), missed

    def take(self, planned: Planned) -> None:
        """It flies now, and never again."""
        key = self.key(planned.schedule)
        self.state.flown[key] = [*self.state.flown.get(key, []), planned.planned_s][-KEEP:]
        self.state.since[key] = planned.planned_s
        self._reasons.pop((key, planned.planned_s), None)
        self._following = None

    def skip(self, planned: Planned) -> None:
        """It never flies, though its time is still to come."""
        key = self.key(planned.schedule)
        self.state.flown[key] = [*self.state.flown.get(key, []), planned.planned_s][-KEEP:]
        self._following = None

    def hold(self, planned: Planned, reason: str) -> None:
        """It cannot fly yet: the reason it is missed for, should that last."""
        self._reasons[self.key(planned.schedule), planned.planned_s] = reason

    def enable(self, schedule_id: str, enabled: bool, now_s: float) -> None:
        """Switch a schedule on or off; what would have flown while it was off is not owed."""
        for schedule in self._all:
            if schedule.id != schedule_id or (schedule in self._schedules) == enabled:
                continue
            if enabled:
                self.state.since[self.key(schedule)] = now_s
                self._schedules.append(schedule)
            else:
                self._schedules.remove(schedule)
            self._following = None

    def names(self) -> str:
        """The schedules that are enabled."""
        return ", ".join(schedule.id for schedule in self._schedules)

    def find(self, schedule_id: str, planned_s: float | None, now_s: float) -> Planned | None:
        """The occurrence at `planned_s` if it is still ahead, or the next one that is not decided yet."""
        for schedule in (schedule for schedule in self._schedules if schedule.id == schedule_id):
            for planned in self._ahead(schedule, now_s):
                if planned_s in (None, planned.planned_s):
                    return planned
                if planned_s is not None and planned.planned_s > planned_s:
                    return None
        return None

    def next(self, now_s: float) -> Planned | None:
        """The next occurrence of all, for those who ask; the rules are walked only when it has come."""
        if self._following is not None:
            asked_s, following = self._following
            if asked_s <= now_s and (following is None or now_s < following.planned_s):
                return following
        ahead = [planned for schedule in self._schedules for planned in islice(self._ahead(schedule, now_s), 1)]
        self._following = now_s, min(ahead, key=lambda planned: planned.planned_s, default=None)
        return self._following[1]

    def _ahead(self, schedule: Schedule, now_s: float) -> Iterator[Planned]:
        """What is still to come and not decided yet."""
        flown = self.state.flown.get(self.key(schedule), ())
        for occurrence in islice(self._occurrences(schedule, now_s), KEEP):
            if (at_s := occurrence.planned_utc.timestamp()) not in flown:
                yield Planned(schedule, at_s)

    def _past(self, schedule: Schedule, since_s: float, now_s: float) -> Iterator[float]:
        """Occurrences after `since_s` up to now; a rule is walked only when its next instant has come."""
        key = self.key(schedule)
        walked_from_s, next_s = self._next.get(key, (float("inf"), 0.0))
        if walked_from_s <= since_s and now_s < next_s:
            return
        last_s = since_s
        for occurrence in self._occurrences(schedule, since_s):
            planned_s = occurrence.planned_utc.timestamp()
            if planned_s > now_s:
                self._next[key] = (last_s, planned_s)
                return
            last_s = planned_s
            yield planned_s
        self._next[key] = (last_s, float("inf"))

    def _occurrences(self, schedule: Schedule, after_s: float) -> Iterator[calendar.Occurrence]:
        return calendar.next_occurrences(schedule, self._zone, datetime.fromtimestamp(after_s, UTC))
