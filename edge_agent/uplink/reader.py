"""Every question to events.db that changes nothing; an agent asks them of its own file, a look of another's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from edge_agent.uplink.rows import LANES, PAGE_BYTES, Row, Stats, Tip, check_rows

SCHEMA = 2
LAST_PLACE = 2**53

COLUMNS = "seq, id, lane, kind, content_type, wall_s, boot, body, crc, state, why, prev, mono_us"
ALL = "SELECT * FROM event NOT INDEXED ORDER BY seq".replace("*", COLUMNS)
_FROM = "SELECT * FROM event WHERE seq >= ? ORDER BY seq LIMIT ?".replace("*", COLUMNS)
_OF_STATE = "SELECT * FROM event WHERE state = ? ORDER BY seq DESC LIMIT ?".replace("*", COLUMNS)
_OLDEST = "SELECT * FROM event WHERE state = 0 AND lane = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
_OLDEST = _OLDEST.replace("*", COLUMNS)
_NEWEST = _OLDEST.replace("ORDER BY seq", "ORDER BY seq DESC")


class Reader:
    """Raises `apsw.Error` where the file cannot be read, `apsw.CorruptError` where it is not one of ours."""

    def __init__(self, db: apsw.Connection) -> None:
        self.db = db

    # --- the file -------------------------------------------------------------------------------------------------

    def schema(self) -> int | None:
        """The version of the tables; None where there are none. It stands twice, so that a flipped bit is found."""
        if not self.db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'meta'").fetchall():
            return None
        schema, copy = self._meta("schema"), self.pragma("user_version")
        if schema != copy and (schema, copy) != (1, 0):
            raise apsw.CorruptError(f"its schema is {schema} in one place and {copy} in another")
        return schema

    def read_tip(self) -> Tip:
        """Where the stream ends."""
        found = self._one("SELECT value FROM meta WHERE key = 'tip'")
        tip = Tip.decode(found[0]) if found and isinstance(found[0], bytes) else None
        if tip is None:
            raise apsw.CorruptError("meta holds no tip")
        return tip

    def faults(self, path: Path) -> str | None:
        """What is wrong with the file: by SQLite's check, by the checksum and the chain of its events, by its mark."""
        check = self.db.execute("PRAGMA integrity_check(1)").fetchall()
        if check != [("ok",)]:
            return str(check[0][0]).splitlines()[-1] if check else "integrity_check gave no answer"
        tip, epoch, next_seq = self.read_tip(), self._meta("epoch"), self._next_seq()
        if (tip.epoch, tip.next) != (epoch, next_seq):
            return f"its tip is {tip.epoch}/{tip.next}, its tables end at {epoch}/{next_seq}"
        told = check_rows(self.rows(), tip)
        mark = read_mark(path)
        if told is None and mark is not None and (mark.epoch, mark.next) > (tip.epoch, tip.next):
            return f"its log has lost commits: it ends before place {tip.next}, and place {mark.next - 1} was given"
        return told

    # --- events ---------------------------------------------------------------------------------------------------

    def rows(self) -> Iterator[Row]:
        """All events that are kept, in order."""
        return map(_row, self.db.execute(ALL))

    def find(self, id: str) -> int | None:
        found = self._one("SELECT seq FROM event WHERE id = ?", id)
        return int(found[0]) if found else None

    def row(self, seq: int) -> Row | None:
        found = self._one(_FROM, seq, 1)
        return _row(found) if found and found[0] == seq else None

    def after(self, seq: int, limit: int) -> list[Row]:
        """The next events that are kept, in order."""
        return list(map(_row, self.db.execute(_FROM, (seq + 1, limit))))

    def page(self, lane: int, first: int, last: int, limit: int, newest: bool) -> list[Row]:
        """Events of a lane that wait, from one end of a run of places."""
        return list(map(_row, self.db.execute(_NEWEST if newest else _OLDEST, (lane, first, last, limit))))

    def oldest(self, lane: int, limit: int) -> list[Row]:
        return self.page(lane, 1, LAST_PLACE, limit, newest=False)

    def tail(self, limit: int, quarantined: bool) -> list[Row]:
        """The newest that wait, or that are set aside, oldest of them first."""
        return list(map(_row, self.db.execute(_OF_STATE, (int(quarantined), limit))))[::-1]

    def neighbours(self, first: int, last: int) -> bool:
        """Whether any event is kept between these places."""
        return self._one("SELECT 1 FROM event WHERE seq > ? AND seq < ? LIMIT 1", first, last) is not None

    def count(self, wall_s: float, tip: Tip) -> Stats:
        """How it stands, by what is in the file."""
        counted: Any = self.db.execute("SELECT lane, count(*) FROM event WHERE state = 0 GROUP BY lane")
        lanes: dict[int, int] = dict(counted)
        found = self._one("SELECT seq, wall_s FROM event WHERE state = 0 ORDER BY seq LIMIT 1")
        quarantined = self._one("SELECT count(*) FROM event WHERE state = 1") or (0,)
        return Stats(
            epoch=tip.epoch,
            next=tip.next,
            acked=(found[0] if found else tip.next) - 1,
            depth=sum(lanes.values()),
            oldest_s=max(0.0, wall_s - found[1]) if found else 0.0,
            quarantined=quarantined[0],
            bytes=(self.pragma("page_count") - self.pragma("freelist_count")) * PAGE_BYTES,
            lanes=tuple(lanes.get(lane, 0) for lane in range(LANES)),
        )

    # --- inside ---------------------------------------------------------------------------------------------------

    def pragma(self, name: str) -> int:
        found = self._one(f"PRAGMA {name}")
        assert found
        return int(found[0])

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


def mark_of(path: Path) -> Path:
    return Path(f"{path}-mark")


def read_mark(path: Path) -> Tip | None:
    """The tip that was last written beside a file; None where none was, or not whole."""
    try:
        return Tip.decode(mark_of(path).read_bytes())
    except OSError:
        return None


def read_only(path: Path) -> apsw.Connection:
    """A look into a file that another process may be writing; raises `apsw.Error`."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    db.set_busy_timeout(2000)
    return db


def _row(found: Sequence[Any]) -> Row:
    return Row(*found)
