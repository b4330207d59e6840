"""TOML becomes sections: values are converted, and each fault is told with its key, value and limit."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from edge_agent.calendar import read_ical
from edge_agent.config.agent import Agent
from edge_agent.config.flight import Route, Survey, Waypoint

Steps = tuple[str | int, ...]
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?$", re.DOTALL)
_PASSWORD = re.compile(r"://[^/@\s]*@")  # of an address that holds one: it is not to be told again
_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\[\.\.\.\]")
_CORNER = re.compile(r"(.+?)\[\d+\]\[\d+\]:")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_HARMLESS: dict[Steps, Any] = {("site",): {"device": "x"}, ("site", "device"): "x", ("data_dir",): "."}


def convert(table: dict[str, Any], base: Path) -> tuple[Agent | None, list[str]]:
    """msgspec stops at its first fault: note it, take the bad value away, and look again."""
    faults: list[str] = []
    told: list[Steps] = []

    def hook(kind: type, value: Any) -> Any:
        if kind is Path:
            if not isinstance(value, str) or not value or "\0" in value:
                raise ValueError("Expected the path of a file")
            return base / Path(value).expanduser()
        raise NotImplementedError

    for _ in range(500):
        try:
            return msgspec.convert(table, Agent, dec_hook=hook), faults
        except msgspec.ValidationError as error:
            found = _PATH.match(str(error))
            assert found
            what, steps = found["what"], _steps(found["path"] or "$")
            if unknown := _UNKNOWN.match(what):
                steps += (unknown[1],)
                near = difflib.get_close_matches(unknown[1], _known_keys(steps[:-1], table), n=1)
                faults.append(f"{_show(steps, table)}: unknown key" + (f"; did you mean `{near[0]}`?" if near else ""))
            elif missing := _MISSING.match(what):
                wanted = (*steps, missing[1])
                if not any(t[: len(wanted)] == wanted for t in told):
                    faults.append(f"{_show(wanted, table)}: required, and missing")
                if wanted in _HARMLESS:  # these cannot be taken away: put something harmless there and look on
                    _get(table, steps)[missing[1]] = _HARMLESS[wanted]
                    continue
            else:
                value = _get(table, steps)
                what += "" if repr(value) in what else f", got {value!r}"
                what = _PASSWORD.sub("://…@", what)
                if _in_corner(steps) and steps[-3] in ("polygon", "line") and isinstance(value, int | float):
                    what += "; corners are fractions of the picture, 0 to 1"
                choices = _choices(steps)
                faults.append(f"{_show(steps, table)}: {what}" + (f" (one of {', '.join(choices)})" if choices else ""))
            told.append(steps)
            if not steps or not _remove(table, steps):
                break
    return None, faults


def bent(faults: list[str]) -> tuple[str, ...]:
    """The beginnings of faults that a polygon or line would have only because a corner of it was refused."""
    return tuple(f"{corner[1]}:" for fault in faults if (corner := _CORNER.match(fault)))


def expand_ical(table: dict[str, Any]) -> list[str]:
    """An `rrule` of several iCalendar lines becomes the keys that they stand for."""
    faults: list[str] = []
    schedules = table.get("schedule")
    for schedule in schedules if isinstance(schedules, list) else ():
        text = schedule.get("rrule") if isinstance(schedule, dict) else None
        if not isinstance(text, str) or not any(word in text.upper() for word in ("DTSTART", "EXDATE", "\n")):
            continue
        try:
            keys = read_ical(text)
        except ValueError as error:
            faults.append(f"schedule[{schedule.get('id')}].rrule: {error}, got {text!r}")
            keys = {}
        if both := sorted(set(keys) & set(schedule) - {"rrule"}):
            faults.append(f"schedule[{schedule.get('id')}].rrule: names `{both[0]}`, which stands beside it too")
        schedule.update(keys)
    return faults


def read_routes(config: Agent, table: dict[str, Any]) -> tuple[Agent, list[str]]:
    """The routes that name a file, with what the file says; one that cannot be read keeps no waypoint."""
    given, faults, routes = table.get("route"), list[str](), list[Route]()
    for index, route in enumerate(config.routes):
        where = f"route[{route.id}]"
        if (route.file is None) == (not route.waypoints):
            faults.append(f"{where}: give either `waypoints` or a `file`")
        if route.file is None or route.waypoints:
            routes.append(route)
            continue
        said = given[index] if isinstance(given, list) and len(given) == len(config.routes) else {}
        found = read_route(route, keep_speed="speed_mps" in said)
        faults += [f"{where}.file: {fault}" for fault in found] if isinstance(found, list) else []
        routes.append(route if isinstance(found, list) else found)
    return msgspec.structs.replace(config, routes=tuple(routes)), faults


def read_route(route: Route, *, keep_speed: bool) -> Route | list[str]:
    """A route with what its file says, or every fault of the file."""
    from edge_agent.plans import files
    from edge_agent.plans.model import PlanError

    assert route.file is not None
    try:
        plan = files.read(route.file, files.survey_of(route.survey or Survey(), route.alt_m))
    except PlanError as error:
        return str(error).splitlines()
    except ValueError as error:
        return [f"survey: {error}"]
    if not plan.places:
        return [f"{route.file}: no place to fly to"]
    return msgspec.structs.replace(
        route,
        waypoints=tuple(Waypoint(lat=p.lat, lon=p.lon, alt_m=p.alt_m, hold_s=p.hold_s) for p in plan.places),
        speed_mps=route.speed_mps if keep_speed or plan.speed_mps is None else plan.speed_mps,
        fence=route.fence or plan.fence,
        rally=route.rally or plan.rally,
    )


def resolve_secrets(table: dict[str, Any], base: Path) -> None:
    vehicle, speakers = table.get("vehicle"), table.get("speaker")
    signing = vehicle.get("signing") if isinstance(vehicle, dict) else None
    sections = [(table.get("mqtt"), "password"), (table.get("evidence"), "token"), (signing, "key")]
    for speaker in speakers if isinstance(speakers, list) else ():
        sections += [(speaker, "password"), (speaker, "microphone_credentials")]
    for section, key in sections:
        if isinstance(section, dict):
            secret = section.get(key)
            if isinstance(secret, str) and secret and not secret.startswith("credential:"):
                section[key] = str(base / secret)
    cameras = table.get("camera")
    for camera in cameras if isinstance(cameras, list) else ():
        secret = camera.get("credentials") if isinstance(camera, dict) else None
        if isinstance(secret, str) and secret and not secret.startswith("credential:"):
            camera["credentials"] = str(base / secret)


def _steps(path: str) -> Steps:
    return tuple(key if key else int(index) for key, index in _STEP.findall(path) if key or index)


def _get(table: Any, steps: Steps) -> Any:
    for step in steps:
        table = table[step]
    return table


def _remove(table: Any, steps: Steps) -> bool:
    """Take a bad value away; of a corner's numbers one that fits takes its place, so that the others keep theirs."""
    try:
        holder, last = _get(table, steps[:-1]), steps[-1]
        if _in_corner(steps) and isinstance(holder[last], int | float) and holder[last] != 0:
            holder[last] = 0
        else:
            del holder[last]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _in_corner(steps: Steps) -> bool:
    """Whether a value is a number of a corner of a polygon, or of an end of a line."""
    return len(steps) > 2 and isinstance(steps[-1], int) and isinstance(steps[-2], int)


def _show(steps: Steps, table: Any) -> str:
    """`camera[1] "gate" .fps` as `camera.gate.fps`: by name where the table has one, else by position."""
    parts: list[str] = []
    for step in steps:
        try:
            table = table[step]
        except (KeyError, IndexError, TypeError):
            table = None
        if isinstance(step, int):
            name = (table.get("name") or table.get("id")) if isinstance(table, dict) else None
            parts[-1] += f"[{name if isinstance(name, str) else step}]"
        else:
            parts.append(step)
    return ".".join(parts) or "the file"


def _known_keys(steps: Steps, table: dict[str, Any]) -> list[str]:
    """The keys that the section at `steps` knows."""
    kinds = _kinds(steps)
    here = _get(table, steps)
    tag = here.get("type") if isinstance(here, dict) else None
    kinds = [kind for kind in kinds if kind.__struct_config__.tag == tag] or kinds
    return [f.encode_name for kind in kinds for f in msgspec.structs.fields(kind)]


def _choices(steps: Steps) -> list[str]:
    """What may stand at `steps` where only certain words may."""
    kinds = _kinds(steps[:-1])
    if steps[-1:] == ("type",):
        return [str(kind.__struct_config__.tag) for kind in kinds]
    types = [f.type for kind in kinds for f in msgspec.structs.fields(kind) if f.encode_name == steps[-1]]
    return [str(word) for kind in types for word in _words(kind)]


def _kinds(steps: Steps) -> list[Any]:
    """The struct types that may stand at `steps`."""
    kinds: list[Any] = [Agent]
    for step in steps:
        if isinstance(step, str):
            found = [f.type for kind in kinds for f in msgspec.structs.fields(kind) if f.encode_name == step]
            kinds = [struct for kind in found for struct in _structs(kind)]
    return kinds


def _words(kind: Any) -> list[Any]:
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [word for arg in get_args(kind) for word in _words(arg)]


def _structs(kind: Any) -> list[Any]:
    if isinstance(kind, type) and issubclass(kind, Struct):
        return [kind]
    return [struct for arg in get_args(kind) for struct in _structs(arg)]
