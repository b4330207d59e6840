"""The part that speaks: it acts on what `queue` decides, and leaves one record for each announcement and speaker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import Literal, Protocol

from msgspec.structs import replace

from edge_agent import config
from edge_agent.messages import Announcement, Phrase, Refusal, Spoken
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.speakers import PROOFS, Delivery, Speaker, reason
from edge_agent.speakers.ear import Ear, chirp_heard
from edge_agent.speakers.ladder import Ladders, Rung
from edge_agent.speakers.listen import listening
from edge_agent.speakers.live import Live
from edge_agent.speakers.queue import Queue, Turn
from edge_agent.speakers.restraint import Restraint, volume_pct
from edge_agent.speakers.sound import Clip
from edge_agent.speakers.targets import resolve
from edge_agent.speakers.together import Seat, Together

SLACK_S = 20.0  # beyond the sound itself, for a driver that hangs: a drone's dock may need ten seconds to begin
STOP_S = 1.0  # a driver that has not stopped after this is cancelled
TURN_S = 1.0  # now and then a turn without a cause: for what became stale, or a record that was not taken
MAX_RECORDS = 1000  # that wait for `on_spoken`
HEALTH_S = 60.0  # between two silent questions to each speaker that is not speaking

Outcome = Literal["delivered", "refused", "failed", "interrupted"]


class Renderer(Protocol):
    """What makes clips of phrases and of recordings (`voice.Voice`)."""

    async def check(self) -> None: ...
    async def render(self, phrases: tuple[Phrase, ...], rate_hz: int = ...) -> Clip: ...
    async def clip(self, name: str, rate_hz: int = ...) -> Clip: ...


class Announcer:
    """Says what it is offered on the speakers it was given, and tells `on_spoken` what became of it."""

    def __init__(
        self,
        speakers: Mapping[str, Speaker],
        voice: Renderer,
        *,
        clock: Clock,
        health: Health,
        on_spoken: Callable[[Spoken], Awaitable[None]],
        sections: Mapping[str, config.AnySpeaker] | None = None,
        rules: config.Announcements | None = None,
        zone: tzinfo = UTC,
        interlock: Callable[[Announcement], Refusal | str] | None = None,
        ears: Mapping[str, Ear] | None = None,
        ahead: Iterable[tuple[Phrase, ...]] = (),
    ) -> None:
        self._speakers, self._voice = speakers, voice
        self._clock, self._health, self._on_spoken = clock, health, on_spoken
        self._rules, self._zone, self._interlock = rules or config.Announcements(), zone, interlock
        self._sections = {name: config.AnySpeaker(name=name) for name in speakers} | dict(sections or {})
        self._ears, self._ahead = ears or {}, tuple(ahead)
        self._queue, self._restraint = Queue(speakers, self._rules.cool_down_s), Restraint(self._rules)
        self._ladders = Ladders()
        self._records: deque[Spoken] = deque(maxlen=MAX_RECORDS)
        self._hushed: list[str] = []
        self._hushed_s = float("-inf")
        self._limits: dict[str, asyncio.Timeout] = {}
        self._wake = asyncio.Event()

    # --- what is asked --------------------------------------------------------------------------------------------

    def offer(self, announcement: Announcement) -> Refusal | None:
        """Take an announcement, or refuse it at once; never waits. Empty `speakers` means all of them.

        A speaker that must be silent is left out, with a record; it is refused where no other remains.
        """
        names = resolve(announcement.speakers, announcement.near, self._sections.values())
        if isinstance(names, Refusal):
            self._refused(announcement, names)
            return names
        now = self._clock.monotonic()
        local = datetime.fromtimestamp(self._clock.wall(), self._zone)
        silent = {name: self._restraint.refusal(announcement.cls, name, now, local) for name in names}
        free = tuple(name for name, refusal in silent.items() if refusal is None)
        refusal = self._queue.offer(replace(announcement, speakers=free), now) if free else None
        if refusal is not None and refusal.gate == "duplicate":
            return refusal
        for name, why in silent.items():
            if why is not None:
                self._refused(replace(announcement, speakers=(name,)), why)
        if refusal is not None:
            self._refused(replace(announcement, speakers=free), refusal)
        self._wake.set()
        return refusal if free else next(iter(silent.values()))

    def targets(self, announcement: Announcement) -> tuple[str, ...]:
        """The speakers that an announcement is for, each of which leaves a record."""
        names = resolve(announcement.speakers, announcement.near, self._sections.values())
        return () if isinstance(names, Refusal) else names

    def climb(self, track: str, rungs: tuple[Rung, ...]) -> None:
        """What this track is told if it stays."""
        self._ladders.begin(track, rungs, self._clock.monotonic())

    def left(self, track: str) -> None:
        """This track is gone."""
        self._ladders.left(track)

    def back(self, incident: str, track: str) -> None:
        """Who was warned for an incident goes by another track now."""
        self._ladders.back(incident, track, self._clock.monotonic())

    def hush(self, reason: str = "hushed") -> tuple[str, ...]:
        """Silence: everything that plays is interrupted, everything that waits is refused, no ladder goes on.

        The speakers that were playing.
        """
        self._ladders.hush()
        self._hushed.append(reason)
        self._hushed_s = self._clock.monotonic()
        self._wake.set()
        return tuple(self._queue.playing)

    # --- what runs ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Speak until cancelled."""
        await self._check_voice()
        await self._set_volumes()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ask_health())
                tasks.create_task(self._render_ahead())
                while True:
                    self._wake.clear()
                    self._act(tasks)
                    await self._report()
                    self._health.beat("announcer", 30)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TURN_S):
                            await self._wake.wait()
        finally:
            self._settle(self._queue.hush("the agent stops"))
            for name, announcement in list(self._queue.playing.items()):
                self._ended(replace(self._record(announcement, name, "interrupted"), detail="the agent stops"))
            await self._report()

    def _act(self, tasks: asyncio.TaskGroup) -> None:
        for announcement in self._ladders.due(self._clock.monotonic()):
            self.offer(announcement)
        turns = [self._queue.hush(reason) for reason in self._hushed]
        self._hushed.clear()
        for turn in (*turns, self._queue.turn(self._clock.monotonic())):
            self._settle(turn)
            for name in turn.stop:
                tasks.create_task(self._stop(name))
            for announcement in turn.start:
                tasks.create_task(self._say(announcement))

    def _settle(self, turn: Turn) -> None:
        for announcement, refusal in turn.refused:
            self._refused(announcement, refusal)

    async def _say(self, announcement: Announcement) -> None:
        """Render, or listen to a live voice, then play on all speakers together."""
        announcement, facts = self._allowed(announcement)
        if not announcement.speakers:
            return None
        try:
            if announcement.source is not None:
                async with listening(announcement.source, announcement.for_s, self._clock) as voice:
                    return await self._on_all(announcement, dict.fromkeys(announcement.speakers, voice), facts)
            rates = {name: self._speakers[name].rate_hz for name in announcement.speakers}
            clips = {rate: await self._rendered(announcement, rate) for rate in {*rates.values()}}
        except ValueError as error:
            refusal = Refusal(gate="text", reason=str(error))
            for name in announcement.speakers:
                self._ended(replace(self._record(announcement, name, "refused"), refusal=refusal))
        except DriverError as error:
            self._health.set("voice", f"failed: {error}")
            for name in announcement.speakers:
                self._ended(replace(self._record(announcement, name, "failed"), detail=str(error)))
        else:
            self._health.set("voice", "running")
            await self._on_all(announcement, {name: clips[rate] for name, rate in rates.items()}, facts)

    def _allowed(self, announcement: Announcement) -> tuple[Announcement, str | None]:
        """Without the speakers that fly, where the flight does not allow it; and what was seen of it."""
        flying = [name for name in announcement.speakers if self._sections[name].airborne]
        if not flying:
            return announcement, None
        verdict: Refusal | str = Refusal(gate="drone voice", reason="this device has no [vehicle]")
        if self._interlock is not None:
            verdict = self._interlock(announcement)
        if isinstance(verdict, str):
            return announcement, verdict
        for name in flying:
            record = replace(self._record(announcement, name, "refused"), refusal=verdict)
            self._ended(self._tried_elsewhere(record, announcement))
        return replace(announcement, speakers=tuple(n for n in announcement.speakers if n not in flying)), None

    async def _rendered(self, announcement: Announcement, rate_hz: int) -> Clip:
        if announcement.clip is not None:
            return await self._voice.clip(announcement.clip, rate_hz)
        return await self._voice.render(announcement.phrases, rate_hz)

    async def _on_all(self, announcement: Announcement, sounds: Mapping[str, Clip | Live], facts: str | None) -> None:
        together = Together(len(sounds))
        async with asyncio.TaskGroup() as group:
            for name, sound in sounds.items():
                group.create_task(self._play(announcement, name, sound, together.seat(), facts))

    async def _play(
        self, announcement: Announcement, name: str, sound: Clip | Live, seat: Seat, facts: str | None
    ) -> None:
        record, speaker = self._record(announcement, name, "interrupted"), self._speakers[name]
        if self._sections[name].airborne:
            record = replace(record, interlock=facts)
        if name in self._queue.stopping:  # before its first sound
            seat.leave()
            return self._ended(record)
        limit_s = (announcement.for_s if isinstance(sound, Live) else sound.duration_s * 1.5) + SLACK_S
        try:
            async with asyncio.timeout(limit_s) as self._limits[name]:
                record = await self._loud_enough(record, name, speaker)
                if isinstance(sound, Live):
                    delivery = await speaker.live(sound, announcement.id, seat.ready)
                else:
                    delivery = await speaker.play(sound, announcement.id, seat.ready)
        except (DriverError, TimeoutError) as error:
            detail = str(error) or f"speaker {name}: did not end in time"
            self._health.set(f"speaker {name}", f"failed: {detail}")
            record = replace(record, outcome="failed", detail=detail)
            if isinstance(sound, Clip):
                record = replace(record, sha256=sound.sha256)
            return self._ended(self._tried_elsewhere(record, announcement))
        finally:
            seat.leave()
            self._limits.pop(name, None)
        self._health.set(f"speaker {name}", "running")
        record = _result(record, announcement, sound, delivery)
        self._free(record)
        if isinstance(sound, Clip) and sound.tone_hz is not None and (ear := self._ears.get(name)) is not None:
            record = await self._heard(record, ear, delivery)
        self._keep(self._tried_elsewhere(record, announcement))
        return self._wake.set()

    async def _loud_enough(self, record: Spoken, name: str, speaker: Speaker) -> Spoken:
        """As loud as the noise around it asks for, where that is known."""
        section, ear = self._sections[name], self._ears.get(name)
        if section.ambient is None or ear is None:
            return record
        noise_dbfs = ear.noise_dbfs()
        percent = volume_pct(section, self._rules.max_volume_pct, noise_dbfs)
        await speaker.volume(percent)
        noise = round(noise_dbfs, 1) if noise_dbfs is not None else None
        return replace(record, volume_pct=round(percent, 1), noise_dbfs=noise)

    async def _heard(self, record: Spoken, ear: Ear, delivery: Delivery) -> Spoken:
        """Did a microphone hear the chirp that this announcement began with?"""
        if delivery.first_s is None:
            return record
        heard = await chirp_heard(ear, delivery.first_s, self._clock)
        if heard is None:
            return record
        return replace(record, proof="heard", heard_delay_ms=heard.delay_ms, heard_level_dbfs=heard.level_dbfs)

    def _tried_elsewhere(self, record: Spoken, announcement: Announcement) -> Spoken:
        """A warning that is not proven as far as it is asked for goes to the speaker's `fallback`.

        Of a live voice nothing is asked: it has no chirp to be heard by, and nobody else could say it. What was hushed
        is said nowhere, also where the speaker failed to be stopped.
        """
        if announcement.source is not None:
            return record
        section = self._sections[record.speaker]
        record = replace(record, asked=section.proof)
        short = record.outcome in ("failed", "refused") or (
            record.outcome == "delivered" and PROOFS.index(record.proof) < PROOFS.index(section.proof)
        )
        if not short or section.fallback is None or announcement.at_s <= self._hushed_s:
            return record
        now = self._clock.monotonic()
        again = replace(
            announcement,
            id=f"{announcement.id}+{section.fallback}",
            speakers=(section.fallback,),
            near=None,
            track=None,
            at_s=now,
            not_after_s=now + announcement.not_after_s - announcement.at_s,
        )
        refusal = self.offer(again)
        return record if refusal is not None and refusal.gate == "duplicate" else replace(record, next=section.fallback)

    async def _stop(self, name: str) -> None:
        if (limit := self._limits.get(name)) is not None:
            limit.reschedule(asyncio.get_running_loop().time() + STOP_S)
        try:
            await self._speakers[name].stop()
        except DriverError as error:
            self._health.set(f"speaker {name}", f"failed: {error}")

    # --- records --------------------------------------------------------------------------------------------------

    def _ended(self, record: Spoken) -> None:
        """One announcement is over on one speaker that it had been started on."""
        self._free(record)
        self._keep(record)
        self._wake.set()

    def _free(self, record: Spoken) -> None:
        now, heard = self._clock.monotonic(), record.duration_s > 0
        self._queue.ended(record.speaker, heard=heard, now=now)
        if heard and record.cls is not None:
            self._restraint.said(record.cls, record.speaker, now)
        self._wake.set()

    def _refused(self, announcement: Announcement, refusal: Refusal) -> None:
        for name in announcement.speakers or tuple(self._speakers):
            self._keep(replace(self._record(announcement, name, "refused"), refusal=refusal))

    def _record(self, announcement: Announcement, speaker: str, outcome: Outcome) -> Spoken:
        text = " ".join(phrase.text for phrase in announcement.phrases)
        at = self._sections.get(speaker)
        return Spoken(
            announcement=announcement.id.partition("+")[0],
            speaker=speaker,
            outcome=outcome,
            proof="none",
            text=text or announcement.clip or f"live voice from {str(announcement.source).partition('?')[0]}",
            by=announcement.by,
            wall_s=self._clock.wall(),
            incident=announcement.incident,
            cls=announcement.cls,
            rung=announcement.rung,
            lat=at.lat if at else None,
            lon=at.lon if at else None,
        )

    def _keep(self, record: Spoken) -> None:
        self._health.counts[f"announcer.{record.outcome}"] += 1
        self._records.append(record)

    async def _report(self) -> None:
        """Hand over the records in order; one that could not be taken is tried again at the next turn."""
        while self._records:
            record = self._records[0]
            try:
                await self._on_spoken(record)
            except DriverError as error:
                self._health.set("announcer records", f"failed: {error}")
                return
            if self._records[0] is record:  # it may have been crowded out meanwhile
                self._records.popleft()

    # --- the equipment --------------------------------------------------------------------------------------------

    async def _check_voice(self) -> None:
        """Say at the start, not at the first danger, that there is no voice."""
        try:
            await self._voice.check()
        except DriverError as error:
            self._health.set("voice", f"failed: {error}")
        else:
            self._health.set("voice", "running")

    async def _render_ahead(self) -> None:
        """What is known to be said one day is rendered now, and is then only sent."""
        rates = {speaker.rate_hz for speaker in self._speakers.values()}
        for phrases in self._ahead:
            for rate_hz in rates:
                with suppress(DriverError, ValueError):  # told when it is to be said
                    await self._voice.render(phrases, rate_hz)

    async def _set_volumes(self) -> None:
        """As loud as the config says, and never louder than its cap."""
        for name, speaker in self._speakers.items():
            percent = min(self._sections[name].volume_pct, self._rules.max_volume_pct)
            if percent < 100:
                try:
                    await speaker.volume(percent)
                except DriverError as error:  # the others speak all the same
                    self._health.set(f"speaker {name}", f"failed: {error}")

    async def _ask_health(self) -> None:
        """Ask each speaker now and then, without a sound, so that a dead one is known before it is needed."""
        while True:
            await self._clock.sleep(HEALTH_S)
            for name, speaker in self._speakers.items():
                if name in self._queue.playing or isinstance(self._sections[name], config.LocalSpeaker):
                    continue  # a sound card that is opened may click
                try:
                    await speaker.health()
                except (DriverError, OSError) as error:
                    self._health.set(f"speaker {name}", f"failed: {reason(error)}")
                else:
                    self._health.set(f"speaker {name}", "running")


def _result(record: Spoken, announcement: Announcement, sound: Clip | Live, delivery: Delivery) -> Spoken:
    """The record of a sound that went out, as far as it did."""
    record = replace(record, proof=delivery.proof, duration_s=delivery.played_s, detail=delivery.doubt)
    if delivery.first_s is not None:
        record = replace(record, latency_ms=round((delivery.first_s - announcement.at_s) * 1000, 1))
    if isinstance(sound, Live):
        if delivery.finished and not sound.heard_s:
            return replace(record, outcome="failed", proof="none", duration_s=0.0, detail=sound.why)
        record = replace(record, detail="; ".join(filter(None, (sound.why, delivery.doubt))) or None)
    return replace(record, outcome="delivered" if delivery.finished else "interrupted", sha256=sound.sha256)
