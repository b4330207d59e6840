"""`edge-agent centre verify|devices`: whether all is here, and how the devices stand."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from edge_agent.centre.audit import Device, Verdict

NAMES = ("verify", "devices")
SHOWN = 20


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands and their arguments."""
    verify = commands.add_parser("verify", help="are all events here that were reported? exit 1 where some are missing")
    verify.add_argument("--device", metavar="D", help="only this device")
    devices = commands.add_parser("devices", help="list devices: status, age of telemetry, what waits on them")
    for parser in (verify, devices):
        parser.add_argument("--db", type=Path, required=True, metavar="FILE", help="the file of `run`")
        parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where all is here, 1 where something is missing, 69 where the file cannot be read."""
    from edge_agent.centre import audit

    if args.action == "devices":
        for device in audit.devices(args.db, time.time()):
            print(msgspec.json.encode(device).decode() if args.json else _device(device))
        return 0
    verdicts = audit.verify(args.db, args.device)
    for verdict in verdicts:
        print(msgspec.json.encode(verdict).decode() if args.json else _verdict(verdict))
    if not verdicts:
        print(f"{args.db}: no device has reported yet", file=sys.stderr)
    return 0 if all(verdict.whole for verdict in verdicts) else 1


def _device(device: Device) -> str:
    seen = "no telemetry" if device.tele_age_s is None else f"telemetry {device.tele_age_s:.0f} s old"
    waits = "" if device.depth is None else f", {device.depth} waited on it at its birth"
    since = f" since {device.since}" if device.since else ""
    return f"{device.device:20}  {device.state:8}{since}, {seen}, {device.events} events{waits}"


def _verdict(verdict: Verdict) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(verdict.kinds.items()))
    lines = [f"{verdict.device}: {'whole' if verdict.whole else 'NOT WHOLE'}: {kinds or 'no event'}"]
    for epoch in verdict.epochs:
        before = f", up to {epoch.settled} in an earlier file" if epoch.settled else ""
        links = f"{epoch.linked - len(epoch.broken)} of {epoch.linked} links hold"
        lines.append(f"  epoch {epoch.epoch}: places up to {epoch.last}{before}; {links}")
        for seq in epoch.broken[:SHOWN]:
            lines.append(f"    BROKEN {seq}: this is not what the device reported there, or what follows it is not")
        for word, places in (("given up", epoch.gaps), ("missing", epoch.missing)):
            for place in places[:SHOWN]:
                count = place.last - place.first + 1
                where = f"{place.first}" if count == 1 else f"{place.first}-{place.last} ({count})"
                why = place.reason or "no reason given yet: it waits on the device, or on its way"
                lines.append(f"    {word} {where}: {why}")
            if len(places) > SHOWN:
                lines.append(f"    and {len(places) - SHOWN} more {word} (see --json)")
    return "\n".join(lines)
