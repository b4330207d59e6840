"""Which events are on their way: the window over the centre's acknowledgements, and when to send one again.

Pure: `now` is the monotonic clock in seconds, places are the `seq` of one epoch.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

ACK_TIMEOUT_S = 5.0
ON_ITS_WAY_S = 2.0
BACKOFF_MAX_S = 300.0


@dataclass(slots=True)
class _Flight:
    sent_s: float
    due_s: float


class Window:
    """At most `size` events are unconfirmed at a time.

    One that is not confirmed lapses after 5 s plus a back-off with full jitter (up to 5, 10, 20 … 300 s); whoever
    sends takes it from the outbox again. A centre that (re)appears says what it holds: what it does not, was lost on
    the way to a centre that was not there, and is sent again without back-off.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        self._size, self._rng = size, rng
        self._flights: dict[int, _Flight] = {}
        self._tries: dict[int, int] = {}

    @property
    def in_flight(self) -> list[int]:
        return list(self._flights)

    @property
    def room(self) -> int:
        """How many more may be sent now."""
        return self._size - len(self._flights)

    def sent(self, seq: int, now: float) -> None:
        tries = self._tries[seq] = self._tries.get(seq, 0) + 1
        backoff_s = self._rng.uniform(0, min(BACKOFF_MAX_S, ACK_TIMEOUT_S * 2.0 ** min(tries - 1, 10)))
        self._flights[seq] = _Flight(now, now + ACK_TIMEOUT_S + backoff_s)

    def lapse(self, now: float) -> list[int]:
        """Let go of what is overdue, so that it is sent again."""
        late = [seq for seq, flight in self._flights.items() if flight.due_s <= now]
        for seq in late:
            del self._flights[seq]
        return late

    def heard(self, cum: int, sel: Iterable[tuple[int, int]]) -> None:
        """The centre confirmed all places up to `cum` and the ranges `sel`."""
        for first, last in ((0, cum), *sel):
            self.settled(seq for seq in (*self._flights, *self._tries) if first <= seq <= last)

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
        """The connection is gone: nobody knows what arrived, so everything may be sent again."""
        self._flights.clear()
        self._tries.clear()

    def next_due_s(self) -> float | None:
        """When the next one lapses."""
        return min((flight.due_s for flight in self._flights.values()), default=None)
