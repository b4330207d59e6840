"""The part that speaks: it acts on what `queue` decides, and leaves one record for each announcement and speaker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Literal, Protocol

from msgspec.structs import replace

from edge_agent.messages import Announcement, Phrase, Refusal, Spoken
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.speakers import Delivery, Speaker
from edge_agent.speakers.listen import listening
from edge_agent.speakers.live import Live
from edge_agent.speakers.queue import Queue, Turn
from edge_agent.speakers.sound import Clip
from edge_agent.speakers.together import Seat, Together

COOL_DOWN_S = 60.0  # between two warnings of one track
STOP_S = 1.0  # a driver that has not stopped after this is cancelled
TURN_S = 1.0  # now and then a turn without a cause: for what became stale, or a record that was not taken
MAX_RECORDS = 1000  # that wait for `on_spoken`

Outcome = Literal["delivered", "refused", "failed", "interrupted"]


class Renderer(Protocol):
    """What makes clips of phrases (`voice.Voice`)."""

    async def check(self) -> None: ...
    async def render(self, phrases: tuple[Phrase, ...], rate_hz: int = ...) -> Clip: ...


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
        cool_down_s: float = COOL_DOWN_S,
    ) -> None:
        self._speakers, self._voice = speakers, voice
        self._clock, self._health, self._on_spoken = clock, health, on_spoken
        self._queue = Queue(speakers, cool_down_s)
        self._records: deque[Spoken] = deque(maxlen=MAX_RECORDS)
        self._hushed: list[str] = []
        self._limits: dict[str, asyncio.Timeout] = {}
        self._wake = asyncio.Event()

    def offer(self, announcement: Announcement) -> Refusal | None:
        """Take an announcement, or refuse it at once; never waits. Empty `speakers` means all of them."""
        refusal = self._queue.offer(announcement, self._clock.monotonic())
        if refusal is not None and refusal.gate != "duplicate":
            self._refused(announcement, refusal)
        self._wake.set()
        return refusal

    def hush(self, reason: str = "hushed") -> None:
        """Silence: everything that plays is interrupted, everything that waits is refused."""
        self._hushed.append(reason)
        self._wake.set()

    async def run(self) -> None:
        """Speak until cancelled."""
        await self._check_voice()
        try:
            async with asyncio.TaskGroup() as tasks:
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
        try:
            if announcement.source is not None:
                async with listening(announcement.source, announcement.for_s, self._clock) as voice:
                    return await self._on_all(announcement, dict.fromkeys(announcement.speakers, voice))
            rates = {name: self._speakers[name].rate_hz for name in announcement.speakers}
            clips = {rate: await self._voice.render(announcement.phrases, rate) for rate in {*rates.values()}}
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
            await self._on_all(announcement, {name: clips[rate] for name, rate in rates.items()})

    async def _on_all(self, announcement: Announcement, sounds: Mapping[str, Clip | Live]) -> None:
        together = Together(len(sounds))
        async with asyncio.TaskGroup() as group:
            for name, sound in sounds.items():
                group.create_task(self._play(announcement, name, sound, together.seat()))

    async def _play(self, announcement: Announcement, name: str, sound: Clip | Live, seat: Seat) -> None:
        record, speaker = self._record(announcement, name, "interrupted"), self._speakers[name]
        if name in self._queue.stopping:  # before its first sound
            seat.leave()
            return self._ended(record)
        limit_s = (announcement.for_s if isinstance(sound, Live) else sound.duration_s * 1.5) + 10
        try:
            async with asyncio.timeout(limit_s) as self._limits[name]:
                if isinstance(sound, Live):
                    delivery = await speaker.live(sound, announcement.id, seat.ready)
                else:
                    delivery = await speaker.play(sound, announcement.id, seat.ready)
        except (DriverError, TimeoutError) as error:
            detail = str(error) or f"speaker {name}: did not end in time"
            self._health.set(f"speaker {name}", f"failed: {detail}")
            return self._ended(replace(record, outcome="failed", detail=detail))
        finally:
            seat.leave()
            self._limits.pop(name, None)
        self._health.set(f"speaker {name}", "running")
        return self._ended(_result(record, announcement, sound, delivery))

    async def _stop(self, name: str) -> None:
        if (limit := self._limits.get(name)) is not None:
            limit.reschedule(asyncio.get_running_loop().time() + STOP_S)
        try:
            await self._speakers[name].stop()
        except DriverError as error:
            self._health.set(f"speaker {name}", f"failed: {error}")

    def _ended(self, record: Spoken) -> None:
        """One announcement is over on one speaker that it had been started on."""
        self._queue.ended(record.speaker, heard=record.duration_s > 0, now=self._clock.monotonic())
        self._keep(record)
        self._wake.set()

    def _refused(self, announcement: Announcement, refusal: Refusal) -> None:
        for name in announcement.speakers or tuple(self._speakers):
            self._keep(replace(self._record(announcement, name, "refused"), refusal=refusal))

    def _record(self, announcement: Announcement, speaker: str, outcome: Outcome) -> Spoken:
        return Spoken(
            announcement=announcement.id,
            speaker=speaker,
            outcome=outcome,
            proof="none",
            text=" ".join(phrase.text for phrase in announcement.phrases) or f"live voice from {announcement.source}",
            by=announcement.by,
            wall_s=self._clock.wall(),
            incident=announcement.incident,
            cls=announcement.cls,
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

    async def _check_voice(self) -> None:
        """Say at the start, not at the first danger, that there is no voice."""
        try:
            await self._voice.check()
        except DriverError as error:
            self._health.set("voice", f"failed: {error}")
        else:
            self._health.set("voice", "running")


def _result(record: Spoken, announcement: Announcement, sound: Clip | Live, delivery: Delivery) -> Spoken:
    """The record of a sound that went out, as far as it did."""
    record = replace(record, proof=delivery.proof, duration_s=delivery.played_s)
    if delivery.first_s is not None:
        record = replace(record, latency_ms=round((delivery.first_s - announcement.at_s) * 1000, 1))
    if isinstance(sound, Live):
        if delivery.finished and not sound.heard_s:
            return replace(record, outcome="failed", proof="none", duration_s=0.0, detail=sound.why)
        record = replace(record, sha256=sound.sha256, detail=sound.why)
        return replace(record, outcome="delivered") if delivery.finished else record
    return replace(record, outcome="delivered", sha256=sound.sha256) if delivery.finished else record
