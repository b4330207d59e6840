"""No lane starves, the shares hold under a backlog, what is new overtakes what is old, and nothing is forgotten."""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.uplink.lanes import BACKFILL, NEWEST, WEIGHTS, Lanes, Turns


class Event(NamedTuple):
    seq: int
    lane: int


class File:
    """What is on disk, as a list."""

    def __init__(self, lanes: list[int]) -> None:
        self.events = {seq: Event(seq, lane) for seq, lane in enumerate(lanes, 1)}
        self.next = len(lanes) + 1
        self.reads = 0

    def put(self, lane: int) -> int:
        self.events[self.next] = Event(self.next, lane)
        self.next += 1
        return self.next - 1

    def fetch(self, lane: int, first: int, last: int, limit: int, newest: bool) -> list[Event]:
        self.reads += 1
        span = range(last, first - 1, -1) if newest else range(first, last + 1)
        return [e for seq in span if (e := self.events.get(seq)) and e.lane == lane][:limit]

    def take(self, lanes: Lanes, limit: int, skip: tuple[int, ...] = ()) -> list[Event]:
        return lanes.take(limit, self.fetch, self.next, skip)


@given(st.integers(1, 60), st.sets(st.integers(0, 3), min_size=1))
def test_of_any_slots_in_a_row_each_lane_gets_its_share_within_one(rounds: int, there: set[int]) -> None:
    turns, without = Turns(dict(enumerate(WEIGHTS))), [lane for lane in range(4) if lane not in there]
    total = sum(WEIGHTS[lane] for lane in there)
    given = Counter(turns.next(without) for _ in range(rounds))
    for lane in there:
        assert abs(given[lane] - rounds * WEIGHTS[lane] / total) <= 1.0 + 1e-9 + len(there) / 2


def test_a_lane_that_waits_gets_a_slot_within_fifteen() -> None:
    turns = Turns(dict(enumerate(WEIGHTS)))
    slots = [turns.next() for _ in range(15 * 40)]
    for lane in range(4):
        places = [place for place, slot in enumerate(slots) if slot == lane]
        assert max(b - a for a, b in pairwise(places)) <= 15


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
@settings(deadline=None, max_examples=30)
def test_under_a_backlog_the_shares_are_8_4_2_1_however_few_are_asked_for(asked: list[int]) -> None:
    file, lanes, taken = File([0, 1, 2, 3] * 700), Lanes(), list[Event]()
    for limit in asked * 8:
        if len(taken) > 600:
            break
        taken += file.take(lanes, limit, tuple(e.seq for e in taken))
    share = Counter(event.lane for event in taken)
    for lane in range(4):
        assert abs(share[lane] - len(taken) * WEIGHTS[lane] / 15) <= 3


def test_in_lane_1_seven_of_ten_are_the_newest_and_three_the_oldest() -> None:
    file, lanes = File([1] * 1000), Lanes()
    taken = [event.seq for event in file.take(lanes, 100)]
    newest, oldest = [s for s in taken if s > 500], [s for s in taken if s <= 500]
    assert newest == list(range(1000, 1000 - 10 * NEWEST, -1))
    assert oldest == list(range(1, 10 * BACKFILL + 1))


def test_a_fresh_incident_goes_first_though_36000_wait() -> None:
    file, lanes = File([1] * 36_000), Lanes()
    out = tuple(event.seq for event in file.take(lanes, 200))
    fresh = file.put(1)
    assert fresh in [event.seq for event in file.take(lanes, 3, out)]


def test_the_other_lanes_and_a_lane_without_backlog_keep_their_order() -> None:
    file, lanes = File([2] * 50 + [1] * 20), Lanes()
    taken = file.take(lanes, 30)
    for lane in (1, 2):
        seqs = [event.seq for event in taken if event.lane == lane]
        assert seqs == sorted(seqs)


def test_what_gave_nothing_is_not_read_again_and_again() -> None:
    file, lanes = File([1] * 20_000), Lanes()
    while rows := file.take(lanes, 64):
        for event in rows:
            del file.events[event.seq]
            lanes.settle(event.seq, event.seq)
    assert not file.events
    assert file.reads < 20_000 / 64 * 4


class Sending(RuleBasedStateMachine):
    """Events come, are taken, confirmed, lost and put off, in any order: what waits is exactly what should."""

    def __init__(self) -> None:
        super().__init__()
        self.file, self.lanes = File([]), Lanes()
        self.out: set[int] = set()
        self.held: set[int] = set()

    @rule(lanes=st.lists(st.integers(0, 3), max_size=8))
    def put(self, lanes: list[int]) -> None:
        for lane in lanes:
            self.file.put(lane)

    @rule(limit=st.integers(1, 9))
    def take(self, limit: int) -> None:
        taken = [event.seq for event in self.file.take(self.lanes, limit, tuple(self.out))]
        waiting = set(self.file.events) - self.out - self.held
        assert len(taken) == len(set(taken)) == min(limit, len(waiting))
        assert set(taken) <= waiting
        self.out |= set(taken)

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        if self.out:
            seq = data.draw(st.sampled_from(sorted(self.out)))
            del self.file.events[seq]
            self.out.discard(seq)
            self.lanes.settle(seq, seq)

    @rule(data=st.data())
    def lose_one(self, data: st.DataObject) -> None:
        if self.out:
            self.out.discard(data.draw(st.sampled_from(sorted(self.out))))

    @rule()
    def lose_all(self) -> None:
        self.out.clear()

    @rule(data=st.data())
    def put_off(self, data: st.DataObject) -> None:
        if self.file.events:
            seq = data.draw(st.sampled_from(sorted(self.file.events)))
            self.out.discard(seq)
            self.held.add(seq)
            self.lanes.hold(seq)

    @rule()
    def release(self) -> None:
        self.lanes.release(self.held)
        self.held.clear()

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert self.out <= set(self.file.events)


TestSending = Sending.TestCase
