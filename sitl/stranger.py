"""Somebody without the key on a signed link: what a scenario can say of the forged and the repeated."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sitl.phrases import READY_S, phrase, shape
from sitl.world import World

AGENT = 191
EPOCH_S, PER_SECOND = 1_420_070_400, 100_000  # signing counts 10 µs since 2015 (mavlink.io/en/guide/message_signing)
YEAR_S = 31_557_600
SET_UP_S = 3.0


@phrase("a drone at home with the patrol {route}, over a signed link")
async def signed(world: World, route: str) -> None:
    key = hashlib.sha256(f"key {world.seed}".encode()).digest()
    file = world.folder / "signing.key"
    file.touch(0o600)
    file.write_text(key.hex())
    world.agent.settings["vehicle"]["signing"] = {"key": str(file)}
    corners, alt_m = shape(world, route)
    world.route(route, corners, alt_m)
    await world.start()
    await world.until(world.station.connected.is_set, 60, "the vehicle's heartbeat")
    setup = mavlink.MAVLink_setup_signing_message(1, 1, key, _timestamp(world.clock.wall()))
    for _ in range(3):  # it is not acknowledged
        world.station.send(setup)
        await world.wait(SET_UP_S / 3)
    await world.start_agent()
    await world.until(lambda: world.phase == "ground" and not world.blocked, READY_S, "ready to fly")


@phrase("a stranger on the link repeats all that was said")
async def repeats(world: World) -> None:
    for passed in tuple(world.wire.sent):
        world.wire.slip_in(passed.frame, upward=True)
    for frame in tuple(world.wire.heard):
        world.wire.slip_in(frame, upward=False)
        await asyncio.sleep(0)


@phrase("a stranger on the link forges a landing, with another key and with none")
async def forges(world: World) -> None:
    """To the vehicle in the agent's name, to the agent in the vehicle's; dated a year ahead, to outdate the true."""
    for key in (hashlib.sha256(b"another").digest(), None):
        agent, vehicle = _stranger(world, AGENT, key), _stranger(world, 1, key)
        for mode in (9, 6):  # LAND, RTL
            order = mavlink.MAVLink_command_long_message(1, 1, mavlink.MAV_CMD_DO_SET_MODE, 0, 1, mode, 0, 0, 0, 0, 0)
            world.wire.slip_in(order.pack(agent), upward=True)
            beat = mavlink.MAVLink_heartbeat_message(2, 3, 81, mode, 3, 3)
            world.wire.slip_in(beat.pack(vehicle), upward=False)


def _stranger(world: World, component: int, key: bytes | None) -> Any:
    mav = mavlink.MAVLink(None, srcSystem=1, srcComponent=component)
    if key is not None:
        mav.signing.secret_key, mav.signing.sign_outgoing = key, True
        mav.signing.timestamp = _timestamp(world.clock.wall() + YEAR_S)
    return mav


def _timestamp(wall_s: float) -> int:
    return int((wall_s - EPOCH_S) * PER_SECOND)
