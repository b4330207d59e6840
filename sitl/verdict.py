"""What must hold after every scenario, and the geometry of paths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sitl.station import Point
from sitl.wire import Passed

if TYPE_CHECKING:
    from sitl.world import World

ENDS = ("landed", "failed", "preempted", "lockout", "missed", "checked")
SILENT = ("yielded", "link_down", "foreign")  # phases in which the agent must not act
REACTION_S = 1.0  # what was sent before the agent could know is no fault
# What only asks, and changes nothing aboard.
ASKING = (mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, mavlink.MAV_CMD_REQUEST_MESSAGE)
ACTING = (
    "COMMAND_LONG", "COMMAND_INT", "SET_MODE", "MISSION_COUNT", "MISSION_ITEM_INT", "MISSION_ITEM",
    "MISSION_CLEAR_ALL", "MISSION_SET_CURRENT", "MISSION_WRITE_PARTIAL_LIST", "PARAM_SET", "RC_CHANNELS_OVERRIDE",
    "MANUAL_CONTROL", "SET_POSITION_TARGET_GLOBAL_INT", "SET_POSITION_TARGET_LOCAL_NED", "SET_ATTITUDE_TARGET",
    "SET_HOME_POSITION",
)  # fmt: skip


class Act(NamedTuple):
    """Something the agent told the vehicle to do, in words; `again` counts how often it was sent before, unanswered."""

    at_s: float
    what: str
    again: int = 0


def commands(sent: Iterable[Passed]) -> list[Act]:
    """Everything in the agent's frames that acts on the vehicle."""
    decoder = mavlink.MAVLink(None)
    decoder.robust_parsing = True
    found = []
    for passed in sent:
        for m in decoder.parse_buffer(passed.frame) or ():
            name = m.get_type()
            if name not in ACTING or (name.startswith("COMMAND_") and m.command in ASKING):
                continue
            found.append(Act(passed.at_s, _in_words(m), getattr(m, "confirmation", 0)))
    return found


def _in_words(m: Any) -> str:
    if not m.get_type().startswith("COMMAND_"):
        return str(m.get_type())
    entry = mavlink.enums["MAV_CMD"].get(m.command)
    name = entry.name.removeprefix("MAV_CMD_") if entry else str(m.command)
    return f"{name}({m.param1:g}, {m.param2:g})"


def faults(world: World, exit_code: int | None) -> list[str]:
    """What was wrong with the flight as a whole; empty where nothing was."""
    if "Traceback" in world.agent.said():
        return [*_end(world), "the agent's log holds a traceback"]
    if not world.agent.daemon:
        return _end(world)
    events = world.agent.events()
    found = [*_end(world), *_log(events), *_acts(world, events)]
    if exit_code not in (0, None):
        found.append(f"the agent ended with exit code {exit_code}")
    if complaint := world.agent.outbox_is_sound():
        found.append(f"the agent's outbox: {complaint}")
    return found


def _end(world: World) -> list[str]:
    found = []
    if world.station.armed or not world.station.on_ground:
        found.append(f"not landed and disarmed: {world.station.in_words()}")
    place = world.where()
    away_m = math.hypot(place.north_m, place.east_m)
    if world.ends_at_home and away_m > world.home_radius_m:
        found.append(f"it stands {away_m:.1f} m from home, the limit is {world.home_radius_m:g} m")
    return found


def _log(events: Sequence[dict[str, Any]]) -> list[str]:
    """Each run's events are numbered without a gap, hang together, and come to an end."""
    found = []
    runs: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        runs.setdefault(event["run"], []).append(event)
    for run, told in runs.items():
        if [event["seq"] for event in told] != list(range(1, len(told) + 1)):
            found.append(f"run {run}: its events are numbered {[event['seq'] for event in told]}")
        for before, after in itertools.pairwise(told):
            if after["previous"] not in (before["phase"], "boot"):
                found.append(f"run {run}: {before['phase']} is followed by one from {after['previous']}")
        if told[-1]["phase"] not in ENDS:
            found.append(f"run {run}: it never ended; its last phase is {told[-1]['phase']}")
    return found


def _acts(world: World, events: Sequence[dict[str, Any]]) -> list[str]:
    """No command while somebody else flies, or while nothing is heard."""
    found = []
    offset_s = world.clock.wall_offset_s
    spans = [
        (event["wall_s"] - offset_s, (after["wall_s"] - offset_s) if after else math.inf, event["phase"])
        for event, after in itertools.zip_longest(events, events[1:])
        if event["phase"] in SILENT
    ]
    acts = commands(world.wire.sent)
    for begin_s, end_s, phase in spans:
        resumed_s = min((at_s for at_s in world.resumed_s if at_s >= begin_s), default=math.inf)
        found += [
            f"{act.what} was sent at {act.at_s:.1f} s, while the agent was {phase} (since {begin_s:.1f} s)"
            for act in acts
            if begin_s + REACTION_S < act.at_s < min(end_s - REACTION_S, resumed_s)
        ]
    return found


# --- paths ------------------------------------------------------------------------------------------------------------


def deviation_m(path: Sequence[Point], control: Sequence[Point]) -> float:
    """How far `path` strays from the line that `control` draws, at most; both as places, whatever the time."""
    spaced = _spaced(control)
    legs = list(itertools.pairwise(spaced))
    return max(min(_to_leg_m(point, *leg) for leg in legs) for point in _spaced(path))


def _spaced(path: Sequence[Point], every_m: float = 0.5) -> list[Point]:
    kept = [path[0]]
    for point in path:
        if math.dist(point[1:], kept[-1][1:]) >= every_m:
            kept.append(point)
    return kept


def _to_leg_m(point: Point, a: Point, b: Point) -> float:
    along = [q - p for p, q in zip(a[1:], b[1:], strict=True)]
    square = sum(v * v for v in along)
    share = sum((p - q) * v for p, q, v in zip(point[1:], a[1:], along, strict=True)) / square if square else 0.0
    share = min(1.0, max(0.0, share))
    return math.dist(point[1:], [p + share * v for p, v in zip(a[1:], along, strict=True)])
