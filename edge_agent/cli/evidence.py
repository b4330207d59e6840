"""`edge-agent evidence list|show|verify|hold|release|delete|purge`: the originals on this device, and sets of them."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import config, control, messages
from edge_agent.cli import where
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.uplink.evidence_store import Item

VERBS = {
    "hold": "keep originals whatever age, quota and retention say",
    "release": "let held originals go by the rules again",
    "delete": "delete originals now; refused while they are held or the centre has not confirmed them",
    "purge": "delete all that the centre has confirmed and that nobody holds, older than so many days",
}
DAY_S = 86_400.0
AT_ONCE = 500  # ids that one request may name


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="pictures and clips: what, when, whether the centre has it, held or not")
    listing.add_argument("--held", action="store_true", help="only those that are held")
    listing.add_argument("--waiting", action="store_true", help="only those that the centre has not confirmed")
    show = verbs.add_parser("show", help="one incident: its files, and what its signed manifest says")
    show.add_argument("id", help="the id of an incident, or a file as `list` shows it")
    verify = verbs.add_parser("verify", help="check signatures, hashes and chain of signed sets of evidence")
    verify.add_argument("what", nargs="*", help="incidents, manifests, directories (default: all on this device)")
    where.add_key(verify)
    verify.add_argument(
        "--files",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="where files are too, opened originals as well",
    )
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text)
        count = "*" if name == "purge" else "+"
        verb.add_argument("id", nargs=count, help="a file as `list` shows it, or an incident: all of its files")
        verb.add_argument("--reason", default="", metavar="TEXT", help="why; it stands in the audit record")
        verb.add_argument("--dry-run", action="store_true", help="only say which those would be")
    verbs.choices["delete"].add_argument(
        "--unconfirmed", action="store_true", help="also what the centre has not; a gap record tells of it"
    )
    verbs.choices["purge"].add_argument(
        "--older-than", type=float, default=0.0, metavar="DAYS", help="by their time (default: 0, all)"
    )
    where.add_options(verbs.choices.values())


def main(args: argparse.Namespace) -> int:
    """Exit 0 where done or whole; 1 where refused or not; 69 where nothing can be read; 78 on a bad config."""
    match args.verb:
        case "list":
            return where.call(lambda data_dir: _list(data_dir, args), args)
        case "show":
            return where.call(lambda data_dir: _show(data_dir, args), args)
        case "verify":
            return _verify(args)
        case _:
            return where.call(lambda data_dir: _ask(data_dir, args), args)


def _list(data_dir: Path, args: argparse.Namespace) -> int:
    """Beside a running agent or without one."""
    for item in _items(data_dir):
        if (args.held and not item.hold) or (args.waiting and item.state == "received"):
            continue
        print_json(_facts(item)) if args.json else print(_line(item))
    return 0


def _show(data_dir: Path, args: argparse.Namespace) -> int:
    from edge_agent import manifest

    items = [item for item in _items(data_dir) if args.id in (item.id, item.incident)]
    incident = items[0].incident if items else args.id
    file = data_dir / "sets" / f"{Path(incident).name}{manifest.SUFFIX}"
    found = manifest.read(file) if file.is_file() else None
    if not items and found is None:
        raise DriverError(f"no original and no incident is called {args.id!r}; see: edge-agent evidence list")
    if args.json:
        print_json({"incident": incident, "files": [_facts(item) for item in items], "manifest": found})
        return 0
    for item in items:
        print(_line(item))
    if found is None:
        print("no signed set of evidence belongs to it")
        return 0
    plate = found.get("plate") or {}
    place = found.get("place") or {}
    print(f"set {found['seq']}, {found.get('outcome')}: {found.get('label')} in {found.get('zone')}")
    print(f"  entered {found.get('entered')}, fired {found.get('fired')}, ended {found.get('ended')}")
    print(
        f"  plate {plate.get('text', '-')}" + (f", {plate['votes']} votes, {plate['confidence']:.2f}" if plate else "")
    )
    if place:
        print(f"  place {place['lat']:.7f}, {place['lon']:.7f} ± {place['major_m']:.1f} m ({place['method']})")
    for warning in found.get("warnings", ()):
        print(f"  warned {warning['time']} on {warning['speaker']}: {warning['text']} ({warning['proof']})")
    for one in found.get("missing", ()):
        print(f"  missing {one['role']}: {one['why']}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    """Files and directories need no device; names of incidents, and nothing at all, mean this device's."""
    given = [Path(what) for what in args.what]
    if given and all(path.exists() for path in given):
        clips = [path.parent / "clips" if path.name == "sets" else path / "clips" for path in given]
        return where.told(lambda: _check(args, given, args.public_key, [*args.files, *clips]))

    def act(data_dir: Path) -> int:
        from edge_agent import keys, manifest

        folder = data_dir / "sets"
        files = [folder / f"{path.name}{manifest.SUFFIX}" for path in given]
        if unknown := [str(path) for path, file in zip(given, files, strict=True) if not file.exists()]:
            raise DriverError(
                f"{unknown[0]}: is neither a file nor an incident of which {folder} has a set of evidence"
            )
        if not data_dir.is_dir():
            raise DriverError(f"{data_dir}: there is no such directory; has the agent ever run?")
        key, public = data_dir / "device.key", args.public_key
        if public is None and (folder.is_dir() or key.exists()):
            public = keys.public_text(keys.load(key))
        if not given and not folder.is_dir():  # no set yet, or all were taken away: the audit log knows
            return _check(args, [], public, [], data_dir)
        files = files or [folder]
        return _check(args, files, public, [data_dir / "clips", *args.files], None if given else data_dir)

    return where.call(act, args)


def _check(
    args: argparse.Namespace, given: list[Path], public: str | None, folders: list[Path], home: Path | None = None
) -> int:
    """Exit 0 where all is whole; with `home`, a data directory, also nothing that its audit log names is missing."""
    import msgspec

    from edge_agent import manifest
    from edge_agent.audit import Audit

    files = [file for path in given for file in (_manifests(path) if path.is_dir() else [path])]
    if home is None and not files:
        raise DriverError(f"{given[0]}: holds no set of evidence (…{manifest.SUFFIX})")
    signed, deleted, gone = _logged(home, public) if home is not None else ({}, frozenset[str](), frozenset[int]())
    checked = [manifest.check(file, public, folders, deleted) for file in files]
    whole = [manifest.read(file) for file, one in zip(files, checked, strict=True) if not one.faults]
    chain = manifest.chain_faults(whole, gone) if any(path.is_dir() for path in given) else []
    damaged = {one.seq for one in checked if one.faults}
    chain += manifest.signed_faults(whole, {n: one for n, one in signed.items() if n not in damaged}, gone)
    chain += Audit(home).end_faults() if home is not None else []
    ok = not chain and not any(one.faults for one in checked)
    if args.json:
        print_json({"ok": ok, "sets": [msgspec.to_builtins(one) for one in checked], "chain": chain, "key": public})
        return 0 if ok else 1
    for one in checked:
        print(f"{one.file}: {'NOT WHOLE' if one.faults else 'whole'}, set {one.seq}, {one.files} files")
        for fault in one.faults:
            print(f"  {fault}")
    for fault in chain:
        print(fault)
    if public is None and checked:
        print("signed by the key that each manifest names; give --public-key to know that it is the device's")
    print(f"{'whole' if ok else 'NOT WHOLE'}: {len(checked)} sets of evidence")
    return 0 if ok else 1


def _manifests(folder: Path) -> list[Path]:
    """The manifests in a directory, be it of sets or the data directory of a device."""
    from edge_agent import manifest

    names = (f"*{manifest.SUFFIX}", "*.manifest", f"sets/*{manifest.SUFFIX}")
    return sorted(file for name in names for file in folder.glob(name))


def _logged(data_dir: Path, public: str | None) -> tuple[dict[int, tuple[str, str]], frozenset[str], frozenset[int]]:
    """What the audit log names: manifests that were signed, files that were deleted, and which manifests these were."""
    from edge_agent import manifest
    from edge_agent.audit import Audit

    log = Audit(data_dir)
    records = [record["facts"] for record in log.find("set.signed", public_key=public)]
    signed = {int(facts["number"]): (str(facts["incident"]), str(facts["hash"])) for facts in records}
    dropped = log.find("evidence.deleted", public_key=public)
    deleted = frozenset(str(record["facts"]["file"]) for record in dropped)
    gone = frozenset(n for n, (incident, _) in signed.items() if f"{incident}{manifest.SUFFIX}" in deleted)
    return signed, deleted, gone


def _ask(data_dir: Path, args: argparse.Namespace) -> int:
    """The running agent does it, or we in its place; either way it stands in the audit."""
    import msgspec

    ids = tuple(args.id)
    if args.verb == "purge":
        ids = _purged(data_dir, args)
        if not ids:
            waiting = sum(item.state != "received" and not item.hold for item in _items(data_dir))
            more = f"; {waiting} wait for the centre's receipt (delete --unconfirmed)" if waiting else ""
            told = {"state": "done", "reason": f"purge: 0 originals{more}"}
            print_json(told) if args.json else print(f"nothing to purge{more}")
            return 0
    question = messages.Originals(
        verb="delete" if args.verb == "purge" else args.verb,
        ids=ids,
        reason=args.reason or ("purge" if args.verb == "purge" else ""),
        unconfirmed=getattr(args, "unconfirmed", False),
        dry_run=args.dry_run,
    )
    answer: dict[str, Any] = {"state": "done"}
    for first in range(0, len(ids), AT_ONCE):
        some = msgspec.structs.replace(question, ids=ids[first : first + AT_ONCE])
        answer = _put(data_dir, some, None if args.data_dir else where.config_file(args))
        if answer["state"] != "done":
            break
    if answer["state"] == "done" and len(ids) > AT_ONCE:
        answer = {"state": "done", "reason": f"{question.verb}: {len(ids)} originals"}
    if args.json:
        print_json(answer)
    else:
        words = f"{answer['state']}: {answer.get('reason', '')}"
        print(f"{words} (dry run: nothing was changed)" if args.dry_run and answer["state"] == "done" else words)
    return 0 if answer["state"] == "done" else 1


def _purged(data_dir: Path, args: argparse.Namespace) -> tuple[str, ...]:
    """The files that may go: confirmed, not held, old enough, and among those that were named, if any were."""
    before_s = time.time() - args.older_than * DAY_S
    return tuple(
        item.id
        for item in _items(data_dir)
        if item.state == "received" and not item.hold and item.wall_s <= before_s
        if not args.id or item.id in args.id or item.incident in args.id
    )


def _put(data_dir: Path, question: messages.Originals, file: Path | None) -> dict[str, Any]:
    """To the agent that runs there; where none does, and the configuration is known, it is done here the same way."""
    from edge_agent.agent import AlreadyRunningError, take
    from edge_agent.files import left_to_owner_of

    try:
        return control.ask(data_dir, question, timeout_s=60.0)
    except DriverError:
        if file is None:
            raise
        _items(data_dir)
        try:
            held = take(data_dir)
        except AlreadyRunningError:
            pass
        else:
            try:
                with left_to_owner_of(data_dir):
                    return asyncio.run(_here(config.load(file), question))
            finally:
                os.close(held)
        raise


async def _here(settings: config.Agent, question: messages.Originals) -> dict[str, Any]:
    import msgspec

    from edge_agent.audit import Audit
    from edge_agent.runtime import Health, SystemClock
    from edge_agent.uplink.custody import Custody
    from edge_agent.uplink.evidence import Evidence
    from edge_agent.uplink.outbox import Outbox

    clock, box, data_dir = SystemClock(), settings.outbox, settings.data_dir
    device = settings.site.device
    outbox = Outbox(
        data_dir / "events.db", device=device, max_mib=box.max_mib, ballast_mib=box.ballast_mib, clock=clock
    )
    evidence = Evidence(
        data_dir,
        settings.evidence,
        report=outbox.event,
        audit=Audit(data_dir, clock.wall),
        clock=clock,
        health=Health(clock),
        sealed=config.sealed_leave(settings),
    )
    try:
        answer = await Custody(evidence, outbox.event).execute(question, f"local:{os.getuid()}")
    finally:
        await evidence.close()
        await outbox.close()
    found: dict[str, Any] = msgspec.to_builtins(answer)
    return found


def _items(data_dir: Path) -> list[Item]:
    from edge_agent.uplink.evidence_store import look

    return look(data_dir / "evidence.db")


def _facts(item: Item) -> dict[str, Any]:
    import msgspec

    from edge_agent.topics import rfc3339

    return {"time": rfc3339(item.wall_s), **msgspec.to_builtins(item)}


def _line(item: Item) -> str:
    facts = _facts(item)
    held, why = "  held" if item.hold else "", f"  {item.why}" if item.why else ""
    return f"{facts['time']}  {item.state:8}  {item.bytes:>11,} bytes  {item.kind:8} {item.id}{held}{why}"
