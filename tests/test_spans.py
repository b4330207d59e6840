"""Stretches of local time: daily ones over midnight, yearly ones over New Year."""

from datetime import datetime

import pytest

from edge_agent import spans
from edge_agent.config import Span


def span(start: str, end: str, *days: str) -> Span:
    return Span(start=start, end=end, days=days)


@pytest.mark.parametrize(
    ("of", "inside", "outside"),
    [
        (span("08:00", "12:00"), ["2026-01-01T08:00", "2026-01-01T11:59"], ["2026-01-01T12:00", "2026-01-01T07:59"]),
        (span("22:00", "05:00"), ["2026-01-01T22:00", "2026-01-01T04:59"], ["2026-01-01T05:00", "2026-01-01T21:59"]),
        # 2026-01-02 is a Friday: the night that begins on it ends on Saturday
        (span("22:00", "05:00", "FR"), ["2026-01-02T23:00", "2026-01-03T04:00"], ["2026-01-02T04:00"]),
        (span("12-24", "01-02"), ["2026-12-24T00:00", "2027-01-02T23:59"], ["2027-01-03T00:00", "2026-12-23T23:59"]),
        (span("10-01", "10-07"), ["2026-10-07T23:59"], ["2026-10-08T00:00", "2026-09-30T23:59"]),
        (span("12-01", "12-31"), ["2026-12-31T23:59"], ["2026-01-01T00:00"]),
        (span("02-28", "02-29"), ["2024-02-29T10:00", "2026-02-28T10:00"], ["2026-03-01T00:00"]),
        (span("10-01T12:00", "10-01T14:00"), ["2026-10-01T13:59"], ["2026-10-01T14:00"]),
        (span("2026-10-01", "2026-10-07"), ["2026-10-01T00:00", "2026-10-07T23:59"], ["2027-10-01T00:00"]),
        (span("2026-10-01T12:00", "2026-10-07T12:00"), ["2026-10-07T11:59"], ["2026-10-07T12:00"]),
    ],
)  # fmt: skip
def test_what_a_stretch_holds(of, inside, outside):
    assert spans.fault(of) is None
    assert [spans.holds(of, datetime.fromisoformat(at)) for at in inside] == [True] * len(inside)
    assert [spans.holds(of, datetime.fromisoformat(at)) for at in outside] == [False] * len(outside)


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        ("8:00", "12:00", "HH:MM"),
        ("08:00", "12-24", "are both"),
        ("25:00", "26:00", "hour must be"),
        ("02-30", "03-01", "day"),
        ("2026-10-07", "2026-10-01", "before it begins"),
        ("08:00", "08:00", "is no time"),
    ],
)
def test_what_is_no_stretch_is_refused(start, end, wanted):
    assert wanted in (spans.fault(span(start, end)) or "")
