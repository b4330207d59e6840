"""`edge-agent hotlist import|list|expire|check`: the plates to look out for, beside a running agent or without."""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent import config
from edge_agent.cli.ask import EX_UNAVAILABLE, find_data_dir
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.incidents.hotlist_store import HotLists

EX_DATA = 65  # sysexits.h: the file is wrong


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the four verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    take = verbs.add_parser(
        "import",
        help="replace or amend a list from a file",
        description="CSV with the columns plate,authority,reason,expires, or JSON with an array of such objects;"
        " `expires` is RFC 3339 with its offset. Every entry is checked first: with a fault nothing changes.",
    )
    take.add_argument("file", type=Path, metavar="FILE", help="CSV or JSON in UTF-8, or GB 18030")
    take.add_argument("--list", default="main", type=_name, metavar="NAME", help="which list (default: main)")
    take.add_argument("--amend", action="store_true", help="add entries or change them, instead of replacing the list")
    take.add_argument("--version", type=int, metavar="N", help="of the list; higher than now (default: one higher)")
    show = verbs.add_parser("list", help="the lists and their entries, without plates: those are kept as keyed hashes")
    show.add_argument("--list", metavar="NAME", help="only this one")
    end = verbs.add_parser("expire", help="delete what has expired, or end entries now")
    end.add_argument(
        "plate", nargs="*", type=_plate, metavar="PLATE", help="end these now (default: only what has expired)"
    )
    end.add_argument("--list", metavar="NAME", help="only in this list")
    check = verbs.add_parser("check", help="would this plate be a hit? exit 0 if so, else 1; it is audited")
    check.add_argument("plate", type=_plate, metavar="PLATE")
    check.add_argument(
        "--quality", choices=("exact", "probable", "possible"), default="probable", help="the weakest match that counts"
    )
    check.add_argument("--list", action="append", default=[], metavar="NAME", help="only this one; may stand again")
    for verb in (take, show, end, check):
        where = verb.add_mutually_exclusive_group()
        where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the agent's configuration")
        where.add_argument("--data-dir", type=Path, metavar="DIR", help="or its data directory")
        verb.add_argument("--json", action="store_true", help="print JSON")
    for verb in (take, end):
        verb.add_argument("--dry-run", action="store_true", help="only say what would change")


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 for no hit or a refused version; 65 for a file with faults; 69 where the disk fails; 78 bad config."""
    from edge_agent.audit import Audit
    from edge_agent.files import left_to_owner_of
    from edge_agent.incidents.hotlist_store import HotLists

    verbs = {"import": _import, "list": _list, "expire": _expire, "check": _check}
    try:
        data_dir = find_data_dir(args)
        with left_to_owner_of(data_dir):
            lists = HotLists(data_dir, audit=Audit(data_dir))
            lists.refresh()
            _known(lists, args)
            return verbs[args.verb](lists, args)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


def _name(text: str) -> str:
    try:
        return msgspec.convert(text, config.Id)
    except msgspec.ValidationError:
        raise argparse.ArgumentTypeError(f"up to 64 of A-Z, a-z, 0-9, _ and - are wanted, got {text!r}") from None


def _plate(text: str) -> str:
    from edge_agent.incidents.hotlist import plate_fault

    if why := plate_fault(text):
        raise argparse.ArgumentTypeError(why)
    return text


def _by() -> str:
    try:
        return f"local:{getpass.getuser()}"
    except (KeyError, OSError):  # a user that the system does not know
        return "local"


def _known(lists: HotLists, args: argparse.Namespace) -> None:
    """Raises DriverError where a list is named that is not there; only `import` makes one."""
    named = args.list if isinstance(args.list, list) else [args.list]
    unknown = [name for name in named if name is not None and name not in lists.lists]
    if unknown and args.verb != "import":
        there = ", ".join(sorted(lists.lists)) or "none"
        raise DriverError(f"no hot list is called {unknown[0]!r} (there is: {there})")


def _import(lists: HotLists, args: argparse.Namespace) -> int:
    from edge_agent.incidents import hotlist, hotlist_import

    try:
        with args.file.open("rb") as file:
            data = file.read(hotlist_import.MAX_BYTES + 1)  # a device would go on for ever
    except OSError as error:
        raise DriverError(f"{args.file}: cannot be read: {error.strerror}") from None
    entries, faults = hotlist_import.read(data)
    if faults:
        if args.json:
            print_json({"ok": False, "file": str(args.file), "faults": faults})
        for fault in faults:
            print(f"{args.file}: {fault}", file=sys.stderr)
        return EX_DATA
    found = lists.take(
        args.list, plates=entries, by=_by(), version=args.version, replace=not args.amend, dry_run=args.dry_run
    )
    if isinstance(found, str):
        print(f"hotlist: {args.list}: {found}", file=sys.stderr)
        return 1
    twice = len(entries) - len({hotlist.plain(entry.plate) for entry in entries})
    expired = sum(entry.expires_s <= time.time() for entry in found.to.entries.values())
    told: dict[str, Any] = {
        "list": args.list,
        "version": found.to.version,
        "entries": len(found.to.entries),
        "added": found.added,
        "changed": found.changed,
        "removed": found.removed,
        "expired": expired,
        "twice": twice,
        "dry_run": args.dry_run,
    }
    if args.json:
        print_json({"ok": True} | told)
    else:
        would = "would be " if args.dry_run else ""
        print(
            f"{args.list} {would}at version {found.to.version}: {len(found.to.entries)} entries"
            f" ({found.added} added, {found.changed} changed, {found.removed} removed)"
            + (f"; {twice} lines name a plate again: of each the last one counts" if twice else "")
            + (f"; {expired} of them have expired already and match nothing" if expired else "")
        )
    return 0


def _list(lists: HotLists, args: argparse.Namespace) -> int:
    for name, one in sorted(lists.lists.items()):
        if args.list not in (None, name):
            continue
        if not args.json:
            print(f"{name}: version {one.version} by {one.by}, {len(one.entries)} entries")
        for id, entry in sorted(one.entries.items(), key=lambda item: item[1].expires_s):
            facts = {"entry": id[:16], "authority": entry.authority, "reason": entry.reason, "expires": entry.expires}
            if args.json:
                print_json({"list": name, "version": one.version} | facts)
            else:
                print(f"  {id[:16]}  until {entry.expires}  {entry.reason}, {entry.authority}")
    return 0


def _expire(lists: HotLists, args: argparse.Namespace) -> int:
    count = lists.expire(_by(), args.plate, args.list, dry_run=args.dry_run)
    if args.json:
        print_json({"expired": count, "dry_run": args.dry_run})
    else:
        print(f"{count} entr{'y' if count == 1 else 'ies'} {'would go' if args.dry_run else 'deleted'}")
    return 0


def _check(lists: HotLists, args: argparse.Namespace) -> int:
    hit = lists.look(args.plate, quality=args.quality, only=tuple(args.list), by=_by())
    lists.flush()
    if args.json:
        print_json({"plate": args.plate, "hit": None if hit is None else msgspec.to_builtins(hit)})
    elif hit is None:
        print(f"{args.plate}: on no list")
    else:
        doubt = f", distance {hit.distance:g} ({hit.doubt})" if hit.doubt else ""
        print(f"{args.plate}: {hit.quality}{doubt}: {hit.reason}, {hit.authority}, until {hit.expires} [{hit.list}]")
    return 0 if hit else 1
