"""Axis speakers and cameras: VAPIX audio transmit, which answers once all of a clip has been played, or stored clips.

https://developer.axis.com/vapix/audio-systems/audio-api: raw samples without a header, one talker at a time, and an
answer only after exactly `Content-Length` bytes; a failure is a close without any.
https://developer.axis.com/vapix/audio-systems/media-clip-api: clips that the device keeps, and events while it plays.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers.axisevents import ClipEvents, perform_test, test_report
from edge_agent.speakers.http import ENDLESS, Device, Exchange, HttpLine
from edge_agent.speakers.sound import Pcm
from edge_agent.speakers.stored import Playing, Stored, form

TEST_S = 30.0
LOOK_AT_TEST_S = 0.5
ANSWER_S = 2.0  # the device has 120 ms of sound in its buffer when the last of it was sent


class AxisSpeaker(Stored):
    """A clip whose every byte was taken is confirmed by the device (`delivered`); a live voice is only `accepted`.

    Of a stored clip its events say that it plays (`playing`); where it has passed its own speaker test within a day,
    that is `tested`.
    """

    def __init__(self, section: config.AxisSpeaker, clock: Clock) -> None:
        super().__init__(section.name, clock)
        self._device = Device(section)
        self.stores = section.clips
        self.best: Proof = "tested" if section.clips else "delivered"
        self._type = "audio/axis-mulaw-128" if section.wide else "audio/basic"
        self.rate_hz = 16000 if section.wide else 8000

    def where(self) -> str:
        return self._device.where

    async def health(self) -> None:
        """Whether the device has an audio output that this user may use."""
        await self._device.want("GET", "/axis-cgi/param.cgi?action=list&group=Properties.Audio")

    async def open(self, _announcement: str, samples: int | None, /) -> AxisLine:
        await self.health()  # cheap, and it brings the digest: a streamed body cannot be sent twice
        length = ENDLESS if samples is None else samples
        headers = {"Content-Type": self._type, "Content-Length": str(length)}
        return AxisLine(await self._device.begin("POST", "/axis-cgi/audio/transmit.cgi", headers), samples)

    # --- stored clips ---------------------------------------------------------------------------------------------

    async def listed(self) -> dict[str, str]:
        answer = await self._device.want("GET", "/axis-cgi/param.cgi?action=list&group=MediaClip")
        found = re.findall(
            r"^root\.MediaClip\.M(\d+)\.Name=(\S+)", answer.body.decode("utf-8", "replace"), re.MULTILINE
        )
        return {name: number for number, name in sorted(found, key=lambda one: int(one[0]))}

    async def put(self, name: str, wav: bytes) -> str:
        headers, body = form((f'name="file"; filename="{name}.wav"\r\nContent-Type: audio/x-wav', wav))
        path = f"/axis-cgi/mediaclip.cgi?action=upload&media=audio&name={name}"
        answer = await self._device.want("POST", path, headers=headers, body=body)
        text = answer.body.decode("utf-8", "replace").strip()
        found = re.search(r"(?:uploaded|replaced)=(\d+)", text, re.IGNORECASE)
        if found is None:
            raise self._device.refused(f"it does not take the clip: {text[:80]!r}")
        return found[1]

    async def remove(self, number: str) -> None:
        await self._device.want("GET", f"/axis-cgi/mediaclip.cgi?action=remove&clip={number}")

    async def start(self, number: str) -> Playing:
        playing: Playing = Playing()
        with suppress(DriverError):  # older firmware has no events: then nothing says that it plays
            playing = await ClipEvents.opened(self._device)
        volume = round(100 * self.loudness)
        try:
            answer = await self._device.want("GET", f"/axis-cgi/playclip.cgi?clip={number}&repeat=0&volume={volume}")
            if (text := answer.body.decode("utf-8", "replace")).lstrip().startswith("Error"):
                raise self._device.refused(f"it does not play the clip: {text.strip()[:80]!r}")
        except BaseException:
            await self._closed(playing)
            raise
        return playing

    async def cease(self, _number: str) -> None:
        await self._device.want("GET", "/axis-cgi/stopclip.cgi")

    async def proven(self, playing: Playing) -> Proof:
        await self._closed(playing)
        if not playing.seen:
            return "accepted"
        with suppress(DriverError):  # only an administrator may read the report
            if await test_report(self._device, self._clock.wall()) == "OK":
                return "tested"
        return "playing"

    async def self_test(self) -> str:
        """Let the device test its own loudspeaker, aloud: "OK", or what its report says."""
        await self.health()
        await perform_test(self._device)
        until_s = self._clock.monotonic() + TEST_S
        while (said := await test_report(self._device, self._clock.wall())) == "Pending":
            if self._clock.monotonic() >= until_s:
                break
            await self._clock.sleep(LOOK_AT_TEST_S)
        return said

    @staticmethod
    async def _closed(playing: Playing) -> None:
        if isinstance(playing, ClipEvents):
            await playing.close()


class AxisLine(HttpLine):
    """One transmission."""

    def __init__(self, exchange: Exchange, samples: int | None) -> None:
        super().__init__(exchange, "pcmu")
        self._missing = samples

    async def send(self, step: Pcm) -> None:
        await super().send(step)
        if self._missing is not None:
            self._missing -= len(step)

    async def close(self, finished: bool, /) -> Proof:
        """All of it sent: the device's answer decides."""
        if self._missing != 0:
            return await super().close(finished)
        try:
            await asyncio.wait([self._exchange.answer], timeout=ANSWER_S)
            answer = self._exchange.answer.result() if self._exchange.answer.done() else None
            if answer is None:
                raise self._exchange.device.refused("it had all of the sound, and does not say that it played it")
            if answer.status >= 300:
                raise self._exchange.device.refused(answer)
            return "delivered"
        finally:
            await self._exchange.close()
