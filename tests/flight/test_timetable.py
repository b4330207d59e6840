"""Windows, blackouts, jitter, levels and the sun; what is missed; under clocks that step."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config import Blackout, LevelSpan, Schedule, Site, Span
from edge_agent.flight.schedule import Ledger, LedgerState
from edge_agent.flight.timetable import Timetable

BERLIN = Site(device="d", time_zone="Europe/Berlin", lat=52.52, lon=13.405)
TROMSO = Site(device="d", time_zone="Europe/Oslo", lat=69.65, lon=18.96)
LINE_ISLANDS = Site(device="d", time_zone="Pacific/Kiritimati", lat=1.87, lon=-157.4)  # UTC+14, west of 180 degrees
NIGHT = Span(start="22:00", end="05:00")


def at(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def schedule(**keys) -> Schedule:
    return Schedule(id="s", route="r", **({"cron": "0 * * * *"} | keys))


def table(one: Schedule, after: str, count: int, site: Site = BERLIN, **more) -> list[tuple[str, str | None]]:
    """(local time, why it is not flown) of the next occurrences."""
    ledger = Ledger([one], Timetable(site, **more), LedgerState())
    found = islice(ledger.entries(one, at(after, site.time_zone)), count)
    zone = ZoneInfo(site.time_zone)
    return [(f"{datetime.fromtimestamp(e.planned_s, zone):%m-%d %H:%M}", e.dropped) for e in found]


def flown(*arguments, **more) -> list[str]:
    return [when for when, dropped in table(*arguments, **more) if dropped is None]


def test_what_is_outside_of_its_windows_does_not_fly():
    assert flown(schedule(windows=(NIGHT,)), "2026-06-01T19:30", 12) == [
        *(f"06-01 {hour}:00" for hour in (22, 23)), *(f"06-02 {hour:02}:00" for hour in range(5))
    ]  # fmt: skip


def test_a_blackout_stops_those_that_it_names():
    quiet = Blackout(id="fair", start="2026-06-01T20:00", end="2026-06-01T22:00")
    assert flown(schedule(), "2026-06-01T19:30", 4, blackouts=[quiet]) == ["06-01 22:00", "06-01 23:00"]
    other = Blackout(id="fair", start="2026-06-01T20:00", end="2026-06-01T22:00", schedules=("t",))
    assert len(flown(schedule(), "2026-06-01T19:30", 4, blackouts=[other])) == 4
    assert "blackout fair" in (table(schedule(), "2026-06-01T19:30", 1, blackouts=[quiet])[0][1] or "")


def test_exceptions_leave_out_an_instant_or_a_day():
    one = schedule(
        cron=None,
        rrule="FREQ=HOURLY;INTERVAL=12",
        dtstart="2026-06-01T08:00",
        exdate=("2026-06-02", "2026-06-03T08:00"),
    )
    assert flown(one, "2026-06-01T19:30", 5) == ["06-01 20:00", "06-03 20:00"]


def test_a_schedule_may_keep_to_a_zone_of_its_own():
    assert flown(schedule(cron="0 9 * * *", time_zone="Asia/Shanghai"), "2026-06-01T00:00", 1) == ["06-01 03:00"]


# --- the sun ----------------------------------------------------------------------------------------------------------


def sunny(event: str = "sunset", **keys) -> Schedule:
    return schedule(cron=None, sun=event, **keys)


def test_flights_follow_the_sun_and_keep_to_the_clock():
    """Berlin, 21 June 2026: the sun sets at 21:33 and rises at 04:43."""
    assert flown(sunny(offset_min=-30), "2026-06-21T00:00", 2) == ["06-21 21:03", "06-22 21:03"]
    assert flown(sunny(offset_min=-30, not_after="20:30"), "2026-06-21T00:00", 1) == ["06-21 20:30"]
    assert flown(sunny("sunrise", not_before="06:00"), "2026-06-21T00:00", 1) == ["06-21 06:00"]


def test_the_days_of_a_rule_may_follow_the_sun():
    one = sunny(rrule="FREQ=WEEKLY;BYDAY=SA", dtstart="2026-06-01T00:00")
    assert flown(one, "2026-06-21T00:00", 2) == ["06-27 21:33", "07-04 21:31"]


def test_where_the_sun_does_not_set_that_is_said():
    found = table(sunny(), "2026-05-16T12:00", 4, TROMSO)
    assert found[-1][1] == "there is no sunset on 2026-05-19 at this place"


def test_a_sunset_belongs_to_the_local_day_even_beyond_the_date_line():
    assert flown(sunny(), "2026-06-21T00:00", 2, LINE_ISLANDS) == ["06-21 18:38", "06-22 18:38"]


# --- jitter -----------------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 21_600),
    st.text(max_size=3),
    st.sampled_from(["*/7 * * * *", "0 * * * *", "0 3 * * *", "5,6 * * * *"]),
)
@settings(max_examples=30)
def test_jitter_keeps_the_order_and_loses_nothing(jitter_s, seed, line):
    after = "2026-03-28T20:00"  # a clock change lies ahead
    plain = Ledger([schedule(cron=line)], Timetable(BERLIN), LedgerState())
    shifted = Ledger([schedule(cron=line, jitter_s=jitter_s, seed=seed)], Timetable(BERLIN), LedgerState())
    named = [e.named_s for e in islice(plain.entries(plain.schedules[0], at(after)), 40)]
    found = list(islice(shifted.entries(shifted.schedules[0], at(after) - 1), 42))
    assert all(a.planned_s < b.planned_s for a, b in pairwise(found))
    assert all(abs(e.planned_s - e.named_s) <= jitter_s + 1 for e in found)
    assert {e.named_s for e in found} >= set(named[1:39])
    later = list(islice(shifted.entries(shifted.schedules[0], found[9].planned_s), 10))
    assert [e.planned_s for e in later] == [e.planned_s for e in found[10:20]]  # wherever the walk begins


def test_jitter_depends_on_the_seed_and_stays_in_the_window():
    one = schedule(cron="0 22 * * *", jitter_s=1800, windows=(Span(start="22:00", end="22:10"),), seed="a")
    assert all("22:00" <= when[6:] <= "22:10" for when in flown(one, "2026-06-01T00:00", 30))
    runs = {
        tuple(flown(schedule(cron="0 22 * * *", jitter_s=1800, seed=seed), "2026-06-01T00:00", 3)) for seed in "abc"
    }
    assert len(runs) == 3


# --- patrol levels ----------------------------------------------------------------------------------------------------

RAISED = schedule(levels=("raised", "top"))
HOLIDAY = LevelSpan(level="top", start="10-01", end="10-07")


def ledger(*spans: LevelSpan, state: LedgerState | None = None, one: Schedule = RAISED) -> Ledger:
    return Ledger([one], Timetable(BERLIN, (), spans), state or LedgerState())


def test_the_calendar_raises_the_level_and_schedules_fly_at_theirs():
    assert table(RAISED, "2026-09-30T22:30", 2, levels=[HOLIDAY]) == [
        ("09-30 23:00", "the patrol level is normal; this schedule flies at raised, top"), ("10-01 00:00", None)
    ]  # fmt: skip


def test_a_command_sets_the_level_until_its_time_is_over():
    book = ledger()
    book.switch("raised", at("2026-06-01T12:00"), "li", at("2026-06-01T10:00"))
    levels = [book.level_at(at(f"2026-06-01T{hour}")) for hour in ("09:59", "10:00", "11:59", "12:00")]
    assert levels == ["normal", "raised", "raised", "normal"]


def test_a_level_without_an_end_gives_way_to_a_holiday_and_comes_back():
    book = ledger(HOLIDAY)
    book.switch("raised", None, "li", at("2026-09-01T10:00"))
    assert [book.level_at(at(f"2026-{day}T12:00")) for day in ("09-30", "10-02", "10-08")] == [
        "raised",
        "top",
        "raised",
    ]
    book.switch("normal", None, "li", at("2026-10-02T12:00"))  # in the holiday: a person knows better
    assert book.level_at(at("2026-10-03T12:00")) == "normal"


def test_a_switch_is_seen_at_once_and_owes_nothing_of_before():
    book = ledger()
    assert book.due(at("2026-06-01T10:30")) == (None, [])
    assert book.next(at("2026-06-01T10:30")) is None
    assert book.due(at("2026-06-01T11:00")) == (None, [])
    book.switch("top", None, "li", at("2026-06-01T11:01"))
    assert book.due(at("2026-06-01T11:02")) == (None, [])
    following = book.next(at("2026-06-01T11:02"))
    assert following is not None
    assert following.planned_s == at("2026-06-01T12:00")
    due, _ = book.due(at("2026-06-01T12:00"))
    assert due is not None


def test_a_level_outlives_a_restart_and_a_clock_that_is_set_back():
    state = LedgerState()
    ledger(state=state).switch("top", None, "li", at("2026-06-01T11:00"))
    book = ledger(state=state)
    assert book.level_at(at("2026-06-01T12:00")) == "top"
    book.due(at("2026-06-01T09:00"))
    assert book.level_at(at("2026-06-01T09:00")) == "top"


# --- missed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "due", "missed"),
    [
        ("skip", None, ["07:00", "08:00", "09:00", "10:00"]),
        ("grace", "10:00", ["07:00", "08:00", "09:00"]),
        ("catch_up", "10:00", ["07:00", "08:00", "09:00"]),
    ],
)
def test_what_was_missed_while_the_agent_was_off(policy, due, missed):
    book = ledger(one=schedule(missed=policy, grace_s=900))
    book.due(at("2026-06-01T06:30"))
    found, lost = book.due(at("2026-06-01T10:10"))
    assert (f"{datetime.fromtimestamp(found.planned_s, ZoneInfo('Europe/Berlin')):%H:%M}" if found else None) == due
    assert [f"{datetime.fromtimestamp(one.planned_s, ZoneInfo('Europe/Berlin')):%H:%M}" for one in lost] == missed


def test_what_is_made_up_for_is_the_last_once_and_within_a_day():
    book = ledger(one=schedule(cron="0 3 * * *", missed="catch_up", grace_s=60))
    book.due(at("2026-06-01T00:00"))
    due, missed = book.due(at("2026-06-03T23:00"))
    assert due is not None
    assert due.planned_s == at("2026-06-03T03:00")
    assert [one.planned_s for one in missed] == [at("2026-06-01T03:00"), at("2026-06-02T03:00")]
    assert book.due(at("2026-06-03T23:01")) == (due, [])
    book.take(due)
    assert book.due(at("2026-06-03T23:02")) == (None, [])
    late, missed = book.due(at("2026-06-05T04:00"))
    assert late is not None
    assert late.planned_s == at("2026-06-05T03:00")
    assert len(missed) == 1


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC"]


@given(
    st.sampled_from(ZONES),
    st.sampled_from(["grace", "catch_up", "skip"]),
    st.lists(st.one_of(st.integers(30, 900), st.integers(-90_000, 90_000)), min_size=3, max_size=25),
    st.sampled_from(["2026-03-28T20:00", "2026-10-24T20:00", "2026-04-04T12:00", "2026-06-01T00:00"]),
)
@settings(max_examples=40)
def test_no_clock_repeats_a_flight_whatever_the_policy(zone, policy, steps, start):
    one = schedule(
        missed=policy, jitter_s=300, grace_s=600, windows=(Span(start="20:00", end="09:00"),), time_zone=zone
    )
    book = ledger(one=one)
    now_s, flights = at(start, zone), []
    for step_s in (0, *steps):
        now_s += step_s
        due, missed = book.due(now_s)
        assert not {lost.planned_s for lost in missed} & set(flights)
        if due:
            assert due.planned_s <= now_s
            book.take(due)
            flights.append(due.planned_s)
    assert len(flights) == len(set(flights))


def test_a_day_of_slow_turns_flies_every_hour_once():
    book = ledger(one=schedule(jitter_s=600, seed="x"))
    flights = []
    for minute in range(24 * 60):
        due, missed = book.due(at("2026-06-01T00:30") + minute * 60)
        assert not missed
        if due:
            book.take(due)
            flights.append(due.planned_s)
    assert len(flights) in (23, 24, 25)
    assert len({(f + 1800) // 3600 for f in flights}) == len(flights)
