"""`edge-agent schedule`: what flies when, and why."""

import json
from pathlib import Path

import msgspec
import pytest

from edge_agent import cli
from edge_agent.config import EX_CONFIG
from edge_agent.flight.logbook import State
from edge_agent.flight.schedule import Ledger, LedgerState, Switch
from edge_agent.flight.store import Store

CONFIG = """
data_dir = "state"
[site]
device = "D-1"
time_zone = "Europe/Berlin"
lat = 52.52
lon = 13.405
[vehicle]
type = "simulated"
[[route]]
id = "river"
waypoints = [{lat = 52.521, lon = 13.405}]
[[schedule]]
id = "night"
route = "river"
rrule = '''
DTSTART;TZID=Europe/Berlin:20260301T023000
RRULE:FREQ=DAILY
EXDATE;TZID=Europe/Berlin:20260327T023000
'''
[[schedule]]
id = "evening"
route = "river"
sun = "sunset"
offset_min = 15
jitter_s = 300
levels = ["raised"]
windows = [{from = "16:00", to = "23:00"}]
[[blackout]]
id = "fair"
from = "2026-03-30"
to = "2026-03-30"
"""
FROM = ("--from", "2026-03-26T12:00")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text(CONFIG)
    return tmp_path / "agent.toml"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_next_flights_are_told_across_a_clock_change(file, capsys):
    assert cli.main(["schedule", "next", "-n", "3", "-c", str(file), *FROM]) == 0
    found = lines(capsys)
    assert [line[:25] for line in found] == [
        "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-31T02:30:00+02:00",
    ]  # fmt: skip
    assert "first instant after the gap" in found[1]


def test_json_says_the_same_for_programs(file, capsys):
    assert cli.main(["schedule", "next", "-n", "2", "--json", "--all", "-c", str(file), *FROM]) == 0
    first, second = map(json.loads, lines(capsys))
    assert (first["schedule"], first["flies"]) == ("evening", False)
    assert "patrol level is normal" in first["reason"]
    assert (second["schedule"], second["reason"]) == ("night", "exdate 2026-03-27T02:30")


def test_explain_names_the_rule_the_level_and_each_reason(file, capsys):
    assert cli.main(["schedule", "explain", "night", "-c", str(file), *FROM]) == 0
    said = capsys.readouterr().out
    for word in ("FREQ=DAILY", "exdate 2026-03-27", "first instant after the gap", "blackout fair", "level now"):
        assert word in said
    assert cli.main(["schedule", "explain", "evening", "-c", str(file), *FROM]) == 0
    said = capsys.readouterr().out
    for word in ("sunset +15 min", "sunset is at 18:", "jitter ", "windows", "the patrol level is normal"):
        assert word in said


def test_what_the_agent_has_on_disk_is_heeded(file, capsys):
    state = State(ledger=LedgerState(switches=[Switch(1.0, "raised", "operator:li", None)]))
    from edge_agent import config

    night = config.load(file).schedules[0]
    state.ledger.flown[Ledger.key(night)] = [1774661400.0]  # 2026-03-28T02:30+01:00
    Store(file.parent / "state" / "flight").save(state)
    assert msgspec.json.decode((file.parent / "state/flight/state.json").read_bytes(), type=State) == state
    assert cli.main(["schedule", "next", "-n", "3", "-c", str(file), *FROM]) == 0
    found = lines(capsys)
    assert [line.split()[1] for line in found] == ["evening", "evening", "evening"]


def planned(file: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert cli.main(["schedule", "next", "night", "-n", "3", "--json", "-c", str(file)]) == 0
    return [json.loads(line)["planned"] for line in lines(capsys)]


def test_a_flight_is_left_out_also_while_no_agent_runs(file, capsys):
    before = planned(file, capsys)
    assert cli.main(["schedule", "skip", "night", before[1], "-c", str(file)]) == 0
    assert before[1] in capsys.readouterr().out
    assert planned(file, capsys)[:2] == [before[0], before[2]]
    assert cli.main(["schedule", "skip", "night", before[1], "-c", str(file)]) == 1  # not twice
    assert cli.main(["schedule", "skip", "night", "-c", str(file)]) == 0
    assert before[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "wanted"),
    [
        (("next", "day"), 1, "no schedule is called `day` (there is: night, evening)"),
        (("next", "-n", "0"), 1, "-n: 0"),
        (("next", "--from", "yesterday"), 1, "is no time"),
        (("next", "--from", "9999-12-31"), 1, "the years 1970 to 9000"),
        (("skip", "night", "soon"), 1, "is no time"),
    ],
)
def test_what_cannot_be_done_is_said(file, capsys, arguments, code, wanted):
    assert cli.main(["schedule", *arguments, "-c", str(file)]) == code
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('sun = "sunset"', 'sun = "noon"', "sun"),
        ('"16:00"', '"16"', "windows[0]"),
        ("TZID=Europe/Berlin:20260301", "TZID=Europe/Bonn:20260301", "one TZID"),
        ("RRULE:FREQ", "SUMMARY:FREQ", "SUMMARY is none of"),
        ('"2026-03-30"', '"2026-02-30"', "blackout[fair]"),
        ('levels = ["raised"]', "levels = []", "levels"),
        ('sun = "sunset"', "", "give either `cron` or `rrule`, or `sun`"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(tmp_path, capsys, old, new, wanted):
    (tmp_path / "agent.toml").write_text(CONFIG.replace(old, new))
    assert cli.main(["schedule", "next", "-c", str(tmp_path / "agent.toml")]) == EX_CONFIG
    assert wanted in capsys.readouterr().err
