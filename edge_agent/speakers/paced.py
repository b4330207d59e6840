"""What all drivers share: sound goes out in steps of 20 ms at its own pace, and fades when it is stopped."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Protocol

import numpy as np
from msgspec.structs import replace

from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import Delivery, Ready, reason
from edge_agent.speakers.live import Live
from edge_agent.speakers.sound import Clip, Floats, Pcm

STEP_S = 0.020
FADE_STEPS = 3  # a stopped sound falls to silence over 50 ms, and the last of these steps ends in it
FADE_S = 0.050
RESYNC_S = 0.2  # later than this, a gap is less harm than a burst that overruns the receiver's jitter buffer
SEND_S = 2.0  # a far end that takes no step for so long is broken (a half-open connection)
CLOSE_S = 3.0


class Steps(Protocol):
    """A sound as it is sent: the next step of it, `None` at its end."""

    def take(self) -> Pcm | None: ...


class Line(ABC):
    """An open way to one device, for one sound."""

    doubt: str | None = None  # once closed: why no more is proven, where there is more to say than that nobody told

    @abstractmethod
    async def send(self, step: Pcm) -> None:
        """Send one step; the last may be shorter. Raises OSError or DriverError."""

    @abstractmethod
    async def close(self, finished: bool, /) -> Proof:
        """End it, and say what the far end has confirmed; called once, whatever happened."""


class Paced(ABC):
    """A speaker whose device takes sound as it is played; a driver says how the line is opened."""

    rate_hz = 8000
    best: Proof = "none"
    loudness = 1.0  # what `volume` sets where the device has no knob of its own

    def __init__(self, name: str, clock: Clock) -> None:
        self.name, self._clock = name, clock
        self._stopped = False

    @abstractmethod
    async def open(self, announcement: str, samples: int | None, /) -> Line:
        """Reach the device for a sound of so many samples (`None`: a live voice); raises OSError or DriverError."""

    @abstractmethod
    def where(self) -> str:
        """The address as a person would name it, without any secret: for errors."""

    async def play(self, clip: Clip, announcement: str, /, ready: Ready | None = None) -> Delivery:
        """Send at the pace of the sound; returns when the last step's time is over."""
        if clip.rate_hz != self.rate_hz:
            raise ValueError(f"speaker {self.name} takes {self.rate_hz} samples a second, this clip has {clip.rate_hz}")
        return await self._put_through(ClipSteps(clip), len(clip.samples), announcement, ready)

    async def live(self, voice: Live, announcement: str, /, ready: Ready | None = None) -> Delivery:
        """Send what is spoken as it comes, and silence where nothing comes."""
        return await self._put_through(voice.tap(self.rate_hz), None, announcement, ready)

    async def stop(self) -> None:
        """The running sound fades out."""
        self._stopped = True

    async def volume(self, percent: float) -> None:
        """Of the sound that is sent: full scale at 100."""
        self.loudness = min(max(percent, 0.0), 100.0) / 100

    async def health(self) -> None:
        """Nothing can be asked of most of them."""
        return

    async def _put_through(self, steps: Steps, samples: int | None, announcement: str, ready: Ready | None) -> Delivery:
        self._stopped = False
        try:
            line = await self.open(announcement, samples)
            try:
                if ready is not None:
                    await ready()
                delivery = await self._send(line, steps)
            except BaseException:
                with suppress(OSError, DriverError, TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        await line.close(False)
                raise
            async with asyncio.timeout(CLOSE_S):
                proof = await line.close(delivery.finished)
        except TimeoutError:
            raise DriverError(f"speaker {self.name}: {self.where()}: takes no sound, or does not answer") from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name
            raise DriverError(
                f"speaker {self.name}: {self.where()}: {reason(error) or 'the connection broke'}"
            ) from None
        return replace(delivery, proof=proof, doubt=line.doubt)

    async def _send(self, line: Line, steps: Steps) -> Delivery:
        sent, worst_s, first_s = 0, 0.0, None
        due = self._clock.monotonic()
        fade: list[Floats] | None = None
        while (step := steps.take()) is not None:
            if fade is None and self._stopped:
                fade = list(faded(self.rate_hz)) if sent else []
            if fade == []:
                break
            gain = self.loudness * (fade.pop(0)[: len(step)] if fade else 1.0)
            late_s = self._clock.monotonic() - due
            worst_s = max(worst_s, late_s)
            due += late_s if late_s > RESYNC_S else 0
            async with asyncio.timeout(SEND_S):
                await line.send((step * gain).astype(np.int16))
            first_s = first_s or self._clock.monotonic()
            sent += len(step)
            due += len(step) / self.rate_hz
            await self._clock.sleep(max(0.0, due - self._clock.monotonic()))
        return Delivery(
            finished=fade is None,
            played_s=sent / self.rate_hz,
            proof="none",
            late_ms=worst_s * 1000,
            first_s=first_s,
        )


class ClipSteps:
    """A clip, step by step."""

    def __init__(self, clip: Clip) -> None:
        self._samples, self._size, self._at = clip.samples, round(clip.rate_hz * STEP_S), 0

    def take(self) -> Pcm | None:
        if self._at >= len(self._samples):
            return None
        step = self._samples[self._at : self._at + self._size]
        self._at += self._size
        return step


def faded(rate_hz: int) -> Floats:
    """The gains of the last `FADE_STEPS` steps, one row a step."""
    at_s = np.arange(FADE_STEPS * round(STEP_S * rate_hz)) / rate_hz
    gains: Floats = np.clip(1 - at_s / FADE_S, 0, 1).reshape(FADE_STEPS, -1)
    return gains
