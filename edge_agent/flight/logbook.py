"""What must outlive the agent: the run, the ledger, and the events that are owed to the world."""

from __future__ import annotations

import logging
from typing import Any

from msgspec import structs

from edge_agent.flight import phases
from edge_agent.flight.phases import Phase
from edge_agent.flight.schedule import Missed
from edge_agent.flight.store import Keeper, Run
from edge_agent.messages import FlightEvent, Refusal, Telemetry
from edge_agent.runtime import DriverError

log = logging.getLogger(__name__)


class Logbook:
    """The state and its keeper. A store that fails keeps us on the ground (`fault`); a flight goes on without it."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._state = keeper.load()
        self.ledger = self._state.ledger
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
            self.save()

    def open(self, run: Run) -> None:
        """A run begins; its first event saves it."""
        self._state.run = run

    def close(self) -> None:
        """The run is over, whatever became of it."""
        self._state.run = None
        self.save()

    def amend(self, **fields: Any) -> None:
        """Change the run; saved only where that changes anything."""
        run = self._state.run
        if run is None:
            return
        self._state.run = structs.replace(run, **fields)
        if self._state.run != run:
            self.save()

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
        self._state.run = run if to not in (Phase.LANDED, Phase.FAILED) else None
        self.save()

    def miss(self, missed: Missed, run: str, wall: float) -> None:
        """A scheduled flight that nobody flew is an event of a run that never was."""
        self._state.unsent.append(
            FlightEvent(
                run=run, route=missed.schedule.route, seq=1, phase="missed", previous="planned", cause=missed.reason,
                by=f"schedule:{missed.schedule.id}", wall_s=wall,
            )
        )  # fmt: skip

    def save(self) -> None:
        try:
            self._keeper.save(self._state)
        except DriverError as error:
            if self.fault is None:
                log.error("flight: %s", error)
            self.fault = str(error)
        else:
            self.fault = None
