"""The slots of a mission that take it to a place, hold it there and bring it home, and how they are rewritten. Pure.

    at+0  WAYPOINT rise      straight up to the transit height
    at+1  DO_SET_ROI place   nose or gimbal look at it
    at+2  WAYPOINT place     at the transit height
    at+3  LOITER_TIME place  at the asked height, for the hover; LOITER_TURNS for an orbit
    at+4  WAYPOINT place     back up
    at+5  DO_JUMP at+11      over the spare five
    at+6 … at+10             the same five once more
    at+11 DO_SET_ROI none
    at+12 RETURN_TO_LAUNCH

Five slots are flown, five are spare. Another place, or a longer hover, is written into the spare five, read back, and
only then jumped to: what is being flown is never touched, and both ends of the jump lead home. Seen on ArduCopter 4.6:
a partial list truncates nothing, a list that ends one behind the last item adds one, a jump to a place that is not
there yet is refused, and LOITER_TIME starts its clock when it is entered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.mission import Item

FRAME = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT
GROUP = 5
SPARE = GROUP + 1
TAIL = SPARE + GROUP
SIZE = TAIL + 2
RISE, ROI, OVER, HOVER, UP = range(GROUP)
ROI_IS_A_PLACE = 3.0  # param1 of DO_SET_ROI: MAV_ROI_LOCATION
EVER = -1.0
CIRCLE_RATE_RADPS, CIRCLE_ACCEL_MPS2 = math.radians(20.0), 2.5

Leg = Literal["climb", "route", "transit", "scene", "home"]


class Target(Struct, frozen=True, kw_only=True):
    """Where to, how high above home, and for how long."""

    lat: float
    lon: float
    alt_m: float
    hover_s: float
    transit_m: float  # the way there and back is flown no lower
    orbit_m: float = 0.0  # around the place; 0: over it


def block(at: int, lat: float, lon: float, target: Target) -> tuple[Item, ...]:
    """All slots from item `at` on, for a vehicle that rises at this place."""
    tail = at + TAIL
    return (
        *group(at, lat, lon, target),
        Item(seq=at + GROUP, frame=FRAME, command=mavlink.MAV_CMD_DO_JUMP, p1=float(tail), p2=EVER),
        *group(at + SPARE, lat, lon, target),
        Item(seq=tail, frame=FRAME, command=mavlink.MAV_CMD_DO_SET_ROI),
        Item(seq=tail + 1, frame=FRAME, command=mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH),
    )


def group(at: int, lat: float, lon: float, target: Target) -> tuple[Item, ...]:
    """Five slots from item `at` on: rise at this place, go to the target, hover, rise again."""
    high, low = round(target.transit_m, 1), round(target.alt_m, 1)
    there = {"x": round(target.lat * 1e7), "y": round(target.lon * 1e7)}
    waypoint = Item(seq=at + OVER, frame=FRAME, command=mavlink.MAV_CMD_NAV_WAYPOINT, **there, z=high)
    return (
        structs.replace(waypoint, seq=at + RISE, x=round(lat * 1e7), y=round(lon * 1e7)),
        Item(seq=at + ROI, frame=FRAME, command=mavlink.MAV_CMD_DO_SET_ROI, p1=ROI_IS_A_PLACE, **there),
        waypoint,
        _stay(structs.replace(waypoint, seq=at + HOVER, z=low), target),
        structs.replace(waypoint, seq=at + UP),
    )


def _stay(place: Item, target: Target) -> Item:
    """Over the place for the hover, or around it for about as long, in whole circles."""
    if not target.orbit_m:
        return structs.replace(place, command=mavlink.MAV_CMD_NAV_LOITER_TIME, p1=float(round(target.hover_s)))
    radius_m = float(round(target.orbit_m))
    turns = float(max(1, math.floor(target.hover_s / lap_s(radius_m))))
    return structs.replace(place, command=mavlink.MAV_CMD_NAV_LOITER_TURNS, p1=turns, p3=radius_m)


def lap_s(radius_m: float) -> float:
    """How long ArduCopter takes for a circle: AC_Circle::calc_velocities, CIRCLE_RATE and WPNAV_ACCEL as they come."""
    return math.tau / min(CIRCLE_RATE_RADPS, math.sqrt(0.5 * CIRCLE_ACCEL_MPS2 / radius_m))


def first(at: int, seq: int) -> int:
    """The first slot of the five that item `seq` is one of."""
    return at + SPARE if at + SPARE <= seq < at + TAIL else at


def spare(at: int, seq: int) -> int:
    """The first slot of the five that are not flown while item `seq` is."""
    return at if at + SPARE <= seq < at + TAIL else at + SPARE


def placeholder(at: int) -> Item:
    """What stands in the place of the jump until its end is there."""
    return Item(seq=at + GROUP, frame=FRAME, command=mavlink.MAV_CMD_DO_SET_ROI)


def growing(slots: Sequence[Item]) -> list[tuple[Item, ...]]:
    """The writes that put a whole block behind a mission: one item at a time, the jump when its end is there."""
    jump = slots[GROUP]
    return [*((item if item is not jump else placeholder(slots[0].seq),) for item in slots), (jump,)]


def leg(at: int, seq: int) -> Leg:
    """What an item of the slots from `at` on is part of; what stands before them is the route."""
    if seq < at:
        return "route"
    step = (seq - at) % SPARE if seq < at + TAIL else UP
    return "home" if step >= UP else "scene" if step == HOVER else "transit"


def target_of(held: Sequence[Item], at: int, seq: int) -> Target | None:
    """The place that the slots around item `seq` lead to, from what is aboard."""
    slots, start = {item.seq: item for item in held}, first(at, seq)
    over, hover = slots.get(start + OVER), slots.get(start + HOVER)
    if over is None or hover is None:
        return None
    there = Target(lat=hover.x / 1e7, lon=hover.y / 1e7, alt_m=hover.z, hover_s=hover.p1, transit_m=over.z)
    if hover.command != mavlink.MAV_CMD_NAV_LOITER_TURNS:
        return there
    return structs.replace(there, hover_s=hover.p1 * lap_s(hover.p3), orbit_m=hover.p3)


def path(items: Sequence[Item], seq: int) -> list[int]:
    """The items that are flown from `seq` on, through jumps, up to the return home; empty where none leads there."""
    found: list[int] = []
    while 0 < seq < len(items) and seq not in found:
        found.append(seq)
        match items[seq].command:
            case mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH:
                return found
            case mavlink.MAV_CMD_DO_JUMP:
                seq = int(items[seq].p1)
            case _:
                seq += 1
    return []


def replaced(held: Sequence[Item], items: Sequence[Item]) -> tuple[Item, ...]:
    """What is aboard once `items` are written; they may begin one behind the last."""
    first = items[0].seq
    return (*held[:first], *items, *held[first + len(items) :])
