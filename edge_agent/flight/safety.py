"""The only road to the vehicle: what may be commanded now, given what is known of it. Pure, small, all of it tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.config import Limits
from edge_agent.flight import scene
from edge_agent.flight.mission import Item
from edge_agent.messages import Refusal, Telemetry

FRESH_S = 3.0

# A mode may be left in the air only for one that ends the flight at least as surely.
SEVERITY = {"AUTO": 0, "BRAKE": 0, "RTL": 1, "LAND": 2}
AUTOPILOT_RETURNS = ("SMART_RTL", "AUTO_RTL")  # never ours to set, but as good as RTL when it runs
ON_THE_GROUND = ("GUIDED", "AUTO")

_FRAMES = (mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT, mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT)  # as sent, as read back
_TAKEOFF, _RETURN = mavlink.MAV_CMD_NAV_TAKEOFF, mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH
_SETTINGS = (mavlink.MAV_CMD_DO_CHANGE_SPEED, mavlink.MAV_CMD_DO_SET_ROI)  # they lead nowhere

_POLYGONS = (
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_INCLUSION,
    mavlink.MAV_CMD_NAV_FENCE_POLYGON_VERTEX_EXCLUSION,
)
_CIRCLES = (mavlink.MAV_CMD_NAV_FENCE_CIRCLE_INCLUSION, mavlink.MAV_CMD_NAV_FENCE_CIRCLE_EXCLUSION)
MOST_TURNS, MOST_RADIUS_M = 255, 255  # what ArduPilot keeps exactly
LARGEST = 3.4e38  # of a 32-bit float, nearly
LONGEST_TUNE = 99  # AP_Notify's buffer has 100 bytes, and cuts off what is longer
NOTES = frozenset("ABCDEFGLMNOPRSTVabcdefglmnoprstv0123456789#+-.<>")


class Arm(Struct, frozen=True, tag=True):
    """Start the motors. There is no forced variant: the magic 21196 cannot be said."""


class Disarm(Struct, frozen=True, tag=True):
    """Stop the motors, on the ground. There is no forced variant."""


class SetMode(Struct, frozen=True, tag=True):
    """Change the flight mode, by ArduCopter's name for it."""

    mode: str


class UploadMission(Struct, frozen=True, tag=True):
    """Replace the mission aboard; item 0 is the home placeholder."""

    items: tuple[Item, ...]


class UploadFence(Struct, frozen=True, tag=True):
    """Replace the fence aboard; none of its items clears it."""

    items: tuple[Item, ...]


class UploadRally(Struct, frozen=True, tag=True):
    """Replace the rally points aboard."""

    items: tuple[Item, ...]


class EnableFence(Struct, frozen=True, tag=True):
    """Switch the fence on, until the next start of the autopilot. There is no way to switch it off."""


class SetParam(Struct, frozen=True, tag=True):
    """Set a parameter of the autopilot, by its name."""

    name: str
    value: float


class Reboot(Struct, frozen=True, tag=True):
    """Start the autopilot anew, so that settings act which do so only from its start on."""


class SetCurrent(Struct, frozen=True, tag=True):
    """Make a mission item the current one, on the ground."""

    seq: int


class WriteSlots(Struct, frozen=True, tag=True):
    """Write items of the mission in flight, which is `aboard` as read back; none of them may be on the way home."""

    aboard: tuple[Item, ...]
    items: tuple[Item, ...]


class Jump(Struct, frozen=True, tag=True):
    """Go on at another item of the mission in flight, which is `aboard` as read back."""

    aboard: tuple[Item, ...]
    seq: int


class StartMission(Struct, frozen=True, tag=True):
    """Fly the mission aboard."""


class PlayTune(Struct, frozen=True, tag=True):
    """Sound the buzzer: a tune in the words of QBasic's PLAY, as ArduPilot's MMLPlayer reads them."""

    tune: str


Command = (
    Arm | Disarm | SetMode | UploadMission | UploadFence | UploadRally | EnableFence | SetParam | Reboot | SetCurrent
    | WriteSlots | Jump | StartMission
)  # fmt: skip


def permit(command: Command | PlayTune, telemetry: Telemetry | None, limits: Limits, now: float) -> Refusal | None:
    """None where the command may be sent now, else why not."""
    if telemetry is None:
        return _no("link", "the autopilot was not heard yet", remedy="check power, cable and baud rate")
    if (age_s := now - telemetry.at_s) > FRESH_S:
        return Refusal(
            gate="safety.link", reason="telemetry is too old to command by", value=f"{age_s:.1f} s",
            limit=f"{FRESH_S:g} s", age_s=age_s, remedy="wait for the link",
        )  # fmt: skip
    match command:
        case Arm():
            return _arm(telemetry)
        case Disarm():
            if telemetry.landed is not True:
                return _no("disarm", "never disarm in the air", "not on the ground")
            return None
        case SetMode(mode=mode):
            return _mode(mode, telemetry)
        case UploadMission(items=items):
            return _grounded("upload", telemetry) or _mission(items, telemetry, limits)
        case UploadFence(items=items):
            return _grounded("upload", telemetry) or _fence(items)
        case UploadRally(items=items):
            return _grounded("upload", telemetry) or _rally(items, telemetry, limits)
        case EnableFence():
            return _grounded("fence", telemetry)
        case SetParam(name=name, value=value):
            return _grounded("param", telemetry) or _param(name, value)
        case Reboot():
            return _grounded("reboot", telemetry)
        case SetCurrent():
            return _grounded("current", telemetry)
        case WriteSlots(aboard=aboard, items=items):
            return _outward("write", aboard, telemetry) or _slots(aboard, items, telemetry, limits)
        case Jump(aboard=aboard, seq=seq):
            return _outward("jump", aboard, telemetry) or _jump(aboard, seq, telemetry, limits)
        case StartMission():
            return _start(telemetry)
        case PlayTune(tune=tune):
            return _tune(tune)
        case _:  # pragma: no cover
            assert_never(command)


def _arm(t: Telemetry) -> Refusal | None:
    if t.armed:
        return _no("arm", "it is armed already")
    if t.landed is not True:
        return _no("arm", "not seen on the ground")
    if t.mode != "GUIDED":
        return _no("arm", "arm only in GUIDED", t.mode, "GUIDED")
    return None


def _mode(mode: str, t: Telemetry) -> Refusal | None:
    if t.landed is True:
        if mode not in ON_THE_GROUND:
            return _no("mode", f"{mode} is of no use on the ground", mode, " or ".join(ON_THE_GROUND))
        return None
    if mode not in SEVERITY:
        return _no("mode", f"{mode} could leave the drone in the air without an end", mode, ", ".join(SEVERITY))
    running = "RTL" if t.mode in AUTOPILOT_RETURNS else t.mode
    if SEVERITY[mode] < SEVERITY.get(running, 0):
        return _no("mode", f"{t.mode} runs, and only safety may follow it", mode, t.mode)
    return None


def _start(t: Telemetry) -> Refusal | None:
    if not t.armed or t.landed is not True or t.mode != "AUTO":
        found = f"{'armed' if t.armed else 'disarmed'}, {'landed' if t.landed else 'not landed'}, {t.mode}"
        return _no("start", "a mission starts armed, on the ground and in AUTO", found, "armed, landed, AUTO")
    return None


def _grounded(gate: str, t: Telemetry) -> Refusal | None:
    if t.armed or t.landed is not True:
        found = f"{'armed' if t.armed else 'disarmed'}, {'landed' if t.landed else 'not landed'}"
        return _no(gate, "what is aboard is changed only on the ground and disarmed", found, "disarmed, landed")
    return None


def _mission(items: Sequence[Item], t: Telemetry, limits: Limits) -> Refusal | None:
    """Take off, stay within the limits, come home: nothing else is a mission."""
    body = items[1:]
    if len(body) < 3 or body[0].command != _TAKEOFF or body[-1].command != _RETURN:
        return _no("mission", "a mission starts with a take-off and ends with the return home")
    if [item.seq for item in items] != list(range(len(items))):
        return _no("mission", "its items are not numbered in order")
    return next((refusal for item in body if (refusal := _item(item, len(items), t, limits)) is not None), None)


def _item(item: Item, total: int, t: Telemetry, limits: Limits) -> Refusal | None:
    """One item of a mission of `total` items; jumps lead forward, so that every path ends."""
    if t.home_lat is None or t.home_lon is None:
        return _no("mission", "home is unknown, so no distance can be checked", remedy="wait for the position fix")
    away_m = stays_s = 0.0
    match item.command:
        case command if command in _SETTINGS or command == _RETURN:
            return None
        case mavlink.MAV_CMD_DO_JUMP:
            if item.seq < item.p1 < total and item.p2 == scene.EVER:
                return None
            return _no("mission", f"item {item.seq}: it jumps elsewhere than ahead", f"{item.p1:g}", f"< {total}")
        case mavlink.MAV_CMD_NAV_TAKEOFF:
            pass
        case mavlink.MAV_CMD_NAV_WAYPOINT | mavlink.MAV_CMD_NAV_LOITER_TIME:
            away_m = geo.distance_m(t.home_lat, t.home_lon, item.x / 1e7, item.y / 1e7)
        case mavlink.MAV_CMD_NAV_LOITER_TURNS:
            away_m = geo.distance_m(t.home_lat, t.home_lon, item.x / 1e7, item.y / 1e7) + item.p3
            if not (1 <= item.p1 <= MOST_TURNS and 1 <= item.p3 <= MOST_RADIUS_M):
                found, limit = f"{item.p1:g} × {item.p3:g} m", f"1..{MOST_TURNS:g} × 1..{MOST_RADIUS_M:g} m"
                return _no("mission", f"item {item.seq}: no circle that can be flown", found, limit)
            stays_s = item.p1 * scene.lap_s(item.p3)
        case other:
            return _no("mission", f"item {item.seq}: command {other} is not one we fly", str(other))
    if item.frame not in _FRAMES:
        return _no("mission", f"item {item.seq}: heights are above home", str(item.frame), str(_FRAMES[0]))
    if not (math.isfinite(item.z) and limits.min_alt_m <= item.z <= limits.max_alt_m):
        limit = f"{limits.min_alt_m:g}..{limits.max_alt_m:g} m"
        return _no("mission", f"item {item.seq}: height out of limits", f"{item.z:g} m", limit, "limits.max_alt_m")
    if away_m > limits.max_distance_m:
        limit = f"{limits.max_distance_m:g} m"
        return _no("mission", f"item {item.seq}: too far from home", f"{away_m:.0f} m", limit)
    if item.command == mavlink.MAV_CMD_NAV_LOITER_TIME:
        stays_s = item.p1
    if stays_s > limits.max_on_scene_s:
        return _no("mission", f"item {item.seq}: it hovers too long", f"{stays_s:g} s", f"{limits.max_on_scene_s:g} s")
    return None


def _outward(gate: str, aboard: Sequence[Item], t: Telemetry) -> Refusal | None:
    """A mission is touched in the air only while it runs, leads home, and is not on the return home yet."""
    if not t.armed or t.landed is not False or t.mode != "AUTO":
        return _no(gate, "a mission is changed in the air only while it is flown", t.mode, "armed, in the air, AUTO")
    path = scene.path(aboard, t.mission_seq or 0)
    if not path:
        return _no(gate, "the mission aboard does not lead home from where it is", str(t.mission_seq))
    if path[0] == path[-1]:
        return _no(gate, "it is on its way home, and only safety may follow", str(t.mission_seq))
    return None


def _slots(aboard: Sequence[Item], items: Sequence[Item], t: Telemetry, limits: Limits) -> Refusal | None:
    """Slots may be written where the drone will not come by; one more may follow the last."""
    first = items[0].seq if items else 0
    if [item.seq for item in items] != list(range(first, first + len(items))) or not 0 < first <= len(aboard):
        return _no("write", "the slots are not in order", str(first), f"1..{len(aboard)}")
    total = max(len(aboard), first + len(items))
    if total > len(aboard) + 1:
        return _no("write", "a mission grows by one item at a time", str(total), str(len(aboard) + 1))
    flown = set(scene.path(aboard, t.mission_seq or 0)).intersection(item.seq for item in items)
    if flown:
        return _no("write", "what is being flown is not rewritten", ", ".join(map(str, sorted(flown))))
    return next((refusal for item in items if (refusal := _item(item, total, t, limits)) is not None), None)


def _jump(aboard: Sequence[Item], seq: int, t: Telemetry, limits: Limits) -> Refusal | None:
    """The whole mission must be one that we fly, and lead home from there."""
    if not scene.path(aboard, seq):
        return _no("jump", "no way home leads from there", str(seq))
    return _mission(aboard, t, limits)


def _fence(items: Sequence[Item]) -> Refusal | None:
    """Polygons of three or more corners that stand together and name their number, and circles with a radius."""
    polygon, left = (0, 0.0), 0
    for at, item in enumerate(items):
        if item.seq != at or item.command not in (*_POLYGONS, *_CIRCLES):
            return _no("fence", f"item {at}: no part of a fence, or not in order", str(item.command))
        if not item.p1 > 0:
            return _no("fence", f"item {at}: neither a number of corners nor a radius", f"{item.p1:g}")
        if not left and item.command in _CIRCLES:
            continue
        if not left:
            polygon, left = (item.command, item.p1), int(item.p1)
        if item.p1 < 3 or (item.command, item.p1) != polygon:
            return _no("fence", f"item {at}: its polygon is broken, or has fewer than three corners", f"{item.p1:g}")
        left -= 1
    return _no("fence", "its last polygon lacks corners", str(left), "0") if left else None


def _rally(items: Sequence[Item], t: Telemetry, limits: Limits) -> Refusal | None:
    """Places to return to that are as near and as high as any other place of a flight."""
    for at, item in enumerate(items):
        if t.home_lat is None or t.home_lon is None:
            return _no("rally", "home is unknown, so no distance can be checked", remedy="wait for the position fix")
        if (item.seq, item.command, item.frame) != (at, mavlink.MAV_CMD_NAV_RALLY_POINT, _FRAMES[0]):
            return _no("rally", f"item {at}: no rally point at a height above home, or not in order")
        if not limits.min_alt_m <= item.z <= limits.max_alt_m:
            limit = f"{limits.min_alt_m:g}..{limits.max_alt_m:g} m"
            return _no("rally", f"item {at}: height out of limits", f"{item.z:g} m", limit, "limits.max_alt_m")
        away_m = geo.distance_m(t.home_lat, t.home_lon, item.x / 1e7, item.y / 1e7)
        if away_m > limits.max_distance_m:
            return _no("rally", f"item {at}: too far from home", f"{away_m:.0f} m", f"{limits.max_distance_m:g} m")
    return None


def _param(name: str, value: float) -> Refusal | None:
    if not 0 < len(name) <= 16 or not name.isascii():
        return _no("param", "no parameter has such a name", name, "1 to 16 letters")
    if not abs(value) <= LARGEST:
        return _no("param", f"{name} can only be a finite 32-bit number", f"{value:g}")
    return None


def _tune(tune: str) -> Refusal | None:
    if not 0 < len(tune) <= LONGEST_TUNE or not set(tune) <= NOTES:
        return _no("tune", "no tune that the autopilot reads whole", f"{len(tune)} characters", f"1..{LONGEST_TUNE}")
    return None


def _no(
    gate: str, reason: str, value: str | None = None, limit: str | None = None, remedy: str | None = None
) -> Refusal:
    return Refusal(gate=f"safety.{gate}", reason=reason, value=value, limit=limit, remedy=remedy)
