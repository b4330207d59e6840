"""The contract suite on ArduCopter: which cases it passes, and which differ from what is listed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from sitl import contract
from sitl.report import Result
from sitl.vehicles import ArduCopter, arducopter
from sitl.world import BEGAN_S, HOME

NAME = "contract"
TITLE = "What the agent takes for granted of an autopilot"


async def fly(folder: Path, *, speedup: float, slot: int) -> Result:
    """Run every case on one ArduCopter."""
    binary = arducopter()
    assert binary is not None
    vehicle = ArduCopter(binary, folder / "vehicle", HOME, speedup=speedup, slot=slot, start_s=BEGAN_S)
    began_s = time.monotonic()
    await vehicle.start()
    try:
        found, flown_s = await asyncio.to_thread(_run, vehicle.station)
    finally:
        await vehicle.stop()
    differs = [f"{name}: {why}" for name, why in found if why and name not in contract.DIFFERENCES]
    mended = [
        f"{name}: passes now, though it is listed" for name, why in found if not why and name in contract.DIFFERENCES
    ]
    lines = [f"{name:90} {'passed' if not why else contract.DIFFERENCES.get(name, why)}" for name, why in found]
    (folder / "story.txt").write_text("\n".join(lines) + "\n")
    took_s = round(time.monotonic() - began_s, 1)
    return Result(NAME, f"{TITLE} ({len(found)} cases)", "\n".join(differs + mended), "", round(flown_s, 1), took_s)


def _run(place: tuple[str, int]) -> tuple[list[tuple[str, str]], float]:
    wire = contract.Tcp(*place)
    try:
        peer = contract.Peer(wire, *HOME)
        contract.ready(peer)
        return contract.run(peer), peer.now_s
    finally:
        wire.close()
