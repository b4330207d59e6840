"""Which events are on their way: the window over the centre's acknowledgements, and when to send one again.

Pure: `now` is the monotonic clock in seconds, places are the `seq` of one epoch.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.ranges import ranges

ACK_TIMEOUT_S = 5.0
ON_ITS_WAY_S = 2.0
BACKOFF_MAX_S = 300.0
START = 64  # in flight on a new connection
FLOOR = 8
QUEUE_S = 1.0  # of waiting in some queue on the way is enough: a new incident would wait as long
SHRINK = 0.7
FORGET_S = 30.0  # the shortest way of the last so many seconds, and of as many before them, is what the link can do


@dataclass(slots=True)
class _Flight:
    sent_s: float
    due_s: float


class Window:
    """At most `size` events are unconfirmed at a time, and fewer while the link queues them.

    It opens by what is confirmed, so it doubles with every round trip, and it closes by a third when confirmations
    take a second longer than the best of late: a slow link is kept busy, but what is new need not wait behind a queue.

    One that is not confirmed lapses after 5 s, or three round trips where that is more, plus a back-off with full
    jitter (up to 5, 10, 20 … 300 s); whoever sends takes it from the outbox again. A centre that (re)appears says what
    it holds: what it does not, was lost on the way to a centre that was not there, and is sent again without back-off.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        self._size, self._rng = size, rng
        self._limit = min(START, size)
        self._flights: dict[int, _Flight] = {}
        self._tries: dict[int, int] = {}
        self.srtt_s: float | None = None
        self._best_s, self._best_before_s, self._best_since_s = float("inf"), float("inf"), 0.0
        self._shrunk_until_s = float("-inf")

    @property
    def in_flight(self) -> list[int]:
        return list(self._flights)

    @property
    def limit(self) -> int:
        """How many may be unconfirmed at present."""
        return self._limit

    @property
    def room(self) -> int:
        """How many more may be sent now."""
        return max(0, self._limit - len(self._flights))

    def sent(self, seq: int, now: float) -> None:
        tries = self._tries[seq] = self._tries.get(seq, 0) + 1
        backoff_s = self._rng.uniform(0, min(BACKOFF_MAX_S, ACK_TIMEOUT_S * 2.0 ** min(tries - 1, 10)))
        timeout_s = max(ACK_TIMEOUT_S, 3 * (self.srtt_s or 0.0))
        self._flights[seq] = _Flight(now, now + timeout_s + backoff_s)

    def lapse(self, now: float) -> list[int]:
        """Let go of what is overdue, so that it is sent again."""
        late = [seq for seq, flight in self._flights.items() if flight.due_s <= now]
        for seq in late:
            del self._flights[seq]
        return late

    def heard(self, cum: int, sel: Iterable[tuple[int, int]], now: float | None = None) -> list[int]:
        """The centre confirmed all places up to `cum` and the ranges `sel`; with `now` the window learns from it.

        Returns those that were on their way.
        """
        full = len(self._flights) >= self._limit
        chosen = ranges(sel)
        confirmed = [seq for seq in self._flights.keys() | self._tries if seq <= cum or seq in chosen]
        once = [seq for seq in confirmed if seq in self._flights and self._tries.get(seq) == 1]  # Karn: not a repeat
        took_s = None if now is None else min((now - self._flights[seq].sent_s for seq in once), default=None)
        self.settled(confirmed)
        if now is not None and took_s is not None:
            self._learn(took_s, len(once) if full else 0, now)
        return confirmed

    def _learn(self, took_s: float, more: int, now: float) -> None:
        self.srtt_s = took_s if self.srtt_s is None else 0.875 * self.srtt_s + 0.125 * took_s
        if now - self._best_since_s > FORGET_S:
            self._best_before_s, self._best_s, self._best_since_s = self._best_s, took_s, now
        self._best_s = min(self._best_s, took_s)
        if took_s <= min(self._best_s, self._best_before_s) + QUEUE_S:
            self._limit = min(self._size, self._limit + more)
        elif now >= self._shrunk_until_s:
            self._limit = max(min(FLOOR, self._size), int(self._limit * SHRINK))
            self._shrunk_until_s = now + took_s

    def missing(self) -> None:
        """The centre holds nothing of what is still in flight; what was sent just now may yet reach it."""
        for seq, flight in self._flights.items():
            flight.due_s = min(flight.due_s, flight.sent_s + ON_ITS_WAY_S)
            self._tries[seq] = 1

    def settled(self, seqs: Iterable[int]) -> None:
        """These need no more sending now: confirmed, set aside or put off."""
        for seq in list(seqs):
            self._flights.pop(seq, None)
            self._tries.pop(seq, None)

    def lost(self) -> None:
        """The connection is gone: nobody knows what arrived, so everything may be sent again, a little at first."""
        self._flights.clear()
        self._tries.clear()
        self._limit = min(START, self._size)

    def next_due_s(self) -> float | None:
        """When the next one lapses."""
        return min((flight.due_s for flight in self._flights.values()), default=None)
