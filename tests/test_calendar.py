"""Occurrences across clock changes, checked against the zones' published transitions."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrule as dateutil_rrule
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.calendar import localise, next_occurrences, read_ical, rule_fault
from edge_agent.config import ConfigError, Schedule, load

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


RULES = (
    "FREQ=HOURLY",
    "FREQ=HOURLY;INTERVAL=5;BYDAY=MO,WE",
    "FREQ=HOURLY;INTERVAL=7;BYHOUR=1,2,3,20",
    "FREQ=DAILY;INTERVAL=3;BYHOUR=6,18;BYMINUTE=0,30",
    "FREQ=DAILY;COUNT=40",
    "FREQ=DAILY;INTERVAL=2;UNTIL=20240301T000000",
    "FREQ=WEEKLY;INTERVAL=2",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,TU;WKST=SU;BYSETPOS=1",
    "FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,SA;COUNT=9",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;INTERVAL=5",
    "FREQ=MONTHLY;BYDAY=-1FR",
    "FREQ=MONTHLY;INTERVAL=2;BYMONTHDAY=-1,15;BYSETPOS=1",
    "FREQ=YEARLY",
    "FREQ=YEARLY;INTERVAL=3;BYMONTH=2,11",
    "FREQ=YEARLY;INTERVAL=2;BYWEEKNO=1,53;BYDAY=MO,SU",
    "FREQ=YEARLY;BYYEARDAY=-1,60;COUNT=5",
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(RULES),
    st.datetimes(datetime(2016, 1, 1), datetime(2020, 1, 1))
    | st.sampled_from([datetime(2016, 2, 29, 7), datetime(2017, 1, 31)]),
    st.datetimes(datetime(2015, 1, 1), datetime(2025, 1, 1)),
)
def test_a_rule_that_is_entered_late_is_due_when_a_walk_from_its_start_says(text, start, after):
    start, after = start.replace(microsecond=0), after.replace(microsecond=0)
    found = next_occurrences(rrule(text, start.isoformat()), ZoneInfo("UTC"), after.replace(tzinfo=UTC))
    walked = [t for t in islice(rrulestr(text, dtstart=start).xafter(after), 5) if t < after + timedelta(days=3600)]
    assert [one.planned_utc.replace(tzinfo=None) for one in islice(found, len(walked))] == walked


@pytest.mark.parametrize(
    ("until", "days"),
    [("20261026T013000Z", 2), ("20261026T012959Z", 1), ("20261026T023000", 2), ("20261026T022959", 1)],
)
def test_until_in_utc_is_an_instant_and_without_z_a_local_time(until, days):
    schedule = rrule(f"FREQ=DAILY;UNTIL={until}", "2026-10-25T02:30")  # RFC 5545, 3.3.10
    found = next_occurrences(schedule, ZoneInfo("Europe/Berlin"), datetime(2026, 10, 24, tzinfo=UTC))
    assert len(list(found)) == days
    assert rule_fault(str(schedule.rrule), "2026-10-25T02:30") is None


def test_an_icalendar_start_in_utc_is_in_the_zone_utc():
    assert read_ical("DTSTART:20260101T063000Z\nRRULE:FREQ=DAILY") == {
        "time_zone": "UTC", "dtstart": "2026-01-01T06:30", "rrule": "FREQ=DAILY",
    }  # fmt: skip
    with pytest.raises(ValueError, match="one TZID"):
        read_ical("DTSTART;TZID=Asia/Shanghai:20260101T063000\nEXDATE:20260102T063000Z")


@pytest.mark.parametrize(
    ("text", "dtstart", "says"),
    [
        ("FREQ=MINUTELY", "2025-01-01T00:00", "rrule: FREQ=MINUTELY is none of YEARLY, MONTHLY"),
        ("freq=secondly", "2020-01-01T00:00", "rrule: FREQ=SECONDLY"),
        ("INTERVAL=2", "2020-01-01T00:00", "rrule: FREQ= is none"),
        ("FREQ=DAILY;INTERVAL=0", "2020-01-01T00:00", "INTERVAL=0 is not within 1 to 10000"),
        ("FREQ=HOURLY;COUNT=1000000", "2020-01-01T00:00", "COUNT=1000000 is not within 1 to 10000"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20270101T000000", "2020-01-01T00:00", "COUNT or UNTIL"),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "2020-01-01T00:00", "not due once within 10 years"),
        ("FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30", "2020-01-01T00:00", "not due once within 10 years"),
        ("FREQ=HOURLY;BYSETPOS=5", "2020-01-01T00:00", "BYSETPOS=5 picks among the days of a week"),
        ("FREQ=DAILY;BYSECOND=0,1,2", "2020-01-01T00:00", "BYSECOND=0,1,2 is several flights a minute"),
        ("FREQ=DAILY\nRRULE:FREQ=SECONDLY", "2020-01-01T00:00", "one rule is wanted"),
        ("FREQ=DAILY;BYHOUR", "2020-01-01T00:00", "KEY=VALUE is wanted, not 'BYHOUR'"),
        ("FREQ=DAILY;BYHOUR=25", "2020-01-01T00:00", "rrule: "),
        ("FREQ=DAILY", "2020-13-01T00:00", "dtstart: month must be in 1..12"),
        ("FREQ=DAILY", "9999-01-01T00:00", "dtstart: '9999-01-01T00:00' is not within the years 1970 to 2100"),
    ],
)
def test_a_rule_that_cannot_be_walked_quickly_is_refused_with_key_value_and_limit(text, dtstart, says):
    fault = rule_fault(text, dtstart)
    assert fault is not None
    assert says in fault


def test_the_config_refuses_such_a_rule_by_its_file_and_key(tmp_path):
    file = tmp_path / "agent.toml"
    file.write_text(
        '[[schedule]]\nid = "s"\nroute = "r"\nrrule = "FREQ=SECONDLY"\ndtstart = "2020-01-01T00:00"\n'
        '[site]\ndevice = "D"\n'
    )
    with pytest.raises(ConfigError, match=r"agent.toml: schedule\[s\].rrule: FREQ=SECONDLY is none of"):
        load(file)


@pytest.mark.parametrize("text", [*RULES, "RRULE:FREQ=DAILY;"])
def test_what_a_patrol_may_be_is_accepted(text):
    assert rule_fault(text, "2016-02-29T07:00") is None


@pytest.mark.parametrize("text", ["FREQ=HOURLY", "FREQ=DAILY;BYHOUR=0,6,12,18", "FREQ=HOURLY;COUNT=10000"])
def test_a_rule_since_2000_is_entered_near_the_time_that_is_asked_for(text, monkeypatch):
    after = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)
    schedule = rrule(text, "2000-01-01T00:00")
    assert rule_fault(text, "2000-01-01T00:00") is None  # a COUNT is walked once, when the config is loaded
    steps = []
    monkeypatch.setattr("dateutil.rrule.rrule._iter", counting(dateutil_rrule._iter, steps))
    next(next_occurrences(schedule, BERLIN, after), None)
    assert len(steps) < 100


def counting(walk, steps):
    def counted(self):
        for one in walk(self):
            steps.append(one)
            yield one

    return counted
