"""Lines: who crosses them, which way, once; and the times at which rules hold."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge_agent import config, geo
from edge_agent.incidents.rules import Rules
from edge_agent.messages import Fix, Incident, Track, Tracks

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


LAT, LON = 30.2461, 120.1552
# From west to east: who walks south crosses to its right, wherever the camera is.
ON_MAP = config.LineCrossing(id="kerb", camera="c", map=((LAT, LON), geo.from_local(0.0, 20.0, LAT, LON)))


def walk_on_ground(rules: Rules, norths: list[float], *, east: float = 10.0, major_m: float = 2.0) -> list[Incident]:
    """The picture shows the same box all the time: the camera follows."""
    found = []
    for n, north in enumerate(norths):
        lat, lon = geo.from_local(north, east, LAT, LON)
        place = Fix(lat=lat, lon=lon, major_m=major_m, minor_m=1.0, azimuth_deg=0.0, method="drone", height_ref="home")
        track = Track(
            id=1, label="person", score=0.9, box=(300, 200, 330, 280), first_s=0.0, last_s=n, hits=3, place=place
        )
        found += rules.update(
            Tracks(camera="c", seq=n, at_s=n / 4, wall_s=n / 4, width=640, height=480, tracks=(track,))
        )
    return found


def test_a_line_on_the_map_is_crossed_on_the_ground_whatever_the_picture_shows() -> None:
    south = [4.0 - n for n in range(9)]
    [incident] = walk_on_ground(Rules([], [ON_MAP]), south)
    assert incident.direction == "to_right"
    [back] = walk_on_ground(Rules([], [ON_MAP]), south[::-1])
    assert back.direction == "to_left"
    assert walk_on_ground(Rules([], [ON_MAP]), south, east=30.0) == []  # past its end


def test_a_place_that_is_not_sure_enough_crosses_no_line() -> None:
    trembling = [1.5, -1.5] * 10
    assert walk_on_ground(Rules([], [ON_MAP]), trembling, major_m=5.0) == []
    assert walk_on_ground(Rules([], [ON_MAP]), [9.0, -9.0], major_m=5.0)


def test_a_count_counts_who_crosses_a_line_on_the_map() -> None:
    rules = Rules([], [config.Count(id="n", camera="c", map=ON_MAP.map, classes=("person",))])
    for n, north in enumerate([4.0, 2.0, -2.0, -4.0]):
        lat, lon = geo.from_local(north, 10.0, LAT, LON)
        place = Fix(lat=lat, lon=lon, major_m=1.0, minor_m=1.0, azimuth_deg=0.0, method="pole", height_ref="home")
        track = Track(id=1, label="person", score=0.9, box=(0, 0, 9, 9), first_s=0.0, last_s=n, hits=3, place=place)
        rules.count(Tracks(camera="c", seq=n, at_s=n / 4, wall_s=n / 4, width=640, height=480, tracks=(track,)))
    [tally] = rules.close()
    assert (tally.total, tally.to_right, tally.to_left) == (1, 1, 0)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ("", ".line: required, or `map`"),
        ("line = [[0.1, 0.1], [0.9, 0.9]]\nmap = [[30, 120], [30, 121]]", ".map: contradicts `line`"),
        ("map = [[30, 120], [30, 120]]", ".map: its ends are the same place"),
        ("map = [[30, 120], [30, 121]]", ".map: camera[c].view is required"),
        ("map = [[30, 120], [95, 121]]", "rule[r].map[1][0]: "),
    ],
)
def test_a_line_that_is_none_is_refused(tmp_path: Path, keys: str, fault: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        'data_dir = "d"\n[site]\ndevice = "d"\n[[detector]]\nname = "e"\ntype = "simulated"\n[[camera]]\n'
        'name = "c"\ntype = "simulated"\ndetector = "e"\n[[rule]]\nid = "r"\ntype = "line_crossing"\ncamera = "c"\n'
        + keys
    )
    with pytest.raises(config.ConfigError) as refused:
        config.load(file)
    assert fault in str(refused.value)


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


def test_who_crossed_before_the_rule_held_is_not_told_when_it_begins_to() -> None:
    rule = config.LineCrossing(
        id="gate", camera="c", line=RULE.line, active=(config.Span(start="22:00", end="06:00"),)
    )  # fmt: skip
    rules, wall_s, found = Rules([], [rule], time_zone=SHANGHAI), at("2026-11-22T21:59:30"), list[Incident]()
    for n in range(60):
        y = 200.0 + 10 * min(n, 10)  # down and over it within 10 s, half a minute before
        track = Track(
            id=1, label="person", score=0.9, box=(305, y - 80, 335, y), first_box=(305, 120, 335, 200), first_s=0.0,
            last_s=n, hits=9,
        )  # fmt: skip
        seen = Tracks(camera="c", seq=n, at_s=n, wall_s=wall_s + n, width=640, height=480, tracks=(track,))
        found += rules.update(seen)
    assert found == []


@pytest.mark.parametrize("at_s", [0.4, 2.2])  # three looks, at five frames a second and at somewhat less than one
def test_who_had_crossed_before_being_seen_often_enough_to_be_followed_has_crossed_all_the_same(at_s: float) -> None:
    fast = Track(
        id=1, label="person", score=0.9, box=(305, 300, 335, 380), first_box=(305, 60, 335, 140), first_s=0.0,
        last_s=at_s, hits=3,
    )  # fmt: skip
    [incident] = Rules([], [RULE]).update(
        Tracks(camera="c", seq=2, at_s=at_s, wall_s=at_s, width=640, height=480, tracks=(fast,))
    )
    assert incident.direction == "to_right"
