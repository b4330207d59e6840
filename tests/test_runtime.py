"""runtime: parts come back, newest wins, and only live loops feed the watchdog."""

import asyncio
import logging
import random
import socket
from pathlib import Path

import pytest

from edge_agent.runtime import Backoff, DriverError, Health, Latest, LoopLag, SystemClock, notify, supervise, watchdog


class JumpingClock:
    """A clock whose sleeps take no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1e9 + self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


async def fail_until_cancelled(clock: JumpingClock, lasts_s: float = 0.0) -> None:
    clock.now += lasts_s
    raise DriverError("the cable is out")


async def run_for(clock: JumpingClock, until_s: float, lasts_s: float = 0.0) -> Health:
    health = Health(clock)
    task = asyncio.get_running_loop().create_task(
        supervise("x", lambda: fail_until_cancelled(clock, lasts_s), health=health, clock=clock, rng=random.Random(1))
    )
    while clock.now < until_s:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return health


async def test_a_failing_part_is_restarted_ever_more_slowly_up_to_a_minute() -> None:
    clock = JumpingClock()
    health = await run_for(clock, 3600.0)
    pauses = [0.5 * 2**n if 0.5 * 2**n < 60 else 60.0 for n in range(len(clock.slept))]
    assert all(p / 2 <= s <= p for s, p in zip(clock.slept, pauses, strict=True))
    assert health.state["x"] == "failed: the cable is out"
    assert health.counts["x.restarts"] == len(clock.slept)


async def test_the_pause_falls_back_once_a_part_ran_longer_than_it() -> None:
    clock = JumpingClock()
    await run_for(clock, 1000.0, lasts_s=100.0)
    assert max(clock.slept) <= 0.5


async def test_full_jitter_brings_a_fleet_back_one_by_one() -> None:
    backoff, firsts, lasts = Backoff(min_s=1.0, max_s=120.0, share=0.0), [], []
    for seed in range(40):
        clock = JumpingClock()
        task = asyncio.get_running_loop().create_task(
            supervise(
                "x",
                lambda clock=clock: fail_until_cancelled(clock),
                health=Health(clock),
                clock=clock,
                rng=random.Random(seed),
                backoff=backoff,
            )
        )
        while len(clock.slept) < 12:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        firsts.append(clock.slept[0])
        lasts.append(clock.slept[11])
    for pauses, most in ((firsts, 1.0), (lasts, 120.0)):
        assert min(pauses) < most * 0.15
        assert most * 0.85 < max(pauses) <= most
        assert len({round(10 * pause / most) for pause in pauses}) >= 8


async def test_a_bug_is_not_swallowed() -> None:
    clock = JumpingClock()

    async def part() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await supervise("x", part, health=Health(clock), clock=clock)


async def test_a_part_that_returns_is_done() -> None:
    clock = JumpingClock()
    health = Health(clock)

    async def part() -> None:
        return

    await supervise("x", part, health=health, clock=clock)
    assert health.state["x"] == "stopped"


async def test_the_newest_value_wins_and_the_others_are_counted() -> None:
    channel: Latest[int] = Latest()
    for value in (1, 2, 3):
        channel.put(value)
    assert await channel.take() == 3
    assert channel.dropped == 2
    assert channel.peek() == 3
    channel.put(4)
    assert await channel.take() == 4
    assert channel.dropped == 2


def test_a_change_of_health_is_logged_once_on_each_edge(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(JumpingClock())
    with caplog.at_level(logging.INFO):
        for state in ("running", "running", "failed: x", "failed: x", "failed: x", "running"):
            health.set("camera", state)
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING", "INFO"]


async def test_only_live_loops_feed_the_watchdog() -> None:
    clock = JumpingClock()
    health = Health(clock)
    sent: list[float] = []

    def send(message: str) -> bool:
        assert message == "WATCHDOG=1"
        sent.append(clock.now)
        return True

    health.beat("pilot", 5.0)
    task = asyncio.get_running_loop().create_task(watchdog(health, clock, 1.0, send))
    while clock.now < 20:
        await asyncio.sleep(0)
    task.cancel()
    assert sent
    assert max(sent) <= 5.0  # the pilot's loop owed a beat by then, and gave none


async def test_a_loop_that_rests_owes_nothing() -> None:
    clock = JumpingClock()
    health = Health(clock)
    health.beat("detector", 1.0)
    health.rest("detector")
    clock.now = 100.0
    assert health.stuck() == []


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_by_one_datagram(tmp_path: Path, abstract: bool) -> None:
    address = f"@edge-agent-test-{tmp_path.name}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + address[1:] if abstract else address)
        assert notify("READY=1", address)
        assert systemd.recv(100) == b"READY=1"
    assert not notify("READY=1", "")
    assert not notify("READY=1", str(tmp_path / "nobody"))


async def test_loop_lag_sees_a_blocked_loop() -> None:
    clock = SystemClock()
    lag = LoopLag(clock, period_s=0.01)
    task = asyncio.get_running_loop().create_task(lag.run())
    await asyncio.sleep(0.05)
    end = clock.monotonic() + 0.2
    while clock.monotonic() < end:
        pass
    await asyncio.sleep(0.05)
    task.cancel()
    assert lag.p99_ms() >= 100


async def test_one_failure_that_repeats_is_one_line_and_its_end_another(caplog: pytest.LogCaptureFixture) -> None:
    clock = JumpingClock()
    with caplog.at_level(logging.INFO):
        health = await run_for(clock, 600.0)
        assert [r.getMessage() for r in caplog.records] == ["x: running", "x: failed: the cable is out"]
        health.trying("x")
        health.settle()
        assert health.state["x"].startswith("failed")  # it may fail again at once
        clock.now += 5.0
        health.settle()
    assert caplog.records[-1].getMessage() == "x: running"
