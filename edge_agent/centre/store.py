"""What devices reported, in one SQLite file; a batch is one transaction, and only what is committed is acknowledged.

`event` holds each event once by its id; `place` holds which (epoch, seq) of each device are here. The two are kept
apart so that neither a repeat under a new place nor a place that a faulty device gave twice can lose an event. `hollow`
holds the runs of places that a gap record names: one row, however long.

Several processes may share the file. A transaction begins by reading the places that others have committed since, so
an acknowledgement says what the file holds, and not only what its sender has stored.
"""

from __future__ import annotations

import bisect
import fcntl
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec

from edge_agent.ranges import Ranges
from edge_agent.runtime import DriverError
from edge_agent.topics import Ack, Envelope, Gap, Nack, Status, unix_s

MAX_RANGES = 100  # of an acknowledgement; what is beyond them is acknowledged once the first gaps close
BUSY_MS = 5000  # another process of the same centre commits within milliseconds

_TABLES = """
CREATE TABLE IF NOT EXISTS event(
  device TEXT, id TEXT, kind TEXT, time TEXT, wall_s REAL, epoch INTEGER, seq INTEGER, body BLOB,
  PRIMARY KEY(device, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_time ON event(wall_s);
CREATE TABLE IF NOT EXISTS place(device TEXT, epoch INTEGER, seq INTEGER, UNIQUE(device, epoch, seq));
CREATE TABLE IF NOT EXISTS hollow(
  device TEXT, epoch INTEGER, first INTEGER, last INTEGER, PRIMARY KEY(device, epoch, first, last)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled(device TEXT, epoch INTEGER, upto INTEGER, PRIMARY KEY(device, epoch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS thumb(
  device TEXT, event TEXT, body BLOB, epoch INTEGER, seq INTEGER, PRIMARY KEY(device, event)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tele(device TEXT, grp TEXT, time TEXT, body BLOB, PRIMARY KEY(device, grp)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS status(device TEXT PRIMARY KEY, state TEXT, sess TEXT, time TEXT, body BLOB) WITHOUT ROWID;
"""


class Store:
    """The tables; use every writing method inside `with store.commit():`."""

    def __init__(self, path: Path, pictures: Path | None = None) -> None:
        self.path, self._pictures = path, pictures
        try:
            self._db = apsw.Connection(str(path))
            self._db.set_busy_timeout(BUSY_MS)
            self._db.transaction_mode = "IMMEDIATE"  # to read first and write later would fail where another writes
            with _turn(path):
                self._db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
                with self._db:
                    self._db.execute(_TABLES)
                    self._migrate()
        except apsw.Error as error:
            raise DriverError(f"{path}: {error}") from error
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
        self._fresh: dict[tuple[str, int], list[int]] = defaultdict(list)  # places of the last commit
        self._version = self._db.data_version()
        self._held = self._load()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """One transaction; `DriverError` where the disk fails, and then nothing of it was kept."""
        try:
            with self._db:
                self._fresh.clear()
                self._read_others()
                yield
                self._seen = self._last_place()
        except (apsw.Error, OSError) as error:
            self._held = self._load()
            raise DriverError(f"{self.path}: {error}") from error

    def add_event(self, device: str, envelope: Envelope, body: bytes) -> None:
        """Keep an event, unless its id is here already."""
        kind = envelope.type.removeprefix("ev.")
        gap = msgspec.json.decode(envelope.data, type=Gap) if kind == "gap" else None
        self._db.execute(
            "INSERT INTO event VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
            (device, envelope.id, kind, envelope.time, unix_s(envelope.time), envelope.epoch, envelope.seq, body),
        )
        self._hold(device, envelope.epoch, envelope.seq)
        if gap is not None and gap.first > 0:  # one of a file names no place
            last = min(gap.last, envelope.seq) if gap.epoch == envelope.epoch else gap.last  # no place of the future
            self._hold_none(device, gap.epoch, gap.first, last)

    def add_thumb(self, device: str, event: str, epoch: int, seq: int, body: bytes) -> None:
        """Keep the small picture of an event."""
        self._db.execute(
            "INSERT INTO thumb VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING", (device, event, body, epoch, seq)
        )
        self._hold(device, epoch, seq)
        if self._pictures is not None:
            (self._pictures / f"{device}-{event}.jpg").write_bytes(body)

    def set_tele(self, device: str, group: str, time: str, body: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO tele VALUES (?,?,?,?)", (device, group, time, body))

    def set_status(self, device: str, status: Status, body: bytes) -> bool:
        """Keep whether a device is online; the will of an older session says nothing. True for a birth."""
        found = self._db.execute("SELECT sess FROM status WHERE device = ?", (device,)).fetchall()
        if status.state == "offline" and found and found[0][0] != status.sess:
            return False
        self._db.execute(
            "INSERT OR REPLACE INTO status VALUES (?,?,?,?,?)", (device, status.state, status.sess, status.time, body)
        )
        if (stream := status.streams.get("ev")) is None:
            return False
        if stream.acked:
            self._db.execute(
                "INSERT INTO settled VALUES (?,?,?) ON CONFLICT DO UPDATE SET upto = max(upto, excluded.upto)",
                (device, stream.epoch, stream.acked),
            )
            self._held[device, stream.epoch].add(1, stream.acked)
        return True

    def ack(self, device: str, epoch: int, nack: Iterable[Nack] = (), to_birth: bool = False) -> Ack:
        """What is committed here of one epoch of a device."""
        cum, rest = self._held[device, epoch].split()
        sel = rest if len(rest) <= MAX_RANGES else self._choose(rest, self._fresh[device, epoch])
        return Ack(epoch=epoch, cum=cum, sel=tuple(sel), nack=tuple(nack), all=to_birth and sel is rest)

    def _choose(self, runs: list[tuple[int, int]], fresh: Iterable[int]) -> list[tuple[int, int]]:
        """Of too many runs those that the last commit filled, as TCP does (RFC 2018, section 4); then the first."""
        ends = [last for _, last in runs]
        chosen = {runs[at] for seq in fresh if (at := bisect.bisect_left(ends, seq)) < len(runs) and runs[at][0] <= seq}
        return sorted(chosen.union(runs[: max(0, MAX_RANGES - len(chosen))]))

    def _read_others(self) -> None:
        """Take over the places that another process has committed; rows of `place` are only ever appended."""
        version = self._db.data_version()
        if version == self._version:
            return
        self._version = version
        found = self._db.execute("SELECT device, epoch, seq FROM place WHERE rowid > ?", (self._seen,))
        for device, epoch, seq in found:
            self._held[str(device), _int(epoch)].add(_int(seq), _int(seq))
        for device, epoch, first, last in self._db.execute("SELECT device, epoch, first, last FROM hollow"):
            self._held[str(device), _int(epoch)].add(_int(first), _int(last))

    def _last_place(self) -> int:
        return _int(self._db.execute("SELECT coalesce(max(rowid), 0) FROM place").fetchall()[0][0])

    def _migrate(self) -> None:
        """A file of the first version does not know where in the stream its thumbs were."""
        known = {row[1] for row in self._db.execute("PRAGMA table_info(thumb)")}
        for column in {"epoch", "seq"} - known:
            self._db.execute(f"ALTER TABLE thumb ADD COLUMN {column} INTEGER")

    def _load(self) -> dict[tuple[str, int], Ranges]:
        held: dict[tuple[str, int], Ranges] = defaultdict(Ranges)
        self._seen = self._last_place()
        for device, epoch, first, last in self._db.execute(_RUNS):
            held[str(device), _int(epoch)].add(_int(first), _int(last))
        return held

    def _hold(self, device: str, epoch: int, seq: int) -> None:
        self._db.execute("INSERT INTO place VALUES (?,?,?) ON CONFLICT DO NOTHING", (device, epoch, seq))
        self._held[device, epoch].add(seq, seq)
        self._fresh[device, epoch].append(seq)

    def _hold_none(self, device: str, epoch: int, first: int, last: int) -> None:
        """Nothing will ever come for these places."""
        if first <= last:
            self._db.execute("INSERT INTO hollow VALUES (?,?,?,?) ON CONFLICT DO NOTHING", (device, epoch, first, last))
            self._held[device, epoch].add(first, last)


def events(path: Path, kind: str | None = None, device: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The newest events, oldest of them first, while the centre may be running."""
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        found = db.execute(
            "SELECT device, body FROM event WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR device = ?2)"
            " ORDER BY wall_s DESC, seq DESC LIMIT ?3",
            (kind, device, limit),
        ).fetchall()
    except apsw.Error as error:
        raise DriverError(f"{path}: {error}") from error
    db.close()
    return [{"device": device, **msgspec.json.decode(body)} for device, body in reversed(found)]


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Processes that start together on a new file take turns: SQLite lets one fail at once where another changes the
    journal mode. The lock is on the directory: a second descriptor of the file would, closed, drop SQLite's own locks.
    """
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


_RUNS = """
SELECT device, epoch, min(seq), max(seq) FROM
  (SELECT device, epoch, seq, seq - row_number() OVER (PARTITION BY device, epoch ORDER BY seq) AS run FROM place)
GROUP BY device, epoch, run
UNION ALL SELECT device, epoch, 1, upto FROM settled
UNION ALL SELECT device, epoch, first, last FROM hollow
"""


def _int(value: Any) -> int:
    return int(value)
