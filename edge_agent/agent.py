"""The composition root: what is made, what is wired to what, what runs. Read this first."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never
from zoneinfo import ZoneInfo

import msgspec
from ulid import ULID

from edge_agent import __version__, config
from edge_agent.control import Control
from edge_agent.messages import (
    Announcement,
    FlightEvent,
    Fly,
    Incident,
    Land,
    Pause,
    Phrase,
    Recall,
    Refusal,
    Reply,
    Request,
    Resume,
    Say,
    Spoken,
    Telemetry,
    Tracks,
)
from edge_agent.runtime import (
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

if TYPE_CHECKING:
    from edge_agent.flight.pilot import Pilot

log = logging.getLogger(__name__)

Part = tuple[str, Callable[[], Awaitable[None]]]


class AlreadyRunningError(Exception):
    """Another agent holds this data directory."""


class Agent:
    """The parts of one device and the three calls that join them; camera-only and vehicle-only are as good as all."""

    def __init__(self, settings: config.Agent, *, clock: Clock, health: Health) -> None:
        self.settings, self.clock, self.health = settings, clock, health
        self.lag = LoopLag(clock)
        self.zone = ZoneInfo(settings.site.time_zone)
        self.data_dir = settings.data_dir
        self.parts: list[Part] = [("loop", self._loop)]
        self._make_uplink()
        self._make_speakers()
        self._make_vision()
        self._make_flight()
        self.parts.append(("control", Control(self.data_dir, self.execute, self.status).run))

    # --- what is made ---------------------------------------------------------------------------------------------

    def _make_uplink(self) -> None:
        from edge_agent.uplink.mqtt import Uplink
        from edge_agent.uplink.outbox import Outbox

        site, mqtt, box = self.settings.site, self.settings.mqtt, self.settings.outbox
        self.outbox = Outbox(self.data_dir / "events.db", device=site.device, max_mib=box.max_mib, clock=self.clock)
        self.uplink = mqtt and Uplink(
            mqtt,
            site.device,
            self.outbox,
            window=box.window,
            clock=self.clock,
            health=self.health,
            on_command=self.execute,
        )
        if self.uplink:
            self.parts.append(("uplink", self.uplink.run))

    def _make_speakers(self) -> None:
        from edge_agent.speakers import open_speaker
        from edge_agent.speakers.announcer import Announcer
        from edge_agent.speakers.voice import Voice

        speakers = {s.name: open_speaker(s, self.data_dir, self.clock) for s in self.settings.speakers}
        voice = Voice(self.settings.voice)
        self.announcer = Announcer(speakers, voice, clock=self.clock, health=self.health, on_spoken=self.on_spoken)
        if speakers:
            self.parts.append(("announcer", self.announcer.run))

    def _make_vision(self) -> None:
        from edge_agent.incidents.rules import Rules

        self.rules = Rules(self.settings.zones, self.settings.rules)
        if not self.settings.cameras:
            return
        from edge_agent.vision.pipeline import open_vision

        vision = open_vision(self.settings, clock=self.clock, health=self.health, on_tracks=self.on_tracks)
        self.parts += vision.parts()

    def _make_flight(self) -> None:
        self.pilot: Pilot | None = None
        self.grounded = "this device has no [vehicle]"
        if self.settings.vehicle is None:
            return
        from edge_agent.flight.pilot import Pilot
        from edge_agent.flight.store import Store
        from edge_agent.flight.vehicle import open_vehicle

        try:
            self.pilot = Pilot(
                open_vehicle(self.settings.vehicle, self.settings.site, self.clock),
                site=self.settings.site,
                limits=self.settings.limits,
                routes=self.settings.routes,
                schedules=self.settings.schedules,
                store=Store(self.data_dir / "flight"),
                clock=self.clock,
                health=self.health,
                on_event=self.on_flight,
                on_telemetry=self.on_telemetry,
            )
        except DriverError as error:  # who cannot know what was flown must not fly; the rest of the agent goes on
            self.grounded = str(error)
            self.health.failed("pilot", error)
        else:
            self.parts.append(("pilot", self.pilot.run))

    # --- what is wired: disk before sound, sound before motion ----------------------------------------------------

    async def on_tracks(self, frame: Any, tracks: Tracks) -> None:
        """One frame was analysed: ask the rules, and take the picture of what they found."""
        from edge_agent.vision.record import thumbnail, write_picture

        for found in self.rules.update(tracks):
            marks = [(found.box, f"{found.rule} {found.label} #{found.track}")]
            picture = await asyncio.to_thread(write_picture, self.data_dir / "incidents", found.id, frame, marks)
            thumb = await asyncio.to_thread(thumbnail, frame, found.box)
            await self.on_incident(msgspec.structs.replace(found, picture=picture), thumb)

    async def on_incident(self, incident: Incident, thumb: bytes) -> None:
        """A rule fired: report it, then say what the rule wants said."""
        log.info("incident %s: %s in %s on %s", incident.id, incident.label, incident.zone, incident.camera)
        await self.report("det", incident, id=incident.id, wall_s=incident.wall_s, thumb=thumb)
        self.announce(incident)

    def announce(self, incident: Incident) -> None:
        """Offer the rule's words to the announcer; they are stale after `voice.stale_s`."""
        from edge_agent.phrases import text_for

        rule = next(rule for rule in self.settings.rules if rule.id == incident.rule)
        if not rule.speakers:
            return
        now = self.clock.monotonic()
        self.offer(
            Announcement(
                id=str(ULID()),
                phrases=text_for(rule.say, incident, self.zone),
                speakers=rule.speakers,
                cls="danger" if incident.kind == "forbidden_zone" else "rule",
                at_s=now,
                not_after_s=now + self.settings.voice.stale_s,
                by=f"rule:{rule.id}",
                incident=incident.id,
                track=f"{incident.camera}/{incident.track}",
            )
        )

    def offer(self, announcement: Announcement) -> Refusal | None:
        """To the announcer; a refusal is logged (the announcer records it)."""
        refusal = self.announcer.offer(announcement)
        if refusal:
            log.warning("not said: %s", refusal)
        return refusal

    async def on_spoken(self, spoken: Spoken) -> None:
        """One announcement ended on one speaker."""
        log.info("spoken on %s: %s, %s (%s)", spoken.speaker, spoken.text, spoken.outcome, spoken.proof)
        await self.report("voice", spoken, wall_s=spoken.wall_s)

    async def on_flight(self, event: FlightEvent) -> None:
        """A flight entered a phase."""
        await self.report("mission", event, wall_s=event.wall_s)

    def on_telemetry(self, telemetry: Telemetry) -> None:
        """Where the vehicle is, for those who watch now; never queued."""
        if self.uplink:
            self.uplink.telemetry("pos", telemetry)

    async def report(self, kind: str, data: msgspec.Struct, *, thumb: bytes | None = None, **facts: Any) -> None:
        """To the outbox; a full or broken disk is a fault that neither silences nor grounds the agent."""
        try:
            await self.outbox.event(kind, data, thumb=thumb, **facts)
        except DriverError as error:
            self.health.set("outbox", f"failed: {error}")
        else:
            self.health.set("outbox", "running")

    # --- what is asked --------------------------------------------------------------------------------------------

    async def execute(self, request: Request, by: str) -> Reply:
        """One request, from the centre or the local socket; whoever asks, the pilot's gates and the queue decide."""
        match request:
            case Say():
                return self._say(request, by)
            case Fly() | Recall() | Land() | Pause() | Resume():
                return _steer(self.pilot, request, by) if self.pilot else Reply(state="rejected", reason=self.grounded)
            case _:
                assert_never(request)

    def _say(self, request: Say, by: str) -> Reply:
        if not self.settings.speakers:
            return Reply(state="rejected", reason="this device has no [[speaker]]")
        now = self.clock.monotonic()
        refusal = self.offer(
            Announcement(
                id=str(ULID()),
                phrases=(Phrase(text=request.text, lang=request.lang),),
                speakers=request.speakers,
                cls="live",
                at_s=now,
                not_after_s=now + self.settings.voice.stale_s,
                by=by,
            )
        )
        return _refused(refusal) if refusal else Reply(state="accepted")

    def status(self) -> dict[str, Any]:
        """What `edge-agent status` shows."""
        return {
            "version": __version__,
            "device": self.settings.site.device,
            "pid": os.getpid(),
            "parts": self.health.state,
            "counts": dict(self.health.counts),
            "loop_lag_p99_ms": round(self.lag.p99_ms(), 1),
            "flight": self.pilot.status() if self.pilot else None,
            "outbox": self.outbox.stats(),
        }

    # --- what runs ------------------------------------------------------------------------------------------------

    async def _loop(self) -> None:
        """Beat for the event loop itself, and measure how late it wakes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.lag.run())
            while True:
                self.health.beat("loop", 10.0)
                self.health.settle()
                await self.clock.sleep(1.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Run every part under `supervise` until `stop`; a bug in any of them ends all."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(supervise(name, part, health=self.health, clock=self.clock), name=name)
                for name, part in self.parts
            ]
            if period_s := watchdog_period_s():
                tasks.append(group.create_task(watchdog(self.health, self.clock, period_s), name="watchdog"))
            notify("READY=1")
            await stop.wait()
            notify("STOPPING=1")
            for task in tasks:
                task.cancel()


async def run(settings: config.Agent) -> None:
    """Run one agent until SIGTERM or SIGINT; raises `AlreadyRunningError` where the data directory is taken."""
    _take(settings.data_dir)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clock = SystemClock()
    agent = Agent(settings, clock=clock, health=Health(clock))
    log.info("edge-agent %s on %s: %s", __version__, settings.site.device, ", ".join(name for name, _ in agent.parts))
    try:
        await agent.run(stop)
    finally:
        await agent.outbox.close()
    log.info("stopped")


def _take(data_dir: Path) -> None:
    """Lock the data directory for the life of this process (the kernel lets go of it whatever happens)."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunningError(
            f"{data_dir}: another agent runs here; stop it, or give this one its own data_dir"
        ) from None


def _steer(pilot: Pilot, request: Fly | Recall | Land | Pause | Resume, by: str) -> Reply:
    match request:
        case Fly(route=route):
            answer = pilot.fly(route, by)
            return Reply(state="accepted", run=answer) if isinstance(answer, str) else _refused(answer)
        case Recall():
            refusal = pilot.recall(by)
        case Land():
            refusal = pilot.land(by)
        case Pause():
            refusal = pilot.pause(by)
        case Resume():
            refusal = pilot.resume(by)
    return _refused(refusal) if refusal else Reply(state="accepted")


def _refused(refusal: Refusal) -> Reply:
    return Reply(state="rejected", reason=str(refusal), refusal=refusal)
