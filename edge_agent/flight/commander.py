"""Who decides: one vehicle, at most one run, told what is heard and what is asked. Sans-I/O.

`turn` takes the steps of the phase table that were observed, does the job of the phase that was entered, and calls
the drone home where it must. The run is saved before its next bytes leave, so a restart knows what may have flown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from msgspec import structs

from edge_agent import config, geo
from edge_agent.flight import budget, facts, gates, handsoff, mission, phases, reach
from edge_agent.flight import route as missions
from edge_agent.flight.aboard import Aboard
from edge_agent.flight.budget import Budget
from edge_agent.flight.elsewhere import Elsewhere, longer
from edge_agent.flight.energy import Wind
from edge_agent.flight.homeward import Homeward
from edge_agent.flight.launch import Launch
from edge_agent.flight.logbook import Logbook, State
from edge_agent.flight.mavlink import Link
from edge_agent.flight.mission import Item
from edge_agent.flight.orders import Orders
from edge_agent.flight.phases import Phase, Seen
from edge_agent.flight.refusals import not_now
from edge_agent.flight.run import DISPATCH, Run
from edge_agent.flight.schedule import Ledger, Missed
from edge_agent.flight.timetable import Timetable
from edge_agent.flight.trail import Trail
from edge_agent.flight.weather import Judge, Weather
from edge_agent.messages import Dispatch, Refusal, Telemetry
from edge_agent.plans.model import Fence

LISTEN_S = 3.0  # heartbeats are heard for so long before anything is decided
OURS_LISTEN_S = 1.0  # of a vehicle in the air whose mission, as read back, is the one of our open run
SCHEDULE_S = 1.0
RECALLABLE = phases.BEFORE_ARMING | phases.IN_FLIGHT | {Phase.ARMING, Phase.STARTING}
RESUMABLE = frozenset({Phase.PAUSED, Phase.YIELDED})
SENDABLE = phases.OUTWARD | {Phase.GROUND, Phase.CLIMB}
HANDS_OFF = Refusal(
    gate="pilot.hands_off", reason="the pilot's switch is at hands off", remedy="the pilot switches it over; then order"
)
WITHDRAWN = frozenset({Phase.YIELDED, Phase.ABORTING, Phase.FAILED})  # what was lost on its way is not sent again
RETASKABLE = frozenset({Phase.CLIMB, Phase.TRANSIT, Phase.ON_SCENE})


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
        self.budget.recall(self.logbook.paid)
        self.ledger = Ledger(schedules, Timetable(site, blackouts, levels), self.logbook.ledger)
        run = self.logbook.run
        self.phase = Phase.LOCKOUT if run is not None and run.phase == Phase.LOCKOUT else Phase.BOOT
        self.entered_s: float | None = None
        self._begun = True  # the job of the phase
        self._schedule_due_s = float("-inf")
        self._launch: Launch | None = None  # of the run, unless the agent was restarted since
        self.aboard = Aboard(link)
        self._orders = Orders(link, limits, warn)
        self._elsewhere = Elsewhere(link, limits, self.logbook, self.aboard)
        self._homeward = Homeward(link, limits, self.budget)
        self._on_scene_s: float | None = None
        self._trail = Trail(self.logbook)
        self._home_by: tuple[str, str] | None = None  # who calls the drone home, and why
        self._resume_by: str | None = None
        self.carry: Callable[[config.Route], config.Route] = lambda route: route  # takes on what earlier runs left out

    # --- asked ----------------------------------------------------------------------------------------------------

    def fly(
        self, route_id: str, by: str, now: float, wall: float, *, rehearse: bool = False, from_breakpoint: bool = False
    ) -> str | Refusal:
        """Start a run of a route; returns its id, or why not. To `rehearse` is to do all of it but arm."""
        route = self._routes.get(route_id)
        if route is None:
            known = ", ".join(sorted(self._routes)) or "none is configured"
            return _no("route", "there is no such route", route_id, known)
        if self.phase is not Phase.GROUND:
            return not_now("fly", self.phase, {Phase.GROUND})
        skipped, left = 0, self.logbook.breakpoints.get(route_id)
        if from_breakpoint:
            if left is None or left.waypoint >= len(route.waypoints):
                return _no("breakpoint", "no run of this route was called away", route_id, remedy="fly it whole")
            route = missions.rest(route, left.waypoint, left.lat, left.lon, left.alt_m)
            skipped = left.waypoint - 1
        elif not self.blocked(longer := self.carry(route), now):
            route = longer  # only behind its own waypoints, so that breakpoints still count those
        items = missions.mission(route)
        run = Run(id=self._new_id(), route=route.id, by=by, phase=Phase.GROUND, rehearsal=rehearse, skipped=skipped)
        return self._open(run, route, items, now, wall)

    def dispatch(self, order: Dispatch, by: str, now: float, wall: float, *, rehearse: bool = False) -> str | Refusal:
        """Fly to a place and hover there; a flight under way is called there where it has the energy for it."""
        errand, home = self._errand(order), self._home()
        refusal = reach.within(order, home, self._limits)
        if refusal is not None or home is None:
            return refusal or not_now("dispatch", self.phase, SENDABLE)
        run = Run(id=self._new_id(), route=DISPATCH, by=by, phase=Phase.GROUND, first=3, head=3, order=order)
        if (self.phase in phases.OUTWARD or self.phase is Phase.CLIMB) and not rehearse:
            return self._elsewhere.call(run, order, self._facts(errand, now), self.phase) or run.id
        if self.phase is not Phase.GROUND:
            return not_now("dispatch", self.phase, SENDABLE)
        items = missions.dispatch(order, *home, self._limits)
        return self._open(structs.replace(run, rehearsal=rehearse), errand, items, now, wall)

    def respond(self, order: Dispatch | Refusal, by: str, now: float, wall: float, *, take_off: bool) -> str | Refusal:
        """A rule asks for a look: it takes a patrol away, or takes off where it may, and nobody's dispatch."""
        if self.phase is Phase.GROUND and not take_off:
            return _no("respond", "no patrol is under way", self.phase, remedy="respond.take_off lets it take off")
        run = self.logbook.run
        if isinstance(order, Refusal):
            answer: str | Refusal = order
        elif run is not None and run.order is not None:
            answer = _no("respond", "it is sent to a place already", run.by, remedy="let it be done")
        else:
            answer = self.dispatch(order, by, now, wall)
        if isinstance(answer, Refusal):
            self._note(f"flight: {by} asked for a flight to its incident: {answer}")
            self.logbook.decline(DISPATCH, by, answer, self._new_id(), wall)
        return answer

    def _errand(self, order: Dispatch) -> config.Route:
        return structs.replace(missions.errand(order, self._limits), fence=self.aboard.fence)

    def _on_scene(self, now: float) -> float | None:
        return None if self._on_scene_s is None else now - self._on_scene_s

    def _open(self, run: Run, route: config.Route, items: tuple[Item, ...], now: float, wall: float) -> str | Refusal:
        if blocked := self.blocked(route, now):
            return blocked[0]
        self.logbook.open(run)
        flown = route if run.order is None else structs.replace(route, fence=Fence())  # it stays the one aboard
        self._launch = Launch(self.link, self._limits, flown, items, lambda at_s: self.blocked(route, at_s))
        self._orders.drop()
        self._homeward.forget()
        self._home_by, self._resume_by, self._on_scene_s = None, None, None
        self._enter(Phase.GATING, "ordered", now, wall)
        return run.id

    def extend(self, hover_s: float, now: float) -> Refusal | None:
        """Hover so much longer than planned."""
        run = self.logbook.run
        if run is None or run.order is None or self.phase not in RETASKABLE:
            return not_now("extend", self.phase, RETASKABLE)
        found = longer(run, hover_s, self._on_scene(now) or 0.0, self._limits)
        if isinstance(found, Refusal):
            return found
        changed, order = found
        return self._elsewhere.call(changed, order, self._facts(self._errand(order), now), self.phase)

    def recall(self, by: str, now: float, wall: float) -> Refusal | None:
        """Call the drone home; before take-off, call the flight off."""
        if self.logbook.run is None:
            return not_now("recall", self.phase, RECALLABLE)
        if self.phase in phases.BEFORE_ARMING:
            self._enter(Phase.FAILED, f"called off by {by}", now, wall)
            return None
        if self.phase in phases.IDLING and self.link.landed is True:
            self._enter(Phase.ABORTING, f"called off by {by}", now, wall)
            self._home_by = (by, f"recalled by {by}")  # should it lift off all the same
            return None
        if self.phase in (Phase.RETURNING, Phase.LANDING):
            return None
        if self.phase not in RECALLABLE:
            return not_now("recall", self.phase, RECALLABLE)
        if self.hands_off:
            return HANDS_OFF
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
        """Hold where it is; after `phases.RETURN_AFTER_S` it comes home."""
        refusal = self._want("pause", by, f"paused by {by}", phases.OUTWARD, now)
        if refusal is None:
            self.logbook.amend(paused=True)
        return refusal

    def resume(self, by: str, now: float) -> Refusal | None:
        """Go on after a pause; after YIELDED only when the mission aboard is still the one that was verified."""
        if self.phase is Phase.YIELDED:
            if self.hands_off:
                return HANDS_OFF
            if self.link.landed is True or self.link.mode in (*phases.RETURN_MODES, "LAND"):
                return not_now("resume", Phase.RETURNING, RESUMABLE)
            self._resume_by = by
            self.aboard.read(now)
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
    def hands_off(self) -> bool:
        """Whether the pilot's switch forbids the agent to act."""
        return handsoff.is_off(self.link, self._limits.hands_off_channel)

    @property
    def flown(self) -> config.Route | None:
        """The route of the run that is being begun or flown; None after a restart of the agent."""
        return self._launch.flown if self._launch else None

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
        return gates.checks(self._facts(route, now))

    def _facts(self, route: config.Route | None, now: float) -> facts.Facts:
        plan = facts.Plan(
            self._place, self._limits, self.budget.frame, route, self.budget.wind, self.budget.way, self.budget.ratio,
            self._site_alt_m, self.logbook.fault, self.phase is Phase.LOCKOUT, self.sky.ask(self.weather, now),
            self.digest, self.aboard.known, len(self.aboard.rally),
        )  # fmt: skip
        return facts.gather(self.link, plan, self.around, now)

    def blocked(self, route: config.Route | None, now: float) -> list[Refusal]:
        """Why this route could not be flown now."""
        return [check.refusal() for check in self.checks(route, now) if check.blocks]

    def look(self, around: facts.Around, weather: Weather | None, now: float) -> None:
        """What the machine, the sky and the autopilot's settings say: for the gates and for the way home."""
        limits = self._weather_limits
        self.around, self.weather = around, weather
        self.budget.way = budget.way_home(self.link.params)
        self.budget.goes_to_rally = budget.to_rally(self.link.params)
        if weather is None or weather.wind_mps is None or now - weather.at_s > limits.max_age_s:
            self.budget.wind = Wind(limits.assumed_wind_mps)
        else:
            self.budget.wind = Wind(weather.wind_mps, weather.wind_from_deg)

    def telemetry(self) -> Telemetry | None:
        """What the vehicle says, and what follows from it: the margin and the way that is left."""
        t, run = self.link.telemetry(), self.logbook.run
        if t is None:
            return None
        to_go_m = budget.to_go_m(self.aboard.plan, t) if run is not None and self.phase in phases.IN_FLIGHT else None
        return structs.replace(t, margin_pct=self.budget.margin_pct(t), to_go_m=to_go_m)

    def _home(self) -> tuple[float, float] | None:
        """Where it takes off and returns to: the site's place while the autopilot has not said it."""
        t = self.link.telemetry()
        return self._place if t is None or t.home_lat is None or t.home_lon is None else (t.home_lat, t.home_lon)

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
        if not self.logbook.unsaved:
            self._turn_elsewhere(now, wall)
        for _ in range(len(Phase)):  # a chain of steps ends: the table has no circle of steps that need no time
            if self.logbook.unsaved:
                return
            self._begin(now)
            if not self._step(now, wall):
                break
        self._watch(now, wall)
        if self._orders.press(self.phase, now):
            self._resume_by = None
            self.logbook.amend(paused=self.phase is Phase.PAUSED)
        if now >= self._schedule_due_s:
            self._schedule_due_s = now + SCHEDULE_S
            self._schedule(now, wall)

    def _step(self, now: float, wall: float) -> bool:
        assert self.entered_s is not None
        seen = self._see(now, wall)
        step = phases.step(self.phase, seen)
        detail = self._launch.detail if self._launch else ""
        if step is not None and "{why}" in step.cause and self._orders.puzzling(seen, now):
            return False
        if step is not None:
            cause = step.cause.format(mode=seen.mode, detail=detail, why=self._orders.why(seen, now))
            self._enter(step.to, cause, now, wall)
            return True
        late = phases.expired(self.phase, now - self.entered_s)
        if late is not None:
            self._enter(late.to, late.cause.format(after_s=late.after_s, detail=detail), now, wall)
        return late is not None

    def _see(self, now: float, wall: float) -> Seen:
        link, run = self.link, self.logbook.run
        t = link.telemetry()
        work = self._launch.work(self.phase, now) if self._launch else "none"
        self._identify(now, wall)
        seq = (t.mission_seq or 0) if t else 0
        self._trail.look(run, seq)
        return Seen(
            link=link.alive(now),
            settled=self._settled(now),
            run=run is not None,
            rehearsal=run is not None and run.rehearsal,
            flew=run is not None and run.flew,
            paused=run is not None and run.paused,
            resumed=self._resume_by is not None,
            hands_off=self.hands_off,
            ours=self.aboard.ours and run is not None and t is not None and self._fits(run, t.mission_total),
            armed=link.armed,
            landed=link.landed,
            landing=link.landing,
            mode=link.mode,
            alt_m=(t.alt_m or 0.0) if t else 0.0,
            seq=seq,
            leg=run.leg(seq) if run else "climb",
            arrived=run is not None and t is not None and self.aboard.over_place(run, t),
            work=work,
            stands=run.stands(t, self._limits.home_radius_m) if run is not None and t is not None else "home",
        )

    def _settled(self, now: float) -> bool:
        """Whether enough was heard to say what this flight is: listen first, then decide."""
        link = self.link
        if link.first_heard_s is None or link.landed is None or not link.located:
            return False
        flies = link.armed and not link.landed and self.logbook.run is not None
        if not (self.aboard.settled if flies else link.armed or self.aboard.known):
            return False
        return now - link.first_heard_s >= (OURS_LISTEN_S if flies and self.aboard.ours else LISTEN_S)

    def _fits(self, run: Run, total: int | None) -> bool:
        return total is None or total in run.totals() or self._elsewhere.task is not None

    def _identify(self, now: float, wall: float) -> None:
        """Is the mission aboard ours? Then a person who asked to go on may."""
        if self._elsewhere.task is not None or not self.aboard.look(self.logbook.run, self.phase, now):
            return
        if self.aboard.ours:
            self._elsewhere.settle(self.link.telemetry(), wall)
        if self._resume_by is not None and self.phase is Phase.YIELDED and self._orders.current is None:
            by = self._resume_by
            if not self.aboard.ours or self._want("resume", by, f"resumed by {by}", RESUMABLE, now):
                self._resume_by = None

    def _enter(self, to: Phase, cause: str, now: float, wall: float) -> None:
        previous, self.phase, self.entered_s = self.phase, to, now
        self._note(f"flight: {previous} -> {to}: {cause}")
        refusal = self._launch.refusal if self._launch and to is Phase.FAILED else None
        t = self.link.telemetry()
        self._trail.enter(previous, to, cause, t, wall)
        self.logbook.learn(*self.budget.paid)
        self.logbook.enter(to, previous, cause, wall, t=t, refusal=refusal, to_go_m=self.to_go_m())
        run = self.logbook.run
        if run is not None and to is Phase.PAUSED:  # a pause that a restart found began before that
            self.entered_s = now - max(0.0, wall - run.entered_wall_s)
        self._begun = False
        self._homeward.enter()
        if to in WITHDRAWN:
            self.link.withdraw()
        if to in phases.IN_FLIGHT and run is not None and not run.ends and (home := self._home()) is not None:
            self.logbook.amend(ends=(home, *self.aboard.refuges))
        match to:
            case Phase.UPLOADING if self._launch is not None:
                self.aboard.replaced(self._launch.kinds)
            case Phase.LINK_DOWN:
                self.link.forget()
                self.aboard.forget()
                self._launch = None
                self._orders.drop()
            case Phase.READYING if self._launch is not None:
                items, head = self._launch.items, run.head if run is not None else 0
                rally = tuple((point.lat, point.lon) for point in self._launch.flown.rally)
                self.aboard.verified(items, self._launch.fence, rally, now)
                digest, slots = mission.digest(items[: head or None]), items[head:] if head else ()
                self.logbook.amend(digest=digest, slots=slots, last=items[-1].seq)
            case Phase.ARMING:
                self.aboard.written(now)
            case Phase.GROUND:
                self.aboard.landed()
            case Phase.ABORTING if previous is not Phase.ATTACHING:
                self._homeward.call_off()
            case Phase.CLIMB if previous is Phase.ABORTING and self._home_by is None:
                self._home_by = ("pilot", phases.LIFTED)
            case Phase.ON_SCENE if self._on_scene_s is None and run is not None:
                self._on_scene_s = now - max(0.0, wall - (run.arrived_wall_s or wall))
            case Phase.YIELDED:  # never fight: what was wanted until now is wanted no more
                self._home_by = self._resume_by = None
                self._orders.drop()
            case Phase.RETURNING | Phase.LANDING:
                self._home_by = self._resume_by = None
            case Phase.LANDED | Phase.CHECKED | Phase.FAILED:
                self._launch = None

    def _begin(self, now: float) -> None:
        if self._launch is not None and not self._begun:
            self._launch.begin(self.phase, now)
        self._begun = True

    # --- orders in the air ----------------------------------------------------------------------------------------

    def _watch(self, now: float, wall: float) -> None:
        """Call the drone home when the battery or a phase says so, and let go on the ground."""
        assert self.entered_s is not None
        t, lasted_s = self.link.telemetry(), now - self.entered_s
        self._homeward.let_go(self.phase, lasted_s, now)
        run, wanted = self.logbook.run, self._orders.current.mode if self._orders.current else None
        self.budget.rally = run.ends[1:] if run is not None else ()
        if run is not None and self.phase in phases.IN_FLIGHT and (moved := self._homeward.moved(run, self._home())):
            self.logbook.remark(moved, wall, t)
        returns = self.phase is Phase.RETURNING and wanted != "LAND"
        if t is not None and returns and (why := self._homeward.beyond(t, now)):
            self._want("land", "pilot", why, {Phase.RETURNING}, now)
        if t is None or self.phase not in phases.OUTWARD | {Phase.CLIMB, Phase.PAUSED, Phase.YIELDED}:
            return
        if self.phase is not Phase.YIELDED and self._home_by is None:
            why = self._homeward.why(self.phase, lasted_s, self._on_scene(now), t, now)
            why = why or self._homeward.weathered(self.sky.turns_back(self.weather, now), now)
            if why is None and self.phase in (Phase.ROUTE, Phase.TRANSIT):
                why = self._homeward.stuck(self.aboard.plan, t, now)
            self._home_by = ("pilot", why) if why else None
        order = self._orders.current
        if self._home_by is not None and (order is None or order.mode != "RTL"):
            self._want("recall", *self._home_by, phases.IN_FLIGHT, now)

    def _turn_elsewhere(self, now: float, wall: float) -> None:
        """A flight that is called elsewhere is another run from the moment on which the vehicle is seen to obey."""
        if self._elsewhere.task is None or (self.phase is Phase.CLIMB and self._home_by is None):
            return
        order = self._orders.current
        stays = self._home_by is None and (order is None or order.mode == "AUTO") and self.phase in phases.OUTWARD
        leaving = None if stays else f"the flight is {order.why if order else self.phase}"
        left = self._elsewhere.turn(leaving, wall, now)
        if left is None:
            return
        self._on_scene_s = None
        if left.order is None:
            self._trail.leave(left, self.link.telemetry(), "called away", wall)
        self._enter(Phase.TRANSIT, "called there in flight", now, wall)

    def _want(self, asked: str, by: str, why: str, during: Collection[Phase], now: float) -> Refusal | None:
        if self.phase not in during:
            return not_now(asked, self.phase, during)
        if self.hands_off:
            return HANDS_OFF
        return self._orders.want(asked, by, why, now)

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

    def to_go_m(self) -> float | None:
        """Over the ground: to the place of a dispatch on its way there, else home."""
        return self.aboard.to_go_m(self.logbook.run, self.link.telemetry(), self._home())

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
