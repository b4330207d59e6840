"""What `put` returned for is on the disk, is sent once confirmed never again, and nothing is lost in silence."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from edge_agent import topics
from edge_agent.messages import Reply
from edge_agent.runtime import DriverError
from edge_agent.uplink.commands import INTERRUPTED
from edge_agent.uplink.outbox import Outbox, OutboxFullError


class Seen(msgspec.Struct):
    what: str


async def ids(outbox: Outbox) -> list[str]:
    return [row.id for row in await outbox.take(10_000)]


def set_aside(directory: Path) -> list[Path]:
    return [path for path in directory.glob("events.db.damaged-*") if not path.name.endswith(("-wal", "-shm", "-mark"))]


# --- events -------------------------------------------------------------------------------------------------------


async def test_events_keep_their_order_and_their_bytes_over_a_restart(opened: Any) -> None:
    async with opened() as outbox:
        epoch = outbox.epoch
        assert [await outbox.put("det", b'{"n":%d}' % n, id=f"e{n}") for n in range(3)] == [1, 2, 3]
    async with opened() as outbox:
        assert outbox.epoch == epoch
        assert [(row.seq, row.id, row.body) for row in await outbox.take(9)] == [
            (1, "e0", b'{"n":0}'),
            (2, "e1", b'{"n":1}'),
            (3, "e2", b'{"n":2}'),
        ]


async def test_the_same_id_twice_is_one_event(opened: Any) -> None:
    async with opened() as outbox:
        assert await outbox.put("det", b"1", id="e") == await outbox.put("det", b"2", id="e") == 1
        assert [row.body for row in await outbox.take(9)] == [b"1"]


async def test_urgent_lanes_go_first_and_what_is_in_flight_is_skipped(opened: Any) -> None:
    async with opened() as outbox:
        await outbox.put("det", b"1", id="b", lane=1)
        await outbox.put("det", b"1", id="c", lane=2)
        await outbox.put("audit", b"1", id="a", lane=0)
        assert await ids(outbox) == ["a", "b", "c"]
        assert {row.id for row in await outbox.take(9, skip=[3])} == {"b", "c"}
        assert await outbox.take(9, skip=[1, 2, 3]) == []
        assert await ids(outbox) == ["a", "b", "c"]


async def test_a_picture_follows_its_event_in_one_commit(opened: Any) -> None:
    async with opened() as outbox:
        await outbox.event("det", Seen("boat"), id="01J", thumb=b"\xff\xd8jpeg")
        event, thumb = await outbox.take(9)
        assert (event.kind, event.body, event.content_type) == ("det", b'{"what":"boat"}', topics.JSON)
        assert (thumb.kind, thumb.id, thumb.body, thumb.content_type) == (
            "thumb",
            "01J/thumb",
            b"\xff\xd8jpeg",
            topics.JPEG,
        )


async def test_a_confirmed_event_is_gone_and_its_place_is_never_given_again(opened: Any) -> None:
    async with opened() as outbox:
        for n in range(6):
            await outbox.put("det", b"1", id=f"e{n}")
        await outbox.take(9)
        assert await outbox.acked(outbox.epoch, 2, [(4, 4), (6, 6)])
        assert await ids(outbox) == ["e2", "e4"]
        assert (await outbox.measure()).acked == 2
    async with opened() as outbox:
        assert await outbox.put("det", b"1", id="later") == 7
        await outbox.take(9)
        assert await outbox.acked(outbox.epoch, 7)
        assert (await outbox.measure()).acked == 7
    async with opened() as outbox:
        assert await outbox.put("det", b"1", id="last") == 8


async def test_an_acknowledgement_of_what_was_never_sent_deletes_nothing(opened: Any) -> None:
    async with opened() as outbox:
        for n in range(6):
            await outbox.put("det", b"1", id=f"e{n}", lane=2)
        assert [row.seq for row in await outbox.take(2)] == [1, 2]
        assert await outbox.acked(outbox.epoch, 6)
        assert await ids(outbox) == ["e2", "e3", "e4", "e5"]
        assert await outbox.acked(outbox.epoch, 0, [(3, 6)])
        assert await ids(outbox) == []


async def test_an_acknowledgement_of_another_epoch_deletes_nothing(opened: Any) -> None:
    async with opened() as outbox:
        await outbox.put("det", b"1", id="e")
        assert await outbox.acked(outbox.epoch - 1, 1)
        assert await outbox.acked(outbox.epoch + 1, 1)
        assert await ids(outbox) == ["e"]


async def test_a_centre_that_holds_more_than_was_ever_given_begins_a_new_epoch(opened: Any) -> None:
    async with opened() as outbox:
        before = outbox.epoch
        await outbox.put("det", b"1", id="e")
        assert not await outbox.acked(before, 40)
        assert outbox.epoch > before
        assert {row.kind for row in await outbox.take(9)} == {"det", "fault"}
        after = outbox.epoch
    async with opened() as outbox:
        assert outbox.epoch == after


async def test_an_event_that_cannot_be_taken_is_set_aside_and_leaves_a_gap_in_its_place(opened: Any) -> None:
    async with opened() as outbox:
        await outbox.put("det", b"1", id="bad")
        await outbox.nacked(1, "too large")
        await outbox.nacked(1, "too large")
        [gap] = await outbox.take(9)
        assert gap.kind == "gap"
        assert msgspec.json.decode(gap.body, type=topics.Gap) == topics.Gap(
            epoch=outbox.epoch, first=1, last=1, reason="too large"
        )
        assert (await outbox.measure()).quarantined == 1


async def test_an_event_that_is_put_off_comes_back_in_time_and_also_if_the_clock_jumps(opened: Any, clock: Any) -> None:
    async with opened() as outbox:
        await outbox.put("det", b"1", id="e")
        await outbox.put_off(1, 60.0, "not authorised")
        assert await ids(outbox) == []
        clock.wall_s += 61
        assert await ids(outbox) == ["e"]
        await outbox.put_off(1, 60.0, "not authorised")
        clock.wall_s -= 86_400
        assert await ids(outbox) == ["e"]


async def test_a_full_outbox_refuses_in_clear_words_and_has_room_again_after_an_acknowledgement(opened: Any) -> None:
    async with opened(max_mib=1) as outbox:
        with pytest.raises(OutboxFullError, match=r"1 MiB of unconfirmed events.*outbox\.max_mib"):
            for n in range(100):
                await outbox.put("audit", bytes(20_000), id=f"e{n}")
        kept = await ids(outbox)
        assert 40 < len(kept) < 52
        assert await outbox.claim("c", "recall", "op")  # a command always has room
        await outbox.answer("c", "recall", "op", Reply(state="done"))
        await outbox.acked(outbox.epoch, 10)
        await outbox.put("audit", bytes(20_000), id="again")


async def test_a_nearly_full_outbox_refuses_pictures_before_events(opened: Any) -> None:
    async with opened(max_mib=1) as outbox:
        while outbox._store.has_room(100_000, share=0.9):
            await outbox.put("det", bytes(20_000), id=os.urandom(8).hex())
        await outbox.event("det", Seen("boat"), id="01J", thumb=bytes(100_000))
        found = await ids(outbox)
        assert "01J" in found
        assert "01J/thumb" not in found


async def test_a_closed_outbox_says_so(opened: Any) -> None:
    async with opened() as outbox:
        pass
    with pytest.raises(DriverError, match="is closed"):
        await outbox.put("det", b"1", id="e")


async def test_a_burst_shares_its_commits(opened: Any) -> None:
    async with opened() as outbox:
        before = outbox._store.db.total_changes()
        began = time.monotonic()
        seqs = await asyncio.gather(*(outbox.put("det", b"1", id=f"e{n}") for n in range(2000)))
        assert sorted(seqs) == list(range(1, 2001))
        assert outbox._store.db.total_changes() > before
        assert time.monotonic() - began < 5.0  # 2,000 commits of their own would take longer on any disk


# --- the file -----------------------------------------------------------------------------------------------------


async def test_the_file_is_for_its_owner_alone(opened: Any, tmp_path: Path) -> None:
    async with opened() as outbox:
        await outbox.put("det", b"1", id="e")
        for file in tmp_path.iterdir():
            assert file.stat().st_mode & 0o077 == 0, file


async def test_a_commit_reaches_the_disk_and_not_only_its_cache(opened: Any) -> None:
    async with opened() as outbox:
        db = outbox._store.db
        assert db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert db.execute("PRAGMA synchronous").fetchall() == [(2,)]  # FULL: fsync of the log at every commit


async def test_a_second_agent_finds_the_file_taken(opened: Any) -> None:
    async with opened():
        with pytest.raises(DriverError, match="another process uses it"):
            async with opened():
                pass


async def test_a_file_of_a_newer_agent_is_left_alone(opened: Any, tmp_path: Path) -> None:
    async with opened():
        pass
    db = apsw.Connection(str(tmp_path / "events.db"))
    db.execute("UPDATE meta SET value = 3 WHERE key = 'schema'; PRAGMA user_version = 3").fetchall()
    db.close()
    with pytest.raises(DriverError, match="has schema 3, this agent knows 2"):
        async with opened():
            pass


async def test_a_flipped_bit_in_one_event_sets_the_file_aside_and_saves_the_others(
    opened: Any, tmp_path: Path, clock: Any
) -> None:
    async with opened() as outbox:
        before = outbox.epoch
        for n in range(50):
            await outbox.put("det", b'{"serial":%d}' % (1000 + n), id=f"e{n}")
    file = tmp_path / "events.db"
    content = file.read_bytes().replace(b'{"serial":1007}', b'{"serial":1017}')  # 0x30 ^ 0x01, in stale copies too
    file.write_bytes(content)
    clock.wall_s += 100
    async with opened() as outbox:
        assert outbox.epoch > before
        *found, gap, fault = sorted(await outbox.take(100), key=lambda row: row.seq)
        assert [row.id for row in found] == [f"e{n}" for n in range(50) if n != 7]
        assert (gap.kind, msgspec.json.decode(gap.body)["epoch"]) == ("gap", before)
        assert (msgspec.json.decode(gap.body)["first"], msgspec.json.decode(gap.body)["last"]) == (8, 8)
        assert fault.kind == "fault"
        assert b"1 events fail their checksum, the first is seq 8" in fault.body
    [aside] = set_aside(tmp_path)
    assert aside.read_bytes() == content


@pytest.mark.parametrize("how", ["garbage", "empty", "truncated", "torn header"])
async def test_a_file_that_is_no_database_any_more_is_set_aside(opened: Any, tmp_path: Path, how: str) -> None:
    async with opened() as outbox:
        for n in range(200):
            await outbox.put("det", bytes(500), id=f"e{n}")
    file = tmp_path / "events.db"
    content = file.read_bytes()
    damaged = {
        "garbage": random.Random(1).randbytes(9000),
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "torn header": bytes(100) + content[100:],
    }[how]
    file.write_bytes(damaged)
    async with opened() as outbox:
        assert "fault" in {row.kind for row in await outbox.take(300)}
        await outbox.put("det", b"1", id="on we go")
    [aside] = set_aside(tmp_path)
    assert aside.read_bytes() == damaged


WRITER = """
import asyncio, sys
from pathlib import Path
from edge_agent.runtime import SystemClock
from edge_agent.uplink.outbox import Outbox

async def main():
    outbox = Outbox(Path(sys.argv[1]), device="D-1", max_mib=64, clock=SystemClock())
    async def write(lane):
        n = 0
        while True:
            id = f"{sys.argv[2]}-{lane}-{n}"
            await outbox.put("det", b"x" * 300, id=id)
            print(id, flush=True)
            n += 1
    await asyncio.gather(*(write(lane) for lane in range(4)))

asyncio.run(main())
"""


async def test_events_that_are_still_in_the_log_of_a_damaged_file_are_saved_too(opened: Any, tmp_path: Path) -> None:
    async with opened() as outbox:
        for n in range(20):
            await outbox.put("det", b'{"serial":%d}' % (1000 + n), id=f"e{n}")
        left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}  # as a power cut would leave them
    assert b'{"serial":1019}' in left["events.db-wal"]
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    db = apsw.Connection(str(tmp_path / "events.db"))
    db.execute("PRAGMA wal_autocheckpoint=0; UPDATE event SET crc = 0 WHERE id = 'e3'").fetchall()
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    db.close()
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    async with opened() as outbox:
        assert {row.id for row in await outbox.take(100) if row.kind == "det"} == {f"e{n}" for n in range(20) if n != 3}


async def test_a_kill_at_any_moment_loses_nothing_that_put_returned_for(opened: Any, tmp_path: Path) -> None:
    told: set[str] = set()
    rng = random.Random(7)
    for life in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "events.db"), str(life)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout
        wanted = rng.randint(5, 300)
        with contextlib.closing(child.stdout):
            told |= {child.stdout.readline().strip() for _ in range(wanted)}
            child.send_signal(signal.SIGKILL)
            told |= {line.strip() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")}
        child.wait()
    async with opened() as outbox:
        assert told - set(await ids(outbox)) == set()
        seqs = [row.seq for row in await outbox.take(10_000)]
        assert seqs == list(range(1, len(seqs) + 1))


# --- the chain, lanes, and what gives way ---------------------------------------------------------------------------


async def test_each_row_holds_the_hash_of_the_row_before_it_over_deletes_epochs_and_restarts(opened: Any) -> None:
    async with opened() as outbox:
        for n in range(3):
            await outbox.put("det", b"{}", id=f"e{n}")
        first, second, third = await outbox.take(9)
        assert first.prev == bytes(32)
        assert (second.prev, third.prev) == (first.link(), second.link())
        await outbox.acked(outbox.epoch, 3)
        await outbox.acked(outbox.epoch, 40)  # a centre that holds too much: a new epoch
    async with opened() as outbox:
        fault, *_ = await outbox.take(9)
        assert fault.prev == third.link()
        await outbox.put("det", b"{}", id="later")
        assert sorted(await outbox.take(9), key=lambda row: row.seq)[-1].prev == fault.link()


async def test_a_row_that_rots_while_the_agent_runs_is_set_aside_and_not_sent(opened: Any) -> None:
    async with opened() as outbox:
        await outbox.put("det", b"{}", id="good")
        await outbox.put("det", b"{}", id="rotten")
        await outbox._do(lambda: outbox._store.db.execute("UPDATE event SET body = x'00' WHERE id = 'rotten'"))
        assert await ids(outbox) == ["good"]
        gap, good = await outbox.take(9)
        assert b"checksum" in gap.body
        assert good.id == "good"


async def test_an_event_goes_by_the_lane_of_its_kind(opened: Any) -> None:
    async with opened() as outbox:
        for kind in ("mission", "det", "audit"):
            await outbox.event(kind, Seen("x"), id=kind)
        await outbox.event("det", Seen("x"), id="alarm", lane=0)
        await outbox.event("det", Seen("x"), id="odd", lane=77)
        lanes = {row.id: row.lane for row in await outbox.take(9)}
        assert lanes == {"mission": 2, "det": 1, "audit": 0, "alarm": 0, "odd": 3}


async def test_at_the_quota_the_least_urgent_and_oldest_give_way_and_gaps_name_them_all(opened: Any) -> None:
    put: dict[int, str] = {}
    async with opened(max_mib=1) as outbox:
        for n in range(400):
            id = f"e{n}"
            with contextlib.suppress(OutboxFullError):  # of lane 3, once all that waits is more urgent
                put[await outbox.put("det", bytes(5_000), id=id, lane=3 - n % 3)] = id
        rows = await outbox.take(10_000)
        gaps = [msgspec.json.decode(row.body, type=topics.Gap) for row in rows if row.kind == "gap"]
        named = {seq for gap in gaps for seq in range(gap.first, gap.last + 1)}
        kept = {row.seq for row in rows}
        assert not named & kept  # what is here is never called gone
        assert set(put) - kept <= named
        assert "e398" in {row.id for row in rows}  # of lane 1
        lanes = [row.lane for row in rows if row.kind == "det"]
        assert lanes.count(1) > 30
        assert lanes.count(3) <= 1
        assert sum(int(gap.reason.split("full: ")[1].split()[0]) for gap in gaps) == len(set(put) - kept)
        assert outbox.counts["shed"] == len(set(put) - kept)


async def test_what_is_more_urgent_never_gives_way_to_what_is_less(opened: Any) -> None:
    async with opened(max_mib=1) as outbox:
        n = 0
        while outbox._store.has_room(20_000):
            await outbox.put("audit", bytes(20_000), id=f"a{n}")
            n += 1
        with pytest.raises(OutboxFullError):
            await outbox.put("mission", bytes(20_000), id="m")
        assert len(await ids(outbox)) == n


async def test_a_file_of_schema_1_is_brought_up_to_date_and_keeps_everything(opened: Any, tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "events.db"))
    db.execute(SCHEMA_1)
    body, facts = b'{"what":"boat"}', ("det", "application/json", 1795310283.5, "boot-1")
    for n in range(4):
        whole = "\0".join((f"e{n}", facts[0], facts[1], repr(facts[2]), facts[3], "")).encode() + body
        row = (f"e{n}", 1, *facts, body, zlib.crc32(whole))
        db.execute(
            "INSERT INTO event(id, lane, kind, content_type, wall_s, boot, body, crc) VALUES (?,?,?,?,?,?,?,?)", row
        )
    db.execute("DELETE FROM event WHERE id = 'e0'; UPDATE event SET state = 1, why = 'too large' WHERE id = 'e1'")
    db.execute("INSERT INTO command VALUES ('c', 'land', 'op', 1795310000.0, ?)", (b'{"state":"done"}',))
    db.close()
    async with opened() as outbox:
        assert outbox.epoch == 1_795_000_000_000
        assert [(row.seq, row.id, row.body, row.prev) for row in await outbox.take(9)] == [
            (3, "e2", body, None),
            (4, "e3", body, None),
        ]
        assert (await outbox.measure()).quarantined == 1
        assert not await outbox.claim("c", "land", "op")
        assert await outbox.put("det", body, id="new") == 5
        assert await outbox.retry() == 1
    async with opened() as outbox:
        assert [row.id for row in await outbox.take(9)] == ["e2", "e3", "new", "e1"]
        assert not set_aside(tmp_path)


async def test_a_bit_rotten_file_of_schema_1_is_salvaged(opened: Any, tmp_path: Path) -> None:
    db = apsw.Connection(str(tmp_path / "events.db"))
    db.execute(SCHEMA_1)
    db.execute(
        "INSERT INTO event(id, lane, kind, content_type, wall_s, boot, body, crc) VALUES"
        " ('e', 1, 'det', 'application/json', 1.5, 'b', x'7b7d', 7)"
    )
    db.close()
    async with opened() as outbox:
        assert [row.kind for row in await outbox.take(9)] == ["gap", "fault"]
    assert len(set_aside(tmp_path)) == 1


SCHEMA_1 = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE event(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, lane INTEGER NOT NULL, kind TEXT NOT NULL,
  content_type TEXT NOT NULL, wall_s REAL NOT NULL, boot TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0 /* 1: quarantined */, tries INTEGER NOT NULL DEFAULT 0,
  next_try_s REAL NOT NULL DEFAULT 0, why TEXT);
CREATE INDEX event_order ON event(state, lane, seq);
CREATE TABLE command(id TEXT PRIMARY KEY, name TEXT NOT NULL, by TEXT NOT NULL, wall_s REAL NOT NULL, reply BLOB)
  WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', 1), ('epoch', 1795000000000);
"""


# --- commands: exactly once, whenever the agent is killed -----------------------------------------------------------

DONE = Reply(state="done", reason="landed")


async def test_a_command_is_claimed_once(opened: Any) -> None:
    async with opened() as outbox:
        assert await outbox.claim("c", "land", "op")
        assert not await outbox.claim("c", "land", "op")
        assert await outbox.answered("c") is None
        await outbox.answer("c", "land", "op", DONE)
        assert await outbox.answered("c") == DONE


async def test_a_command_killed_before_its_answer_is_interrupted_and_never_run_again(opened: Any) -> None:
    async with opened() as outbox:
        assert await outbox.claim("c", "land", "op")
    async with opened() as outbox:
        assert not await outbox.claim("c", "land", "op")
        assert await outbox.answered("c") == INTERRUPTED
        [audit] = await outbox.take(9)
        assert audit.kind == "audit"
        assert b'"command":"c","name":"land","by":"op"' in audit.body


async def test_a_command_killed_after_its_answer_keeps_it(opened: Any) -> None:
    async with opened() as outbox:
        await outbox.claim("c", "land", "op")
        await outbox.answer("c", "land", "op", DONE)
    async with opened() as outbox:
        assert not await outbox.claim("c", "land", "op")
        assert await outbox.answered("c") == DONE


async def test_an_answer_is_forgotten_after_a_week(opened: Any, clock: Any) -> None:
    async with opened() as outbox:
        await outbox.claim("c", "land", "op")
        clock.wall_s += 6 * 86_400
        assert not await outbox.claim("c", "land", "op")
        clock.wall_s += 2 * 86_400
        assert await outbox.claim("c", "land", "op")
