"""An outbox on a temporary disk, under a clock that the test turns."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_agent.uplink.outbox import Outbox


class HandClock:
    """Monotonic and wall time that move only when told to."""

    def __init__(self) -> None:
        self.now_s, self.wall_s = 1000.0, 1_795_310_283.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.wall_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.wall_s += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def opened(tmp_path: Path, clock: HandClock) -> Callable[..., object]:
    """`async with opened() as outbox`: the same file each time, closed in the end."""

    @asynccontextmanager
    async def open_and_close(max_mib: int = 8) -> AsyncIterator[Outbox]:
        outbox = Outbox(tmp_path / "events.db", device="D-1", max_mib=max_mib, clock=clock)
        try:
            yield outbox
        finally:
            await outbox.close()

    return open_and_close
