"""Which flight is due: an occurrence ledger that a stepping clock can neither make repeat nor swallow. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from msgspec import Struct, field

from edge_agent.config import PatrolLevel, Schedule
from edge_agent.flight.timetable import Entry, Timetable

LOOK_BACK_S = 7 * 86_400.0  # an agent that was off for longer does not list each flight that it missed
KEEP = 2000  # flown occurrences remembered per schedule: a minutely line over the longest grace
SKIP_S = 60.0  # what is not to be made up for may be so late all the same: a turn of the pilot, a busy machine
CATCH_UP_S = 86_400.0
SWITCHES = 50  # of the patrol level, remembered
ASK_AGAIN_S = 60.0  # where nothing is ahead


class Switch(Struct, frozen=True):
    """A person set the patrol level; without `until_s` until the next switch."""

    at_s: float
    level: PatrolLevel
    by: str
    until_s: float | None = None


class LedgerState(Struct):
    """What survives a restart; keys are `Ledger.key`, times are Unix seconds of planned instants."""

    since: dict[str, float] = field(default_factory=dict)  # everything up to here is decided
    flown: dict[str, list[float]] = field(default_factory=dict)
    switches: list[Switch] = field(default_factory=list)


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

    def __init__(self, schedules: Iterable[Schedule], timetable: Timetable, state: LedgerState) -> None:
        self._all = list(schedules)
        self._schedules = [schedule for schedule in self._all if schedule.enabled]
        self._timetable, self.state = timetable, state
        self._next: dict[str, tuple[float, float]] = {}  # key: (walked from, next planned)
        self._following: tuple[float, Planned | None] | None = None  # asked at, and what is next of all
        self._reasons: dict[tuple[str, float], str] = {}

    @staticmethod
    def key(schedule: Schedule) -> str:
        """A schedule and its rule: a changed rule starts afresh and owes nothing of the past."""
        rule = schedule.cron or f"{schedule.dtstart} {schedule.rrule}"
        if schedule.sun:
            clamps = f"{schedule.not_before or ''}..{schedule.not_after or ''}"
            rule += f" {schedule.sun}{schedule.offset_min:+g} {clamps}"
        more = (schedule.time_zone, f"~{schedule.jitter_s:g}{schedule.seed}" if schedule.jitter_s else None)
        return " ".join((schedule.id, rule, *filter(None, more)))

    def due(self, now_s: float) -> tuple[Planned | None, list[Missed]]:
        """The flight to start now (the one planned first), and those that it has become too late for.

        The same flight stays due until `take`, or until its grace is over.
        """
        due: list[Planned] = []
        missed: list[Missed] = []
        self._heed_clock(now_s)
        for schedule in self._schedules:
            key = self.key(schedule)
            since_s = self.state.since[key] = min(self.state.since.get(key, now_s), now_s)
            since_s = max(since_s, now_s - LOOK_BACK_S)
            late: Planned | None = None  # the last that may be made up for
            for entry in self._past(schedule, since_s, now_s):
                if entry.dropped is None and entry.planned_s not in self.state.flown.get(key, ()):
                    if late is not None:
                        missed.append(self._miss(late, "a later one is flown instead"))
                        late = None
                    age_s = now_s - entry.planned_s
                    if age_s <= _grace_s(schedule):
                        due.append(Planned(schedule, entry.planned_s))
                        break
                    if schedule.missed == "catch_up" and age_s <= CATCH_UP_S:
                        late = Planned(schedule, entry.planned_s)
                        continue
                    missed.append(self._miss(Planned(schedule, entry.planned_s)))
                elif late is None:
                    self.state.since[key] = entry.planned_s
            if late is not None:
                due.append(late)
        return min(due, key=lambda planned: planned.planned_s, default=None), missed

    def _miss(self, planned: Planned, reason: str = "the agent was not running, or the clock jumped") -> Missed:
        key = self.key(planned.schedule)
        self.state.since[key] = planned.planned_s
        return Missed(planned.schedule, planned.planned_s, self._reasons.pop((key, planned.planned_s), reason))

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

    # --- patrol level ---------------------------------------------------------------------------------------------

    def switch(self, level: PatrolLevel, until_s: float | None, by: str, now_s: float) -> None:
        """A person sets the level; it holds until `until_s`, or else until the next switch."""
        self.state.switches = [*self.state.switches, Switch(now_s, level, by, until_s)][-SWITCHES:]
        self._forget_walks()

    def level_at(self, at_s: float) -> PatrolLevel:
        """The level that holds: the last switch's while it lasts, else the calendar's.

        What was set without an end gives way to a stretch of the calendar that began later, while that lasts.
        """
        planned = self._timetable.calendar_level(at_s)
        switch = next((one for one in reversed(self.state.switches) if one.at_s <= at_s), None)
        if switch is None or (switch.until_s is not None and at_s >= switch.until_s):
            return planned
        if switch.until_s is None and planned not in ("normal", self._timetable.calendar_level(switch.at_s)):
            return planned
        return switch.level

    def switched(self, at_s: float) -> Switch | None:
        """The switch that decides the level, where one does."""
        switch = next((one for one in reversed(self.state.switches) if one.at_s <= at_s), None)
        if switch is None or (switch.until_s is not None and at_s >= switch.until_s):
            return None
        return switch if self.level_at(at_s) == switch.level else None

    def _heed_clock(self, now_s: float) -> None:
        """A switch in the future was made before the clock was set back: it holds from now on."""
        if any(switch.at_s > now_s for switch in self.state.switches):
            self.state.switches = [
                Switch(min(one.at_s, now_s), one.level, one.by, one.until_s) for one in self.state.switches
            ]
            self._forget_walks()

    def _forget_walks(self) -> None:
        self._next.clear()
        self._following = None

    # --- ahead ----------------------------------------------------------------------------------------------------

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """Those that are enabled."""
        return tuple(self._schedules)

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
            if asked_s <= now_s < (following.planned_s if following else asked_s + ASK_AGAIN_S):
                return following
        ahead = [planned for schedule in self._schedules for planned in islice(self._ahead(schedule, now_s), 1)]
        self._following = now_s, min(ahead, key=lambda planned: planned.planned_s, default=None)
        return self._following[1]

    def entries(self, schedule: Schedule, after_s: float) -> Iterator[Entry]:
        """What is planned later than `after_s`, in order, with what made it so; decided ones say so."""
        decided = self.state.flown.get(self.key(schedule), ())
        found = self._timetable.entries(schedule, after_s, self.level_at)
        for entry in islice(found, KEEP):
            if entry.dropped is None and entry.planned_s in decided:
                yield entry._replace(dropped="left out, or flown already")
            else:
                yield entry

    def _ahead(self, schedule: Schedule, now_s: float) -> Iterator[Planned]:
        """What is still to come and not decided yet."""
        for entry in self.entries(schedule, now_s):
            if entry.dropped is None:
                yield Planned(schedule, entry.planned_s)

    def _past(self, schedule: Schedule, since_s: float, now_s: float) -> Iterator[Entry]:
        """Occurrences after `since_s` up to now; a rule is walked only when its next instant has come."""
        key = self.key(schedule)
        walked_from_s, next_s = self._next.get(key, (float("inf"), 0.0))
        if walked_from_s <= since_s and now_s < next_s:
            return
        last_s = since_s
        for entry in self._timetable.entries(schedule, since_s, self.level_at):
            if entry.planned_s > now_s:
                self._next[key] = (last_s, entry.planned_s)
                return
            last_s = entry.planned_s
            yield entry
        self._next[key] = (last_s, float("inf"))


def _grace_s(schedule: Schedule) -> float:
    """How late it may begin."""
    return min(schedule.grace_s, SKIP_S) if schedule.missed == "skip" else schedule.grace_s
