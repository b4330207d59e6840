"""The service's unit: what it promises, as systemd itself reads it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent import config

FOLDER = Path(__file__).resolve().parent.parent / "systemd"
UNIT = FOLDER / "edge-agent.service"
LINES = UNIT.read_text(encoding="utf-8").splitlines()
ANALYZE = shutil.which("systemd-analyze")
SYSUSERS = shutil.which("systemd-sysusers")


# What each of the daily services may expose at most, in tenths, beside 1.3 for the agent.
LIMITS = {
    "edge-agent-retention.service": 2,
    "edge-agent-drift.service": 2,
    "edge-agent-detector@.service": 2,  # pictures from strangers meet a decoder and a model: no network at all
    "edge-agent-renew.service": 11,  # it speaks with the CA
    "edge-agent-time.service": 28,  # it may set the clock
}


def setting(name: str) -> list[str]:
    return [line.partition("=")[2] for line in LINES if line.startswith(f"{name}=")]


def test_a_hung_agent_is_restarted_and_a_wrong_configuration_is_not() -> None:
    assert (setting("Type"), setting("Restart"), setting("StartLimitIntervalSec")) == (["notify"], ["always"], ["0"])
    assert int(setting("WatchdogSec")[0]) > 0
    assert setting("RestartPreventExitStatus") == [str(config.EX_CONFIG)]


def test_what_the_unit_names_is_made_before_it_starts() -> None:
    user = setting("User")[0]
    assert f"u {user} " in (FOLDER / "sysusers.d" / "edge-agent.conf").read_text(encoding="utf-8")
    # A secret by its name alone (from /etc/credstore) may be missing; one by its path may not, and none has one.
    assert all(re.fullmatch(r"[a-z]+:edge-agent\.[a-z]+", secret) for secret in setting("LoadCredential"))


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here: apt-get install systemd")
def test_systemd_finds_no_fault_in_the_units_and_no_more_exposure_than_is_said(tmp_path: Path) -> None:
    assert ANALYZE is not None
    for file in FOLDER.glob("edge-agent*.*"):
        text = file.read_text(encoding="utf-8")
        for program in ("/opt/edge-agent/current/bin/edge-agent", "/opt/edge-agent/guard"):
            text = text.replace(program, "/bin/true")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    timers = [f"edge-agent-{what}.timer" for what in ("drift", "retention", "renew")]
    units = [str(tmp_path / name) for name in (UNIT.name, *LIMITS, *timers)]
    line = [ANALYZE, "verify", "--recursive-errors=no", *units]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert "edge-agent" not in found.stderr, found.stderr
    for name, limit in {UNIT.name: 13, **LIMITS}.items():
        line = [ANALYZE, "security", "--offline=true", f"--threshold={limit}", "--no-pager", str(tmp_path / name)]
        found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert found.returncode == 0, found.stdout[-300:] + found.stderr


@pytest.mark.skipif(SYSUSERS is None, reason="no systemd-sysusers here: apt-get install systemd")
def test_systemd_would_make_the_account(tmp_path: Path) -> None:
    assert SYSUSERS is not None
    line = [SYSUSERS, "--dry-run", f"--root={tmp_path}", str(FOLDER / "sysusers.d" / "edge-agent.conf")]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr


class Guarded:
    """The guard's directory, with a release on trial before another."""

    def __init__(self, base: Path) -> None:
        self.base = base
        for name in ("1.0", "2.0"):
            (base / "releases" / name).mkdir(parents=True)
        (base / "current").symlink_to("releases/2.0")
        (base / "trial").symlink_to("releases/1.0")

    def call(self, verb: str, **env: str) -> None:
        env = {"PATH": "/usr/bin:/bin", "EDGE_AGENT_BASE": str(self.base), **env}
        subprocess.run([FOLDER / "guard", verb], env=env, check=True, timeout=60, capture_output=True)

    def runs(self) -> str:
        return (self.base / "current").readlink().name


def test_a_release_that_fails_three_starts_is_put_back(tmp_path: Path) -> None:
    guard = Guarded(tmp_path)
    for _ in range(3):
        guard.call("begin")
        assert guard.runs() == "2.0"
        guard.call("end", SERVICE_RESULT="exit-code", EXIT_STATUS="1")
    guard.call("begin")
    assert guard.runs() == "1.0"
    assert (tmp_path / "rolled-back").read_text().strip() == "2.0"
    assert not {"trial", "starts"} & {entry.name for entry in tmp_path.iterdir()}


def test_a_release_that_has_settled_or_is_stopped_by_a_person_is_not_put_back(tmp_path: Path) -> None:
    guard = Guarded(tmp_path)
    for _ in range(5):
        guard.call("begin")
        guard.call("end", SERVICE_RESULT="success")
    guard.call("begin")
    guard.call("settled")
    for _ in range(5):
        guard.call("begin")
        guard.call("end", SERVICE_RESULT="signal")
    assert guard.runs() == "2.0"


def test_a_guard_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    guard = Guarded(tmp_path)
    (tmp_path / "starts").write_text("3\n")
    (tmp_path / ".current.back").symlink_to("releases/1.0")  # cut off before the rename
    guard.call("begin")
    assert guard.runs() == "1.0"
    guard = Guarded(tmp_path / "again")
    (tmp_path / "again" / "current").unlink()
    (tmp_path / "again" / "current").symlink_to("releases/1.0")  # cut off right after it
    (tmp_path / "again" / "starts").write_text("3\n")
    guard.call("begin")
    assert (guard.runs(), (tmp_path / "again" / "trial").is_symlink()) == ("1.0", False)


def test_a_release_that_refuses_the_configuration_of_the_one_before_is_put_back_at_once(tmp_path: Path) -> None:
    guard = Guarded(tmp_path / "base")
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tmp_path / "systemctl").chmod(0o755)
    guard.call("begin")
    guard.call("end", SERVICE_RESULT="exit-code", EXIT_STATUS="78", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert guard.runs() == "1.0"
    assert (tmp_path / "asked").read_text() == "--no-block start edge-agent.service\n"
