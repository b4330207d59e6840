"""What a centre may set from afar, checked against the configuration; the last good document stays in effect.

Settable in v1: `mqtt.telemetry_period_s`; of each rule `after_s`, `cool_down_s`, `min_score`; of each schedule
`enabled`; of each zone `polygon` or `map`. A document names only what differs from agent.toml, and replaces the one
before it as a whole. A zone that a command moved stays so until a later document names it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from edge_agent import config, geo
from edge_agent.files import write_durably
from edge_agent.messages import Corners
from edge_agent.runtime import DriverError
from edge_agent.twin import Desired, Rejected

log = logging.getLogger(__name__)
S = TypeVar("S", bound=config.Section)
T = TypeVar("T")

MIN_AREA = 1e-4  # of the picture

SETTABLE: Mapping[str, tuple[str, ...]] = {
    "mqtt": ("telemetry_period_s",),
    "rules": ("after_s", "cool_down_s", "min_score"),
    "schedules": ("enabled",),
    "zones": ("polygon", "map"),
}


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A zone that a command moved: where to, who asked, when, and after which desired document."""

    polygon: tuple[config.Corner, ...] = ()
    map: tuple[tuple[float, float], ...] = ()
    by: str
    wall_s: float
    after: int


def overlay(base: config.Agent, settings: Any) -> tuple[config.Agent, tuple[Rejected, ...]]:
    """The configuration with these settings in effect, or `base` and every value that cannot be, with the reason."""
    rejected: list[Rejected] = []
    if not isinstance(settings, dict):
        return base, (Rejected(path="settings", why=f"must be an object, got {type(settings).__name__}"),)
    for name in settings.keys() - SETTABLE:
        rejected.append(Rejected(path=str(name), why=f"cannot be set from afar (can be: {', '.join(SETTABLE)})"))
    mqtt = base.mqtt
    if "mqtt" in settings and mqtt is None:
        rejected.append(Rejected(path="mqtt", why="this device has no [mqtt]"))
    elif "mqtt" in settings and mqtt is not None:
        mqtt = _changed(mqtt, settings["mqtt"], "mqtt", SETTABLE["mqtt"], rejected)
    found = structs.replace(
        base,
        mqtt=mqtt,
        rules=_each(base.rules, settings.get("rules", {}), "rules", rejected),
        schedules=_each(base.schedules, settings.get("schedules", {}), "schedules", rejected),
        zones=_each(base.zones, settings.get("zones", {}), "zones", rejected),
    )
    for zone, before in zip(found.zones, base.zones, strict=True):
        if (zone.polygon, zone.map) != (before.polygon, before.map) and (why := corners_fault(zone, zone, found)):
            rejected.append(Rejected(path=f"zones.{zone.name}.{why[0]}", why=why[1]))
    return (base if rejected else found), tuple(sorted(rejected, key=lambda one: one.path))


def corners_fault(wanted: config.Zone | Corners, zone: config.Zone, base: config.Agent) -> tuple[str, str] | None:
    """Why corners are no zone for its camera, if so: which key, and what is wrong with it."""
    if bool(wanted.polygon) == bool(wanted.map):
        return "polygon", "give either `polygon`, in the picture, or `map`, in latitude and longitude"
    if wanted.polygon:
        why = polygon_fault(wanted.polygon)
        return ("polygon", why) if why else None
    if not any(camera.name == zone.camera and camera.view is not None for camera in base.cameras):
        return "map", f"how {zone.camera} looks at the ground is not known (camera.view)"
    if len(wanted.map) < 3 or geo.crosses_itself(wanted.map):
        return "map", "its edges cross each other" if len(wanted.map) >= 3 else "3 corners are the least"
    return None


def polygon_fault(polygon: tuple[config.Corner, ...]) -> str | None:
    """Why a polygon is no zone, if so."""
    if len(polygon) < 3:
        return "3 corners are the least"
    if geo.crosses_itself(polygon):
        return "its edges cross each other"
    if geo.area(polygon) < MIN_AREA:
        return f"its area is below {MIN_AREA:g} of the picture: nobody could stand in it"
    return None


def moves(base: config.Agent, zones: tuple[Corners, ...]) -> tuple[Rejected, ...]:
    """What of a command to move zones cannot be, and why."""
    there = {zone.name: zone for zone in base.zones}
    rejected: list[Rejected] = []
    for wanted in zones:
        zone = there.get(wanted.name)
        if zone is None:
            why = f"there is none (there is: {', '.join(there) or 'nothing'})"
            rejected.append(Rejected(path=wanted.name, why=why))
        elif wanted.camera != zone.camera:
            rejected.append(Rejected(path=f"{wanted.name}.camera", why=f"it is in the picture of {zone.camera}"))
        elif fault := corners_fault(wanted, zone, base):
            rejected.append(Rejected(path=f"{wanted.name}.{fault[0]}", why=fault[1]))
        elif sum(other.name == wanted.name for other in zones) > 1:
            rejected.append(Rejected(path=wanted.name, why="is named more than once"))
    return tuple(rejected)


def settings_of(agent: config.Agent) -> dict[str, Any]:
    """What can be set, as it is in effect."""
    found: dict[str, Any] = {}
    if agent.mqtt is not None:
        found["mqtt"] = {key: getattr(agent.mqtt, key) for key in SETTABLE["mqtt"]}
    for name, sections in (("rules", agent.rules), ("schedules", agent.schedules), ("zones", agent.zones)):
        found[name] = {
            _id(section): {key: getattr(section, key) for key in SETTABLE[name] if hasattr(section, key)}
            for section in sections
        }
    return found


class Wishes:
    """What is set from afar, kept in files; whoever takes a document calls `apply` with what is in effect then.

    `moved` are the zones that a command moved; they are laid over the document.
    """

    def __init__(self, file: Path, base: config.Agent) -> None:
        self._file, self._base = file, base
        self._lock = threading.Lock()  # a document and a move may be taken at once, each in its own thread
        self._zones_file = file.with_name("zones.json")
        self.document: Desired | None = None
        self.moved: dict[str, Moved] = {}
        self.effective = base
        self.apply: Callable[[config.Agent], None] = lambda _: None
        self._load()

    @property
    def version(self) -> int:
        """Of the document in effect; 0 for none."""
        return self.document.version if self.document else 0

    def known(self, document: Desired) -> bool:
        """Whether this very document is in effect: a retained one comes again at each connection."""
        return self.document == document

    def check(self, settings: Any) -> tuple[Rejected, ...]:
        """What would be refused; changes nothing."""
        return overlay(self._base, settings)[1]

    def take(self, document: Desired) -> tuple[Rejected, ...]:
        """Keep a document, on disk first; or what of it cannot be, and then nothing changes. May block."""
        with self._lock:
            if document.version <= self.version:
                why = f"{document.version} is not newer than {self.version}, which is in effect"
                return (Rejected(path="version", why=why),)
            found, rejected = overlay(self._base, document.settings)
            if rejected:
                return rejected
            _keep(self._file, document)
            self.document = document
            self.effective = self._with_moved(found)
            return ()

    def move(self, zones: tuple[Corners, ...], by: str, wall_s: float) -> tuple[Rejected, ...]:
        """Move zones, on disk first; or what of it cannot be, and then nothing changes. May block; then `apply`."""
        if rejected := moves(self._base, zones):
            return rejected
        with self._lock:
            new = {
                one.name: Moved(polygon=one.polygon, map=one.map, by=by, wall_s=wall_s, after=self.version)
                for one in zones
            }
            _keep(self._zones_file, self.moved | new)
            self.moved |= new
            self.effective = self._with_moved(self.effective)
            return ()

    def zones(self) -> dict[str, Any]:
        """Each zone as it is in effect, and who moved it, if a command did."""
        shown: dict[str, Any] = {}
        for zone in self.effective.zones:
            corners = {"map": zone.map} if zone.map else {"polygon": zone.polygon}
            shown[zone.name] = {"camera": zone.camera, **corners}
            if (moved := self.moved.get(zone.name)) and (moved.polygon, moved.map) == (zone.polygon, zone.map):
                shown[zone.name] |= {"moved_by": moved.by, "moved_s": moved.wall_s}
        return shown

    def _with_moved(self, settings: config.Agent) -> config.Agent:
        """A zone's move counts until a document that came after it names the zone."""
        named = self.document.settings.get("zones", {}) if self.document else {}
        self.moved = {
            name: moved for name, moved in self.moved.items() if name not in named or moved.after >= self.version
        }
        if not self.moved:
            return settings
        return structs.replace(
            settings,
            zones=tuple(
                structs.replace(zone, polygon=moved.polygon, map=moved.map)
                if (moved := self.moved.get(zone.name))
                else zone
                for zone in settings.zones
            ),
        )

    def _load(self) -> None:
        if (document := _read(self._file, Desired)) is not None:
            found, rejected = overlay(self._base, document.settings)
            for one in rejected:
                log.error("%s: %s: %s; agent.toml alone is in effect", self._file, one.path, one.why)
            if not rejected:
                self.document, self.effective = document, found
        there = {zone.name: zone for zone in self._base.zones}
        moved = _read(self._zones_file, dict[str, Moved]) or {}
        self.moved = {
            name: one
            for name, one in moved.items()
            if name in there
            and corners_fault(structs.replace(there[name], polygon=one.polygon, map=one.map), there[name], self._base)
            is None
        }
        self.effective = self._with_moved(self.effective)


def _keep(file: Path, value: Any) -> None:
    try:
        write_durably(file, msgspec.json.encode(value))
    except OSError as error:
        raise DriverError(f"{file}: cannot be written: {error.strerror}") from None


def _read(file: Path, kind: type[T]) -> T | None:
    """What was kept, None where nothing was or where it cannot be read, which is said."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.error("%s: %s; agent.toml alone is in effect until the centre sends it again", file, error)
        return None


def _each(sections: tuple[S, ...], wanted: Any, name: str, rejected: list[Rejected]) -> tuple[S, ...]:
    if not isinstance(wanted, dict):
        rejected.append(Rejected(path=name, why=f"must be an object, got {type(wanted).__name__}"))
        return sections
    there = [_id(section) for section in sections]
    for id in wanted.keys() - set(there):
        rejected.append(Rejected(path=f"{name}.{id}", why=f"there is none (there is: {', '.join(there) or 'nothing'})"))
    return tuple(
        _changed(section, wanted[id], f"{name}.{id}", SETTABLE[name], rejected) if id in wanted else section
        for id, section in zip(there, sections, strict=True)
    )


def _id(section: config.Section) -> str:
    return str(getattr(section, "id", None) or getattr(section, "name", ""))  # zones have names


def _changed(section: S, wanted: Any, path: str, settable: tuple[str, ...], rejected: list[Rejected]) -> S:
    if not isinstance(wanted, dict):
        rejected.append(Rejected(path=path, why=f"must be an object, got {type(wanted).__name__}"))
        return section
    types = {field.name: field.type for field in structs.fields(section)}
    values: dict[str, Any] = {}
    for key, value in wanted.items():
        if key not in settable or key not in types:
            why = f"cannot be set from afar (can be: {', '.join(name for name in settable if name in types)})"
            rejected.append(Rejected(path=f"{path}.{key}", why=why))
            continue
        try:
            values[key] = msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            rejected.append(Rejected(path=f"{path}.{key}", why=f"{error}, got {value!r}"))
    return structs.replace(section, **values)
