"""A second ground station that uploads and downloads missions by the book (https://mavlink.io/en/services/mission)."""

from __future__ import annotations

from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sitl.station import SYSTEM, Station
from sitl.world import World

FRAME = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT
REQUESTS = ("MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ACK")


async def upload(world: World) -> int:
    """Another mission: take-off, one place 30 m east, home. Returns the MAV_MISSION_RESULT."""
    station, place = world.station, world.place(0, 30)
    legs = [
        (mavlink.MAV_CMD_NAV_WAYPOINT, world.place(0, 0), 0.0),
        (mavlink.MAV_CMD_NAV_TAKEOFF, {"lat": 0.0, "lon": 0.0}, 15.0),
        (mavlink.MAV_CMD_NAV_WAYPOINT, place, 15.0),
        (mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH, {"lat": 0.0, "lon": 0.0}, 0.0),
    ]
    message: Any = mavlink.MAVLink_mission_count_message(1, 1, len(legs), 0)
    wanted = 0
    while True:
        reply = await _ask(station, message, REQUESTS, wanted)
        if reply.get_type() == "MISSION_ACK":
            return int(reply.type)
        wanted = reply.seq
        command, at, alt_m = legs[wanted]
        x, y = round(at["lat"] * 1e7), round(at["lon"] * 1e7)
        message = mavlink.MAVLink_mission_item_int_message(
            1, 1, wanted, FRAME, command, 0, 1, 0, 0, 0, 0, x, y, alt_m, 0
        )
        wanted += 1


async def download(world: World) -> list[Any]:
    """The mission aboard, as MISSION_ITEM_INT messages."""
    station = world.station
    count = await _ask(station, mavlink.MAVLink_mission_request_list_message(1, 1, 0), ("MISSION_COUNT",), None)
    return [
        await _ask(station, mavlink.MAVLink_mission_request_int_message(1, 1, seq, 0), ("MISSION_ITEM_INT",), seq)
        for seq in range(count.count)
    ]


async def _ask(station: Station, message: Any, names: tuple[str, ...], seq: int | None) -> Any:
    """Send a message until one of `names` answers us, with this sequence number where it has one."""

    def fits(m: Any) -> bool:
        return (
            m.get_type() in names and m.target_system in (0, SYSTEM) and (seq is None or getattr(m, "seq", seq) == seq)
        )

    return await station.answer(lambda: station.send(message), fits, f"{message.get_type()} by {' or '.join(names)}")
