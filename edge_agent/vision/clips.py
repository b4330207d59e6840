"""The ring of each camera, and clips cut from it: around incidents, of whole stays, or the last seconds when asked."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import Struct

from edge_agent import config
from edge_agent.messages import Incident, Refusal, Tracks, Video
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.sealing import SUFFIX
from edge_agent.vision.blur import private
from edge_agent.vision.camera import Frame
from edge_agent.vision.film import Film
from edge_agent.vision.ring import Coded, Ring
from edge_agent.vision.video_file import Encoder, seal_video, write_video
from edge_agent.vision.worker import LAST, Worker

LOOK_S = 0.5
PATIENCE_S = 10.0  # for pictures after an incident that do not come: then the clip ends with what there is
MIB = 1024 * 1024

StayName = tuple[str, int]  # rule, name of the stay


class Wanted(Struct, kw_only=True):
    """A clip that waits for its end; times are those of the frames, `until_s` is the clock's.

    `by` asked for it; around an incident nobody did. `subjects` are the tracks that the incident is about. Of a whole
    `stay`, from before its entry to after its end, the end comes later.
    """

    id: str
    camera: str
    from_s: float
    to_s: float
    wall_s: float
    until_s: float
    blur: bool
    by: str | None = None
    incident: str | None = None
    subjects: set[int] = set()
    stay: StayName | None = None
    taken: list[Coded] = []  # out of the ring, once it is due: others may be written first
    original: str | None = None  # the hash of the one that stays here, once it is cut


class _Recorder:
    """One camera: its encoder and ring, both changed by its worker thread alone."""

    def __init__(self, name: str, section: config.Clips) -> None:
        self.worker = Worker(f"clips.{name}", nice=LAST)
        self._encoder, self._period_s = Encoder(section.max_height), 1 / section.fps
        self.ring, self._max_bytes = Ring(section.seconds, section.max_mib * MIB), section.max_mib * MIB
        self.films: dict[StayName, Film] = {}
        self.busy: asyncio.Future[None] | None = None
        self._next_s = float("-inf")

    def due(self, at_s: float) -> bool:
        """Whether this frame is one of those to keep: so many a second, evenly."""
        if at_s < self._next_s - 10 * self._period_s - 1:  # time went back
            self._next_s = at_s
        if at_s < self._next_s - self._period_s / 4:
            return False
        self._next_s = max(self._next_s + self._period_s, at_s + self._period_s / 2)
        return True

    def encode(self, frame: Frame, tracks: Tracks) -> None:
        coded = self._encoder.encode(frame.pixels, frame.at_s, frame.wall_s, private(tracks))
        if coded is None:
            return
        self.ring.add(coded)
        for film in self.films.values():
            film.see(self.ring)

    def follow(self, stay: StayName, film: Film) -> None:
        """Film a stay, where that does not take more memory than the ring may."""
        held = {one.at_s: len(one.data) for other in self.films.values() for one in other.pictures}
        if sum(held.values()) < self._max_bytes:
            self.films[stay] = film

    def cut(self, wanted: Wanted) -> list[Coded]:
        """The pictures of a clip; raises DriverError where there are none."""
        if wanted.stay is None:
            found = self.ring.cut(wanted.from_s, wanted.to_s)
        elif (film := self.films.pop(wanted.stay, None)) is not None:
            found = film.cut(self.ring, wanted.from_s, wanted.to_s)
        else:
            raise DriverError(f"clip {wanted.id}: more stays were filmed at once than clips.max_mib has room for")
        if not found:
            raise DriverError(f"clip {wanted.id}: no pictures of {wanted.camera} are kept of that time")
        return found


class Clips:
    """Call `offer` with each analysed frame; `run` is a part; `on_clip` hears of each clip, or why there is none."""

    def __init__(
        self,
        data_dir: Path,
        section: config.Clips,
        *,
        clock: Clock,
        health: Health,
        on_clip: Callable[[Wanted, Video | str], Awaitable[None]],
        privacy: config.Privacy,
    ) -> None:
        self._dir, self._section, self._privacy = data_dir, section, privacy
        self._clock, self._health, self._on_clip = clock, health, on_clip
        self._recorders: dict[str, _Recorder] = {}
        self._wanted: list[Wanted] = []
        self._cutter: Worker | None = None
        self._waiting, self._free = 0, threading.Event()
        self._free.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Somebody waits for other work: no further picture of a clip is encoded anew until it is done."""
        self._waiting += 1
        self._free.clear()
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._free.set()

    # --- recorded -------------------------------------------------------------------------------------------------

    def offer(self, frame: Frame, tracks: Tracks) -> None:
        """Put a frame into its camera's ring; one that comes while the last is encoded is left out and counted."""
        if self._section.seconds <= 0:
            return
        recorder = self._recorders.get(tracks.camera)
        if recorder is None:
            recorder = self._recorders[tracks.camera] = _Recorder(tracks.camera, self._section)
        if not recorder.due(frame.at_s):
            return
        if recorder.busy is not None:
            if not recorder.busy.done():
                self._health.counts[f"camera.{tracks.camera}.clip_skipped"] += 1
                return
            self._heard(recorder.busy)
        recorder.busy = recorder.worker.call(recorder.encode, frame, tracks)

    def _heard(self, encoded: asyncio.Future[None]) -> None:
        try:
            encoded.result()
        except DriverError as error:
            self._health.failed("clips", error)

    def status(self) -> dict[str, Any]:
        """Of each camera: how many seconds are kept, and how much memory that takes."""
        found = {}
        for name, recorder in self._recorders.items():
            newest, oldest = recorder.ring.newest, recorder.ring.oldest
            kept_s = newest.at_s - oldest.at_s if newest and oldest else 0.0
            found[name] = {"kept_s": round(kept_s, 1), "kib": recorder.ring.bytes // 1024}
        return found

    # --- cut ------------------------------------------------------------------------------------------------------

    def around(self, incident: Incident, rule: config.Rule, *, blur: bool) -> None:
        """A clip around an incident, from before to after as its rule says; cut when its time is over."""
        if rule.clip_before_s + rule.clip_after_s <= 0 or self._section.seconds <= 0:
            return
        self._wanted.append(
            Wanted(
                id=incident.id,
                camera=incident.camera,
                from_s=incident.at_s - rule.clip_before_s,
                to_s=incident.at_s + rule.clip_after_s,
                wall_s=incident.wall_s,
                until_s=self._clock.monotonic() + rule.clip_after_s + PATIENCE_S,
                blur=blur,
                incident=incident.id,
                subjects={incident.track},
            )
        )

    def follow(self, stay: StayName, camera: str, entered_s: float, rule: config.Rule) -> None:
        """A stay began that an incident may come of: film it from before its entry on."""
        recorder = self._recorders.get(camera)
        if recorder and rule.clip_before_s + rule.clip_after_s > 0:
            film = Film(entered_s, rule.clip_before_s, rule.clip_after_s)
            recorder.worker.call(recorder.follow, stay, film)

    def back(self, incident: str, track: int) -> None:
        """Whom an incident is about goes by this track now."""
        for wanted in self._wanted:
            if wanted.incident == incident:
                wanted.subjects.add(track)

    def forget(self, stay: StayName) -> None:
        """Nothing came of a stay."""
        for recorder in self._recorders.values():
            recorder.worker.call(recorder.films.pop, stay, None)

    def whole(self, stay: StayName, incident: Incident, rule: config.Rule, *, blur: bool) -> None:
        """A clip of the whole stay that an incident came of, once it has `ended`, or the agent stops."""
        if incident.camera not in self._recorders or rule.clip_before_s + rule.clip_after_s <= 0:
            return
        self._wanted.append(
            Wanted(
                id=f"{incident.id}.stay",
                camera=incident.camera,
                from_s=math.inf,
                to_s=math.inf,
                wall_s=incident.wall_s,
                until_s=math.inf,
                blur=blur,
                incident=incident.id,
                subjects={incident.track},
                stay=stay,
            )
        )

    def ended(self, stay: StayName, last_s: float, at_s: float, rule: config.Rule) -> None:
        """A stay is over, of one who was last seen in it at `last_s`: its clip goes on to a little after."""
        for wanted in self._wanted:
            if wanted.stay == stay:
                wanted.from_s, wanted.to_s = last_s - rule.clip_before_s, at_s + rule.clip_after_s
                wanted.until_s = self._clock.monotonic() + rule.clip_after_s + PATIENCE_S

    def last(self, id: str, camera: str, last_s: float, *, blur: bool, by: str) -> Refusal | None:
        """The last seconds of a camera, soon; or why not."""
        recorder = self._recorders.get(camera)
        newest = recorder.ring.newest if recorder else None
        if newest is None:
            there = ", ".join(name for name, one in self._recorders.items() if one.ring.newest) or "none yet"
            return Refusal(gate="clip", reason="no pictures of this camera are kept", value=camera, limit=there)
        wanted = Wanted(
            id=id,
            camera=camera,
            from_s=newest.at_s - last_s,
            to_s=newest.at_s,
            wall_s=newest.wall_s,
            until_s=self._clock.monotonic(),
            blur=blur,
            by=by,
        )
        self._wanted.append(wanted)
        return None

    async def run(self) -> None:
        """Cut what is due, until cancelled; what still waits then is cut with what there is."""
        try:
            while True:
                await self._clock.sleep(LOOK_S)
                while due := [one for one in self._wanted if one.taken or self._is_due(one)]:
                    for wanted in due:
                        await self._take(wanted)
                    self._wanted.remove(due[0])
                    await self._cut_whole(due[0])
        finally:
            waiting, self._wanted = self._wanted, []
            for wanted in waiting:
                await self._cut(wanted)

    def _is_due(self, wanted: Wanted) -> bool:
        recorder = self._recorders.get(wanted.camera)
        newest = recorder.ring.newest if recorder else None
        back = newest is not None and wanted.to_s < math.inf and newest.at_s < wanted.from_s - PATIENCE_S
        past = newest is not None and newest.at_s >= wanted.to_s
        return past or back or self._clock.monotonic() >= wanted.until_s

    async def _take(self, wanted: Wanted) -> None:
        """Take its pictures before the ring lets them go; where there are none, its cutting says why."""
        recorder = self._recorders.get(wanted.camera)
        if recorder is not None and not wanted.taken:
            with suppress(DriverError):
                wanted.taken = await recorder.worker.call(recorder.cut, wanted)

    async def _cut_whole(self, wanted: Wanted) -> None:
        """Cut it to its end, also where the agent stops meanwhile: a stay's film can be cut only once."""
        cutting = asyncio.ensure_future(self._cut(wanted))
        try:
            await asyncio.shield(cutting)
        finally:
            await cutting

    async def _cut(self, wanted: Wanted) -> None:
        try:
            found: Video | str = await self._write(wanted)
        except DriverError as error:
            self._health.failed("clips", error)
            found = str(error)
        else:
            self._health.set("clips", "running")
        await self._on_clip(wanted, found)

    async def _write(self, wanted: Wanted) -> Video:
        """The clip that leaves, and beside it, where that one is blurred, the original that stays."""
        recorder = self._recorders.get(wanted.camera)
        if recorder is None:
            raise DriverError(f"clip {wanted.id}: nothing of {wanted.camera} is kept")
        pictures = wanted.taken or await recorder.worker.call(recorder.cut, wanted)
        if self._cutter is None:
            self._cutter = Worker("clips.cutter", nice=LAST)
        return await self._cutter.call(self._put, wanted, pictures)

    def _put(self, wanted: Wanted, pictures: Sequence[Coded]) -> Video:
        name = f"{wanted.id}.mp4"
        if wanted.blur and self._privacy.max_mib > 0:
            wanted.original = self._keep_original(self._dir / "originals" / name, pictures)
        file, gently = self._dir / "clips" / name, partial(self._free.wait, PATIENCE_S)
        return write_video(file, pictures, blur=wanted.blur, subjects=wanted.subjects, before_each=gently)

    def _keep_original(self, file: Path, pictures: Sequence[Coded]) -> str:
        """The encoder's own pictures; returns the hash of the clip that they are."""
        if self._privacy.seal_to is None:
            return write_video(file, pictures, blur=False).sha256
        return seal_video(file.with_name(file.name + SUFFIX), pictures, self._privacy.seal_to)
