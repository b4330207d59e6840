"""The contract that all live cameras share, played with sources that do what cameras do to people."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent import config
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.vision.camera import Camera, Frame, open_camera
from edge_agent.vision.camera.live import LiveCamera, Shot
from edge_agent.vision.camera.picamera import exposure_us

RNG = np.random.default_rng(1)


def noise(height: int = 48, width: int = 64) -> np.ndarray:
    return RNG.integers(0, 255, (height, width, 3), dtype=np.uint8)


def shots(count: int, period_s: float = 0.01, **facts: Any) -> Generator[Shot, None, None]:
    for number in range(count):
        time.sleep(period_s)
        yield Shot(facts.get("stamp_s", number * period_s), False, facts.get("pixels", noise))


def camera(source: Callable[[], Generator[Shot, None, None]], **facts: Any) -> LiveCamera:
    common = {"connect_s": 5.0, "stall_s": 0.5, "frozen_s": 0.0, "max_fps": None} | facts
    return LiveCamera("c", "rtsp://camera/live", lambda _drops: source(), SystemClock(), **common)


async def look(eye: Camera, count: int = 10_000, within_s: float = 20.0) -> tuple[list[Frame], str]:
    """The frames until `count` or the failure, and what that was."""
    frames: list[Frame] = []
    try:
        async with asyncio.timeout(within_s):
            async for frame in eye.frames():
                frames.append(frame)
                if len(frames) == count:
                    return frames, ""
    except DriverError as error:
        return frames, str(error)
    return frames, "ended"


async def test_frames_come_in_order_with_times_of_capture_until_the_stream_ends() -> None:
    eye = camera(lambda: shots(20))
    frames, why = await look(eye)
    assert [frame.seq for frame in frames] == list(range(20))
    assert all(a.at_s < b.at_s for a, b in itertools.pairwise(frames))
    assert why == "rtsp://camera/live: the stream ended"
    assert eye.state == "back-off"


async def test_a_read_that_hangs_is_given_up_and_no_second_thread_is_begun_beside_it() -> None:
    release = threading.Event()

    def hangs() -> Generator[Shot, None, None]:
        yield from shots(3)
        release.wait(60)

    eye = camera(hangs)
    states: set[str] = set()

    async def watch() -> None:
        while True:
            states.add(eye.state)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        frames, why = await look(eye)
        watching.cancel()
    assert (len(frames), why) == (3, "rtsp://camera/live: no frame for 0.5 s")
    assert {"live", "stalled"} <= states
    assert "still hangs" in (await look(eye))[1]
    release.set()


async def test_a_picture_that_is_frozen_is_shown_no_longer() -> None:
    still = noise()
    frames, why = await look(camera(lambda: shots(1000, pixels=lambda: still), frozen_s=0.5))
    assert "its picture is frozen" in why
    assert frames[-1].at_s - frames[0].at_s < 2


async def test_stamps_that_stand_still_are_a_failure() -> None:
    frames, why = await look(camera(lambda: shots(1000, stamp_s=3.0)))
    assert (len(frames), "timestamps stand still" in why) == (1, True)


async def test_pictures_beyond_the_rate_are_not_even_converted() -> None:
    converted = Counter[str]()

    def convert() -> np.ndarray:
        converted["pixels"] += 1
        return noise()

    eye = camera(lambda: shots(100, pixels=convert), max_fps=10)
    frames, _ = await look(eye)
    assert converted["pixels"] == len(frames)
    assert len(frames) + eye.drops["rate"] == 100
    assert eye.drops["rate"] > 50


async def test_a_picture_of_one_pixel_is_left_out_and_sizes_may_change() -> None:
    sizes = iter([(48, 64), (1, 1), (480, 640), (48, 64)])

    def pixels() -> np.ndarray:
        return noise(*next(sizes))

    eye = camera(lambda: shots(4, pixels=pixels))
    frames, _ = await look(eye)
    assert [frame.pixels.shape[:2] for frame in frames] == [(48, 64), (480, 640), (48, 64)]
    assert eye.drops["size"] == 1


async def test_a_failure_of_the_source_is_told_as_it_is() -> None:
    def fails() -> Generator[Shot, None, None]:
        yield from shots(2)
        raise DriverError("the lens fell off")

    assert await look(camera(fails)) != ([], "")
    assert (await look(camera(fails)))[1] == "the lens fell off"


# --- each driver ----------------------------------------------------------------------------------------------------


async def test_an_address_where_nobody_listens_is_named_without_its_password(tmp_path: Path) -> None:
    secret = tmp_path / "login"
    secret.write_text("li:geheim\n")
    section = config.RtspCamera(
        name="c", url="rtsp://127.0.0.1:9/live", detector="d", credentials=str(secret), connect_s=5.0
    )
    frames, why = await look(open_camera(section, SystemClock()))
    assert (frames, why.startswith("rtsp://127.0.0.1:9/live: ")) == ([], True)
    assert "geheim" not in why
    secret.write_text("no colon")
    assert "must hold USER:PASSWORD" in (await look(open_camera(section, SystemClock())))[1]


@pytest.mark.parametrize(
    ("answer", "patience_s", "why"),
    [(b"", 0.5, "no answer within 0.5 s"), (b"HTTP/1.1 \xff\xfe" * 500, 60.0, "is no stream that can be read")],
)
async def test_who_keeps_silent_or_talks_nonsense_is_told_apart(answer: bytes, patience_s: float, why: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        if not answer:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        section = config.RtspCamera(name="c", url=f"rtsp://127.0.0.1:{port}/x", detector="d", connect_s=patience_s)
        assert why in (await look(open_camera(section, SystemClock())))[1]


async def test_a_device_that_is_none_is_named(tmp_path: Path) -> None:
    for device, why in ((tmp_path / "video9", "No such file"), (tmp_path, "is no camera device")):
        section = config.V4l2Camera(name="c", device=device, detector="d")
        assert why in (await look(open_camera(section, SystemClock())))[1]


async def test_a_kernel_camera_is_stamped_by_the_kernel_and_missed_when_unplugged(monkeypatch: Any) -> None:
    class Capture:
        """What OpenCV has for a device: a few good frames, then it is unplugged."""

        def __init__(self, _device: str, _api: int) -> None:
            self.left, self.at_s = 5, 0.0

        def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
            return True

        def set(self, _key: int, _value: float) -> bool:
            return True

        def grab(self) -> bool:
            self.left, self.at_s = self.left - 1, time.monotonic() - 0.03
            time.sleep(0.002)
            return self.left >= 0

        def get(self, _key: int) -> float:
            return self.at_s * 1000

        def retrieve(self) -> tuple[bool, np.ndarray]:
            return True, noise()

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    section = config.V4l2Camera(name="c", device=Path("/dev/null"), detector="d")
    started = time.monotonic()
    frames, why = await look(open_camera(section, SystemClock()))
    assert (len(frames), "was it unplugged" in why) == (5, True)
    assert all(started - 0.031 <= frame.at_s <= time.monotonic() - 0.03 for frame in frames)


async def test_without_picamera2_it_is_said_what_to_install() -> None:
    frames, why = await look(open_camera(config.PiCamera(name="c", detector="d"), SystemClock()))
    assert (frames, "apt install python3-picamera2" in why) == ([], True)


def test_an_exposure_is_cut_to_its_limit_and_free_again_in_good_light() -> None:
    assert exposure_us(None, 4000, {"ExposureTime": 9000}) == 0
    assert exposure_us(4.0, 0, {"ExposureTime": 3000}) == 0
    assert exposure_us(4.0, 0, {"ExposureTime": 9000}) == 4000
    assert exposure_us(4.0, 4000, {"ExposureTime": 4000, "AnalogueGain": 6.0}) == 4000
    assert exposure_us(4.0, 4000, {"ExposureTime": 4000, "AnalogueGain": 1.0}) == 0
    assert exposure_us(2.0, 4000, {"ExposureTime": 4000, "AnalogueGain": 1.0}) == 2000  # another profile


async def test_a_sensors_frame_is_stamped_in_the_middle_of_its_exposure(monkeypatch: Any) -> None:
    stamps: list[float] = []
    configured: dict[str, Any] = {}
    told: list[dict[str, Any]] = []

    class Sensor:
        """picamera2.Picamera2 as its manual has it: requests with metadata, released by whoever took them."""

        held = 0

        def __init__(self, _number: int) -> None:
            pass

        def create_video_configuration(self, **facts: Any) -> dict[str, Any]:
            return facts

        def configure(self, configuration: dict[str, Any]) -> None:
            configured.update(configuration)

        def set_controls(self, controls: dict[str, Any]) -> None:
            told.append(controls)

        def start(self) -> None:
            pass

        def close(self) -> None:
            pass

        def capture_request(self) -> Any:
            time.sleep(0.005)
            Sensor.held += 1
            stamps.append(time.monotonic() - 0.02)
            metadata = {"SensorTimestamp": int(stamps[-1] * 1e9), "ExposureTime": 10_000, "Lux": 3.5}
            planes = np.full((360 * 3 // 2, 704), 128, np.uint8)  # rows of 640 in a stride of 704
            planes[:360] = 90
            arrays = {"main": noise(), "lores": planes}
            return SimpleNamespace(
                get_metadata=lambda: metadata, make_array=lambda name: arrays[name], release=self._release
            )

        def _release(self) -> None:
            Sensor.held -= 1

    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=Sensor))
    camera = open_camera(config.PiCamera(name="c", detector="d"), SystemClock())
    camera.max_exposure_ms = 4.0
    frames, _ = await look(camera, count=5)
    assert [frame.at_s for frame in frames] == pytest.approx([s - 0.005 for s in stamps[:5]], abs=1e-6)
    assert Sensor.held <= 1
    assert configured["lores"] == {"size": (640, 360), "format": "YUV420"}
    small = frames[0].lores
    assert small is not None and small.shape == (360, 640, 3) and abs(int(small.mean()) - 86) < 4  # video range
    assert frames[0].lux == 3.5 and told == [{"ExposureTime": 4000}]
