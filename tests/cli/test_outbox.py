"""`edge-agent outbox`: what it shows is what the file holds, beside a writer too; damage is named by its place."""

import asyncio
import json
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge_agent.cli import main
from edge_agent.runtime import SystemClock
from edge_agent.uplink.outbox import Outbox


def made(directory: Path, *, bad: tuple[int, ...] = (), events: int = 6) -> None:
    async def make() -> None:
        outbox = Outbox(directory / "events.db", device="D-1", max_mib=4, clock=SystemClock())
        for n in range(events):
            await outbox.put("det", b'{"n":%d}' % n, id=f"e{n}", wall_s=1_795_310_283.0 + n)
        await outbox.put("thumb", b"\xff\xd8\xff", id="e0/thumb", content_type="image/jpeg")
        for seq in bad:
            await outbox.nacked(seq, "too large")
        await outbox.close()

    asyncio.run(make())


def outbox(*args: str) -> int:
    return main(["outbox", *args])


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def where(tmp_path: Path) -> tuple[str, str]:
    return "--data-dir", str(tmp_path)


def test_stats_tell_what_waits_lane_by_lane(tmp_path: Path, where: Any, capsys: Any) -> None:
    made(tmp_path, bad=(2,))
    assert outbox("stats", "--json", *where) == 0
    [stats] = lines(capsys.readouterr().out)
    assert (stats["depth"], stats["lanes"], stats["quarantined"], stats["next"]) == (7, [1, 5, 1, 0], 1, 9)
    assert outbox("stats", *where) == 0
    assert "lanes:       1, 5, 1, 0" in capsys.readouterr().out


def test_tail_shows_the_newest_and_why_something_was_set_aside(tmp_path: Path, where: Any, capsys: Any) -> None:
    made(tmp_path, bad=(2,))
    assert outbox("tail", "-n", "3", "--json", *where) == 0
    assert [row["seq"] for row in lines(capsys.readouterr().out)] == [6, 7, 8]
    assert outbox("tail", "--quarantined", *where) == 0
    shown = capsys.readouterr().out
    assert "e1" in shown
    assert "too large" in shown


def test_an_export_holds_every_event_and_replaces_nothing_unasked(tmp_path: Path, where: Any, capsys: Any) -> None:
    made(tmp_path, bad=(2,))
    file = tmp_path / "all.jsonl"
    assert outbox("export", str(file), *where) == 0
    rows = lines(file.read_text())
    assert [row["seq"] for row in rows] == list(range(1, 9))
    assert rows[0]["data"] == {"n": 0}
    assert rows[6]["base64"] == "/9j/"
    assert rows[1]["quarantined"] is True
    assert outbox("export", str(file), *where) == 69
    assert "exists" in capsys.readouterr().err
    assert outbox("export", str(file), "--force", "--quarantined", *where) == 0
    assert [row["id"] for row in lines(file.read_text())] == ["e1"]


def test_a_retry_gives_what_was_set_aside_a_new_place(tmp_path: Path, where: Any, capsys: Any) -> None:
    made(tmp_path, bad=(2, 4))
    assert outbox("retry", "--dry-run", "--json", *where) == 0
    assert lines(capsys.readouterr().out) == [{"retried": 0, "ids": ["e1", "e3"], "dry_run": True}]
    assert outbox("retry", "e3", "--json", *where) == 0
    assert lines(capsys.readouterr().out)[0]["retried"] == 1
    assert outbox("retry", "e3", *where) == 69
    assert "e3: not set aside" in capsys.readouterr().err
    assert outbox("tail", "--json", *where) == 0
    assert (lambda row: (row["id"], row["seq"]))(lines(capsys.readouterr().out)[-1]) == ("e3", 10)
    assert outbox("retry", *where) == 0
    assert outbox("retry", *where) == 1
    assert outbox("verify", *where) == 0


def test_verify_names_the_first_place_where_a_row_was_changed(tmp_path: Path, where: Any, capsys: Any) -> None:
    made(tmp_path)
    assert outbox("verify", *where) == 0
    db = apsw.Connection(str(tmp_path / "events.db"))
    db.execute("""UPDATE event SET body = '{"n":9}' WHERE seq = 3""")
    db.close()
    assert outbox("verify", "--json", *where) == 1
    [told] = lines(capsys.readouterr().out.splitlines()[-1])
    assert told["faults"] == ["1 events fail their checksum, the first is seq 3"]


def test_verify_finds_a_row_that_was_forged_with_its_checksum(tmp_path: Path, where: Any, capsys: Any) -> None:
    made(tmp_path)
    db = apsw.Connection(str(tmp_path / "events.db"))
    from edge_agent.uplink.reader import Reader

    row = Reader(db).row(3)
    assert row is not None
    import msgspec

    forged = msgspec.structs.replace(row, body=b'{"n":9}')
    db.execute("UPDATE event SET body = ?, crc = ? WHERE seq = 3", (forged.body, forged.checksum()))
    db.close()
    assert outbox("verify", *where) == 1
    assert "the chain breaks between seq 3 and seq 4" in capsys.readouterr().out


async def test_it_works_beside_an_agent_that_writes(tmp_path: Path, where: Any, capsys: Any) -> None:
    writer = Outbox(tmp_path / "events.db", device="D-1", max_mib=4, clock=SystemClock())
    try:
        await asyncio.gather(*(writer.put("det", b"1", id=f"e{n}") for n in range(50)))
        for verb in ("stats", "tail", "verify"):
            assert await asyncio.to_thread(outbox, verb, *where) == 0, verb
        assert await asyncio.to_thread(outbox, "retry", *where) == 1
        await writer.put("det", b"1", id="later")
    finally:
        await writer.close()
    capsys.readouterr()


def test_what_is_not_there_is_named(tmp_path: Path, where: Any, capsys: Any) -> None:
    assert outbox("stats", *where) == 69
    assert "there is no outbox" in capsys.readouterr().err
    (tmp_path / "events.db").write_bytes(b"nothing of ours" * 100)
    assert outbox("verify", *where) == 69
    assert "events.db: " in capsys.readouterr().err
