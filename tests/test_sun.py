"""The sun against almanacs, and where it does not rise."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import sun

# NOAA's own calculator and the US Naval Observatory's tables, UTC.
ALMANAC = [
    ("sunrise", date(2026, 6, 21), 51.4769, 0.0, "03:43"),  # Greenwich
    ("sunset", date(2026, 6, 21), 51.4769, 0.0, "20:21"),
    ("sunrise", date(2026, 12, 21), 51.4769, 0.0, "08:04"),
    ("sunset", date(2026, 12, 21), 51.4769, 0.0, "15:53"),
    ("sunrise", date(2026, 3, 20), 0.0, 0.0, "06:04"),
    ("sunset", date(2026, 3, 20), 0.0, 0.0, "18:11"),
]


@pytest.mark.parametrize(("event", "day", "lat", "lon", "at"), ALMANAC)
def test_the_sun_is_within_two_minutes_of_the_almanac(event, day, lat, lon, at):
    found = sun.event_utc(event, day, lat, lon)
    wanted = datetime.fromisoformat(f"{day}T{at}:30+00:00")
    assert found is not None
    assert abs(found - wanted) < timedelta(minutes=2)


def test_in_polar_day_and_night_there_is_no_event():
    """Tromso: no sunset from 18 May to 26 July, no sunrise from 27 November to 15 January."""
    assert sun.event_utc("sunset", date(2026, 6, 21), 69.65, 18.96) is None
    assert sun.event_utc("sunrise", date(2026, 12, 21), 69.65, 18.96) is None
    assert sun.event_utc("dawn", date(2026, 12, 21), 69.65, 18.96) is not None


@given(st.dates(date(1975, 1, 1), date(2099, 1, 1)), st.floats(-89, 89), st.floats(-180, 180))
def test_the_events_of_a_day_stand_in_order_around_its_noon(day, lat, lon):
    noon = sun.noon_utc(day, lon)
    found = [sun.event_utc(event, day, lat, lon) for event in sun.EVENTS]
    at = [one for one in (*found[:2], noon, *found[2:]) if one is not None]
    assert at == sorted(at)
    assert all(abs(one - noon) <= timedelta(hours=12, minutes=1) for one in at)
    assert all(one.tzinfo is UTC for one in at)
