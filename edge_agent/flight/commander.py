"""Who decides: one vehicle, at most one run, told what is heard and what is asked. Sans-I/O.

`turn` takes the steps of the phase table that were observed, does the job of the phase that was entered, and calls
the drone home where it must. The run is saved before its next bytes leave, so a restart knows what may have flown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from msgspec import structs

from edge_agent import config, geo
from edge_agent.flight import budget, facts, gates, helm, mission, phases, safety, transfer
from edge_agent.flight.budget import Budget
from edge_agent.flight.energy import Wind
from edge_agent.flight.launch import Launch
from edge_agent.flight.logbook import Logbook, Run, State
from edge_agent.flight.mavlink import Command, Link
from edge_agent.flight.phases import Phase, Seen
from edge_agent.flight.refusals import in_words, not_now
from edge_agent.flight.schedule import Ledger, Missed
from edge_agent.flight.timetable import Timetable
from edge_agent.flight.weather import Judge, Weather
from edge_agent.messages import Refusal, Telemetry

LISTEN_S = 3.0  # heartbeats are heard for so long before anything is decided
SCHEDULE_S = 1.0
LOW_S = 3.0  # the battery must be low for so long: one wrong sample is no reason
FAILSAFE_S = 3.0  # a text of the autopilot this long before a mode change explains it
DISARM_AFTER_S = 15.0  # the autopilot's own DISARM_DELAY (10 s) did not do it
RECALLABLE = phases.BEFORE_ARMING | phases.IN_FLIGHT | {Phase.ARMING, Phase.STARTING}
RESUMABLE = frozenset({Phase.PAUSED, Phase.YIELDED})
MODES = {"pause": "BRAKE", "resume": "AUTO", "recall": "RTL", "land": "LAND"}
ORDER_S = 10.0  # an order that is not obeyed by then is dropped, unless it leads to the ground


class Order(NamedTuple):
    """A mode that is wanted: whose wish, and why."""

    mode: str
    by: str
    why: str
    at_s: float


class Commander:
    """The flight as this agent understands it; the `logbook` holds the run and the events owed to the world."""

    def __init__(
        self,
        link: Link,
        *,
        site: config.Site,
        limits: config.Limits,
        airframe: config.Airframe | None = None,
        weather: config.WeatherLimits | None = None,
        routes: Iterable[config.Route],
        schedules: Iterable[config.Schedule],
        blackouts: Iterable[config.Blackout] = (),
        levels: Iterable[config.LevelSpan] = (),
        state: State,
        new_id: Callable[[], str],
        note: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.link, self._limits, self._new_id, self._note, self._warn = link, limits, new_id, note, warn
        self._place = None if site.lat is None or site.lon is None else (site.lat, site.lon)
        self._site_alt_m = site.alt_m
        self.budget = Budget(airframe or config.Airframe())
        self._weather_limits = weather or config.WeatherLimits()
        self.sky = Judge(self._weather_limits)
        self.weather: Weather | None = None
        self.around = facts.Around()
        self._routes = {route.id: route for route in routes}
        self.logbook = Logbook(state)
        self.ledger = Ledger(schedules, Timetable(site, blackouts, levels), self.logbook.ledger)
        run = self.logbook.run
        self.phase = Phase.LOCKOUT if run is not None and run.phase == Phase.LOCKOUT else Phase.BOOT
        self.entered_s: float | None = None
        self._begun = True  # the job of the phase
        self._schedule_due_s = float("-inf")
        self._launch: Launch | None = None  # of the run, unless the agent was restarted since
        self._aboard: transfer.Download | None = None  # the mission read back in the air: is it ours?
        self._aboard_s = 0.0
        self._ours = False
        self._order: Order | None = None
        self._pressed: helm.Job | None = None
        self._home_by: tuple[str, str] | None = None  # who calls the drone home, and why
        self._resume_by: str | None = None
        self._low_s: float | None = None

    # --- asked ----------------------------------------------------------------------------------------------------

    def fly(self, route_id: str, by: str, now: float, wall: float, *, rehearse: bool = False) -> str | Refusal:
        """Start a run of a route; returns its id, or why not. To `rehearse` is to do all of it but arm."""
        route = self._routes.get(route_id)
        if route is None:
            known = ", ".join(sorted(self._routes)) or "none is configured"
            return _no("route", "there is no such route", route_id, known)
        if self.phase is not Phase.GROUND:
            return not_now("fly", self.phase, {Phase.GROUND})
        if blocked := self.blocked(route, now):
            return blocked[0]
        run = Run(id=self._new_id(), route=route.id, by=by, phase=Phase.GROUND, rehearsal=rehearse)
        self.logbook.open(run)
        self._launch = Launch(self.link, self._limits, route, lambda at_s: self.blocked(route, at_s))
        self._home_by, self._order, self._resume_by, self._low_s = None, None, None, None
        self._enter(Phase.GATING, "ordered", now, wall)
        return run.id

    def recall(self, by: str, now: float, wall: float) -> Refusal | None:
        """Call the drone home; before take-off, call the flight off."""
        if self.logbook.run is None:
            return not_now("recall", self.phase, RECALLABLE)
        if self.phase in phases.BEFORE_ARMING or self.phase is Phase.ARMING:
            end = Phase.ABORTING if self.phase is Phase.ARMING else Phase.FAILED
            self._enter(end, f"called off by {by}", now, wall)
            return None
        if self.phase in (Phase.RETURNING, Phase.LANDING):
            return None
        if self.phase not in RECALLABLE:
            return not_now("recall", self.phase, RECALLABLE)
        self._home_by = (by, f"recalled by {by}")
        return None

    def adopt(self, by: str, now: float, wall: float) -> Refusal | None:
        """Take on a flight that is none of ours, so that it can be called home: somebody who may says so."""
        if self.phase is not Phase.FOREIGN:
            return not_now("adopt", self.phase, {Phase.FOREIGN})
        self.logbook.open(Run(id=self._new_id(), route="foreign", by=by, phase=Phase.YIELDED, flew=True))
        self._enter(Phase.ATTACHING, f"adopted by {by}", now, wall)
        return None

    def land(self, by: str, now: float) -> Refusal | None:
        """Land where it is."""
        return self._want("land", by, f"landed by {by}", phases.IN_FLIGHT, now)

    def pause(self, by: str, now: float) -> Refusal | None:
        """Hold on the route; after `phases.RETURN_AFTER_S` it comes home."""
        refusal = self._want("pause", by, f"paused by {by}", {Phase.ROUTE}, now)
        if refusal is None:
            self.logbook.amend(paused=True)
        return refusal

    def resume(self, by: str, now: float) -> Refusal | None:
        """Go on after a pause; after YIELDED only when the mission aboard is still the one that was verified."""
        if self.phase is Phase.YIELDED:
            if self.link.mode in (*phases.RETURN_MODES, "LAND"):
                return not_now("resume", Phase.RETURNING, RESUMABLE)
            self._resume_by = by
            self._read_aboard(now)
            return None
        refusal = self._want("resume", by, f"resumed by {by}", RESUMABLE, now)
        if refusal is None:
            self.logbook.amend(paused=False)
        return refusal

    def clear(self, now: float, wall: float) -> Refusal | None:
        """A person has looked at the vehicle: leave LOCKOUT."""
        if self.phase is not Phase.LOCKOUT:
            return _no("phase", "there is no lockout to clear", self.phase, Phase.LOCKOUT)
        self.logbook.close()
        self._enter(Phase.LINK_DOWN, "cleared", now, wall)
        return None

    def skip(self, schedule_id: str, when_s: float | None, by: str, wall: float) -> Refusal | None:
        """Decide an occurrence before its time: nobody flies it."""
        planned = self.ledger.find(schedule_id, when_s, wall)
        if planned is None:
            what = "no flight of this schedule is planned" + ("" if when_s is None else " at this time, or still ahead")
            return _no("schedule", what, schedule_id, self.ledger.names() or "none is enabled")
        self.ledger.skip(planned)
        self.logbook.miss(Missed(planned.schedule, planned.planned_s, f"skipped by {by}"), self._new_id(), wall)
        self.logbook.save()
        return None

    @property
    def digest(self) -> str | None:
        """What names the mission aboard, once it was read back."""
        run = self.logbook.run
        return run.digest if run else None

    def level(self, level: config.PatrolLevel, until_s: float | None, by: str, wall: float) -> Refusal | None:
        """Set the patrol level, until a Unix time or until the next switch."""
        if until_s is not None and until_s <= wall:
            return _no("level", "the time it shall last until is over", f"{wall - until_s:.0f} s ago", "a time to come")
        self.ledger.switch(level, until_s, by, wall)
        self.logbook.save()
        self._note(f"flight: patrol level {level}, set by {by}")
        return None

    # --- known ----------------------------------------------------------------------------------------------------

    def checks(self, route: config.Route | None, now: float) -> list[gates.Check]:
        """How every gate stands for this route, or for none."""
        plan = facts.Plan(
            self._place, self._limits, self.budget.frame, route, self.budget.wind, self.budget.way, self.budget.ratio,
            self._site_alt_m, self.logbook.fault, self.phase is Phase.LOCKOUT, self.sky.ask(self.weather, now),
            self.digest,
        )  # fmt: skip
        return gates.checks(facts.gather(self.link, plan, self.around, now))

    def blocked(self, route: config.Route | None, now: float) -> list[Refusal]:
        """Why this route could not be flown now."""
        return [check.refusal() for check in self.checks(route, now) if check.blocks]

    def look(self, around: facts.Around, weather: Weather | None, now: float) -> None:
        """What the machine, the sky and the autopilot's settings say: for the gates and for the way home."""
        limits = self._weather_limits
        self.around, self.weather = around, weather
        self.budget.way = budget.way_home(self.link.params)
        if weather is None or weather.wind_mps is None or now - weather.at_s > limits.max_age_s:
            self.budget.wind = Wind(limits.assumed_wind_mps)
        else:
            self.budget.wind = Wind(weather.wind_mps, weather.wind_from_deg)

    def telemetry(self) -> Telemetry | None:
        """What the vehicle says, and what follows from it: the margin and the way that is left."""
        t, run = self.link.telemetry(), self.logbook.run
        if t is None:
            return None
        items = self._launch.items if self._launch else tuple(self._aboard.items) if self._aboard else ()
        to_go_m = budget.to_go_m(items, t) if run is not None and self.phase in phases.IN_FLIGHT else None
        return structs.replace(t, margin_pct=self.budget.margin_pct(t), to_go_m=to_go_m)

    # --- what time does -------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """The link to the vehicle is a new one: what was heard over the old one is void."""
        self.link.forget()

    def turn(self, now: float, wall: float) -> None:
        """Take every step that was observed, then do what is due; stop where something is to be saved first.

        Save, and turn again: the job of a phase begins only when the disk knows of the phase.
        """
        if self.entered_s is None:
            self.entered_s = now
        for _ in range(len(Phase)):  # a chain of steps ends: the table has no circle of steps that need no time
            if self.logbook.unsaved:
                return
            self._begin(now)
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
        detail = self._launch.detail if self._launch else ""
        if step is not None:
            cause = step.cause.format(mode=seen.mode, detail=detail, why=self._why(seen, now))
            self._enter(step.to, cause, now, wall)
            return True
        late = phases.expired(self.phase, now - self.entered_s)
        if late is not None:
            self._enter(late.to, late.cause.format(after_s=late.after_s, detail=detail), now, wall)
        return late is not None

    def _see(self, now: float) -> Seen:
        link, run = self.link, self.logbook.run
        t = link.telemetry()
        work = self._launch.work(self.phase, now) if self._launch else "none"
        self._identify(now)
        return Seen(
            link=link.alive(now),
            settled=self._settled(now),
            run=run is not None,
            rehearsal=run is not None and run.rehearsal,
            flew=run is not None and run.flew,
            paused=run is not None and run.paused,
            resumed=self._resume_by is not None,
            ours=self._ours and run is not None and t is not None and t.mission_total in (None, run.last),
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
        return not (in_air and self.logbook.run is not None) or (
            self._aboard is not None and self._aboard.state != "running"
        )

    def _identify(self, now: float) -> None:
        """Is the mission aboard ours? Read it while attaching in the air, and when the autopilot got another one."""
        run, phase = self.logbook.run, self.phase
        if run is None or not self.link.alive(now):
            return
        attaching = phase is Phase.ATTACHING and self.link.armed and self._aboard is None
        replaced = phase in phases.IN_FLIGHT and any(
            text.at_s > self._aboard_s and "Flight plan received" in text.text for text in self.link.texts
        )
        if attaching or replaced:
            self._read_aboard(now)
        elif self._aboard is not None and self._aboard.state != "running":
            self._ours = self._aboard.state == "done" and mission.digest(self._aboard.items) == run.digest
            if self._resume_by is not None and phase is Phase.YIELDED and self._order is None:
                why = f"resumed by {self._resume_by}"
                if not self._ours or self._want("resume", self._resume_by, why, RESUMABLE, now) is not None:
                    self._resume_by = None

    def _read_aboard(self, now: float) -> None:
        self._aboard, self._aboard_s = self.link.download(now), now

    def _enter(self, to: Phase, cause: str, now: float, wall: float) -> None:
        previous, self.phase, self.entered_s = self.phase, to, now
        self._note(f"flight: {previous} -> {to}: {cause}")
        refusal = self._launch.refusal if self._launch and to is Phase.FAILED else None
        self.logbook.enter(to, previous, cause, wall, t=self.link.telemetry(), refusal=refusal)
        run = self.logbook.run
        if run is not None and to is Phase.PAUSED:  # a pause that a restart found began before that
            self.entered_s = now - max(0.0, wall - run.entered_wall_s)
        self._begun = False
        match to:
            case Phase.LINK_DOWN:
                self.link.forget()
                self._launch, self._aboard, self._order, self._pressed = None, None, None, None
            case Phase.READYING if self._launch is not None:
                self._ours = True
                self.logbook.amend(digest=self._launch.digest, last=self._launch.last)
            case Phase.ARMING:
                self._aboard, self._aboard_s = None, now
            case Phase.RETURNING | Phase.LANDING | Phase.YIELDED:
                self._home_by = self._resume_by = None
            case Phase.LANDED | Phase.CHECKED | Phase.FAILED:
                self._launch = None

    def _begin(self, now: float) -> None:
        if self._launch is not None and not self._begun:
            self._launch.begin(self.phase, now)
        self._begun = True

    # --- orders in the air ----------------------------------------------------------------------------------------

    def _watch(self, now: float) -> None:
        """Call the drone home when the battery or a phase says so, and let go on the ground."""
        assert self.entered_s is not None
        t = self.link.telemetry()
        if self.phase is Phase.ABORTING and now - self.entered_s > DISARM_AFTER_S:
            self._stop_motors(now)
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
            if (spent := self.budget.take(t, now)) and self._home_by is None:
                self._home_by = ("pilot", spent)
            if phases.overdue(self.phase, now - self.entered_s):
                self._home_by = ("pilot", f"{self.phase} for {now - self.entered_s:.0f} s")
        if self._home_by is not None and (self._order is None or self._order.mode != "RTL"):
            self._want("recall", *self._home_by, phases.IN_FLIGHT, now)

    def _stop_motors(self, now: float) -> None:
        """Disarm; where the autopilot still believes in its take-off, have it land first: that disarms it."""
        pressed = self._pressed
        if pressed is None or isinstance(pressed, Refusal) or getattr(pressed, "state", "") in ("refused", "silent"):
            self._pressed = self._do(safety.Disarm() if self.link.landed else safety.SetMode("LAND"), now)

    def _want(self, asked: str, by: str, why: str, during: Collection[Phase], now: float) -> Refusal | None:
        """Order the mode that is `asked` for; it is pressed until it is seen."""
        if self.phase not in during:
            return not_now(asked, self.phase, during)
        mode = MODES[asked]
        refusal = safety.permit(safety.SetMode(mode), self.link.telemetry(), self._limits, now)
        if refusal is not None:
            return in_words(refusal, asked, self.link.mode, landed=self.link.landed is True)
        self._order, self._pressed = Order(mode, by, why, now), None
        return None

    def _press(self, now: float) -> None:
        order = self._order
        if order is None:
            return
        if self.link.mode == order.mode or self.phase not in phases.IN_FLIGHT:
            self._order = None
            return
        if now - order.at_s > ORDER_S and order.mode not in ("RTL", "LAND"):
            self._warn(f"flight: mode {order.mode} was ordered and not seen within {ORDER_S:g} s")
            self._order, self._resume_by = None, None
            self.logbook.amend(paused=self.phase is Phase.PAUSED)
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
            return phases.LEADS_HOME if seen.homing else "the mission aboard is not the one verified"
        said = self.link.said_since(now - FAILSAFE_S)
        return f"mode {seen.mode}: autopilot: {said[-1]}" if said else f"mode {seen.mode}, set by another controller"

    def _do(self, command: safety.Command, now: float) -> helm.Job:
        return helm.order(self.link, command, self._limits, now)

    # --- schedule -------------------------------------------------------------------------------------------------

    def _schedule(self, now: float, wall: float) -> None:
        before = dict(self.ledger.state.since)
        planned, missed = self.ledger.due(wall)
        for one in missed:
            self.logbook.miss(one, self._new_id(), wall)
        if planned is not None:
            route, by = self._routes[planned.schedule.route], f"schedule:{planned.schedule.id}"
            if self.phase is not Phase.GROUND:
                self.ledger.hold(planned, f"the pilot was {self.phase}")
            elif blocked := self.blocked(route, now):
                self.ledger.hold(planned, str(blocked[0]))
            else:
                self.ledger.take(planned)  # saved together with the run
                self.fly(route.id, by, now, wall)
        if self.ledger.state.since != before:
            self.logbook.save()

    def distance_home_m(self, t: Telemetry) -> float | None:
        """From home, or from the site's take-off place while home is unknown."""
        home = self._place if t.home_lat is None or t.home_lon is None else (t.home_lat, t.home_lon)
        if t.lat is None or t.lon is None or home is None:
            return None
        return geo.distance_m(*home, t.lat, t.lon)


def _no(
    gate: str, reason: str, value: str | None = None, limit: str | None = None, remedy: str | None = None
) -> Refusal:
    return Refusal(gate=f"pilot.{gate}", reason=reason, value=value, limit=limit, remedy=remedy)
