"""Telemetry of an outage: by the minute, bounded, expendable, and told later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.messages import Telemetry
from edge_agent.runtime import Health
from edge_agent.topics import Summary
from edge_agent.uplink import tele as module
from edge_agent.uplink.disk import Pressure
from edge_agent.uplink.minutes import Minutes
from edge_agent.uplink.tele import Tele

VALUES = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 900), VALUES), max_size=60))
def test_every_sample_is_in_one_minute_and_means_are_within_bounds(
    samples: list[tuple[str, float, float]],
) -> None:
    minutes, told = Minutes(), []
    for group, wall_s, value in sorted(samples, key=lambda sample: sample[1]):
        minutes.add(group, wall_s, {"x": value, "mode": "AUTO", "none": None})
        told += minutes.closed(wall_s)
    told += minutes.closed(2000.0)
    assert sum(summary.count for _, summary in told) == len(samples)
    assert len({(start_s, summary.group) for start_s, summary in told}) == len(told)
    for _, summary in told:
        spread = summary.spread["x"]  # type: ignore[index]
        assert spread.min <= spread.mean <= spread.max
        assert summary.last["mode"] == "AUTO" and "none" not in summary.last


def test_a_clock_that_steps_back_closes_the_minute_it_was_in() -> None:
    minutes = Minutes()
    minutes.add("pos", 7200.0, {"x": 1})
    [(start_s, summary)] = minutes.closed(10.0)
    assert (start_s, summary.count, summary.began) == (7200.0, 1, "1970-01-01T02:00:00.000Z")


class Paced:
    """A clock that goes on by one sleep at a time, when it is told to."""

    def __init__(self) -> None:
        self.wall_s, self.asleep = 1_795_310_280.0, asyncio.Event()
        self._next = asyncio.Semaphore(0)

    def wall(self) -> float:
        return self.wall_s

    def monotonic(self) -> float:
        return self.wall_s

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self._next.acquire()
        self.wall_s += seconds

    async def step(self) -> None:
        """Let one sleep end, and wait for the next to begin."""
        async with asyncio.timeout(30):
            await self.asleep.wait()
            self.asleep.clear()
            self._next.release()
            await self.asleep.wait()


class Outage:
    """A device without a link, whose outbox and disk the test plays."""

    def __init__(self, directory: Path) -> None:
        clock = Paced()
        self.clock, self.health, self.file = clock, Health(clock), directory / "tele.db"
        self.up, self.pressure = False, Pressure.NONE
        self.told: list[tuple[str, Summary, int, float]] = []
        self.began()

    def began(self) -> None:
        facts: dict[str, Any] = {"clock": self.clock, "health": self.health}
        self.tele = Tele(self.file, "D", self.put, ready=lambda: self.up, pressure=lambda: self.pressure, **facts)

    async def put(self, kind: str, body: bytes, *, id: str, lane: int, wall_s: float) -> int:
        assert kind == "tele"
        self.told.append((id, msgspec.json.decode(body, type=Summary), lane, wall_s))
        return len(self.told)

    async def minutes(self, count: int) -> None:
        """So many minutes go by, with a sample at every look; then the part is stopped."""
        self.clock.asleep.clear()
        part = asyncio.create_task(self.tele.run())
        for _ in range(int(count * 60 / module.LOOK_S)):
            self.tele.add("pos", Telemetry(at_s=0.0, armed=True, mode="AUTO", alt_m=20.0))
            await self.clock.step()
        part.cancel()
        await asyncio.gather(part, return_exceptions=True)


@pytest.fixture
async def outage(tmp_path: Path) -> Outage:
    return Outage(tmp_path)


async def test_what_found_no_link_is_told_once_it_is_back_also_after_a_restart(outage: Outage) -> None:
    await outage.minutes(3)
    assert outage.told == []
    outage.up = True
    outage.began()
    await outage.minutes(1)
    ids = [id for id, *_ in outage.told]
    assert len(ids) == len(set(ids)) == 4 and ids == sorted(ids)
    assert [summary.count for _, summary, *_ in outage.told] == [12] * 4
    assert {(lane, summary.group) for _, summary, lane, _ in outage.told} == {(3, "pos")}
    assert all(summary.last["alt_m"] == 20.0 for _, summary, *_ in outage.told)


async def test_no_more_than_a_week_is_kept_and_the_oldest_goes(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP", 2)
    await outage.minutes(4)
    outage.up = True
    await outage.minutes(1)
    assert (len(outage.told), outage.health.counts["tele.shed"]) == (3, 2)


async def test_it_goes_first_when_the_disk_is_short(outage: Outage) -> None:
    await outage.minutes(2)
    outage.pressure = Pressure.URGENT_ONLY
    await outage.minutes(1)
    outage.pressure, outage.up = Pressure.NONE, True
    await outage.minutes(1)
    assert (len(outage.told), outage.health.counts["tele.shed"]) == (1, 3)


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000, b"SQLite format 3\0" + bytes(5000)])
async def test_a_damaged_file_is_begun_anew(outage: Outage, damage: bytes) -> None:
    outage.file.write_bytes(damage)
    await outage.minutes(1)
    outage.up = True
    await outage.minutes(1)
    assert len(outage.told) == 2
