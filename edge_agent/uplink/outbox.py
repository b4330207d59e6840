"""Events on disk until the centre has them: one writer thread over events.db, durable before `put` returns.

Whatever is asked while a commit is on its way to the disk goes into the next one, so a burst costs few commits and a
single event waits for none.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec
from msgspec import Struct
from ulid import ULID

from edge_agent import topics
from edge_agent.messages import Reply
from edge_agent.runtime import Clock, DriverError
from edge_agent.uplink.commands import INTERRUPTED
from edge_agent.uplink.store import SCHEMA, Event, OutboxFullError, Row, Stats, Store, salvage

__all__ = ["Outbox", "OutboxFullError", "Row", "Stats"]

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCH = 64
STATS_EVERY_S = 1.0
THUMB_SHARE = 0.9  # of the quota: pictures are refused before events are


class Answered(Struct, frozen=True, kw_only=True):
    """The audit event of a command: who asked for what, and what the answer was."""

    command: str
    name: str
    by: str
    reply: Reply


@dataclass
class _Job:
    act: Callable[[], Any]
    done: concurrent.futures.Future[Any]


class Outbox:
    """The store of unconfirmed events and of answered commands; any coroutine of one loop may use it.

    Every method that waits returns after its commit, or raises `DriverError` (`OutboxFullError` at the quota) and has
    changed nothing. `on_fresh` is called, in the loop, after new events were kept.
    """

    def __init__(self, path: Path, *, device: str, max_mib: int, clock: Clock) -> None:
        """Open or make the file; a damaged one is set aside, what is intact in it is kept under a new epoch."""
        self.path, self.device = path, device
        self.boot = _boot_id()
        self.on_fresh: Callable[[], None] = lambda: None
        self._clock, self._max_mib = clock, max_mib
        try:
            self._store = self._open()
            self._close_interrupted_commands()
            self.epoch = self._store.epoch
            self._stats = self._store.stats(clock.wall())
        except (apsw.Error, OSError) as error:
            raise DriverError(f"{path}: {_explain(error)}") from error
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    # --- events ---------------------------------------------------------------------------------------------------

    async def event(
        self,
        kind: str,
        data: Struct,
        *,
        id: str | None = None,
        lane: int = 1,
        wall_s: float | None = None,
        thumb: bytes | None = None,
    ) -> int:
        """Keep an event of one of `topics.KINDS`, and with it a small JPEG; returns its seq."""
        event = self._event(kind, msgspec.json.encode(data), id or str(ULID()), lane, wall_s)

        def act() -> int:
            seq = self._insert(event)
            if thumb is not None and self._store.has_room(len(thumb), share=THUMB_SHARE):
                picture = {"id": f"{event.id}/thumb", "lane": lane + 1, "kind": "thumb", "body": thumb}
                self._store.insert(msgspec.structs.replace(event, content_type=topics.JPEG, **picture))
            elif thumb is not None:
                log.warning("outbox: nearly full: event %d goes without its picture", seq)
            return seq

        return await self._do(act, fresh=True)

    async def put(
        self,
        kind: str,
        body: bytes,
        *,
        id: str,
        lane: int = 1,
        content_type: str = topics.JSON,
        wall_s: float | None = None,
    ) -> int:
        """Keep the data of an event; lower lanes go first, the same id twice is one event. Returns its seq."""
        event = msgspec.structs.replace(self._event(kind, body, id, lane, wall_s), content_type=content_type)
        return await self._do(lambda: self._insert(event), fresh=True)

    async def take(self, limit: int, *, skip: Collection[int] = ()) -> list[Row]:
        """The next events to send, without those of `skip`: lane by lane, oldest first."""
        return await self._do(lambda: self._store.take(limit, self._clock.wall(), skip))

    async def acked(self, epoch: int, cum: int, sel: Iterable[tuple[int, int]] = ()) -> bool:
        """Delete what the centre has committed; an acknowledgement of another epoch is ignored.

        One of places that were never given means that this disk has forgotten commits: a new epoch begins, so that
        those places are not given twice. Returns False then.
        """
        ranges = ((0, cum), *sel)
        highest = max(last for _, last in ranges)

        def act() -> int:
            if epoch != self.epoch:
                return self.epoch
            if highest >= self._store.next_seq():
                return self._renew(f"the centre holds seq {highest}, which was never given here")
            for first, last in ranges:
                self._store.delete(first, last)
            return epoch

        before, self.epoch = self.epoch, await self._do(act)
        return self.epoch == before

    async def put_off(self, seq: int, for_s: float, why: str) -> None:
        """Send this event later: the broker or the centre refused it for now."""
        await self._do(lambda: self._store.put_off(seq, self._clock.wall() + for_s, why))

    async def nacked(self, seq: int, why: str) -> None:
        """Set an event aside that the other side can never take, and put a gap in its place."""

        def act() -> bool:
            if fresh := self._store.quarantine(seq, why):
                self._note("gap", topics.Gap(epoch=self.epoch, first=seq, last=seq, reason=why))
            return fresh

        if await self._do(act, fresh=True):
            log.error("outbox: event %d is set aside: %s", seq, why)

    def stats(self) -> Stats:
        """How it stood at most a second or so ago; costs nothing."""
        return self._stats

    async def measure(self) -> Stats:
        """How it stands now."""
        return await self._do(lambda: self._store.stats(self._clock.wall()))

    # --- commands -------------------------------------------------------------------------------------------------

    async def claim(self, id: str, name: str, by: str) -> bool:
        """Write down that a command was seen, before it is carried out; False where it was seen before."""
        return await self._do(lambda: self._store.claim(id, name, by, self._clock.wall()))

    async def answer(self, id: str, name: str, by: str, reply: Reply) -> None:
        """Record the answer to a claimed command, and an audit event with it."""
        await self._do(lambda: self._answer(id, name, by, reply), fresh=True)

    async def answered(self, id: str) -> Reply | None:
        """The recorded answer of a command; None while it runs."""
        return await self._do(lambda: self._store.answered(id))

    async def close(self) -> None:
        """Commit what is asked already, then close the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- the writer's thread --------------------------------------------------------------------------------------

    async def _do(self, act: Callable[[], T], fresh: bool = False) -> T:
        if not self._thread.is_alive():
            raise DriverError(f"{self.path}: is closed")
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._jobs.put(_Job(act, done))
        result = await asyncio.wrap_future(done)
        if fresh:
            self.on_fresh()
        return result

    def _run(self) -> None:
        measured_s = float("-inf")
        while True:
            jobs, closing = self._gather()
            try:
                self._commit([job for job in jobs if job.done.set_running_or_notify_cancel()])
                if time.monotonic() - measured_s >= STATS_EVERY_S:
                    self._stats, measured_s = self._store.stats(self._clock.wall()), time.monotonic()
            except BaseException as bug:
                for job in jobs:
                    if not job.done.done():
                        job.done.set_exception(bug)
                raise
            if closing:
                self._store.close()
                return

    def _gather(self) -> tuple[list[_Job], bool]:
        """What was asked since the last commit, and whether it is the last; nothing after an idle second."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=STATS_EVERY_S)
            while job is not None and len(jobs) < BATCH - 1:
                jobs.append(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        if job is not None:
            jobs.append(job)
        return jobs, job is None

    def _commit(self, jobs: list[_Job]) -> None:
        """Run the jobs in one transaction; a refusal is one job's own, a disk that fails is everyone's."""
        outcomes: list[Any] = []
        try:
            with self._store.db:
                for job in jobs:
                    try:
                        outcomes.append(job.act())
                    except DriverError as refusal:
                        outcomes.append(refusal)
        except apsw.Error as error:
            outcomes = [DriverError(f"{self.path}: {_explain(error)}")] * len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, DriverError):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)

    def _event(self, kind: str, body: bytes, id: str, lane: int, wall_s: float | None) -> Event:
        wall_s = self._clock.wall() if wall_s is None else wall_s
        return Event(id=id, lane=lane, kind=kind, content_type=topics.JSON, wall_s=wall_s, boot=self.boot, body=body)

    def _insert(self, event: Event) -> int:
        if self._store.find(event.id) is None and not self._store.has_room(len(event.body)):
            raise OutboxFullError(
                f"{self.path}: full: {self._max_mib} MiB of unconfirmed events;"
                " restore the link to the centre or raise outbox.max_mib"
            )
        return self._store.insert(event)

    def _note(self, kind: str, data: Struct) -> None:
        """Keep an event about the outbox itself; those have room beyond the quota."""
        self._store.insert(self._event(kind, msgspec.json.encode(data), str(ULID()), 0, None))

    def _answer(self, id: str, name: str, by: str, reply: Reply) -> None:
        self._store.answer(id, reply)
        self._note("audit", Answered(command=id, name=name, by=by, reply=reply))

    # --- opening --------------------------------------------------------------------------------------------------

    def _open(self) -> Store:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.path.exists():
            return self._create(self._new_epoch(0))
        if self.path.stat().st_size == 0:
            return self._replace("it is empty")
        try:
            store = Store(self.path, self._max_mib)
            schema = store.schema()
            why = "it holds no tables" if schema is None else store.faults() if schema == SCHEMA else None
        except (apsw.CorruptError, apsw.NotADBError, apsw.FormatError) as error:
            return self._replace(str(error))
        if schema is not None and schema != SCHEMA:
            store.close()
            raise DriverError(
                f"{self.path}: has schema {schema}, this agent knows {SCHEMA}: use the agent that made it"
            )
        if why is None:
            return store
        store.close()
        return self._replace(why)

    def _create(self, epoch: int) -> Store:
        store = Store(self.path, self._max_mib)
        store.create(epoch)
        return store

    def _replace(self, why: str) -> Store:
        """Set the damaged file aside and go on in a new one, with every intact event of the old."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{round(self._clock.wall() * 1000)}")
        for suffix in ("", "-wal", "-shm"):
            if (part := Path(f"{self.path}{suffix}")).exists():
                part.rename(f"{aside}{suffix}")
        epoch, rows = salvage(aside)
        store = self._store = self._create(self._new_epoch(epoch))
        told = (
            f"{self.path.name} was damaged: {why}; it is kept as {aside.name}, {len(rows)} intact events are sent anew"
        )
        with store.db:
            for row in rows:
                store.insert(Event(**{name: getattr(row, name) for name in Event.__struct_fields__}))
            self._note("fault", topics.Fault(part="outbox", reason=told))
        log.error("outbox: %s", told)
        return store

    def _renew(self, why: str) -> int:
        """Begin a new epoch in the same file."""
        epoch = self._new_epoch(self.epoch)
        self._store.renew(epoch)
        self._note("fault", topics.Fault(part="outbox", reason=f"{why}; epoch {epoch} begins"))
        log.error("outbox: %s; epoch %d begins", why, epoch)
        return epoch

    def _new_epoch(self, last: int) -> int:
        """Unix milliseconds: unique also where the old file can no longer be read."""
        return max(round(self._clock.wall() * 1000), last + 1)

    def _close_interrupted_commands(self) -> None:
        with self._store.db:
            for id, name, by in self._store.unanswered():
                self._answer(id, name, by, INTERRUPTED)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(ULID())


def _explain(error: Exception) -> str:
    match error:
        case apsw.FullError():
            return "the disk is full; free some space"
        case apsw.BusyError() | apsw.LockedError():
            return "another process uses it"
        case apsw.ReadOnlyError() | apsw.CantOpenError():
            return f"cannot be written: {error}"
        case _:
            return str(error)
