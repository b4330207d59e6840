"""Occurrences across clock changes, checked against the zones' published transitions."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calendar import localise, next_occurrences
from edge_agent.config import Schedule

BERLIN, NEW_YORK, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")


def cron(line: str) -> Schedule:
    return Schedule(id="s", route="r", cron=line)


def rrule(rule: str, dtstart: str) -> Schedule:
    return Schedule(id="s", route="r", rrule=rule, dtstart=dtstart)


def local(schedule: Schedule, zone: ZoneInfo, after: str, count: int) -> list[str]:
    start = datetime.fromisoformat(after).replace(tzinfo=zone).astimezone(UTC)
    found = islice(next_occurrences(schedule, zone, start), count)
    return [o.planned_utc.astimezone(zone).isoformat(timespec="minutes") for o in found]


# Zone, local time of day, day before the change, what is due on the three days around it.
CHANGES = [
    (BERLIN, "02:30", "2026-03-28", ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
    (BERLIN, "02:30", "2026-10-24", ["2026-10-24T02:30+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
    (NEW_YORK, "02:30", "2026-03-07", ["2026-03-07T02:30-05:00", "2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
    (NEW_YORK, "01:30", "2026-10-31", ["2026-10-31T01:30-04:00", "2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
    # Lord Howe moves by half an hour, at 02:00.
    (LORD_HOWE, "02:15", "2026-10-03", ["2026-10-03T02:15+10:30", "2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
    (LORD_HOWE, "01:45", "2026-04-04", ["2026-04-04T01:45+11:00", "2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"]),
]


@pytest.mark.parametrize(("zone", "at", "day", "due"), CHANGES)
def test_a_daily_cron_line_is_due_once_on_each_day_of_a_clock_change(zone, at, day, due):
    hour, minute = at.split(":")
    assert local(cron(f"{int(minute)} {int(hour)} * * *"), zone, f"{day}T00:00", 3) == due


@pytest.mark.parametrize(("zone", "at", "day", "due"), CHANGES)
def test_a_daily_rule_is_due_at_the_same_instants_as_the_cron_line(zone, at, day, due):
    assert local(rrule("FREQ=DAILY", f"2026-01-01T{at}"), zone, f"{day}T00:00", 3) == due


@pytest.mark.parametrize(("zone", "at", "day", "due"), CHANGES)
def test_asking_again_from_each_occurrence_neither_repeats_nor_skips(zone, at, day, due):
    schedule = rrule("FREQ=DAILY", f"2026-01-01T{at}")
    hour, minute = at.split(":")
    for kind in (schedule, cron(f"{int(minute)} {int(hour)} * * *")):
        after = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=zone).astimezone(UTC)
        seen = []
        for _ in due:
            after = next(next_occurrences(kind, zone, after)).planned_utc
            seen.append(after.astimezone(zone).isoformat(timespec="minutes"))
        assert seen == due


def test_an_hourly_cron_line_follows_elapsed_time_through_the_fold():
    start = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    found = [o.planned_utc for o in islice(next_occurrences(cron("0 * * * *"), BERLIN, start), 4)]
    assert [b - a for a, b in pairwise(found)] == [timedelta(hours=1)] * 3


def test_a_rule_with_count_ends():
    assert len(local(rrule("FREQ=DAILY;COUNT=3", "2026-05-01T12:00"), BERLIN, "2026-05-01T12:00", 9)) == 2


def test_two_local_times_that_a_gap_joins_are_due_once():
    schedule = rrule("FREQ=DAILY;BYHOUR=2,3;BYMINUTE=0", "2026-03-01T00:00")
    assert local(schedule, BERLIN, "2026-03-28T12:00", 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]


@given(st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)), st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE]))
def test_localising_never_goes_back_in_time_and_keeps_every_time_that_exists(naive, zone):
    naive = naive.replace(microsecond=0)
    utc = localise(naive, zone)
    assert utc.astimezone(zone).replace(tzinfo=None, fold=0) >= naive
    exists = any(
        naive.replace(tzinfo=zone, fold=f).astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0) == naive
        for f in (0, 1)
    )
    assert not exists or utc.astimezone(zone).replace(tzinfo=None, fold=0) == naive
