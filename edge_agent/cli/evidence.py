"""`edge-agent evidence list|hold|release|delete`: the originals on this device, and who keeps or deletes them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edge_agent import config, control, messages
from edge_agent.cli.ask import EX_UNAVAILABLE, find_data_dir
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

VERBS = {
    "hold": "keep originals whatever age, quota and retention say",
    "release": "let held originals go by the rules again",
    "delete": "delete originals now; refused while they are held or the centre has not confirmed them",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the four verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="pictures and clips: what, when, whether the centre has it, held or not")
    listing.add_argument("--held", action="store_true", help="only those that are held")
    listing.add_argument("--waiting", action="store_true", help="only those that the centre has not confirmed")
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("id", nargs="+", help="a file as `list` shows it, or the id of an incident: all of its files")
        verb.add_argument("--reason", default="", metavar="TEXT", help="why; it stands in the audit record")
        verb.add_argument("--dry-run", action="store_true", help="only say which those would be")
    verbs.choices["delete"].add_argument(
        "--unconfirmed", action="store_true", help="also what the centre has not; a gap record tells of it"
    )
    for verb in verbs.choices.values():
        where = verb.add_mutually_exclusive_group()
        where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the agent's configuration")
        where.add_argument("--data-dir", type=Path, metavar="DIR", help="or its data directory")
        verb.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where done, 1 where refused, 69 where no agent answers or nothing can be read, 78 on a bad config."""
    try:
        data_dir = find_data_dir(args)
        return _list(data_dir, args) if args.verb == "list" else _ask(data_dir, args)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


def _list(data_dir: Path, args: argparse.Namespace) -> int:
    """Beside a running agent or without one."""
    import msgspec

    from edge_agent.topics import rfc3339
    from edge_agent.uplink.evidence_store import look

    for item in look(data_dir / "evidence.db"):
        if (args.held and not item.hold) or (args.waiting and item.state == "received"):
            continue
        facts: dict[str, Any] = {"time": rfc3339(item.wall_s), **msgspec.to_builtins(item)}
        if args.json:
            print_json(facts)
            continue
        held, why = "  held" if item.hold else "", f"  {item.why}" if item.why else ""
        print(f"{facts['time']}  {item.state:8}  {item.bytes:>11,} bytes  {item.kind:8} {item.id}{held}{why}")
    return 0


def _ask(data_dir: Path, args: argparse.Namespace) -> int:
    """The running agent does it, and writes it into its audit."""
    question = messages.Originals(
        verb=args.verb,
        ids=tuple(args.id),
        reason=args.reason,
        unconfirmed=getattr(args, "unconfirmed", False),
        dry_run=args.dry_run,
    )
    answer = control.ask(data_dir, question, timeout_s=60.0)
    if args.json:
        print_json(answer)
    else:
        words = f"{answer['state']}: {answer.get('reason', '')}"
        print(f"{words} (dry run: nothing was changed)" if args.dry_run and answer["state"] == "done" else words)
    return 0 if answer["state"] == "done" else 1
