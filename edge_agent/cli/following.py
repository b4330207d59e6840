"""A run of the agent that lives here, followed by its record: a line for each transition, to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edge_agent import control
from edge_agent.cli.check import print_json
from edge_agent.cli.fly import EX_INTERRUPTED, EX_LOST
from edge_agent.cli.flying import Figures, Screen
from edge_agent.flight.logbook import PREEMPTED
from edge_agent.flight.phases import RUN_ENDS, Phase
from edge_agent.flight.recorder import Recorder
from edge_agent.flight.solo import judged
from edge_agent.messages import FlightEvent
from edge_agent.runtime import DriverError

POLL_S = 0.2
LOOK_S = 1.0
SILENT_S = 120.0  # no phase on the ground lasts longer, and no way to another place is longer in the making
GONE_S = 30.0  # an agent that is restarted goes on with its flight
PLOT_S = 10.0  # it is drawn once the record has ended
ENDS = RUN_ENDS | {PREEMPTED}


def rehearsed(data_dir: Path, run: str, as_json: bool) -> int:
    """Show a dry run to its end; 0 where everything passed, 1 where not; DriverError where the agent falls silent."""
    file = data_dir / "runs" / f"{run}.jsonl"

    def silent(silent_s: float) -> None:
        if silent_s > SILENT_S:
            what = f"{file}: nothing was written for {SILENT_S:g} s"
            raise DriverError(f"{what}; does the agent still run? `edge-agent status`")

    phase = ""
    for entry in _tail(file, silent):
        data = entry["data"]
        match entry["kind"]:
            case "gates":
                _gates(data["checks"], as_json)
            case "transition":
                phase = data["phase"]
                print_json(data) if as_json else print(f"{phase}: {data['cause']}", flush=True)
            case "end":
                break
    return 0 if phase == "checked" else 1


def flown(data_dir: Path, run: str, as_json: bool) -> int:
    """Show a flight to its end; the exit code as without a daemon, and one for an agent that is lost meanwhile."""
    screen, recorder, events = Screen(as_json, ENDS), Recorder(data_dir / "runs"), list[FlightEvent]()
    try:
        for entry in _tail(recorder.file(run), _Agent(data_dir, run, screen).look):
            if entry["kind"] == "transition":
                events.append(msgspec.convert(entry["data"], FlightEvent))
                screen.event(events[-1])
            if entry["kind"] == "end" or (events and events[-1].phase == PREEMPTED):
                _await_plot(recorder.plot(run), entry)
                break
    except KeyboardInterrupt:
        screen.say(f"no longer waiting; the flight {run} goes on: `edge-agent recall` brings it home")
        return EX_INTERRUPTED
    except DriverError as error:
        last = events[-1].phase if events else "accepted"
        screen.say(f"what became of the flight {run} is not known, it was {last}: {error}")
        return EX_LOST
    ended = judged(events, run)
    if [event.phase for event in events] == [Phase.FAILED]:  # another flight was under way, and goes on
        ended = ended._replace(how="ended")
    code = screen.ended(ended)
    screen.close(recorder, code)
    return code


class _Agent:
    """The agent that flies: its answer is the sign of life, and what a terminal shows between two transitions."""

    def __init__(self, data_dir: Path, run: str, screen: Screen) -> None:
        self._data_dir, self._run, self._screen = data_dir, run, screen
        self._asked_s, self._heard_s = float("-inf"), time.monotonic()

    def look(self, silent_s: float) -> None:
        """Raises DriverError where nobody answers any more, or nobody flies this run and its record is silent."""
        now = time.monotonic()
        if now - self._asked_s < LOOK_S:
            return
        self._asked_s = now
        try:
            flight = control.ask(self._data_dir, control.Status())["flight"] or {"run": None}
        except DriverError:
            if time.monotonic() - self._heard_s > GONE_S:
                raise
            return
        self._heard_s = time.monotonic()
        if silent_s > SILENT_S and (flight["run"] or {}).get("id") != self._run:
            raise DriverError(f"the agent does not fly it, and its record has no end: {self._data_dir / 'runs'}")
        if self._screen.live:
            self._screen.flying(msgspec.convert(flight, Figures))


def _await_plot(plot: Path, end: dict[str, Any]) -> None:
    until_s = time.monotonic() + PLOT_S
    while end["data"].get("flew") and not plot.exists() and time.monotonic() < until_s:
        time.sleep(POLL_S)


def _gates(checks: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for check in checks:
            print_json(check)
        return
    others = [f"{check['gate']} ({check['reason']})" for check in checks if check["state"] != "pass"]
    print(f"{len(checks)} gates asked; not passed: {', '.join(others) or 'none'}", flush=True)


def _tail(file: Path, look: Callable[[float], None]) -> Iterator[dict[str, Any]]:
    """The entries of a record as they are written; `look` is told how long it has been silent, and may give up."""
    read, heard_s = 0, time.monotonic()
    while True:
        look(time.monotonic() - heard_s)
        lines = _lines(file, read)
        if not lines:
            time.sleep(POLL_S)
            continue
        read, heard_s = read + len(lines), time.monotonic()
        for line in lines.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # a full disk took half of it
                continue
            yield entry


def _lines(file: Path, start: int) -> bytes:
    """What is whole: half a line is still being written, or a restarted agent cuts it off."""
    if not file.exists():
        return b""
    with file.open("rb") as record:
        record.seek(start)
        new = record.read()
    return new[: new.rfind(b"\n") + 1]
