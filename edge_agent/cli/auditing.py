"""`edge-agent audit verify|tail`: this device's audit log, beside its agent or without."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent.cli import where
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.audit import Audit


def configure(parser: argparse.ArgumentParser) -> None:
    """Add both verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verify = verbs.add_parser("verify", help="check every link and signature, and that the end is there")
    where.add_key(verify)
    tail = verbs.add_parser("tail", help="the newest records")
    tail.add_argument("-n", type=int, default=20, metavar="COUNT", help="how many (default: 20)")
    where.add_options((verify, tail))


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 where `verify` finds a fault; 69 where there is no log; 78 on a bad config."""
    from edge_agent.audit import HEAD, NAME, Audit

    def act(data_dir: Path) -> int:
        if not any((data_dir / name).is_file() for name in (NAME, HEAD)):
            raise DriverError(f"{data_dir / NAME}: there is no audit log; nothing was looked up or changed here yet")
        log = Audit(data_dir)
        return _tail(log, args) if args.verb == "tail" else _verify(log, args)

    return where.call(act, args)


def _tail(log: Audit, args: argparse.Namespace) -> int:
    for record in log.tail(max(0, args.n)):
        if args.json:
            print_json(record)
        else:
            facts = ", ".join(f"{name} {value}" for name, value in record.get("facts", {}).items())
            print(f"{record['seq']:>6}  {record['time']}  {record['what']:18} {record['by']}: {facts}")
    return 0


def _verify(log: Audit, args: argparse.Namespace) -> int:
    verdict = log.verify(args.public_key)
    if args.json:
        print_json({"ok": not verdict.faults} | msgspec.to_builtins(verdict))
    else:
        for fault in verdict.faults:
            print(fault)
        dropped = f"; what came before {verdict.first} was dropped by retention" if verdict.first > 1 else ""
        word = "NOT WHOLE" if verdict.faults else "whole"
        print(f"{word}: {verdict.records} records up to {verdict.last}, head {verdict.head[:16]}{dropped}")
    return 1 if verdict.faults else 0
