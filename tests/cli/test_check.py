"""`edge-agent check`: exit 0 or 78, and the same faults for people and for scripts."""

import json
import os
from pathlib import Path

import pytest

from edge_agent import config
from edge_agent.cli import main

RIGHT = 'data_dir = "s"\n[site]\ndevice = "EA-1"\nlat = 1.0\nlon = 2.0\n[vehicle]\ntype = "simulated"\n'
WRONG = RIGHT.replace('"simulated"', '"balloon"').replace("1.0", "100.0")


def write(directory: Path, text: str) -> str:
    (directory / "agent.toml").write_text(text)
    return str(directory / "agent.toml")


def test_a_right_file_says_what_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-c", write(tmp_path, RIGHT)]) == 0
    assert "right: a vehicle, no uplink" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_file_ends_with_78_and_all_its_faults(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "-c", write(tmp_path, WRONG)]) == 78
    shown = capsys.readouterr().err
    assert "vehicle.type: Invalid value 'balloon' (one of mavlink, simulated)" in shown
    assert "site.lat: Expected `float` <= 90.0, got 100.0" in shown
    assert not (tmp_path / "s").exists()


def test_scripts_get_the_faults_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "-c", write(tmp_path, WRONG)]) == 78
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert len(answer["faults"]) == 2


def test_the_dump_is_a_config_with_the_defaults_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--dump", "-c", write(tmp_path, RIGHT)]) == 0
    dumped = capsys.readouterr().out
    assert "return_battery_pct = 30.0" in dumped
    assert config.parse(dumped, tmp_path / "x.toml") == config.load(tmp_path / "agent.toml")


@pytest.mark.parametrize("told", ["as JSON", "in words"])
def test_a_file_whose_name_is_no_text_is_told_of_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], told: str
) -> None:
    file = tmp_path / os.fsdecode(b"\xff.toml")
    file.write_text(RIGHT)
    assert main(["check", "-c", str(file), *(["--json"] if told == "as JSON" else [])]) == 0
    out = capsys.readouterr().out
    if told == "as JSON":
        assert json.loads(out)["file"] == f"{tmp_path}/\N{REPLACEMENT CHARACTER}.toml"
    else:
        assert out.startswith(f"{tmp_path}/\\udcff.toml: right: ")
