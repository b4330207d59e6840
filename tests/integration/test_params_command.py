"""`edge-agent params` against the simulated autopilot as a process of its own."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_agent.cli import main
from edge_agent.flight import param_shelf
from edge_agent.flight.claim import claim
from edge_agent.flight.param_report import Report
from edge_agent.flight.param_server import DEFAULTS
from edge_agent.flight.sim_messages import State

pytestmark = pytest.mark.integration
Vehicle = Callable[..., str]


@pytest.fixture
def vehicle(tmp_path: Path) -> Generator[Vehicle, None, None]:
    """Starts one with the state that is given; its URL."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**state: Any) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            number = int(free.getsockname()[1])
        kept = tmp_path / "state"
        kept.write_bytes(msgspec.json.encode(State(lat=30.25, lon=120.15, **state)))
        line = [sys.executable, "-m", "edge_agent", "simulate", "--lat", "30.25", "--lon", "120.15", "--speedup", "5"]
        started.append(subprocess.Popen([*line, "--tcp-listen", f"127.0.0.1:{number}", "--state", str(kept)]))
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", number), timeout=5).close()
                return f"tcp:127.0.0.1:{number}"
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.05)

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any]]:
    """Runs the command with --json; its exit code, and the object or what was said on stderr."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))

    def run(*words: str) -> tuple[int, Any]:
        code = main(["params", *words, "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else said.err

    return run


def write(file: Path, text: str) -> str:
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_what_plan_names_apply_sets_and_diff_finds_no_more(vehicle, params, tmp_path):
    url = vehicle()
    base = write(tmp_path / "a.param", "RTL_ALT 3000\nFS_OPTIONS 2\nFENCE_TYPE 7\n")
    site = write(tmp_path / "b.param", "RTL_ALT 4000\n")
    code, plan = params("plan", base, site, "--connection", url)
    assert code == 0
    assert plan["same"] == 1
    assert [(c["name"], c["aboard"], c["value"], c["file"], c["line"]) for c in plan["changes"]] == [
        ("RTL_ALT", 1500, 4000, site, 1), ("FS_OPTIONS", 16, 2, base, 2),
    ]  # fmt: skip
    assert params("apply", base, site, "--dry-run", "--connection", url)[0] == 0
    assert params("diff", base, site, "--connection", url)[0] == 1  # a dry run sets nothing
    code, done = params("apply", base, site, "--connection", url)
    assert (code, done["state"], done["set"], done["changes"]) == (0, "done", ["RTL_ALT", "FS_OPTIONS"], [])
    assert params("diff", base, site, "--connection", url)[0] == 0
    assert "RTL_ALT,1500\n" in Path(done["backup"]).read_text()  # what was there before
    code, back = params("apply", done["backup"], "--connection", url, "-o", str(tmp_path / "c.param"))
    assert (code, sorted(back["set"])) == (0, ["FS_OPTIONS", "RTL_ALT"])  # a backup leads back


def test_an_armed_vehicle_is_not_touched(vehicle, params, tmp_path):
    url = vehicle(armed=True, params={**DEFAULTS, "DISARM_DELAY": 0})
    code, said = params("apply", write(tmp_path / "a.param", "RTL_ALT 3000\n"), "--connection", url)
    assert (code, said["state"]) == (1, "refused")
    assert "armed" in said["refusal"]["value"]
    code, plan = params("plan", str(tmp_path / "a.param"), "--connection", url)
    assert plan["changes"][0]["aboard"] == 1500


def test_a_file_of_another_vehicle_is_refused_as_a_whole(vehicle, params, tmp_path):
    url = vehicle()
    file = write(tmp_path / "plane.param", "RTL_ALT 3000\nTRIM_THROTTLE 45\n")
    code, said = params("apply", file, "--connection", url)
    assert code == 78
    assert f"{file}: line 2: TRIM_THROTTLE: this vehicle has no such parameter (value 45)" in said
    write(tmp_path / "one.param", "RTL_ALT 3000\n")
    assert params("plan", str(tmp_path / "one.param"), "--connection", url)[1]["changes"][0]["aboard"] == 1500


def test_a_value_that_the_autopilot_does_not_keep_is_no_success(vehicle, params, tmp_path):
    file = write(tmp_path / "a.param", "FS_OPTIONS 2.5\n")  # whole numbers only: it makes 2 of it
    code, said = params("apply", file, "--accept", "FS_OPTIONS", "--connection", vehicle())
    assert (code, said["state"]) == (1, "failed")
    assert "stays 2, 2.5 was sent" in said["failed"]["FS_OPTIONS"]


def test_a_backup_overwrites_nothing_and_a_held_connection_is_left_alone(vehicle, params, tmp_path):
    url = vehicle()
    out = tmp_path / "mine.param"
    assert params("backup", "-o", str(out), "--connection", url) == (0, {"state": "done", "backup": str(out)})
    assert "RTL_ALT,1500\n" in out.read_text()
    code, said = params("backup", "-o", str(out), "--connection", url)
    assert (code, "overwrites nothing" in said) == (69, True)
    with claim(url):
        assert params("backup", "--connection", url)[0] == 75


def test_a_wrong_file_is_refused_before_anything_is_opened(params, tmp_path):
    file = write(tmp_path / "a.param", "RTL_ALT nan\n")
    code, said = params("plan", file, "--connection", "tcp:127.0.0.1:9")
    assert (code, said.strip()) == (78, f"{file}: line 1: RTL_ALT: nan is not a finite 32-bit number (at most 3.4e+38)")


def test_a_value_out_of_range_is_refused_unless_it_is_meant_so(vehicle, params, tmp_path):
    url = vehicle()
    file = write(tmp_path / "a.param", "FS_OPTIONS 2\nFENCE_TYPE 99\n")
    code, said = params("plan", file, "--connection", url)
    assert code == 78
    assert f"{file}: line 2: FENCE_TYPE: 99 is not a sum of the bits 0 to 3" in said
    code, done = params("apply", file, "--accept", "FENCE_TYPE", "--connection", url)
    assert (code, sorted(done["set"])) == (0, ["FENCE_TYPE", "FS_OPTIONS"])


def test_what_was_applied_is_signed_and_drift_from_it_is_found(vehicle, params, tmp_path):
    url = vehicle()
    file = write(tmp_path / "a.param", "RTL_ALT 3000\nFS_OPTIONS 2\n")
    assert params("drift", "--connection", url)[0] == 69  # nothing was applied yet
    code, done = params("apply", file, "--connection", url)
    assert code == 0
    code, report = params("verify", done["report"])
    assert (code, report["set"]["RTL_ALT"], report["wanted"]) == (0, [1500, 3000], {"RTL_ALT": 3000, "FS_OPTIONS": 2})
    assert params("drift", "--connection", url)[0] == 0
    back = write(tmp_path / "b.param", "RTL_ALT 1500\n")
    assert params("apply", back, "--no-reboot", "--connection", url)[0] == 0  # one that is applied is no drift
    assert params("drift", "--connection", url)[0] == 0
    Path(done["report"]).write_text(Path(done["report"]).read_text().replace("3000", "3001"))
    code, said = params("verify", done["report"])
    assert (code, "was changed since it was signed" in said) == (69, True)


def test_a_running_agent_finds_drift_and_reports_it_as_a_fault(vehicle, params, tmp_path, capsys):
    url = vehicle()
    (tmp_path / "agent.toml").write_text(
        'data_dir = "data"\n[site]\ndevice = "d"\nlat = 30.25\nlon = 120.15\n'
        f'[vehicle]\ntype = "mavlink"\nurl = "{url}"\n'
    )
    wanted = {"RTL_ALT": 3000.0, "FS_OPTIONS": 16.0}  # aboard: 1500 and 16
    applied = Report(
        time="2026-11-22T00:00:00Z", device="d", vehicle=url, system_id=1, firmware="unknown", files=(), state="done",
        set={}, failed={}, wanted=wanted, backup=None,
    )  # fmt: skip
    (tmp_path / "data").mkdir(mode=0o700)
    param_shelf.keep(tmp_path / "data", applied, "1")
    agent = subprocess.Popen([sys.executable, "-m", "edge_agent", "run", "-c", str(tmp_path / "agent.toml")])
    try:
        end = time.monotonic() + 60
        while main(["status", "--data-dir", str(tmp_path / "data")]):  # else the command would ask the autopilot itself
            assert time.monotonic() < end
            time.sleep(0.2)
        capsys.readouterr()
        while (found := params("drift", "-c", str(tmp_path / "agent.toml")))[0] in (69, 75):
            assert time.monotonic() < end, found
            time.sleep(0.2)
    finally:
        agent.terminate()
        agent.wait(30)
    drift = [{"name": "RTL_ALT", "wanted": 3000.0, "aboard": 1500.0}]
    assert found == (1, {"checked": 2, "applied": "2026-11-22T00:00:00Z", "drift": drift})
    out = tmp_path / "events.jsonl"
    assert main(["outbox", "export", str(out), "--data-dir", str(tmp_path / "data")]) == 0
    assert out.read_text().count("RTL_ALT is 1500, 3000 was applied") == 1
