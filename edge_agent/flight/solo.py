"""One flight without a daemon: the same pilot on a link, followed to its end by whoever started it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from edge_agent import config
from edge_agent.flight import phases
from edge_agent.flight.claim import TakenError
from edge_agent.flight.gates import Check
from edge_agent.flight.logbook import PREEMPTED
from edge_agent.flight.phases import Phase
from edge_agent.flight.pilot import Pilot
from edge_agent.flight.recorder import Recorder
from edge_agent.flight.signing_key import open_signing
from edge_agent.flight.store import Store
from edge_agent.flight.tlog import Tlog
from edge_agent.flight.vehicle import open_vehicle
from edge_agent.messages import FlightEvent, Refusal, Telemetry
from edge_agent.runtime import Clock, DriverError, Health

LOOK_S = 0.25
WEATHER_AGAIN_S = 10.0
AGAIN_S = 1.0  # between two tries to open a link that does not
SETTLED_S = 3.0  # a gate that waiting cannot mend must say no for so long
GROUNDED = phases.BEFORE_ARMING | {Phase.ARMING, Phase.STARTING}
HOMEWARD = frozenset({Phase.RETURNING, Phase.LANDING})


class Wish(StrEnum):
    """What the person at the terminal wants of a flight that is under way."""

    RETURN = "return"
    LEAVE = "leave"


class Ended(NamedTuple):
    """How it went: `flew` to its end as planned, `ended` otherwise, `failed` on the ground, or was `left` flying."""

    how: str
    cause: str
    run: str | None = None
    refusals: tuple[Refusal, ...] = ()


class Solo:
    """A pilot and its link for the time of one command."""

    def __init__(
        self,
        settings: config.Agent,
        *,
        route: config.Route | None,
        records: Path,
        clock: Clock,
        on_event: Callable[[FlightEvent], None],
    ) -> None:
        assert settings.vehicle is not None
        self._clock, self._on_event = clock, on_event
        self.route = route
        self.fault: str | None = None  # why there is no link
        self.wish: Wish | None = None
        self.left: str | None = None  # the run that was left flying
        self.recorder = Recorder(records)
        self.events: list[FlightEvent] = []
        self.pilot = Pilot(
            open_vehicle(settings.vehicle, settings.site, clock),
            site=settings.site,
            limits=settings.limits,
            airframe=settings.airframe,
            weather=settings.weather,
            no_fly=settings.no_fly,
            folder=records,
            routes=(route,) if route else (),
            schedules=(),
            store=Store(settings.data_dir / "flight"),
            signing=open_signing(settings.vehicle, settings.data_dir / "flight" / "signing", clock),
            tlog=Tlog(settings.data_dir / "tlogs", settings.tlog.keep_mb, clock.wall),
            clock=clock,
            health=Health(clock),
            recorder=self.recorder,
            on_event=self._take,
            on_telemetry=lambda _: None,
        )
        self._reached = 0  # the furthest item of the mission that was flown to

    async def _take(self, event: FlightEvent) -> None:
        self.events.append(event)
        self._on_event(event)

    async def link(self) -> None:
        """Keep the link for ever; raises TakenError where another agent holds it."""
        while True:
            try:
                await self.pilot.run()
            except TakenError:
                raise
            except DriverError as error:
                self.fault = str(error)
            await self._clock.sleep(AGAIN_S)

    async def weather(self) -> None:
        """Ask for the weather for ever; what its source lacks is what the gate says."""
        while True:
            try:
                await self.pilot.watch()
            except DriverError:
                await self._clock.sleep(WEATHER_AGAIN_S)

    # --- before -------------------------------------------------------------------------------------------------

    async def attach(self, wait_s: float, show: Callable[[list[Check]], None]) -> bool:
        """Until it is known what this vehicle does; False where it was not heard in time."""
        until_s = self._clock.monotonic() + wait_s
        while self.pilot.phase in (Phase.BOOT, Phase.ATTACHING, Phase.LINK_DOWN):
            if self._clock.monotonic() > until_s or self.wish is not None:
                return False
            show(self.pilot.checks(self.route))
            await self._clock.sleep(LOOK_S)
        return True

    async def ready(self, wait_s: float, show: Callable[[list[Check]], None]) -> list[Check]:
        """Wait for what waiting may mend; the checks that stand in the way at the end, none where it may fly."""
        until_s = self._clock.monotonic() + wait_s
        firm_s: float | None = None
        while True:
            checks = self.pilot.checks(self.route)
            blocking = [check for check in checks if check.blocks]
            now = self._clock.monotonic()
            if not blocking or now > until_s or self.wish is not None:
                return blocking
            firm = any(check.state == "fail" and not check.heals for check in blocking)
            firm_s = (firm_s if firm_s is not None else now) if firm else None
            if firm_s is not None and now - firm_s > SETTLED_S:
                return blocking
            show(checks)
            await self._clock.sleep(LOOK_S)

    # --- under way ----------------------------------------------------------------------------------------------

    async def follow(self, by: str, show: Callable[[Telemetry | None], None], asked: str | None = None) -> Ended:
        """Until the flight has ended, or the person leaves it to the autopilot's plan; it shall be `asked` then."""
        run = self.pilot.run_id
        if self.pilot.phase == Phase.LOCKOUT:
            return Ended("failed", "a lockout: look at the vehicle, then clear it", run)
        while self.pilot.run_id is not None and self.pilot.phase != Phase.LOCKOUT:
            t, phase, run = self.pilot.telemetry, self.pilot.phase, self.pilot.run_id
            if t is not None and t.mode == "AUTO" and t.mission_seq is not None and t.landed is False:
                self._reached = max(self._reached, t.mission_seq)
            show(t)
            if self.wish is not None:
                if self.wish is Wish.LEAVE and phase not in GROUNDED:
                    self.left = run
                    return Ended("left", f"left to the autopilot's plan, {phase}", run)
                if phase not in HOMEWARD and not isinstance(self.pilot.recall(by), Refusal):
                    self.wish = None
            await self._clock.sleep(LOOK_S)
        while not any(event.run == run and event.phase in phases.RUN_ENDS for event in self.events):
            await self._clock.sleep(LOOK_S)  # the end is told once it is saved
        return judged(self.events, run, asked)


def judged(events: Sequence[FlightEvent], run: str | None, asked: str | None = None) -> Ended:
    """What the last event says: as planned is to the mission's own end at home, and nobody called it off."""
    last = events[-1] if events else None
    if last is None:
        return Ended("failed", "nothing happened", run)
    if asked is not None and run != asked:
        refused = next((e.cause for e in events if (e.run, e.phase) == (asked, Phase.FAILED)), "the flight ended")
        return Ended("ended", f"it was not sent there: {refused}", run)
    if last.phase == Phase.CHECKED:
        return Ended("flew", last.cause, run)
    if last.phase != Phase.LANDED:
        refusals = (last.refusal,) if last.refusal else ()
        return Ended("ended" if last.phase in (Phase.LOCKOUT, PREEMPTED) else "failed", last.cause, run, refusals)
    strange = next((e for e in events if e.phase in (Phase.YIELDED, Phase.ABORTING)), None)
    homeward = next((e for e in events if e.phase in HOMEWARD), None)
    if strange is not None:
        return Ended("ended", f"{strange.phase}: {strange.cause}", run)
    if last.cause == phases.AWAY:
        return Ended("ended", last.cause, run)
    if homeward is None or homeward.cause not in phases.PLANNED:
        return Ended("ended", homeward.cause if homeward else last.cause, run)
    return Ended("flew", last.cause, run)
