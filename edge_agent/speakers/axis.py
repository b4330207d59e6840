"""Axis speakers and cameras: VAPIX audio transmit, which answers once all of a clip has been played.

https://developer.axis.com/vapix/audio-systems/audio-api: raw samples without a header, one talker at a time, and an
answer only after exactly `Content-Length` bytes; a failure is a close without any.
"""

from __future__ import annotations

import asyncio

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock
from edge_agent.speakers.g711 import encode
from edge_agent.speakers.http import Device, Exchange
from edge_agent.speakers.paced import Paced
from edge_agent.speakers.sound import Pcm

ENDLESS = 9_999_999  # for a live voice, whose length nobody knows: what older clients of the API send
ANSWER_S = 2.0  # the device has 120 ms of sound in its buffer when the last of it was sent


class AxisSpeaker(Paced):
    """A clip whose every byte was taken is confirmed by the device (`delivered`); a live voice is only `accepted`."""

    best: Proof = "delivered"

    def __init__(self, section: config.AxisSpeaker, clock: Clock) -> None:
        super().__init__(section.name, clock)
        self._device = Device(section)
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


class AxisLine:
    """One transmission."""

    def __init__(self, exchange: Exchange, samples: int | None) -> None:
        self._exchange, self._missing = exchange, samples

    async def send(self, step: Pcm) -> None:
        await self._exchange.send(encode(step, "pcmu"))
        if self._missing is not None:
            self._missing -= len(step)

    async def close(self, _finished: bool, /) -> Proof:
        """All of it sent: the device's answer decides."""
        try:
            if self._missing != 0:
                return "accepted"
            await asyncio.wait([self._exchange.answer], timeout=ANSWER_S)
            answer = self._exchange.answer.result() if self._exchange.answer.done() else None
            if answer is not None and answer.status >= 300:
                raise self._exchange.device.refused(answer)
            return "delivered" if answer is not None else "none"
        finally:
            await self._exchange.close()
