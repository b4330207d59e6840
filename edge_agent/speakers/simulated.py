"""The simulated loudspeaker: it keeps what it would have played as WAV files, one for each announcement."""

from __future__ import annotations

import asyncio
import os
import wave
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np

from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import Delivery, Ready
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.sound import Clip, Pcm

KEEP = 500  # files; the oldest go first (announcement ids sort by time)


class SimulatedSpeaker(Paced):
    """Plays at the pace of the sound (`realtime`) or at once; a clip that was stopped is kept as far as it got."""

    best: Proof = "delivered"

    def __init__(self, name: str, directory: Path, clock: Clock, *, realtime: bool = True) -> None:
        super().__init__(name, clock)
        self._directory, self._realtime = directory, realtime

    def where(self) -> str:
        return str(self._directory)

    async def play(self, clip: Clip, announcement: str, /, ready: Ready | None = None) -> Delivery:
        """Writes `<announcement>.wav`, complete or not at all."""
        if self._realtime:
            return await super().play(clip, announcement, ready)
        await self.keep(clip.samples, announcement)
        return Delivery(finished=True, played_s=clip.duration_s, proof="delivered")

    async def open(self, announcement: str, _samples: int | None, /) -> Tape:
        return Tape(self, announcement)

    async def keep(self, samples: Pcm, announcement: str) -> None:
        """Write the file; raises `DriverError`."""
        try:
            await asyncio.to_thread(self._write, samples.astype("<i2").tobytes(), announcement)
        except OSError as error:
            raise DriverError(f"speaker {self.name}: {self._directory}: {error.strerror or error}") from None

    def _write(self, pcm: bytes, announcement: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        final = self._directory / f"{quote(announcement, safe='')}.wav"
        part = final.with_suffix(".part")
        with part.open("wb") as file:
            with wave.open(file) as wav:
                wav.setparams((1, 2, self.rate_hz, 0, "NONE", "not compressed"))
                wav.writeframes(pcm)
            file.flush()
            os.fsync(file.fileno())
        part.replace(final)
        for old in sorted(self._directory.glob("*.wav"))[:-KEEP]:
            old.unlink(missing_ok=True)


@dataclass
class Tape(Line):
    """What was played so far."""

    speaker: SimulatedSpeaker
    announcement: str
    steps: list[Pcm] = field(default_factory=list)

    async def send(self, step: Pcm) -> None:
        self.steps.append(step)

    async def close(self, _finished: bool, /) -> Proof:
        samples = np.concatenate(self.steps) if self.steps else np.zeros(0, np.int16)
        await self.speaker.keep(samples, self.announcement)
        return "delivered"
