"""`edge-agent retention`: what goes, what stays, and who does it while an agent runs."""

import json
import os
import time
from pathlib import Path

import pytest

from edge_agent import agent
from edge_agent.cli import main

CONFIG = """
data_dir = "data"
[site]
device = "d"
lat = 30.25
lon = 120.15
[vehicle]
type = "simulated"
[privacy]
keep_days = 1
[evidence]
keep_days = 1
min_free_mib = 0
[outbox]
ballast_mib = 0
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text(CONFIG)
    for folder in ("originals", "incidents"):
        (tmp_path / "data" / folder).mkdir(parents=True, mode=0o700)
        old = tmp_path / "data" / folder / "01JD0000000000000000000000.jpg"
        old.write_bytes(b"x")
        os.utime(old, (time.time() - 3 * 86_400,) * 2)
    return tmp_path


def kept(site: Path) -> list[str]:
    return sorted(file.parent.name for file in (site / "data").glob("*/*.jpg"))


def retention(site: Path, *more: str) -> int:
    return main(["retention", "-c", str(site / "agent.toml"), "--json", *more])


def test_what_is_too_old_goes_but_never_evidence_that_no_centre_has(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert retention(site, "--dry-run") == 0
    assert kept(site) == ["incidents", "originals"]
    assert retention(site) == 0
    assert kept(site) == ["incidents"]
    planned, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert planned["gone"] == done["gone"] == ["01JD0000000000000000000000.jpg: privacy.keep_days"]
    assert "original.deleted" in (site / "data" / "audit.jsonl").read_text()


def test_a_running_agent_is_left_to_do_it(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = agent.take(site / "data")
    try:
        assert retention(site) == 0
    finally:
        os.close(held)
    assert json.loads(capsys.readouterr().out) == {"state": "left to the running agent", "gone": []}
    assert kept(site) == ["incidents", "originals"]


def test_where_no_agent_has_run_nothing_was_kept_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text(CONFIG)
    assert retention(tmp_path, "--dry-run") == retention(tmp_path) == 0
    assert [json.loads(line)["gone"] for line in capsys.readouterr().out.splitlines()] == [[], []]
    assert not (tmp_path / "data").exists()
