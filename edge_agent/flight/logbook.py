"""What must outlive the agent: the run, the ledger, and the events that are owed to the world. Pure.

The keeper of the disk saves what is `unsaved`; a store that fails keeps us on the ground (`fault`), and a flight goes
on without it.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field, structs

from edge_agent.flight import phases
from edge_agent.flight.mission import Item
from edge_agent.flight.phases import Phase
from edge_agent.flight.run import Run
from edge_agent.flight.schedule import LedgerState, Missed
from edge_agent.messages import FlightEvent, Refusal, Telemetry

PREEMPTED = "preempted"  # ends a run: its flight goes on as another one
MOST_UNSENT = 100  # refusals of what rules ask for, hour by hour, while nobody takes them


class Breakpoint(Struct, frozen=True, kw_only=True):
    """Where a patrol was left, so that the next run of its route may go on from there."""

    route: str
    run: str
    waypoint: int  # of the route, from 0: the one it was flying to
    lat: float
    lon: float
    alt_m: float
    why: str
    wall_s: float


class State(Struct, kw_only=True):
    """Everything that is kept."""

    run: Run | None = None
    next: Run | None = None  # what the flight becomes once its slots are written
    breakpoints: dict[str, Breakpoint] = field(default_factory=dict)  # by route
    ledger: LedgerState = field(default_factory=LedgerState)
    paid: tuple[str, float] = ("", 1.0)  # by this airframe, for what its profile says: see `energy.Meter`
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
    def next(self) -> Run | None:
        return self._state.next

    @property
    def breakpoints(self) -> dict[str, Breakpoint]:
        return self._state.breakpoints

    @property
    def unsent(self) -> list[FlightEvent]:
        return self._state.unsent

    @property
    def paid(self) -> tuple[str, float]:
        return self._state.paid

    def learn(self, airframe: str, ratio: float) -> None:
        """What the battery was seen to pay; the next event saves it."""
        self._state.paid = (airframe, round(ratio, 3))

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
        self._state.run = self._state.next = None
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
        self,
        to: Phase,
        previous: Phase,
        cause: str,
        wall: float,
        *,
        t: Telemetry | None,
        refusal: Refusal | None = None,
        to_go_m: float | None = None,
    ) -> None:
        """A phase was entered: an event, and the run as it must be known after a crash."""
        run = self._state.run
        if run is None:
            return
        words: dict[str, Any] = {}
        if to not in phases.LOOKING:
            began = run.entered_wall_s if run.phase == to else wall
            flew = run.flew or to in phases.IN_FLIGHT
            run = structs.replace(run, phase=to, flew=flew, entered_wall_s=began)
        if to is Phase.ON_SCENE and run.arrived_wall_s is None:
            run = structs.replace(run, arrived_wall_s=wall)
            if run.order is not None and run.order.say is not None:
                words = {"say": run.order.say, "lang": run.order.lang}
        run = self._tell(run, (to, previous), cause, wall, t, refusal=refusal, to_go_m=to_go_m, **words)
        self._state.run = run
        if to in phases.RUN_ENDS:
            self.stay(f"the flight is over: {cause}", wall, t)
        if to in (Phase.LANDED, Phase.CHECKED, Phase.FAILED):
            self._state.run = None
        self.unsaved = True

    def remark(self, cause: str, wall: float, t: Telemetry | None) -> None:
        """Something happened within a phase."""
        if (run := self._state.run) is not None:
            self._state.run = self._tell(run, (run.phase, run.phase), cause, wall, t)
            self.unsaved = True

    # --- one flight becomes another -------------------------------------------------------------------------------

    def plan(self, run: Run | None, writing: tuple[Item, ...]) -> None:
        """Slots are about to be written; `run` is what the flight becomes then (None: it stays what it is)."""
        self._state.next = run
        if self._state.run is not None:  # what an earlier attempt may have left aboard stays known as ours
            self.amend(writing=(*self._state.run.writing, *writing))
        self.unsaved = True

    def switch(self, slots: tuple[Item, ...], wall: float, t: Telemetry | None) -> None:
        """The new slots are flown: the run that was ends here, and the planned one takes its place."""
        run, following, last = self._state.run, self._state.next, slots[-1].seq
        assert run is not None
        now = {"slots": slots, "head": slots[0].seq, "last": last, "writing": ()}
        if following is not None and following.id == run.id:
            cause = f"hovers for {following.order.hover_s:g} s in all" if following.order else ""
            run = structs.replace(self._tell(run, (run.phase, run.phase), cause, wall, t), order=following.order)
        elif following is not None:
            self._tell(run, (PREEMPTED, run.phase), f"goes on as {following.id}", wall, t)
            run = structs.replace(
                following, digest=run.digest, first=run.first, ends=run.ends, flew=True, phase=run.phase,
                entered_wall_s=wall,
            )  # fmt: skip
        self._state.run, self._state.next = structs.replace(run, **now), None
        self.unsaved = True

    def stay(self, why: str, wall: float, t: Telemetry | None, refusal: Refusal | None = None) -> None:
        """The flight goes on as it was: what it was to become has failed. What may be written stays known as ours."""
        run, following = self._state.run, self._state.next
        if following is None:
            return
        if run is not None and run.id == following.id:
            self.remark(f"not lengthened: {why}", wall, t)
        else:
            self._tell(following, (Phase.FAILED, following.phase), why, wall, t, refusal=refusal)
        self._state.next = None
        self.unsaved = True

    def _tell(self, run: Run, step: tuple[str, str], cause: str, wall: float, t: Telemetry | None, **more: Any) -> Run:
        phase, previous = step
        run = structs.replace(run, seq=run.seq + 1)
        self._state.unsent.append(
            FlightEvent(
                run=run.id, route=run.route, seq=run.seq, phase=phase, previous=previous, cause=cause, by=run.by,
                wall_s=wall, lat=t.lat if t else None, lon=t.lon if t else None, alt_m=t.alt_m if t else None,
                battery_pct=t.battery_pct if t else None, **more,
            )
        )  # fmt: skip
        return run

    def leave(self, breakpoint: Breakpoint) -> None:
        """A patrol did not come to its end."""
        self._state.breakpoints[breakpoint.route] = breakpoint
        self.unsaved = True

    def complete(self, route: str) -> None:
        """A patrol came to its end: nothing of it is left to fly."""
        if self._state.breakpoints.pop(route, None) is not None:
            self.unsaved = True

    def miss(self, missed: Missed, run: str, wall: float) -> None:
        """A scheduled flight that nobody flew is an event of a run that never was."""
        self._state.unsent.append(
            FlightEvent(
                run=run, route=missed.schedule.route, seq=1, phase="missed", previous="planned", cause=missed.reason,
                by=f"schedule:{missed.schedule.id}", wall_s=wall,
            )
        )  # fmt: skip

    def decline(self, route: str, by: str, refusal: Refusal, run: str, wall: float) -> None:
        """A flight that a rule asked for and that is not flown: an event of a run that never was.

        While nobody takes events (there is no link to the vehicle), the first `MOST_UNSENT` are enough.
        """
        if len(self._state.unsent) >= MOST_UNSENT:
            return
        self._state.unsent.append(
            FlightEvent(
                run=run, route=route, seq=1, phase="missed", previous="planned", cause=str(refusal), by=by, wall_s=wall,
                refusal=refusal,
            )
        )  # fmt: skip
        self.unsaved = True

    def save(self) -> None:
        """Something changed that a restart must know."""
        self.unsaved = True

    def to_save(self) -> State:
        """A copy for the disk, which nothing changes while it is written; what changes from now on is unsaved."""
        self.unsaved = False
        state, ledger = self._state, self.ledger
        kept = LedgerState(since=dict(ledger.since), flown=dict(ledger.flown), switches=list(ledger.switches))
        return State(
            run=state.run, next=state.next, breakpoints=dict(state.breakpoints), ledger=kept, paid=state.paid,
            unsent=list(state.unsent),
        )  # fmt: skip
