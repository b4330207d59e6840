"""The items of a MAVLink mission become the places of a route, or are refused by name. Pure.

What is flown is take-off, places, and the return home: what a file says beyond that is left out with a note where it
cannot matter to the path (cameras, gimbals), and refused where it could.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import structs

from edge_agent import geo
from edge_agent.plans.model import ALT_MAX_M, HOLD_MAX_S, PLACES_MAX, SPEED_MAX_MPS, Fault, Place

# MAV_CMD of https://mavlink.io/en/messages/common.html
WAYPOINT, LOITER_TIME, RETURN, LAND, TAKEOFF, DELAY, JUMP, SPEED = 16, 19, 20, 21, 22, 93, 177, 178
_LEFT_OUT = {
    115: "CONDITION_YAW", 195: "DO_SET_ROI_LOCATION", 197: "DO_SET_ROI_NONE", 200: "DO_CONTROL_VIDEO",
    201: "DO_SET_ROI", 202: "DO_DIGICAM_CONFIGURE", 203: "DO_DIGICAM_CONTROL", 204: "DO_MOUNT_CONFIGURE",
    205: "DO_MOUNT_CONTROL", 206: "DO_SET_CAM_TRIGG_DIST", 214: "DO_SET_CAM_TRIGG_INTERVAL",
    530: "SET_CAMERA_MODE", 531: "SET_CAMERA_ZOOM", 532: "SET_CAMERA_FOCUS", 1000: "DO_GIMBAL_MANAGER_PITCHYAW",
    2000: "IMAGE_START_CAPTURE", 2001: "IMAGE_STOP_CAPTURE", 2500: "VIDEO_START_CAPTURE", 2501: "VIDEO_STOP_CAPTURE",
}  # fmt: skip
_WAY_OUT = {
    17: "loiter for a time, or use a waypoint with a hold",
    18: "use waypoints around the place",
    82: "make it a plain waypoint",
    600: "unroll the laps",
    601: "unroll the laps",
    188: "the agent returns by the autopilot's own RTL; take it out",
    189: "the agent returns by the autopilot's own RTL; take it out",
}
_FRAMES = {
    0: "heights above sea level", 1: "metres in a local frame", 2: "no place at all", 4: "metres in a local frame",
    5: "heights above sea level", 10: "heights above the terrain", 11: "heights above the terrain",
}  # fmt: skip
RELATIVE = (3, 6)  # GLOBAL_RELATIVE_ALT and its _INT twin: metres above home
OVER_GROUND = (0, 1)  # SPEED_TYPE: Copter takes air speed for ground speed
HOME_RADIUS_M = 30.0  # a landing this near to home is the return home
STEPS_MAX = 20_000


class Raw(NamedTuple):
    """An item as the file has it; `number` is what jumps name it by, `params` the seven, None for not a number."""

    where: str
    number: int
    command: int
    frame: int
    params: tuple[float | None, ...]


class Flown(NamedTuple):
    """What the items come to."""

    places: tuple[Place, ...]
    speed_mps: float | None
    notes: tuple[str, ...]


def flown(raws: Sequence[Raw], home: tuple[float, float] | None, faults: list[Fault]) -> Flown:
    """The places in the order they are flown in, finite loops unrolled; what is wrong is added to `faults`."""
    before = len(faults)
    if len(raws) > PLACES_MAX + 50:  # what is not flown counts a little too: such a file is not one route
        faults.append(_too_many(len(raws), "items"))
    checked = [_check(raw, home, faults) for raw in raws]
    if len(faults) > before:
        return Flown((), None, ())
    order = _unroll(raws, faults)
    places: list[Place] = []
    speeds: set[float] = set()
    over: str | None = None  # what ended the flight
    for index in order:
        raw, place = raws[index], checked[index]
        if over is not None and raw.command not in _LEFT_OUT:
            faults.append(
                Fault(where=raw.where, reason=f"{name_of(raw.command)} stands after the end of the flight at {over}",
                      remedy="end the route there, or take the return out")
            )  # fmt: skip
            break
        if place is not None:
            places.append(place)
        elif raw.command == TAKEOFF and places:
            faults.append(Fault(where=raw.where, reason="a second take-off", remedy="make two routes of it"))
        elif raw.command in (RETURN, LAND):
            over = raw.where
        elif raw.command == DELAY and places:
            places[-1] = structs.replace(places[-1], hold_s=places[-1].hold_s + (raw.params[0] or 0.0))
        elif raw.command == SPEED:
            speeds.add(raw.params[1] or 0.0)
    if len(places) > PLACES_MAX:
        faults.append(_too_many(len(places), "places once its laps are unrolled"))
    for place in places:
        if place.hold_s > HOLD_MAX_S:
            faults.append(
                Fault(where=place.item, reason="holds too long", value=f"{place.hold_s:g} s", limit=f"{HOLD_MAX_S:g} s")
            )
    left = sorted({_LEFT_OUT[raw.command] for raw in raws if raw.command in _LEFT_OUT})
    notes = [f"left out, as they do not change the path: {', '.join(left)}"] if left else []
    if len(speeds) > 1:
        notes.append(f"it names {len(speeds)} speeds; the whole route is flown at the lowest, {min(speeds):g} m/s")
    return Flown(tuple(places), min(speeds) if speeds else None, tuple(notes))


def name_of(command: int) -> str:
    """A command by its name in MAVLink, else by its number."""
    from pymavlink.dialects.v20 import ardupilotmega as mavlink

    entry = mavlink.enums["MAV_CMD"].get(command)
    return str(entry.name).removeprefix("MAV_CMD_") if entry else f"command {command}"


def _check(raw: Raw, home: tuple[float, float] | None, faults: list[Fault]) -> Place | None:
    p = raw.params
    if bad := [n for n, value in enumerate(p, start=1) if value is not None and not math.isfinite(value)]:
        faults.append(Fault(where=raw.where, reason=f"parameter {bad[0]} is no number", value=str(p[bad[0] - 1])))
        return None
    if raw.command in (WAYPOINT, LOITER_TIME):
        return _place(raw, faults)
    if raw.command == LAND:
        _landing(raw, home, faults)
    elif raw.command == DELAY and (p[0] or 0.0) < 0:
        faults.append(
            Fault(where=raw.where, reason="NAV_DELAY until a time of day", remedy="wait in the schedule instead")
        )
    elif raw.command == SPEED and (p[0] or 0.0) not in OVER_GROUND:
        faults.append(
            Fault(where=raw.where, reason="DO_CHANGE_SPEED of climb or descent is not flown", value=f"type {p[0]:g}",
                  limit="type 0 or 1", remedy="the autopilot's own WPNAV_SPEED_UP and _DN hold; take it out")
        )  # fmt: skip
    elif raw.command == SPEED and not 0 < (p[1] or 0.0) <= SPEED_MAX_MPS:
        faults.append(
            Fault(where=raw.where, reason="DO_CHANGE_SPEED to no speed that is flown", value=f"{p[1]} m/s",
                  limit=f"above 0 up to {SPEED_MAX_MPS:g} m/s")
        )  # fmt: skip
    elif raw.command == JUMP and (p[0] is None or p[1] is None):
        faults.append(Fault(where=raw.where, reason="DO_JUMP without its item or its number of laps"))
    elif raw.command == JUMP and (p[1] or 0.0) < 0:
        faults.append(
            Fault(where=raw.where, reason="DO_JUMP repeats for ever: a flight that never ends",
                  value=f"{p[1]:g} times", limit="a number of laps", remedy="give the number of laps")
        )  # fmt: skip
    elif raw.command not in (RETURN, TAKEOFF, DELAY, SPEED, JUMP, *_LEFT_OUT):
        faults.append(
            Fault(where=raw.where, reason=f"{name_of(raw.command)} is not a command that routes fly",
                  value=str(raw.command), limit="waypoints, holds, speeds, laps, return",
                  remedy=_WAY_OUT.get(raw.command, "take it out of the plan"))
        )  # fmt: skip
    return None


def _place(raw: Raw, faults: list[Fault]) -> Place | None:
    where, p = raw.where, raw.params
    if raw.frame not in RELATIVE:
        what = _FRAMES.get(raw.frame, "an unknown frame")
        faults.append(
            Fault(where=where, reason=f"frame {raw.frame} means {what}", value=str(raw.frame),
                  limit="3 or 6 (GLOBAL_RELATIVE_ALT)", remedy="plan with heights relative to launch")
        )  # fmt: skip
        return None
    lat, lon, alt_m, hold_s = p[4], p[5], p[6], p[0] or 0.0
    if lat is None or lon is None or alt_m is None:
        faults.append(Fault(where=where, reason="a place without latitude, longitude or height"))
        return None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        faults.append(Fault(where=where, reason="no place on Earth", value=f"{lat:g}, {lon:g}", limit="±90, ±180"))
        return None
    if abs(lat) < 1e-6 and abs(lon) < 1e-6:
        faults.append(
            Fault(where=where, reason="0/0 is the sea off Ghana, not a waypoint", value=f"{lat:g}, {lon:g}",
                  remedy="give its place")
        )  # fmt: skip
        return None
    if not 0 < alt_m <= ALT_MAX_M:
        below = "at or below the take-off place" if alt_m <= 0 else "too high"
        faults.append(
            Fault(where=where, reason=f"its height is {below}", value=f"{alt_m:g} m",
                  limit=f"above 0 up to {ALT_MAX_M:g} m", remedy="heights are metres above home")
        )  # fmt: skip
        return None
    if hold_s < 0:
        faults.append(Fault(where=where, reason="holds for a negative time", value=f"{hold_s:g} s", limit="0 s"))
        return None
    return Place(lat=lat, lon=lon, alt_m=alt_m, hold_s=hold_s, item=where)


def _landing(raw: Raw, home: tuple[float, float] | None, faults: list[Fault]) -> None:
    lat, lon = raw.params[4], raw.params[5]
    if not lat or not lon:
        away = "wherever the drone is then"
    elif home is None:
        away = "at a place of its own, and the file names no home"
    elif (away_m := geo.distance_m(*home, lat, lon)) <= HOME_RADIUS_M:
        return
    else:
        away = f"{away_m:.0f} m from home"
    faults.append(
        Fault(where=raw.where, reason=f"LAND {away}: every flight ends at home", limit=f"{HOME_RADIUS_M:g} m",
              remedy="replace it by Return To Launch")
    )  # fmt: skip


def _unroll(raws: Sequence[Raw], faults: list[Fault]) -> list[int]:
    """The indices in flying order; as in ArduPilot (AP_Mission, jump_tracking) a jump's laps count once per flight."""
    called: dict[int, list[int]] = {}
    for index, raw in enumerate(raws):
        called.setdefault(raw.number, []).append(index)
    laps: dict[int, int] = {}
    order: list[int] = []
    here = steps = 0
    while here < len(raws):
        steps += 1
        raw = raws[here]
        if steps > STEPS_MAX or len(order) > 4 * PLACES_MAX:
            faults.append(_too_many(len(order), "items once its laps are unrolled, and more to come"))
            return []
        if raw.command != JUMP:
            order.append(here)
            here += 1
            continue
        target, times = raw.params[0] or 0.0, raw.params[1] or 0.0
        found = called.get(int(target), [])
        if len(found) != 1:
            there = "there more than once" if found else "not there"
            faults.append(Fault(where=raw.where, reason=f"DO_JUMP to an item that is {there}", value=f"{target:g}"))
            return []
        if laps.get(here, 0) < times:
            laps[here] = laps.get(here, 0) + 1
            here = found[0]
        else:
            here += 1
    return order


def _too_many(count: int, what: str) -> Fault:
    return Fault(
        where="mission", reason=f"{count} {what}", value=str(count), limit=str(PLACES_MAX),
        remedy="make several routes of it",
    )  # fmt: skip
