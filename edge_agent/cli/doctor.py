"""`edge-agent doctor`: the whole device looked over; each line says what is, why it matters, and the fix."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import config
from edge_agent.cli.ask import PLACES
from edge_agent.cli.check import print_json

if TYPE_CHECKING:
    from edge_agent.device.doctor.facts import Facts
    from edge_agent.device.doctor.mend import Mend
    from edge_agent.device.doctor.table import Finding

EPILOG = """\
Where the agent runs it is asked; else autopilot, cameras, models, speakers and the way to the centre are tried from
here, which takes half a minute. --fix asks before each fix, and does only what can be taken back or loses nothing.

exit codes:
   0  nothing is wrong
   1  a warning
   2  a failure (or a wrong command line)
"""
EX_FAILURE = 2
SIGNS = {"ok": "ok  ", "warning": "WARN", "failure": "FAIL", "unknown": "  ? "}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"default: {' or '.join(map(str, PLACES))}")
    parser.add_argument("--fix", action="store_true", help="mend what is safe to mend, asking before each")
    parser.add_argument("--yes", action="store_true", help="with --fix: do not ask")
    parser.add_argument("--dry-run", action="store_true", help="with --fix: say what would be done")
    parser.add_argument("--quick", action="store_true", help="read only: open no link, camera, model or speaker")
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="a mounted card instead of this system"
    )
    parser.add_argument("--all", action="store_true", help="also what cannot be told here")
    parser.add_argument("--json", action="store_true", help="print one JSON object: findings, counts, exit")


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    from edge_agent.device.doctor import mend, table

    if not args.root.is_dir():
        print(f"--root {args.root}: is no directory; name where the card's root is mounted", file=sys.stderr)
        return EX_FAILURE
    facts, settings = gather(args)
    findings = table.examine(facts)
    done: list[dict[str, Any]] = []
    if args.fix:
        for one in mend.mends(findings, facts.software.secrets_open or (), settings, args.config):
            done.append({"mend": one.name, "what": one.what, "state": _carry_out(args, one)})
        if any(row["state"] == "done" for row in done):
            facts, settings = gather(args)
            findings = table.examine(facts)
    code = table.exit_code(findings)
    if args.json:
        counts = {state: sum(one.state == state for one in findings) for state in SIGNS}
        print_json({"ok": code == 0, "exit": code, "counts": counts, "findings": findings, "fixed": done})
    else:
        _print(findings, show_all=args.all)
    return code


def gather(args: argparse.Namespace) -> tuple[Facts, config.Agent | None]:
    """The facts, and the configuration where it can be used."""
    from edge_agent.device.doctor.facts import Facts
    from edge_agent.device.doctor.gather import ask_agent, gather_board, gather_software
    from edge_agent.files import left_to_owner_of

    file = args.config or next(
        (args.root / str(place).lstrip("/") for place in PLACES[1:] if args.root != Path("/")), None
    )
    file = file or next((place for place in PLACES if place.is_file()), None)
    settings: config.Agent | None = None
    faults: tuple[str, ...] | None = None
    if file is not None and (file.is_file() or args.config is not None):
        faults = ()
        try:
            settings = config.load(file)
        except config.ConfigError as error:
            faults = tuple(error.faults)
    data_dir = settings.data_dir if settings is not None else args.root / "var/lib/edge-agent"
    software = gather_software(args.root, file, settings, faults)
    facts = Facts(board=gather_board(args.root, data_dir), software=software)
    from edge_agent.cli import probe_link, probes

    quick = args.quick or args.root != Path("/")
    if not args.json and not quick and sys.stderr.isatty():
        print("looking …", file=sys.stderr)
    told = probes.status(settings) if settings is not None and args.root == Path("/") else None
    if args.root == Path("/"):
        ask_agent(facts.software, told)
    with left_to_owner_of(data_dir):  # a round trip to the centre is by the device's own outbox
        if settings is not None:
            facts.senses = probes.senses(settings, told, quick)
        facts.link = probe_link.link(settings, told, data_dir, quick)
    return facts, settings


def _carry_out(args: argparse.Namespace, one: Mend) -> str:
    """Ask, then do it; what cannot be done says why and the rest goes on."""
    if args.dry_run:
        print(f"would: {one.what}", file=sys.stderr)
        return "would"
    if not args.yes:
        if not sys.stdin.isatty():
            print(f"not done, nobody is there to ask (--yes): {one.what}", file=sys.stderr)
            return "not asked"
        if input(f"{one.what}? [y/N] ").strip().lower() not in ("y", "yes"):
            return "declined"
    try:
        one.do()
    except OSError as error:
        why = "run it as root" if isinstance(error, PermissionError) and os.geteuid() else error.strerror
        print(f"not done: {one.what}: {why}", file=sys.stderr)
        return "failed"
    print(f"done: {one.what}", file=sys.stderr)
    return "done"


def _print(findings: list[Finding], *, show_all: bool) -> None:
    area = ""
    for one in findings:
        if one.state == "unknown" and not show_all:
            continue
        if (now := one.id.partition(".")[0]) != area:
            area = now
            print(area)
        print(f"  {SIGNS[one.state]} {one.id.partition('.')[2]:18} {one.what}")
        if one.state in ("warning", "failure"):
            print(f"       why: {one.why}\n       fix: {one.fix}")
    counts = {state: sum(one.state == state for one in findings) for state in SIGNS}
    print(
        f"{len(findings)} checks: {counts['ok']} good, {counts['warning']} warnings, {counts['failure']} failures,"
        f" {counts['unknown']} cannot be told here"
    )
