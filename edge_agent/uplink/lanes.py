"""Which event is sent next: four lanes share the link by weight, and the newest of lane 1 overtake its backlog.

Pure: places are the `seq` of one epoch; what is in the file is asked through `fetch`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import Protocol, TypeVar

from edge_agent.ranges import Ranges

WEIGHTS = (8, 4, 2, 1)  # alarms, audit, faults and gaps; detections; missions and pictures; aggregates
NEWEST_LANE = 1
NEWEST, BACKFILL = 7, 3  # of ten slots of lane 1: what is new goes ahead, what is old catches up
HIST_S = 10.0  # what is older than this when it is sent is history to whoever reads it


class Placed(Protocol):
    """Whatever has a place in the stream."""

    @property
    def seq(self) -> int: ...


P = TypeVar("P", bound=Placed)
Fetch = Callable[[int, int, int, int, bool], list[P]]  # (lane, first, last, limit, newest first)


class Turns:
    """Smooth weighted round robin: in any run of slots each name gets its share, and none waits for another to end."""

    def __init__(self, weights: dict[int, int]) -> None:
        self._weights = weights
        self._credit = dict.fromkeys(weights, 0)

    def next(self, without: Collection[int] = ()) -> int:
        """Whose turn it is; one that has nothing to send keeps no credit for later."""
        there = [name for name in self._weights if name not in without]
        for name in without:
            self._credit[name] = 0
        for name in there:
            self._credit[name] += self._weights[name]
        chosen = max(there, key=lambda name: (self._credit[name], -name))
        self._credit[chosen] -= sum(self._weights[name] for name in there)
        return chosen


class Lanes:
    """The places that wait to be sent, lane by lane, and those that are out.

    Nothing is known of a place but its number, so a backlog costs no memory: a lane is a set of runs in which its
    events are still to be looked for. Lane 1 is read from both ends, the other lanes from the oldest on.
    """

    def __init__(self) -> None:
        self._waiting = [Ranges() for _ in WEIGHTS]
        self._turns = Turns(dict(enumerate(WEIGHTS)))
        self._ends = Turns({0: NEWEST, 1: BACKFILL})
        self._known = 1  # the first place that no lane has heard of
        self._out: dict[int, int] = {}  # seq -> lane
        self._held: set[int] = set()
        self._skipped: set[int] = set()  # places that the caller skips though they were never taken

    def take(self, limit: int, fetch: Fetch[P], upto: int, skip: Collection[int] = ()) -> list[P]:
        """The next events of those before place `upto`; what was taken before and is not in `skip` waits again."""
        self._hear_of(upto, frozenset(skip))
        taken: list[P] = []
        dry = {lane for lane, waiting in enumerate(self._waiting) if not waiting.runs}
        while len(taken) < limit and len(dry) < len(WEIGHTS):
            slots = [self._slot(dry) for _ in range(limit - len(taken))]
            found = {
                (lane, newest): deque(self._pull(lane, newest, count, fetch))
                for (lane, newest), count in Counter(slots).items()
            }
            taken += [found[slot].popleft() for slot in slots if found[slot]]
            dry |= {lane for lane, waiting in enumerate(self._waiting) if not waiting.runs}
        return taken if NEWEST_LANE not in dry else self._in_order(taken)

    def settle(self, first: int, last: int) -> None:
        """These places are confirmed: none of them will ever wait again."""
        if last - first < len(self._out):
            for seq in range(first, last + 1):
                self._out.pop(seq, None)
        else:
            for seq in [seq for seq in self._out if first <= seq <= last]:
                del self._out[seq]

    def hold(self, seq: int) -> None:
        """This place does not wait until `release`."""
        self._out.pop(seq, None)
        self._held.add(seq)
        for waiting in self._waiting:
            waiting.remove(seq, seq)

    def release(self, seqs: Iterable[int]) -> None:
        """These places wait again, in whichever lane they are."""
        for seq in seqs:
            self._held.discard(seq)
            for waiting in self._waiting:
                waiting.add(seq, seq)

    def _hear_of(self, upto: int, skip: frozenset[int]) -> None:
        if upto > self._known:
            for waiting in self._waiting:
                waiting.add(self._known, upto - 1)
                for seq in self._held:
                    waiting.remove(seq, seq)
            self._known = upto
        for seq in self._out.keys() - skip:
            self._waiting[self._out.pop(seq)].add(seq, seq)
        self.release(self._skipped - skip)
        self._skipped = set(skip - self._out.keys())
        for seq in self._skipped:
            self.hold(seq)

    def _in_order(self, taken: list[P]) -> list[P]:
        """Where nothing of lane 1 is left behind there is nothing to overtake: it keeps its slots, in order."""
        newest_lane = iter(sorted((e for e in taken if self._out[e.seq] == NEWEST_LANE), key=lambda event: event.seq))
        return [next(newest_lane) if self._out[event.seq] == NEWEST_LANE else event for event in taken]

    def _slot(self, dry: Collection[int]) -> tuple[int, bool]:
        lane = self._turns.next(dry)
        return lane, lane == NEWEST_LANE and self._ends.next() == 0

    def _pull(self, lane: int, newest: bool, count: int, fetch: Fetch[P]) -> list[P]:
        """Up to `count` events from one end of a lane; what was looked through is no longer waited for."""
        pulled: list[P] = []
        runs = self._waiting[lane]
        while runs.runs and len(pulled) < count:
            first, last = runs.runs[-1 if newest else 0]
            found = fetch(lane, first, last, count - len(pulled), newest)
            pulled += found
            if len(pulled) < count:
                runs.remove(first, last)
            elif newest:
                runs.remove(found[-1].seq, last)
            else:
                runs.remove(first, found[-1].seq)
        self._out.update((event.seq, lane) for event in pulled)
        return pulled
