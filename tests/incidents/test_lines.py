"""Lines: who crosses them, which way, once; and the times at which rules hold."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge_agent import config
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Incident, Track, Tracks

SHANGHAI = ZoneInfo("Asia/Shanghai")
# A line across the middle of 640 x 480, from the left to the right: who walks down the picture crosses to its right.
RULE = config.LineCrossing(id="gate", camera="c", line=((0.25, 0.5), (0.75, 0.5)), cool_down_s=5)


def at(clock: str) -> float:
    return datetime.fromisoformat(clock).replace(tzinfo=SHANGHAI).timestamp()


def walk(
    rules: Rules, feet: list[tuple[float, float]], id: int = 1, t: float = 0.0, wall_s: float = 0.0
) -> list[Incident]:
    found = []
    for n, (x, y) in enumerate(feet):
        box = (x - 15, y - 80, x + 15, y)
        track = Track(id=id, label="person", score=0.9, box=box, first_s=t, last_s=t + n, hits=3)
        found += rules.update(
            Tracks(camera="c", seq=n, at_s=t + n / 4, wall_s=wall_s + n / 4, width=640, height=480, tracks=(track,))
        )
    return found


def down(x: float, start: int = 200, stop: int = 290) -> list[tuple[float, float]]:
    return [(x, float(y)) for y in range(start, stop, 10)]


def test_a_crossing_is_told_once_with_its_direction() -> None:
    [incident] = walk(Rules([], [RULE]), down(320))
    assert (incident.kind, incident.rule, incident.direction, incident.zone) == (
        "line_crossing",
        "gate",
        "to_right",
        "",
    )
    [back] = walk(Rules([], [RULE]), down(320)[::-1])
    assert back.direction == "to_left"


@pytest.mark.parametrize(
    "feet",
    [
        down(100),  # past the line's end
        down(320, 200, 240),  # does not reach it
        [(320.0, 236.0 + 6 * (n % 2)) for n in range(40)],  # stands on it, and the detector trembles
    ],
)
def test_what_is_no_crossing_is_not_told(feet: list[tuple[float, float]]) -> None:
    assert walk(Rules([], [RULE]), feet) == []


def test_only_the_wrong_way_is_told_where_a_way_is_wrong() -> None:
    rule = config.LineCrossing(id="gate", camera="c", line=RULE.line, direction="to_left")
    assert walk(Rules([], [rule]), down(320)) == []
    assert len(walk(Rules([], [rule]), down(320)[::-1])) == 1


def test_who_goes_to_and_fro_is_told_once_within_the_cool_down() -> None:
    to_and_fro = (down(320) + down(320)[::-1]) * 2  # nine seconds
    assert len(walk(Rules([], [RULE]), to_and_fro)) == 2


def test_a_time_that_is_none_is_refused_by_the_configuration(tmp_path: Path) -> None:
    toml = (
        'data_dir = "s"\n[site]\ndevice = "D"\n[[detector]]\nname = "d"\ntype = "simulated"\n[[camera]]\nname = "c"\n'
        'type = "simulated"\ndetector = "d"\n[[rule]]\nid = "r"\ntype = "line_crossing"\ncamera = "c"\n'
        'line = [[0, 0], [0, 0]]\nactive = [{from = "25:00", to = "26:00"}]\n'
    )
    with pytest.raises(config.ConfigError) as refused:
        config.parse(toml, tmp_path / "a.toml")
    assert "rule[r].active[0]: " in str(refused.value)
    assert "rule[r].line: its ends are the same place" in str(refused.value)


def test_outside_its_times_a_rule_is_silent() -> None:
    rule = config.LineCrossing(id="gate", camera="c", line=RULE.line, active=(config.Span(start="22:00", end="06:00"),))
    for clock, count in (("2026-11-22T12:00", 0), ("2026-11-22T23:00", 1)):
        assert len(walk(Rules([], [rule], time_zone=SHANGHAI), down(320), wall_s=at(clock))) == count
