"""Who decides: one vehicle, at most one run, told what is heard and what is asked. Sans-I/O.

`turn` takes the steps of the phase table that were observed, does the job of the phase that was entered, and calls
the drone home where it must. The run is saved before its next bytes leave, so a restart knows what may have flown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec import structs

from edge_agent import config, geo
from edge_agent.flight import gates, helm, mission, phases, safety
from edge_agent.flight import route as routes
from edge_agent.flight.mavlink import Command, Link
from edge_agent.flight.phases import Phase, Seen, Work
from edge_agent.flight.schedule import Ledger, Missed
from edge_agent.flight.store import Keeper, Run
from edge_agent.messages import FlightEvent, Refusal, Telemetry
from edge_agent.runtime import DriverError

log = logging.getLogger(__name__)

LISTEN_S = 3.0  # heartbeats are heard for so long before anything is decided
UPLOADS = 3  # how often a mission is sent before the run fails
AGAIN_S = 3.0
SCHEDULE_S = 1.0
LOW_S = 3.0  # the battery must be low for so long: one wrong sample is no reason
FAILSAFE_S = 3.0  # a text of the autopilot this long before a mode change explains it
DISARM_AFTER_S = 15.0  # the autopilot's own DISARM_DELAY (10 s) did not do it
ORDER_S = 10.0  # an order that is not obeyed by then is dropped, unless it leads to the ground


class Order(NamedTuple):
    """A mode that is wanted: whose wish, and why."""

    mode: str
    by: str
    why: str
    at_s: float


class Commander:
    """The flight as this agent understands it; `unsent` events are owed to the world, in order."""

    def __init__(
        self,
        link: Link,
        *,
        site: config.Site,
        limits: config.Limits,
        routes: Iterable[config.Route],
        schedules: Iterable[config.Schedule],
        keeper: Keeper,
        new_id: Callable[[], str],
    ) -> None:
        assert site.lat is not None and site.lon is not None  # config.load saw to it: there is a vehicle
        self.link, self._limits, self._keeper, self._new_id = link, limits, keeper, new_id
        self.site = (site.lat, site.lon)
        self._routes = {route.id: route for route in routes}
        self._state = keeper.load()
        self.ledger = Ledger(schedules, ZoneInfo(site.time_zone), self._state.ledger)
        run = self._state.run
        self.phase = Phase.LOCKOUT if run is not None and run.phase == Phase.LOCKOUT else Phase.BOOT
        self.entered_s: float | None = None
        self.store_fault: str | None = None
        self._schedule_due_s = float("-inf")
        self._job: helm.Job | None = None
        self._job_s = 0.0
        self._uploads = 0
        self._items: tuple[mission.Item, ...] = ()
        self._aboard: mission.Download | None = None  # the mission read back in the air: is it ours?
        self._ours = False
        self._order: Order | None = None
        self._pressed: helm.Job | None = None
        self._home_by: tuple[str, str] | None = None  # who calls the drone home, and why
        self._resume_by: str | None = None
        self._started = False
        self._low_s: float | None = None
        self._detail = ""
        self._refusal: Refusal | None = None
        self._verified_s = 0.0

    # --- asked ----------------------------------------------------------------------------------------------------

    def fly(self, route_id: str, by: str, now: float, wall: float) -> str | Refusal:
        """Start a run of a route; returns its id, or why not."""
        route = self._routes.get(route_id)
        if route is None:
            known = ", ".join(sorted(self._routes)) or "none is configured"
            return _no("route", "there is no such route", route_id, known)
        if self.phase is not Phase.GROUND:
            return _no("phase", "not ready for a flight", self.phase, Phase.GROUND, self._remedy())
        if blocked := self.blocked(route, now):
            return blocked[0]
        run = Run(id=self._new_id(), route=route.id, by=by, phase=Phase.GROUND)
        self._state.run = run
        self._uploads, self._refusal, self._home_by, self._order, self._resume_by = 0, None, None, None, None
        self._enter(Phase.GATING, "ordered", now, wall)
        return run.id

    def recall(self, by: str, now: float, wall: float) -> Refusal | None:
        """Call the drone home; before take-off, call the flight off."""
        if self._state.run is None:
            return _no("phase", "no flight of ours is under way", self.phase)
        if self.phase in phases.BEFORE_ARMING or self.phase is Phase.ARMING:
            end = Phase.ABORTING if self.phase is Phase.ARMING else Phase.FAILED
            self._enter(end, f"called off by {by}", now, wall)
            return None
        if self.phase in (Phase.RETURNING, Phase.LANDING):
            return None
        if self.phase not in phases.IN_FLIGHT and self.phase is not Phase.STARTING:
            return _no("phase", "nothing can be ordered now", self.phase, remedy=self._remedy())
        self._home_by = (by, f"recalled by {by}")
        return None

    def land(self, by: str, now: float) -> Refusal | None:
        """Land where it is."""
        return self._want("LAND", by, f"landed by {by}", phases.IN_FLIGHT, now)

    def pause(self, by: str, now: float) -> Refusal | None:
        """Hold on the route; after `phases.RETURN_AFTER_S` it comes home."""
        refusal = self._want("BRAKE", by, f"paused by {by}", {Phase.ROUTE}, now)
        if refusal is None:
            self._mark(paused=True)
        return refusal

    def resume(self, by: str, now: float) -> Refusal | None:
        """Go on after a pause; after YIELDED only when the mission aboard is still the one that was verified."""
        if self.phase is Phase.YIELDED:
            if self.link.mode in (*phases.RETURN_MODES, "LAND"):
                return _no("phase", "only safety may follow it", self.link.mode)
            self._resume_by, self._aboard, self._verified_s = by, self.link.download(now), now
            return None
        refusal = self._want("AUTO", by, f"resumed by {by}", {Phase.PAUSED}, now)
        if refusal is None:
            self._mark(paused=False)
        return refusal

    def clear(self, now: float, wall: float) -> Refusal | None:
        """A person has looked at the vehicle: leave LOCKOUT."""
        if self.phase is not Phase.LOCKOUT:
            return _no("phase", "there is no lockout to clear", self.phase)
        self._state.run = None
        self._enter(Phase.LINK_DOWN, "cleared", now, wall)
        self._save()
        return None

    # --- known ----------------------------------------------------------------------------------------------------

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
            self._save()

    def blocked(self, route: config.Route, now: float) -> list[Refusal]:
        """Why this route could not be flown now."""
        ready = gates.Readiness(
            telemetry=self.link.telemetry(),
            copter=self.link.copter,
            prearm_ok=self.link.prearm_ok,
            complaints=tuple(self.link.said_since(now - 35)),  # it repeats them every 30 s
            ekf_flags=self.link.ekf_flags,
            site_lat=self.site[0],
            site_lon=self.site[1],
            limits=self._limits,
            route=route,
        )
        found = gates.refusals(ready, now)
        if self.store_fault is not None:
            found.append(_no("store", self.store_fault))
        return found

    # --- what time does -------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """The link to the vehicle is a new one: what was heard over the old one is void."""
        self.link.forget()

    def turn(self, now: float, wall: float) -> None:
        """Take every step that was observed, then do what is due."""
        if self.entered_s is None:
            self.entered_s = now
        for _ in range(len(Phase)):  # a chain of steps ends: the table has no circle of steps that need no time
            if not self._step(now, wall):
                break
        self._watch(now)
        self._press(now)
        if now >= self._schedule_due_s:
            self._schedule_due_s = now + SCHEDULE_S
            self._schedule(now, wall)

    def _step(self, now: float, wall: float) -> bool:
        assert self.entered_s is not None
        seen = self._see(now)
        step = phases.step(self.phase, seen)
        if step is not None:
            cause = step.cause.format(mode=seen.mode, detail=self._detail, why=self._why(seen, now))
            self._enter(step.to, cause, now, wall)
            return True
        late = phases.expired(self.phase, now - self.entered_s)
        if late is not None:
            self._enter(late.to, late.cause.format(after_s=late.after_s, detail=self._detail), now, wall)
        return late is not None

    def _see(self, now: float) -> Seen:
        link, run = self.link, self._state.run
        t = link.telemetry()
        self._identify(now)
        work = self._work(now)
        return Seen(
            link=link.alive(now),
            settled=self._settled(now),
            run=run is not None,
            flew=run is not None and run.flew,
            paused=run is not None and run.paused,
            resumed=self._resume_by is not None,
            ours=self._ours and self._mission_unchanged(t),
            armed=link.armed,
            landed=link.landed,
            landing=link.landing,
            mode=link.mode,
            alt_m=(t.alt_m or 0.0) if t else 0.0,
            seq=(t.mission_seq or 0) if t else 0,
            first=run.first if run else 2,
            last=run.last if run else 0,
            work=work,
        )

    def _settled(self, now: float) -> bool:
        """Whether enough was heard to say what this flight is: listen first, then decide."""
        link = self.link
        if link.first_heard_s is None or now - link.first_heard_s < LISTEN_S or link.landed is None:
            return False
        if not link.located:
            return False
        in_air = link.armed and not link.landed
        return not (in_air and self._state.run is not None) or (
            self._aboard is not None and self._aboard.state != "running"
        )

    def _identify(self, now: float) -> None:
        """Read the mission aboard while attaching in the air, or when a person asks to go on: is it ours?"""
        run = self._state.run
        if run is None:
            return
        if self._aboard is None:
            if self.phase is Phase.ATTACHING and self.link.armed and self.link.alive(now):
                self._aboard, self._verified_s = self.link.download(now), now
        elif self._aboard.state == "done":
            self._ours = mission.digest(self._aboard.items) == run.digest
            if self._resume_by is not None and self.phase is Phase.YIELDED and self._order is None:
                why = f"resumed by {self._resume_by}"
                if not self._ours or self._want("AUTO", self._resume_by, why, {Phase.YIELDED}, now) is not None:
                    self._resume_by = None

    def _mission_unchanged(self, t: Telemetry | None) -> bool:
        """A mission of another length, or a text that says one came in: somebody else has been at it."""
        run = self._state.run
        if run is None or t is None or t.mission_total not in (None, run.last):
            return False
        return not any(x.at_s > self._verified_s and "Flight plan received" in x.text for x in self.link.texts)

    # --- jobs: what a phase does when it is entered, and how that stands ---------------------------------------------

    def _enter(self, to: Phase, cause: str, now: float, wall: float) -> None:
        previous, self.phase, self.entered_s = self.phase, to, now
        log.info("flight: %s -> %s: %s", previous, to, cause)
        run = self._state.run
        if run is not None:
            run = structs.replace(run, seq=run.seq + 1)
            if to is Phase.PAUSED and run.phase == Phase.PAUSED:  # attached again: the pause began before we did
                self.entered_s = now - max(0.0, wall - run.entered_wall_s)
            elif to not in phases.LOOKING:
                flew = run.flew or to in phases.IN_FLIGHT
                run = structs.replace(run, phase=to, flew=flew, entered_wall_s=wall)
            self._record(run, to, previous, cause, wall)
            self._state.run = run if to not in (Phase.LANDED, Phase.FAILED) else None
            self._save()
        self._begin(to, now)

    def _begin(self, phase: Phase, now: float) -> None:
        self._job, self._job_s, self._detail = None, now, ""
        match phase:
            case Phase.LINK_DOWN:
                self.link.forget()
                self._aboard, self._order, self._pressed = None, None, None
            case Phase.UPLOADING:
                self._upload(now)
            case Phase.VERIFYING:
                self._job = self.link.download(now)
            case Phase.READYING:
                self._job = self._do(safety.SetCurrent(1), now)
                self._pressed = self._do(safety.SetMode("GUIDED"), now)
            case Phase.ARMING:
                self._verified_s = now
                blocked = self.blocked(self._route(), now)
                self._job = blocked[0] if blocked else self._do(safety.Arm(), now)
            case Phase.STARTING:
                self._started = False
                self._job = self._do(safety.SetMode("AUTO"), now)
            case Phase.RETURNING | Phase.LANDING | Phase.YIELDED:
                self._home_by = None
                self._resume_by = None

    def _work(self, now: float) -> Work:
        """How the job of this phase stands; `_detail` says more."""
        match self.phase:
            case Phase.GATING:
                blocked = self.blocked(self._route(), now)
                return self._fail(blocked[0]) if blocked else "done"
            case Phase.STARTING:
                self._start(now)
        match self._job:
            case None:
                return "none"
            case Refusal() as refusal:
                return self._fail(refusal)
            case Command(state="refused" | "silent") as command:
                self._detail = f"{command.name}: {command.detail}"
                return "failed"
            case Command(state=state):
                return "done" if state == "accepted" else "running"
            case mission.Upload() as upload:
                return self._uploaded(upload, now)
            case mission.Download() as download:
                return self._downloaded(download)

    def _fail(self, refusal: Refusal) -> Work:
        self._detail, self._refusal = str(refusal), refusal
        return "failed"

    def _upload(self, now: float) -> None:
        self._uploads += 1
        self._items = routes.mission(self._route())
        self._job = self._do(safety.UploadMission(self._items), now)

    def _uploaded(self, upload: mission.Upload, now: float) -> Work:
        if upload.state != "failed":
            return "running" if upload.state == "running" else "done"
        self._detail = f"upload: {upload.detail}"
        if self._uploads == UPLOADS:
            return "failed"
        if now - self._job_s > AGAIN_S:  # somebody else may hold the transfer: leave it time
            self._job_s = now
            self._upload(now)
        return "running"

    def _downloaded(self, download: mission.Download) -> Work:
        run = self._state.run
        if download.state == "running" or run is None:
            return "running"
        difference = mission.compare(self._items, download.items) if download.state == "done" else download.detail
        if difference is not None:
            self._detail = difference
            return "mismatch" if self._uploads < UPLOADS else "failed"
        self._ours = True
        held, last = mission.digest(download.items), self._items[-1].seq
        self._state.run = structs.replace(run, digest=held, last=last)
        return "done"

    def _start(self, now: float) -> None:
        """Mode AUTO seen and home still where it was: start the mission, once."""
        if self._started or self.link.mode != "AUTO" or not self.link.armed:
            return
        moved = [r for r in self.blocked(self._route(), now) if r.gate == "gate.home"]  # arming sets home anew
        self._started = True
        self._job = moved[0] if moved else self._do(safety.StartMission(), now)

    # --- orders in the air ----------------------------------------------------------------------------------------

    def _watch(self, now: float) -> None:
        """Call the drone home when the battery or a phase says so, and let go on the ground."""
        assert self.entered_s is not None
        t = self.link.telemetry()
        if self.phase is Phase.ABORTING and now - self.entered_s > DISARM_AFTER_S and self._job is None:
            self._job = self._do(safety.Disarm(), now)
        if t is None or self.phase not in (Phase.CLIMB, Phase.ROUTE, Phase.PAUSED, Phase.YIELDED):
            return
        if self.phase is not Phase.YIELDED and self._home_by is None:
            if t.battery_pct is not None and t.battery_pct <= self._limits.return_battery_pct:
                self._low_s = now if self._low_s is None else self._low_s
                if now - self._low_s >= LOW_S:
                    limit = self._limits.return_battery_pct
                    self._home_by = ("pilot", f"battery {t.battery_pct:g} %, limit {limit:g} %")
            else:
                self._low_s = None
            if phases.overdue(self.phase, now - self.entered_s):
                self._home_by = ("pilot", f"{self.phase} for {now - self.entered_s:.0f} s")
        if self._home_by is not None and (self._order is None or self._order.mode != "RTL"):
            self._want("RTL", *self._home_by, phases.IN_FLIGHT, now)

    def _want(self, mode: str, by: str, why: str, during: Iterable[Phase], now: float) -> Refusal | None:
        """Order a mode; it is pressed until it is seen."""
        if self.phase not in during:
            return _no("phase", f"{mode} is of no use now", self.phase, ", ".join(sorted(during)), self._remedy())
        refusal = safety.permit(safety.SetMode(mode), self.link.telemetry(), self._limits, now)
        if refusal is None:
            self._order, self._pressed = Order(mode, by, why, now), None
        return refusal

    def _press(self, now: float) -> None:
        order = self._order
        if order is None:
            return
        if self.link.mode == order.mode or self.phase not in phases.IN_FLIGHT:
            self._order = None
            return
        if now - order.at_s > ORDER_S and order.mode not in ("RTL", "LAND"):
            log.warning("flight: mode %s was ordered and not seen within %g s", order.mode, ORDER_S)
            self._order, self._resume_by = None, None
            self._mark(paused=self.phase is Phase.PAUSED)
            return
        pressed = self._pressed
        if pressed is None or (isinstance(pressed, Command) and pressed.state in ("refused", "silent")):
            self._pressed = self._do(safety.SetMode(order.mode), now)
        elif isinstance(pressed, Refusal):  # something stronger runs by now
            self._order, self._pressed = None, None

    def _why(self, seen: Seen, now: float) -> str:
        """Who or what put the vehicle into the mode that it is seen in."""
        if self._order is not None and self._order.mode == seen.mode:
            return self._order.why
        if seen.mode == "AUTO":
            return "the mission leads home" if seen.homing else "the mission aboard is not the one verified"
        said = self.link.said_since(now - FAILSAFE_S)
        return f"mode {seen.mode}: autopilot: {said[-1]}" if said else f"mode {seen.mode}, set by another controller"

    def _do(self, command: safety.Command, now: float) -> helm.Job:
        return helm.order(self.link, command, self._limits, now)

    # --- schedule and record --------------------------------------------------------------------------------------

    def _schedule(self, now: float, wall: float) -> None:
        before = dict(self._state.ledger.since)
        planned, missed = self.ledger.due(wall)
        for one in missed:
            self._miss(one, wall)
        if planned is not None:
            route, by = self._routes[planned.schedule.route], f"schedule:{planned.schedule.id}"
            if self.phase is not Phase.GROUND:
                self.ledger.hold(planned, f"the pilot was {self.phase}")
            elif blocked := self.blocked(route, now):
                self.ledger.hold(planned, str(blocked[0]))
            else:
                self.ledger.take(planned)  # saved together with the run
                self.fly(route.id, by, now, wall)
        if self._state.ledger.since != before:
            self._save()

    def _miss(self, missed: Missed, wall: float) -> None:
        self._state.unsent.append(
            FlightEvent(
                run=self._new_id(), route=missed.schedule.route, seq=1, phase="missed", previous="planned",
                cause=missed.reason, by=f"schedule:{missed.schedule.id}", wall_s=wall,
            )
        )  # fmt: skip

    def _record(self, run: Run, to: Phase, previous: Phase, cause: str, wall: float) -> None:
        t = self.link.telemetry()
        self._state.unsent.append(
            FlightEvent(
                run=run.id, route=run.route, seq=run.seq, phase=to, previous=previous, cause=cause, by=run.by,
                wall_s=wall, lat=t.lat if t else None, lon=t.lon if t else None, alt_m=t.alt_m if t else None,
                battery_pct=t.battery_pct if t else None, refusal=self._refusal if to is Phase.FAILED else None,
            )
        )  # fmt: skip

    def _mark(self, *, paused: bool) -> None:
        if self._state.run is not None and self._state.run.paused != paused:
            self._state.run = structs.replace(self._state.run, paused=paused)
            self._save()

    def _save(self) -> None:
        """A store that fails keeps us on the ground; in the air the flight goes on without it."""
        try:
            self._keeper.save(self._state)
        except DriverError as error:
            if self.store_fault is None:
                log.error("flight: %s", error)
            self.store_fault = str(error)
        else:
            self.store_fault = None

    def _route(self) -> config.Route:
        assert self._state.run is not None
        return self._routes[self._state.run.route]

    def distance_home_m(self, t: Telemetry) -> float | None:
        """From home, or from the site's take-off place while home is unknown."""
        if t.lat is None or t.lon is None:
            return None
        home = self.site if t.home_lat is None or t.home_lon is None else (t.home_lat, t.home_lon)
        return geo.distance_m(*home, t.lat, t.lon)

    def _remedy(self) -> str | None:
        match self.phase:
            case Phase.BOOT | Phase.LINK_DOWN:
                return "check the vehicle's power, cable and baud rate"
            case Phase.ATTACHING:
                return "wait some seconds"
            case Phase.LOCKOUT:
                return "look at the vehicle, then clear the lockout"
            case _:
                return None


def _no(
    gate: str, reason: str, value: str | None = None, limit: str | None = None, remedy: str | None = None
) -> Refusal:
    return Refusal(gate=f"pilot.{gate}", reason=reason, value=value, limit=limit, remedy=remedy)
