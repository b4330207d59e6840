"""What the kernel says of its clock, in words."""

import os
from pathlib import Path

import pytest

from edge_agent import timequality
from edge_agent.timequality import MOST_S, STA_UNSYNC, TIME_ERROR, judge, time_quality
from edge_agent.topics import TimeQuality


@pytest.mark.parametrize(
    ("state", "status", "maxerror_us", "said"),
    [
        (0, 0x2001, 20_400, TimeQuality(src="ntp", err_ms=21)),  # TIME_OK; STA_PLL | STA_NANO
        (0, 0x2001, 0, TimeQuality(src="ntp", err_ms=0)),
        (5, 0x2040, 16_000_000, TimeQuality(src="unsynchronised")),  # TIME_ERROR; STA_UNSYNC
        (TIME_ERROR, 0, 10, TimeQuality(src="unsynchronised")),
        (0, STA_UNSYNC, 10, TimeQuality(src="unsynchronised")),
        (-1, 0, 0, TimeQuality(src="unsynchronised")),  # the call is not allowed here
        (0, 0, -1, TimeQuality(src="unsynchronised")),
    ],
)
def test_only_a_clock_that_is_steered_is_trusted(state: int, status: int, maxerror_us: int, said: TimeQuality) -> None:
    assert judge(state, status, maxerror_us) == said


def test_this_machine_has_an_answer() -> None:
    assert time_quality().src in ("ntp", "unsynchronised")


class Forbidden:
    """A C library whose adjtimex fails, as under ProtectClock=."""

    def adjtimex(self, _timex: object) -> int:
        return -1


def test_where_the_kernel_may_not_be_asked_timesyncd_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timequality, "_LIBC", Forbidden())
    mark = tmp_path / "synchronized"
    assert time_quality(mark) == TimeQuality(src="unsynchronised")
    mark.touch()
    assert time_quality(mark) == TimeQuality(src="ntp", err_ms=None)
    long_ago = mark.stat().st_mtime - MOST_S - 60
    os.utime(mark, (long_ago, long_ago))
    assert time_quality(mark) == TimeQuality(src="unsynchronised")
