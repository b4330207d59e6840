"""The part that flies: joins the commander to the vehicle's bytes, the store, and those who want to know."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pymavlink.dialects.v20 import ardupilotmega as mavlink
from ulid import ULID

from edge_agent import config
from edge_agent.flight import helm
from edge_agent.flight.claim import claim
from edge_agent.flight.commander import Commander
from edge_agent.flight.gates import Check
from edge_agent.flight.mavlink import TICK_S, Link
from edge_agent.flight.phases import IDLING, Phase
from edge_agent.flight.recorder import Recorder
from edge_agent.flight.safety import PlayTune
from edge_agent.flight.scribe import Scribe
from edge_agent.flight.signing_key import KeptSigning
from edge_agent.flight.store import Keeper
from edge_agent.flight.surroundings import Surroundings
from edge_agent.flight.tlog import Tlog
from edge_agent.flight.vehicle import Vehicle
from edge_agent.flight.weather import Weather, from_mavlink
from edge_agent.messages import Dispatch, FlightEvent, Posed, Refusal, Telemetry
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.topics import rfc3339

log = logging.getLogger(__name__)

BEAT_S = 15.0
SILENT_S = 5.0
READ_S = 60.0  # for settings, over a slow radio
LOOK_S = 2.0


class Pilot:
    """Flies routes on one vehicle. `run` may be restarted at any time: what is known of the flight outlives it."""

    def __init__(
        self,
        vehicle: Vehicle,
        *,
        site: config.Site,
        limits: config.Limits,
        airframe: config.Airframe | None = None,
        weather: config.WeatherLimits | None = None,
        no_fly: Sequence[config.NoFly] = (),
        folder: Path | None = None,
        routes: Iterable[config.Route],
        schedules: Iterable[config.Schedule],
        blackouts: Iterable[config.Blackout] = (),
        levels: Iterable[config.LevelSpan] = (),
        store: Keeper,
        signing: KeptSigning | None = None,
        tlog: Tlog | None = None,
        clock: Clock,
        health: Health,
        recorder: Recorder | None = None,
        on_event: Callable[[FlightEvent], Awaitable[None]],
        on_telemetry: Callable[[Telemetry], None],
        on_posed: Callable[[Posed], None] | None = None,
    ) -> None:
        self._vehicle, self._store, self._clock, self._health = vehicle, store, clock, health
        self._on_event, self._on_telemetry = on_event, on_telemetry
        self._routes, self._limits = tuple(routes), limits
        self._signing, self._tlog = signing, tlog
        self._link = Link(
            vehicle.system_id,
            secrets.randbits(31),
            signing=signing.signing if signing else None,
            tap=tlog.take if tlog else None,
            on_posed=on_posed,
        )
        self._commander = Commander(
            self._link,
            site=site,
            limits=limits,
            airframe=airframe,
            weather=weather,
            routes=self._routes,
            schedules=schedules,
            blackouts=blackouts,
            levels=levels,
            state=store.load(),
            new_id=lambda: str(ULID()),
            note=log.info,
            warn=log.warning,
        )
        limits_of_weather = weather or config.WeatherLimits()
        self._surroundings = Surroundings(folder or Path(), site, limits_of_weather, no_fly, clock)
        self._weather: Weather | None = None
        self._looked_s = float("-inf")
        self._scribe = Scribe(recorder, clock, health) if recorder else None
        self._silent_since_s = clock.monotonic()
        self._told_s = float("-inf")

    # --- asked: plain calls, answered now ------------------------------------------------------------------------

    def fly(self, route_id: str, by: str, *, from_breakpoint: bool = False, rehearse: bool = False) -> str | Refusal:
        """Fly a route now, or what its last run left of it, or all of it but arm; the run's ULID, or why not."""
        return self._commander.fly(route_id, by, *self._now(), from_breakpoint=from_breakpoint, rehearse=rehearse)

    def dispatch(self, order: Dispatch, by: str, *, rehearse: bool = False) -> str | Refusal:
        """Fly to a place, from the ground or from the flight under way; the run's ULID, or why not."""
        return self._commander.dispatch(order, by, *self._now(), rehearse=rehearse)

    def respond(self, order: Dispatch | Refusal, by: str, *, take_off: bool) -> str | Refusal:
        """Fly to an incident: from the patrol under way, or from the ground where that is allowed."""
        return self._commander.respond(order, by, *self._now(), take_off=take_off)

    def extend(self, hover_s: float) -> Refusal | None:
        """Hover so much longer than planned."""
        return self._commander.extend(hover_s, self._clock.monotonic())

    def play_tune(self, tune: str) -> Refusal | None:
        """Sound the vehicle's buzzer, at the next turn."""
        return helm.sound(self._link, PlayTune(tune), self._limits, self._clock.monotonic())

    def adopt(self, by: str) -> Refusal | None:
        """Take on a flight that is none of ours, so that it can be called home."""
        return self._commander.adopt(by, *self._now())

    def recall(self, by: str) -> Refusal | None:
        """Return home."""
        return self._commander.recall(by, *self._now())

    def land(self, by: str) -> Refusal | None:
        """Land where it is."""
        return self._commander.land(by, self._clock.monotonic())

    def pause(self, by: str) -> Refusal | None:
        """Hold on the route."""
        return self._commander.pause(by, self._clock.monotonic())

    def resume(self, by: str) -> Refusal | None:
        """Go on after `pause`, or take over again after somebody else flew."""
        return self._commander.resume(by, self._clock.monotonic())

    def clear(self) -> Refusal | None:
        """Leave the lockout that follows a disarm in the air: a person has looked at the vehicle."""
        return self._commander.clear(*self._now())

    def skip(self, schedule: str, when_s: float | None, by: str) -> Refusal | None:
        """Leave out the occurrence planned at `when_s` (Unix time), or the next one of this schedule."""
        return self._commander.skip(schedule, when_s, by, self._clock.wall())

    def level(self, level: config.PatrolLevel, until_s: float | None, by: str) -> Refusal | None:
        """Set the patrol level, until a Unix time or until the next switch."""
        return self._commander.level(level, until_s, by, self._clock.wall())

    @property
    def patrol_level(self) -> config.PatrolLevel:
        """The level that holds now; each has its own schedules."""
        return self._commander.ledger.level_at(self._clock.wall())

    def carry(self, take_on: Callable[[config.Route], config.Route]) -> None:
        """Ask this, before each whole run of a route, for the route with what earlier runs left out."""
        self._commander.carry = take_on

    def enable(self, schedule: str, enabled: bool) -> None:
        """Switch a schedule on or off; one that was off owes nothing of that time."""
        self._commander.ledger.enable(schedule, enabled, self._clock.wall())

    def checks(self, route: config.Route | None = None) -> list[Check]:
        """How every gate stands: for this route, or for none."""
        return self._commander.checks(route, self._clock.monotonic())

    async def read_params(self, names: Iterable[str]) -> dict[str, float] | Refusal:
        """These settings as they are aboard, what it does not have left out; refused where it is not at rest."""
        link, now = self._link, self._clock.monotonic()
        if not link.alive(now) or link.armed:
            why = "it is armed" if link.alive(now) else self._silence()
            return Refusal(gate="params.rest", reason="settings are read at rest", value=why, remedy="ask again later")
        job = link.read_params(names, now)
        while job.state == "running" and self._clock.monotonic() - now < READ_S:
            await self._clock.sleep(TICK_S)
        if job.state != "done" or not link.alive(self._clock.monotonic()):
            return Refusal(
                gate="params.link", reason="they could not be read", value=job.detail or "no answer", remedy="ask again"
            )
        return dict(job.values)

    def refuse(self, name: str, by: str, cause: str, route: config.Route | None = None) -> str | None:
        """Write down that a flight was asked for and refused; the id of the record."""
        route = route or next((one for one in self._routes if one.id == name), None)
        return self._scribe.refuse(name, by, route, self.checks(route), cause) if self._scribe else None

    @property
    def run_id(self) -> str | None:
        """The flight that is under way."""
        run = self._commander.logbook.run
        return run.id if run else None

    @property
    def route_id(self) -> str | None:
        """The route of that flight."""
        run = self._commander.logbook.run
        return run.route if run else None

    @property
    def order(self) -> Dispatch | None:
        """What sent that flight to a place, if anything did."""
        run = self._commander.logbook.run
        return run.order if run else None

    @property
    def phase(self) -> str:
        """What the pilot takes the flight to be."""
        return str(self._commander.phase)

    @property
    def telemetry(self) -> Telemetry | None:
        """The latest, whatever its age."""
        return self._commander.telemetry()

    def status(self) -> dict[str, Any]:
        """What a person wants to know: the phase, the run, where it is, and what stands in the way of a flight."""
        now, wall = self._now()
        commander, t, run = self._commander, self.telemetry, self._commander.logbook.run
        away_m = commander.distance_home_m(t) if t else None
        following = commander.ledger.next(wall)
        on_ground = commander.phase is Phase.GROUND
        return {
            "phase": str(commander.phase),
            "run": {"id": run.id, "route": run.route, "by": run.by, "to_go_m": commander.to_go_m()} if run else None,
            "vehicle": self._vehicle.url,
            "link": self._link_state(now),
            "armed": t.armed if t else None,
            "mode": t.mode if t else None,
            "alt_m": round(t.alt_m, 1) if t and t.alt_m is not None else None,
            "distance_home_m": round(away_m, 1) if away_m is not None else None,
            "speed_mps": round(t.speed_mps, 1) if t and t.speed_mps is not None else None,
            "battery_pct": t.battery_pct if t else None,
            "margin_pct": round(t.margin_pct, 1) if t and t.margin_pct is not None else None,
            "to_go_m": round(t.to_go_m, 1) if t and t.to_go_m is not None else None,
            "satellites": t.satellites if t else None,
            "mission": f"{t.mission_seq}/{t.mission_total}" if t and t.mission_total else None,
            "blocked": {
                route.id: [str(refusal) for refusal in refusals]
                for route in self._routes
                if on_ground and (refusals := commander.blocked(route, now))
            },
            "level": self._level(wall),
            "breakpoints": {
                one.route: f"waypoint {one.waypoint}: {one.why}" for one in commander.logbook.breakpoints.values()
            },
            "next": {"schedule": following.schedule.id, "wall_s": following.planned_s} if following else None,
            "said": [text.text for text in self._link.texts][-5:],
            "bad_crc": self._link.bad_crc,
        }

    # --- the part -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fly for ever; DriverError when the link's socket or port dies."""
        self._commander.listen()
        self._silent_since_s = self._clock.monotonic()
        if self._signing is not None:
            await asyncio.to_thread(self._signing.save)  # what was signed before is never signed again
        with claim(self._vehicle.url) if self._vehicle.url != "simulated" else nullcontext():
            await self._vehicle.open()
            try:
                while True:
                    await self._turn(await self._vehicle.receive(TICK_S))
                    if self._vehicle.gather_s and not self._link.busy:
                        await self._clock.sleep(self._vehicle.gather_s)
            except asyncio.CancelledError:  # a link that dies does not end a flight, nor its log
                if self._tlog is not None:
                    await asyncio.to_thread(self._tlog.close)
                raise
            finally:
                await self._vehicle.close()
                await self._save()
                if self._scribe is not None:
                    await self._scribe.close()

    async def _turn(self, data: bytes) -> None:
        now, wall = self._now()
        commander, link = self._commander, self._link
        link.receive(data, now)
        if now - self._looked_s >= LOOK_S:
            self._look(now)
        commander.turn(now, wall)
        while await self._save():
            commander.turn(now, wall)
        link.tick(now)
        if out := link.data_to_send():
            await self._vehicle.send(out)
        # Between arming and take-off a slow disk could cost the flight: these events are saved, and go out after that.
        while commander.logbook.unsent and commander.phase not in IDLING:
            event = commander.logbook.unsent[0]
            self._write(event)
            await self._on_event(event)
            commander.logbook.sent()
        self._tell(now)

    async def watch(self) -> None:
        """The part that asks for the weather; DriverError where its source fails."""
        await self._surroundings.watch(self._take_weather)

    def _take_weather(self, weather: Weather) -> None:
        self._weather = weather

    def _look(self, now: float) -> None:
        """At the machine and the sky."""
        self._looked_s = now
        wind = self._link.said.get(mavlink.MAVLINK_MSG_ID_WIND) if self._surroundings.from_vehicle else None
        if wind is not None:
            at_s, message = wind
            self._weather = from_mavlink(message.speed, message.direction, at_s) or self._weather
        self._commander.look(self._surroundings.look(), self._weather, now)

    async def _save(self) -> bool:
        """To the disk, beside the loop: False where nothing was to be saved."""
        book = self._commander.logbook
        if not book.unsaved:
            return False
        writing = asyncio.create_task(asyncio.to_thread(self._store.save, book.to_save()))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])  # a thread cannot be called back, and two must never write at once
            if writing.exception() is not None:
                book.save()
            raise
        except DriverError as error:
            if book.fault is None:
                log.error("flight: %s", error)
            book.fault = str(error)
        else:
            book.fault = None
        return True

    def _write(self, event: FlightEvent) -> None:
        """A transition, for the record; what the gates found goes before the first."""
        if self._scribe is None or event.phase == "missed":
            return
        if event.phase == "gating":
            route = self._commander.flown
            self._scribe.begin(event, route, self._commander.checks(route, self._clock.monotonic()))
        self._scribe.enter(event, digest=self._commander.digest)

    def _tell(self, now: float) -> None:
        self._health.beat("pilot", BEAT_S)
        if self._tlog is not None:
            self._tlog.flying(self.run_id or ("foreign" if self._link.armed else None), now)
        if self._link.alive(now):
            self._silent_since_s = now
            self._health.set("vehicle", "running")
        elif now - self._silent_since_s > SILENT_S:
            self._health.set("vehicle", f"failed: {self._silence()}")
        t = self.telemetry
        if t is not None and t.at_s > self._told_s:
            self._told_s = t.at_s
            self._on_telemetry(t)
        if self._scribe is not None:
            self._scribe.look(self.run_id, t, self._link.orders)
            self._scribe.flush()

    def _level(self, wall: float) -> dict[str, Any]:
        switch = self._commander.ledger.switched(wall)
        return {
            "now": self.patrol_level,
            "by": switch.by if switch else "calendar",
            "until": rfc3339(switch.until_s) if switch and switch.until_s is not None else None,
        }

    def _link_state(self, now: float) -> str:
        if self._link.alive(now):
            return "up"
        return f"{self._silence()} ({now - self._silent_since_s:.0f} s)"

    def _silence(self) -> str:
        vehicle, signing = self._vehicle, self._link.signing
        if signing is not None and any(signing.refused.values()):
            why = ", ".join(f"{count} {reason}" for reason, count in signing.refused.items() if count)
            return f"packets from {vehicle.url} are refused: {why}; has the autopilot the same key, is its signing on?"
        return (
            f"no heartbeat from system {vehicle.system_id} on {vehicle.url};"
            " is the autopilot powered, is the baud rate right?"
        )

    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.wall()
