"""An RTSP camera against a real server, GStreamer's: killed, restarted, guarded, frozen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent import config
from edge_agent.runtime import DriverError, Health, SystemClock, supervise
from edge_agent.vision.camera import Frame, open_camera
from edge_agent.vision.camera.rtsp import read_stream

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
BINDINGS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"

if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", BINDINGS], capture_output=True, check=False).returncode:
    pytest.skip("GStreamer's RTSP server is not here (tests/packages.sh names it)", allow_module_level=True)


@contextlib.contextmanager
def serving(*args: str, port: int = 0) -> Iterator[int]:
    with served(*args, port=port) as (_, port):
        yield port


@contextlib.contextmanager
def served(*args: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    server = subprocess.Popen([PYTHON, str(SERVER), str(port), *args], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout
        yield server, int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        assert server.stdout
        server.stdout.close()


def section(port: int, path: str = "live", **facts: object) -> config.RtspCamera:
    facts = {"connect_s": 15.0, "stall_s": 2.0} | facts
    return config.RtspCamera(name="c", url=f"rtsp://127.0.0.1:{port}/{path}", detector="d", **facts)


async def first(camera: config.RtspCamera) -> Frame:
    frames = open_camera(camera, SystemClock()).frames()
    async with asyncio.timeout(30), contextlib.aclosing(frames):
        return await anext(frames)


async def test_a_camera_whose_server_is_killed_comes_back_with_it() -> None:
    clock = SystemClock()
    health, frames = Health(clock), list[Frame]()

    async def wait_for(count: int) -> None:
        async with asyncio.timeout(60):
            while len(frames) < count:
                await asyncio.sleep(0.05)

    with serving() as port:
        camera = open_camera(section(port), clock)

        async def part() -> None:
            async for frame in camera.frames():
                frames.append(frame)

        running = asyncio.get_running_loop().create_task(supervise("camera.c", part, health=health, clock=clock))
        await wait_for(10)
        assert camera.state == "live"
    async with asyncio.timeout(30):
        while "failed" not in health.state["camera.c"]:
            await asyncio.sleep(0.05)
    assert camera.state == "back-off"
    seen = len(frames)
    with serving(port=port):
        await wait_for(seen + 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert all(a.at_s < b.at_s for a, b in itertools.pairwise(frames))
    assert frames[0].pixels.shape == (240, 320, 3)


def test_a_stream_that_stops_is_not_said_never_to_have_answered() -> None:
    with served() as (server, port):
        shots = read_stream(section(port, connect_s=4.0, stall_s=1.0), Counter())
        began_s = time.monotonic()
        while next(shots) and time.monotonic() - began_s < 4.1:
            pass
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(DriverError) as stopped:
            list(shots)
    assert "no answer within" not in str(stopped.value)


async def test_a_guarded_stream_opens_with_the_credentials_and_names_nobody(tmp_path: Path) -> None:
    secret = tmp_path / "login"
    secret.write_text("li:p@ss:word\n")
    with serving("ball", "li:p@ss:word") as port:
        with pytest.raises(DriverError, match="401") as refused:
            await first(section(port))
        assert "li" not in str(refused.value).replace("live", "").replace("file", "")
        frame = await first(section(port, credentials=str(secret)))
        assert frame.pixels.mean() > 0
        with pytest.raises(DriverError, match="404"):
            await first(section(port, "none", credentials=str(secret)))


async def test_a_server_that_repeats_one_picture_is_seen_as_frozen() -> None:
    with serving("smpte75") as port, pytest.raises(DriverError, match="its picture is frozen"):
        async with asyncio.timeout(40):
            async for _ in open_camera(section(port, frozen_s=2.0, stall_s=0.5), SystemClock()).frames():
                pass


async def test_a_stream_whose_pictures_grow_is_followed_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    sizes: list[tuple[int, int]] = []
    with serving("grows") as port:
        frames = open_camera(section(port, stall_s=6.0), SystemClock()).frames()
        async with asyncio.timeout(40), contextlib.aclosing(frames):
            async for frame in frames:
                sizes.append((frame.pixels.shape[1], frame.pixels.shape[0]))
                if len(sizes) > 3 and sizes[-3] == (640, 480):
                    break
    assert sizes[0] == (320, 240) and sizes.index((640, 480)) == sizes.count((320, 240))
    assert caplog.text.count("its pictures change from 320x240 to 640x480") == 1


def test_the_command_line_says_how_a_camera_does() -> None:
    with serving() as port:
        url = f"rtsp://127.0.0.1:{port}/live"
        command = [sys.executable, "-m", "edge_agent", "camera", "test", url, "--seconds", "1", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["state"], found["size"]) == (0, True, "live", "320x240")
    assert found["frames"] > 3
    assert done.stderr == ""
