"""The work of `edge-agent params`: files against a vehicle, told in lines or as one JSON object."""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_agent import config, control, files
from edge_agent.cli.check import print_json
from edge_agent.cli.fly import EX_TEMPFAIL
from edge_agent.flight import param_file, param_report, param_shelf
from edge_agent.flight.param_file import Change, Plan, Wish, shown
from edge_agent.flight.param_ranges import Ranges
from edge_agent.flight.param_report import Report, Source
from edge_agent.flight.param_shelf import UnderWay
from edge_agent.flight.workbench import Workbench, workbench
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.topics import rfc3339

EX_DIFFERS = EX_REFUSED = 1
LARGEST_FILE = 1 << 20
MOST_FAULTS = 20
PASSES = 3  # a group that a switch reveals is known only after it was set


def read(args: argparse.Namespace) -> list[Wish]:
    """What the files of the command line want, a later one overriding an earlier one; raises ConfigError."""
    return param_file.layered(map(_read, args.files)) if args.verb != "backup" else []


def _read(file: Path) -> list[Wish]:
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise config.ConfigError(file, [f"{error.strerror}"]) from None
    except UnicodeDecodeError:
        raise config.ConfigError(file, ["is no text: is it a parameter file?"]) from None
    if len(data) > LARGEST_FILE:
        raise config.ConfigError(file, [f"is larger than {LARGEST_FILE >> 20} MiB: is it a parameter file?"])
    wishes, faults = param_file.parse(text, str(file))
    _raise(file, faults)
    return wishes


def _raise(file: Path, faults: list[str]) -> None:
    if faults:
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise config.ConfigError(file, faults[:MOST_FAULTS] + more)


async def run(args: argparse.Namespace, settings: config.Agent, wishes: list[Wish]) -> int:
    """One verb, to its end; the exit code."""
    async with workbench(settings, SystemClock()) as bench:
        await bench.hear()
        if args.verb == "backup":
            file = _backup(args, settings, await bench.read_all(_progress), datetime.now(UTC))
            _say(args, {"state": "done", "backup": str(file)}, [f"backed up to {file}"])
            return 0
        refused = _refused(bench, wishes) if args.verb == "apply" else None
        if refused is not None:
            _say(args, {"state": "refused", "refusal": refused}, [f"refused: {refused}"])
            return EX_REFUSED
        if args.verb == "apply" and not args.dry_run:
            return await _apply(args, settings, bench, wishes)
        plan = _compare(wishes, await bench.read_all(_progress))
        if args.verb != "diff":
            _refuse_values(plan, await _ranges(bench), args.accept)
        earlier = param_shelf.unfinished(settings.data_dir)
        said = _unfinished(earlier, await bench.serial()) if earlier is not None else []
        _say(args, _told(plan, earlier), [*_lines(plan), *said])
        return EX_DIFFERS if args.verb == "diff" and plan.changes else 0


def _refused(bench: Workbench, wishes: list[Wish]) -> Refusal | None:
    if not bench.link.copter:
        return Refusal(gate="params.vehicle", reason="this autopilot is not ArduCopter's: the files are not for it")
    return bench.refusal(wishes[0].name, wishes[0].value)


def _compare(wishes: list[Wish], aboard: dict[str, float]) -> Plan:
    plan, unknown = param_file.compare(wishes, aboard)
    if unknown:
        file = unknown[0].file
        _raise(Path(file), [
            f"line {wish.line}: {wish.name}: this vehicle has no such parameter (value {shown(wish.value)}); "
            "is the file for this vehicle and its firmware?"
            for wish in unknown if wish.file == file
        ])  # fmt: skip
    return plan


async def _apply(args: argparse.Namespace, settings: config.Agent, bench: Workbench, wishes: list[Wish]) -> int:
    """What acts from a start on goes first, then the autopilot is started anew, then the rest; then all is re-read."""
    earlier, serial = param_shelf.unfinished(settings.data_dir), await bench.serial()
    waits = earlier.restart if earlier is not None and earlier.of(serial) else ()
    restart = await _restart(args, bench, waits) if waits else ""
    aboard = await bench.read_all(_progress)
    plan, ranges = _compare(wishes, aboard), await _ranges(bench)
    _refuse_values(plan, ranges, args.accept)
    now = datetime.now(UTC)
    backup = _backup(args, settings, aboard, now) if plan.changes else None
    done: dict[str, tuple[float, float]] = {}
    failed: dict[str, str] = {}
    for _ in range(PASSES):
        first = [change for change in plan.changes if ranges.reboots(change.name)]
        rest = [change for change in plan.changes if change not in first]
        waits = tuple(dict.fromkeys((*(waits if restart else ()), *(change.name for change in first))))
        if plan.changes:
            param_shelf.begin(settings.data_dir, UnderWay(rfc3339(now.timestamp()), str(backup), waits, serial))
        await _set(bench, first, done, failed)
        if first and not failed:
            restart = await _restart(args, bench, waits)
        await _set(bench, rest, done, failed)
        if not plan.changes:
            break
        aboard = await bench.read_all(_progress)
        plan = _compare(wishes, aboard)
        if failed or not plan.changes:
            break
    state: Literal["done", "failed"] = "failed" if failed or plan.changes else "done"
    version = await bench.firmware()
    report = Report(
        time=rfc3339(now.timestamp()), device=settings.site.device, vehicle=getattr(settings.vehicle, "url", ""),
        system_id=bench.link.system_id, firmware=".".join(map(str, version or ())) or "unknown",
        files=tuple(Source(file=str(f), sha256=hashlib.sha256(f.read_bytes()).hexdigest()) for f in args.files),
        state=state, set=done, failed=failed, backup=str(backup) if backup else None,
        wanted=_applied(settings) | param_report.wanted(wishes, plan, lambda wish: param_file.as_aboard(wish, aboard)),
    )  # fmt: skip
    kept = param_shelf.keep(settings.data_dir, report, _stem(now))
    found = {"state": state, "backup": report.backup, "report": str(kept), "set": list(done), "failed": failed}
    lines = [*(f"not set: {why}" for why in failed.values()), *(_lines(plan) if plan.changes or not done else [])]
    if done:
        lines.append(f"{len(done)} set and read back; what was there before: {backup}")
    lines += [*_unfinished(earlier, serial), f"signed report: {kept}", *([restart] if restart else [])]
    _say(args, found | {"restart": restart or None, **_told(plan, earlier)}, lines)
    return 0 if state == "done" else EX_REFUSED


def _applied(settings: config.Agent) -> dict[str, float]:
    """What earlier reports stand for: a small layer that is applied later takes none of it back."""
    try:
        return param_shelf.applied(settings.data_dir).wanted
    except DriverError:
        return {}


async def _set(
    bench: Workbench, changes: list[Change], done: dict[str, tuple[float, float]], failed: dict[str, str]
) -> None:
    for change in changes:
        if change.aboard is None or change.name in failed:
            continue
        answer = await bench.set(change.name, change.value)
        if isinstance(answer, Refusal):
            failed[change.name] = str(answer)
            return
        if answer is not None:
            failed[change.name] = f"{change.wish}: {answer}"
        else:
            done[change.name] = (change.aboard, change.value)


async def _restart(args: argparse.Namespace, bench: Workbench, names: Sequence[str]) -> str:
    """Start the autopilot anew, for which some of what was set waits; what is left to a person, if anything."""
    by_hand = f"restart the autopilot ({', '.join(names)} act only from its next start), then: edge-agent params diff"
    if args.no_reboot:
        return by_hand
    if cuts := [name for name in names if param_file.cuts_link(name)]:
        return f"{by_hand}; not done here, as {', '.join(cuts)} may cut this link: look at baud and system id"
    answer = await bench.reboot()
    return "" if answer is None else f"{by_hand}; by command it does not: {answer}"


async def _ranges(bench: Workbench) -> Ranges:
    version = await bench.firmware()
    text = (Path(param_file.__file__).parent / "copter.ranges").read_text(encoding="utf-8")
    return Ranges(text, version[1] if version is not None and version[0] == 4 else None)


def _refuse_values(plan: Plan, ranges: Ranges, accept: Sequence[str]) -> None:
    """Raises ConfigError for values that this firmware's documentation does not admit, unless they are accepted."""
    said = [
        (change.wish, fault)
        for change in plan.changes
        if change.name not in accept and (fault := ranges.fault(change.name, change.value))
    ]
    if said:
        file = said[0][0].file
        _raise(Path(file), [
            f"line {wish.line}: {wish.name}: {fault}; --accept {wish.name} if it is meant so"
            for wish, fault in said if wish.file == file
        ])  # fmt: skip


async def ask_drift(settings: config.Agent) -> dict[str, Any]:
    """What differs from what was applied, by the agent that holds the link, else from the autopilot itself."""
    applied = param_shelf.applied(settings.data_dir)
    try:
        return control.ask(settings.data_dir, control.Drift(), timeout_s=120.0)
    except DriverError:
        async with workbench(settings, SystemClock()) as bench:
            await bench.hear()
            found = param_report.drifted(applied.wanted, await bench.read_all(_progress))
        return {"checked": len(applied.wanted), "applied": applied.time, "drift": [one._asdict() for one in found]}


async def drift(args: argparse.Namespace, settings: config.Agent) -> int:
    """Tell it; exit 1 where something differs."""
    answer = await ask_drift(settings)
    if "state" in answer:  # the agent's refusal
        _say(args, answer, [f"not checked: {answer.get('reason')}"])
        return EX_TEMPFAIL
    drifts = [param_report.Drift(**one) for one in answer["drift"]]
    told = f"{len(drifts)} of {answer['checked']} settings are not as applied on {answer['applied']}"
    _say(args, answer, [*map(str, drifts), told])
    return EX_DIFFERS if drifts else 0


def verify(args: argparse.Namespace) -> int:
    """One signed report: whole, and by whom."""
    report = param_shelf.read(args.report, args.key)
    lines = [
        f"{args.report}: signed and unchanged: {report.state}, {report.time}, device {report.device}",
        f"{len(report.set)} set, {len(report.failed)} failed, {len(report.wanted)} as wanted; {report.vehicle}, "
        f"system {report.system_id}, firmware {report.firmware}",
    ]
    _say(args, msgspec.to_builtins(report), lines)
    return 0


def _backup(args: argparse.Namespace, settings: config.Agent, aboard: dict[str, float], now: datetime) -> Path:
    """Written before anything is set, and never over another file."""
    file: Path = args.backup or settings.data_dir / "params" / f"{_stem(now)}.param"
    url = getattr(settings.vehicle, "url", "")
    text = param_file.written(aboard, [f"{len(aboard)} parameters of {url}, {now:%Y-%m-%d %H:%M:%S} UTC"])
    try:
        with files.left_to_owner_of(settings.data_dir):
            file.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(file):
                raise DriverError(f"{file}: is there already; a backup overwrites nothing: name another by --out")
            files.write_durably(file, text.encode())
    except OSError as error:
        raise DriverError(f"{file}: {error.strerror}; nothing was set: name another place by --out") from None
    return file


def _stem(now: datetime) -> str:
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z"


# --- told -------------------------------------------------------------------------------------------------------------


def _told(plan: Plan, earlier: UnderWay | None) -> dict[str, Any]:
    changes = [
        {"name": c.name, "aboard": c.aboard, "value": c.value, "file": c.wish.file, "line": c.wish.line}
        for c in plan.changes
    ]
    unfinished = msgspec.to_builtins(earlier)
    return {"changes": changes, "same": plan.same, "left_out": list(plan.left_out), "unfinished": unfinished}


def _unfinished(earlier: UnderWay | None, autopilot: str) -> list[str]:
    """An apply that was cut off before this command: `apply` ends it either way, where it was on this autopilot."""
    if earlier is None:
        return []
    if not earlier.of(autopilot):
        return [f"the apply of {earlier.time} on another autopilot ({earlier.autopilot}) did not come to its end"]
    waits = f"; not started anew since for {', '.join(earlier.restart)}" if earlier.restart else ""
    return [f"the apply of {earlier.time} did not come to its end{waits}; aboard before it: {earlier.backup}"]


def _lines(plan: Plan) -> list[str]:
    lines = [
        f"{c.name:16} {'hidden' if c.aboard is None else shown(c.aboard):>12} -> {shown(c.value):<12} "
        f"{c.wish.file}:{c.wish.line}"
        for c in plan.changes
    ]
    lines.append(f"{len(plan.changes)} to change, {plan.same} as wanted")
    if plan.left_out:
        lines.append(f"left out, the autopilot keeps these itself: {', '.join(plan.left_out)}")
    return lines


def _say(args: argparse.Namespace, found: dict[str, Any], lines: list[str]) -> None:
    if args.json:
        print_json(found)
    else:
        print("\n".join(lines))


def _progress(have: int, of: int) -> None:
    """On a terminal only."""
    if sys.stderr.isatty():
        print(f"\rreading {have}/{of or '?'} parameters\033[K", end="\n" if of and have == of else "", file=sys.stderr)
