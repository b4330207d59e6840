"""The control flight: a route flown by an agent that nothing happens to, once for all scenarios that want it."""

from __future__ import annotations

import asyncio
import fcntl
import json

from sitl.station import Point
from sitl.world import FLIGHT_S, World

SLOT = 50  # its vehicle's ports are apart from those of the scenario that asks


async def path(world: World, route: str, corners: list[tuple[float, float]], alt_m: float) -> list[Point]:
    """The path that the vehicle took; whoever asks first flies it, the others wait."""
    kind = "arducopter" if world.vehicle.real else "simulated"
    file = world.folder.parent / f"control-{kind}-{route}.json"
    with file.with_suffix(".lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
        if not file.exists():
            folder = file.with_suffix("")
            flown = World(folder, vehicle=kind, speedup=world.speedup, seed=0, slot=world.slot + SLOT)
            flown.route(route, corners, alt_m)
            file.write_text(json.dumps(await _fly(flown, route)))
        return [Point(*point) for point in json.loads(file.read_text())]


async def _fly(world: World, route: str) -> list[Point]:
    try:
        await world.start()
        await world.start_agent()
        await world.until(lambda: world.phase == "ground" and not world.blocked, 120, "ready to fly")
        reply = await world.agent.order("fly", route=route)
        assert reply.get("state") == "accepted", f"the agent answers {reply}"
        await world.until(lambda: world.station.lifted_s is not None, 120, "a take-off")
        await world.until(lambda: not world.station.armed, FLIGHT_S, "landed and disarmed")
    finally:
        await world.close()
    return world.station.path
