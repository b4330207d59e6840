"""Dahua (also Amcrest and Lorex) cameras and speakers: `audio.cgi?action=postAudio`, paced as it is played.

They take the whole body and close without an answer; an early answer is a refusal (go2rtc, Scrypted).
"""

from __future__ import annotations

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock
from edge_agent.speakers.g711 import Codec, encode
from edge_agent.speakers.http import Device, Exchange
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.sound import Pcm

ENDLESS = 9_999_999  # as in the example of the HTTP API's manual
_TYPES: dict[Codec, str] = {"pcma": "Audio/G.711A", "pcmu": "Audio/G.711Mu"}


class DahuaSpeaker(Paced):
    """That it does not refuse is all that the device says (`accepted`)."""

    best: Proof = "accepted"

    def __init__(self, section: config.DahuaSpeaker, clock: Clock) -> None:
        super().__init__(section.name, clock)
        self._device, self._section = Device(section), section

    def where(self) -> str:
        return self._device.where

    async def health(self) -> None:
        """Whether it has an audio output."""
        await self._device.want("GET", "/cgi-bin/devAudioOutput.cgi?action=getCollect")

    async def open(self, _announcement: str, _samples: int | None, /) -> DahuaLine:
        await self.health()  # brings the digest
        path = f"/cgi-bin/audio.cgi?action=postAudio&httptype=singlepart&channel={self._section.channel}"
        headers = {"Content-Type": _TYPES[self._section.codec], "Content-Length": str(ENDLESS)}
        return DahuaLine(await self._device.begin("POST", path, headers), self._section.codec)


class DahuaLine(Line):
    """One post."""

    def __init__(self, exchange: Exchange, codec: Codec) -> None:
        self._exchange, self._codec = exchange, codec

    async def send(self, step: Pcm) -> None:
        await self._exchange.send(encode(step, self._codec))

    async def close(self, _finished: bool, /) -> Proof:
        await self._exchange.close()
        return "accepted"
