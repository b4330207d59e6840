"""A microphone near the speakers: a sound card, or the sound of a camera; only the last seconds are held, in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edge_agent import config
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import alsa
from edge_agent.speakers.chirp import find_chirp
from edge_agent.speakers.sound import TONE_S, Floats, Pcm

RATE_HZ = 8000
KEEP_S = 30.0
NOISE_S = 10.0
ROOM_S = 0.5  # what a sound may take to the microphone: buffers of the device, and the way through the air


class Heard(NamedTuple):
    """Our own chirp at a microphone: from the first sound sent to its arrival, and how loud it was there."""

    delay_ms: int
    level_dbfs: float


async def chirp_heard(ear: Ear, first_s: float, clock: Clock) -> Heard | None:
    """Whether a sound that has just ended, and whose attention tone was sent at `first_s`, was heard."""
    await clock.sleep(ROOM_S)
    began_s, samples = ear.since(first_s)
    found = await asyncio.to_thread(find_chirp, samples, RATE_HZ)
    if found is None:
        return None
    return Heard(round((began_s + found.at_s - first_s - TONE_S) * 1000), round(found.level_dbfs, 1))


class Ear:
    """A part that listens, and `since` gives what it heard; nothing is stored, nothing but our own chirp is sought."""

    def __init__(self, source: str, clock: Clock, credentials: str | None = None) -> None:
        """`source` is `alsa:DEVICE` or an address of FFmpeg's; `credentials` a file with USER:PASSWORD for it."""
        self._source, self._credentials, self._clock = source, credentials, clock
        self._heard: deque[tuple[float, Pcm]] = deque()

    async def run(self) -> None:
        """Listen until cancelled; `DriverError` where there is nothing to hear."""
        frames = await asyncio.to_thread(self._open)
        try:
            while (frame := await asyncio.to_thread(next, frames, None)) is not None:
                now = self._clock.monotonic()
                self._heard.append((now - len(frame) / RATE_HZ, frame))
                while self._heard and now - self._heard[0][0] > KEEP_S:
                    self._heard.popleft()
        finally:
            self._heard.clear()
        raise DriverError(f"microphone {self._source}: its sound ended")

    def since(self, at_s: float) -> tuple[float, Floats]:
        """What was heard from a moment of the monotonic clock on, and when that begins exactly."""
        kept = [(began_s, frame) for began_s, frame in self._heard if began_s + len(frame) / RATE_HZ > at_s]
        if not kept:
            return at_s, np.zeros(0)
        return kept[0][0], np.concatenate([frame for _, frame in kept]) / 32768.0

    def noise_dbfs(self) -> float | None:
        """How loud it is here: the level of the quieter half of the last seconds, so that no single bang decides.

        None where too little was heard.
        """
        now = self._clock.monotonic()
        recent = [frame for began_s, frame in self._heard if now - began_s <= NOISE_S]
        levels = sorted(float((frame.astype(np.float64) ** 2).mean()) for frame in recent if len(frame))
        if sum(map(len, recent)) < RATE_HZ:
            return None
        quieter = levels[: max(1, len(levels) // 2)]
        return float(10 * np.log10(sum(quieter) / len(quieter) / 32768**2 + 1e-12))

    def _open(self) -> Iterator[Pcm]:
        frames = _frames(self._source, self._credentials)
        first = next(frames, None)
        if first is None:
            raise DriverError(f"microphone {self._source}: has no sound")
        return frames


def _frames(source: str, credentials: str | None) -> Iterator[Pcm]:
    import av

    alsa.use_system_settings()
    kind, _, name = source.partition(":") if source.startswith("alsa:") else ("", "", source)
    options = {"rtsp_transport": "tcp", "fflags": "nobuffer"} if name.startswith("rtsp") else {}
    try:
        address = config.with_login(name, credentials)
        with av.open(address, format=kind or None, options=options, timeout=(5.0, 5.0)) as container:
            if not container.streams.audio:
                return
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
            for frame in container.decode(audio=0):
                yield from (piece.to_ndarray()[0] for piece in resampler.resample(frame))
    except av.FFmpegError as error:  # its own text may hold the address with the password
        raise DriverError(f"microphone {source}: {error.strerror or type(error).__name__}") from None
    except (OSError, ValueError) as error:
        raise DriverError(f"microphone {source}: {getattr(error, 'strerror', None) or error}") from None
