"""What follows from what: disk before sound, sound before motion."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec
from ulid import ULID

from edge_agent import config
from edge_agent.desk import shortfall
from edge_agent.dossier import ClipRole
from edge_agent.messages import (
    Announcement,
    Clipped,
    FlightEvent,
    Incident,
    Phrase,
    Place,
    Refusal,
    Reply,
    Spoken,
    Tally,
    Telemetry,
    Tracks,
    Video,
    Visit,
)
from edge_agent.runtime import DriverError
from edge_agent.topics import Fault, rfc3339

if TYPE_CHECKING:
    from edge_agent.agent import Agent
    from edge_agent.incidents.shots import Shot
    from edge_agent.vision.clips import Wanted

log = logging.getLogger(__name__)

DISK_S = 2.0  # for which a warning waits for its incident to be on the disk


class Wiring:
    """The calls that join the rooms; each is called by the part that has news."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def on_tracks(self, frame: Any, tracks: Tracks) -> None:
        """One frame was analysed: ask the rules, and take the picture of what they found."""
        agent = self._agent
        if agent.places:
            tracks = agent.places.locate(tracks)
            if agent.vision and tracks.camera in agent.tiled:  # zones move, and so does the ground below
                agent.vision.look_at(tracks.camera, agent.places.boxes(agent.settings.zones, tracks))
        agent.newest[tracks.camera] = (frame, tracks)
        for gone in tracks.ended:
            agent.announcer.left(f"{tracks.camera}/{gone.id}")
        await agent.life.seen(tracks)
        for tally in agent.rules.count(tracks):
            await self.on_tally(tally)
        incidents = agent.rules.update(tracks)
        for again in agent.rules.resumed():
            agent.life.resumed(tracks.camera, *again)
            _, id, track = again
            agent.announcer.back(id, f"{tracks.camera}/{track}")
            if agent.clips:
                agent.clips.back(id, track)
        if any(found.hit for found in incidents):
            await self._write_looks()
        with agent.clips.waiting() if incidents and agent.clips else nullcontext():
            await self._tell_all(incidents, frame, tracks)
        if agent.clips:  # nobody waits for the ring
            agent.clips.offer(frame, tracks)
        shots = agent.rules.shots()
        self._film(incidents, shots, tracks)
        await agent.dossiers.take(incidents, shots, frame, tracks)

    async def _tell_all(self, incidents: list[Incident], frame: Any, tracks: Tracks) -> None:
        """Picture, report and evidence of each."""
        agent = self._agent
        for found in incidents:
            rule = self._rule(found)
            blur, why = agent.settings.privacy.blur and rule.blur, agent.evidence.refuses()
            with self._answered(found):
                incident, thumb, why = await agent.witness.shoot(found, frame, tracks, blur=blur, why=why)
                await self.on_incident(incident, thumb)
            await agent.evidence.take(incident, why)
            if agent.clips and why is None:
                agent.clips.around(incident, rule, blur=blur)
            if not isinstance(rule, config.Count):
                await asyncio.to_thread(agent.recent.add, incident, rule.cool_down_s)

    def _film(self, incidents: list[Incident], shots: list[Shot], tracks: Tracks) -> None:
        """Who stays is filmed from the entry on, when nobody knows yet whether an incident comes of it."""
        clips, fired = self._agent.clips, {incident.id: incident for incident in incidents}
        rules = {rule.id: rule for rule in self._agent.settings.rules}
        for shot in shots if clips else ():
            assert clips
            rule = rules[shot.stay[0]]
            match shot.role:
                case "entry":
                    clips.follow(shot.stay, tracks.camera, shot.entered_s, rule)
                case "photo" if shot.incident in fired and self._agent.evidence.refuses() is None:
                    blur = self._agent.settings.privacy.blur and rule.blur
                    clips.whole(shot.stay, fired[shot.incident], rule, blur=blur)
                case "photo" if shot.incident in fired:  # the set says why there is no clip
                    clips.forget(shot.stay)
                case "over":
                    clips.forget(shot.stay)
                case "exit" | "stayed" | "lost":
                    clips.ended(shot.stay, shot.last_s, tracks.at_s, rule)

    async def _write_looks(self) -> None:
        """Nobody is told of a hit before the audit log knows who looked."""
        try:
            await asyncio.to_thread(self._agent.lists.flush)
        except DriverError as error:
            self._agent.health.failed("hot lists", error)

    async def on_tally(self, tally: Tally) -> None:
        """A count's interval is over."""
        await self.report("count", tally, id=tally.id, wall_s=tally.since_s + tally.lasted_s)

    async def on_clip(self, wanted: Wanted, found: Video | str) -> None:
        """A clip was cut, or cannot be: report it, and tell whoever asked for it."""
        if wanted.incident is not None:
            role: ClipRole = "clip" if wanted.stay else "clip_fired"
            await self._agent.dossiers.filmed(wanted.incident, role, found, wanted.original)
        if isinstance(found, Video):
            clip = Clipped(
                id=wanted.id,
                camera=wanted.camera,
                wall_s=wanted.wall_s,
                video=found,
                by=wanted.by,
                incident=wanted.incident,
            )
            await self.report("clip", clip, id=f"{wanted.id}.clip", wall_s=wanted.wall_s)
            await self._agent.evidence.film(clip)
            reply = Reply(state="done", run=wanted.id)
        else:
            log.warning("%s", found)
            reply = Reply(state="failed", reason=found, run=wanted.id)
        if wanted.by:
            await self.tell(wanted.id, reply)

    async def on_incident(self, incident: Incident, thumb: bytes) -> None:
        """A rule fired: report it, and take it for a case."""
        log.info("incident %s: %s in %s on %s", incident.id, incident.label, incident.zone, incident.camera)
        small = thumb if self._agent.uploader is None or self._agent.uploader.sends_thumbs() else None
        await self.report("det", incident, id=incident.id, wall_s=incident.wall_s, thumb=small)
        await self._agent.life.opened(incident, self._rule(incident))

    @contextmanager
    def _answered(self, incident: Incident) -> Generator[None, None, None]:
        """What the rule wants said and flown follows the body, or comes after `DISK_S` where the disk hangs; once."""
        answered = False

        def answer() -> None:
            nonlocal answered
            if not answered:
                answered = True
                self.announce(incident)
                self.respond(incident)

        late = asyncio.get_running_loop().call_later(DISK_S, answer)
        try:
            yield
            answer()
        finally:
            late.cancel()

    def _rule(self, incident: Incident) -> config.Rule:
        return next(rule for rule in self._agent.settings.rules if rule.id == incident.rule)

    def announce(self, incident: Incident) -> None:
        """Offer the rule's words to the announcer; they are stale after `voice.stale_s`."""
        rule = self._rule(incident)
        if not rule.speakers:
            return
        now = self._agent.clock.monotonic()
        first = Announcement(
            id=str(ULID()),
            phrases=self._words(rule.say, incident),
            speakers=rule.speakers,
            cls="danger" if incident.kind == "forbidden_zone" else "rule",
            at_s=now,
            not_after_s=now + self._agent.settings.voice.stale_s,
            by=f"rule:{rule.id}",
            incident=incident.id,
            track=f"{incident.camera}/{incident.track}",
            place=Place(lat=incident.place.lat, lon=incident.place.lon) if incident.place else None,
        )
        self.offer(first)
        self.climb(first, rule, incident)

    def _words(self, say: tuple[Phrase, ...], incident: Incident) -> tuple[Phrase, ...]:
        from edge_agent.phrases import text_for

        spoken = {zone.name: zone.spoken for zone in self._agent.settings.zones}
        return text_for(say, incident, self._agent.zone, spoken)

    def respond(self, incident: Incident) -> None:
        """Ask the flight for what the rule wants flown; it decides, and reports what it does not do."""
        from edge_agent import response

        rule = self._rule(incident)
        if rule.respond is None or self._agent.pilot is None:
            return
        order = response.order(rule.respond, incident.id, incident.place)
        self._agent.pilot.respond(order, f"rule:{rule.id}", take_off=rule.respond.take_off)

    def climb(self, first: Announcement, rule: config.Rule, incident: Incident) -> None:
        """What the rule wants said if the object stays."""
        from edge_agent.speakers.ladder import Rung

        rungs = tuple(
            Rung(
                after_s=rung.after_s,
                announcement=msgspec.structs.replace(
                    first,
                    phrases=self._words(rung.say, incident),
                    cls="danger" if rung.urgent else first.cls,
                ),
                every_s=rung.every_s,
                times=rung.times,
            )
            for rung in rule.ladder
        )
        if rungs and first.track is not None:
            self._agent.announcer.climb(first.track, rungs)

    def drone_may_speak(self, announcement: Announcement) -> Refusal | str:
        """What the flight allows its loudspeaker now."""
        from edge_agent.speakers.interlock import may_speak

        telemetry = self._agent.pilot.telemetry if self._agent.pilot else None
        return may_speak(announcement, telemetry, self._agent.settings.announcements, self._agent.clock.monotonic())

    def offer(self, announcement: Announcement) -> Refusal | None:
        """To the announcer; a refusal is logged (the announcer records it)."""
        refusal = self._agent.announcer.offer(announcement)
        if refusal:
            log.warning("not said: %s", refusal)
        return refusal

    async def on_spoken(self, spoken: Spoken) -> None:
        """One announcement ended on one speaker."""
        log.info("spoken on %s: %s, %s (%s)", spoken.speaker, spoken.text, spoken.outcome, spoken.proof)
        await self.report("voice", spoken, wall_s=spoken.wall_s)
        await self._agent.dossiers.spoken(spoken)
        await self._agent.life.spoken(spoken)
        if (short := shortfall(spoken)) is not None:
            await self.report("fault", Fault(part=f"speaker {spoken.speaker}", reason=short))
        await self._agent.desk.spoken(spoken)

    async def on_flight(self, event: FlightEvent) -> None:
        """A flight entered a phase."""
        self._agent.outlook.look()
        # Its own id: what is handed over again after a crash is the same event, and kept once.
        await self.report("mission", event, id=f"{event.run}/{event.seq}", wall_s=event.wall_s)
        if self._agent.visitor:
            self._agent.visitor.flown(event)
        await self._agent.desk.flown(event)
        if event.say is not None and self._agent.clock.wall() - event.wall_s < self._agent.settings.voice.stale_s:
            self.speak_on_scene(Phrase(text=event.say, lang=event.lang or "cmn"), event.run)

    def speak_on_scene(self, phrase: Phrase, run: str) -> None:
        """A dispatch is over its place: what was to be said there is said now, on every speaker."""
        now = self._agent.clock.monotonic()
        self.offer(
            Announcement(
                id=str(ULID()),
                phrases=(phrase,),
                speakers=(),
                cls="live",
                at_s=now,
                not_after_s=now + self._agent.settings.voice.stale_s,
                by=f"dispatch:{run}",
            )
        )

    def on_telemetry(self, telemetry: Telemetry) -> None:
        """Where the vehicle is, for those who watch now; never queued."""
        if self._agent.visitor:
            self._agent.visitor.seen(telemetry)
        if self._agent.uplink:
            self._agent.uplink.telemetry("pos", telemetry)

    async def on_visit(self, visit: Visit) -> None:
        """What must be visited was, is due, or was left out."""
        log.info("visit %s: %s, due %s", visit.target, visit.state, rfc3339(visit.due_s))
        await self.report("visit", visit, wall_s=visit.wall_s)

    async def report(self, kind: str, data: msgspec.Struct, *, thumb: bytes | None = None, **facts: Any) -> None:
        """To the outbox; a full or broken disk is a fault that neither silences nor grounds the agent."""
        try:
            await self._agent.outbox.event(kind, data, thumb=thumb, **facts)
        except DriverError as error:
            self._agent.health.set("outbox", f"failed: {error}")
        else:
            self._agent.health.set("outbox", "running")

    async def tell(self, run: str, reply: Reply) -> None:
        """How far a flight or an announcement is, for the centre if it asked for it."""
        if self._agent.uplink:
            await self._agent.uplink.tell(run, reply)
