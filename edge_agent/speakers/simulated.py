"""The simulated loudspeaker: it keeps what it would have played as WAV files, one for each announcement."""

from __future__ import annotations

import asyncio
import os
import wave
from pathlib import Path
from urllib.parse import quote

from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import Delivery
from edge_agent.speakers.sound import Clip

STEP_S = 0.020
KEEP = 500  # files; the oldest go first (announcement ids sort by time)


class SimulatedSpeaker:
    """Plays at the pace of the sound (`realtime`) or at once; a clip that was stopped is kept as far as it got."""

    def __init__(self, name: str, directory: Path, clock: Clock, *, realtime: bool = True) -> None:
        self.name = name
        self._directory, self._clock, self._realtime = directory, clock, realtime
        self._stopped = False

    async def play(self, clip: Clip, announcement: str, /) -> Delivery:
        """Writes `<announcement>.wav`, complete or not at all."""
        self._stopped = False
        began = self._clock.monotonic()
        played_s = 0.0
        while self._realtime and played_s < clip.duration_s and not self._stopped:
            await self._clock.sleep(min(STEP_S, clip.duration_s - played_s))
            played_s = self._clock.monotonic() - began
        finished = not self._stopped
        samples = clip.samples if finished else clip.samples[: round(played_s * clip.rate_hz)]
        try:
            await asyncio.to_thread(self._write, samples.astype("<i2").tobytes(), clip.rate_hz, announcement)
        except OSError as error:
            raise DriverError(f"speaker {self.name}: {self._directory}: {error.strerror or error}") from None
        return Delivery(finished=finished, played_s=len(samples) / clip.rate_hz, proof="delivered")

    async def stop(self) -> None:
        """The running `play` ends at its next step."""
        self._stopped = True

    def _write(self, pcm: bytes, rate_hz: int, announcement: str) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        final = self._directory / f"{quote(announcement, safe='')}.wav"
        part = final.with_suffix(".part")
        with part.open("wb") as file:
            with wave.open(file) as wav:
                wav.setparams((1, 2, rate_hz, 0, "NONE", "not compressed"))
                wav.writeframes(pcm)
            file.flush()
            os.fsync(file.fileno())
        part.replace(final)
        for old in sorted(self._directory.glob("*.wav"))[:-KEEP]:
            old.unlink(missing_ok=True)
