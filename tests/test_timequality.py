"""What the kernel says of its clock, in words."""

import pytest

from edge_agent.timequality import STA_UNSYNC, TIME_ERROR, judge, time_quality
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
