"""The parts that see: several cameras on one detector, files that end, cameras and detectors that fail."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import config, plate_types
from edge_agent.geo import in_polygon
from edge_agent.messages import Box, Detection, Plate, Track, Tracks
from edge_agent.runtime import DriverError, Health, SystemClock, supervise
from edge_agent.vision.camera import Frame
from edge_agent.vision.camera.simulated import KERB_ZONE, WATER_ZONE, parked_plate, render
from edge_agent.vision.detect import Detector, SimulatedDetector
from edge_agent.vision.eye import Eye, Shrinker
from edge_agent.vision.load import NO_PLATES, SMALL
from edge_agent.vision.pipeline import STUCK_S, Vision, open_vision
from edge_agent.vision.plates_own import OwnPlates
from edge_agent.vision.votes import Calibration, Read

PIXELS = np.zeros((48, 64, 3), np.uint8)
BOX: Box = (10, 10, 30, 40)


class ListCamera:
    """Gives a number of frames, `period_s` apart, and ends `tail_s` later, or fails."""

    def __init__(
        self,
        name: str,
        count: int,
        *,
        period_s: float = 0.0,
        every_frame: bool = True,
        fails: int = 0,
        tail_s: float = 0.0,
    ) -> None:
        self.name, self.every_frame, self.drops = name, every_frame, Counter[str]()
        self._count, self._period_s, self._fails, self._tail_s = count, period_s, fails, tail_s

    async def frames(self) -> AsyncGenerator[Frame, None]:
        if self._fails:
            self._fails -= 1
            raise DriverError(f"camera {self.name} is unplugged")
        for n in range(self._count):
            await asyncio.sleep(self._period_s if n else 0)
            yield Frame(self.name, n, n * 0.1, n * 0.1, PIXELS)
        await asyncio.sleep(self._tail_s)


class FakeDetector:
    """Sees one person always; counts what it was asked and by which thread."""

    name, labels, score = "fake", ("person",), 0.5
    share: float | None = None

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self._before = before

    def detect(self, frame: Frame) -> list[Detection]:
        self._before()
        self.asked.append(frame.camera)
        self.threads.add(threading.get_ident())
        return [Detection(label="person", score=0.9, box=BOX)]


class Sink:
    def __init__(self) -> None:
        self.told: list[Tracks] = []

    async def __call__(self, frame: Frame, tracks: Tracks) -> None:
        assert frame.seq == tracks.seq and frame.camera == tracks.camera
        self.told.append(tracks)

    def seqs(self, camera: str) -> list[int]:
        return [tracks.seq for tracks in self.told if tracks.camera == camera]


def section(name: str) -> config.Camera:
    """A camera whose every frame is looked at."""
    return config.SimulatedCamera(name=name, detector="d", motion="off")


def make(cameras: list[ListCamera], detector: Detector, sink: Sink, health: Health) -> Vision:
    return Vision(
        cameras,
        {"d": lambda: detector},
        {camera.name: section(camera.name) for camera in cameras},
        config.Plates(),
        {},
        health=health,
        on_tracks=sink,
    )


async def run_all(vision: Vision, health: Health) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for name, part in vision.parts():
            group.create_task(supervise(name, part, health=health, clock=SystemClock()))


async def test_two_cameras_share_a_detector_fairly_and_no_frame_of_a_file_is_lost() -> None:
    detector, sink, health = FakeDetector(), Sink(), Health(SystemClock())
    await run_all(make([ListCamera("a", 12), ListCamera("b", 12)], detector, sink, health), health)
    assert sink.seqs("a") == list(range(12)) and sink.seqs("b") == list(range(12))
    assert all(abs(detector.asked[:n].count("a") - detector.asked[:n].count("b")) <= 1 for n in range(24))
    assert len(detector.threads) == 1 and threading.get_ident() not in detector.threads
    assert {t.camera: t.tracks[0].id for t in sink.told[-2:]} == {"a": 1, "b": 1}  # tracks do not mix
    assert health.counts["detector.d.frames"] == 24 and set(health.state.values()) == {"stopped"}


async def test_a_source_that_ends_long_after_its_last_frame_ends_its_detector_too() -> None:
    sink, health = Sink(), Health(SystemClock())
    await run_all(make([ListCamera("a", 2, tail_s=0.2)], FakeDetector(), sink, health), health)
    assert sink.seqs("a") == [0, 1] and health.state["detector.d"] == "stopped"


async def test_a_slow_detector_gets_the_newest_frames_and_the_rest_is_counted() -> None:
    hurry = threading.Event()
    detector, sink, health = FakeDetector(lambda: hurry.wait(0.1) and None), Sink(), Health(SystemClock())
    camera = ListCamera("live", 40, period_s=0.01, every_frame=False)
    await run_all(make([camera], detector, sink, health), health)
    seqs = sink.seqs("live")
    assert seqs == sorted(seqs) and seqs[-1] == 39  # the last frame of a source that ended is still looked at
    assert health.counts["camera.live.dropped.busy"] == 40 - len(seqs) > 10


async def test_a_camera_that_fails_does_not_stop_the_others_and_comes_back() -> None:
    sink, health = Sink(), Health(SystemClock())
    cameras = [ListCamera("good", 5), ListCamera("bad", 5, fails=1)]
    await run_all(make(cameras, FakeDetector(), sink, health), health)
    assert sink.seqs("good") == sink.seqs("bad") == [0, 1, 2, 3, 4]
    assert health.counts["camera.bad.restarts"] == 1


async def test_a_detector_that_cannot_be_opened_is_tried_again() -> None:
    sink, health, tries = Sink(), Health(SystemClock()), []

    def opener() -> Detector:
        tries.append(1)
        if len(tries) < 2:
            raise DriverError("no model yet")
        return FakeDetector()

    vision = Vision(
        [ListCamera("a", 3)], {"d": opener}, {"a": section("a")}, config.Plates(), {}, health=health, on_tracks=sink
    )
    await run_all(vision, health)
    assert sink.seqs("a") == [0, 1, 2] and len(tries) == 2


class SetClock(SystemClock):
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


async def test_a_hung_detector_is_seen_by_the_watchdog_and_an_idle_one_is_not() -> None:
    clock, release, entered = SetClock(), threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(20)

    health, sink = Health(clock), Sink()
    idle = make([ListCamera("quiet", 2, period_s=60)], FakeDetector(), sink, health)
    hung = make([ListCamera("busy", 1)], FakeDetector(hang), sink, health)
    tasks = [asyncio.ensure_future(part()) for vision in (idle,) for _, part in vision.parts()]
    async with asyncio.timeout(30):
        while not sink.told:
            await asyncio.sleep(0.01)
    clock.now_s += STUCK_S * 3
    assert health.stuck() == []
    tasks += [asyncio.ensure_future(part()) for _, part in hung.parts()]
    async with asyncio.timeout(30):
        while not entered.is_set():
            await asyncio.sleep(0.01)
    clock.now_s += STUCK_S + 1
    assert health.stuck() == ["detector.d"]
    release.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_bug_in_what_comes_after_is_not_swallowed() -> None:
    async def broken(frame: Frame, tracks: Tracks) -> None:
        raise ZeroDivisionError

    health = Health(SystemClock())
    vision = Vision(
        [ListCamera("a", 3)],
        {"d": FakeDetector},
        {"a": section("a")},
        config.Plates(),
        {},
        health=health,
        on_tracks=broken,
    )
    with pytest.raises(ExceptionGroup) as raised:
        await run_all(vision, health)
    assert raised.group_contains(ZeroDivisionError)


async def test_the_whole_config_becomes_parts(tmp_path: Path) -> None:
    settings = config.Agent(
        site=config.Site(device="x"),
        data_dir=tmp_path,
        cameras=(config.SimulatedCamera(name="bank", detector="sim", fps=20, width=320, height=180),),
        detectors=(config.SimulatedDetector(name="sim"), config.SimulatedDetector(name="unused")),
    )
    clock, sink = SystemClock(), Sink()
    health = Health(clock)
    vision = open_vision(settings, clock=clock, health=health, on_tracks=sink)
    parts = vision.parts()
    assert [name for name, _ in parts] == ["camera.bank", "detector.sim"]
    tasks = [asyncio.ensure_future(part()) for _, part in parts]
    async with asyncio.timeout(30):
        while not any(tracks.tracks for tracks in sink.told):
            await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_an_eye_in_lock_step_sees_the_wader_and_reads_the_parked_car() -> None:
    plates = config.Plates(enabled=True, every_s=1.0, enough=2)
    eye = Eye(SimulatedDetector(config.SimulatedDetector(name="sim")), plates, OwnPlates(threads=2), section("bank"))
    told: list[Tracks] = []
    for n in range(16 * 5):
        pixels, truth = render("river_bank", n / 5, (1280, 720), 1)
        told.append(eye.process(Frame("bank", n, n / 5, n / 5, pixels, truth)))

    def feet(box: Box) -> tuple[float, float]:
        return (box[0] + box[2]) / 2 / 1280, box[3] / 720

    wet = {
        t.id
        for told_ in told[45:]
        for t in told_.tracks
        if t.label == "person" and in_polygon(*feet(t.box), WATER_ZONE)
    }
    assert len(wet) == 1
    (parked,) = [t for t in told[-1].tracks if in_polygon(*feet(t.box), KERB_ZONE)]
    assert parked.plate and parked.plate.text == parked_plate(1) and parked.plate.votes >= 2


@pytest.mark.parametrize(("share", "says"), [(1.0, "the net looks at three fifths of the pixels; "), (None, "")])
async def test_what_is_left_out_in_heat_is_said_and_is_only_what_spares_something(
    monkeypatch: pytest.MonkeyPatch, share: float | None, says: str
) -> None:
    monkeypatch.setattr("edge_agent.vision.pipeline.temperature_c", lambda: 99.0)
    monkeypatch.setattr("edge_agent.vision.load.WINDOW_S", 0.0)
    detector, sink, health = FakeDetector(), Sink(), Health(SystemClock())
    detector.share = share
    vision = make([ListCamera("a", 10, period_s=0.05, every_frame=False)], detector, sink, health)
    await run_all(vision, health)
    assert health.state["camera.a.load"] == f"degraded: {says}two frames a second (99 °C)"
    assert detector.share == (SMALL if share else None)


async def test_what_is_left_out_comes_back_after_a_restart_of_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    heat = [99.0]
    monkeypatch.setattr("edge_agent.vision.pipeline.temperature_c", lambda: heat[0])
    monkeypatch.setattr("edge_agent.vision.load.WINDOW_S", 0.0)
    monkeypatch.setattr("edge_agent.vision.load.CALM_S", 1e-3)

    def fail_once() -> None:
        if heat[0] > 50 and len(detector.asked) > 1:
            heat[0] = 20.0
            raise DriverError("its process was lost")

    detector, sink, health = FakeDetector(fail_once), Sink(), Health(SystemClock())
    vision = make([ListCamera("a", 60, period_s=0.02, every_frame=False)], detector, sink, health)
    await run_all(vision, health)
    assert health.counts["detector.d.restarts"] == 1
    assert health.state["camera.a.load"] == "running" and vision._seats["d"][0].eye.step == 0


class Onlooker:
    """Remembers what it was shown."""

    name, labels, score = "onlooker", ("person",), 0.5
    share: float | None = None

    def __init__(self) -> None:
        self.shown: list[tuple[tuple[int, ...], tuple[int, ...] | None]] = []

    def detect(self, frame: Frame) -> list[Detection]:
        self.shown.append((frame.pixels.shape, None if frame.lores is None else frame.lores.shape))
        return []


def test_a_stream_that_changes_its_size_keeps_its_tracks() -> None:
    class Somebody(Onlooker):
        def detect(self, frame: Frame) -> list[Detection]:
            high, wide = frame.pixels.shape[:2]
            return [Detection(label="person", score=0.9, box=(0.7 * wide, 0.2 * high, 0.8 * wide, 0.6 * high))]

    eye = Eye(Somebody(), config.Plates(), None, config.SimulatedCamera(name="c", detector="d"))
    ids = set[int]()
    for n in range(30):
        size = (270, 480, 3) if 10 <= n < 20 else (1080, 1920, 3)
        tracks = eye.process(Frame("c", n, n / 10, n / 10, np.zeros(size, np.uint8))).tracks
        ids |= {track.id for track in tracks}
        assert n < 5 or all(track.seen and track.box[0] == pytest.approx(0.7 * size[1], abs=1) for track in tracks)
    assert ids == {1}


def test_a_large_picture_is_shrunk_once_for_all_and_its_tiles_are_not() -> None:
    pixels, whole = np.zeros((1080, 1920, 3), np.uint8), Onlooker()
    given = Frame("c", 1, 0.1, 0.1, pixels, lores=np.zeros((234, 416, 3), np.uint8))
    eye = Eye(whole, config.Plates(), None, config.SimulatedCamera(name="c", detector="d"))
    for frame in (Frame("c", 0, 0.0, 0.0, pixels), given, Frame("c", 2, 0.2, 0.2, PIXELS)):
        eye.process(frame)
    assert [small for _, small in whole.shown] == [(360, 640, 3), (234, 416, 3), None]

    tiled = Onlooker()
    eye = Eye(tiled, config.Plates(), None, config.SimulatedCamera(name="c", detector="d", tiles=config.Tiles()))
    eye.process(Frame("c", 0, 0.0, 0.0, pixels))
    eye.process(Frame("c", 1, 0.1, 0.1, pixels))
    assert tiled.shown[0] == ((1080, 1920, 3), (360, 640, 3))
    assert tiled.shown[1:] and all(one == ((640, 640, 3), None) for one in tiled.shown[1:])


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (3200, 1800), (1280, 720), (1925, 1085)])
def test_the_smaller_copy_is_what_linear_interpolation_makes(width: int, height: int) -> None:
    pixels = np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8)
    copy = Shrinker().shrink(Frame("c", 0, 0.0, 0.0, pixels)).lores
    assert copy is not None
    assert np.array_equal(copy, cv2.resize(pixels, (copy.shape[1], copy.shape[0])))


def test_tiles_look_where_a_zone_was_moved_to() -> None:
    """Each pixel holds its column, so what a tile was is seen in its first."""

    class Columns(Onlooker):
        def detect(self, frame: Frame) -> list[Detection]:
            starts.append((int(frame.pixels[0, 0, 0]) * 16, frame.pixels.shape[1]))
            return []

    starts: list[tuple[int, int]] = []
    columns = np.repeat(np.arange(2560) // 16, 3).reshape(1, 2560, 3).astype(np.uint8)
    pixels = np.broadcast_to(columns, (640, 2560, 3)).copy()
    tiles = config.Tiles(each=1, full_every=1000)
    camera = config.SimulatedCamera(name="c", detector="d", tiles=tiles, motion="off")
    eye = Eye(Columns(), config.Plates(), None, camera, zones=[(0.0, 0.0, 0.05, 0.1)])

    def looked(first: int) -> dict[int, int]:
        starts.clear()
        for n in range(first, first + 40):
            eye.process(Frame("c", n, n / 10, n / 10, pixels))
        found = Counter(start for start, width in starts if width == 640)
        return {place: found[place] for place in sorted(found)}

    before = looked(0)
    eye.look_at([(0.95, 0.0, 1.0, 0.1)])
    after = looked(40)
    assert max(before, key=lambda start: before[start]) == 0
    assert max(after, key=lambda start: after[start]) == 1920
    assert after[0] < before[0]


class CountingReader(OwnPlates):
    """Reads a fixed plate, without a model."""

    def __init__(self) -> None:
        self.read_boxes: list[Box] = []
        self.types, self.calibration = plate_types.of_countries(("CN",)), Calibration(1.0, 0.0)

    def read(self, frame: Frame, box: Box) -> Read | None:
        self.read_boxes.append(box)
        text = "京A73K56"
        return Read(Plate(text=text, confidence=0.9, box=box), tuple({sign: 0.99} for sign in text), "blue", 1.0)


class Cars:
    name, labels, score = "cars", ("car", "person"), 0.5
    share: float | None = None

    def detect(self, frame: Frame) -> list[Detection]:
        boxes: list[Box] = [(0, 0, 20, 20), (30, 0, 60, 40)]
        return [Detection(label="car", score=0.9, box=b) for b in boxes] + [
            Detection(label="person", score=0.9, box=(0, 20, 20, 48))
        ]


def test_plates_are_read_one_a_frame_largest_first_and_only_on_vehicles() -> None:
    reader = CountingReader()
    eye = Eye(Cars(), config.Plates(enabled=True, every_s=10.0), reader, section("c"))
    for n in range(5):
        before = len(reader.read_boxes)
        tracks = eye.process(Frame("c", n, n * 0.2, n * 0.2, PIXELS))
        assert len(reader.read_boxes) - before <= 1
    assert [round(b[0]) for b in reader.read_boxes] == [30, 0]
    assert {t.label: bool(t.plate) for t in tracks.tracks} == {"car": True, "person": False}


def test_where_no_plates_are_read_under_load_those_that_were_are_told_and_forgotten_with_their_tracks() -> None:
    class Leaving(Cars):
        def detect(self, frame: Frame) -> list[Detection]:
            return super().detect(frame) if frame.seq < 8 else []

    reader = CountingReader()
    eye = Eye(Leaving(), config.Plates(enabled=True, every_s=10.0), reader, section("c"))
    ended = list[Track]()
    for n in range(300):
        eye.step = NO_PLATES if n >= 5 else 0
        count = len(reader.read_boxes)
        tracks = eye.process(Frame("c", n, n * 0.2, n * 0.2, PIXELS))
        assert n < 5 or len(reader.read_boxes) == count
        assert not 5 <= n < 8 or [bool(t.plate) for t in tracks.tracks if t.label == "car"] == [True, True]
        ended += tracks.ended
    assert [bool(t.plate) for t in ended if t.label == "car"] == [True, True]
    assert eye._votes is not None and not any(eye._votes.plate(t.id) for t in ended)


def test_the_best_shot_of_a_plate_is_of_the_moment_in_which_it_was_read() -> None:
    """A vehicle that was read as it came is photographed where it stands: there its plate is elsewhere."""
    eye = Eye(Cars(), config.Plates(enabled=True, every_s=10.0), CountingReader(), section("c"))
    shots = set()
    for n in range(12):
        pixels = np.full_like(PIXELS, 20 * n)
        tracks = eye.process(Frame("c", n, n * 0.2, 100 + n * 0.2, pixels))
        for shot in (track.shot for track in tracks.tracks if track.shot is not None):
            seen = cv2.imdecode(np.frombuffer(shot.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert seen.mean() == pytest.approx(20 * round((shot.wall_s - 100) / 0.2), abs=2)
            shots.add((seen.shape, shot.wall_s))
    assert len(shots) == 2  # one of each car
