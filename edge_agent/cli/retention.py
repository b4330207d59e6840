"""`edge-agent retention`: what has been kept long enough goes, also where no agent runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

EX_UNAVAILABLE = 69


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog = "A running agent does this by itself, every half minute; this is for a device whose agent is down."
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration (TOML)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where done (or a running agent does it), 69 where the disk fails, 78 on a bad configuration."""
    from edge_agent.files import left_to_owner_of

    try:
        settings = config.load(args.config)
        with left_to_owner_of(settings.data_dir):
            told = _alone(settings, args.dry_run)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    if args.json:
        print_json(told)
    else:
        print("\n".join([*told["gone"], f"{told['state']}: {len(told['gone'])} files"]))
    return 0


def _alone(settings: config.Agent, dry_run: bool) -> dict[str, Any]:
    """Under the agent's own lock, or not at all; where no agent has run yet nothing was kept, and nothing is made."""
    from edge_agent import agent

    if not settings.data_dir.is_dir():
        return {"state": "planned" if dry_run else "done", "gone": []}
    try:
        held = agent.take(settings.data_dir)
    except agent.AlreadyRunningError:
        return {"state": "left to the running agent", "gone": []}
    try:
        gone = asyncio.run(_tidy(settings, dry_run))
    finally:
        os.close(held)
    return {"state": "planned" if dry_run else "done", "gone": gone}


async def _tidy(settings: config.Agent, dry_run: bool) -> list[str]:
    """Evidence by the rules of [evidence], originals by those of [privacy]: the very code that the agent runs."""
    from edge_agent.audit import Audit
    from edge_agent.runtime import Health, SystemClock
    from edge_agent.uplink.evidence import Evidence
    from edge_agent.uplink.outbox import Outbox
    from edge_agent.witness import Witness

    clock = SystemClock()
    health, data_dir, box = Health(clock), settings.data_dir, settings.outbox
    outbox = Outbox(data_dir / "events.db", device=settings.site.device, max_mib=box.max_mib, clock=clock)
    common: dict[str, Any] = {"audit": Audit(data_dir, clock.wall), "clock": clock}
    leave = config.sealed_leave(settings)
    evidence = Evidence(data_dir, settings.evidence, report=outbox.event, health=health, sealed=leave, **common)
    witness = Witness(data_dir, settings.privacy, health=health, sealed_leave=leave, held=evidence.held, **common)
    try:
        await evidence.adopt()
        drops = await evidence.due(await evidence.items())
        gone = [f"{drop.id}: {drop.why}" for drop in drops] + [f"{path.name}: {why}" for path, why in witness.due()]
        if not dry_run:
            await evidence.tidy()
            await asyncio.to_thread(witness.tidy)
        return gone
    finally:
        await evidence.close()
        await outbox.close()
