"""What a centre may set from afar, checked against the configuration; the last good document stays in effect.

Settable in v1: `mqtt.telemetry_period_s`; of each rule `after_s`, `cool_down_s`, `min_score`; of each schedule
`enabled`. A document names only what differs from agent.toml, and replaces the one before it as a whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from edge_agent import config
from edge_agent.files import write_durably
from edge_agent.runtime import DriverError
from edge_agent.twin import Desired, Rejected

log = logging.getLogger(__name__)
S = TypeVar("S", bound=config.Section)

SETTABLE: Mapping[str, tuple[str, ...]] = {
    "mqtt": ("telemetry_period_s",),
    "rules": ("after_s", "cool_down_s", "min_score"),
    "schedules": ("enabled",),
}


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
    )
    return (base if rejected else found), tuple(sorted(rejected, key=lambda one: one.path))


def settings_of(agent: config.Agent) -> dict[str, Any]:
    """What can be set, as it is in effect."""
    found: dict[str, Any] = {}
    if agent.mqtt is not None:
        found["mqtt"] = {key: getattr(agent.mqtt, key) for key in SETTABLE["mqtt"]}
    for name, sections in (("rules", agent.rules), ("schedules", agent.schedules)):
        found[name] = {section.id: {key: getattr(section, key) for key in SETTABLE[name]} for section in sections}
    return found


class Wishes:
    """The desired document in effect, kept in a file; whoever takes one calls `apply` with what is in effect then."""

    def __init__(self, file: Path, base: config.Agent) -> None:
        self._file, self._base = file, base
        self.document: Desired | None = None
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
        if document.version <= self.version:
            why = f"{document.version} is not newer than {self.version}, which is in effect"
            return (Rejected(path="version", why=why),)
        found, rejected = overlay(self._base, document.settings)
        if rejected:
            return rejected
        try:
            write_durably(self._file, msgspec.json.encode(document))
        except OSError as error:
            raise DriverError(f"{self._file}: cannot be written: {error.strerror}") from None
        self.document, self.effective = document, found
        return ()

    def _load(self) -> None:
        try:
            document = msgspec.json.decode(self._file.read_bytes(), type=Desired)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("%s: %s; agent.toml alone is in effect until the centre sends it again", self._file, error)
            return
        found, rejected = overlay(self._base, document.settings)
        for one in rejected:
            log.error("%s: %s: %s; agent.toml alone is in effect", self._file, one.path, one.why)
        if not rejected:
            self.document, self.effective = document, found


def _each(sections: tuple[S, ...], wanted: Any, name: str, rejected: list[Rejected]) -> tuple[S, ...]:
    if not isinstance(wanted, dict):
        rejected.append(Rejected(path=name, why=f"must be an object, got {type(wanted).__name__}"))
        return sections
    there = [section.id for section in sections]  # type: ignore[attr-defined]  # rules and schedules have ids
    for id in wanted.keys() - set(there):
        rejected.append(Rejected(path=f"{name}.{id}", why=f"there is none (there is: {', '.join(there) or 'nothing'})"))
    return tuple(
        _changed(section, wanted[id], f"{name}.{id}", SETTABLE[name], rejected) if id in wanted else section
        for id, section in zip(there, sections, strict=True)
    )


def _changed(section: S, wanted: Any, path: str, settable: tuple[str, ...], rejected: list[Rejected]) -> S:
    if not isinstance(wanted, dict):
        rejected.append(Rejected(path=path, why=f"must be an object, got {type(wanted).__name__}"))
        return section
    types = {field.name: field.type for field in structs.fields(section)}
    values: dict[str, Any] = {}
    for key, value in wanted.items():
        if key not in settable:
            why = f"cannot be set from afar (can be: {', '.join(settable)})"
            rejected.append(Rejected(path=f"{path}.{key}", why=why))
            continue
        try:
            values[key] = msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            rejected.append(Rejected(path=f"{path}.{key}", why=f"{error}, got {value!r}"))
    return structs.replace(section, **values)
