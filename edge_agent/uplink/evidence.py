"""The originals on this disk: taken charge of, kept within limits, deleted by rule, never lost without a record.

A file is deleted once the centre's receipt named the same hash and retention lets it go. What must go before that
leaves a gap record, and the record is durable before the file is gone. Each file that went stands in the audit log.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from edge_agent import config
from edge_agent.audit import Audit, Entry
from edge_agent.messages import Clipped, Incident
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.sealing import SUFFIX
from edge_agent.topics import EvidenceFile, EvidenceState, Gap, Receipt
from edge_agent.uplink.disk import Pressure
from edge_agent.uplink.evidence_store import EvidenceStore, Item
from edge_agent.uplink.retention import Drop, due

log = logging.getLogger(__name__)
T = TypeVar("T")

MIB = 1024 * 1024
TIDY_S = 30.0
FOLDERS = ("incidents", "snapshots", "clips", "sets")  # where originals are written
ORIGINALS = "originals"  # pictures as they were taken; of them those may leave that only the authority's key opens
PICTURES = (".jpg", ".jpeg", ".png")


class Report(Protocol):
    """`Outbox.event`: durable when it returns; the same id twice is one event."""

    def __call__(self, kind: str, data: Struct, *, id: str) -> Awaitable[int]: ...


class GoneError(Exception):
    """A file is no longer what was recorded: it vanished, or it was changed."""


class Evidence:
    """Call `run` under `supervise`; all else at any time; each raises `DriverError` where the disk fails.

    `on_new` is called with every file that was taken charge of.
    """

    def __init__(
        self,
        data_dir: Path,
        section: config.Evidence,
        *,
        report: Report,
        audit: Audit,
        clock: Clock,
        health: Health,
        pressure: Callable[[], Pressure] = lambda: Pressure.NONE,
        sealed: bool = False,
    ) -> None:
        """With `sealed` the sealed originals are in our charge as well."""
        self.on_new: Callable[[Item], None] = lambda _: None
        self._dir, self._section, self._audit = data_dir, section, audit
        self._patterns = [f"{folder}/[!.]*" for folder in FOLDERS] + ([f"{ORIGINALS}/[!.]*{SUFFIX}"] if sealed else [])
        self._report, self._clock, self._health, self._pressure = report, clock, health, pressure
        self._thread = ThreadPoolExecutor(1, "evidence")  # the one thread that touches the files and evidence.db
        self._store: EvidenceStore | None = None
        self._totals: dict[str, tuple[int, int]] = {}
        self._full: str | None = None
        self._began_s, self._swept = clock.wall(), False

    async def run(self) -> None:
        """Keep the books complete and the disk within its limits until cancelled."""
        while True:
            await self.adopt()
            await self.tidy()
            await self._clock.sleep(TIDY_S)

    async def close(self) -> None:
        """Finish what the disk is at, then close the database."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._store is not None:
            self._store.close()
            self._store = None

    # --- files ----------------------------------------------------------------------------------------------------

    async def keep(
        self, path: Path, *, kind: str, incident: str, sha256: str, bytes: int, wall_s: float, hold: bool = False
    ) -> None:
        """Take charge of a file that is complete on disk; what is missed here, the next start finds."""
        if path.is_relative_to(self._dir):
            path = path.relative_to(self._dir)
        item = Item(
            id=path.name,
            incident=incident,
            kind=kind,
            sha256=sha256,
            bytes=bytes,
            path=str(path),
            wall_s=wall_s,
            hold=hold,
        )
        if await self.on_disk(lambda store: store.add(item)):
            self.on_new(item)
            await self._count()

    async def take(self, incident: Incident, why: str | None) -> None:
        """The original of an incident, or `why` there is none; a disk that fails is a fault, and the next start's."""
        picture = incident.picture
        try:
            if picture is None:
                none = EvidenceFile(id=f"{incident.id}.jpg", incident=incident.id, kind="picture", sha256="", bytes=0)
                await self.lost(none, why or "no picture was taken")
            else:
                await self.keep(
                    Path(picture.path),
                    kind="picture",
                    incident=incident.id,
                    sha256=picture.sha256,
                    bytes=picture.bytes,
                    wall_s=incident.wall_s,
                )
        except DriverError as error:
            self._health.set("evidence.books", f"failed: {error}")
        else:
            self._health.set("evidence.books", "running")

    async def film(self, clip: Clipped) -> None:
        """Take charge of a clip; a disk that fails is a fault, and the next start's."""
        video = clip.video
        try:
            await self.keep(
                Path(video.path),
                kind="clip",
                incident=clip.incident or clip.id,
                sha256=video.sha256,
                bytes=video.bytes,
                wall_s=clip.wall_s,
            )
        except DriverError as error:
            self._health.set("evidence.books", f"failed: {error}")

    def refuses(self) -> str | None:
        """Why no more originals may be written now, so that events still find room; None where they may."""
        return self._full

    async def lost(self, file: EvidenceFile, why: str) -> None:
        """Record that a file is not there and never will be at the centre."""
        log.error("evidence %s is lost: %s", file.id, why)
        self._health.counts["evidence.lost"] += 1
        await self._report("gap", Gap(reason=why, evidence=file), id=f"{file.id}/gap")

    async def gone(self, item: Item, why: str) -> None:
        """A file vanished or was changed behind our back: record it, and go on without it."""
        await self.lost(item.file(), why)
        await self.on_disk(lambda store: store.forget([item.id]))

    async def received(self, item: Item, receipt: Receipt) -> None:
        """The centre proved that it has this file; the event is durable before the file may go."""
        await self._tell(
            item, EvidenceState(**_facts(item), state="received", url=receipt.url, stored_at=receipt.stored_at)
        )
        await self.on_disk(lambda store: store.settle(item.id, "received"))
        await self._count()
        log.info("evidence %s: the centre has it (%d bytes)", item.id, item.bytes)

    async def refused(self, item: Item, why: str) -> None:
        """The centre will never take this file: it stays here until a person or the quota decides."""
        await self._tell(item, EvidenceState(**_facts(item), state="refused", reason=why))
        await self.on_disk(lambda store: store.settle(item.id, "refused", why))
        await self._count()
        log.error("evidence %s is set aside: %s", item.id, why)

    @property
    def holds_all(self) -> bool:
        """Whether the configuration keeps everything (`evidence.hold`)."""
        return self._section.hold

    async def hold(self, ids: Sequence[str], on: bool, by: str, why: str) -> None:
        """Keep files whatever the rules say, or no longer; the audit log knows it first."""
        what = "evidence.hold" if on else "evidence.release"
        await asyncio.to_thread(self._audit.append, [(what, by, {"file": id, "why": why}) for id in ids])
        await self.on_disk(lambda store: [store.hold(id, on) for id in ids])

    async def items(self) -> list[Item]:
        """All files and where they stand."""
        return await self.on_disk(lambda store: store.items())

    def held(self) -> Callable[[str], bool]:
        """Tells of an incident whether any of its files is held; blocks."""
        if self._section.hold:
            return lambda _: True
        items = self._thread.submit(lambda: self._opened().items()).result()
        return {item.incident for item in items if item.hold}.__contains__

    async def delete(self, items: Sequence[Item], by: str, why: str) -> None:
        """Delete files now, and their originals; one that the centre has not leaves a gap record first."""
        await self._drop([(item, Drop(id=item.id, why=why, lost=item.state != "received")) for item in items], by)
        await self._delete_originals([item.id for item in items], by, why)
        await self._count()

    async def read(self, item: Item, offset: int, count: int) -> bytes:
        """So many bytes of a file, fewer only at its end; `GoneError` where it is shorter than it was."""
        wanted = min(count, item.bytes - offset)

        def act(_: EvidenceStore) -> bytes:
            with (self._dir / item.path).open("rb") as file:
                file.seek(offset)
                return file.read(wanted)

        try:
            data = await self.on_disk(act)
        except FileNotFoundError:
            raise GoneError("it vanished from the disk") from None
        if len(data) != wanted:
            raise GoneError(f"it has fewer than the {item.bytes} bytes that it had")
        return data

    async def check(self, item: Item) -> None:
        """Raises `GoneError` where the file is not the one that was recorded."""

        def act(_: EvidenceStore) -> tuple[str, int]:
            return _digest(self._dir / item.path)

        try:
            sha256, size = await self.on_disk(act)
        except FileNotFoundError:
            raise GoneError("it vanished from the disk") from None
        if (sha256, size) != (item.sha256, item.bytes):
            raise GoneError(f"it was changed on the disk: {size} bytes with sha256 {sha256}")

    def status(self) -> dict[str, Any]:
        """How it stands: files by state, their bytes, how many were lost, and why there is no room, if so."""
        counts = {state: self._totals.get(state, (0, 0))[0] for state in ("waiting", "received", "refused")}
        size = sum(size for _, size in self._totals.values())
        return {**counts, "bytes": size, "lost": self._health.counts["evidence.lost"], "full": self._full}

    # --- the disk -------------------------------------------------------------------------------------------------

    async def on_disk(self, act: Callable[[EvidenceStore], T]) -> T:
        """Run `act` in the disk's thread; raises `DriverError`, and FileNotFoundError as it is."""

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: act(self._opened()))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DriverError(f"{self._dir}: {error}") from None

    def _opened(self) -> EvidenceStore:
        """In the disk's thread alone."""
        if self._store is None:
            self._store = EvidenceStore(self._dir / "evidence.db")
        return self._store

    async def adopt(self) -> None:
        """Take charge of complete files that are not on the books: a stop came between, or evidence.db was lost.

        Of what was held then, the audit log knows.
        """
        if not self._swept:
            await asyncio.to_thread(self._sweep)
            self._swept = True

        def look(store: EvidenceStore) -> list[Path]:
            known = store.ids()
            found = (path for pattern in self._patterns for path in self._dir.glob(pattern))
            return sorted(path for path in found if path.name not in known)

        paths = await self.on_disk(look)
        held = await asyncio.to_thread(self._held_by_log) if paths else set[str]()
        for path in sorted(paths, key=lambda path: path.name not in held):  # these first: they hold their incidents
            with contextlib.suppress(FileNotFoundError):  # whoever took it away was quicker
                await self._adopt_one(path, hold=path.name in held)

    def _sweep(self) -> None:
        """Delete what a kill or a power cut left half written: no limit would ever count it."""
        for path in (part for folder in (*FOLDERS, ORIGINALS) for part in (self._dir / folder).glob(".*.part")):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < self._began_s:
                    path.unlink()

    def _held_by_log(self) -> set[str]:
        held = set[str]()
        for record in self._audit.find("evidence.hold", "evidence.release"):
            (held.add if record["what"] == "evidence.hold" else held.discard)(str(record["facts"]["file"]))
        return held

    async def tidy(self) -> None:
        """Delete what the rules let go and what the limits demand, then see whether there is room."""
        items = {item.id: item for item in await self.items()}
        drops = await self.due(list(items.values()))
        await self._drop([(items.pop(drop.id), drop) for drop in drops], "retention")
        await self._count()
        self._judge_room(sum(item.bytes for item in items.values()), await self._free())

    async def due(self, items: Sequence[Item]) -> list[Drop]:
        """What the rules let go, and what the limits demand, at this moment."""
        if self._section.hold:
            return []
        short, at_once = max(0, self._section.min_free_mib * MIB - await self._free()), Pressure.SHED_UPLOADED
        return due(
            [item.kept() for item in items],
            wall_s=self._clock.wall(),
            keep_days=(lambda _: 0.0) if self._pressure() >= at_once else self._keep_days,
            unsent_days=self._section.unsent_days,
            quota_bytes=self._section.max_mib * MIB,
            short_bytes=short,
        )

    def _keep_days(self, kind: str) -> float:
        section = self._section
        own = {
            "clip": section.keep_clips_days,
            "manifest": section.keep_manifests_days,
            "original": section.keep_originals_days,
        }.get(kind)
        return section.keep_days if own is None else own

    def _judge_room(self, used: int, free: int) -> None:
        section, self._full = self._section, None
        if free < section.min_free_mib * MIB:
            self._full = f"{free // MIB} MiB of the disk are free, evidence.min_free_mib is {section.min_free_mib}"
        elif used >= section.max_mib * MIB:
            self._full = f"{used // MIB} MiB are held, evidence.max_mib is {section.max_mib}"
        self._health.set("evidence.room", "running" if self._full is None else f"failed: {self._full}")

    async def _drop(self, drops: Sequence[tuple[Item, Drop]], by: str) -> None:
        """Delete, and then write it down: on a disk that is full there is room for the record only now."""
        gone = list[Entry]()
        try:
            for item, drop in drops:
                if drop.lost:
                    await self.lost(item.file(), f"deleted before the centre had it: {drop.why}")
                await self._unlink(item)
                gone.append(("evidence.deleted", by, {"file": item.id, "sha256": item.sha256, "why": drop.why}))
                log.info("evidence %s is deleted: %s", item.id, drop.why)
        finally:
            await asyncio.to_thread(self._audit.append, gone)
        await self.on_disk(lambda store: store.forget([item.id for item, _ in drops]))

    async def _delete_originals(self, ids: Sequence[str], by: str, why: str) -> None:
        """What lies beside these as it was taken, and is not on the books itself."""
        gone = list[Entry]()

        def act(store: EvidenceStore) -> None:
            names = {f"{id}{suffix}" for id in ids for suffix in ("", SUFFIX)} - store.ids()
            for path in (self._dir / ORIGINALS / name for name in sorted(names)):
                if path.is_file():
                    path.unlink()
                    gone.append(("original.deleted", by, {"file": path.name, "why": why}))

        try:
            await self.on_disk(act)
        finally:
            await asyncio.to_thread(self._audit.append, gone)

    async def _unlink(self, item: Item) -> None:
        await self.on_disk(lambda _: (self._dir / item.path).unlink(missing_ok=True))

    async def _count(self) -> None:
        self._totals = await self.on_disk(lambda store: store.totals())

    async def _free(self) -> int:
        return await self.on_disk(lambda _: shutil.disk_usage(self._dir).free)

    async def _adopt_one(self, path: Path, *, hold: bool) -> None:
        def look(_: EvidenceStore) -> tuple[str, int, float]:
            return *_digest(path), path.stat().st_mtime

        sha256, size, wall_s = await self.on_disk(look)
        facts = {"kind": _kind(path.suffix.lower()), "incident": path.name[:26]}
        await self.keep(path, **facts, sha256=sha256, bytes=size, wall_s=wall_s, hold=hold)

    async def _tell(self, item: Item, state: EvidenceState) -> None:
        await self._report("evidence", state, id=f"{item.id}/{state.state}")


def _facts(item: Item) -> dict[str, Any]:
    return {name: getattr(item, name) for name in EvidenceFile.__struct_fields__}


def _kind(suffix: str) -> str:
    if suffix in PICTURES:
        return "picture"
    return {".json": "manifest", SUFFIX: "original"}.get(suffix, "clip")


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return sha256, file.tell()
