"""Speakers that keep clips and play them by themselves: what is to be said is put there once, and then named.

What was stored is found again by its hash in the name, so nothing is put there twice, and a device that was reset gets
it anew. A device that takes no clip (full, or not allowed) is sent the sound as it is played.
"""

from __future__ import annotations

import asyncio
import io
import secrets
import wave
from abc import abstractmethod
from contextlib import suppress

from edge_agent.messages import Proof
from edge_agent.runtime import DriverError
from edge_agent.speakers import Delivery, Ready
from edge_agent.speakers.paced import Paced
from edge_agent.speakers.sound import Clip

PREFIX = "edge-agent-"
KEEP = 20  # of ours; the oldest are removed where the device lets us
LOOK_S = 0.02
TAIL_S = 2.0  # what a device may need beyond the sound's length to say that it is over


class Playing:
    """What is known of a sound that the device plays: its events, where it has any."""

    tells = False  # whether events are to be expected

    def __init__(self) -> None:
        self.seen, self.over = False, False


class Stored(Paced):
    """A driver says how clips are listed, put, removed and played; `stores` switches it on."""

    stores = False

    @abstractmethod
    async def listed(self) -> dict[str, str]:
        """The names on the device, oldest first, and what each is called by when it is played."""

    @abstractmethod
    async def put(self, name: str, wav: bytes) -> str:
        """Store it; what it is called by. `DriverError` where the device does not take it."""

    @abstractmethod
    async def remove(self, number: str) -> None:
        """Make room; `DriverError` where the device does not."""

    @abstractmethod
    async def start(self, number: str) -> Playing:
        """Play it once."""

    @abstractmethod
    async def cease(self, number: str) -> None:
        """Stop it."""

    @abstractmethod
    async def proven(self, playing: Playing) -> Proof:
        """How far it is proven, once it is over; what `start` opened is closed."""

    async def play(self, clip: Clip, announcement: str, /, ready: Ready | None = None) -> Delivery:
        """From the device's own store; streamed where it takes no clip."""
        if not (self.stores and len(clip.samples) and self.loudness) or clip.rate_hz != self.rate_hz:
            return await super().play(clip, announcement, ready)
        self._stopped = False
        try:
            number = await self._there(clip)
        except DriverError:
            return await super().play(clip, announcement, ready)
        if ready is not None:
            await ready()
        playing = await self.start(number)
        began_s, played_s, whole = self._clock.monotonic(), 0.0, False
        try:
            while (
                not self._stopped and not playing.over and played_s < clip.duration_s + (TAIL_S if playing.seen else 0)
            ):
                await self._clock.sleep(LOOK_S)
                played_s = self._clock.monotonic() - began_s
            whole = not self._stopped
            played_s = clip.duration_s if playing.over else played_s
        finally:
            if not whole:
                with suppress(DriverError):
                    await self.cease(number)
            proof = await self.proven(playing)
        return Delivery(finished=whole, played_s=min(played_s, clip.duration_s), proof=proof, first_s=began_s)

    async def _there(self, clip: Clip) -> str:
        name = f"{PREFIX}{clip.sha256[:16]}"
        stored = await self.listed()
        if name in stored:
            return stored[name]
        ours = [number for kept, number in stored.items() if kept.startswith(PREFIX)]
        for number in ours[: max(0, len(ours) + 1 - KEEP)]:
            await self.remove(number)
        return await self.put(name, await asyncio.to_thread(wav, clip))


def wav(clip: Clip) -> bytes:
    """A clip as a RIFF file, 16 bits, mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, clip.rate_hz, 0, "NONE", "not compressed"))
        out.writeframes(clip.samples.astype("<i2").tobytes())
    return file.getvalue()


def form(*parts: tuple[str, bytes]) -> tuple[dict[str, str], bytes]:
    """Header and body of multipart/form-data (RFC 7578): each part is its own headers after `form-data; `, and data."""
    boundary = secrets.token_hex(16)
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    )
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body + f"--{boundary}--\r\n".encode()
