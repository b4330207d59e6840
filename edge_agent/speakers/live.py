"""A voice that is being spoken: packets in any order become steps of 20 ms for each speaker. Pure.

Each speaker has a tap with a jitter buffer of its own, because each takes sound by its own clock. Times are in samples
at `RATE_HZ`, as RTP's timestamps are for telephone codecs.
"""

from __future__ import annotations

import hashlib

import numpy as np

from edge_agent.speakers.sound import Pcm, resampled

RATE_HZ = 8000
STEP = 160
PREFILL = 3 * STEP  # what a tap holds back before it begins: 60 ms against jitter
MOST = 15 * STEP  # more than this is a delay that no conversation bears: the oldest goes
_HISTORY = 64  # samples that the resampler needs from before
_HALF = _HISTORY // 2


class Live:
    """The voice itself: `put` what came, `end` it, and `tap` it once for each speaker before it begins."""

    def __init__(self) -> None:
        self._taps: list[Tap] = []
        self._hash = hashlib.sha256()
        self._origin: int | None = None
        self.heard_s = 0.0
        self.why: str | None = None  # it has ended: why

    def tap(self, rate_hz: int) -> Tap:
        """The sound for one speaker."""
        tap = Tap(rate_hz)
        if self.why is not None:
            tap.over = True
        self._taps.append(tap)
        return tap

    def put(self, timestamp: int, samples: Pcm) -> None:
        """Sound that begins at an RTP timestamp (32 bits, it wraps)."""
        if self._origin is None:
            self._origin = timestamp
        at = (timestamp - self._origin + 2**31) % 2**32 - 2**31
        self.heard_s += len(samples) / RATE_HZ
        self._hash.update(samples.astype("<i2").tobytes())
        for tap in self._taps:
            tap.put(at, samples)

    def end(self, why: str) -> None:
        """No more will come; the taps give what they hold, then `None`."""
        self.why = self.why or why
        for tap in self._taps:
            tap.over = True

    @property
    def sha256(self) -> str:
        """Of all that came, in the order in which it came, as 16-bit little-endian PCM."""
        return self._hash.hexdigest()


class Tap:
    """One speaker's share of a voice: sorted, filled up with silence where packets are lost."""

    def __init__(self, rate_hz: int) -> None:
        if rate_hz % RATE_HZ:
            raise ValueError(f"a live voice has {RATE_HZ} samples a second or a multiple of it, not {rate_hz}")
        self._rate_hz = rate_hz
        self._packets: dict[int, Pcm] = {}
        self._next: int | None = None  # the time that is played next
        self._history: Pcm = np.zeros(_HISTORY, np.int16)
        self.over = False

    def put(self, at: int, samples: Pcm) -> None:
        """Take a packet, unless its time is over."""
        if self._next is None or at + len(samples) > self._next:
            self._packets[at] = samples
        while self._held() > MOST:
            oldest = min(self._packets)
            gone = self._packets.pop(oldest)
            if self._next is not None:
                self._next = max(self._next, oldest + len(gone))

    def take(self) -> Pcm | None:
        """The next 20 ms at the speaker's rate; silence while nothing is there; `None` at the end."""
        if self._next is None:  # not begun, or run dry
            if self._held() < PREFILL and not (self.over and self._packets):
                return None if self.over else self._raised(np.zeros(STEP, np.int16))
            self._next = min(self._packets)
        step = np.zeros(STEP, np.int16)
        for at in sorted(self._packets):
            samples = self._packets[at]
            start, end = max(at, self._next), min(at + len(samples), self._next + STEP)
            if start < end:
                step[start - self._next : end - self._next] = samples[start - at : end - at]
            if at + len(samples) <= self._next + STEP:
                del self._packets[at]
        self._next = self._next + STEP if self._packets else None
        return self._raised(step)

    def _held(self) -> int:
        return sum(map(len, self._packets.values()))

    def _raised(self, step: Pcm) -> Pcm:
        """The step at the speaker's rate, 4 ms later: the filter looks ahead."""
        if self._rate_hz == RATE_HZ:
            return step
        up = self._rate_hz // RATE_HZ
        around = np.concatenate([self._history, step])
        self._history = around[-_HISTORY:]
        high = resampled(around.astype(np.float64), RATE_HZ, self._rate_hz)
        return np.clip(np.round(high[_HALF * up : (_HALF + STEP) * up]), -32768, 32767).astype(np.int16)
