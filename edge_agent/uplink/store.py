"""The tables of events.db and every statement on them; the caller holds the transaction.

An event that is confirmed is deleted; `seq` is AUTOINCREMENT, so its place is never given again in this epoch. The
rows are a chain: each holds, as `prev`, the hash of the row before it (`chain.link`), and `tip` remembers the last
one, so that a row which was changed, taken out or slipped in is found, here and at the centre. The chain runs on over
deletes and over epochs.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from edge_agent import chain, topics
from edge_agent.chain import NO_LINK
from edge_agent.messages import Reply
from edge_agent.runtime import DriverError

SCHEMA = 2
PAGE_BYTES = 4096
RESERVE_PAGES = 256  # 1 MiB that events may not use: commands, gaps and confirmations always find room
CHECKPOINT_PAGES = 250  # of the log: on a full disk it must not want more than that again
ROW_BYTES = 400  # of an event beyond its body, with its share of the indexes
KEEP_COMMANDS_S = 7 * 86_400.0
MOST_COMMANDS = 100_000
FORGET_EVERY, FORGET_EVERY_S = 64, 3600.0  # claims
WAITS, SET_ASIDE = 0, 1
LANES = 4

_TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE event(
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, lane INTEGER NOT NULL, kind TEXT NOT NULL,
  content_type TEXT NOT NULL, wall_s REAL NOT NULL, boot TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL,
  state INTEGER NOT NULL DEFAULT 0 /* 1: quarantined */, tries INTEGER NOT NULL DEFAULT 0,
  next_try_s REAL NOT NULL DEFAULT 0, why TEXT, prev BLOB, mono_us INTEGER);
CREATE INDEX event_order ON event(state, lane, seq);
CREATE TABLE command(id TEXT PRIMARY KEY, name TEXT NOT NULL, by TEXT NOT NULL, wall_s REAL NOT NULL, reply BLOB)
  WITHOUT ROWID;
"""
COLUMNS = "seq, id, lane, kind, content_type, wall_s, boot, body, crc, state, why, prev, mono_us"
ALL = "SELECT * FROM event NOT INDEXED ORDER BY seq".replace("*", COLUMNS)
_FROM = "SELECT * FROM event WHERE seq >= ? ORDER BY seq LIMIT ?".replace("*", COLUMNS)
_OF_STATE = "SELECT * FROM event WHERE state = ? ORDER BY seq DESC LIMIT ?".replace("*", COLUMNS)
_OLDEST = "SELECT * FROM event WHERE state = 0 AND lane = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
_OLDEST = _OLDEST.replace("*", COLUMNS)
_NEWEST = _OLDEST.replace("ORDER BY seq", "ORDER BY seq DESC")
_INSERT = (
    "INSERT INTO event(seq, id, lane, kind, content_type, wall_s, boot, body, crc, state, why, prev, mono_us)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
LAST_PLACE = 2**53


class OutboxFullError(DriverError):
    """The outbox is at its quota."""


class Event(Struct, frozen=True, kw_only=True):
    """An event to be kept; `body` is the data of a JSON event, or a JPEG."""

    id: str
    lane: int
    kind: str
    content_type: str
    wall_s: float
    boot: str
    body: bytes
    mono_us: int | None = None


class Row(Struct, frozen=True, array_like=True):
    """An event as it is kept, with its place in the stream; `prev` is None where a schema without a chain kept it."""

    seq: int
    id: str
    lane: int
    kind: str
    content_type: str
    wall_s: float
    boot: str
    body: bytes
    crc: int
    state: int = WAITS
    why: str | None = None
    prev: bytes | None = None
    mono_us: int | None = None

    def link(self) -> bytes:
        """The hash of this row, which the next one holds."""
        return chain.link(
            prev=self.prev or NO_LINK,
            seq=self.seq,
            id=self.id,
            kind=self.kind,
            time=topics.rfc3339(self.wall_s),
            boot=self.boot,
            data=self.body,
        )

    def intact(self) -> bool:
        settled = self.state == WAITS or (self.state == SET_ASIDE and self.why is not None)
        return settled and 0 <= self.lane < LANES and self.crc == self.checksum()

    def checksum(self) -> int:
        """CRC-32 of all that is sent: SQLite itself does not notice a flipped bit."""
        facts = [self.id, self.kind, self.content_type, repr(self.wall_s), self.boot]
        if self.prev is not None:
            facts += [str(self.seq), str(self.lane), self.prev.hex(), str(self.mono_us)]
        return zlib.crc32("\0".join([*facts, ""]).encode() + self.body)


class Tip(Struct, frozen=True, kw_only=True):
    """Where the stream ends: the next place, how many rows are kept, from which place on, and the last one's hash."""

    epoch: int
    next: int
    kept: int
    low: int
    head: bytes

    def encode(self) -> bytes:
        text = f"{self.epoch} {self.next} {self.kept} {self.low} {self.head.hex()}".encode()
        return b"%s %08x\n" % (text, zlib.crc32(text))

    @staticmethod
    def decode(text: bytes) -> Tip | None:
        """None for anything that is not a whole tip."""
        match text.split():
            case [epoch, next_, kept, low, head, crc]:
                with contextlib.suppress(ValueError):
                    numbers = {"epoch": int(epoch), "next": int(next_), "kept": int(kept), "low": int(low)}
                    tip = Tip(**numbers, head=bytes.fromhex(head.decode()))
                    return tip if tip.encode().split()[-1] == crc else None
        return None


class Stats(Struct, frozen=True, kw_only=True):
    """How the outbox stands; all places up to `acked` are settled."""

    epoch: int
    next: int
    acked: int
    depth: int
    oldest_s: float
    quarantined: int
    bytes: int
    quota_bytes: int = 0
    lanes: tuple[int, ...] = (0, 0, 0, 0)


class Store:
    """One connection, used by one thread; raises `apsw.Error` where the disk fails.

    Beside the file stands its mark: the tip of the last commit, written after it and never waited for. Where the file
    ends before its mark, its log has lost commits that SQLite itself does not miss.
    """

    def __init__(self, path: Path, max_mib: int) -> None:
        self.path = path
        self.quota_pages = max_mib * 1024 * 1024 // PAGE_BYTES
        self.quota_bytes = self.quota_pages * PAGE_BYTES
        path.touch(mode=0o600)
        self.db = apsw.Connection(str(path))
        self.db.set_busy_timeout(500)
        self.db.transaction_mode = "IMMEDIATE"
        for pragma in (
            f"page_size={PAGE_BYTES}",
            "journal_mode=WAL",
            "synchronous=FULL",
            f"wal_autocheckpoint={CHECKPOINT_PAGES}",
            "journal_size_limit=1048576",
            f"max_page_count={self.quota_pages + RESERVE_PAGES}",
        ):
            self.db.execute(f"PRAGMA {pragma}").fetchall()
        self.tip = Tip(epoch=0, next=1, kept=0, low=1, head=NO_LINK)
        self._room_bytes = 0
        self._frozen_pages: int | None = None
        self._mark = -1
        self._claims, self._forgot_s = 0, 0.0

    def close(self) -> None:
        self.db.close()
        if self._mark >= 0:
            os.close(self._mark)

    # --- the file -------------------------------------------------------------------------------------------------

    def schema(self) -> int | None:
        """The version of the tables; None where there are none. It stands twice, so that a flipped bit is found."""
        if not self.db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
            return None
        schema, copy = self._meta("schema"), self.pragma("user_version")
        if schema != copy and (schema, copy) != (1, 0):
            raise apsw.CorruptError(f"its schema is {schema} in one place and {copy} in another")
        return schema

    def create(self, epoch: int, head: bytes | None = None) -> None:
        """Make the tables; the chain goes on from `head`."""
        with self.db:
            self.db.execute(_TABLES)
            self.db.execute(f"PRAGMA user_version = {SCHEMA}")
            self.tip = Tip(epoch=epoch, next=1, kept=0, low=1, head=head or NO_LINK)
            self.db.execute(
                "INSERT INTO meta VALUES ('schema', ?), ('epoch', ?), ('tip', ?)", (SCHEMA, epoch, self.tip.encode())
            )
        self.load()

    def migrate(self) -> None:
        """From schema 1: it had no chain, so the first link of the chain is the first event that is put from now on."""
        with self.db:
            self.db.execute("ALTER TABLE event ADD COLUMN prev BLOB")
            self.db.execute("ALTER TABLE event ADD COLUMN mono_us INTEGER")
            kept = self._one("SELECT count(*) FROM event") or (0,)
            tip = Tip(epoch=self._meta("epoch"), next=self._next_seq(), kept=kept[0], low=self._low(), head=NO_LINK)
            self.db.execute("INSERT INTO meta VALUES ('tip', ?)", (tip.encode(),))
            self.db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (SCHEMA,))
            self.db.execute(f"PRAGMA user_version = {SCHEMA}")

    def load(self) -> None:
        """Read the tip, and keep the mark from now on."""
        self.tip = self._read_tip()
        if self._mark < 0:
            self._mark = os.open(mark_of(self.path), os.O_RDWR | os.O_CREAT, 0o600)
        self._write_mark()
        self.measure_room()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """One transaction, with the tip that it leads to; nothing has changed where it fails."""
        before = self.tip
        try:
            with self.db:
                self.measure_room()
                yield
                if self.tip is not before:
                    self.tip = msgspec.structs.replace(self.tip, low=self._low())
                    self.db.execute("UPDATE meta SET value = ? WHERE key = 'tip'", (self.tip.encode(),))
        except BaseException:
            self.tip = before
            raise
        if self.tip is not before:
            self._write_mark()

    def faults(self) -> str | None:
        """What is wrong with the file: by SQLite's check, by the checksum and the chain of its events, by its mark."""
        check = self.db.execute("PRAGMA integrity_check(1)").fetchall()
        if check != [("ok",)]:
            return str(check[0][0]) if check else "integrity_check gave no answer"
        tip, epoch, next_seq = self._read_tip(), self._meta("epoch"), self._next_seq()
        if (tip.epoch, tip.next) != (epoch, next_seq):
            return f"its tip is {tip.epoch}/{tip.next}, its tables end at {epoch}/{next_seq}"
        told = check_rows(self.rows(), tip)
        mark = read_mark(self.path)
        if told is None and mark is not None and (mark.epoch, mark.next) > (tip.epoch, tip.next):
            return f"its log has lost commits: it ends before place {tip.next}, and place {mark.next - 1} was given"
        return told

    # --- events ---------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        return self.tip.epoch

    def renew(self, epoch: int) -> None:
        """Number the stream anew: what is kept keeps its seq under another epoch."""
        self.db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,))
        self.tip = msgspec.structs.replace(self.tip, epoch=epoch)

    def rows(self) -> Iterator[Row]:
        """All events that are kept, in order."""
        return map(_row, self.db.execute(ALL))

    def find(self, id: str) -> int | None:
        found = self._one("SELECT seq FROM event WHERE id = ?", id)
        return int(found[0]) if found else None

    def row(self, seq: int) -> Row | None:
        found = self._one(_FROM, seq, 1)
        return _row(found) if found and found[0] == seq else None

    def insert(self, event: Event, state: int = WAITS, why: str | None = None) -> int:
        """Keep an event; the same id gives the same seq."""
        if (seq := self.find(event.id)) is not None:
            return seq
        seq, tip = self.tip.next, self.tip
        facts = (event.id, event.lane, event.kind, event.content_type, event.wall_s, event.boot, event.body)
        row = Row(seq, *facts, 0, state, why, tip.head, event.mono_us)
        self.db.execute(_INSERT, (seq, *facts, row.checksum(), state, why, tip.head, event.mono_us))
        self.tip = Tip(epoch=tip.epoch, next=seq + 1, kept=tip.kept + 1, low=tip.low, head=row.link())
        self._room_bytes -= cost(len(event.body))
        return seq

    def has_room(self, body_bytes: int, share: float = 1.0) -> bool:
        """Whether an event of that size stays within that share of the quota."""
        return self._room_bytes - cost(body_bytes) >= (1 - share) * self.quota_bytes

    def freeze(self, frozen: bool) -> None:
        """While frozen, events find room only where others were deleted: the disk is full, the file may not grow."""
        self._frozen_pages = self.pragma("page_count") if frozen else None
        self.measure_room()

    def page(self, lane: int, first: int, last: int, limit: int, newest: bool) -> list[Row]:
        """Events of a lane that wait, from one end of a run of places."""
        return list(map(_row, self.db.execute(_NEWEST if newest else _OLDEST, (lane, first, last, limit))))

    def tail(self, limit: int, quarantined: bool) -> list[Row]:
        """The newest that wait, or that are set aside, oldest of them first."""
        return tail(self.db, limit, quarantined)

    def oldest(self, lane: int, limit: int) -> list[Row]:
        return self.page(lane, 1, LAST_PLACE, limit, newest=False)

    def delete(self, first: int, last: int) -> int:
        """Delete what waits in these places; returns how many those were."""
        self.db.execute("DELETE FROM event WHERE state = 0 AND seq BETWEEN ? AND ?", (first, last))
        if gone := self.db.changes():
            self.tip = msgspec.structs.replace(self.tip, kept=self.tip.kept - gone)
        return gone

    def neighbours(self, first: int, last: int) -> bool:
        """Whether any event is kept between these places."""
        return self._one("SELECT 1 FROM event WHERE seq > ? AND seq < ? LIMIT 1", first, last) is not None

    def put_off(self, seq: int, until_wall_s: float, why: str) -> None:
        self.db.execute(
            "UPDATE event SET next_try_s = ?, tries = tries + 1, why = ? WHERE seq = ?", (until_wall_s, why, seq)
        )

    def quarantine(self, seq: int, why: str) -> bool:
        """Set an event aside for a person to look at; it is not sent again."""
        self.db.execute("UPDATE event SET state = 1, why = ? WHERE seq = ? AND state = 0", (why or "?", seq))
        return self.db.changes() == 1

    def retry(self, ids: Sequence[str] | None) -> list[int]:
        """Give what was set aside (all, or these ids) a new place at the end of the stream; returns the places.

        The old place stays a gap: the centre was told that it will never be filled.
        """
        seqs = []
        for row in tail(self.db, LAST_PLACE, quarantined=True):
            if (ids is None or row.id in ids) and row.intact():
                self.db.execute("DELETE FROM event WHERE seq = ?", (row.seq,))
                self.tip = msgspec.structs.replace(self.tip, kept=self.tip.kept - 1)
                seqs.append(self.insert(event_of(row)))
        return seqs

    def stats(self, wall_s: float) -> Stats:
        counted: Any = self.db.execute("SELECT lane, count(*) FROM event WHERE state = 0 GROUP BY lane")
        lanes: dict[int, int] = dict(counted)
        found = self._one("SELECT seq, wall_s FROM event WHERE state = 0 ORDER BY seq LIMIT 1")
        quarantined = self._one("SELECT count(*) FROM event WHERE state = 1") or (0,)
        return Stats(
            epoch=self.epoch,
            next=self.tip.next,
            acked=(found[0] if found else self.tip.next) - 1,
            depth=sum(lanes.values()),
            oldest_s=max(0.0, wall_s - found[1]) if found else 0.0,
            quarantined=quarantined[0],
            bytes=(self.pragma("page_count") - self.pragma("freelist_count")) * PAGE_BYTES,
            quota_bytes=self.quota_bytes,
            lanes=tuple(lanes.get(lane, 0) for lane in range(LANES)),
        )

    # --- commands -------------------------------------------------------------------------------------------------

    def claim(self, id: str, name: str, by: str, wall_s: float) -> bool:
        """Write down that a command was seen; False where it was already. Now and then forgets the oldest."""
        if self._claims % FORGET_EVERY == 0 or wall_s - self._forgot_s > FORGET_EVERY_S:
            self.forget(wall_s)
            self._forgot_s = wall_s
        self._claims += 1
        self.db.execute(
            "INSERT INTO command(id, name, by, wall_s) VALUES (?,?,?,?) ON CONFLICT(id) DO NOTHING",
            (id, name, by, wall_s),
        )
        return self.db.changes() == 1

    def forget(self, wall_s: float, most: int = MOST_COMMANDS) -> None:
        """Forget commands older than 7 days, and the oldest beyond so many: by then `not_after` refuses a repeat."""
        self.db.execute("DELETE FROM command WHERE wall_s < ?", (wall_s - KEEP_COMMANDS_S,))
        self.db.execute(
            "DELETE FROM command WHERE id IN (SELECT id FROM command ORDER BY wall_s DESC LIMIT -1 OFFSET ?)", (most,)
        )

    def answer(self, id: str, reply: Reply) -> None:
        self.db.execute("UPDATE command SET reply = ? WHERE id = ?", (msgspec.json.encode(reply), id))

    def answered(self, id: str) -> Reply | None:
        """The recorded answer; None while there is none."""
        found = self._one("SELECT reply FROM command WHERE id = ? AND reply IS NOT NULL", id)
        return _reply(found[0]) if found else None

    def unanswered(self) -> list[tuple[str, str, str]]:
        """`(id, name, by)` of commands that were seen but never answered."""
        found = self.db.execute("SELECT id, name, by FROM command WHERE reply IS NULL")
        return [(str(id), str(name), str(by)) for id, name, by in found]

    def under_way(self) -> list[tuple[str, str, str, str]]:
        """`(id, name, by, run)` of commands that were accepted and whose end was never recorded."""
        found = self.db.execute("SELECT id, name, by, reply FROM command WHERE reply IS NOT NULL")
        replies = [(str(id), str(name), str(by), _reply(blob)) for id, name, by, blob in found]
        return [
            (id, name, by, reply.run)
            for id, name, by, reply in replies
            if reply.state == "accepted" and reply.run is not None
        ]

    def remember(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Take over commands from a damaged file, so that none of them is carried out twice."""
        self.db.executemany("INSERT INTO command VALUES (?,?,?,?,?) ON CONFLICT(id) DO NOTHING", commands)

    # --- inside ---------------------------------------------------------------------------------------------------

    def pragma(self, name: str) -> int:
        found = self._one(f"PRAGMA {name}")
        assert found
        return int(found[0])

    def measure_room(self) -> None:
        """Look again how much of the quota is left; it is reckoned in between."""
        pages = min(self.quota_pages, self._frozen_pages or self.quota_pages)
        used = self.pragma("page_count") - self.pragma("freelist_count")
        self._room_bytes = (pages - used) * PAGE_BYTES

    def _read_tip(self) -> Tip:
        found = self._one("SELECT value FROM meta WHERE key = 'tip'")
        tip = Tip.decode(found[0]) if found and isinstance(found[0], bytes) else None
        if tip is None:
            raise apsw.CorruptError("meta holds no tip")
        return tip

    def _write_mark(self) -> None:
        with contextlib.suppress(OSError):  # it is a witness, not a record
            os.pwrite(self._mark, self.tip.encode().ljust(160), 0)

    def _low(self) -> int:
        found = self._one("SELECT min(seq) FROM event")
        return int(found[0]) if found and found[0] else self._next_seq()

    def _next_seq(self) -> int:
        found = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        return int(found[0]) + 1 if found else 1

    def _one(self, sql: str, *values: str | int) -> tuple[Any, ...] | None:
        return next(iter(self.db.execute(sql, values).fetchall()), None)

    def _meta(self, key: str) -> int:
        found = self._one("SELECT value FROM meta WHERE key = ?", key)
        if found is None or not isinstance(found[0], int):
            raise apsw.CorruptError(f"meta holds no {key}")
        return found[0]


def tail(db: apsw.Connection, limit: int, quarantined: bool) -> list[Row]:
    """The newest events that wait, or that are set aside, oldest of them first."""
    return list(map(_row, db.execute(_OF_STATE, (int(quarantined), limit))))[::-1]


def check_rows(rows: Iterable[Row], tip: Tip) -> str | None:
    """Where the checksums or the chain of these rows, which are all that is kept, break first; None where nowhere."""
    bad, kept, last = [], 0, None
    for row in rows:
        kept += 1
        if not row.intact():
            bad.append(row.seq)
        elif last is not None and last.seq + 1 == row.seq and not _joined(last, row.prev):
            return f"the chain breaks between seq {last.seq} and seq {row.seq}"
        last = row if row.seq not in bad[-1:] else None
    if bad:
        return f"{len(bad)} events fail their checksum, the first is seq {bad[0]}"
    if last is not None and last.seq == tip.next - 1 and not _joined(last, tip.head):
        return f"the chain breaks after seq {last.seq}"
    return None if kept == tip.kept else f"{tip.kept} events were kept, {kept} are there"


def _joined(row: Row, link: bytes | None) -> bool:
    """Whether this is the row's link; schema 1 kept rows without one."""
    return row.prev is None or link is None or row.link() == link


def mark_of(path: Path) -> Path:
    return Path(f"{path}-mark")


def read_mark(path: Path) -> Tip | None:
    """The tip that was last written beside a file; None where none was, or not whole."""
    try:
        return Tip.decode(mark_of(path).read_bytes())
    except OSError:
        return None


def event_of(row: Row) -> Event:
    """What was put, without its place."""
    return Event(**{name: getattr(row, name) for name in Event.__struct_fields__})


def read_only(path: Path) -> apsw.Connection:
    """A look into a file that another process may be writing; raises `apsw.Error`."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(2000)
    return db


def _row(found: Sequence[Any]) -> Row:
    return Row(*found)


def cost(body_bytes: int) -> int:
    """What an event takes of the file, in bytes; a large one by whole pages."""
    if body_bytes <= PAGE_BYTES // 2:
        return body_bytes + ROW_BYTES
    return (body_bytes // PAGE_BYTES + 1) * PAGE_BYTES + ROW_BYTES


def _reply(blob: Any) -> Reply:
    """A recorded answer; a bit that flipped in it must not keep the agent from starting."""
    try:
        return msgspec.json.decode(blob, type=Reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Reply(state="failed", reason="the recorded answer can no longer be read")
