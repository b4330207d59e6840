"""`edge-agent fly`, `dispatch`, `recall`, `preflight`: through a running agent, or straight over a link."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from pathlib import Path

from edge_agent import config, control, messages
from edge_agent.cli import ask
from edge_agent.cli.check import print_json
from edge_agent.files import left_to_owner_of
from edge_agent.runtime import DriverError

EX_REFUSED, EX_USAGE, EX_OTHERWISE, EX_LEFT, EX_LOST = 1, 2, 3, 4, 5
EX_UNAVAILABLE, EX_TEMPFAIL, EX_INTERRUPTED = 69, 75, 130

READY_S = 180.0
BARE = object()  # `--wait` without seconds

EPILOG = """\
With --connection there is no daemon: this command is the agent until the flight has ended. Its record and plot are
named at the end. Ctrl-C asks once what to do (continue, return, leave flying); where there is no terminal to ask,
SIGINT returns home, and SIGTERM or SIGHUP leaves the drone to the autopilot's plan, which ends at home.

Without --connection the agent that runs here flies: with --wait this command follows the flight to its end, and
Ctrl-C ends the waiting alone; without it, 0 says that the flight was accepted.

exit codes:
   0  landed and disarmed as planned (dry run, preflight: every gate passes)
   1  refused, or failed before take-off: nothing flew
   2  wrong command line
   3  it flew, and ended otherwise: recalled, yielded, a failsafe, a lockout
   4  it was left flying on the autopilot's plan
   5  with --wait: the agent died or lost the flight meanwhile; what became of it is not known
  69  no autopilot, or no agent, answers there
  75  another agent flies this vehicle, or uses this data directory
  78  the configuration or the route file is wrong
 130  interrupted before anything was begun; with --wait: the waiting was interrupted, the flight goes on
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of whichever of these commands it is."""
    command = parser.get_default("command")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    if command in ("fly", "preflight"):
        parser.add_argument(
            "route", nargs=None if command == "fly" else "?",
            help="the id of a [[route]], or a file: .plan, .waypoints, .geojson, .kml",
        )  # fmt: skip
    if command == "fly":
        parser.add_argument("--from-breakpoint", action="store_true", help="go on where its last run was called away")
    if command == "dispatch":
        parser.add_argument("lat", type=float, help="degrees")
        parser.add_argument("lon", type=float, help="degrees")
        parser.add_argument("--alt", type=float, default=30.0, metavar="M", help="metres above home (default: 30)")
        parser.add_argument("--hover", type=float, default=30.0, metavar="S", help="stay so long (default: 30)")
        parser.add_argument(
            "--orbit",
            type=float,
            default=0.0,
            metavar="M",
            help="fly around the place so far out (default: 0, hover over it)",
        )
        parser.add_argument("--say", metavar="TEXT", help="say this there (without an agent nobody does)")
        parser.add_argument("--lang", choices=("cmn", "en"), default="cmn", help="of --say")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--connection", metavar="URL", help="tcp:HOST:PORT, udpin:HOST:PORT, udpout:…, serial:DEV:BAUD")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help="the data directory of a running agent")
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="limits, airframe, routes; or the agent's own"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line: a transition each, or a gate each")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where record, plot and state go (with --connection)")
    parser.add_argument("--system-id", type=int, default=None, metavar="N", help="of the vehicle (default: 1)")
    ready = f"S seconds for the vehicle to be ready ({READY_S:g})"
    if command not in ("fly", "dispatch"):
        parser.add_argument("--wait", type=_seconds, metavar="S", help=ready)
    else:
        parser.add_argument(
            "--wait", type=_seconds, nargs="?", const=BARE, metavar="S",
            help="until the flight has ended; shows phase, height, distance to go, battery and margin. "
            f"With --connection it always does, and waits {ready}",
        )  # fmt: skip
        parser.add_argument("--clear-lockout", action="store_true", help="somebody has looked at the vehicle")
        parser.add_argument("--dry-run", action="store_true", help="gates, upload and verification, but never arm")


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    if args.connection is None:
        return _ask(args)
    if args.wait in (None, BARE):
        args.wait = READY_S
    settings = route = order = None
    try:
        settings = settings_for(args)
        if args.command == "fly" or (args.command == "preflight" and args.route):
            route = _route(args.route, settings)
        elif args.command == "dispatch":
            order = _order(args)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        if settings is not None and args.command == "fly":
            _write_down(args, settings, error)
        return config.EX_CONFIG
    except UsageError as error:
        return _usage(args, str(error))
    from edge_agent.cli.flying import run

    try:
        with left_to_owner_of(settings.data_dir):
            return asyncio.run(run(args, settings, route, order))
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


def _seconds(text: str) -> float:
    """Of a wait: `inf` is for ever."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; a bare --wait goes behind the rest")
    return value


class UsageError(Exception):
    """The command line is wrong."""


def _ask(args: argparse.Namespace) -> int:
    """Through the agent that runs here."""
    if args.command in ("fly", "dispatch") and args.wait not in (None, BARE):
        return _usage(args, "--wait takes seconds with --connection alone; a running agent's flight is seen to its end")
    match args.command:
        case "fly":
            order = messages.Fly(route=args.route, from_breakpoint=args.from_breakpoint, dry_run=args.dry_run)
            return _put(args, order)
        case "dispatch":
            try:
                errand = _order(args)
            except UsageError as error:
                return _usage(args, str(error))
            return _put(args, errand)
        case "recall":
            return ask.put(args, messages.Recall())
        case _:
            return _preflight(args)


def _put(args: argparse.Namespace, order: messages.Fly | messages.Dispatch) -> int:
    """Put it to the agent that runs here; a dry run, and what is waited for, is shown to its end."""
    if not args.dry_run and args.wait is None:
        return ask.put(args, order)
    from edge_agent.cli import following

    try:
        data_dir = ask.find_data_dir(args)
        answer = control.ask(data_dir, order)
        if answer["state"] == "accepted":
            follow = following.rehearsed if args.dry_run else following.flown
            return follow(data_dir, answer["run"], args.json)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    print_json(answer) if args.json else print(f"{answer['state']}: {answer.get('reason')}")
    return 1


def _preflight(args: argparse.Namespace) -> int:
    from edge_agent.cli import flying

    try:
        return flying.preflight(ask.find_data_dir(args), args.route, args.json)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


def _usage(args: argparse.Namespace, text: str) -> int:
    print(f"edge-agent {args.command}: {text}", file=sys.stderr)
    return EX_USAGE


# --- what is flown, and within which limits ---------------------------------------------------------------------------


def settings_for(args: argparse.Namespace) -> config.Agent:
    """The file's, or defaults; the vehicle is the one of the command line, and a home of its own is good enough."""
    import msgspec

    vehicle: dict[str, object] = {"type": "mavlink", "url": _url(args.connection)}
    if args.config is not None:
        settings = config.load(args.config)
        if settings.vehicle is not None:
            vehicle["system_id"] = settings.vehicle.system_id
    else:
        settings = config.Agent(site=config.Site(device="solo"), data_dir=_state_dir(str(vehicle["url"])))
    if args.system_id is not None:
        vehicle["system_id"] = args.system_id
    try:
        section = msgspec.convert(vehicle, config.Vehicle)
    except msgspec.ValidationError as error:
        if not str(error).endswith("`$.url`"):
            raise UsageError(f"--system-id {args.system_id}: {error}") from None
        forms = "tcp:HOST:PORT, udpin:HOST:PORT, udpout:HOST:PORT or serial:DEVICE:BAUD"
        raise UsageError(f"--connection {args.connection}: is no link; one is {forms}") from None
    if isinstance(settings.vehicle, config.MavlinkVehicle) and isinstance(section, config.MavlinkVehicle):
        section = msgspec.structs.replace(section, signing=settings.vehicle.signing)
    return msgspec.structs.replace(settings, vehicle=section, data_dir=args.out or settings.data_dir)


def _url(connection: str) -> str:
    """`tcp://HOST:PORT` and a bare device are understood as well."""
    if connection.startswith("/dev/"):
        device, _, baud = connection.replace(",", ":").partition(":")
        return f"serial:{device}:{baud or 57600}"
    return re.sub(r"^(tcp|udpin|udpout)://", r"\1:", connection)


def _state_dir(url: str) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "edge-agent" / re.sub(r"[^A-Za-z0-9.]+", "-", url).strip("-")


def _route(name: str, settings: config.Agent) -> config.Route:
    """A route of the config, or a file of one; raises ConfigError with every fault of the file."""
    found = next((route for route in settings.routes if route.id == name), None)
    if found is not None:
        return found
    file = Path(name)
    if not file.suffix and not file.exists():
        known = ", ".join(route.id for route in settings.routes) or "none is configured"
        fault = f"is neither a file nor a route of the configuration (there is: {known})"
        raise config.ConfigError(file, [fault])
    id = re.sub(r"[^A-Za-z0-9_-]+", "-", file.stem).strip("-_")[:64] or "route"
    read = config.read_route(config.Route(id=id, file=file), keep_speed=False)
    if isinstance(read, list):
        raise config.ConfigError(file, [fault.removeprefix(f"{file}: ") for fault in read])
    return read


def _write_down(args: argparse.Namespace, settings: config.Agent, error: config.ConfigError) -> None:
    """A route that nobody can fly was asked for: that is told and leaves a record, as every refusal does."""
    from edge_agent.flight.recorder import Recorder
    from edge_agent.flight.scribe import Scribe
    from edge_agent.runtime import Health, SystemClock

    if args.json:
        refusals = [messages.Refusal(gate="route.file", reason=fault) for fault in error.faults]
        print_json({"phase": "refused", "previous": "boot", "refusals": refusals})
    clock, recorder = SystemClock(), Recorder(settings.data_dir / "runs")
    scribe = Scribe(recorder, clock, Health(clock))
    run = scribe.refuse(args.route, f"cli:{os.getuid()}", None, (), str(error))
    asyncio.run(scribe.close())
    print(f"record: {recorder.file(run)}", file=sys.stderr)


def _order(args: argparse.Namespace) -> messages.Dispatch:
    """What is asked, within what any device would take."""
    import msgspec

    if args.connection is not None and args.say:
        print("--say: nobody will say it, for without an agent there are no speakers; it flies there", file=sys.stderr)
    order = {"name": "dispatch", "lat": args.lat, "lon": args.lon, "alt_m": args.alt, "hover_s": args.hover}
    words = {"say": args.say, "lang": args.lang, "orbit_m": args.orbit, "dry_run": args.dry_run}
    try:
        return msgspec.convert(order | words, messages.Dispatch)
    except msgspec.ValidationError as error:
        what, _, key = str(error).partition(" - at ")
        raise UsageError(f"{key.strip('`').removeprefix('$.')}: {what}") from None
