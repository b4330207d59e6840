"""A run of the agent that lives here, dry or flown, followed by its record to its end."""

from __future__ import annotations

import json
import os
import select
import signal
import socketserver
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_agent import cli
from edge_agent.cli import following
from edge_agent.flight.record import Chain
from edge_agent.runtime import DriverError

GATES = {
    "checks": [{"gate": "link", "state": "pass", "reason": "up"}, {"gate": "wind", "state": "fail", "reason": "x"}]
}


def record(*phases: tuple[str, str], ended: bool = True) -> bytes:
    chain = Chain()
    lines = [chain.line("run", {"route": "sq"}, 1.0), chain.line("gates", GATES, 1.0)]
    lines += [chain.line("transition", {"phase": phase, "cause": cause}, 2.0) for phase, cause in phases]
    return b"".join(lines + ([chain.line("end", {}, 3.0)] if ended else []))


@pytest.mark.parametrize(("last", "code"), [("checked", 0), ("failed", 1)])
def test_a_dry_run_is_shown_to_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], last: str, code: int
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "R1.jsonl").write_bytes(record(("gating", "ordered"), (last, "so it is")))
    assert following.rehearsed(tmp_path, "R1", as_json=False) == code
    assert capsys.readouterr().out.splitlines() == [
        "2 gates asked; not passed: wind (x)", "gating: ordered", f"{last}: so it is",
    ]  # fmt: skip
    assert following.rehearsed(tmp_path, "R1", as_json=True) == code
    assert [json.loads(line).get("phase") for line in capsys.readouterr().out.splitlines()] == [
        None, None, "gating", last,
    ]  # fmt: skip


def test_a_record_is_read_as_it_is_written_in_whatever_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_S", 0.01)
    (tmp_path / "runs").mkdir()
    file, whole = tmp_path / "runs" / "R1.jsonl", record(("gating", "ordered"), ("checked", "well"))

    def write() -> None:
        for start in range(0, len(whole), 150):
            with file.open("ab") as log:
                log.write(whole[start : start + 150])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert following.rehearsed(tmp_path, "R1", as_json=False) == 0
    finally:
        writer.join()


def test_an_agent_that_falls_silent_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.05)
    monkeypatch.setattr(following, "POLL_S", 0.01)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "R1.jsonl").write_bytes(record(("gating", "ordered"), ended=False))
    with pytest.raises(DriverError, match="nothing was written"):
        following.rehearsed(tmp_path, "R1", as_json=False)


# --- a flight, waited for ---------------------------------------------------------------------------------------------

FLIES = {
    "phase": "route", "run": {"id": "R1"}, "armed": True, "mode": "AUTO", "alt_m": 9.4, "to_go_m": 321.0,
    "speed_mps": 5.0, "battery_pct": 87.0, "margin_pct": 41.0,
}  # fmt: skip
HOME = (("returning", "the mission leads home"), ("landing", "x"), ("landed", "landed and disarmed"))
OUT = (("gating", "ordered"), ("climb", "x"), ("route", "at height"))


def log(*steps: tuple[str, str], ended: bool = True) -> bytes:
    """A record as docs/contract says that FlightEvent is written."""
    chain = Chain()
    lines = [chain.line("run", {"route": "r"}, 1.0)]
    for seq, (phase, cause) in enumerate(steps, start=1):
        event = {"run": "R1", "route": "r", "seq": seq, "phase": phase, "previous": "x", "cause": cause, "by": "b"}
        lines.append(chain.line("transition", {**event, "wall_s": 2.0, "digest": None}, 2.0))
    return b"".join(lines + ([chain.line("end", {"flew": False}, 3.0)] if ended else []))


@contextmanager
def agent(directory: Path, answer: Callable[[int], dict[str, Any] | None]) -> Iterator[None]:
    """One that is asked how it does: `answer` has the number of the question, and gives how its flight is."""
    asked = 0

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            nonlocal asked
            question = json.loads(self.rfile.readline())
            if question["name"] == "status":
                asked += 1
                said: dict[str, Any] = {"flight": answer(asked)}
            else:
                said = {"state": "accepted", "run": "R1"}
            with suppress(OSError):  # the asker was interrupted
                self.wfile.write(json.dumps(said).encode() + b"\n")

    with socketserver.UnixStreamServer(str(directory / "control.sock"), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where its record is."""
    monkeypatch.setattr(following, "POLL_S", 0.01)
    monkeypatch.setattr(following, "LOOK_S", 0.0)
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs" / "R1.jsonl"


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ((*OUT, *HOME), 0),
        ((*OUT, ("returning", "recalled by local:0"), *HOME[1:]), 3),
        ((*OUT, ("yielded", "the pilot took over"), *HOME), 3),
        ((*OUT, ("lockout", "disarmed in the air")), 3),
        ((*OUT, ("preempted", "goes on as R2")), 3),
        ((*OUT[:1], ("failed", "a gate")), 1),
        ((("failed", "not seen there; the flight goes on"),), 3),  # a dispatch from a patrol, which flies on
    ],
)
def test_a_flight_is_worth_the_same_exit_code_as_without_a_daemon(
    flight: Path, capsys: pytest.CaptureFixture[str], steps: tuple[tuple[str, str], ...], code: int
) -> None:
    flight.write_bytes(log(*steps, ended=steps[-1][0] != "preempted"))
    with agent(flight.parents[1], lambda _: FLIES):
        assert following.flown(flight.parents[1], "R1", as_json=True) == code
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["phase"], one["cause"]) for one in told] == list(steps)
    assert (told[-1]["exit"], told[-1]["record"]) == (code, str(flight))
    assert "exit" not in {key for one in told[:-1] for key in one}


def test_a_pipe_is_told_the_transitions_and_nothing_else(flight: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flight.write_bytes(log(*OUT, ended=False))

    def answer(number: int) -> dict[str, Any]:
        if number == 3:
            flight.write_bytes(log(*OUT, *HOME))
        return FLIES

    with agent(flight.parents[1], answer):
        assert following.flown(flight.parents[1], "R1", as_json=False) == 0
    said = capsys.readouterr()
    assert [line.split()[1] for line in said.out.splitlines()] == [f"{phase}:" for phase, _ in (*OUT, *HOME)]
    assert said.err == f"record: {flight}\n"


def test_a_terminal_shows_height_way_to_go_battery_and_margin_meanwhile(
    flight: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flight.write_bytes(log(*OUT, ended=False))

    def answer(number: int) -> dict[str, Any]:
        if number == 3:
            flight.write_bytes(log(*OUT, *HOME))
        return FLIES

    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 200))
    with os.fdopen(slave, "w") as terminal, agent(flight.parents[1], answer):
        monkeypatch.setattr(sys, "stderr", terminal)
        assert following.flown(flight.parents[1], "R1", as_json=False) == 0
        shown = b""
        while b"margin" not in shown and select.select([master], [], [], 10.0)[0]:
            shown += os.read(master, 4096)
    os.close(master)
    assert "height 9 m  to go 321 m  speed 5 m/s  battery 87 %  margin 41 %" in shown.decode()
    assert "margin" not in capsys.readouterr().out


def test_minutes_without_a_transition_are_waited_for_while_the_agent_flies_it(
    flight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.0)
    flight.write_bytes(log(*OUT, ended=False))

    def answer(number: int) -> dict[str, Any]:
        if number == 10:
            flight.write_bytes(log(*OUT, *HOME))
        return FLIES

    with agent(flight.parents[1], answer):
        assert following.flown(flight.parents[1], "R1", as_json=False) == 0


@pytest.mark.parametrize("does", [FLIES | {"run": None}, FLIES | {"run": {"id": "R2"}}, None])
def test_a_flight_that_the_agent_has_no_more_and_whose_record_never_ends_is_given_up(
    flight: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], does: dict[str, Any] | None
) -> None:
    monkeypatch.setattr(following, "SILENT_S", 0.05)
    flight.write_bytes(log(*OUT, ended=False))
    with agent(flight.parents[1], lambda _: does):
        assert following.flown(flight.parents[1], "R1", as_json=False) == 5
    assert "the flight R1 is not known, it was route: the agent does not fly it" in capsys.readouterr().err


def test_an_agent_that_dies_is_named_and_has_an_exit_code_of_its_own(
    flight: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(following, "GONE_S", 0.05)
    flight.write_bytes(log(*OUT, ended=False))
    assert following.flown(flight.parents[1], "R1", as_json=False) == 5
    said = capsys.readouterr().err
    assert "it was route: no agent answers at" in said
    assert "is `edge-agent run` up?" in said


def test_an_agent_that_is_restarted_cuts_half_a_line_off_and_goes_on_with_the_flight(flight: Path) -> None:
    whole, begun = log(*OUT, *HOME), log(*OUT, ended=False)
    flight.write_bytes(begun + b'{"n":4,"kind":"transi')

    def restarted() -> None:  # nobody answers until it is up again
        flight.write_bytes(whole)

    timer = threading.Timer(0.1, restarted)
    timer.start()
    try:
        assert following.flown(flight.parents[1], "R1", as_json=False) == 0
    finally:
        timer.join()


def test_ctrl_c_ends_the_waiting_and_names_what_brings_it_home(
    flight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flight.write_bytes(log(*OUT, ended=False))

    def answer(number: int) -> dict[str, Any]:
        if number == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return FLIES

    with agent(flight.parents[1], answer):
        code = cli.main(["fly", "r", "--wait", "--data-dir", str(flight.parents[1])])
    assert code == 130
    assert "the flight R1 goes on: `edge-agent recall` brings it home" in capsys.readouterr().err
