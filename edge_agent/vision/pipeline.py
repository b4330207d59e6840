"""From cameras to tracks: capture parts put frames into channels of size one, detector parts take turns among them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import cv2

from edge_agent import config
from edge_agent.messages import Box, Tracks
from edge_agent.runtime import Clock, Health, Latest
from edge_agent.sun import height_deg
from edge_agent.vision.camera import Camera, Frame, open_camera
from edge_agent.vision.detect import Detector, open_detector
from edge_agent.vision.eye import Eye, Look
from edge_agent.vision.heat import temperature_c
from edge_agent.vision.load import FEW_FRAMES, NO_PLATES, ONE_TILE, PLATES_SELDOM, SLOW_FPS, SMALL_PICTURE, Load
from edge_agent.vision.places import box_around
from edge_agent.vision.plates import PlateReader, open_plate_reader
from edge_agent.vision.views import Views, views_of
from edge_agent.vision.worker import BEHIND, Worker

STUCK_S = 60.0  # one frame through detector and plates: longer than the slowest board needs


def open_vision(
    settings: config.Agent,
    *,
    clock: Clock,
    health: Health,
    on_tracks: Callable[[Frame, Tracks], Awaitable[None]],
) -> Vision:
    """Everything that the config says about seeing; models are loaded when the parts run."""
    cv2.setNumThreads(1)  # the models have threads of their own; OpenCV's pool would only compete with them
    return Vision(
        [open_camera(section, clock) for section in settings.cameras],
        {section.name: partial(open_detector, section) for section in settings.detectors},
        {section.name: section for section in settings.cameras},
        settings.plates,
        {section.name: _zones(settings, section) for section in settings.cameras},
        health=health,
        on_tracks=on_tracks,
        load=settings.load,
        sun=_sun(settings.site),
        views=_views(settings),
    )


def open_eye(settings: config.Agent, camera: config.Camera) -> Eye:
    """The way from frame to tracks of one camera of the config, for whoever sets its own pace."""
    sections = {section.name: section for section in settings.detectors}
    detectors = Detectors({name: partial(open_detector, section) for name, section in sections.items()})
    sun, zones = _sun(settings.site), _zones(settings, camera)
    return make_eye(camera, detectors, reader=_reader(settings.plates), plates=settings.plates, zones=zones, sun=sun)


class Detectors:
    """The detectors of a config, each opened once, when it is asked for."""

    def __init__(self, openers: Mapping[str, Callable[[], Detector]]) -> None:
        self._openers, self._open = openers, dict[str, Detector]()

    def __getitem__(self, name: str) -> Detector:
        if name not in self._open:
            self._open[name] = self._openers[name]()
        return self._open[name]


def make_eye(
    camera: config.Camera,
    detectors: Detectors,
    *,
    reader: PlateReader | None,
    plates: config.Plates,
    zones: Sequence[Box],
    sun: Callable[[float], float] | None,
) -> Eye:
    """The eye of one camera, with all its profiles; raises DriverError where one of their models cannot be had."""
    own, looks = detectors[camera.detector], dict[config.Light, Look]()
    for profile in camera.profiles:
        detector = own if profile.detector is None else detectors[profile.detector]
        score = detector.score if profile.score is None else profile.score
        looks[profile.when] = Look(detector, score, profile.max_exposure_ms)
    return Eye(own, plates, reader, camera, zones, profiles=looks, sun=sun)


def _sun(site: config.Site) -> Callable[[float], float] | None:
    """How high the sun stands at the site, by Unix time; None where the site has no place."""
    if site.lat is None or site.lon is None:
        return None
    return partial(height_deg, lat=site.lat, lon=site.lon)


def _views(settings: config.Agent) -> dict[str, Views]:
    return {camera.name: views_of(settings, camera) for camera in settings.cameras if camera.anchored}


def _zones(settings: config.Agent, camera: config.Camera) -> list[Box]:
    """The boxes around a camera's zones, in fractions of its picture."""
    corners = [zone.polygon for zone in settings.zones if zone.camera == camera.name]
    return [box for polygon in corners if (box := box_around(polygon)) is not None]


class _Seat:
    """A camera at its detector: the newest frame that nobody has looked at, and whether more will come."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.eye: Eye | None = None  # once the detector is open
        self.latest = Latest[Frame]()
        self.taken = asyncio.Event()
        self.ended = False
        self.left_out: tuple[str, ...] = ()  # under load, in words
        self.due_s = float("-inf")  # of the frames' time: earlier ones are left, under load


class Vision:
    """The parts that see; `on_tracks` is awaited for every frame that was processed, in order within a camera."""

    def __init__(
        self,
        cameras: Iterable[Camera],
        detectors: Mapping[str, Callable[[], Detector]],
        sections: Mapping[str, config.Camera],
        plates: config.Plates,
        zones: Mapping[str, Sequence[Box]],
        *,
        health: Health,
        on_tracks: Callable[[Frame, Tracks], Awaitable[None]],
        load: config.Load = config.Load(),  # noqa: B008  a frozen value
        sun: Callable[[float], float] | None = None,
        views: Mapping[str, Views] | None = None,
    ) -> None:
        self._views = views or {}
        self._load, self._sun = load, sun
        self._detectors, self._sections, self._plates, self._zones = detectors, sections, plates, dict(zones)
        self._health, self._on_tracks = health, on_tracks
        self._seats: dict[str, list[_Seat]] = {name: [] for name in detectors}
        self._loads: dict[str, Load] = {}  # by detector, once it is open
        self._bells = {name: asyncio.Event() for name in detectors}  # rung when a camera of this detector has news
        for camera in cameras:
            self._seats[sections[camera.name].detector].append(_Seat(camera))

    def parts(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """One part a camera and one a detector that has cameras; they end when their sources have ended."""
        parts: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        for name, seats in self._seats.items():
            parts += [(f"camera.{s.camera.name}", partial(self._capture, s, self._bells[name])) for s in seats]
            if seats:
                parts.append((f"detector.{name}", partial(self._serve, name, seats, self._bells[name])))
        return parts

    def look_at(self, camera: str, zones: Sequence[Box]) -> None:
        """The zones of a camera lie here from now on, in fractions of its picture: its tiles follow them."""
        self._zones[camera] = zones
        for seat in (seat for seats in self._seats.values() for seat in seats):
            if seat.camera.name == camera and seat.eye is not None:
                seat.eye.look_at(zones)

    def drawn(self, settings: config.Agent) -> None:
        """Zones may have been drawn anew: a view that is wrong by the old ones is right by these."""
        self._views = _views(settings)
        for seat in (seat for seats in self._seats.values() for seat in seats):
            self._remember(seat)

    def _remember(self, seat: _Seat) -> None:
        if seat.eye and seat.eye.view and (views := self._views.get(seat.camera.name)) is not None:
            seat.eye.view.remember(views)

    def status(self) -> dict[str, dict[str, object]]:
        """How each camera does: its state, and what was lost on the way, by cause."""
        return {
            seat.camera.name: {
                "state": seat.camera.state,
                "drops": dict(seat.camera.drops) | {"busy": seat.latest.dropped},
                "light": seat.eye.light if seat.eye else None,
                "left_out": seat.left_out,
            }
            for seats in self._seats.values()
            for seat in seats
        }

    async def _capture(self, seat: _Seat, bell: asyncio.Event) -> None:
        """Put a camera's frames where its detector finds them, newest first, or one by one where none may be lost."""
        camera, seat.ended = seat.camera, False
        async with aclosing(camera.frames()) as frames:
            async for frame in frames:
                while camera.every_frame and seat.latest.fresh:
                    seat.taken.clear()
                    await seat.taken.wait()
                seat.latest.put(frame)
                bell.set()
                self._count_drops(seat)
        seat.ended = True
        bell.set()

    async def _serve(self, name: str, seats: list[_Seat], bell: asyncio.Event) -> None:
        """Take turns among the cameras; whatever blocks happens in one worker thread."""
        part, waiting = f"detector.{name}", list(seats)
        worker = Worker(part, nice=BEHIND)
        try:
            self._health.beat(part, STUCK_S)
            await worker.call(self._open, seats)
            if name not in self._loads:  # what is left out stays so over a restart of this part, and comes back as ever
                self._loads[name] = Load(self._load.min_fps, self._load.max_temp_c, self._useless(seats))
            self._health.rest(part)
            while seat := await _next(waiting, bell):
                waiting.remove(seat)
                waiting.append(seat)
                frame = await seat.latest.take()
                seat.taken.set()
                assert seat.eye
                if self._spared(seat, frame):
                    continue
                self._health.beat(part, STUCK_S)
                began_s = time.monotonic()
                frame, tracks = await worker.call(_see, seat.eye, frame)
                self._health.rest(part)
                seat.camera.max_exposure_ms = seat.eye.look.max_exposure_ms
                if not seat.camera.every_frame:
                    self._weigh(self._loads[name], seats, began_s)
                self._health.counts[f"{part}.frames"] += 1
                self._health.counts[f"camera.{seat.camera.name}.still"] = seat.eye.skipped
                if seat.eye.view:
                    fault = seat.eye.view.fault
                    self._health.set(f"camera.{seat.camera.name}.view", f"degraded: {fault}" if fault else "running")
                await self._on_tracks(frame, tracks)
        finally:
            worker.close()

    @staticmethod
    def _spared(seat: _Seat, frame: Frame) -> bool:
        """Whether this frame is left out under load."""
        assert seat.eye
        if seat.eye.step < FEW_FRAMES or seat.camera.every_frame:
            return False
        if seat.due_s - 1 / SLOW_FPS <= frame.at_s < seat.due_s:
            return True
        seat.due_s = frame.at_s + 1 / SLOW_FPS
        return False

    def _weigh(self, load: Load, seats: list[_Seat], began_s: float) -> None:
        """Count a frame, and look now and then whether the board keeps up."""
        now = time.monotonic()
        load.frame(now, now - began_s)
        if not load.due(now) or not load.judge(now, sum(not seat.ended for seat in seats), temperature_c()):
            return
        for seat in seats:
            assert seat.eye
            seat.eye.step, seat.left_out = load.step, load.left_out
            self._health.set(f"camera.{seat.camera.name}.load", load.told())

    def _useless(self, seats: list[_Seat]) -> set[int]:
        """The steps that would spare the detector of these cameras nothing."""
        useless = set() if self._plates.enabled else {PLATES_SELDOM, NO_PLATES}
        if not any(self._sections[seat.camera.name].tiles for seat in seats):
            useless.add(ONE_TILE)
        if not any(seat.eye.resizable for seat in seats if seat.eye):
            useless.add(SMALL_PICTURE)
        return useless

    def _open(self, seats: list[_Seat]) -> None:
        """Load the models, which takes a while, and once: after a failure the cameras keep their tracks."""
        if all(seat.eye for seat in seats):
            return
        detectors, reader = Detectors(self._detectors), _reader(self._plates)
        for seat in seats:
            section, zones = self._sections[seat.camera.name], self._zones.get(seat.camera.name, ())
            seat.eye = make_eye(section, detectors, reader=reader, plates=self._plates, zones=zones, sun=self._sun)
            self._remember(seat)

    def _count_drops(self, seat: _Seat) -> None:
        prefix = f"camera.{seat.camera.name}.dropped"
        for cause, count in {**seat.camera.drops, "busy": seat.latest.dropped}.items():
            self._health.counts[f"{prefix}.{cause}"] = count


def _see(eye: Eye, frame: Frame) -> tuple[Frame, Tracks]:
    """The frame as anybody may see it, and what the eye finds in it."""
    veiled = eye.veil(frame)
    return veiled, eye.process(veiled)


def _reader(plates: config.Plates) -> PlateReader | None:
    if not plates.enabled:
        return None
    return open_plate_reader(plates.reader, plates.threads, plates.countries, plates.types)


async def _next(seats: list[_Seat], bell: asyncio.Event) -> _Seat | None:
    """The first camera that has a fresh frame; None when all have ended and nothing is left."""
    while True:
        bell.clear()
        for seat in seats:
            if seat.latest.fresh:
                return seat
        if all(seat.ended for seat in seats):
            return None
        await bell.wait()
