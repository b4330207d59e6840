"""What became of incidents: new, acknowledged, handled; each change is a revision that the centre is told."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from edge_agent.files import write_durably
from edge_agent.messages import Acknowledge, CaseRequest, CaseState, Handled, Refusal, Revision
from edge_agent.runtime import DriverError

log = logging.getLogger(__name__)

KEEP = 2000  # of the newest incidents: a small file that is written anew at each change

# What may follow what: an incident may be dealt with by whoever saw it first, and is not taken on twice.
TABLE: dict[CaseState, frozenset[CaseState]] = {
    "new": frozenset({"acknowledged", "handled"}),
    "acknowledged": frozenset({"handled"}),
    "handled": frozenset(),
}


class Case(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an incident stands, and who said so."""

    state: CaseState = "new"
    rev: int = 0
    by: str | None = None


def revise(case: Case | None, request: CaseRequest, by: str, wall_s: float) -> Revision | Refusal:
    """The next revision of an incident, or why there is none: pure."""
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


class Cases:
    """The newest incidents by id, in one JSON file; any thread may call, one writes at a time.

    A file that cannot be read costs the past: it is said, and begun anew.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._cases = self._load()

    def opened(self, id: str) -> None:
        """A rule fired; raises DriverError."""
        with self._lock:
            self._keep(id, Case())

    def revise(self, request: CaseRequest, by: str, wall_s: float) -> Revision | Refusal:
        """Take a person's word on an incident, on disk when this returns; raises DriverError."""
        with self._lock:
            revision = revise(self._cases.get(request.incident), request, by, wall_s)
            if isinstance(revision, Revision):
                self._keep(request.incident, Case(state=revision.state, rev=revision.rev, by=by))
            return revision

    def _keep(self, id: str, case: Case) -> None:
        cases = {**self._cases, id: case}
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
