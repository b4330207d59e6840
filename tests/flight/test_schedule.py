"""The occurrence ledger under clocks that step."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import calendar
from edge_agent.config import Schedule, Site
from edge_agent.flight.schedule import Ledger, LedgerState
from edge_agent.flight.timetable import Timetable

BERLIN = Timetable(Site(device="d", time_zone="Europe/Berlin", lat=52.52, lon=13.405))
UTC_SITE = Timetable(Site(device="d"))
HOURLY = Schedule(id="hourly", route="r", cron="0 * * * *", grace_s=600)
START_S = datetime(2026, 6, 1, 10, 30, tzinfo=UTC).timestamp()
ELEVEN_S = START_S + 1800


class Clerk:
    """Asks the ledger and flies whatever is due."""

    def __init__(self, *schedules: Schedule, state: LedgerState | None = None) -> None:
        self.ledger = Ledger(schedules or (HOURLY,), BERLIN, state or LedgerState())
        self.flown: list[float] = []
        self.missed: list[float] = []

    def at(self, now_s: float) -> None:
        due, missed = self.ledger.due(now_s)
        self.missed += [one.planned_s for one in missed]
        if due:
            self.ledger.take(due)
            self.flown.append(due.planned_s)

    def restart(self) -> None:
        state = msgspec.json.decode(msgspec.json.encode(self.ledger.state), type=LedgerState)
        self.ledger = Ledger((HOURLY,), BERLIN, state)


def test_on_the_very_first_start_nothing_of_the_past_is_due():
    clerk = Clerk()
    clerk.at(ELEVEN_S + 1)
    clerk.at(ELEVEN_S + 500)
    assert (clerk.flown, clerk.missed) == ([], [])


def test_an_occurrence_is_due_once():
    clerk = Clerk()
    for now_s in range(int(START_S), int(ELEVEN_S) + 1200, 10):
        clerk.at(now_s)
    assert (clerk.flown, clerk.missed) == ([ELEVEN_S], [])


def test_a_clock_set_back_over_a_flight_does_not_repeat_it():
    clerk = Clerk()
    for now_s in (START_S, ELEVEN_S + 1, ELEVEN_S - 600, ELEVEN_S + 1, ELEVEN_S + 300):
        clerk.at(now_s)
    assert clerk.flown == [ELEVEN_S]


def test_nor_does_it_after_a_restart():
    clerk = Clerk()
    for now_s in (START_S, ELEVEN_S + 1, ELEVEN_S - 600):
        clerk.at(now_s)
        clerk.restart()
    clerk.at(ELEVEN_S + 1)
    assert clerk.flown == [ELEVEN_S]


def test_a_clock_that_jumps_a_day_ahead_and_back_swallows_nothing():
    clerk = Clerk()
    for now_s in (START_S, START_S + 86_400, START_S + 5, ELEVEN_S + 1):
        clerk.at(now_s)
    assert clerk.flown == [ELEVEN_S]


def test_a_clock_that_was_far_ahead_on_the_first_start_swallows_nothing():
    clerk = Clerk()
    for now_s in (START_S + 10 * 365 * 86_400, START_S, ELEVEN_S + 1):
        clerk.at(now_s)
    assert clerk.flown == [ELEVEN_S]


def test_a_clock_that_booted_in_1970_fires_nothing_of_the_years_between():
    clerk = Clerk()
    for now_s in (1000.0, START_S, ELEVEN_S + 1):
        clerk.at(now_s)
    assert clerk.flown == [ELEVEN_S]
    assert len(clerk.missed) <= 7 * 24 + 1


def test_what_was_off_longer_than_the_grace_is_missed_and_not_flown():
    clerk = Clerk()
    for now_s in (START_S, ELEVEN_S + 3 * 3600 + 601):
        clerk.at(now_s)
    assert clerk.flown == []
    assert clerk.missed == [ELEVEN_S + 3600 * n for n in range(4)]


def test_what_was_off_shorter_than_the_grace_is_flown():
    clerk = Clerk()
    for now_s in (START_S, ELEVEN_S + 599):
        clerk.at(now_s)
    assert clerk.flown == [ELEVEN_S]


def test_a_flight_that_waits_is_missed_with_the_reason_for_which_it_waited():
    ledger = Ledger((HOURLY,), BERLIN, LedgerState())
    ledger.due(START_S)
    due, _ = ledger.due(ELEVEN_S + 1)
    assert due is not None
    ledger.hold(due, "battery at 20 %")
    assert ledger.due(ELEVEN_S + 300)[0] == due
    due, missed = ledger.due(ELEVEN_S + 601)
    assert due is None
    assert [(one.planned_s, one.reason) for one in missed] == [(ELEVEN_S, "battery at 20 %")]


def test_of_two_that_are_due_the_one_planned_first_flies_first():
    other = Schedule(id="other", route="r", cron="58 * * * *", grace_s=600)
    clerk = Clerk(HOURLY, other)
    for now_s in (START_S, ELEVEN_S + 1, ELEVEN_S + 2):
        clerk.at(now_s)
    assert clerk.flown == [ELEVEN_S - 120, ELEVEN_S]


def test_a_disabled_schedule_is_never_due():
    clerk = Clerk(Schedule(id="off", route="r", cron="* * * * *", enabled=False))
    for now_s in (START_S, ELEVEN_S + 1):
        clerk.at(now_s)
    assert (clerk.flown, clerk.missed) == ([], [])


def test_a_changed_rule_owes_nothing_of_the_past():
    state = LedgerState()
    Clerk(state=state).at(START_S)
    clerk = Clerk(Schedule(id="hourly", route="r", cron="0 11 * * *", grace_s=86_400), state=state)
    clerk.at(ELEVEN_S + 60)
    assert clerk.flown == []


def test_a_rule_that_has_ended_is_never_due_again():
    once = Schedule(id="once", route="r", rrule="FREQ=DAILY;COUNT=1", dtstart="2026-06-01T13:00")
    clerk = Clerk(once)
    for now_s in (START_S, ELEVEN_S + 1, ELEVEN_S + 86_401):
        clerk.at(now_s)
    assert clerk.flown == [ELEVEN_S]


@given(st.lists(st.integers(-7200, 7200), min_size=1, max_size=60))
def test_however_the_clock_steps_nothing_flies_twice_or_after_its_grace(steps):
    clerk = Clerk()
    now_s = START_S
    clerk.at(now_s)
    for step_s in steps:
        now_s += step_s
        before = len(clerk.flown)
        clerk.at(now_s)
        assert all(0 <= now_s - planned_s <= 600 for planned_s in clerk.flown[before:])
    assert len(set(clerk.flown)) == len(clerk.flown)


def test_the_next_occurrence_is_told():
    planned = Ledger((HOURLY,), BERLIN, LedgerState()).next(START_S)
    assert planned is not None
    assert planned.planned_s == ELEVEN_S


def test_asking_for_the_next_one_walks_no_rule_until_it_has_come(monkeypatch):
    ledger = Ledger((HOURLY,), BERLIN, LedgerState())
    walks = []
    walk = calendar.next_occurrences
    monkeypatch.setattr(calendar, "next_occurrences", lambda *args: walks.append(args) or walk(*args))
    told = [ledger.next(START_S + second) for second in range(0, 3600, 60)]
    assert [planned.planned_s for planned in told] == [ELEVEN_S] * 30 + [ELEVEN_S + 3600] * 30
    assert len(walks) == 2


def test_what_is_next_follows_a_skip_a_switch_and_a_clock_set_back():
    ledger = Ledger((HOURLY,), BERLIN, LedgerState())
    ledger.skip(ledger.next(START_S))
    assert ledger.next(START_S).planned_s == ELEVEN_S + 3600
    assert ledger.next(START_S - 7200).planned_s == ELEVEN_S - 7200
    ledger.enable("hourly", False, START_S)
    assert ledger.next(START_S) is None
    ledger.enable("hourly", True, START_S)
    assert ledger.next(START_S).planned_s == ELEVEN_S + 3600


class TestSkipping:
    """An operator may leave out one occurrence; nobody flies it, and nothing else changes."""

    DAILY = Schedule(id="dusk", route="r", cron="0 20 * * *")
    T0 = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
    DAY = 86_400.0

    def ledger(self) -> Ledger:
        return Ledger([self.DAILY], UTC_SITE, LedgerState())

    def test_the_next_is_left_out_and_the_one_after_it_flies(self) -> None:
        ledger = self.ledger()
        ledger.due(self.T0)
        planned = ledger.find("dusk", None, self.T0)
        assert planned is not None
        assert planned.planned_s == self.T0 + 8 * 3600
        ledger.skip(planned)
        again = ledger.next(self.T0)
        assert again is not None
        assert again.planned_s == planned.planned_s + self.DAY
        for late_s in (0, 60, 599):
            assert ledger.due(planned.planned_s + late_s) == (None, [])
        due, missed = ledger.due(planned.planned_s + self.DAY)
        assert (due and due.planned_s, missed) == (planned.planned_s + self.DAY, [])

    def test_one_further_ahead_can_be_named_and_the_next_still_flies(self) -> None:
        ledger = self.ledger()
        ledger.due(self.T0)
        wanted_s = self.T0 + 8 * 3600 + self.DAY
        planned = ledger.find("dusk", wanted_s, self.T0)
        assert planned is not None
        ledger.skip(planned)
        due, _ = ledger.due(self.T0 + 8 * 3600)
        assert due is not None
        ledger.take(due)
        assert ledger.due(wanted_s + 60) == (None, [])

    def test_what_is_no_occurrence_or_over_or_decided_is_not_found(self) -> None:
        ledger = self.ledger()
        for id, when_s in (("dawn", None), ("dusk", self.T0 + 1), ("dusk", self.T0 - 16 * 3600)):
            assert ledger.find(id, when_s, self.T0) is None
        planned = ledger.find("dusk", None, self.T0)
        assert planned is not None
        ledger.skip(planned)
        assert ledger.find("dusk", planned.planned_s, self.T0) is None

    def test_a_skip_outlives_a_restart(self) -> None:
        state = LedgerState()
        ledger = Ledger([self.DAILY], UTC_SITE, state)
        ledger.due(self.T0)
        planned = ledger.find("dusk", None, self.T0)
        assert planned is not None
        ledger.skip(planned)
        kept = msgspec.json.decode(msgspec.json.encode(state), type=LedgerState)
        again = Ledger([self.DAILY], UTC_SITE, kept)
        assert again.due(planned.planned_s + 60) == (None, [])

    def test_a_schedule_that_was_off_owes_nothing_of_that_time(self) -> None:
        ledger = self.ledger()
        ledger.due(self.T0)
        ledger.enable("dusk", False, self.T0)
        assert ledger.due(self.T0 + 9 * 3600) == (None, [])
        assert ledger.next(self.T0) is None
        ledger.enable("dusk", True, self.T0 + 9 * 3600)
        assert ledger.due(self.T0 + 10 * 3600) == (None, [])
        due, _ = ledger.due(self.T0 + 8 * 3600 + self.DAY)
        assert due is not None
