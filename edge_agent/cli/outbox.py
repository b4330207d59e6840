"""`edge-agent outbox stats|tail|export|retry|verify`: look into a device's outbox, beside its agent or without."""

from __future__ import annotations

import argparse
import asyncio
import base64
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from edge_agent import config
from edge_agent.cli.ask import EX_UNAVAILABLE, find_data_dir
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError, SystemClock

PAGE = 500  # rows at a time: a long look would keep the agent from cutting its log short


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the five verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    stats = verbs.add_parser("stats", help="how much waits, in which lane, and since when")
    tail = verbs.add_parser("tail", help="the newest events that wait, or that were set aside")
    tail.add_argument("-n", type=int, default=20, metavar="COUNT", help="how many (default: 20)")
    tail.add_argument("--quarantined", action="store_true", help="those set aside because the other side refused them")
    export = verbs.add_parser("export", help="write every event that is kept to a file, one JSON object a line")
    export.add_argument("file", metavar="FILE", help="a file that does not exist yet; - for standard output")
    export.add_argument("--quarantined", action="store_true", help="only those that were set aside")
    export.add_argument("--force", action="store_true", help="replace FILE")
    retry = verbs.add_parser("retry", help="send again what was set aside")
    retry.add_argument("id", nargs="*", help="ids of events, as `tail --quarantined` shows them (default: all)")
    retry.add_argument("--dry-run", action="store_true", help="only say which those would be")
    verify = verbs.add_parser("verify", help="check the file, the checksum of every event and their chain")
    for verb in (stats, tail, export, retry, verify):
        where = verb.add_mutually_exclusive_group()
        where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the agent's configuration")
        where.add_argument("--data-dir", type=Path, metavar="DIR", help="or its data directory")
        verb.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 where `verify` finds damage or `retry` nothing; 69 where it cannot be read; 78 on a bad config."""
    verbs: dict[str, Callable[[Path, argparse.Namespace], int]] = {
        "stats": _stats,
        "tail": _tail,
        "export": _export,
        "retry": _retry,
        "verify": _verify,
    }
    try:
        return verbs[args.verb](_file(args), args)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


def _file(args: argparse.Namespace) -> Path:
    file = find_data_dir(args) / "events.db"
    if not file.is_file():
        raise DriverError(f"{file}: there is no outbox; has the agent ever run with this data directory?")
    return file


def _stats(file: Path, args: argparse.Namespace) -> int:
    from edge_agent.uplink import look

    with look.Look(file) as outbox:
        found = outbox.stats(time.time())
    if args.json:
        print_json(found)
        return 0
    for name, value in found.items():
        print(f"{name + ':':12} {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}")
    return 0


def _tail(file: Path, args: argparse.Namespace) -> int:
    from edge_agent.uplink import look

    with look.Look(file) as outbox:
        for row in outbox.tail(args.n, quarantined=args.quarantined):
            if args.json:
                print_json(row)
            else:
                why = f"  {row['why']}" if row["why"] else ""
                print(f"{row['seq']:>8}  lane {row['lane']}  {row['time']}  {row['kind']:9} {row['id']}{why}")
    return 0


def _export(file: Path, args: argparse.Namespace) -> int:
    from edge_agent.uplink import look

    def rows() -> Iterator[dict[str, Any]]:
        with look.Look(file) as outbox:
            yield from outbox.all(PAGE, quarantined_only=args.quarantined)

    if args.file == "-":
        _write(rows(), sys.stdout)
        return 0
    try:
        with Path(args.file).open("w" if args.force else "x", encoding="utf-8") as out:
            count = _write(rows(), out)
    except FileExistsError:
        raise DriverError(f"{args.file}: exists; give another name, or --force to replace it") from None
    except OSError as error:
        raise DriverError(f"{args.file}: {error.strerror}") from None
    if args.json:
        print_json({"file": args.file, "events": count})
    else:
        print(f"{count} events written to {args.file}")
    return 0


def _write(rows: Iterator[dict[str, Any]], out: IO[str]) -> int:
    import msgspec

    count = 0
    for row in rows:
        out.write(msgspec.json.encode(row | _data(row.pop("body"))).decode() + "\n")
        count += 1
    return count


def _data(body: bytes) -> dict[str, Any]:
    """JSON as it is; anything else, a JPEG for one, in base64."""
    import msgspec

    try:
        return {"data": msgspec.json.decode(body)}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"base64": base64.b64encode(body).decode()}


def _retry(file: Path, args: argparse.Namespace) -> int:
    from edge_agent.uplink import look

    with look.Look(file) as outbox:
        there = [row["id"] for row in outbox.all(PAGE, quarantined_only=True)]
    unknown = sorted(set(args.id) - set(there))
    if unknown:
        raise DriverError(f"{', '.join(unknown)}: not set aside; see `edge-agent outbox tail --quarantined`")
    chosen = args.id or there
    count = len(chosen) if args.dry_run or not chosen else _do_retry(file, tuple(chosen))
    if args.json:
        print_json({"retried": 0 if args.dry_run else count, "ids": chosen, "dry_run": args.dry_run})
    elif not chosen:
        print("nothing was set aside")
    else:
        print("\n".join(chosen) if args.dry_run else f"{count} events wait to be sent again")
    return 0 if chosen else 1


def _do_retry(file: Path, ids: tuple[str, ...]) -> int:
    """Through the agent where one runs, for it alone writes; else with our own hands."""
    from edge_agent import control
    from edge_agent.uplink.outbox import Outbox

    try:
        outbox = Outbox(file, device="-", max_mib=65_536, clock=SystemClock())
    except DriverError:
        answer = control.ask(file.parent, control.RetryEvents(ids=ids))
        if "retried" not in answer:
            raise DriverError(f"the agent did not do it: {answer.get('reason', answer)}") from None
        return int(answer["retried"])

    async def retry() -> int:
        try:
            return await outbox.retry(ids)
        finally:
            await outbox.close()

    return asyncio.run(retry())


def _verify(file: Path, args: argparse.Namespace) -> int:
    from edge_agent.uplink import look

    with look.Look(file) as outbox:
        faults = outbox.verify()
        found = outbox.stats(time.time())
    if args.json:
        print_json({"file": str(file), "ok": not faults, "faults": faults, "chain": found["chain"]})
    elif faults:
        print("\n".join(f"{file}: {fault}" for fault in faults))
        print("The agent sets a damaged file aside when it starts next, and saves every intact event of it.")
    else:
        kept = found["depth"] + found["quarantined"]
        print(f"{file}: {kept} events, intact; the chain is whole up to place {found['next'] - 1}")
    return 1 if faults else 0
