"""`edge-agent centre desired set|show`: how a device is to be set from afar, and what it says to that."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.config import Mqtt
from edge_agent.runtime import DriverError, SystemClock

if TYPE_CHECKING:
    from edge_agent.twin import Reported

EX_USAGE = 2
EX_TEMPFAIL = 75


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser], broker: Callable[..., None]) -> None:
    """Add the two verbs; `broker` adds the arguments that say where the broker is."""
    desired = commands.add_parser("desired", help="set a device from afar, and see what it says to that")
    verbs = desired.add_subparsers(dest="verb", required=True, metavar="VERB")
    wish = verbs.add_parser("set", help="publish a document, and wait for the device's word on it")
    wish.add_argument("device", metavar="DEVICE")
    wish.add_argument(
        "what",
        nargs="+",
        metavar="FILE|KEY=VALUE",
        help="a JSON or TOML file with all settings, or changes of what is set: rules.no-parking.after_s=20",
    )
    broker(wish)
    wish.add_argument("--by", default=os.environ.get("USER", "centre"), help="who asks (default: %(default)s)")
    wish.add_argument("--key", type=Path, metavar="FILE", help="sign with this operator's key (see `centre key new`)")
    wish.add_argument("--kid", metavar="ID", help="the operator's id in agent.toml (default: the name of the file)")
    wish.add_argument("--wait-s", type=float, default=30.0, metavar="S", help="for the device's word (default: 30)")
    wish.add_argument("--dry-run", action="store_true", help="ask the device whether it would take it; publish nothing")
    show = verbs.add_parser("show", help="what is wished of a device, and how it says that it is set")
    show.add_argument("device", metavar="DEVICE")
    broker(show)
    for verb in (wish, show):
        verb.add_argument("--json", action="store_true", help="print JSON")


async def main(args: argparse.Namespace, broker: Mqtt) -> int:
    """Exit 0 where it is in effect, 1 where refused, 2 for what cannot be read, 75 where the device says nothing."""
    from edge_agent import keys
    from edge_agent.centre.asker import Signer
    from edge_agent.centre.desire import Wish

    async with Wish(broker, args.device) as wish:
        if args.verb == "show":
            return _show(wish.standing.desired, wish.standing.reported, args)
        try:
            settings = _settings(args.what, wish.standing.in_effect)
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return EX_USAGE
        if args.dry_run:
            return await _check(args, broker, settings)
        signer = Signer(kid=args.kid or args.key.stem, key=keys.load(args.key)) if args.key else None
        told = await wish.set(settings, args.by, signer, args.wait_s)
    if told is None:
        print(
            f"{args.device} said nothing in {args.wait_s:g} s; the broker keeps the document, and the device takes it"
            " or refuses it once it is there (see: centre desired show)",
            file=sys.stderr,
        )
        return EX_TEMPFAIL
    return _tell(told, args)


async def _check(args: argparse.Namespace, broker: Mqtt, settings: dict[str, Any]) -> int:
    """The command `config` asks the device the same, and changes nothing."""
    from ulid import ULID

    from edge_agent.centre.asker import ask
    from edge_agent.cli.sending import readable

    facts: dict[str, Any] = {"by": args.by, "id": str(ULID()), "expires_s": args.wait_s, "clock": SystemClock()}
    result = await ask(broker, args.device, "config", {"desired": settings}, **facts)
    if result is None:
        print(f"no answer from {args.device} in {args.wait_s:g} s", file=sys.stderr)
        return EX_TEMPFAIL
    print(json.dumps({"state": result.state, "reason": result.reason}) if args.json else readable(result))
    return 0 if result.state == "done" else 1


def _tell(told: Reported, args: argparse.Namespace) -> int:
    import msgspec

    if args.json:
        print(json.dumps(msgspec.to_builtins(told), ensure_ascii=False))
    elif told.rejected:
        print(f"refused; document {told.desired_version} stays in effect:")
    else:
        print(f"document {told.desired_version} is in effect")
    for one in () if args.json else told.rejected:
        print(f"  {one.path or '(document)'}: {one.why}")
    return 1 if told.rejected else 0


def _show(desired: Any, reported: Reported | None, args: argparse.Namespace) -> int:
    import msgspec

    if reported is None:
        raise DriverError(f"{args.device} has never reported how it is set: is its name right, and was it ever online?")
    if args.json:
        print(json.dumps(msgspec.to_builtins({"desired": desired, "reported": reported}), ensure_ascii=False))
        return 0
    print(f"in effect: document {reported.desired_version}, since {reported.time}")
    for path, value in _flat(reported.settings):
        print(f"  {path} = {json.dumps(value, ensure_ascii=False)}")
    if desired is not None:
        print(f"wished: document {desired.version} by {desired.by}")
    for one in reported.rejected:
        print(f"refused of document {reported.rejected_version}: {one.path or '(document)'}: {one.why}")
    return 0


def _settings(what: list[str], in_effect: dict[str, Any]) -> dict[str, Any]:
    """The whole document: a file, or what is in effect with some changes. ValueError, OSError."""
    from edge_agent.centre.desire import merged

    if len(what) == 1 and "=" not in what[0]:
        text = Path(what[0]).read_text(encoding="utf-8")
        found = tomllib.loads(text) if what[0].endswith(".toml") else json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f'{what[0]}: an object is wanted, as {{"mqtt": {{"telemetry_period_s": 5}}}}')
        return found
    settings = in_effect
    for change in what:
        path, equals, value = change.partition("=")
        if not path or not equals:
            raise ValueError(f"one FILE or some KEY=VALUE are wanted, got {change!r}")
        try:
            settings = merged(settings, path, json.loads(value))
        except json.JSONDecodeError:
            settings = merged(settings, path, value)
    return settings


def _flat(settings: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        found += _flat(value, f"{above}{name}.") if isinstance(value, dict) else [(above + name, value)]
    return found
