"""The pictures of what happened: blurred and marked where they leave, as they were taken where they stay."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent import config
from edge_agent.audit import Audit, Entry
from edge_agent.messages import Incident, Picture, Tracks
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.sealing import SUFFIX
from edge_agent.vision.worker import Worker

if TYPE_CHECKING:
    from edge_agent.vision.camera import Frame

log = logging.getLogger(__name__)

TIDY_S = 600.0
DAY_S, MIB = 86_400.0, 1024 * 1024
FOLDER, ID = "originals", 26  # files begin with the id of their incident, a ULID


def veiled(frame: Frame, tracks: Tracks, subject: int | None) -> Frame:
    """The frame as it may leave: without heads, and without plates but that of the track `subject`."""
    from dataclasses import replace

    from edge_agent.vision.blur import blurred, others, private

    subjects = () if subject is None else (subject,)
    return replace(frame, pixels=blurred(frame.pixels, others(private(tracks), *subjects)))


class Witness:
    """`run` keeps the originals within their limits; the others block no loop and raise DriverError."""

    def __init__(
        self,
        data_dir: Path,
        section: config.Privacy,
        *,
        audit: Audit,
        clock: Clock,
        health: Health,
        sealed_leave: bool = False,
        held: Callable[[], Callable[[str], bool]] = lambda: lambda _: False,
    ) -> None:
        """With `sealed_leave` sealed originals are uploaded, and kept by whoever does that.

        `held` gives a test of whether an incident's pictures are held at the moment; it may block.
        """
        self._dir, self._section, self._audit = data_dir, section, audit
        self._left = SUFFIX if sealed_leave else None
        self._clock, self._health, self._held = clock, health, held
        self._hand = Worker("pictures")  # one: each thread would load the fonts of its own

    # --- taken ----------------------------------------------------------------------------------------------------

    async def shoot(
        self, found: Incident, frame: Frame, tracks: Tracks, *, blur: bool, why: str | None
    ) -> tuple[Incident, bytes, str | None]:
        """The incident with its picture, its thumb, and why there is no picture, if so; `why` forbids one."""
        from edge_agent.vision.record import thumbnail

        shown = await asyncio.to_thread(veiled, frame, tracks, found.track) if blur else frame
        thumb = await asyncio.to_thread(thumbnail, shown, found.box)  # before the marks are drawn
        picture = None
        if why is None:
            marks = ((found.box, f"{found.rule} {found.label} #{found.track}"),)
            try:
                picture, _ = await self._write("incidents", found.id, frame, shown, marks)
            except DriverError as error:  # the warning and the report matter more than their picture
                why = str(error)
        if why is None:
            self._health.set("pictures", "running")
        else:
            self._health.failed("pictures", DriverError(why))
        return msgspec.structs.replace(found, picture=picture), thumb, why

    async def snapshot(self, id: str, frame: Frame, tracks: Tracks, *, blur: bool) -> tuple[Picture, bytes]:
        """The picture of a moment that somebody asked for, and its thumb."""
        from edge_agent.vision.record import thumbnail

        shown = await asyncio.to_thread(veiled, frame, tracks, None) if blur else frame
        picture, _ = await self._write("snapshots", id, frame, shown, ())
        height, width = frame.pixels.shape[:2]
        return picture, await asyncio.to_thread(thumbnail, shown, (0.0, 0.0, float(width), float(height)))

    async def photograph(
        self, name: str, frame: Frame, tracks: Tracks, subject: int | None, *, blur: bool
    ) -> tuple[Picture, str | None]:
        """One photograph of a set of evidence, with nothing drawn into it, and the hash of its original, if any."""
        shown = await asyncio.to_thread(veiled, frame, tracks, subject) if blur else frame
        return await self._write("sets", name, frame, shown, ())

    async def _write(
        self,
        folder: str,
        id: str,
        frame: Frame,
        shown: Frame,
        marks: tuple[tuple[tuple[float, float, float, float], str], ...],
    ) -> tuple[Picture, str | None]:
        """The picture that leaves, and the hash of the original that stays, if one does: side by side, for speed."""
        from edge_agent.vision.record import write_picture

        ours = shown is not frame  # no second copy of it is made: memory that nobody touched yet is slow
        write = partial(write_picture, self._dir / folder, id, shown, marks, ours=ours)
        leaves = self._hand.call(write)
        if not ours or self._section.max_mib == 0:
            return await leaves, None
        return await asyncio.gather(leaves, asyncio.to_thread(self._try_to_keep, id, frame))

    def _try_to_keep(self, id: str, frame: Frame) -> str | None:
        """What leaves is on the disk and reported, whether there was room for its original or not."""
        try:
            return self._keep(id, frame)
        except DriverError as error:
            log.error("original of %s: %s", id, error)
            return None

    def _keep(self, id: str, frame: Frame) -> str:
        """Write the picture as it was taken; the hash of what its reader will find."""
        from edge_agent.vision.record import write_picture, write_sealed

        if self._section.seal_to is None:
            return write_picture(self._dir / FOLDER, id, frame, ()).sha256
        return write_sealed(self._dir / FOLDER, id, frame, self._section.seal_to)

    # --- kept -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Delete originals that are too old or too many, each deletion in the audit log, until cancelled."""
        from edge_agent.vision.record import load_fonts

        await self._hand.call(load_fonts)
        while True:
            await asyncio.to_thread(self.tidy)
            await self._clock.sleep(TIDY_S)

    def tidy(self) -> int:
        """Delete what must go; returns how many files went. Blocks."""
        entries = list[Entry]()
        try:
            for path, why in self.due():
                path.unlink(missing_ok=True)
                entries.append(("original.deleted", "retention", {"file": path.name, "why": why}))
        except OSError as error:
            raise DriverError(f"{error.filename}: cannot be deleted: {error.strerror}") from None
        finally:  # what went before it stands in the log all the same
            self._audit.append(entries)
        return len(entries)

    def due(self) -> list[tuple[Path, str]]:
        """The originals that must go now, each with the setting that says so; none of what is held. Blocks."""
        held = self._held()
        files: list[tuple[float, int, Path]] = []
        for path in (self._dir / FOLDER).glob("[!.]*"):
            if path.suffix == self._left:
                continue
            with contextlib.suppress(OSError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        now, left, found = self._clock.wall(), sum(size for _, size, _ in files), list[tuple[Path, str]]()
        for written_s, size, path in sorted(files):
            old = now - written_s > self._section.keep_days * DAY_S
            if held(path.name[:ID]) or (not old and left <= self._section.max_mib * MIB):
                continue
            left -= size
            found.append((path, "privacy.keep_days" if old else "privacy.max_mib"))
        return found
