"""A real file system of 16 MiB that fills up: the outbox never wedges, and what is urgent still finds room."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from edge_agent import topics
from edge_agent.messages import Reply
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.uplink.outbox import Outbox

pytestmark = pytest.mark.integration


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of 16 MiB without a reserve for root, mounted by loop."""
    image, where = tmp_path / "disk.img", tmp_path / "disk"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * 2**20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, where], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted by loop here: {getattr(error, 'stderr', error)!r}")
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


@asynccontextmanager
async def opened(directory: Path, ballast_mib: int) -> AsyncIterator[Outbox]:
    outbox = Outbox(directory / "events.db", device="D-1", max_mib=64, ballast_mib=ballast_mib, clock=SystemClock())
    try:
        yield outbox
    finally:
        await outbox.close()


def fill(directory: Path) -> Path:
    """Take every free block, as a runaway log would."""
    filler = directory / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (2**20, 4096, 512):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    assert os.statvfs(directory).f_bavail <= 2
    return filler


async def put_many(outbox: Outbox, name: str, count: int) -> tuple[list[str], list[str]]:
    kept, refused = [], []
    for n in range(count):
        id = f"{name}-{n}"
        try:
            await outbox.put("det", bytes(2000), id=id)
            kept.append(id)
        except DriverError:
            refused.append(id)
    return kept, refused


async def test_without_ballast_a_full_disk_refuses_and_comes_back(small: Path) -> None:
    async with opened(small, 0) as outbox:
        kept, _ = await put_many(outbox, "before", 200)
        filler = fill(small)
        more, refused = await put_many(outbox, "during", 3000)
        assert refused, "the disk was never full"
        with pytest.raises(DriverError, match="disk is full"):
            await outbox.put("audit", bytes(2000), id="urgent")
        filler.unlink()
        await outbox.put("audit", bytes(2000), id="urgent")
        there = {row.id for row in await outbox.take(10_000)}
        assert {*kept, *more, "urgent"} <= there


async def test_with_ballast_alarms_answers_and_confirmations_go_on_on_a_full_disk(small: Path) -> None:
    async with opened(small, 4) as outbox:
        assert outbox.ballast == "held"
        kept, _ = await put_many(outbox, "before", 500)
        filler = fill(small)
        more, _ = await put_many(outbox, "during", 3000)
        assert outbox.ballast == "gone"
        for n in range(100):
            await outbox.put("audit", bytes(500), id=f"urgent-{n}")
        assert await outbox.claim("c", "recall", "op")
        await outbox.answer("c", "recall", "op", Reply(state="done"))

        rows = await outbox.take(10_000)
        gaps = [msgspec.json.decode(row.body, type=topics.Gap) for row in rows if row.kind == "gap"]
        named = {seq for gap in gaps for seq in range(gap.first, gap.last + 1)}
        there = {row.id for row in rows}
        lost = [id for id in (*kept, *more) if id not in there]
        assert len(named) == len(lost) > 0  # older ones gave way to newer ones, and every one is named
        assert not named & {row.seq for row in rows}
        assert {f"urgent-{n}" for n in range(100)} <= there

        await outbox.acked(outbox.epoch, max(row.seq for row in rows))
        assert (await outbox.measure()).depth == 0
        filler.unlink()
        async with asyncio.timeout(30):
            while outbox.ballast != "held":
                await asyncio.sleep(0.1)
        assert not (await put_many(outbox, "after", 500))[1]


async def test_a_start_on_a_full_disk_is_possible_with_the_ballast_and_named_without(small: Path) -> None:
    async with opened(small, 4) as outbox:
        await put_many(outbox, "before", 300)
    fill(small)
    async with opened(small, 4) as outbox:
        await outbox.put("audit", b"{}", id="urgent")
        assert len(await outbox.take(1000)) == 301
    async with opened(small, 4) as outbox:
        assert len(await outbox.take(1000)) == 301
