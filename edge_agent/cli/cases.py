"""`edge-agent centre incidents|dispatch|acknowledge|handled`: the loop of an incident, at the centre."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent.config import Mqtt
from edge_agent.runtime import DriverError, SystemClock

if TYPE_CHECKING:
    from edge_agent.centre.cases import Step, Word

NAMES = ("incidents", "dispatch", "acknowledge", "handled")
NOTE = 500  # characters that the contract allows
OUTCOMES = ("resolved", "false_alarm", "passed_on", "no_action")
EX_TEMPFAIL = 75


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser], broker: Callable[..., None]) -> None:
    """Add the commands; `broker` adds the arguments that say where the broker is."""
    incidents = commands.add_parser("incidents", help="list incidents: what, where, when, who has it")
    _add_db(incidents)
    incidents.add_argument("--open", action="store_true", help="only those that nobody has handled")
    incidents.add_argument("--device", metavar="D", help="only of this device")
    incidents.add_argument("--limit", type=int, default=100, metavar="N", help="the newest N (default: %(default)s)")
    incidents.add_argument("--pictures", type=Path, metavar="DIR", help="write their thumbs there, and name the files")
    incidents.add_argument("--json", action="store_true", help="print one JSON object a line")
    dispatch = commands.add_parser("dispatch", help="write down who was sent to an incident")
    _add_step(dispatch)
    dispatch.add_argument("--to", required=True, metavar="NAME", help="who goes there")
    for name, text in (("acknowledge", "take an incident on"), ("handled", "close an incident")):
        step = commands.add_parser(name, help=f"{text}, and tell its device")
        _add_step(step)
        broker(step)
        step.add_argument("--expires-s", type=float, default=30.0, metavar="S", help="how long to wait for the device")
        step.add_argument("--key", type=Path, metavar="FILE", help="sign with this operator's key: --by is proven")
        step.add_argument("--kid", metavar="ID", help="the operator's id in agent.toml (default: the name of the file)")
        if name == "handled":
            step.add_argument("--outcome", choices=OUTCOMES, default="resolved", help="default: %(default)s")


def main(args: argparse.Namespace, broker: Callable[[argparse.Namespace], Mqtt]) -> int:
    """Exit 0 where done, 1 where the device refuses, 69 where the file or broker fails, 75 where nobody answers."""
    match args.action:
        case "incidents":
            return _list(args)
        case "dispatch":
            return _dispatch(args)
        case _:
            return asyncio.run(_tell(args, broker(args)))


def _list(args: argparse.Namespace) -> int:
    from edge_agent.centre.cases import Cases

    cases = Cases(args.db)
    try:
        for case in cases.all(only_open=args.open, device=args.device)[: args.limit]:
            file = None
            if args.pictures is not None and (jpeg := cases.thumb(case)) is not None:
                args.pictures.mkdir(parents=True, exist_ok=True)
                file = args.pictures / f"{case.device}-{case.id}.jpg"
                file.write_bytes(jpeg)
            if args.json:
                facts = msgspec.to_builtins(case)
                print(json.dumps({**facts, "thumb_file": str(file) if file else None}, ensure_ascii=False))
                continue
            what = " ".join(fact for fact in (case.label, case.plate) if fact)
            print(f"{case.time}  {case.state:12}  {case.device}  {case.id}  {case.kind} {case.zone!r}: {what}")
            for step in case.steps:
                print(f"    {step.time}  {_step(step)}")
            for report in case.reports:
                more = "".join(f", {fact}" for fact in (report.level, report.plate) if fact)
                print(f"    {report.time}  the device reports: {report.state} by {report.by}{more}")
            if file is not None:
                print(f"    {file}")
    finally:
        cases.close()
    return 0


def _dispatch(args: argparse.Namespace) -> int:
    from edge_agent.centre.cases import Cases, Step
    from edge_agent.topics import rfc3339

    cases, clock = Cases(args.db), SystemClock()
    try:
        case, now = cases.find(args.id), clock.wall()
        step = Step(word="dispatched", by=args.by, time=rfc3339(now), assignee=args.to, note=args.note)
        cases.begin(case, step, now)
    finally:
        cases.close()
    print(json.dumps(msgspec.to_builtins(step), ensure_ascii=False) if args.json else f"{case.id}: {_step(step)}")
    return 0


async def _tell(args: argparse.Namespace, broker: Mqtt) -> int:
    """Write the step down, tell the device, write down what it says; asked again, it is the same command again."""
    from ulid import ULID

    from edge_agent import keys
    from edge_agent.centre.asker import Signer, ask
    from edge_agent.centre.cases import Cases, Step
    from edge_agent.topics import rfc3339

    signer = Signer(kid=args.kid or args.key.stem, key=keys.load(args.key)) if args.key else None
    cases, clock = Cases(args.db), SystemClock()
    word: Word = "acknowledged" if args.action == "acknowledge" else "handled"
    outcome = getattr(args, "outcome", None)
    try:
        case, now = cases.find(args.id), clock.wall()
        unanswered = (step for step in case.steps if step.word == word and step.by == args.by and step.answer is None)
        step = next(unanswered, None)
        if step is None:
            step = Step(word=word, by=args.by, time=rfc3339(now), outcome=outcome, note=args.note, command=str(ULID()))
            cases.begin(case, step, now)
        assert step.command is not None
        facts = {"incident": case.id, "outcome": step.outcome, "note": step.note}
        wanted = {name: fact for name, fact in facts.items() if fact}
        kept = f"{case.id}: {word} by {args.by} is written down"
        try:
            result = await ask(
                broker,
                case.device,
                args.action,
                wanted,
                by=args.by,
                id=step.command,
                expires_s=args.expires_s,
                clock=clock,
                signer=signer,
            )
        except DriverError as error:
            raise DriverError(f"{error}\n{kept}; run this again to tell {case.device}") from error
        if result is None:
            print(f"{kept}, but {case.device} did not answer in {args.expires_s:g} s; run this again", file=sys.stderr)
            return EX_TEMPFAIL
        answer = result.recorded or result
        cases.answered(step.command, answer.state, answer.reason)
    finally:
        cases.close()
    step = msgspec.structs.replace(step, answer=answer.state, reason=answer.reason)
    print(json.dumps(msgspec.to_builtins(step), ensure_ascii=False) if args.json else f"{case.id}: {_step(step)}")
    return 0 if step.counts else 1


def _step(step: Step) -> str:
    facts = msgspec.to_builtins(step)
    told = f"{facts['word']} by {facts['by']}"
    told += f" to {facts['assignee']}" if "assignee" in facts else ""
    told += f", {facts['outcome']}" if "outcome" in facts else ""
    told += f": {facts['note']}" if "note" in facts else ""
    if "command" in facts:
        told += f" (device: {facts.get('answer', 'no answer yet')}"
        told += f", {facts['reason']})" if "reason" in facts else ")"
    return told


def _add_step(parser: argparse.ArgumentParser) -> None:
    _add_db(parser)
    parser.add_argument("id", metavar="ID", help="the incident, or a beginning of its id that is unique")
    parser.add_argument("--by", default=os.environ.get("USER", "centre"), help="who does it (default: %(default)s)")
    parser.add_argument("--note", default="", type=_note, help=f"what is worth knowing, up to {NOTE} characters")
    parser.add_argument("--json", action="store_true", help="print the step as JSON")


def _add_db(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--db", type=Path, required=True, metavar="FILE", help="the file of `run`")


def _note(text: str) -> str:
    if len(text) > NOTE:
        raise argparse.ArgumentTypeError(f"{len(text)} characters are more than the {NOTE} that a note may have")
    return text
