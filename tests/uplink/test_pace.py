import random

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.pace import CHUNK_MAX, CHUNK_MIN, CHUNK_S, Bucket, Chunk, backoff_s


@given(
    rate=st.floats(1_000, 10_000_000),
    pieces=st.lists(st.tuples(st.integers(1, 20_000), st.floats(0, 0.5)), min_size=1, max_size=200),
)
def test_no_stretch_of_time_carries_more_than_the_rate_and_one_burst(
    rate: float, pieces: list[tuple[int, float]]
) -> None:
    now, sent = 0.0, 0
    bucket = Bucket(rate, now)
    for count, idle_s in pieces:
        now += idle_s
        now += bucket.take(count, now)
        sent += count
        assert sent <= rate * now + rate * 0.25 + 1


def test_a_steady_sender_gets_its_rate() -> None:
    now, bucket = 0.0, Bucket(100_000, 0.0)
    for _ in range(1000):
        now += bucket.take(16_384, now)
    assert 0.98 < 1000 * 16_384 / now / 100_000 < 1.02


def test_idle_time_is_not_saved_up_beyond_a_burst() -> None:
    bucket = Bucket(1000, 0.0)
    assert bucket.take(250, 3600.0) == 0.0
    assert bucket.take(1000, 3600.0) == 1.0


def test_without_a_rate_nothing_waits() -> None:
    assert Bucket(None, 0.0).take(10**9, 0.0) == 0.0


def test_a_chunk_grows_to_what_the_link_moves_in_its_time_and_shrinks_after_a_cut() -> None:
    chunk = Chunk()
    for _ in range(20):
        chunk.sent(chunk.size, chunk.size / 100_000)  # a link of 100 kB/s
    assert chunk.size == int(100_000 * CHUNK_S)
    for _ in range(20):
        chunk.cut()
    assert chunk.size == CHUNK_MIN
    for _ in range(20):
        chunk.sent(chunk.size, 0.0)
    assert chunk.size == CHUNK_MAX


def test_a_last_small_chunk_says_nothing_of_the_link() -> None:
    chunk = Chunk()
    before = chunk.size
    chunk.sent(10, 30.0)
    assert chunk.size == before


@given(tries=st.integers(0, 10_000), seed=st.integers())
def test_a_back_off_stays_between_nothing_and_its_most(tries: int, seed: int) -> None:
    assert 0 <= backoff_s(tries, random.Random(seed), 1.0, 60.0) <= min(60, 2 ** max(0, tries - 1))
