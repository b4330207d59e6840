"""`edge-agent fly|dispatch|preflight --connection`: what is refused before any link is opened."""

import json
from pathlib import Path

import pytest

from edge_agent import cli
from edge_agent.flight.record import entries

NOWHERE = ("--connection", "tcp:127.0.0.1:9")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("dispatch nan 120", "lat: Expected"),
        ("dispatch 30 181", "lon: Expected `float` <= 180"),
        ("dispatch 30 120 --alt nan", "alt_m: Expected"),
        ("dispatch 30 120 --hover -1", "hover_s: Expected"),
        ("preflight --connection tcp:127.0.0.1:99999", "is no link; one is tcp:HOST:PORT"),
        ("preflight --connection udpin:0.0.0.0:0", "is no link"),
        ("preflight --connection carrier-pigeon", "is no link"),
        ("preflight --system-id 0", "--system-id 0: Expected"),
    ],
)
def test_a_command_line_that_cannot_be_is_named(tmp_path, capsys, line, wanted):
    command, *words = line.split()
    assert cli.main([command, *NOWHERE, *words, "--out", str(tmp_path)]) == 2
    assert wanted in capsys.readouterr().err


def test_that_nobody_will_say_a_text_is_told_and_keeps_no_drone_on_the_ground(tmp_path, capsys):
    line = ["dispatch", *NOWHERE, "30", "120", "--say", "hello", "--wait", "1", "--out", str(tmp_path)]
    assert cli.main(line) == 69  # nobody answers there
    assert "there are no speakers" in capsys.readouterr().err


@pytest.mark.parametrize("wait", ["nan", "-1", "soon"])
def test_nobody_waits_for_a_time_that_is_none(wait):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["preflight", *NOWHERE, f"--wait={wait}"])


@pytest.mark.parametrize("line", ["fly r --wait 30", "dispatch 30 120 --wait 30"])
def test_a_running_agents_flight_is_waited_for_to_its_end_not_for_seconds(tmp_path, capsys, line):
    assert cli.main([*line.split(), "--data-dir", str(tmp_path)]) == 2
    assert "--wait takes seconds with --connection alone" in capsys.readouterr().err


def test_a_bare_wait_before_the_route_is_told_where_it_goes(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["fly", "--wait", "river"])
    assert "'river' is no number of seconds; a bare --wait goes behind the rest" in capsys.readouterr().err


def test_a_bare_wait_changes_nothing_without_a_daemon(tmp_path, monkeypatch):
    asked = []

    async def run(args, *_):
        asked.append(args.wait)
        return 0

    monkeypatch.setattr("edge_agent.cli.flying.run", run)
    for wait in ([], ["--wait"], ["--wait", "1"]):
        assert cli.main(["dispatch", *NOWHERE, "30", "120", "--out", str(tmp_path), *wait]) == 0
    assert asked == [180.0, 180.0, 1.0]


def test_a_file_that_is_no_route_is_refused_with_its_faults_and_leaves_a_record(tmp_path: Path, capsys):
    file = tmp_path / "cut.plan"
    file.write_text('{"fileType": "Plan", "mission": {"items": [')
    assert cli.main(["fly", str(file), *NOWHERE, "--out", str(tmp_path / "out"), "--json"]) == 78
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told["phase"], told["refusals"][0]["gate"]) == ("refused", "route.file")
    record = Path(said.err.split("record: ")[1].strip())
    (end,) = entries(record.read_bytes().splitlines(), "end")
    assert (end["result"], end["flew"]) == ("refused", False)
    assert "truncated" in end["cause"]
