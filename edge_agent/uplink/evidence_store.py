"""evidence.db: which originals lie on this disk, how far their upload is, and what the centre said of them.

One connection, used by one thread; every method is one transaction, on disk when it returns (WAL, FULL).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import apsw
import msgspec

from edge_agent.runtime import DriverError
from edge_agent.topics import EvidenceFile
from edge_agent.uplink.reader import read_only
from edge_agent.uplink.retention import Kept

SCHEMA = 1
State = Literal["waiting", "received", "refused"]

# The columns stand in the order of Item's fields.
_TABLE = """
CREATE TABLE evidence(
  id TEXT PRIMARY KEY, incident TEXT NOT NULL, kind TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
  path TEXT NOT NULL, wall_s REAL NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', url TEXT,
  offset INTEGER NOT NULL DEFAULT 0, hold INTEGER NOT NULL DEFAULT 0, why TEXT) WITHOUT ROWID;
CREATE INDEX evidence_order ON evidence(state, wall_s);
"""


class Item(EvidenceFile, frozen=True, kw_only=True):
    """A file and where it stands; `url` is its upload at the far end, `offset` what the far end holds of it."""

    path: str  # below the data directory, so that the directory may move
    wall_s: float
    state: State = "waiting"
    url: str | None = None
    offset: int = 0
    hold: bool = False
    why: str | None = None

    def file(self) -> EvidenceFile:
        """What the centre may know of it."""
        return EvidenceFile(id=self.id, incident=self.incident, kind=self.kind, sha256=self.sha256, bytes=self.bytes)

    def kept(self) -> Kept:
        """As the rules of retention see it."""
        received = self.state == "received"
        return Kept(id=self.id, kind=self.kind, bytes=self.bytes, wall_s=self.wall_s, received=received, hold=self.hold)


class EvidenceStore:
    """The table; raises `DriverError` where the disk fails."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; a damaged one is set aside, and the files themselves tell what there is."""
        self.path = path
        try:
            self._db = self._open()
        except (apsw.CorruptError, apsw.NotADBError):
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").replace(f"{path}.damaged{suffix}")
            self._db = self._open()
        except (apsw.Error, OSError) as error:
            raise DriverError(f"{path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def add(self, item: Item) -> bool:
        """Keep a new file in mind, held where others of its incident are; False where its id is known."""
        held = self._do("SELECT 1 FROM evidence WHERE incident = ? AND hold LIMIT 1", (item.incident,))
        self._do(
            "INSERT INTO evidence VALUES (:id, :incident, :kind, :sha256, :bytes, :path, :wall_s, :state, :url,"
            " :offset, :hold, :why) ON CONFLICT DO NOTHING",
            msgspec.structs.asdict(item) | {"hold": item.hold or bool(held)},
        )
        return self._db.changes() == 1

    def items(self) -> list[Item]:
        """All of them."""
        return list(map(_item, self._do("SELECT * FROM evidence")))

    def next(self, skip: Collection[str] = ()) -> Item | None:
        """What to upload now: the newest incident first, within it pictures before clips; sealed originals last."""
        found = self._do(
            "SELECT * FROM evidence WHERE state = 'waiting' AND id NOT IN (SELECT value FROM json_each(?))"
            " ORDER BY kind = 'original', wall_s DESC, kind DESC, id LIMIT 1",
            (json.dumps(list(skip)),),
        )
        return _item(found[0]) if found else None

    def totals(self) -> dict[str, tuple[int, int]]:
        """Files and bytes by state."""
        found = self._do("SELECT state, count(*), sum(bytes) FROM evidence GROUP BY state")
        return {str(state): (int(count), int(size)) for state, count, size in found}

    def ids(self) -> set[str]:
        return {str(row[0]) for row in self._do("SELECT id FROM evidence")}

    def progress(self, id: str, url: str | None, offset: int) -> None:
        """Where the upload is and how much of it the far end has."""
        self._do("UPDATE evidence SET url = ?, offset = ? WHERE id = ?", (url, offset, id))

    def settle(self, id: str, state: State, why: str | None = None) -> None:
        """The centre has it, or never will."""
        self._do("UPDATE evidence SET state = ?, why = ? WHERE id = ?", (state, why, id))

    def hold(self, id: str, on: bool) -> bool:
        """Keep it whatever the rules say, or no longer; False where it is unknown."""
        self._do("UPDATE evidence SET hold = ? WHERE id = ?", (on, id))
        return self._db.changes() == 1

    def forget(self, ids: Collection[str]) -> None:
        self._do("DELETE FROM evidence WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),))

    def _do(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except apsw.Error as error:
            raise DriverError(f"{self.path}: {error}") from error

    def _open(self) -> apsw.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.touch(mode=0o600)
        db = apsw.Connection(str(self.path))
        try:
            db.set_busy_timeout(500)
            db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
            if (check := db.execute("PRAGMA quick_check(1)").fetchall()) != [("ok",)]:
                raise apsw.CorruptError(str(check))
            schema = int(str(db.execute("PRAGMA user_version").fetchall()[0][0]))
            if schema == 0:
                with db:
                    db.execute(_TABLE)
                    db.execute(f"PRAGMA user_version={SCHEMA}")
            elif schema > SCHEMA:
                raise DriverError(f"{self.path}: has schema {schema}, this agent knows {SCHEMA}: use a newer agent")
        except BaseException:
            db.close()
            raise
        return db


def look(path: Path) -> list[Item]:
    """All files of an evidence.db that an agent may be writing; raises `DriverError`."""
    if not path.is_file():
        raise DriverError(f"{path}: there is no such file; has the agent ever run with this data directory?")
    try:
        db = read_only(path)
        try:
            return [_item(row) for row in db.execute("SELECT * FROM evidence ORDER BY wall_s, id").fetchall()]
        finally:
            db.close()
    except apsw.Error as error:
        raise DriverError(f"{path}: {error}") from error


def _item(row: tuple[Any, ...]) -> Item:
    return msgspec.convert(dict(zip(Item.__struct_fields__, row, strict=True)), Item, strict=False)
