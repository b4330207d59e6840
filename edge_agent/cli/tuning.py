"""The work of `edge-agent params`: files against a vehicle, told in lines or as one JSON object."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent import config, files
from edge_agent.cli.check import print_json
from edge_agent.flight import param_file
from edge_agent.flight.param_file import Plan, Wish, shown
from edge_agent.flight.workbench import Workbench, workbench
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError, SystemClock

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
            file = _backup(args, settings, await bench.read_all(_progress))
            _say(args, {"state": "done", "backup": str(file)}, [f"backed up to {file}"])
            return 0
        refused = _refused(bench, wishes) if args.verb == "apply" else None
        if refused is not None:
            _say(args, {"state": "refused", "refusal": refused}, [f"refused: {refused}"])
            return EX_REFUSED
        aboard = await bench.read_all(_progress)
        plan = _compare(wishes, aboard)
        if args.verb != "apply" or args.dry_run:
            _say(args, _told(plan), _lines(plan))
            return EX_DIFFERS if args.verb == "diff" and plan.changes else 0
        return await _apply(args, settings, bench, wishes, aboard)


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


async def _apply(
    args: argparse.Namespace, settings: config.Agent, bench: Workbench, wishes: list[Wish], aboard: dict[str, float]
) -> int:
    plan = _compare(wishes, aboard)
    if not plan.changes:
        _say(args, {"state": "done", "set": [], "backup": None, **_told(plan)}, _lines(plan))
        return 0
    backup = _backup(args, settings, aboard)
    done: list[str] = []
    failed: dict[str, str] = {}
    for _ in range(PASSES):
        for change in plan.changes:
            if change.aboard is None or change.name in failed:
                continue
            answer = await bench.set(change.name, change.value)
            if isinstance(answer, Refusal):
                failed[change.name] = str(answer)
                break
            if answer is not None:
                failed[change.name] = f"{change.wish}: {answer}"
            else:
                done.append(change.name)
        plan = _compare(wishes, await bench.read_all(_progress))
        if failed or not plan.changes:
            break
    state = "failed" if failed or plan.changes else "done"
    found = {"state": state, "backup": str(backup), "set": done, "failed": failed, **_told(plan)}
    lines = [*(f"not set: {why}" for why in failed.values()), *(_lines(plan) if plan.changes else [])]
    lines += [f"{len(done)} set and read back; what was there before: {backup}"]
    if state == "done":
        lines += ["restart the autopilot (some settings act only from its next start), then: edge-agent params diff"]
    _say(args, found, lines)
    return 0 if state == "done" else EX_REFUSED


def _backup(args: argparse.Namespace, settings: config.Agent, aboard: dict[str, float]) -> Path:
    """Written before anything is set, and never over another file."""
    now = datetime.now(UTC)
    file: Path = args.backup or settings.data_dir / "params" / f"{now:%Y%m%dT%H%M%S}Z.param"
    url = getattr(settings.vehicle, "url", "")
    text = param_file.written(aboard, [f"{len(aboard)} parameters of {url}, {now:%Y-%m-%d %H:%M:%S} UTC"])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(file):
            raise DriverError(f"{file}: is there already; a backup overwrites nothing: name another by --out")
        files.write_durably(file, text.encode())
    except OSError as error:
        raise DriverError(f"{file}: {error.strerror}; nothing was set: name another place by --out") from None
    return file


# --- told -------------------------------------------------------------------------------------------------------------


def _told(plan: Plan) -> dict[str, Any]:
    changes = [
        {"name": c.name, "aboard": c.aboard, "value": c.value, "file": c.wish.file, "line": c.wish.line}
        for c in plan.changes
    ]
    return {"changes": changes, "same": plan.same, "left_out": list(plan.left_out)}


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
