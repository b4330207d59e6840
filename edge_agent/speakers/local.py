"""A loudspeaker on this machine's sound card (HAT, USB, I2S amplifier): ALSA, by FFmpeg's own output device."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock
from edge_agent.speakers import alsa
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.sound import Pcm

RATE_HZ = 16_000


class LocalSpeaker(Paced):
    """The card has taken every sample (`delivered`): whether an amplifier hangs on it, it cannot know."""

    best: Proof = "delivered"
    rate_hz = RATE_HZ

    def __init__(self, section: config.LocalSpeaker, clock: Clock) -> None:
        super().__init__(section.name, clock)
        self._device = section.device

    def where(self) -> str:
        return f"sound card {self._device!r}"

    async def health(self) -> None:
        """Whether the card can be opened now."""
        await (await self.open("", 0)).close(False)

    async def open(self, _announcement: str, _samples: int | None, /) -> LocalLine:
        return await asyncio.to_thread(LocalLine, self._device)


class LocalLine(Line):
    """The card, opened for one sound; every call may block, and has a thread of its own."""

    def __init__(self, device: str) -> None:
        import av

        alsa.use_system_settings()
        self._frame: Any = av.AudioFrame
        self._output: Any = av.open(device, "w", format="alsa")
        self._stream = self._output.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        self._at = 0

    async def send(self, step: Pcm) -> None:
        await asyncio.to_thread(self._write, step)

    async def close(self, finished: bool, /) -> Proof:
        await asyncio.to_thread(self._output.close)  # plays what the card still holds
        return "delivered" if finished else "accepted"

    def _write(self, step: Pcm) -> None:
        frame = self._frame.from_ndarray(np.ascontiguousarray(step)[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, self._at
        self._at += len(step)
        for packet in self._stream.encode(frame):
            self._output.mux(packet)
