"""A telemetry log of each flight, as MAVProxy writes it: every frame of both directions behind its time.

A record is the time in µs since 1970, 8 bytes big endian, and the raw frame; mavutil, MAVExplorer, UAVLogViewer and
Mission Planner read it. A thread writes; a disk that is slow, full or broken costs the log, never the flight.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

BEFORE_BYTES = 512 * 1024  # what came before the flight, kept in memory: gates, upload, arming
AFTER_S = 10.0  # the log goes on so long after landing
PENDING = 50_000  # records that wait for a disk which hangs; later ones are dropped, and counted
FREE_BYTES = 100 * 1024 * 1024  # left to those whose records count for more
JOIN_S = 5.0


class Tlog:
    """`take` every frame; `flying` says, each turn, whether there is a flight, and its name.

    All files together are kept below `keep_mb`, the oldest go first; 0 keeps none.
    """

    def __init__(self, directory: Path, keep_mb: int, wall: Callable[[], float]) -> None:
        self._directory, self._keep_bytes, self._wall = directory, keep_mb * 1024 * 1024, wall
        self._before: deque[bytes] = deque()
        self._before_bytes = 0
        self._writer: _Writer | None = None
        self._flew_s = 0.0

    def take(self, frame: bytes) -> None:
        """One frame, in or out, as it was on the wire."""
        if not self._keep_bytes:
            return
        record = (int(self._wall() * 1e6) & ~3).to_bytes(8, "big") + frame  # MAVProxy keeps the link's number there
        if self._writer is not None:
            self._writer.put(record)
            return
        self._before.append(record)
        self._before_bytes += len(record)
        while self._before_bytes > BEFORE_BYTES:
            self._before_bytes -= len(self._before.popleft())

    def flying(self, name: str | None, now: float) -> None:
        """Open a log when a flight begins, close it a while after it ended."""
        if name is not None:
            self._flew_s = now
            if self._writer is None and self._keep_bytes:
                self._begin(name)
        elif self._writer is not None and now - self._flew_s > AFTER_S:
            self._end()

    def close(self) -> None:
        """Write what is pending; a disk that hangs is not waited for."""
        if (writer := self._end()) is not None:
            writer.join(JOIN_S)

    def _begin(self, name: str) -> None:
        began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall()))
        self._writer = _Writer(self._directory / f"{began}-{name}.tlog", self._keep_bytes)
        for record in self._before:
            self._writer.put(record)
        self._before.clear()
        self._before_bytes = 0
        self._writer.start()

    def _end(self) -> _Writer | None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.end()
        return writer


class _Writer(threading.Thread):
    """Writes one file, to its end or to the first fault."""

    def __init__(self, file: Path, keep_bytes: int) -> None:
        super().__init__(name=f"tlog {file.name}", daemon=True)
        self._file, self._keep_bytes = file, keep_bytes
        self._records: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._dropped = 0
        self._broken = False

    def put(self, record: bytes) -> None:
        if self._broken or self._records.qsize() >= PENDING:
            self._dropped += 1
        else:
            self._records.put(record)

    def end(self) -> None:
        self._records.put(None)

    def run(self) -> None:
        try:
            self._write()
        except OSError as error:
            self._broken = True
            log.warning("flight: no more telemetry log: %s: %s", self._file, error.strerror or error)
        if self._dropped:
            log.warning("flight: %s lacks %d frames", self._file.name, self._dropped)

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        room = self._make_room()
        with self._file.open("xb") as out:
            while (record := self._records.get()) is not None:
                if room < len(record):
                    raise OSError(f"the log of one flight may not be larger than {self._keep_bytes} bytes")
                out.write(record)
                room -= len(record)
                if self._records.empty():
                    out.flush()

    def _make_room(self) -> int:
        """Half of what may be kept goes to this flight: the oldest of the others leave for it."""
        share = self._keep_bytes // 2
        kept = sorted(self._file.parent.glob("*.tlog"), key=lambda file: file.stat().st_mtime)
        used = sum(file.stat().st_size for file in kept)
        while kept and used > self._keep_bytes - share:
            used -= kept[0].stat().st_size
            kept.pop(0).unlink()
        if shutil.disk_usage(self._file.parent).free < share + FREE_BYTES:
            share = max(0, shutil.disk_usage(self._file.parent).free - FREE_BYTES)
        return share
