"""A run of the agent that lives here, followed by its record: a line for each transition, to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

POLL_S = 0.2
SILENT_S = 120.0  # no phase on the ground lasts longer


def rehearsed(data_dir: Path, run: str, as_json: bool) -> int:
    """Show a dry run to its end; 0 where everything passed, 1 where not; DriverError where the agent falls silent."""
    file = data_dir / "runs" / f"{run}.jsonl"
    phase = ""
    for entry in _tail(file):
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


def _gates(checks: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for check in checks:
            print_json(check)
        return
    others = [f"{check['gate']} ({check['reason']})" for check in checks if check["state"] != "pass"]
    print(f"{len(checks)} gates asked; not passed: {', '.join(others) or 'none'}", flush=True)


def _tail(file: Path) -> Iterator[dict[str, Any]]:
    """The entries of a record as they are written; the last line of one that goes on may be half."""
    rest, read, heard_s = b"", 0, time.monotonic()
    while time.monotonic() - heard_s < SILENT_S:
        new = b""
        if file.exists():
            with file.open("rb") as opened:
                opened.seek(read)
                new = opened.read()
        if not new:
            time.sleep(POLL_S)
            continue
        read, heard_s = read + len(new), time.monotonic()
        *lines, rest = (rest + new).split(b"\n")
        for line in lines:
            yield json.loads(line)
    raise DriverError(f"{file}: nothing was written for {SILENT_S:g} s; does the agent still run? `edge-agent status`")
