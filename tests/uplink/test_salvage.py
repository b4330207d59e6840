"""Whatever one bit or a torn log does to the file: an event that `put` returned for is kept, or a record names it."""

import asyncio
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec
import pytest

from edge_agent import topics
from edge_agent.messages import Reply
from edge_agent.runtime import SystemClock
from edge_agent.uplink.outbox import Outbox
from edge_agent.uplink.salvage import carve, salvage


class Left(NamedTuple):
    """What an agent that was killed left on the disk, and what it had been promised for."""

    directory: Path
    epoch: int
    kept: dict[str, int]  # id -> seq


def opened(directory: Path) -> Outbox:
    return Outbox(directory / "events.db", device="D-1", max_mib=8, clock=SystemClock())


@pytest.fixture(scope="module")
def left(tmp_path_factory: Any) -> Left:
    """Events of all sizes, some confirmed, some in the file and some only in its log."""
    directory, work = tmp_path_factory.mktemp("left"), tmp_path_factory.mktemp("work")

    async def make() -> tuple[int, dict[str, int]]:
        outbox, rng = opened(work), random.Random(5)
        kept: dict[str, int] = {}
        for n in range(260):
            body = b'{"n":%d,"pad":"%s"}' % (n, b"x" * rng.choice([10, 300, 300, 900, 9000]))
            kept[f"e{n:04}"] = await outbox.put("det", body, id=f"e{n:04}", lane=n % 4)
            if n == 60:
                await outbox.take(1000)
                await outbox.acked(outbox.epoch, 40, [(45, 50)])
                kept = {id: seq for id, seq in kept.items() if seq > 50 or 40 < seq < 45}
            if n == 200:
                await outbox.claim("c1", "fly", "op")
                await outbox.answer("c1", "fly", "op", Reply(state="done"))
        for file in work.iterdir():
            shutil.copy(file, directory)
        epoch = outbox.epoch
        await outbox.close()
        return epoch, kept

    epoch, kept = asyncio.run(make())
    assert (directory / "events.db-wal").stat().st_size > 100_000
    return Left(directory, epoch, kept)


@pytest.fixture
def copies(left: Left, tmp_path: Path) -> Iterator[Path]:
    for file in left.directory.iterdir():
        shutil.copy(file, tmp_path)
    yield tmp_path


def unexplained(left: Left, directory: Path) -> set[str]:
    """The ids that are neither there nor named by a gap; all of them must be either."""

    async def look() -> set[str]:
        outbox = opened(directory)
        try:
            rows = await outbox.take(10_000)
        finally:
            await outbox.close()
        gaps = [msgspec.json.decode(row.body, type=topics.Gap) for row in rows if row.kind == "gap"]
        named = {n for gap in gaps if gap.epoch == left.epoch for n in range(gap.first, gap.last + 1)}
        assert not named or any(row.kind == "fault" for row in rows)
        there = {row.id for row in rows}
        return {id for id, seq in left.kept.items() if id not in there and seq not in named}

    return asyncio.run(look())


def flip(file: Path, rng: random.Random, bits: int = 1) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(bits):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def test_what_a_kill_left_is_whole(left: Left, copies: Path) -> None:
    assert unexplained(left, copies) == set()
    assert not list(copies.glob("*.damaged-*"))


MANY = pytest.param(range(100), marks=pytest.mark.integration, id="many")  # of each: too slow for `make check`


@pytest.mark.parametrize("part", ["", "-wal"])
@pytest.mark.parametrize("seeds", [pytest.param(range(100, 108), id="few"), MANY])
def test_a_flipped_bit_loses_nothing_in_silence(left: Left, tmp_path: Path, part: str, seeds: range) -> None:
    for seed in seeds:
        directory = tmp_path / str(seed)
        shutil.copytree(left.directory, directory)
        flip(directory / f"events.db{part}", random.Random(seed), bits=1 + seed % 3)
        assert unexplained(left, directory) == set(), f"seed {seed}"
        shutil.rmtree(directory)


@pytest.mark.parametrize("seeds", [pytest.param(range(100, 105), id="few"), MANY])
def test_a_log_torn_anywhere_loses_nothing_in_silence(left: Left, tmp_path: Path, seeds: range) -> None:
    for seed in seeds:
        directory = tmp_path / str(seed)
        shutil.copytree(left.directory, directory)
        log = directory / "events.db-wal"
        log.write_bytes(log.read_bytes()[: random.Random(seed).randrange(log.stat().st_size)])
        assert unexplained(left, directory) == set(), f"seed {seed}"
        shutil.rmtree(directory)


def test_events_in_a_log_that_sqlite_gives_up_are_carved_out_of_it(left: Left, copies: Path) -> None:
    """One bit in the first frame: SQLite drops the whole log without a word."""
    log = copies / "events.db-wal"
    content = bytearray(log.read_bytes())
    content[32 + 24 + 100] ^= 1
    log.write_bytes(content)
    found = salvage(copies / "events.db")
    missing = set(left.kept) - {row.id for row in found.rows}
    assert len(missing) <= 12, missing  # at most what stood on the page that the bit is on
    assert unexplained(left, copies) == set()


def test_carving_finds_what_sqlite_reads(left: Left, copies: Path) -> None:
    db = apsw.Connection(str(copies / "events.db"))
    read = {row[0] for row in db.execute("SELECT seq FROM event")}
    db.close()  # the log is in the file now
    assert read <= {row.seq for row in carve(copies / "events.db")}


def test_a_command_from_a_damaged_file_is_not_carried_out_again(left: Left, copies: Path) -> None:
    db = apsw.Connection(str(copies / "events.db"))
    db.execute("UPDATE event SET crc = 1 WHERE id = 'e0100'")
    db.close()

    async def again() -> tuple[bool, Reply | None]:
        outbox = opened(copies)
        try:
            return await outbox.claim("c1", "fly", "op"), await outbox.answered("c1")
        finally:
            await outbox.close()

    assert asyncio.run(again()) == (False, Reply(state="done"))


def test_the_chain_goes_on_over_a_salvage(left: Left, copies: Path) -> None:
    db = apsw.Connection(str(copies / "events.db"))
    db.execute("UPDATE event SET crc = 1 WHERE id = 'e0100'")
    [(tip,)] = db.execute("SELECT value FROM meta WHERE key = 'tip'").fetchall()
    db.close()

    async def first() -> Any:
        outbox = opened(copies)
        try:
            return min(await outbox.take(10_000), key=lambda row: row.seq)
        finally:
            await outbox.close()

    row = asyncio.run(first())
    assert row.seq == 1
    assert row.prev is not None
    assert row.prev.hex().encode() in tip
