"""Opening events.db: make it, bring it up to date, or set a damaged one aside and save what is intact in it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

import apsw
from msgspec import Struct

from edge_agent import topics
from edge_agent.runtime import DriverError
from edge_agent.uplink.reader import SCHEMA
from edge_agent.uplink.rows import Event, event_of
from edge_agent.uplink.salvage import salvage
from edge_agent.uplink.store import Store

log = logging.getLogger(__name__)

GAPS_MAX = 200  # records about one damaged file; the last of them covers what is left
PARTS = ("", "-wal", "-shm", "-mark")
DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError, ValueError, TypeError)

MakeNote = Callable[[str, Struct], Event]  # (kind, data)


def open_store(path: Path, max_mib: int, *, wall_s: float, note: MakeNote) -> Store:
    """The store in this file, whatever was there; `note` makes the events that tell of it."""
    if not path.exists():
        return _create(path, max_mib, new_epoch(wall_s, 0))
    if path.stat().st_size == 0:
        return _replace(path, max_mib, "it is empty", wall_s, note)
    store, why = None, None
    try:
        store = Store(path, max_mib)
        why = _examine(store)
    except DAMAGE as error:
        why = str(error)
    except DriverError:
        if store is not None:
            store.close()
        raise
    if why is None and store is not None:
        store.load()
        return store
    if store is not None:
        store.close()
    return _replace(path, max_mib, why or "it cannot be opened", wall_s, note)


def new_epoch(wall_s: float, last: int) -> int:
    """Unix milliseconds: unique also where the old file can no longer be read."""
    return max(round(wall_s * 1000), last + 1)


def lock(path: Path) -> int:
    """Keep a second agent off this file; the kernel lets go of the lock whatever happens."""
    fd = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise DriverError(f"{path}: another process uses it") from None
    return fd


def _examine(store: Store) -> str | None:
    """Bring the tables up to date; returns what is wrong with the file, if anything."""
    schema = store.schema()
    if schema is None:
        return "it holds no tables"
    if schema > SCHEMA:
        raise DriverError(f"{store.path}: has schema {schema}, this agent knows {SCHEMA}: use the agent that made it")
    if schema < SCHEMA:
        store.migrate()
        log.info("outbox: %s is of schema %d: it is %d from now on", store.path.name, schema, SCHEMA)
    why = store.faults(store.path)
    _ = store.unanswered(), store.under_way()  # or they cannot be read
    return why


def _create(path: Path, max_mib: int, epoch: int, head: bytes | None = None) -> Store:
    store = Store(path, max_mib)
    store.create(epoch, head)
    return store


def _replace(path: Path, max_mib: int, why: str, wall_s: float, note: MakeNote) -> Store:
    """Set the damaged file aside and go on in a new one, with every intact event of the old."""
    aside = path.with_name(f"{path.name}.damaged-{round(wall_s * 1000)}")
    for suffix in PARTS:
        if (part := Path(f"{path}{suffix}")).exists():
            part.rename(f"{aside}{suffix}")
    found = salvage(aside)
    store = _create(path, max_mib, new_epoch(wall_s, found.epoch), found.tip.head if found.tip else None)
    missing = found.missing()
    told = f"{path.name} was damaged: {why}; it is kept as {aside.name}, {len(found.rows)} intact events are sent anew"
    if found.tip is not None:
        told += f" of {found.tip.kept} that were kept"
    with store.commit():
        for row in found.rows:
            store.insert(event_of(row), row.state, row.why)
        store.remember(found.commands)
        for first, last in _at_most(missing, GAPS_MAX):
            reason = "not found in the damaged file: confirmed before, or lost"
            store.insert(note("gap", topics.Gap(epoch=found.epoch, first=first, last=last, reason=reason)))
        store.insert(note("fault", topics.Fault(part="outbox", reason=told)))
    log.error("outbox: %s", told)
    return store


def _at_most(runs: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """These runs, the last of them widened over the rest where they are too many."""
    return runs if len(runs) <= count else [*runs[: count - 1], (runs[count - 1][0], runs[-1][1])]
