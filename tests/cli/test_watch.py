"""Ctrl-C ends any command quietly."""

from __future__ import annotations

import importlib
from argparse import Namespace

import pytest

from edge_agent.cli import main


@pytest.mark.parametrize(
    ("command", "args"), [("watch", ["x.avi", "-c", "x.toml"]), ("detect", ["x.jpg"]), ("status", [])]
)
def test_a_command_that_is_interrupted_prints_a_newline_and_gives_130(
    command: str, args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(args: Namespace) -> int:
        print("a line that was complete")
        raise KeyboardInterrupt

    module = importlib.import_module(f"edge_agent.cli.{'ask' if command == 'status' else command}")
    monkeypatch.setattr(module, "main", interrupted)
    assert main([command, *args]) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a line that was complete\n", "\n")
