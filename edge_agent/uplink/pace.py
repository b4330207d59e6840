"""How fast and how soon: a token bucket, a chunk that fits the link, a back-off with full jitter. Pure.

`now` is the monotonic clock in seconds.
"""

from __future__ import annotations

import random

CHUNK_MIN = 16 * 1024
CHUNK_MAX = 1024 * 1024
CHUNK_S = 2.0  # what a chunk should take: it is what a cut costs at most


class Bucket:
    """A token bucket over bytes; `rate_per_s` None lets everything pass."""

    def __init__(self, rate_per_s: float | None, now: float, burst_s: float = 0.25) -> None:
        self._rate, self._at_s = rate_per_s, now
        self._burst = (rate_per_s or 0.0) * burst_s
        self._level = self._burst

    def take(self, count: int, now: float) -> float:
        """Spend `count` bytes, on credit if need be; returns how many seconds to wait before they are sent."""
        if self._rate is None:
            return 0.0
        self._level = min(self._burst, self._level + (now - self._at_s) * self._rate) - count
        self._at_s = now
        return max(0.0, -self._level / self._rate)


class Chunk:
    """How many bytes one request carries: what the link moved in `CHUNK_S` lately, half of it after a cut."""

    def __init__(self, size: int = 4 * CHUNK_MIN) -> None:
        self.size = size

    def sent(self, count: int, seconds: float) -> None:
        """A request of `count` bytes took so long; small last ones say nothing."""
        if count < self.size:
            return
        fitting = count * CHUNK_S / max(seconds, 1e-6)
        self.size = int(max(CHUNK_MIN, min(CHUNK_MAX, fitting, self.size * 2)))

    def cut(self) -> None:
        """A request did not get through."""
        self.size = max(CHUNK_MIN, self.size // 2)


def backoff_s(tries: int, rng: random.Random, base_s: float = 1.0, most_s: float = 300.0) -> float:
    """How long to wait after that many failures in a row: anything up to 1, 2, 4 … 300 s."""
    return rng.uniform(0, min(most_s, base_s * 2.0 ** min(max(tries, 1) - 1, 20)))
