"""The command line as a whole: quick to help, clear when it is wrong."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.cli import COMMANDS, main


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = "import sys; from edge_agent.cli import main\ntry: main(['--help'])\nfinally: print('MODULES', *sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    loaded = {name.split(".")[0] for name in shown.split("MODULES")[1].split()}
    assert not loaded & {"numpy", "cv2", "onnxruntime", "av", "pymavlink", "paho", "apsw", "msgspec", "asyncio"}


def test_help_costs_less_than_three_bare_interpreters() -> None:
    def least_cpu_s(*command: str) -> float:
        """Of five runs: what the processor did, however long the machine made it wait."""
        taken = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(taken)

    assert least_cpu_s("-m", "edge_agent", "--help") < 3 * least_cpu_s("-c", "import argparse, importlib")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"edge-agent {command}" in capsys.readouterr().out


def test_an_unknown_command_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["fyl"])
    assert done.value.code == 2
    assert "'fly'" in capsys.readouterr().err


def test_asking_where_no_agent_runs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--data-dir", str(tmp_path)]) == 69
    assert "is `edge-agent run` up?" in capsys.readouterr().err


def test_a_file_that_is_not_there_or_cannot_be_written_is_named_without_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for words, code in (
        (["say", "--clip", str(tmp_path / "none.mp3"), "--data-dir", str(tmp_path)], 66),
        (["contract", str(tmp_path / "file" / "below")], 1),
    ):
        assert main(words) == code
        told = capsys.readouterr().err
        assert str(tmp_path) in told and "Errno" not in told and len(told.splitlines()) == 1


def test_what_is_the_service_s_alone_is_said_in_a_line_to_whom_forgot_sudo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def closed(_: object) -> int:
        raise PermissionError(13, "Permission denied", "/var/lib/edge-agent/events.db")

    monkeypatch.setattr("edge_agent.cli.doctor.main", closed)
    assert main(["doctor"]) == 77
    assert capsys.readouterr().err.startswith("/var/lib/edge-agent/events.db: permission denied; ")
