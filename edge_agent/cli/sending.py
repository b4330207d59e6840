"""`edge-agent centre send`: one command to a device, checked and signed before it leaves, and its answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from edge_agent import topics
from edge_agent.config import Mqtt
from edge_agent.messages import Request
from edge_agent.runtime import SystemClock

if TYPE_CHECKING:
    from edge_agent.centre.asker import Signer

EX_USAGE = 2
EX_TEMPFAIL = 75  # sysexits.h: nobody answered in time


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what concerns signing and following, and the list of commands with their arguments."""
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign with this operator's key (see `centre key new`)")
    parser.add_argument("--kid", metavar="ID", help="the operator's id in agent.toml (default: the name of the file)")
    parser.add_argument(
        "--follow-s", type=float, default=0.0, metavar="S", help="once accepted, wait so long for its end (default: 0)"
    )
    parser.epilog = "commands and their arguments:\n" + "\n".join(f"  {line}" for line in usage())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def usage() -> list[str]:
    """`dispatch lat=NUMBER lon=NUMBER alt_m=NUMBER [hover_s=NUMBER] [orbit_m=NUMBER] …`, one line a command."""
    return [_usage(kind) for kind in get_args(Request)]


async def send(args: argparse.Namespace, broker: Mqtt) -> int:
    """Exit 0 where done or accepted, 1 where refused or failed, 2 for wrong arguments, 75 where nobody answers."""
    from ulid import ULID

    from edge_agent import keys
    from edge_agent.centre.asker import Signer, ask

    if fault := _fault(args.name, dict(args.arg)):
        print(fault, file=sys.stderr)
        return EX_USAGE
    signer = Signer(kid=args.kid or args.key.stem, key=keys.load(args.key)) if args.key else None
    id = args.id or str(ULID())
    if args.group is not None:
        return await _send_to_group(args, broker, signer, id)

    def show(result: topics.Result) -> None:
        print(msgspec.json.encode(result).decode() if args.json else readable(result), flush=True)

    result = await ask(
        broker,
        args.device,
        args.name,
        dict(args.arg),
        by=args.by,
        id=id,
        expires_s=args.expires_s,
        clock=SystemClock(),
        signer=signer,
        follow_s=args.follow_s,
        on_answer=show,
    )
    if result is None:
        print(f"no answer from {args.device} in {args.expires_s:g} s (id {id})", file=sys.stderr)
        return EX_TEMPFAIL
    return 0 if result.state in ("accepted", "progress", "done") else 1


async def _send_to_group(args: argparse.Namespace, broker: Mqtt, signer: Signer | None, id: str) -> int:
    from edge_agent.centre.asker import ask_group

    not_after = topics.rfc3339(SystemClock().wall() + args.expires_s)
    command = topics.Command(id=id, name=args.name, args=dict(args.arg), by=args.by, not_after=not_after)

    def show(device: str, result: topics.Result) -> None:
        facts = {"device": device, **msgspec.to_builtins(result)}
        print(msgspec.json.encode(facts).decode() if args.json else f"{device}: {readable(result)}", flush=True)

    found = await ask_group(broker, args.group, command, expires_s=args.expires_s, signer=signer, on_answer=show)
    if not found:
        print(f"no device of group {args.group} answered in {args.expires_s:g} s (id {id})", file=sys.stderr)
        return EX_TEMPFAIL
    return 0 if all(result.state in ("accepted", "progress", "done") for result in found.values()) else 1


def readable(result: topics.Result) -> str:
    """One line for a person."""
    first = result.recorded
    parts = [result.state, result.phase, result.reason or (str(result.refusal) if result.refusal else None)]
    parts += [f"it was answered {first.state}", first.reason] if first else []
    run = first.run if first else result.run
    return ": ".join(part for part in parts if part) + (f" (run {run})" if run else "")


def _fault(name: str, args: dict[str, Any]) -> str | None:
    """What is wrong with a command, before it is sent."""
    kind = next((kind for kind in get_args(Request) if kind.__struct_config__.tag == name), None)
    if kind is None:
        return f"no command is called {name!r}; there is:\n" + "\n".join(f"  {line}" for line in usage())
    try:
        msgspec.convert({**args, "name": name}, Request)
    except msgspec.ValidationError as error:
        return f"{name}: {error}\nusage: {_usage(kind)}"
    return None


def _usage(kind: type[msgspec.Struct]) -> str:
    words = [str(kind.__struct_config__.tag)]
    for field in msgspec.structs.fields(kind):
        shown = f"{field.encode_name}={_word(field.type)}"
        words.append(shown if field.required else f"[{shown}]")
    return " ".join(words)


def _word(kind: Any) -> str:
    schema = msgspec.json.schema(kind)
    schema = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    if "enum" in schema:
        return "|".join(map(str, schema["enum"]))
    bounds = [schema.get(key) for key in ("minimum", "exclusiveMinimum")], [schema.get("maximum")]
    low, high = (next((bound for bound in side if bound is not None), None) for side in bounds)
    return str(schema.get("type", "json")).upper() + (
        f"({low:g}..{high:g})" if low is not None and high is not None else ""
    )
