"""`edge-agent params plan|diff|backup|apply|drift|verify`: the autopilot's settings, from layered files."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from edge_agent import config
from edge_agent.cli import ask, fly
from edge_agent.flight.claim import TakenError
from edge_agent.runtime import DriverError

EPILOG = """\
Files are layers: a later one overrides an earlier one.

  edge-agent params plan common.param companion.param our-quad.param --connection tcp:127.0.0.1:5760

exit codes:
   0  done; plan: the files fit this vehicle; diff: nothing differs
   1  diff, drift: something differs; apply: refused, or not all could be set
   2  wrong command line
  69  no autopilot answers there
  75  an agent holds this connection: stop it first; drift: not now, it flies
  78  the configuration or a parameter file is wrong, names what this vehicle does not have, or a value out of range
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="plan|diff|backup|apply|drift|verify")
    for verb, text in (
        ("plan", "what apply would set, and which line wants it"),
        ("diff", "what differs between the files and the vehicle"),
        ("backup", "write all parameters of the vehicle into a file"),
        ("apply", "back up, set what differs, restart where that is needed, read everything back, sign a report"),
        ("drift", "are the settings still those that were applied last? asks a running agent, which tells the centre"),
    ):
        command = verbs.add_parser(
            verb, help=text, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )  # fmt: skip
        if verb not in ("backup", "drift"):
            command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="parameter files (.param)")
        if verb in ("backup", "apply"):
            command.add_argument("-o", "--out", dest="backup", type=Path, metavar="FILE", help="where the backup goes")
        if verb == "apply":
            command.add_argument("--dry-run", action="store_true", help="all but writing")
            command.add_argument("--no-reboot", action="store_true", help="leave the restart of the autopilot to me")
        if verb in ("plan", "apply"):
            command.add_argument(
                "--accept", action="append", default=[], metavar="NAME", help="set it though its value is out of range"
            )
        command.add_argument("--connection", metavar="URL", help="tcp:HOST:PORT, udpin:…, udpout:…, serial:DEV:BAUD")
        command.add_argument("-c", "--config", type=Path, metavar="FILE", help="or the vehicle of this configuration")
        command.add_argument("--system-id", type=int, metavar="N", help="of the vehicle (default: 1)")
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.set_defaults(out=None)
    command = verbs.add_parser("verify", help="is a signed report of `apply` whole, and whose is it?")
    command.add_argument("report", type=Path, metavar="FILE", help="a .report.json")
    command.add_argument("--key", metavar="BASE64", help="the public key of the device that must have signed it")
    command.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    try:
        from edge_agent.cli import tuning

        if args.verb == "verify":
            return tuning.verify(args)
        settings = _settings(args)
        if args.verb == "drift":
            return asyncio.run(tuning.drift(args, settings))
        return asyncio.run(tuning.run(args, settings, tuning.read(args)))
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except fly.UsageError as error:
        print(f"edge-agent params: {error}", file=sys.stderr)
        return fly.EX_USAGE
    except TakenError as error:
        print(error, file=sys.stderr)
        return fly.EX_TEMPFAIL
    except DriverError as error:
        print(error, file=sys.stderr)
        return fly.EX_UNAVAILABLE


def _settings(args: argparse.Namespace) -> config.Agent:
    if args.connection is not None:
        return fly.settings_for(args)
    file = args.config or next((place for place in ask.PLACES if place.is_file()), None)
    if file is None:
        raise fly.UsageError("which vehicle? give --connection URL or -c FILE")
    settings = config.load(file)
    if not isinstance(settings.vehicle, config.MavlinkVehicle):
        raise fly.UsageError(f"{file} has no [vehicle] of type mavlink; give --connection URL")
    return settings
