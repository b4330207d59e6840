"""`edge-agent time`: what time it is and who says so; at the start of a device, before anything speaks TLS."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import config
from edge_agent.cli import fly
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError, SystemClock

if TYPE_CHECKING:
    from edge_agent.device.moment import Source

EX_UNAVAILABLE = 69
GPS_ERR_S = 0.5  # SYSTEM_TIME comes once a second over a serial line
WAIT_S = 15.0
SYSTEM_TIME = 2  # MAVLink common.xml
DATA_DIR = Path("/var/lib/edge-agent")

EPILOG = """\
In this order: NTP (chrony; NTS where it is set up), the autopilot's GPS, the real-time clock, the time saved last.
Nothing before the saved time is believed, and no HTTP server's Date is asked.

exit codes:
   0  the time is known well enough for TLS
   1  it is only the saved time or a floor: certificates may seem not yet valid
  69  --set: the clock cannot be set (run it as root)
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the agent's: data directory and vehicle")
    where.add_argument("--data-dir", type=Path, metavar="DIR", help=f"or its data directory (default: {DATA_DIR})")
    parser.add_argument("--connection", metavar="URL", help="ask the autopilot there: tcp:…, udpin:…, serial:DEV:BAUD")
    parser.add_argument("--system-id", type=int, default=None, metavar="N", help="of the vehicle (default: 1)")
    parser.add_argument(
        "--wait", type=float, default=WAIT_S, metavar="S", help="for the autopilot (default: %(default)g)"
    )
    parser.add_argument("--set", action="store_true", help="step the system's clock where it cannot be right")
    parser.add_argument("--dry-run", action="store_true", help="with --set: say what would be done")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(out=None)


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    from edge_agent.device import clocks, moment

    try:
        settings = _settings(args)
        data_dir = args.data_dir or (settings.data_dir if settings and args.config else DATA_DIR)
        sources = clocks.sources(data_dir)
        if settings is not None and isinstance(settings.vehicle, config.MavlinkVehicle):
            sources += _ask_autopilot(settings, args.wait)
        judged = moment.judge(time.time(), sources)
        if args.set and not args.dry_run:
            clocks.set_clock(judged)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except fly.UsageError as error:
        print(f"edge-agent time: {error}", file=sys.stderr)
        return fly.EX_USAGE
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    step = "set" if args.set and not args.dry_run else "would be set" if args.dry_run else "may be set with --set"
    if args.json:
        import msgspec

        print_json({**msgspec.to_builtins(judged), "sources": sources, "was_set": step == "set" and judged.step_s != 0})
    else:
        known = "" if judged.err_s is None else f", within {judged.err_s:g} s"
        print(f"{_shown(judged.unix_s)}: {judged.source}{known}")
        for one in sources:
            print(f"  {one.name:7} {_shown(one.unix_s)}")
        for why in judged.rejected:
            print(f"  not believed: {why}")
        if judged.step_s:
            print(f"  the system's clock is off by {-judged.step_s:+.0f} s: {step}")
    return 1 if judged.source in ("saved", "floor") else 0


def _settings(args: argparse.Namespace) -> config.Agent | None:
    if args.connection is not None:
        return fly.settings_for(args)
    return config.load(args.config) if args.config is not None else None


def _ask_autopilot(settings: config.Agent, wait_s: float) -> list[Source]:
    """The autopilot's GPS time, or nothing where it has none or is not there: then the next source is asked."""
    try:
        return asyncio.run(_listen(settings, wait_s))
    except DriverError as error:
        print(f"the autopilot was not asked: {error}", file=sys.stderr)
        return []


async def _listen(settings: config.Agent, wait_s: float) -> list[Source]:
    from edge_agent.device.moment import Source
    from edge_agent.flight.workbench import workbench

    clock = SystemClock()
    until_s = clock.monotonic() + wait_s
    async with workbench(settings, clock) as bench:
        while clock.monotonic() < until_s:
            await bench.turn()
            heard_s, message = bench.link.said.get(SYSTEM_TIME, (0.0, None))
            if message is not None and message.time_unix_usec:  # 0: its GPS has no time yet
                unix_s = message.time_unix_usec / 1e6 + clock.monotonic() - heard_s
                return [Source(name="gps", unix_s=unix_s, err_s=GPS_ERR_S)]
    return []


def _shown(unix_s: float) -> str:
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{unix_s:.0f} s"
