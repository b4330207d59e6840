"""The service's unit: what it promises, as systemd itself reads it."""

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


def setting(name: str) -> list[str]:
    return [line.partition("=")[2] for line in LINES if line.startswith(f"{name}=")]


def test_a_hung_agent_is_restarted_and_a_wrong_configuration_is_not() -> None:
    assert (setting("Type"), setting("Restart"), setting("StartLimitIntervalSec")) == (["notify"], ["always"], ["0"])
    assert int(setting("WatchdogSec")[0]) > 0
    assert setting("RestartPreventExitStatus") == [str(config.EX_CONFIG)]


def test_what_the_unit_names_is_made_before_it_starts() -> None:
    user = setting("User")[0]
    assert f"u {user} " in (FOLDER / "sysusers.d" / "edge-agent.conf").read_text(encoding="utf-8")
    secrets = {line.removeprefix("#LoadCredential=").split(":")[1] for line in LINES if line.startswith("#LoadCr")}
    assert secrets
    folder = f"d {Path(min(secrets)).parent}  0700 root root -"
    assert folder in (FOLDER / "tmpfiles.d" / "edge-agent.conf").read_text(encoding="utf-8")


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here: apt-get install systemd")
def test_systemd_finds_no_fault_in_the_unit_and_an_exposure_of_at_most_1_3(tmp_path: Path) -> None:
    assert ANALYZE is not None
    unit = tmp_path / UNIT.name
    program = "/opt/edge-agent/current/bin/edge-agent"
    unit.write_text("\n".join(LINES).replace(program, "/bin/true"), encoding="utf-8")
    line = [ANALYZE, "verify", "--recursive-errors=no", str(unit)]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
    assert UNIT.name not in found.stderr, found.stderr
    line = [ANALYZE, "security", "--offline=true", "--threshold=13", "--no-pager", str(unit)]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stdout[-300:] + found.stderr


@pytest.mark.skipif(SYSUSERS is None, reason="no systemd-sysusers here: apt-get install systemd")
def test_systemd_would_make_the_account(tmp_path: Path) -> None:
    assert SYSUSERS is not None
    line = [SYSUSERS, "--dry-run", f"--root={tmp_path}", str(FOLDER / "sysusers.d" / "edge-agent.conf")]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 0, found.stderr
