"""The hot lists on this disk: keyed hashes in a file for its owner alone, every look-up and change in the audit log.

The command line may change the file beside a running agent: whoever looks notices and reads it anew.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.audit import Audit, Entry
from edge_agent.files import write_durably
from edge_agent.incidents import hotlist
from edge_agent.incidents.hotlist import Change, Quality, SealedList
from edge_agent.messages import Hit, Listed
from edge_agent.runtime import DriverError

NAME, KEY, LOCK = "hotlist.json", "hotlist.key", "hotlist.lock"
MOST_NOTED = 10_000  # looks that wait for a log that cannot be written
MAX_ENTRIES = 100_000  # of all lists: some 30 MB on disk


class HotLists:
    """All lists of a data directory; any thread may call; raises DriverError where the disk fails.

    Look-ups are noted at once and written to the audit log by `flush`, which blocks. Whoever looks waits for nobody who
    changes the lists, here or in another process.
    """

    def __init__(self, data_dir: Path, *, audit: Audit, wall: Callable[[], float] = time.time) -> None:
        self._dir, self._audit, self._wall = data_dir, audit, wall
        self._lock, self._changing = threading.Lock(), threading.RLock()  # the first is never held over the disk
        self._stamp: tuple[int, int, int] | None = None
        self._key: bytes | None = None
        self._noted: list[Entry] = []
        self.lists: dict[str, SealedList] = {}
        self.generation = 0  # rises with every change, so that whoever remembers an answer asks again

    # --- asked ----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the file and its key where it has changed since; raises DriverError where no plate can be matched."""
        with self._changing:
            file = self._dir / NAME
            try:
                status = file.stat()
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                if stamp != self._stamp:
                    self._swap(msgspec.json.decode(file.read_bytes(), type=dict[str, SealedList]), stamp)
                if self.lists:
                    self._secret()
            except FileNotFoundError:
                if self.lists:
                    self._swap({}, None)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                raise DriverError(f"{file}: cannot be read: {error}; import the lists again") from None

    def _swap(self, lists: dict[str, SealedList], stamp: tuple[int, int, int] | None) -> None:
        with self._lock:
            self.lists, self._stamp, self.generation = lists, stamp, self.generation + 1

    def look(self, plate: str, *, quality: Quality, only: tuple[str, ...] = (), by: str) -> Hit | None:
        """The nearest entry in effect; noted for the audit log whatever comes of it.

        Without the key, of which `refresh` tells, nothing is a hit: whoever sees goes on seeing.
        """
        with self._lock:
            if not self.lists or (key := self._key) is None:
                self._noted.append(("hot_list.look", by, {"lists": {}, "hit": False}))
                return None
            hit = hotlist.look(
                plate,
                self.lists,
                sealed=lambda text: hotlist.seal(key, text),
                wall_s=self._wall(),
                quality=quality,
                only=only,
            )
            lists = {name: self.lists[name].version for name in sorted(self.lists) if not only or name in only}
            facts: dict[str, Any] = {"lists": lists, "plate": f"hmac:{hotlist.seal(key, plate)[:16]}", "hit": bool(hit)}
            if hit is not None:
                facts |= {"plate": plate, "entry": hit.entry, "quality": hit.quality, "authority": hit.authority}
                facts |= {"distance": f"{hit.distance:g}", "reason": hit.reason}
            self._noted.append(("hot_list.look", by, facts))
            return hit

    def flush(self) -> None:
        """Write down who looked; where the log cannot be written, it is kept for the next time."""
        with self._lock:
            noted, self._noted = self._noted, []
        try:
            self._audit.append(noted)
        except DriverError:
            with self._lock:
                self._noted = [*noted, *self._noted][:MOST_NOTED]
            raise

    def status(self) -> dict[str, Any]:
        """Each list's version, entries and the time at which the next of them expires."""
        with self._lock:
            return {
                name: {
                    "version": one.version,
                    "entries": len(one.entries),
                    "next_expires": min((e.expires for e in one.entries.values()), default=None),
                }
                for name, one in sorted(self.lists.items())
            }

    # --- changed --------------------------------------------------------------------------------------------------

    def take(
        self,
        name: str,
        *,
        plates: tuple[Listed, ...],
        by: str,
        version: int | None = None,
        replace: bool = True,
        remove: tuple[str, ...] = (),
        dry_run: bool = False,
    ) -> Change | str:
        """Put a new version of a list into effect, on disk and in the audit log; or say why it cannot be."""
        with self._alone():
            old = self.lists.get(name, SealedList())
            found = hotlist.change(
                old,
                key=self._secret(make=not dry_run) if not dry_run or self._has_key() else bytes(32),
                version=old.version + 1 if version is None else version,
                replace=replace,
                plates=plates,
                remove=remove,
                by=by,
                wall_s=self._wall(),
            )
            if isinstance(found, str) or dry_run:
                return found
            count = len(found.to.entries) + sum(len(one.entries) for other, one in self.lists.items() if other != name)
            if count > MAX_ENTRIES:
                return f"{count} entries are more than the {MAX_ENTRIES} that this device keeps"
            counts = {"added": found.added, "changed": found.changed, "removed": found.removed}
            told = {"list": name, "version": found.to.version, "mode": "replace" if replace else "amend", **counts}
            self._audit.append([("hot_list.change", by, told)])  # first: a list nobody answers for is never in effect
            self._write({**self.lists, name: found.to})
            return found

    def expire(self, by: str, plates: Iterable[str] = (), name: str | None = None, *, dry_run: bool = False) -> int:
        """Let go of what has expired, or of these plates now; returns how many entries went."""
        ended = list(plates)
        if not self.lists:
            return 0
        with self._alone():
            lists: dict[str, SealedList] = {}
            for each, old in self.lists.items():
                lists[each] = old
                if name not in (None, each):
                    continue
                if ended:
                    gone = {hotlist.seal(self._secret(), plate) for plate in ended}
                    left = {id: entry for id, entry in old.entries.items() if id not in gone}
                    ended_by = {"version": old.version + 1, "by": by, "wall_s": self._wall()}
                    lists[each] = msgspec.structs.replace(old, entries=left, **ended_by)
                else:
                    lists[each] = hotlist.expire(old, self._wall())
                if len(lists[each].entries) == len(old.entries):
                    lists[each] = old
            count = sum(len(self.lists[each].entries) - len(lists[each].entries) for each in lists)
            if count and not dry_run:
                self._audit.append([("hot_list.expire", by, {"entries": count, "list": name, "now": bool(ended)})])
                self._write(lists)
            return count

    def _write(self, lists: dict[str, SealedList]) -> None:
        file = self._dir / NAME
        try:
            write_durably(file, msgspec.json.encode(lists))
        except OSError as error:
            raise DriverError(f"{file}: cannot be written: {error.strerror}") from None
        self.refresh()

    @contextmanager
    def _alone(self) -> Generator[None, None, None]:
        """Nobody else changes the lists meanwhile, no other process either."""
        with self._changing:
            try:
                self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
                fd = os.open(self._dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise DriverError(f"{self._dir / LOCK}: {error.strerror}") from None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                self.refresh()
                yield
            finally:
                os.close(fd)

    def _has_key(self) -> bool:
        return self._key is not None or (self._dir / KEY).exists()

    def _secret(self, make: bool = True) -> bytes:
        """The key of the hashes, made with the first list; raises DriverError where it is gone or damaged."""
        if self._key is None:
            file = self._dir / KEY
            try:
                if make and not file.exists() and not self.lists:
                    write_durably(file, secrets.token_bytes(32))
                key = file.read_bytes()
            except OSError as error:
                raise DriverError(f"{file}: {error.strerror}: no plate can be matched without it") from None
            anew = f"restore the one that belongs to {NAME}, or delete both and import anew"
            if len(key) != 32:
                raise DriverError(f"{file}: holds {len(key)} bytes, 32 are wanted: {anew}")
            if any(one.key not in ("", hotlist.key_id(key)) for one in self.lists.values()):
                raise DriverError(f"{file}: is another key than that of the lists, no plate would match: {anew}")
            self._key = key
        return self._key
