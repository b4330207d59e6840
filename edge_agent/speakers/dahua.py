"""Dahua (also Amcrest and Lorex) cameras and speakers: `audio.cgi?action=postAudio`, paced as it is played.

They take the whole body and close without an answer; an early answer is a refusal (go2rtc, Scrypted). G.711 goes as one
part; AAC as many, one frame each, which is what models that are silent on one part play.
"""

from __future__ import annotations

import secrets

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock
from edge_agent.speakers.codecs import Adts
from edge_agent.speakers.http import ENDLESS, Device, Exchange, HttpLine
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.sound import Pcm

_TYPES = {"pcma": "Audio/G.711A", "pcmu": "Audio/G.711Mu"}


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

    async def open(self, _announcement: str, _samples: int | None, /) -> Line:
        await self.health()  # brings the digest
        codec = self._section.codec
        if codec != "aac":
            return HttpLine(await self._begin("singlepart", _TYPES[codec]), codec)
        boundary = secrets.token_hex(8)
        return AacLine(await self._begin("multipart", f"multipart/x-mixed-replace; boundary={boundary}"), boundary)

    async def _begin(self, httptype: str, content_type: str) -> Exchange:
        path = f"/cgi-bin/audio.cgi?action=postAudio&httptype={httptype}&channel={self._section.channel}"
        headers = {"Content-Type": content_type, "Content-Length": str(ENDLESS)}
        return await self._device.begin("POST", path, headers)


class AacLine(Line):
    """A part for each frame of 128 ms."""

    def __init__(self, exchange: Exchange, boundary: str) -> None:
        self._exchange, self._encoder = exchange, Adts()
        self._boundary = boundary

    async def send(self, step: Pcm) -> None:
        await self._post(self._encoder.encode(step))

    async def close(self, finished: bool, /) -> Proof:
        try:
            if finished:
                await self._post(self._encoder.rest())
        finally:
            await self._exchange.close()
        return "accepted"

    async def _post(self, frames: list[bytes]) -> None:
        for frame in frames:
            head = f"--{self._boundary}\r\nContent-Type: Audio/AAC\r\nContent-Length: {len(frame)}\r\n\r\n"
            await self._exchange.send(head.encode() + frame + b"\r\n")
