"""What must outlive the agent: the run, the ledger, and the events that are owed to the world. Pure.

The keeper of the disk saves what is `unsaved`; a store that fails keeps us on the ground (`fault`), and a flight goes
on without it.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field, structs

from edge_agent.flight import phases
from edge_agent.flight.phases import Phase
from edge_agent.flight.schedule import LedgerState, Missed
from edge_agent.messages import FlightEvent, Refusal, Telemetry


class Run(Struct, frozen=True, kw_only=True):
    """One flight of one route, from the order to its end."""

    id: str  # ULID
    route: str
    by: str
    phase: str
    seq: int = 0  # of the last event
    digest: str | None = None  # of the mission aboard, once verified
    first: int = 2  # the first item after take-off
    last: int = 0  # the item that returns home
    rehearsal: bool = False  # never to be armed
    flew: bool = False
    paused: bool = False
    entered_wall_s: float = 0.0  # when `phase` began


class State(Struct, kw_only=True):
    """Everything that is kept."""

    run: Run | None = None
    ledger: LedgerState = field(default_factory=LedgerState)
    unsent: list[FlightEvent] = field(default_factory=list)  # handed over at least once, in order


class Logbook:
    """The state, and whether the disk has it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.ledger = state.ledger
        self.unsaved = False
        self.fault: str | None = None

    @property
    def run(self) -> Run | None:
        return self._state.run

    @property
    def unsent(self) -> list[FlightEvent]:
        return self._state.unsent

    def sent(self) -> None:
        """The first of `unsent` is in good hands."""
        del self._state.unsent[0]
        if not self._state.unsent:
            self.unsaved = True

    def open(self, run: Run) -> None:
        """A run begins; its first event saves it."""
        self._state.run = run

    def close(self) -> None:
        """The run is over, whatever became of it."""
        self._state.run = None
        self.unsaved = True

    def amend(self, **fields: Any) -> None:
        """Change the run; saved only where that changes anything."""
        run = self._state.run
        if run is None:
            return
        self._state.run = structs.replace(run, **fields)
        if self._state.run != run:
            self.unsaved = True

    def enter(
        self, to: Phase, previous: Phase, cause: str, wall: float, *, t: Telemetry | None, refusal: Refusal | None
    ) -> None:
        """A phase was entered: an event, and the run as it must be known after a crash."""
        run = self._state.run
        if run is None:
            return
        run = structs.replace(run, seq=run.seq + 1)
        if to not in phases.LOOKING:
            began = run.entered_wall_s if run.phase == to else wall
            flew = run.flew or to in phases.IN_FLIGHT
            run = structs.replace(run, phase=to, flew=flew, entered_wall_s=began)
        self._state.unsent.append(
            FlightEvent(
                run=run.id, route=run.route, seq=run.seq, phase=to, previous=previous, cause=cause, by=run.by,
                wall_s=wall, lat=t.lat if t else None, lon=t.lon if t else None, alt_m=t.alt_m if t else None,
                battery_pct=t.battery_pct if t else None, refusal=refusal,
            )
        )  # fmt: skip
        self._state.run = run if to not in (Phase.LANDED, Phase.CHECKED, Phase.FAILED) else None
        self.unsaved = True

    def miss(self, missed: Missed, run: str, wall: float) -> None:
        """A scheduled flight that nobody flew is an event of a run that never was."""
        self._state.unsent.append(
            FlightEvent(
                run=run, route=missed.schedule.route, seq=1, phase="missed", previous="planned", cause=missed.reason,
                by=f"schedule:{missed.schedule.id}", wall_s=wall,
            )
        )  # fmt: skip

    def save(self) -> None:
        """Something changed that a restart must know."""
        self.unsaved = True

    def to_save(self) -> State:
        """A copy for the disk, which nothing changes while it is written; what changes from now on is unsaved."""
        self.unsaved = False
        state, ledger = self._state, self.ledger
        kept = LedgerState(since=dict(ledger.since), flown=dict(ledger.flown), switches=list(ledger.switches))
        return State(run=state.run, ledger=kept, unsent=list(state.unsent))
