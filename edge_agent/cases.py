"""What became of incidents: new, announced, acknowledged, handled, closed, or expired; each step is a revision.

Each change is on disk when it returns, and the centre is told of it. Persons acknowledge and handle; the device itself
announces, updates, escalates, closes and lets expire.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edge_agent.files import write_durably
from edge_agent.messages import (
    Acknowledge,
    CaseRequest,
    CaseState,
    Escalation,
    Handled,
    Plate,
    Refusal,
    Revision,
)
from edge_agent.runtime import DriverError

log = logging.getLogger(__name__)

KEEP = 2000  # of the newest incidents: a small file that is written anew at each change
DEVICE = "device"  # who takes the steps that no person takes

# What may follow what: an incident may be dealt with by whoever saw it first, and is not taken on twice.
TABLE: dict[CaseState, frozenset[CaseState]] = {
    "new": frozenset({"announced", "acknowledged", "handled", "expired"}),
    "announced": frozenset({"acknowledged", "handled", "expired"}),
    "acknowledged": frozenset({"handled", "expired"}),
    "handled": frozenset({"closed"}),
    "closed": frozenset(),
    "expired": frozenset(),
}
SURER = 0.15  # by so much a plate is read better than before, to be told anew
LEVELS: tuple[Escalation, ...] = ("none", "polite", "firm", "patrol")


class Case(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an incident stands, and who said so."""

    state: CaseState = "new"
    rev: int = 0
    by: str | None = None
    level: Escalation = "none"
    plate: str | None = None
    sure: float = 0.0  # the plate's confidence
    expires_s: float | None = None  # Unix time


# --- what follows: pure -------------------------------------------------------------------------------------------


def revise(case: Case | None, request: CaseRequest, by: str, wall_s: float) -> Revision | Refusal:
    """The next revision of an incident, as a person wants it, or why there is none."""
    to: CaseState = "acknowledged" if isinstance(request, Acknowledge) else "handled"
    if case is None:
        return Refusal(
            gate="incident", reason="no incident of this device has this id, or it is too old", value=request.incident
        )
    if to not in TABLE[case.state]:
        return Refusal(gate="incident", reason=f"is {case.state} already", value=request.incident, limit=case.by)
    return Revision(
        id=request.incident,
        rev=case.rev + 1,
        state=to,
        by=by,
        wall_s=wall_s,
        outcome=request.outcome if isinstance(request, Handled) else None,
        note=request.note,
    )


def announced(id: str, case: Case, level: Escalation, wall_s: float) -> Revision | None:
    """A warning was heard; None where it says no more than the one before, or where a person has taken over."""
    if case.state not in ("new", "announced") or LEVELS.index(level) <= LEVELS.index(case.level):
        return None
    state: Any = "announced" if case.state == "new" else "escalated"
    return Revision(id=id, rev=case.rev + 1, state=state, by=DEVICE, wall_s=wall_s, level=level)


def escalated(id: str, case: Case, wall_s: float) -> Revision | None:
    """The patrol is called; once, and not where a person has taken over."""
    if case.state not in ("new", "announced") or case.level == "patrol":
        return None
    return Revision(id=id, rev=case.rev + 1, state="escalated", by=DEVICE, wall_s=wall_s, level="patrol")


def updated(id: str, case: Case, plate: Plate, wall_s: float) -> Revision | None:
    """A plate was read, or read otherwise than before, or much more surely."""
    if case.state in ("closed", "expired") or not tells_more(plate, case.plate, case.sure):
        return None
    return Revision(id=id, rev=case.rev + 1, state="updated", by=DEVICE, wall_s=wall_s, plate=plate)


def tells_more(plate: Plate, text: str | None, sure: float) -> bool:
    """Whether a plate says more than what is known of it."""
    return plate.text != text or plate.confidence >= sure + SURER


def settled(id: str, case: Case, wall_s: float, *, here: bool) -> Revision | None:
    """What was handled is closed once nobody is there; what nobody handled in time expires."""
    late = case.expires_s is not None and wall_s >= case.expires_s
    if case.state == "handled" and (not here or late):
        return Revision(id=id, rev=case.rev + 1, state="closed", by=DEVICE, wall_s=wall_s)
    if late and "expired" in TABLE[case.state]:
        return Revision(id=id, rev=case.rev + 1, state="expired", by=DEVICE, wall_s=wall_s)
    return None


def after(case: Case, revision: Revision) -> Case:
    """The case once a revision was written down."""
    state = case.state if revision.state in ("updated", "escalated") else revision.state
    return msgspec.structs.replace(
        case,
        state=state,
        rev=revision.rev,
        by=revision.by,
        level=revision.level or case.level,
        plate=revision.plate.text if revision.plate else case.plate,
        sure=revision.plate.confidence if revision.plate else case.sure,
    )


# --- kept ---------------------------------------------------------------------------------------------------------


class Cases:
    """The newest incidents by id, in one JSON file; any thread may call, one writes at a time.

    A file that cannot be read costs the past: it is said, and begun anew.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._cases = self._load()

    def opened(self, id: str, *, plate: Plate | None = None, expires_s: float | None = None) -> None:
        """A rule fired; raises DriverError."""
        text, sure = (plate.text, plate.confidence) if plate else (None, 0.0)
        with self._lock:
            self._keep({id: Case(plate=text, sure=sure, expires_s=expires_s)})

    def get(self, id: str) -> Case | None:
        """How an incident stands; None where it is unknown, or too old."""
        return self._cases.get(id)

    def warned(self, id: str) -> bool:
        """Whether a warning was delivered, or a person saw to it."""
        case = self._cases.get(id)
        return case is not None and (case.state, case.level) != ("new", "none")

    def revise(self, request: CaseRequest, by: str, wall_s: float) -> Revision | Refusal:
        """Take a person's word on an incident, on disk when this returns; raises DriverError."""
        with self._lock:
            found = self._cases.get(request.incident)
            revision = revise(found, request, by, wall_s)
            if isinstance(revision, Revision) and found is not None:
                self._keep({request.incident: after(found, revision)})
            return revision

    def go_on(self, id: str, step: Callable[[Case], Revision | None]) -> Revision | None:
        """Take a step that no person takes, if it follows from how the case stands; raises DriverError."""
        with self._lock:
            case = self._cases.get(id)
            revision = step(case) if case is not None else None
            if case is not None and revision is not None:
                self._keep({id: after(case, revision)})
            return revision

    def settle(self, wall_s: float, here: frozenset[str]) -> list[Revision]:
        """Close and let expire what is due; `here` are those whose object is still seen. Raises DriverError.

        All in one write: after a long night hundreds are due, and a warning's incident waits for its turn here.
        """
        with self._lock:
            looked = (settled(id, case, wall_s, here=id in here) for id, case in self._cases.items())
            found = [revision for revision in looked if revision is not None]
            if found:
                self._keep({one.id: after(self._cases[one.id], one) for one in found})
            return found

    def _keep(self, changed: dict[str, Case]) -> None:
        cases = self._cases | changed
        for old in list(cases)[:-KEEP]:
            del cases[old]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(self._file, msgspec.json.encode(cases))
        except OSError as error:
            raise DriverError(f"{self._file}: cannot be written: {error.strerror}") from None
        self._cases = cases

    def _load(self) -> dict[str, Case]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, Case])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("%s: %s; older incidents can no longer be acknowledged", self._file, error)
            return {}
