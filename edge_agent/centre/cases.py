"""Incidents as cases: what a device reported, who was sent, who took it on, how it ended, what the device says of it.

A person's step is a fact of the centre, so it is written down before the device is told of it, and the device's answer
is added when it comes. The device's own word is the revision of the incident that it reports as an event.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import apsw
import msgspec
from msgspec import Meta, Struct

from edge_agent.centre.store import BUSY_MS
from edge_agent.messages import Picture, Plate
from edge_agent.runtime import DriverError
from edge_agent.topics import rfc3339

Word = Literal["dispatched", "acknowledged", "handled"]
State = Literal["open", "announced", "dispatched", "acknowledged", "expired", "handled", "closed"]
_ORDER: tuple[State, ...] = ("open", "announced", "dispatched", "acknowledged", "expired", "handled", "closed")
_OVER = ("expired", "handled", "closed")

_TABLES = """
CREATE TABLE IF NOT EXISTS step(
  n INTEGER PRIMARY KEY, device TEXT NOT NULL, incident TEXT NOT NULL, word TEXT NOT NULL, by TEXT NOT NULL,
  wall_s REAL NOT NULL, assignee TEXT, outcome TEXT, note TEXT NOT NULL, command TEXT, answer TEXT, reason TEXT);
"""
_STEPS = (
    "SELECT device, incident, word, by, wall_s, assignee, outcome, note, command, answer, reason FROM step ORDER BY n"
)


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step that a person took; `answer` is what the device said to `command`, None where it has not answered."""

    word: Word
    by: str
    time: str
    assignee: str | None = None
    outcome: str | None = None
    note: str = ""
    command: str | None = None
    answer: str | None = None
    reason: str | None = None

    @property
    def counts(self) -> bool:
        """Whether the case moved on by it: not where the device refused it."""
        return self.answer not in ("rejected", "failed", "expired")


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The device's own word on a step, as it reported it back."""

    rev: int
    state: str
    by: str
    time: str
    outcome: str | None = None
    note: str = ""
    level: str | None = None  # of escalation: polite, firm, patrol
    plate: str | None = None


class Case(Struct, frozen=True, kw_only=True):
    """An incident and all that became of it."""

    id: str
    device: str
    state: State
    kind: str
    rule: str
    zone: str
    camera: str
    label: str
    plate: str | None
    began: str
    time: str
    lasted_s: float
    picture: str | None  # the original on the device
    sha256: str | None  # of the original
    thumb: bool
    steps: tuple[Step, ...]
    reports: tuple[Report, ...]


class Cases:
    """The cases in the centre's file, which may be in use; raises `DriverError` where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            self._db.set_busy_timeout(BUSY_MS)
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(_TABLES)
        except apsw.Error as error:
            raise DriverError(f"{path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def all(self, *, only_open: bool = False, device: str | None = None) -> list[Case]:
        """Newest first; `only_open` leaves out what was handled or expired."""
        try:
            steps, reports = self._steps(), defaultdict[tuple[str, str], list[Report]](list)
            found: list[_Found] = []
            thumbs = set(self._db.execute("SELECT device, event FROM thumb"))
            rows = self._db.execute(
                "SELECT device, time, body FROM event WHERE kind = 'det' AND (?1 IS NULL OR device = ?1)"
                " ORDER BY wall_s DESC",
                (device,),
            )
            for owner, time, body in rows:
                match _read(body):
                    case _Revision() as revision:
                        reports[owner, revision.id].append(_report(revision, time))
                    case _Incident() as incident:
                        found.append((owner, time, incident))
        except apsw.Error as error:
            raise DriverError(f"{self.path}: {error}") from error
        cases = []
        for owner, time, incident in found:
            key = (owner, incident.id)
            told = tuple(sorted(reports[key], key=lambda report: report.rev))
            cases.append(_case((owner, time, incident), key in thumbs, tuple(steps[key]), told))
        return [case for case in cases if not (only_open and case.state in _OVER)]

    def find(self, id: str) -> Case:
        """One case by the id of its incident, or by a beginning of it that is unique."""
        found = [case for case in self.all() if case.id.startswith(id)]
        exact = [case for case in found if case.id == id]
        match exact or found:
            case [case]:
                return case
            case []:
                raise DriverError(f"{self.path}: no incident {id!r}; `edge-agent centre incidents` lists them")
            case several:
                raise DriverError(f"{self.path}: {len(several)} incidents begin with {id!r}; give more of the id")

    def thumb(self, case: Case) -> bytes | None:
        """The small picture of an incident."""
        rows: Any = self._db.execute("SELECT body FROM thumb WHERE device = ? AND event = ?", (case.device, case.id))
        return next((bytes(body) for (body,) in rows), None)

    def begin(self, case: Case, step: Step, wall_s: float) -> None:
        """Write a step down; durable when this returns."""
        self._write(
            "INSERT INTO step(device, incident, word, by, wall_s, assignee, outcome, note, command)"
            " VALUES (:device, :incident, :word, :by, :wall_s, :assignee, :outcome, :note, :command)",
            {**msgspec.structs.asdict(step), "device": case.device, "incident": case.id, "wall_s": wall_s},
        )

    def answered(self, command: str, answer: str, reason: str | None) -> None:
        """Add what the device said to a step's command."""
        facts = {"command": command, "answer": answer, "reason": reason}
        self._write("UPDATE step SET answer = :answer, reason = :reason WHERE command = :command", facts)

    def _write(self, statement: str, facts: Mapping[str, str | float | None]) -> None:
        try:
            with self._db:
                self._db.execute(statement, facts)
        except apsw.Error as error:
            raise DriverError(f"{self.path}: {error}") from error

    def _steps(self) -> dict[tuple[str, str], list[Step]]:
        steps: dict[tuple[str, str], list[Step]] = defaultdict(list)
        for row in self._db.execute(_STEPS):
            device, incident, word, by, wall_s, assignee, outcome, note, command, answer, reason = row
            facts = {"word": word, "by": by, "time": rfc3339(wall_s), "assignee": assignee, "outcome": outcome}
            facts |= {"note": note, "command": command, "answer": answer, "reason": reason}
            steps[str(device), str(incident)].append(msgspec.convert(facts, Step))
        return steps


class _Incident(Struct, frozen=True):
    """What a `det` event tells of an incident; more of it is the device's business."""

    id: str
    kind: str
    rule: str
    camera: str
    zone: str
    label: str
    began_s: float
    lasted_s: float
    plate: Plate | None = None
    picture: Picture | None = None


class _Revision(Struct, frozen=True):
    """What a `det` event tells where an incident changed hands."""

    id: str
    rev: Annotated[int, Meta(ge=1)]
    state: str
    by: str
    outcome: str | None = None
    note: str = ""
    level: str | None = None
    plate: Plate | None = None


class _Event(Struct, frozen=True):
    data: dict[str, object]


_Found = tuple[str, str, _Incident]  # device, time, incident


def _read(body: Any) -> _Incident | _Revision | None:
    """The data of a `det` event; None where it is neither, which a newer device may well send."""
    try:
        data = msgspec.json.decode(body, type=_Event).data
        if data.get("rev"):
            return msgspec.convert(data, _Revision)
        return msgspec.convert(data, _Incident)
    except msgspec.ValidationError:
        return None


def _report(revision: _Revision, time: str) -> Report:
    return Report(
        rev=revision.rev,
        state=revision.state,
        by=revision.by,
        time=time,
        outcome=revision.outcome,
        note=revision.note,
        level=revision.level,
        plate=revision.plate.text if revision.plate else None,
    )


def _read_plate(incident: _Incident) -> str | None:
    return incident.plate.text if incident.plate else None


def _case(found: _Found, thumb: bool, steps: tuple[Step, ...], reports: tuple[Report, ...]) -> Case:
    device, time, incident = found
    words = {"open", *(step.word for step in steps if step.counts), *(report.state for report in reports)}
    return Case(
        id=incident.id,
        device=device,
        state=max((state for state in _ORDER if state in words), key=_ORDER.index),
        kind=incident.kind,
        rule=incident.rule,
        zone=incident.zone,
        camera=incident.camera,
        label=incident.label,
        plate=next(
            (one.plate for one in reversed(reports) if one.plate), incident.plate.text if incident.plate else None
        ),
        began=rfc3339(incident.began_s),
        time=time,
        lasted_s=incident.lasted_s,
        picture=incident.picture.path if incident.picture else None,
        sha256=incident.picture.sha256 if incident.picture else None,
        thumb=thumb,
        steps=steps,
        reports=reports,
    )
