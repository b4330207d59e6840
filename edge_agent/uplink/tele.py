"""Telemetry of an outage: kept apart from the events, by the minute, expendable, and told later in the last lane.

tele.db may be deleted at any time: it holds a week of minutes at most, is not synced, and goes when the disk is short.
Its minutes go into the outbox once the link is there and the events have gone ahead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import apsw
import msgspec
from msgspec import Struct

from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.topics import Summary
from edge_agent.uplink.disk import Pressure
from edge_agent.uplink.minutes import Minutes

log = logging.getLogger(__name__)
T = TypeVar("T")

KEEP = 10_080  # minutes: a week of one group
LOOK_S = 5.0
AT_ONCE = 60
BEHIND = 500  # events in the outbox: with more than that, minutes wait
LANE = 3

_TABLE = "CREATE TABLE IF NOT EXISTS minute(id TEXT PRIMARY KEY, start_s REAL, body BLOB) WITHOUT ROWID"
_OVER = "DELETE FROM minute WHERE id IN (SELECT id FROM minute ORDER BY start_s DESC LIMIT -1 OFFSET ?)"


class Put(Protocol):
    """`Outbox.put`: the same id twice is one event."""

    def __call__(self, kind: str, body: bytes, *, id: str, lane: int, wall_s: float) -> Awaitable[int]: ...


class Tele:
    """Call `add` with every sample that found no link, and `run` under `supervise`."""

    def __init__(
        self,
        path: Path,
        device: str,
        put: Put,
        *,
        ready: Callable[[], bool],
        pressure: Callable[[], Pressure],
        clock: Clock,
        health: Health,
    ) -> None:
        """`ready` says whether minutes may go into the outbox now."""
        self._path, self._device, self._put = path, device, put
        self._ready, self._pressure, self._clock, self._health = ready, pressure, clock, health
        self._minutes = Minutes()

    def add(self, group: str, data: Struct) -> None:
        """A sample that could not be published."""
        self._minutes.add(group, self._clock.wall(), msgspec.to_builtins(data))

    async def run(self) -> None:
        """Write down what is over, pass on what may go; raises `DriverError` where the disk fails."""
        db = await asyncio.to_thread(self._open)
        try:
            while True:
                await self._turn(db)
                await self._clock.sleep(LOOK_S)
        finally:
            db.close()

    async def _turn(self, db: apsw.Connection) -> None:
        closed = self._minutes.closed(self._clock.wall())
        if self._pressure() >= Pressure.URGENT_ONLY:
            gone = await self._on_disk(lambda: _changed(db, "DELETE FROM minute")) + len(closed)
            return self._shed(gone, "the disk is short of room")
        if closed:
            self._shed(await self._on_disk(lambda: self._keep(db, closed)), f"more than {KEEP} waited")
        if self._ready():
            for id, start_s, body in await self._on_disk(lambda: _oldest(db)):
                await self._put("tele", body, id=id, lane=LANE, wall_s=start_s)
                await self._on_disk(partial(_changed, db, "DELETE FROM minute WHERE id = ?", id))
        return None

    def _shed(self, count: int, why: str) -> None:
        if count:
            self._health.counts["tele.shed"] += count
            log.warning("telemetry: %d minutes of an outage are gone: %s", count, why)

    async def _on_disk(self, act: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(act)
        except apsw.Error as error:
            raise DriverError(f"{self._path}: {error}") from error

    # --- in a thread ------------------------------------------------------------------------------------------------

    def _open(self) -> apsw.Connection:
        """The file, or a new one where it is damaged: nothing in it is worth a delay."""
        try:
            with contextlib.suppress(apsw.CorruptError, apsw.NotADBError, apsw.SQLError):
                return self._connect()
            log.warning("telemetry: %s is damaged: a new one is begun", self._path)
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            return self._connect()
        except (apsw.Error, OSError) as error:
            raise DriverError(f"{self._path}: {error}") from error

    def _connect(self) -> apsw.Connection:
        self._path.touch(mode=0o600)
        db = apsw.Connection(str(self._path))
        try:
            db.set_busy_timeout(500)
            db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL").fetchall()
            db.execute(_TABLE).fetchall()
            db.execute("SELECT id, start_s, body FROM minute").fetchall()
        except BaseException:
            db.close()
            raise
        return db

    def _keep(self, db: apsw.Connection, closed: list[tuple[float, Summary]]) -> int:
        """Returns how many of the oldest had to go for them."""
        for start_s, summary in closed:
            id = f"{self._device}/{summary.group}/{summary.began}"
            _changed(db, "INSERT INTO minute VALUES (?,?,?) ON CONFLICT DO NOTHING", id, start_s, encoded(summary))
        return _changed(db, _OVER, KEEP)


def encoded(summary: Summary) -> bytes:
    """The data of its event."""
    return msgspec.json.encode(summary)


def _changed(db: apsw.Connection, sql: str, *values: str | float | bytes) -> int:
    db.execute(sql, values).fetchall()
    return db.changes()


def _oldest(db: apsw.Connection) -> list[tuple[str, float, bytes]]:
    found = db.execute("SELECT id, start_s, body FROM minute ORDER BY start_s LIMIT ?", (AT_ONCE,))
    return [(str(id), float(str(start_s)), bytes(body)) for id, start_s, body in found.fetchall()]  # type: ignore[arg-type]
