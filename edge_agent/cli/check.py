"""`edge-agent check`: is this configuration right, and what is in effect?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edge_agent import config


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration (TOML)")
    parser.add_argument("--dump", action="store_true", help="print the effective configuration, defaults included")
    parser.add_argument("--json", action="store_true", help="print a JSON object: ok, faults")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where it is right, 78 where it is not; every fault is named."""
    try:
        agent = config.load(args.config)
    except config.ConfigError as error:
        if args.json:
            print_json({"ok": False, "file": str(error.file), "faults": error.faults})
        else:
            print(error, file=sys.stderr)
        return config.EX_CONFIG
    if args.dump:
        print(config.dump(agent), end="")
    elif args.json:
        print_json({"ok": True, "file": str(args.config), "faults": []})
    else:
        print(f"{args.config}: right: {describe(agent)}")
    return 0


def describe(agent: config.Agent) -> str:
    """One line on what this configuration runs."""
    parts = [
        "a vehicle" if agent.vehicle else "",
        _count(len(agent.routes), "route"),
        _count(len(agent.schedules), "schedule"),
        _count(len(agent.cameras), "camera"),
        _count(len(agent.rules), "rule"),
        _count(len(agent.speakers), "speaker"),
        "MQTT" if agent.mqtt else "no uplink",
    ]
    return ", ".join(part for part in parts if part)


def print_json(value: object) -> None:
    """One JSON line on standard output; bytes in the name of a file that are no text become replacement characters."""
    import msgspec

    try:
        line = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        told = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        line = told.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    print(line, flush=True)  # a reader at the other end of a pipe waits for it


def _count(number: int, noun: str) -> str:
    return "" if not number else f"{number} {noun}{'' if number == 1 else 's'}"
