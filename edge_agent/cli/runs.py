"""`edge-agent runs list|show|verify|plot`: the records of what was flown."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent import config
from edge_agent.cli.ask import find_data_dir
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

EX_UNAVAILABLE = 69


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("verb", choices=("list", "show", "verify", "plot"), help="what to do")
    parser.add_argument(
        "run", nargs="?", help="a run's id, its first letters, or a record's file (default: the newest)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the agent's configuration")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="or its data directory, or the one of `--out`")
    parser.add_argument("--json", action="store_true", help="JSON objects instead of lines")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where all is well, 1 where a record was changed or there is none, 69 where it cannot be read."""
    try:
        files = _files(args)
        if args.verb == "list":
            return _list(files, args.json)
        if args.verb == "verify" and args.run is None:
            return max((_verify(file, args.json) for file in files), default=0)
        file = _pick(files, args.run)
        match args.verb:
            case "show":
                return _show(file, args.json)
            case "verify":
                return _verify(file, args.json)
            case _:
                return _plot(file)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return EX_UNAVAILABLE
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 1


def _files(args: argparse.Namespace) -> list[Path]:
    """The records, the oldest first: ULIDs sort by time."""
    if args.run and Path(args.run).is_file():
        return [Path(args.run)]
    return sorted((find_data_dir(args) / "runs").glob("*.jsonl"))


def _pick(files: list[Path], run: str | None) -> Path:
    found = [file for file in files if run is None or str(file) == run or file.stem.startswith(run)]
    if not found or (run is not None and len(found) > 1):
        what = "no run was recorded here" if run is None else f"{len(found)} runs are called {run}…"
        raise LookupError(f"{what}; `edge-agent runs list` shows them")
    return found[-1]


def _entries(file: Path) -> list[dict[str, Any]]:
    """Every entry that can be read; the last line of a run that goes on may be half."""
    found = []
    for line in file.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found.append(entry)
    return found


def _data(entries: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next((entry["data"] for entry in entries if entry["kind"] == kind), {})


def _list(files: list[Path], as_json: bool) -> int:
    for file in files:
        entries = _entries(file)
        run, end = _data(entries, "run"), _data(entries, "end")
        began_s = entries[0]["wall_s"] if entries else None
        if as_json:
            print_json({"run": file.stem, "began_wall_s": began_s, "route": run.get("route"), **end, "file": str(file)})
            continue
        when = datetime.fromtimestamp(began_s).astimezone().strftime("%Y-%m-%d %H:%M") if began_s else "?"
        flown = f"{end['airborne_s']:.0f} s, {end['length_m']:.0f} m" if end.get("flew") else "did not fly"
        print(f"{file.stem}  {when}  {run.get('route', '?'):16} {end.get('result', 'goes on'):8} {flown}")
    return 0


def _show(file: Path, as_json: bool) -> int:
    for entry in _entries(file):
        if as_json:
            print_json(entry)
            continue
        data, when = entry["data"], datetime.fromtimestamp(entry["wall_s"]).astimezone().strftime("%H:%M:%S")
        match entry["kind"]:
            case "telemetry":
                continue
            case "gates":
                bad = [check["gate"] for check in data["checks"] if check["state"] != "pass"]
                text = f"{len(data['checks'])} asked; not passed: {', '.join(bad) or 'none'}"
            case "transition":
                text = f"{data['phase']}: {data['cause']}"
            case _:
                text = ", ".join(f"{key} {value}" for key, value in data.items() if not isinstance(value, list | dict))
        print(f"{when} {entry['kind']:10} {text}")
    return 0


def _verify(file: Path, as_json: bool) -> int:
    from edge_agent.flight.record import verify

    with file.open("rb") as lines:
        entries, ended, fault = verify(lines)
    if as_json:
        print_json({"file": str(file), "ok": fault is None, "entries": entries, "ended": ended, "fault": fault})
    else:
        print(f"{file}: " + (fault or f"whole: {entries} entries" + ("" if ended else ", not ended")))
    return 0 if fault is None else 1


def _plot(file: Path) -> int:
    from edge_agent.flight.plot import draw

    draw(file, file.with_suffix(".png"))
    print(file.with_suffix(".png"))
    return 0
