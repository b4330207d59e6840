"""The tables of events.db and every statement that changes them; the caller holds the transaction.

An event that is confirmed is deleted; `seq` is AUTOINCREMENT, so its place is never given again in this epoch. The
rows are a chain: each holds, as `prev`, the hash of the row before it (`chain.link`), and `tip` remembers the last
one, so that a row which was changed, taken out or slipped in is found, here and at the centre. The chain runs on over
deletes and over epochs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from edge_agent.chain import NO_LINK
from edge_agent.messages import Reply
from edge_agent.runtime import DriverError
from edge_agent.uplink.reader import LAST_PLACE, SCHEMA, Reader, mark_of
from edge_agent.uplink.rows import PAGE_BYTES, WAITS, Event, Row, Stats, Tip, cost, event_of

RESERVE_PAGES = 256  # 1 MiB that events may not use: commands, gaps and confirmations always find room
CHECKPOINT_PAGES = 250  # of the log: on a full disk it must not want more than that again
PRAGMAS = (
    f"page_size={PAGE_BYTES}",
    "journal_mode=WAL",
    "synchronous=FULL",
    f"wal_autocheckpoint={CHECKPOINT_PAGES}",
    "journal_size_limit=1048576",
)
KEEP_COMMANDS_S = 7 * 86_400.0
MOST_COMMANDS = 100_000
FORGET_EVERY, FORGET_EVERY_S = 64, 3600.0  # claims

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
_INSERT = (
    "INSERT INTO event(seq, id, lane, kind, content_type, wall_s, boot, body, crc, state, why, prev, mono_us)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(id) DO NOTHING"
)


class OutboxFullError(DriverError):
    """The outbox is at its quota."""


class Store(Reader):
    """One connection, used by one thread; raises `apsw.Error` where the disk fails.

    Beside the file stands its mark: the tip of the last commit, written after it and never waited for. Where the file
    ends before its mark, its log has lost commits that SQLite itself does not miss.
    """

    def __init__(self, path: Path, max_mib: int) -> None:
        self.path = path
        self.quota_pages = max_mib * 1024 * 1024 // PAGE_BYTES
        self.quota_bytes = self.quota_pages * PAGE_BYTES
        path.touch(mode=0o600)
        super().__init__(apsw.Connection(str(path)))
        self.db.set_busy_timeout(500)
        self.db.transaction_mode = "IMMEDIATE"
        try:
            for pragma in PRAGMAS:
                self.db.execute(f"PRAGMA {pragma}").fetchall()
            self.db.execute(f"PRAGMA max_page_count={self.quota_pages + RESERVE_PAGES}").fetchall()
        except BaseException:
            self.db.close()
            raise
        self.tip = Tip(epoch=0, next=1, kept=0, low=1, head=NO_LINK)
        self._room_bytes = self._frozen_bytes = 0
        self._frozen_pages: int | None = None
        self._mark = -1
        self._claims, self._forgot_s = 0, 0.0

    def close(self) -> None:
        self.db.close()
        if self._mark >= 0:
            os.close(self._mark)

    # --- the file -------------------------------------------------------------------------------------------------

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
        self.tip = self.read_tip()
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

    # --- events ---------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        return self.tip.epoch

    def renew(self, epoch: int) -> None:
        """Number the stream anew: what is kept keeps its seq under another epoch."""
        self.db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,))
        self.tip = msgspec.structs.replace(self.tip, epoch=epoch)

    def insert(self, event: Event, state: int = WAITS, why: str | None = None) -> int:
        """Keep an event; the same id gives the same seq."""
        seq, tip = self.tip.next, self.tip
        facts = (event.id, event.lane, event.kind, event.content_type, event.wall_s, event.boot, event.body)
        row = Row(seq, *facts, 0, state, why, tip.head, event.mono_us)
        self.db.execute(_INSERT, (seq, *facts, row.checksum(), state, why, tip.head, event.mono_us))
        if not self.db.changes():
            known = self.find(event.id)
            assert known is not None
            return known
        self.tip = Tip(epoch=tip.epoch, next=seq + 1, kept=tip.kept + 1, low=tip.low, head=row.link())
        self._room_bytes -= cost(len(event.body))
        self._frozen_bytes -= cost(len(event.body))
        return seq

    def has_room(self, body_bytes: int, share: float = 1.0, *, urgent: bool = False) -> bool:
        """Whether an event of that size stays within that share of the quota; frozen, only what is urgent grows it."""
        room_bytes = self._room_bytes if urgent else min(self._room_bytes, self._frozen_bytes)
        return room_bytes - cost(body_bytes) >= (1 - share) * self.quota_bytes

    def freeze(self, frozen: bool) -> None:
        """While frozen, events find room only where others were deleted: the disk is full, the file may not grow."""
        self._frozen_pages = self.pragma("page_count") if frozen else None
        self.measure_room()

    def delete(self, first: int, last: int) -> int:
        """Delete what waits in these places; returns how many those were."""
        self.db.execute("DELETE FROM event WHERE state = 0 AND seq BETWEEN ? AND ?", (first, last))
        if gone := self.db.changes():
            self.tip = msgspec.structs.replace(self.tip, kept=self.tip.kept - gone)
        return gone

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
        for row in self.tail(LAST_PLACE, quarantined=True):
            if (ids is None or row.id in ids) and row.intact():
                self.db.execute("DELETE FROM event WHERE seq = ?", (row.seq,))
                self.tip = msgspec.structs.replace(self.tip, kept=self.tip.kept - 1)
                seqs.append(self.insert(event_of(row)))
        return seqs

    def stats(self, wall_s: float) -> Stats:
        """How it stands."""
        return msgspec.structs.replace(self.count(wall_s, self.tip), quota_bytes=self.quota_bytes)

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

    def measure_room(self) -> None:
        """Look again how much of the quota is left; it is reckoned in between."""
        used = self.pragma("page_count") - self.pragma("freelist_count")
        self._room_bytes = (self.quota_pages - used) * PAGE_BYTES
        self._frozen_bytes = ((self._frozen_pages or self.quota_pages) - used) * PAGE_BYTES

    def _write_mark(self) -> None:
        with contextlib.suppress(OSError):  # it is a witness, not a record
            os.pwrite(self._mark, self.tip.encode().ljust(160), 0)


def _reply(blob: Any) -> Reply:
    """A recorded answer; a bit that flipped in it must not keep the agent from starting."""
    try:
        return msgspec.json.decode(blob, type=Reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Reply(state="failed", reason="the recorded answer can no longer be read")
