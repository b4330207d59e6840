"""`edge-agent centre`: a small centre that stores what devices report and sends them commands."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from edge_agent import logs, topics
from edge_agent.cli import audit, authority, cases, desired, intake, key, opening, sending
from edge_agent.config import Mqtt
from edge_agent.runtime import DriverError, Health, SystemClock, supervise

TELLING = (
    *("kind", "rule", "zone", "camera", "label", "route", "phase", "cause", "speaker", "outcome", "text"),
    *("command", "name", "by", "part", "reason"),
)
EX_UNAVAILABLE = 69


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands and their arguments."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="COMMAND", title="commands")
    run = commands.add_parser("run", help="store what devices report, commit, then acknowledge")
    _add_broker(run)
    run.add_argument("--db", type=Path, required=True, metavar="FILE", help="the SQLite file to store in")
    run.add_argument("--group", type=_group, metavar="NAME", help="share the work with others of this group (MQTT 5)")
    run.add_argument(
        "--name", type=_centre, default="centre", help="the centre's; a group shares it (default: %(default)s)"
    )
    run.add_argument("--max-in-flight", type=_count, metavar="N", help="events that each device may have on the way")
    run.add_argument("--pictures", type=Path, metavar="DIR", help="write thumbs there as JPEG files too")
    intake.configure(run)
    send = commands.add_parser("send", help="send a command to a device and print its answer")
    _add_broker(send)
    send.add_argument("name", metavar="NAME", help="one of those below")
    to = send.add_mutually_exclusive_group(required=True)
    to.add_argument("--device", metavar="D")
    to.add_argument("--group", metavar="G", help="all devices with G in mqtt.groups; waits --expires-s")
    send.add_argument("--arg", action="append", default=[], type=_argument, metavar="KEY=VALUE", help="JSON or text")
    send.add_argument("--by", default=os.environ.get("USER", "centre"), help="who asks (default: %(default)s)")
    send.add_argument("--id", help="the command's id; a repeat brings the recorded answer (default: a new ULID)")
    send.add_argument("--expires-s", type=float, default=30.0, metavar="S", help="not to be obeyed later than this")
    sending.configure(send)
    send.add_argument("--json", action="store_true", help="print the answer as JSON")
    events = commands.add_parser("list", help="list the newest events that are stored")
    events.add_argument("--db", type=Path, required=True, metavar="FILE", help="the file of `run`")
    events.add_argument("--kind", help="only this kind: det, mission, voice, audit, fault or gap")
    events.add_argument("--device", metavar="D", help="only of this device")
    events.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many (default: %(default)s)")
    events.add_argument("--json", action="store_true", help="print one JSON object a line")
    cases.configure(commands, _add_broker)
    desired.configure(commands, _add_broker)
    key.configure(commands)
    audit.configure(commands)
    authority.configure(commands)
    opening.configure(commands)


def main(args: argparse.Namespace) -> int:
    """Exit 0 where done or accepted, 1 where refused, 69 where the broker or file fails, 75 where nobody answers."""
    try:
        match args.action:
            case "run":
                logs.setup()
                return asyncio.run(_run(args))
            case "send":
                return asyncio.run(_send(args))
            case "desired":
                return asyncio.run(desired.main(args, _broker(args)))
            case "key":
                return key.main(args)
            case "open" | "seal-key":
                return opening.main(args)
            case "ca":
                return authority.main(args)
            case name if name in cases.NAMES:
                return cases.main(args, _broker)
            case name if name in audit.NAMES:
                return audit.main(args)
            case _:
                return _list(args)
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


async def _run(args: argparse.Namespace) -> int:
    from edge_agent.centre.consumer import Consumer
    from edge_agent.centre.store import Store

    clock = SystemClock()
    store = Store(args.db, args.pictures)
    consumer = Consumer(
        _broker(args),
        store,
        clock=clock,
        on_ready=lambda: print("ready", flush=True),
        group=args.group,
        name=args.name,
        max_in_flight=args.max_in_flight,
    )
    parts = [("centre", consumer.run), *intake.parts(args, _broker(args), clock)]
    ours = asyncio.current_task()
    assert ours is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ours.cancel)
    try:
        async with asyncio.TaskGroup() as group:
            for name, part in parts:
                group.create_task(supervise(name, part, health=Health(clock), clock=clock))
    except asyncio.CancelledError:
        return 0
    finally:
        store.close()
    return 0


async def _send(args: argparse.Namespace) -> int:
    return await sending.send(args, _broker(args))


def _list(args: argparse.Namespace) -> int:
    from edge_agent.centre.store import events

    for event in events(args.db, args.kind, args.device, args.limit):
        if args.json:
            print(json.dumps(event, ensure_ascii=False))
        else:
            print(f"{event['time']}  {event['device']}  {event['type']:10}  {event['id']}  {_summary(event['data'])}")
    return 0


def _summary(data: dict[str, Any]) -> str:
    """The few facts of an event that a person looks for first."""
    return " ".join(f"{name}={data[name]}" for name in TELLING if data.get(name) not in (None, ""))


def _add_broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the broker (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1883, help="its port (default: %(default)s)")
    parser.add_argument("--username")
    parser.add_argument("--password-file", metavar="FILE", help="a file that holds the password")
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="speak TLS and trust this CA; without it: plain")
    parser.add_argument("--cert-file", type=Path, metavar="FILE", help="our certificate, with --key-file")
    parser.add_argument("--key-file", type=Path, metavar="FILE")


def _broker(args: argparse.Namespace) -> Mqtt:
    return Mqtt(
        host=args.host,
        port=args.port,
        plain=args.ca_file is None,
        username=args.username,
        password=args.password_file,
        ca_file=args.ca_file,
        cert_file=args.cert_file,
        key_file=args.key_file,
    )


def _group(text: str) -> str:
    """The name of a shared subscription: MQTT 5 section 4.8.2 forbids `/`, `+` and `#` in it."""
    if not text or set(text) & set("/+#"):
        raise argparse.ArgumentTypeError(f"a name without / + # is wanted, got {text!r}")
    return text


def _centre(text: str) -> str:
    """A name that can be one level of a topic."""
    if topics.split(topics.host(text)) is None:
        raise argparse.ArgumentTypeError(f"letters, digits, _ . - are wanted, at most 64, got {text!r}")
    return text


def _count(text: str) -> int:
    """The contract's bounds for what a centre may ask for."""
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"a number from 1 to 10000 is wanted, got {text!r}")
    return int(text)


def _argument(text: str) -> tuple[str, Any]:
    """`k=v`, where v is JSON if it reads as JSON, else text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"KEY=VALUE is wanted, got {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
