"""What time it is when nobody can prove it: order of belief, floors, steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.device.moment import CEILING_S, FLOOR_S, Source, judge

NOW = FLOOR_S + 86_400 * 20


def source(name: str, unix_s: float) -> Source:
    return Source(name=name, unix_s=unix_s)


@pytest.mark.parametrize(
    ("system_s", "sources", "best", "step_s"),
    [
        (0.0, [], "floor", FLOOR_S),
        (0.0, [source("saved", NOW)], "saved", NOW),
        (0.0, [source("saved", NOW), source("rtc", NOW + 600)], "rtc", NOW + 600),
        (0.0, [source("saved", NOW), source("rtc", 0.0)], "saved", NOW),  # its battery is empty
        (0.0, [source("rtc", NOW), source("gps", NOW + 5)], "gps", NOW + 5),
        (NOW, [source("gps", NOW - 3600)], "gps", -3600),  # back is allowed where somebody knows
        (NOW, [source("saved", NOW - 600)], "system", 0),
        (NOW, [source("ntp", NOW), source("gps", NOW + 50)], "ntp", 0),
        (NOW, [source("gps", 315_964_800.0)], "system", 0),  # a GPS that says 1980 has no fix
        (CEILING_S * 2, [source("saved", NOW)], "saved", NOW - CEILING_S * 2),  # a clock of the far future
        (NOW, [source("saved", CEILING_S * 2)], "system", 0),
    ],
)
def test_the_best_clock_is_believed(system_s: float, sources: list[Source], best: str, step_s: float) -> None:
    found = judge(system_s, sources)
    assert (found.source, found.step_s) == (best, pytest.approx(step_s))


@given(
    st.floats(0, 1e11),
    st.lists(st.builds(source, st.sampled_from(["ntp", "gps", "rtc", "saved"]), st.floats(0, 1e11)), max_size=5),
)
def test_whatever_the_clocks_say_the_time_is_one_that_can_be(system_s: float, sources: list[Source]) -> None:
    found = judge(system_s, sources)
    assert FLOOR_S - 1 <= found.unix_s < CEILING_S
    saved = [one.unix_s for one in sources if one.name == "saved" and one.unix_s < CEILING_S]
    assert found.unix_s >= max(saved, default=0) - 1, "never before what was saved"
