"""What a mission, a fence and a list of rally points are made of, and what ArduPilot keeps of them. Pure.

An upload's own verdict is never proof: `compare` what a download brings back.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence

from msgspec import Struct
from pymavlink.dialects.v20 import ardupilotmega as mavlink

MISSION, FENCE, RALLY = (
    mavlink.MAV_MISSION_TYPE_MISSION, mavlink.MAV_MISSION_TYPE_FENCE, mavlink.MAV_MISSION_TYPE_RALLY,
)  # fmt: skip
KINDS: dict[int, str] = {MISSION: "mission", FENCE: "fence", RALLY: "rally"}

# What read-back turns our frames into: the _INT frames come back as their plain twins.
_FRAMES = {
    mavlink.MAV_FRAME_GLOBAL_INT: mavlink.MAV_FRAME_GLOBAL,
    mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT: mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT,
    mavlink.MAV_FRAME_GLOBAL_TERRAIN_ALT_INT: mavlink.MAV_FRAME_GLOBAL_TERRAIN_ALT,
}


class Item(Struct, frozen=True, kw_only=True):
    """One item; `x`/`y` are degrees × 1e7, `z` metres in `frame`."""

    seq: int
    frame: int
    command: int
    p1: float = 0.0
    p2: float = 0.0
    p3: float = 0.0
    p4: float = 0.0
    x: int = 0
    y: int = 0
    z: float = 0.0


Kept = tuple[int | float, ...]


def _whole(value: float) -> int:
    """A float as C stores it in a whole number; ArduPilot takes NaN for nothing."""
    return 0 if math.isnan(value) else int(value)


def _sign(value: float) -> int:
    return -1 if value < 0 else 1


def _turns(item: Item) -> Kept:
    """LOITER_TURNS packs turns and radius into a byte each: less than a turn in 256ths, over 255 m in tens."""
    turns = int(item.p1 * 256) / 256 if 0 < item.p1 < 1 else min(255, _whole(item.p1))
    radius = abs(item.p3)
    radius = int(radius) if radius <= 255 else min(255, int(radius * 0.1)) * 10
    return (turns, radius * _sign(item.p3), int(item.p4 > 0))


def _params(*names: str) -> Callable[[Item], Kept]:
    return lambda item: tuple(round(getattr(item, name), 3) for name in names)


def _none(_: Item) -> Kept:
    return ()


def _p1(item: Item) -> Kept:
    return (_whole(item.p1),)


# What ArduCopter keeps of each command beside its place: AP_Mission::mavlink_int_to_mission_cmd.
_PLACES: dict[int, Callable[[Item], Kept]] = {
    mavlink.MAV_CMD_NAV_WAYPOINT: _p1,  # no radius, no yaw
    mavlink.MAV_CMD_NAV_SPLINE_WAYPOINT: _p1,
    mavlink.MAV_CMD_NAV_TAKEOFF: _p1,
    mavlink.MAV_CMD_NAV_LAND: _p1,
    mavlink.MAV_CMD_NAV_LOITER_UNLIM: lambda i: (_whole(i.p3),),
    mavlink.MAV_CMD_NAV_LOITER_TURNS: _turns,
    mavlink.MAV_CMD_NAV_LOITER_TIME: lambda i: (_whole(i.p1), _sign(i.p3), int(i.p4 > 0)),
    mavlink.MAV_CMD_NAV_LOITER_TO_ALT: lambda i: (_whole(i.p2), int(i.p4 > 0)),
    mavlink.MAV_CMD_DO_SET_ROI: _p1,
    mavlink.MAV_CMD_DO_LAND_START: _none,
    mavlink.MAV_CMD_DO_RETURN_PATH_START: _none,
}
_ACTIONS: dict[int, Callable[[Item], Kept]] = {
    mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH: _none,
    mavlink.MAV_CMD_NAV_DELAY: _params("p1", "p2", "p3", "p4"),
    mavlink.MAV_CMD_CONDITION_DELAY: _params("p1"),
    mavlink.MAV_CMD_CONDITION_DISTANCE: _params("p1"),
    mavlink.MAV_CMD_CONDITION_YAW: _params("p1", "p2", "p3", "p4"),
    mavlink.MAV_CMD_DO_JUMP: lambda i: (_whole(i.p1), _whole(i.p2)),
    mavlink.MAV_CMD_DO_CHANGE_SPEED: _params("p1", "p2", "p3"),
    mavlink.MAV_CMD_DO_MOUNT_CONTROL: _params("p1", "p2", "p3"),
    mavlink.MAV_CMD_DO_SET_CAM_TRIGG_DIST: lambda i: (round(i.p1, 3), int(i.p3 != 0)),
    mavlink.MAV_CMD_DO_FENCE_ENABLE: _p1,
}
_POLYGONS = (
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION,
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION,
)
_CIRCLES = (mavlink.MAV_CMD_NAV_FENCE_CIRCLE_INCLUSION, mavlink.MAV_CMD_NAV_FENCE_CIRCLE_EXCLUSION)


def normalise(item: Item) -> Kept:
    """An item as ArduCopter keeps it: it drops and rounds what it has no use for, and says nothing about it.

    Altitudes become centimetres (whole metres for rally points), and a fence has neither heights nor frames
    (MissionItemProtocol_Fence.cpp, MissionItemProtocol_Rally.cpp). Of a command that is not known here nothing is
    taken to be dropped.
    """
    where = (item.seq, item.command)
    frame = _FRAMES.get(item.frame, item.frame)
    if item.command in _PLACES:
        return (*where, frame, *_PLACES[item.command](item), item.x, item.y, round(item.z * 100))
    if item.command in _ACTIONS:
        return (*where, *_ACTIONS[item.command](item))
    if item.command in _POLYGONS:
        return (*where, _whole(item.p1), item.x, item.y)
    if item.command in _CIRCLES:
        return (*where, round(item.p1, 3), item.x, item.y)
    if item.command == mavlink.MAV_CMD_NAV_RALLY_POINT:
        return (*where, frame, item.x, item.y, _whole(item.z))
    return (*where, frame, *(round(p, 3) for p in (item.p1, item.p2, item.p3, item.p4)), item.x, item.y, item.z)


def digest(items: Sequence[Item], fence: Sequence[Item] = (), rally: Sequence[Item] = ()) -> str:
    """SHA-256 over what is aboard, normalised; the mission's item 0 is home, which the autopilot writes itself."""
    parts = [[normalise(item) for item in items if item.seq > 0]]
    if fence or rally:
        parts += [[normalise(item) for item in fence], [normalise(item) for item in rally]]
    return hashlib.sha256(json.dumps(parts if len(parts) > 1 else parts[0]).encode()).hexdigest()


def compare(sent: Sequence[Item], held: Sequence[Item], kind: int = MISSION) -> str | None:
    """None where the autopilot holds what was sent, else the first difference; 1 cm of altitude is its rounding."""
    if len(sent) != len(held):
        return f"{len(held)} items aboard, {len(sent)} were sent"
    first = 1 if kind == MISSION else 0  # a mission's item 0 is home
    for ours, theirs in zip(sent[first:], held[first:], strict=True):
        if not same(ours, theirs):
            return f"{KINDS[kind]} item {ours.seq}: aboard {normalise(theirs)}, sent {normalise(ours)}"
    return None


def same(ours: Item, theirs: Item) -> bool:
    """Whether the autopilot's item is the one that was sent."""
    a, b = normalise(ours), normalise(theirs)
    if ours.command in _PLACES and len(a) == len(b) and abs(a[-1] - b[-1]) <= 1:
        a, b = a[:-1], b[:-1]
    return a == b
