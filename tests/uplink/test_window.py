"""The window over acknowledgements: nothing is sent twice at once, nothing is forgotten, nothing is sent too often."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.uplink.window import ACK_TIMEOUT_S, BACKOFF_MAX_S, ON_ITS_WAY_S, Window


class Sender(RuleBasedStateMachine):
    """A sender of 40 events over a link where anything may get lost, against a plain set of what is confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.window = Window(5, random.Random(1))
        self.confirmed: set[int] = set()
        self.sent_s: dict[int, float] = {}

    @rule(count=st.integers(1, 10))
    def send(self, count: int) -> None:
        self.window.lapse(self.now)
        waiting = [seq for seq in range(1, 41) if seq not in self.confirmed and seq not in self.window.in_flight]
        for seq in waiting[: min(count, self.window.room)]:
            if seq in self.sent_s:
                assert self.now - self.sent_s[seq] >= ACK_TIMEOUT_S - 1e-6
            self.window.sent(seq, self.now)
            self.sent_s[seq] = self.now

    @rule(cum=st.integers(0, 40), first=st.integers(1, 40), length=st.integers(0, 5))
    def ack(self, cum: int, first: int, length: int) -> None:
        self.window.heard(cum, [(first, first + length)])
        self.confirmed |= set(range(1, cum + 1)) | set(range(first, first + length + 1))

    @rule()
    def centre_appears(self) -> None:
        self.window.missing()
        self.sent_s = {seq: sent_s - ACK_TIMEOUT_S + ON_ITS_WAY_S for seq, sent_s in self.sent_s.items()}

    @rule()
    def link_breaks(self) -> None:
        self.window.lost()
        self.sent_s.clear()

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_more_than_its_size(self) -> None:
        assert 0 <= len(self.window.in_flight) <= 5
        assert self.window.room == 5 - len(self.window.in_flight)

    @invariant()
    def what_is_confirmed_is_not_in_flight(self) -> None:
        assert not self.confirmed & set(self.window.in_flight)

    @invariant()
    def everything_in_flight_lapses_in_the_end(self) -> None:
        due_s = self.window.next_due_s()
        assert (due_s is None) == (not self.window.in_flight)
        assert due_s is None or due_s <= self.now + ACK_TIMEOUT_S + BACKOFF_MAX_S


TestSender = Sender.TestCase


@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_the_wait_grows_with_every_try_and_has_an_end(tries: int, rng: random.Random) -> None:
    window, now = Window(1, rng), 0.0
    for attempt in range(tries):
        window.sent(7, now)
        due_s = window.next_due_s()
        assert due_s is not None
        most_s = ACK_TIMEOUT_S + min(BACKOFF_MAX_S, ACK_TIMEOUT_S * 2**attempt)
        assert ACK_TIMEOUT_S - 1e-6 <= due_s - now <= most_s + 1e-6
        now = due_s
        assert window.lapse(now) == [7]
        assert window.in_flight == []


def test_a_centre_that_holds_less_ends_the_back_off_but_not_at_once() -> None:
    window, now = Window(10, random.Random(3)), 0.0
    for _ in range(8):
        window.sent(1, now)
        now = window.next_due_s() or now
        window.lapse(now)
    window.sent(1, now)
    window.missing()
    assert window.next_due_s() == pytest.approx(now + ON_ITS_WAY_S)


def test_a_centre_that_answers_but_never_takes_an_event_does_not_speed_it_up() -> None:
    window, now, sends = Window(10, random.Random(3)), 0.0, 0
    while now < 3600:
        window.lapse(now)
        if not window.in_flight:
            window.sent(1, now)
            sends += 1
        window.heard(0, [(2, 9)])
        now += 1.0
    assert sends < 60


def test_a_new_connection_may_send_everything_again() -> None:
    window = Window(2, random.Random(1))
    window.sent(1, 0.0)
    window.sent(2, 0.0)
    assert window.room == 0
    window.lost()
    assert window.room == 2


class Link:
    """A way to the centre and back: so long, and no more than so many a second through its narrowest place."""

    def __init__(self, rtt_s: float, rate: float, size: int = 1000) -> None:
        self.window, self.rtt_s, self.rate = Window(size, random.Random(1)), rtt_s, rate
        self.now, self.seq, self.free_s = 0.0, 0, 0.0
        self.due: list[tuple[float, int]] = []
        self.delays: list[float] = []
        self.confirmed = 0

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            for _ in range(self.window.room):
                self.seq += 1
                self.window.sent(self.seq, self.now)
                self.free_s = max(self.free_s, self.now) + 1 / self.rate
                self.due.append((self.free_s + self.rtt_s, self.seq))
                self.delays.append(self.free_s - self.now)
            ripe = [seq for due, seq in self.due if due <= self.now]
            self.due = [(due, seq) for due, seq in self.due if due > self.now]
            if ripe:
                self.confirmed += len(ripe)
                self.window.heard(0, [(ripe[0], ripe[-1])], self.now)
            self.now += 0.01


def test_the_window_opens_to_what_a_long_fast_link_carries() -> None:
    link = Link(rtt_s=0.1, rate=5000)
    link.run(2)
    before = link.confirmed
    link.run(2)
    assert (link.confirmed - before) / 2 >= 3000
    assert link.window.limit > 300


def test_a_slow_link_is_kept_busy_but_what_is_new_does_not_wait_behind_a_queue_for_long() -> None:
    link = Link(rtt_s=0.3, rate=20)
    link.run(60)
    link.delays.clear()
    before = link.confirmed
    link.run(120)
    assert (link.confirmed - before) / 120 >= 0.9 * 20
    assert sorted(link.delays)[len(link.delays) // 2] < 3.5


def test_the_window_never_opens_beyond_its_size_and_closes_with_the_connection() -> None:
    link = Link(rtt_s=0.1, rate=100_000, size=150)
    link.run(3)
    assert link.window.limit == 150
    link.window.lost()
    assert link.window.limit == 64


def test_a_long_way_is_waited_for_and_not_taken_for_a_loss() -> None:
    link = Link(rtt_s=4.0, rate=1000, size=20)
    link.run(60)
    link.window.sent(10**6, link.now)
    assert link.window.srtt_s == pytest.approx(4.0, abs=0.2)
    due_s = max(flight.due_s for flight in link.window._flights.values())
    assert due_s - link.now >= 3 * 3.9


def test_a_repeat_says_nothing_of_how_long_the_way_is() -> None:
    window = Window(10, random.Random(1))
    window.sent(1, 0.0)
    assert window.lapse(100.0) == [1]
    window.sent(1, 100.0)
    window.heard(1, [], 100.01)
    assert window.srtt_s is None
