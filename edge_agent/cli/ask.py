"""`edge-agent status`, `pause`, `hush` and the like: ask a running agent through its local socket."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edge_agent import config, control, messages
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

EX_UNAVAILABLE = 69
PLACES = (Path("agent.toml"), Path("/etc/edge-agent/agent.toml"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of whichever of these commands it is."""
    command = parser.get_default("command")
    if command == "extend":
        parser.add_argument("hover", type=float, metavar="SECONDS", help="so much longer than planned")
    if command == "skip":
        parser.add_argument("schedule", help="the id of a [[schedule]] of the configuration")
        parser.add_argument("--when", metavar="TIME", help="the planned time as RFC 3339 (default: the next one)")
    if command == "level":
        parser.add_argument("level", choices=("normal", "raised", "top"), help="each has its own schedules")
        parser.add_argument("--until", metavar="TIME", help="as RFC 3339 (default: until the next switch)")
    if command == "snapshot":
        parser.add_argument("--camera", metavar="NAME", help="which [[camera]] (default: the only one)")
    if command == "clip":
        parser.add_argument("--camera", metavar="NAME", required=True, help="which [[camera]]")
        parser.add_argument("--last", type=float, default=30.0, metavar="SECONDS", help="default: 30, at most 600")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the running agent's configuration")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="or its data directory")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where it was done or accepted, 1 where it was refused, 69 where no agent answers, 78 on a bad config."""
    return put(args, _question(args))


def put(args: argparse.Namespace, question: control.Question) -> int:
    """Put one question to the running agent and print its answer; the exit code as above."""
    try:
        answer = control.ask(find_data_dir(args), question)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    if args.json:
        print_json(answer)
    elif args.command == "status":
        print(_readable(answer))
    else:
        reason, run = answer.get("reason"), answer.get("run")
        print(answer["state"] + (f": {reason}" if reason else "") + (f" (run {run})" if run else ""))
    return 0 if args.command == "status" or answer["state"] in ("accepted", "done") else 1


def _question(args: argparse.Namespace) -> control.Question:
    match args.command:
        case "extend":
            return messages.Extend(hover_s=args.hover)
        case "pause":
            return messages.Pause()
        case "resume":
            return messages.Resume()
        case "land":
            return messages.Land()
        case "skip":
            return messages.Skip(schedule=args.schedule, when=args.when)
        case "level":
            return messages.Level(level=args.level, until=args.until)
        case "clear-lockout":
            return messages.ClearLockout()
        case "hush":
            return messages.Hush()
        case "snapshot":
            return messages.Snapshot(camera=args.camera)
        case "clip":
            return messages.Clip(camera=args.camera, last_s=args.last)
        case _:
            return control.Status()


def find_data_dir(args: argparse.Namespace) -> Path:
    """Of the agent that `--data-dir` or `--config` names, or of the only one that this machine would have."""
    if args.data_dir is not None:
        return Path(args.data_dir)
    file = args.config or next((place for place in PLACES if place.is_file()), None)
    if file is None:
        tried = " and no ".join(map(str, PLACES))
        raise DriverError(f"which agent? give -c FILE or --data-dir DIR (there is no {tried})")
    return config.load(file).data_dir


def _readable(value: Any, indent: int = 0) -> str:
    """Nested tables as indented `key: value` lines; a nothing is left out."""
    pad = "  " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
            lines.append(f"{pad}{key}:" + (f"\n{_readable(item, indent + 1)}" if item else " -"))
        elif item is not None:
            lines.append(f"{pad}{key}: {_shown(item)}")
    return "\n".join(lines)


def _shown(item: Any) -> str:
    match item:
        case list():
            return ", ".join(map(str, item)) or "-"
        case float():
            return f"{item:.7g}"
        case _:
            return str(item)
