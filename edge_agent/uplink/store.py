"""The tables of events.db and every statement on them; the caller holds the transaction.

An event that is confirmed is deleted; `seq` is AUTOINCREMENT, so its place is never given again in this epoch.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from edge_agent.messages import Reply
from edge_agent.runtime import DriverError

SCHEMA = 1
PAGE_BYTES = 4096
RESERVE_PAGES = 256  # 1 MiB that events may not use: commands, gaps and confirmations always find room
KEEP_COMMANDS_S = 7 * 86_400.0
PUT_OFF_MAX_S = 600.0

_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE event(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, lane INTEGER NOT NULL, kind TEXT NOT NULL,
  content_type TEXT NOT NULL, wall_s REAL NOT NULL, boot TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0 /* 1: quarantined */, tries INTEGER NOT NULL DEFAULT 0,
  next_try_s REAL NOT NULL DEFAULT 0, why TEXT);
CREATE INDEX event_order ON event(state, lane, seq);
CREATE TABLE command(id TEXT PRIMARY KEY, name TEXT NOT NULL, by TEXT NOT NULL, wall_s REAL NOT NULL, reply BLOB)
  WITHOUT ROWID;
"""
_ALL = "SELECT seq, id, lane, kind, content_type, wall_s, boot, body, crc FROM event ORDER BY seq"
_NEXT = """
SELECT seq, id, lane, kind, content_type, wall_s, boot, body, crc FROM event
WHERE state = 0 AND next_try_s NOT BETWEEN ?1 AND ?2 AND seq NOT IN (SELECT value FROM json_each(?3))
ORDER BY lane, seq LIMIT ?4
"""


class OutboxFullError(DriverError):
    """The outbox is at its quota."""


class Event(Struct, frozen=True, kw_only=True):
    """An event to be kept; `body` is the data of a JSON event, or a JPEG. Lower lanes are sent first."""

    id: str
    lane: int
    kind: str
    content_type: str
    wall_s: float
    boot: str
    body: bytes

    def checksum(self) -> int:
        """CRC-32 of all that is sent: SQLite itself does not notice a flipped bit."""
        facts = (self.id, self.kind, self.content_type, repr(self.wall_s), self.boot, "")
        return zlib.crc32("\0".join(facts).encode() + self.body)


class Row(Event, frozen=True, kw_only=True):
    """An event as it is kept, with its place in the stream."""

    seq: int
    crc: int

    def intact(self) -> bool:
        return self.crc == self.checksum()


class Stats(Struct, frozen=True, kw_only=True):
    """How the outbox stands; all places up to `acked` are settled."""

    epoch: int
    next: int
    acked: int
    depth: int
    oldest_s: float
    quarantined: int
    bytes: int


class Store:
    """One connection, used by one thread; raises `apsw.Error` where the disk fails."""

    def __init__(self, path: Path, max_mib: int) -> None:
        self._quota = max_mib * 1024 * 1024 // PAGE_BYTES
        path.touch(mode=0o600)
        self.db = apsw.Connection(str(path))
        self.db.set_busy_timeout(500)
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "locking_mode=EXCLUSIVE",  # a second agent on the same directory finds it locked
            "journal_mode=WAL",
            "synchronous=FULL",
            "journal_size_limit=4194304",
            f"max_page_count={self._quota + RESERVE_PAGES}",
        ):
            self.db.execute(f"PRAGMA {pragma}").fetchall()

    def close(self) -> None:
        self.db.close()

    def schema(self) -> int | None:
        """The version of the tables; None where there are none."""
        if not self.db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
            return None
        return int(self._meta("schema"))

    def create(self, epoch: int) -> None:
        with self.db:
            self.db.execute(_TABLES)
            self.db.execute("INSERT INTO meta VALUES ('schema', ?), ('epoch', ?)", (SCHEMA, epoch))

    @property
    def epoch(self) -> int:
        return int(self._meta("epoch"))

    def renew(self, epoch: int) -> None:
        """Number the stream anew: what is kept keeps its seq under another epoch."""
        self.db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,))

    def faults(self) -> str | None:
        """What is wrong with the file, by SQLite's quick_check and by the checksum of every event in it."""
        check = self.db.execute("PRAGMA quick_check(1)").fetchall()
        if check != [("ok",)]:
            return str(check[0][0]) if check else "quick_check gave no answer"
        bad = [row.seq for row in self.rows() if not row.intact()]
        return f"{len(bad)} events fail their checksum, the first is seq {bad[0]}" if bad else None

    def rows(self) -> Iterable[Row]:
        """All events that are kept, in order."""
        return map(_row, self.db.execute(_ALL))

    def find(self, id: str) -> int | None:
        found = self._one("SELECT seq FROM event WHERE id = ?", id)
        return int(found[0]) if found else None

    def insert(self, event: Event) -> int:
        """Keep an event; the same id gives the same seq."""
        if (seq := self.find(event.id)) is not None:
            return seq
        self.db.execute(
            "INSERT INTO event(id, lane, kind, content_type, wall_s, boot, body, crc)"
            " VALUES (:id, :lane, :kind, :content_type, :wall_s, :boot, :body, :crc)",
            {**msgspec.structs.asdict(event), "crc": event.checksum()},
        )
        return self.db.last_insert_rowid()

    def has_room(self, body_bytes: int, share: float = 1.0) -> bool:
        """Whether an event of that size stays within that share of the quota."""
        used = self._pragma("page_count") - self._pragma("freelist_count")
        return used + body_bytes // PAGE_BYTES + 2 <= self._quota * share

    def take(self, limit: int, wall_s: float, skip: Collection[int]) -> list[Row]:
        """The next events to send: lane by lane, oldest first, without `skip` and without what is put off.

        One that is put off for longer than anything is ever put off means that the clock has moved: it is due.
        """
        return list(map(_row, self.db.execute(_NEXT, (wall_s, wall_s + PUT_OFF_MAX_S, json.dumps(list(skip)), limit))))

    def delete(self, first: int, last: int) -> None:
        self.db.execute("DELETE FROM event WHERE state = 0 AND seq BETWEEN ? AND ?", (first, last))

    def put_off(self, seq: int, until_wall_s: float, why: str) -> None:
        self.db.execute(
            "UPDATE event SET next_try_s = ?, tries = tries + 1, why = ? WHERE seq = ?", (until_wall_s, why, seq)
        )

    def quarantine(self, seq: int, why: str) -> bool:
        """Set an event aside for a person to look at; it is not sent again."""
        self.db.execute("UPDATE event SET state = 1, why = ? WHERE seq = ? AND state = 0", (why, seq))
        return self.db.changes() == 1

    def next_seq(self) -> int:
        found = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        return int(found[0]) + 1 if found else 1

    def stats(self, wall_s: float) -> Stats:
        depth, first, oldest_wall_s = self._one(
            "SELECT count(*), min(seq), min(wall_s) FROM event WHERE state = 0"
        ) or (0, None, None)
        quarantined = self._one("SELECT count(*) FROM event WHERE state = 1") or (0,)
        next_seq = self.next_seq()
        return Stats(
            epoch=self.epoch,
            next=next_seq,
            acked=(first or next_seq) - 1,
            depth=depth,
            oldest_s=max(0.0, wall_s - oldest_wall_s) if depth else 0.0,
            quarantined=quarantined[0],
            bytes=self._pragma("page_count") * PAGE_BYTES,
        )

    def claim(self, id: str, name: str, by: str, wall_s: float) -> bool:
        """Write down that a command was seen; False where it was already. Forgets those older than 7 days."""
        self.db.execute("DELETE FROM command WHERE wall_s < ?", (wall_s - KEEP_COMMANDS_S,))
        self.db.execute(
            "INSERT INTO command(id, name, by, wall_s) VALUES (?,?,?,?) ON CONFLICT(id) DO NOTHING",
            (id, name, by, wall_s),
        )
        return self.db.changes() == 1

    def answer(self, id: str, reply: Reply) -> None:
        self.db.execute("UPDATE command SET reply = ? WHERE id = ?", (msgspec.json.encode(reply), id))

    def answered(self, id: str) -> Reply | None:
        """The recorded answer; None while there is none."""
        found = self._one("SELECT reply FROM command WHERE id = ? AND reply IS NOT NULL", id)
        return msgspec.json.decode(found[0], type=Reply) if found else None

    def unanswered(self) -> list[tuple[str, str, str]]:
        """`(id, name, by)` of commands that were seen but never answered."""
        found = self.db.execute("SELECT id, name, by FROM command WHERE reply IS NULL")
        return [(str(id), str(name), str(by)) for id, name, by in found]

    def _one(self, sql: str, *values: str) -> tuple[Any, ...] | None:
        return next(iter(self.db.execute(sql, values).fetchall()), None)

    def _meta(self, key: str) -> int:
        found = self._one("SELECT value FROM meta WHERE key = ?", key)
        if found is None or not isinstance(found[0], int):
            raise apsw.CorruptError(f"meta holds no {key}")
        return found[0]

    def _pragma(self, name: str) -> int:
        found = self._one(f"PRAGMA {name}")
        assert found
        return int(found[0])


def salvage(path: Path) -> tuple[int, list[Row]]:
    """What can still be read of a damaged file: its epoch (0 if not even that) and its intact events."""
    rows: list[Row] = []
    epoch = 0
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        epoch = int(str(db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchall()[0][0]))
        for found in db.execute(_ALL):
            rows.append(_row(found))
    except (apsw.Error, ValueError, IndexError, msgspec.ValidationError):
        pass  # what was read before the damage is what there is
    finally:
        db.close()
    return epoch, [row for row in rows if row.intact()]


def _row(found: Sequence[Any]) -> Row:
    return msgspec.convert(dict(zip(_COLUMNS, found, strict=True)), Row)


_COLUMNS = ("seq", "id", "lane", "kind", "content_type", "wall_s", "boot", "body", "crc")
