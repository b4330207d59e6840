"""Events on disk until the centre has them: one writer thread over events.db, durable before `put` returns.

Whatever is asked while a commit is on its way to the disk goes into the next one, so a burst costs few commits and a
single event waits for none. What is only read comes first and waits for no commit.

Telemetry does not come here as it is measured: of what finds no link one summary a minute does, in the last lane.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec
from msgspec import Struct
from ulid import ULID

from edge_agent import topics
from edge_agent.messages import Reply
from edge_agent.ranges import Ranges, ranges
from edge_agent.runtime import Clock, DriverError
from edge_agent.uplink.commands import INTERRUPTED, OUTLIVE_US
from edge_agent.uplink.disk import Ballast, Pressure, disk_used, free_bytes, pressure
from edge_agent.uplink.lanes import Lanes
from edge_agent.uplink.opening import lock, new_epoch, open_store
from edge_agent.uplink.rows import Event, Row, Stats, cost
from edge_agent.uplink.store import OutboxFullError, Store
from edge_agent.uplink.writer import Act, Writer

__all__ = ["LANES", "Outbox", "OutboxFullError", "Pressure", "Row", "Stats"]

log = logging.getLogger(__name__)
T = TypeVar("T")

STATS_EVERY_S = 1.0
THUMB_SHARE = 0.9  # of the quota: pictures are refused before events are
SHED_ROWS = 200  # at most at a time, and at least so much of the quota: one record tells of many
SHED_SHARE = 0.01
FULL_BYTES = 1024 * 1024  # with less than this free, what fails fails for want of room
PUT_OFF_MAX_S = 600.0

# Which lane an event of a kind goes by, unless its maker says otherwise: 0 alarms, audit and whatever tells of a loss,
# 1 detections, 2 missions, evidence and pictures, 3 aggregates. What must make room at the quota goes from lane 3 up.
LANES = {
    "fault": 0,
    "audit": 0,
    "gap": 0,
    "det": 1,
    "voice": 1,
    "snapshot": 1,
    "mission": 2,
    "visit": 2,
    "evidence": 2,
    "clip": 2,
    "thumb": 2,
    "tele": 3,
    "count": 3,
}
LAST_LANE = 3


class Outbox:
    """The store of unconfirmed events and of answered commands; any coroutine of one loop may use it.

    Every method that waits returns after its commit, or raises `DriverError` (`OutboxFullError` at the quota) and has
    changed nothing. `on_fresh` is called, in the loop, after new events were kept. `counts` only ever grow.
    """

    def __init__(self, path: Path, *, device: str, max_mib: int, clock: Clock, ballast_mib: int = 0) -> None:
        """Open or make the file; a damaged one is set aside, what is intact in it is kept under a new epoch."""
        self.path, self.device = path, device
        self.boot = _boot_id()
        self.on_fresh: Callable[[], None] = lambda: None
        self.counts: Counter[str] = Counter()
        self.under_way: list[tuple[str, str, str, str]] = []  # (id, name, by, run) of commands whose flight goes on
        self._clock, self._max_mib = clock, max_mib
        self._ballast = Ballast(path.with_name("ballast"), ballast_mib)
        self._lanes = Lanes()
        self._sent = Ranges()  # places that were handed out to be sent since the start, and not confirmed
        self._asleep: dict[int, float] = {}  # seq -> wall time until which it is put off
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = lock(path)
            try:
                self._start()
            except BaseException:
                os.close(self._lock)
                raise
            self.epoch = self._store.epoch
            self._stats = self._store.stats(clock.wall())
        except (apsw.Error, OSError) as error:
            raise DriverError(f"{path}: {_explain(error)}") from error
        self._writer = Writer(
            "outbox",
            read=self._read,
            commit=self._commit,
            now_and_then=self._look_around,
            every_s=STATS_EVERY_S,
            close=self._close,
        )

    # --- events ---------------------------------------------------------------------------------------------------

    async def event(
        self,
        kind: str,
        data: Struct,
        *,
        id: str | None = None,
        lane: int | None = None,
        wall_s: float | None = None,
        thumb: bytes | None = None,
    ) -> int:
        """Keep an event of one of `topics.KINDS`, and with it a small JPEG; returns its seq."""
        event = self._event(kind, msgspec.json.encode(data), id or str(ULID()), lane, wall_s)

        def act() -> int:
            seq = self._insert(event)
            if thumb is None:
                return seq
            picture = {"id": f"{event.id}/thumb", "lane": LANES["thumb"], "kind": "thumb", "body": thumb}
            thumbnail = msgspec.structs.replace(event, content_type=topics.JPEG, **picture)
            if self._store.has_room(len(thumb), share=THUMB_SHARE):
                self._store.insert(thumbnail)
            else:
                self.counts["thumbs_refused"] += 1
                log.warning("outbox: nearly full: event %d goes without its picture", seq)
            return seq

        return await self._do(act, fresh=True)

    async def put(
        self,
        kind: str,
        body: bytes,
        *,
        id: str,
        lane: int | None = None,
        content_type: str = topics.JSON,
        wall_s: float | None = None,
    ) -> int:
        """Keep the data of an event; the same id twice is one event. Returns its seq."""
        event = msgspec.structs.replace(self._event(kind, body, id, lane, wall_s), content_type=content_type)
        return await self._do(lambda: self._insert(event), fresh=True)

    async def take(self, limit: int, *, skip: Collection[int] = ()) -> list[Row]:
        """The next events to send, each lane by its weight, without those of `skip`, which are on their way.

        One whose checksum fails by now is set aside, and a gap takes its place.
        """
        skipped = frozenset(skip)
        rows = await self._do(lambda: self._take(limit, skipped), reads=True)
        if all(row.intact() for row in rows):
            return rows
        for row in rows:
            if not row.intact():
                await self.nacked(row.seq, "its checksum fails: the disk has changed it")
        return [row for row in rows if row.intact()]

    async def tail(self, limit: int, *, quarantined: bool = False) -> list[Row]:
        """The newest events that wait, or that are set aside, oldest of them first."""
        return await self._do(lambda: self._store.tail(limit, quarantined), reads=True)

    async def acked(self, epoch: int, cum: int, sel: Iterable[tuple[int, int]] = ()) -> bool:
        """Delete what the centre has committed; an acknowledgement of another epoch is ignored.

        So is one of what was not sent since the start: the centre cannot have it, or has it from an earlier life, and
        then it gets it once more.

        One of places that were never given means that this disk has forgotten commits: a new epoch begins, so that
        those places are not given twice. Returns False then.
        """
        runs = ranges(((1, cum), *sel)).runs
        highest = max((last for _, last in runs), default=0)

        def act() -> int:
            if epoch != self.epoch:
                return self.epoch
            if highest >= self._store.tip.next:
                return self._renew(f"the centre holds seq {highest}, which was never given here")
            for first, last in itertools.chain.from_iterable(self._sent.within(*run) for run in runs):
                self.counts["acked"] += self._store.delete(first, last)
                self._lanes.settle(first, last)
                self._sent.remove(first, last)
            return epoch

        before, self.epoch = self.epoch, await self._do(act)
        return self.epoch == before

    async def put_off(self, seq: int, for_s: float, why: str) -> None:
        """Send this event later: the broker or the centre refused it for now."""
        until_wall_s = self._clock.wall() + for_s

        def act() -> None:
            self._store.put_off(seq, until_wall_s, why)
            self._asleep[seq] = until_wall_s
            self._lanes.hold(seq)

        await self._do(act)

    async def nacked(self, seq: int, why: str) -> None:
        """Set an event aside that the other side can never take, and put a gap in its place."""

        def act() -> bool:
            if fresh := self._store.quarantine(seq, why):
                self.counts["quarantined"] += 1
                self._note("gap", topics.Gap(epoch=self.epoch, first=seq, last=seq, reason=why))
            return fresh

        if await self._do(act, fresh=True):
            log.error("outbox: event %d is set aside: %s", seq, why)

    async def retry(self, ids: Sequence[str] | None = None) -> int:
        """Send anew what was set aside (all, or these ids), each as a new event of its old id; returns how many."""
        return len(await self._do(lambda: self._store.retry(ids), fresh=True))

    def stats(self) -> Stats:
        """How it stood at most a second or so ago; costs nothing."""
        return self._stats

    async def measure(self) -> Stats:
        """How it stands now."""
        return await self._do(lambda: self._store.stats(self._clock.wall()))

    def pressure(self) -> Pressure:
        """How short of room the outbox or its disk is: what evidence must go, so that events may come."""
        stats = self._stats
        used = disk_used(self.path.parent)
        return pressure(used_bytes=stats.bytes, quota_bytes=stats.quota_bytes, disk_used=used)

    @property
    def ballast(self) -> str:
        """`held`, `off`, or `gone`: then the disk is, or was a moment ago, too full for it."""
        return "off" if not self._ballast.wanted else "held" if self._ballast.held else "gone"

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
        await self._writer.close()

    # --- the writer's thread --------------------------------------------------------------------------------------

    async def _do(self, act: Callable[[], T], *, fresh: bool = False, reads: bool = False) -> T:
        if not self._writer.open:
            raise DriverError(f"{self.path}: is closed")
        result = await self._writer.do(act, reads=reads)
        if fresh:
            self.on_fresh()
        return result

    def _look_around(self) -> None:
        """Once a second: count, and take the ballast on board again where the disk has room."""
        try:
            self._stats = self._store.stats(self._clock.wall())
        except apsw.Error as error:
            log.warning("outbox: cannot be counted: %s", error)
        if self._ballast.wanted and not self._ballast.held and self._ballast.make():
            self._store.freeze(False)
            log.info("outbox: the disk has room: the ballast is back")

    def _read(self, acts: list[Act]) -> list[Any]:
        outcomes: list[Any] = []
        for act in acts:
            try:
                outcomes.append(act())
            except (apsw.Error, ValueError) as error:  # a ValueError: what should be text is none
                outcomes.append(DriverError(f"{self.path}: {_explain(error)}"))
        return outcomes

    def _commit(self, acts: list[Act]) -> list[Any]:
        """Do them in one transaction; a refusal is one act's own, a disk that fails is everyone's."""
        try:
            return self._transact(acts)
        except apsw.Error as error:
            if not (self._is_for_room(error) and self._ballast.drop()):
                return self._all_failed(acts, error)
            log.error("outbox: %s: the ballast is thrown off, nothing but what must be is kept now", _explain(error))
        try:
            self._store.freeze(True)
            return self._transact(acts)
        except apsw.Error as error:
            return self._all_failed(acts, error)

    def _transact(self, acts: list[Act]) -> list[Any]:
        outcomes: list[Any] = []
        with self._store.commit():
            for act in acts:
                try:
                    outcomes.append(act())
                except DriverError as refusal:
                    outcomes.append(refusal)
        return outcomes

    def _is_for_room(self, error: Exception) -> bool:
        """Whether it failed because the disk is full; where SQLite only says that I/O failed, the disk is asked."""
        if isinstance(error, apsw.FullError):
            return True
        return isinstance(error, apsw.IOError | OSError) and free_bytes(self.path.parent) < FULL_BYTES

    def _all_failed(self, acts: list[Act], error: apsw.Error) -> list[Any]:
        return [DriverError(f"{self.path}: {_explain(error)}")] * len(acts)

    def _take(self, limit: int, skip: frozenset[int]) -> list[Row]:
        now = self._clock.wall()
        # One that is put off for longer than anything is ever put off means that the clock has moved: it is due.
        due = [seq for seq, until in self._asleep.items() if not now < until <= now + PUT_OFF_MAX_S]
        for seq in due:
            del self._asleep[seq]
        self._lanes.release(due)
        rows = self._lanes.take(limit, self._store.page, self._store.tip.next, skip)
        for row in rows:
            self._sent.add(row.seq, row.seq)
        return rows

    def _event(self, kind: str, body: bytes, id: str, lane: int | None, wall_s: float | None) -> Event:
        return Event(
            id=id,
            lane=min(max(LANES.get(kind, 1) if lane is None else lane, 0), LAST_LANE),
            kind=kind,
            content_type=topics.JSON,
            wall_s=self._clock.wall() if wall_s is None else wall_s,
            boot=self.boot,
            body=body,
            mono_us=round(self._clock.monotonic() * 1e6),
        )

    def _insert(self, event: Event) -> int:
        if self._store.find(event.id) is None and not self._make_room(event):
            self.counts["refused"] += 1
            raise OutboxFullError(
                f"{self.path}: full: {self._max_mib} MiB of unconfirmed events;"
                " restore the link to the centre, free some of the disk or raise outbox.max_mib"
            )
        self.counts["put"] += 1
        return self._store.insert(event)

    def _make_room(self, event: Event) -> bool:
        """Let the oldest of the least urgent lane go, which is no more urgent than this event; gaps tell of them."""
        size, urgent = len(event.body), event.lane == 0
        for lane in range(LAST_LANE, max(event.lane, 1) - 1, -1):
            while not self._store.has_room(size, urgent=urgent) and (rows := self._store.oldest(lane, SHED_ROWS)):
                self._shed(_so_many(rows, max(cost(size), round(SHED_SHARE * self._store.quota_bytes))))
        return self._store.has_room(size, urgent=urgent)

    def _shed(self, rows: list[Row]) -> None:
        """Delete these rows of one lane, and tell by which runs of places: all of a run is settled or goes now."""
        runs: list[list[Row]] = []
        for row in rows:
            if runs and not self._store.neighbours(runs[-1][-1].seq, row.seq):
                runs[-1].append(row)
            else:
                runs.append([row])
        for run in runs:
            first, last, lane = run[0].seq, run[-1].seq, run[0].lane
            for row in run:
                self._store.delete(row.seq, row.seq)
            why = (
                f"the outbox was full: {len(run)} events of lane {lane} gave way,"
                f" {topics.rfc3339(run[0].wall_s)} to {topics.rfc3339(run[-1].wall_s)}"
            )
            self._note("gap", topics.Gap(epoch=self.epoch, first=first, last=last, reason=why))
        self.counts["shed"] += len(rows)
        self._store.measure_room()

    def _note(self, kind: str, data: Struct) -> None:
        """Keep an event about the outbox itself; those have room beyond the quota."""
        self._store.insert(self._about(kind, data))

    def _about(self, kind: str, data: Struct) -> Event:
        return self._event(kind, msgspec.json.encode(data), str(ULID()), 0, None)

    def _answer(self, id: str, name: str, by: str, reply: Reply) -> None:
        self._store.answer(id, reply)
        self._note("audit", topics.Answered(command=id, name=name, by=by, reply=reply))

    # --- opening --------------------------------------------------------------------------------------------------

    def _open(self) -> Store:
        return open_store(self.path, self._max_mib, wall_s=self._clock.wall(), note=self._about)

    def _close(self) -> None:
        self._store.close()
        os.close(self._lock)

    def _start(self) -> None:
        try:
            self._store = self._open()
            self._close_interrupted_commands()
        except (apsw.Error, OSError) as error:
            if not (self._is_for_room(error) and self._ballast.drop()):
                raise
            log.error("outbox: %s: the ballast is thrown off, so that the file can be opened", _explain(error))
            self._store = self._open()
            self._store.freeze(True)
            self._close_interrupted_commands()
        self._ballast.make()

    def _renew(self, why: str) -> int:
        """Begin a new epoch in the same file."""
        epoch = new_epoch(self._clock.wall(), self.epoch)
        self._store.renew(epoch)
        self._sent = Ranges()
        self._note("fault", topics.Fault(part="outbox", reason=f"{why}; epoch {epoch} begins"))
        log.error("outbox: %s; epoch %d begins", why, epoch)
        return epoch

    def _close_interrupted_commands(self) -> None:
        with self._store.commit():
            for id, name, by in self._store.unanswered():
                self._answer(id, name, by, INTERRUPTED)
            for id, name, by, run in self._store.under_way():
                if name in OUTLIVE_US:
                    self.under_way.append((id, name, by, run))
                else:
                    self._answer(id, name, by, INTERRUPTED)


def _so_many(rows: list[Row], room_bytes: int) -> list[Row]:
    """The first of these rows that free so much, or all of them."""
    sizes = itertools.accumulate(cost(len(row.body)) for row in rows)
    return rows[: 1 + next((place for place, freed in enumerate(sizes) if freed >= room_bytes), len(rows))]


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
        case apsw.IOError():
            return f"the disk fails ({error}): look at its health, and replace the card before it is gone"
        case apsw.CorruptError() | ValueError():
            return f"is damaged: {error}; restart the agent: it sets the file aside and saves what is intact"
        case _:
            return str(error)
