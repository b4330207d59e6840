"""The composition root: what is made and what runs; `wiring` says what follows from what. Read this first."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from edge_agent import __version__, config
from edge_agent.audit import Audit
from edge_agent.cases import Cases
from edge_agent.control import Control
from edge_agent.desired import Wishes
from edge_agent.desk import Desk
from edge_agent.device import board, clocks
from edge_agent.device.identity import copied
from edge_agent.dossier import Dossiers
from edge_agent.keys import device_key, public_text
from edge_agent.life import Life
from edge_agent.messages import (
    Incident,
    Phrase,
    Refusal,
    Reply,
    Request,
)
from edge_agent.outlook import Outlook
from edge_agent.runtime import (
    PATIENCE,
    Backoff,
    Clock,
    DriverError,
    Health,
    LoopLag,
    SystemClock,
    notify,
    supervise,
    watchdog,
    watchdog_period_s,
)
from edge_agent.topics import Context, Fault
from edge_agent.wiring import Wiring
from edge_agent.witness import Witness

if TYPE_CHECKING:
    from edge_agent.flight.pilot import Pilot
    from edge_agent.flight.visitor import Visitor
    from edge_agent.uplink.mqtt import Uplink
    from edge_agent.vision.clips import Clips
    from edge_agent.vision.pipeline import Vision
    from edge_agent.vision.places import Places

log = logging.getLogger(__name__)

GOODBYE_S = 3.0  # well within the 90 s that systemd gives

PACES = {
    "uplink": Backoff(min_s=1.0, max_s=120.0, share=0.0),  # a fleet that lost its broker comes back one by one
    "pilot": Backoff(max_s=4.0),  # a cable that is back is an autopilot that flies meanwhile
}

Part = tuple[str, Callable[[], Awaitable[None]]]


class AlreadyRunningError(DriverError):
    """Another agent holds this data directory."""


class Agent:
    """The parts of one device; camera-only and vehicle-only are as good as all."""

    def __init__(self, settings: config.Agent, *, clock: Clock, health: Health) -> None:
        self.wishes = Wishes(settings.data_dir / "desired.json", settings)
        self.settings, self.clock, self.health = self.wishes.effective, clock, health
        self.lag = LoopLag(clock)
        self.zone = ZoneInfo(settings.site.time_zone)
        self.data_dir = settings.data_dir
        self.parts: list[Part] = [("loop", self._loop), ("saved clock", lambda: clocks.keep(self.data_dir, clock))]
        self.wiring = Wiring(self)
        self.audit = Audit(self.data_dir, clock.wall)
        self._make_uplink()
        self._make_evidence()
        self._make_speakers()
        self._make_vision()
        self._make_flight()
        self._make_visits()
        self._make_desk()
        self.outlook = Outlook(
            self.settings,
            health=health,
            lag=self.lag,
            outbox=self.outbox,
            uplink=self.uplink,
            pilot=self.pilot,
            evidence=self.evidence,
            uploader=self.uploader,
            wishes=self.wishes,
            lists=self.lists,
            clips=self.clips,
            vision=self.vision,
            visitor=self.visitor,
        )
        self._make_metrics()
        self.wishes.apply = self.apply
        from edge_agent.uplink.custody import Custody

        control = Control(self.data_dir, self.execute, self.outlook.status, self.outbox.retry, self.desk.became)
        control.originals = Custody(self.evidence, self.outbox.event).execute
        control.preflight = self.preflight
        control.drift = self.drift
        self.parts.append(("control", control.run))

    # --- what is made ---------------------------------------------------------------------------------------------

    def _make_uplink(self) -> None:
        from edge_agent.uplink.mqtt import Uplink
        from edge_agent.uplink.outbox import Outbox

        site, mqtt, box = self.settings.site, self.settings.mqtt, self.settings.outbox
        self.outbox = Outbox(
            self.data_dir / "events.db",
            device=site.device,
            max_mib=box.max_mib,
            ballast_mib=box.ballast_mib,
            clock=self.clock,
        )
        self.uplink: Uplink | None = None
        self.copied = mqtt and copied(mqtt.cert_file, board.serial())
        if (
            mqtt is None or self.copied
        ):  # a copied card takes over neither the sessions nor the stream of the other board
            return
        self.uplink = Uplink(
            mqtt,
            site.device,
            self.outbox,
            operators=self.settings.operators,
            wishes=self.wishes,
            context=Context(site=site.name, org=site.org, purpose=site.purpose),
            key=self._public_key(),
            window=box.window,
            clock=self.clock,
            health=self.health,
            on_command=self.execute,
        )
        self.parts.append(("uplink", self.uplink.run))
        self._make_tele(self.uplink)

    def _make_tele(self, uplink: Uplink) -> None:
        from edge_agent.uplink.tele import BEHIND, Tele

        tele = Tele(
            self.data_dir / "tele.db",
            self.settings.site.device,
            self.outbox.put,
            ready=lambda: uplink.connected and self.outbox.stats().depth <= BEHIND,
            pressure=self.outbox.pressure,
            clock=self.clock,
            health=self.health,
        )
        uplink.on_untold = tele.add
        self.parts.append(("tele", tele.run))

    def _make_evidence(self) -> None:
        from edge_agent.uplink.evidence import Evidence

        section, report, box = self.settings.evidence, self.outbox.event, self.outbox
        common: dict[str, Any] = {"clock": self.clock, "health": self.health}
        self.evidence = Evidence(
            self.data_dir,
            section,
            report=report,
            audit=self.audit,
            pressure=box.pressure,
            sealed=config.sealed_leave(self.settings),
            **common,
        )
        self.parts.append(("evidence", self.evidence.run))
        self.uploader = None
        if section.upload == "off":
            return
        from edge_agent.uplink.evidence_upload import Uploader, open_grants

        grants = open_grants(section, self.uplink.ask if self.uplink else None)
        mqtt, device = self.settings.mqtt, self.settings.site.device
        self.uploader = Uploader(self.evidence, grants, section, mqtt, device=device, **common)
        self.parts.append(("evidence.upload", self.uploader.run))

    def _make_metrics(self) -> None:
        if self.settings.metrics is None:
            return
        from edge_agent.uplink.metrics import Exporter

        self.parts.append(("metrics", Exporter(self.settings.metrics.listen, self.outlook.snapshot).run))

    def _public_key(self) -> str | None:
        """What the centre knows this device by; a key that cannot be used is said, and costs nothing else."""
        try:
            return public_text(device_key(self.data_dir))
        except DriverError as error:
            self.health.failed("device key", error)
            return None

    def _make_speakers(self) -> None:
        from edge_agent.speakers import OnVehicle, Standing, open_speaker, programme, recordings
        from edge_agent.speakers.announcer import Announcer
        from edge_agent.speakers.ear import Ear
        from edge_agent.speakers.voice import Voice

        speakers = {s.name: open_speaker(s, self.data_dir, self.clock) for s in self.settings.speakers}
        self.buzzers = [one for one in speakers.values() if isinstance(one, OnVehicle)]
        sections = {section.name: section for section in self.settings.speakers}
        ears = {
            name: Ear(one.microphone, self.clock, one.microphone_credentials)
            for name, one in sections.items()
            if one.microphone
        }
        self.announcer = Announcer(
            speakers,
            Voice(self.settings.voice, clips=self.data_dir / recordings.FOLDER),
            clock=self.clock,
            health=self.health,
            on_spoken=self.wiring.on_spoken,
            sections=sections,
            rules=self.settings.announcements,
            zone=self.zone,
            interlock=self.wiring.drone_may_speak,
            ears=ears,
            ahead=self._known_texts(),
        )
        self.parts += [(f"microphone.{name}", ear.run) for name, ear in ears.items()]
        self.parts += [(f"standing.{name}", one.run) for name, one in speakers.items() if isinstance(one, Standing)]
        if speakers:
            self.parts.append(("announcer", self.announcer.run))
        if self.settings.announcements.scheduled:
            self.parts.append(("programme", partial(programme.run, self.settings, self.wiring.offer, self.clock)))

    def _known_texts(self) -> list[tuple[Phrase, ...]]:
        """What rules and schedules say without a field in it."""
        from edge_agent.phrases import fixed

        said = [one.say for one in self.settings.announcements.scheduled]
        said += [text for rule in self.settings.rules for text in (rule.say, *(rung.say for rung in rule.ladder))]
        return [text for text in dict.fromkeys(said) if text and fixed(text)]

    def _make_vision(self) -> None:
        from edge_agent.incidents.hotlist_store import HotLists
        from edge_agent.incidents.recent import Recent
        from edge_agent.incidents.rules import Rules

        common: dict[str, Any] = {"clock": self.clock, "health": self.health}
        self.lists = HotLists(self.data_dir, audit=self.audit, wall=self.clock.wall)
        self.rules = Rules(self.settings.zones, self.settings.rules, lists=self.lists, time_zone=self.zone)
        self.recent = Recent(self.data_dir / "recent.json")
        leave = config.sealed_leave(self.settings)
        privacy, held = self.settings.privacy, self.evidence.held
        self.witness = Witness(self.data_dir, privacy, audit=self.audit, sealed_leave=leave, held=held, **common)
        self.dossiers = Dossiers(
            self.data_dir, lambda: self.settings, witness=self.witness, books=self.evidence, audit=self.audit, **common
        )
        self.clips: Clips | None = None
        self.vision: Vision | None = None
        self.places: Places | None = None
        if not self.settings.cameras:
            return
        from edge_agent.vision.clips import Clips
        from edge_agent.vision.pipeline import open_vision
        from edge_agent.vision.places import Places

        self.places = Places(self.settings.cameras, self.settings.site)
        for camera, fault in self.places.faults.items():  # it sees all the same; only where is not known
            self.health.set(f"camera.{camera}.view", f"failed: {fault}")
        self.tiled = {camera.name for camera in self.settings.cameras if camera.tiles is not None}
        section = self.settings.clips
        self.clips = Clips(self.data_dir, section, privacy=privacy, on_clip=self.wiring.on_clip, **common)
        self.parts += [("clips", self.clips.run), ("originals", self.witness.run), ("hot lists", self._keep_lists)]
        self.parts.append(("sets", self.dossiers.run))
        self.vision = vision = open_vision(
            self.settings, clock=self.clock, health=self.health, on_tracks=self.wiring.on_tracks
        )
        self.parts += vision.parts()

    def _make_visits(self) -> None:
        self.visitor: Visitor | None = None
        if self.pilot is None or not self.settings.visits:
            return
        from edge_agent.flight.visitor import Visitor

        folder = self.data_dir / "flight"
        try:
            self.visitor = Visitor(
                self.settings, folder, clock=self.clock, health=self.health, on_visit=self.wiring.on_visit
            )
        except DriverError as error:  # flights go on without the ledger of what they must see
            self.health.failed("visits", error)
        else:
            self.pilot.carry(self.visitor.carry)
            self.parts.append(("visits", self.visitor.run))

    def _make_flight(self) -> None:
        self.pilot: Pilot | None = None
        self.grounded = "this device has no [vehicle]"
        if self.settings.vehicle is None:
            return
        from edge_agent.flight.pilot import Pilot
        from edge_agent.flight.recorder import Recorder
        from edge_agent.flight.signing_key import open_signing
        from edge_agent.flight.store import Store
        from edge_agent.flight.tlog import Tlog
        from edge_agent.flight.vehicle import open_vehicle

        try:
            self.pilot = Pilot(
                open_vehicle(self.settings.vehicle, self.settings.site, self.clock),
                signing=open_signing(self.settings.vehicle, self.data_dir / "flight" / "signing", self.clock),
                tlog=Tlog(self.data_dir / "tlogs", self.settings.tlog.keep_mb, self.clock.wall),
                site=self.settings.site,
                limits=self.settings.limits,
                airframe=self.settings.airframe,
                weather=self.settings.weather,
                no_fly=self.settings.no_fly,
                folder=self.data_dir,
                recorder=Recorder(self.data_dir / "runs"),
                routes=self.settings.routes,
                schedules=self.settings.schedules,
                blackouts=self.settings.blackouts,
                levels=self.settings.levels,
                store=Store(self.data_dir / "flight"),
                clock=self.clock,
                health=self.health,
                on_event=self.wiring.on_flight,
                on_telemetry=self.wiring.on_telemetry,
                on_posed=self.places.hear if self.places and self.places.moving else None,
            )
        except DriverError as error:  # who cannot know what was flown must not fly; the rest of the agent goes on
            self.grounded = str(error)
            self.health.failed("pilot", error)
        else:
            self.parts.append(("pilot", self.pilot.run))
            for buzzer in self.buzzers:
                buzzer.sound = self.pilot.play_tune
            if self.settings.weather.source is not None:
                self.parts.append(("weather", self.pilot.watch))

    def _make_desk(self) -> None:
        self.cases = Cases(self.data_dir / "cases.json")
        self.rules.recall(self._told())
        self.newest: dict[str, Any] = {}  # the last frame and tracks of each camera, for those who ask to see
        self.desk = Desk(
            self.settings,
            pilot=self.pilot,
            grounded=self.grounded,
            announcer=self.announcer,
            cases=self.cases,
            wishes=self.wishes,
            newest=self.newest,
            lists=self.lists,
            clips=self.clips,
            witness=self.witness,
            full=self.evidence.refuses,
            now=lambda: (self.clock.monotonic(), self.clock.wall()),
            report=self.wiring.report,
            tell=self.wiring.tell,
        )
        self.life = Life(self.cases, self.desk.report_revision, clock=self.clock, health=self.health)
        self.parts.append(("cases", self.life.run))
        if self.uplink:
            self.uplink.caps = self.desk.caps()

    def _told(self) -> list[Incident]:
        """What fired before the agent was restarted; a person in danger whose warning was cut off is warned again."""
        danger = {rule.id for rule in self.settings.rules if isinstance(rule, config.ForbiddenZone) and rule.speakers}
        return [one for one in self.recent.incidents() if one.rule not in danger or self.cases.warned(one.id)]

    # --- what is asked --------------------------------------------------------------------------------------------

    async def execute(self, request: Request, by: str) -> Reply:
        """One request, from the centre or the local socket."""
        return await self.desk.execute(request, by)

    def preflight(self, route_id: str | None) -> dict[str, Any] | Reply:
        """How every gate stands, for whoever asks before a flight."""
        route = next((route for route in self.settings.routes if route.id == route_id), None)
        if self.pilot is None:
            return Reply(state="rejected", reason=self.grounded)
        if route_id is not None and route is None:
            known = ", ".join(route.id for route in self.settings.routes) or "none is configured"
            return Reply(state="rejected", reason=f"no route is called {route_id} (there is: {known})")
        return {"checks": self.pilot.checks(route)}

    async def drift(self) -> dict[str, Any] | Reply:
        """What of the autopilot's settings is not as it was applied; that is a fault, for the centre to know of."""
        from edge_agent.flight import param_report, param_shelf

        if self.pilot is None:
            return Reply(state="rejected", reason=self.grounded)
        try:
            applied = await asyncio.to_thread(param_shelf.applied, self.data_dir)
        except DriverError as error:
            return Reply(state="rejected", reason=str(error))
        aboard = await self.pilot.read_params(applied.wanted)
        if isinstance(aboard, Refusal):
            return Reply(state="rejected", reason=str(aboard), refusal=aboard)
        found = param_report.drifted(applied.wanted, aboard)
        if found:
            await self.wiring.report("fault", Fault(part="params", reason="; ".join(map(str, found))[:1000]))
        return {"checked": len(applied.wanted), "applied": applied.time, "drift": [one._asdict() for one in found]}

    def apply(self, settings: config.Agent) -> None:
        """The centre wants other settings, and they are good: put them into effect."""
        self.settings = settings
        for rule in settings.rules:
            self.rules.change(rule)
        for zone in settings.zones:
            self.rules.move(zone)
        if self.vision:
            self.vision.drawn(settings)
        for schedule in settings.schedules if self.pilot else ():
            assert self.pilot is not None
            self.pilot.enable(schedule.id, schedule.enabled)
        if self.uplink and settings.mqtt:
            self.uplink.telemetry_period_s = settings.mqtt.telemetry_period_s

    async def _keep_lists(self) -> None:
        """Notice lists that were changed beside us, let go of what expired, write down who was looked up."""
        try:
            while True:
                await asyncio.to_thread(self._keep_lists_once)
                await self.clock.sleep(1.0)
        finally:
            await asyncio.to_thread(self.lists.flush)

    def _keep_lists_once(self) -> None:
        self.lists.refresh()
        self.lists.expire("retention")
        self.lists.flush()

    # --- what runs ------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        """Beat for the event loop itself, and measure how late it wakes."""
        if self.copied:
            self.health.set("identity", f"failed: {self.copied}")
            await self.wiring.report("fault", Fault(part="identity", reason=str(self.copied)))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lag.run())
            while True:
                self.health.beat("loop", 10.0)
                self.health.settle()
                self.outlook.look()
                await self.clock.sleep(1.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Run every part under `supervise` until `stop`; a bug in any of them ends all."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    supervise(name, part, health=self.health, clock=self.clock, backoff=PACES.get(name, PATIENCE)),
                    name=name,
                )
                for name, part in self.parts
            ]
            if period_s := watchdog_period_s():
                tasks.append(group.create_task(watchdog(self.health, self.clock, period_s), name="watchdog"))
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")
            uplink = [task for task in tasks if task.get_name() == "uplink"]
            others = [task for task in tasks if task not in uplink]
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            for tally in self.rules.close():
                await self.wiring.on_tally(tally)
            await self._say_goodbye()
            for task in uplink:
                task.cancel()

    async def _say_goodbye(self) -> None:
        """What the parts had to say at their end still goes out, if the centre hears it soon; else it waits on disk."""
        until_s = self.clock.monotonic() + GOODBYE_S
        while self.uplink and self.uplink.connected and self.clock.monotonic() < until_s:
            if not (await self.outbox.measure()).depth:
                return
            await self.clock.sleep(0.05)


async def run(settings: config.Agent) -> None:
    """Run one agent until SIGTERM or SIGINT; raises `DriverError` where the data directory cannot be had."""
    take(settings.data_dir)
    stop, loop, bugs = asyncio.Event(), asyncio.get_running_loop(), list[BaseException]()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def on_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback or a server's handler failed outside of every part: a bug like any other."""
        loop.default_exception_handler(context)
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError):  # a connection that broke is the world's failure
            bugs.append(error)
            stop.set()

    loop.set_exception_handler(on_stray)
    clock = SystemClock()
    agent = Agent(settings, clock=clock, health=Health(clock))
    log.info("edge-agent %s on %s: %s", __version__, settings.site.device, ", ".join(name for name, _ in agent.parts))
    try:
        await agent.run(stop)
    finally:
        await agent.evidence.close()
        await agent.outbox.close()
    if bugs:
        raise bugs[0]
    log.info("stopped")


def take(data_dir: Path) -> int:
    """Lock the data directory for the life of this process, or until the descriptor that is returned is closed."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        where = error.filename or data_dir
        raise DriverError(f"data_dir: {where}: {error.strerror}; name a directory that is ours") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunningError(
            f"{data_dir}: another agent runs here; stop it, or give this one its own data_dir"
        ) from None
    return fd
