"""Video files and directories of pictures as cameras, the broken ones included."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Camera, Frame, open_camera, video
from edge_agent.vision.camera.decoding import START, codec_of
from edge_agent.vision.camera.video import read_frames


def encode(file: Path, times_ms: list[int], *, suffix: str = "matroska", key_every: int = 5) -> Path:
    """A clip of 64 x 48 whose frames are as bright as their number."""
    with av.open(str(file), "w", format=suffix) as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.gop_size = key_every
        for number, at_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 5 * (number % 40), np.uint8), format="bgr24")
            frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file


class FastClock:
    """A clock that only moves by sleeping."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return 1e9 + self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_times_are_those_of_the_file_however_uneven(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 400, 410, 1000]
    frames = list(read_frames(encode(tmp_path / "uneven.mkv", times_ms)))
    assert [round(f.at_s * 1000) for f in frames] == times_ms
    assert [f.seq for f in frames] == [0, 1, 2, 3, 4, 5]
    assert frames[3].pixels.shape == (48, 64, 3) and frames[3].pixels.mean() == pytest.approx(35, abs=4)


def test_fps_replaces_the_times_of_the_file(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.mkv", [0, 40, 80])
    assert [f.at_s for f in read_frames(clip, fps=2)] == [0.0, 0.5, 1.0]


def test_stamps_that_begin_anew_go_on_from_where_they_were(tmp_path: Path) -> None:
    """Two recordings of a recorder, one behind the other: the second counts from the beginning again."""
    joined = b"".join(
        encode(tmp_path / f"{n}.ts", [40 * k for k in range(50)], suffix="mpegts").read_bytes() for n in range(2)
    )
    (tmp_path / "joined.ts").write_bytes(joined)
    frames = list(read_frames(tmp_path / "joined.ts"))
    steps = [b.at_s - a.at_s for a, b in pairwise(frames)]
    assert len(frames) >= 98 and frames[-1].at_s == pytest.approx(0.04 * (len(frames) - 1), abs=0.2)
    assert min(steps) > 0.02 and max(steps) < 0.2


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_video_of_a_telephone_is_turned_as_its_matrix_says(
    tmp_path: Path, degrees: int, corner: tuple[int, int]
) -> None:
    """The stored picture is bright at its top left; so many degrees clockwise, and that is another corner."""
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32] = 250
    file = tmp_path / "turned.mp4"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.mux([*stream.encode(av.VideoFrame.from_ndarray(stored, format="bgr24")), *stream.encode(None)])
    one, data = 1 << 16, bytearray(file.read_bytes())
    a, b = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    at = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2: the matrix of a version 0 track header
    assert struct.unpack_from(">9i", data, at) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, at, a, b, 0, -b, a, 0, 0, 0, 1 << 30)
    file.write_bytes(data)
    (frame,) = read_frames(file)
    assert frame.pixels.shape == ((48, 64, 3) if degrees == 180 else (64, 48, 3))
    assert frame.pixels[corner].mean() > 200 and frame.pixels.mean() < 120


def test_a_truncated_file_gives_all_that_can_be_decoded_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = encode(tmp_path / "whole.mkv", [40 * n for n in range(100)]).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole[: len(whole) * 6 // 10])
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(cut))
    assert 30 < len(frames) < 90
    assert "cut.mkv" in caplog.text and "cut short" in caplog.text


def test_damage_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    clip = encode(tmp_path / "clip.ts", [40 * n for n in range(60)], suffix="mpegts")
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    clip.write_bytes(data)
    frames = list(read_frames(clip))
    assert len(frames) > 40 and frames[-1].at_s == pytest.approx(59 * 0.04, abs=0.05)
    assert all(a.at_s < b.at_s for a, b in pairwise(frames))


def transport_stream(file: Path, codec: str, count: int = 30, size: tuple[int, int] = (320, 240)) -> bytes:
    """A part of a recording: so many pictures, every tenth of which needs no other."""
    with av.open(str(file), "w", format="mpegts") as out:
        stream = out.add_stream(codec, rate=25)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.gop_size = 10
        for number in range(count):
            pixels = np.full((size[1], size[0], 3), 3 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    drops = Counter[str]()
    assert len(list(read_frames(file, drops=drops))) == count and not drops
    return file.read_bytes()


@pytest.mark.parametrize(
    ("before", "after"), [("libx264", "mpeg2video"), ("mpeg2video", "libx264"), ("libx264", "mpeg4")]
)
def test_a_stream_that_goes_on_in_another_codec_is_said_to_at_once_and_read_on(
    tmp_path: Path, before: str, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    both, drops = tmp_path / "both.ts", Counter[str]()
    parts = [transport_stream(tmp_path / f"{codec}.ts", codec) for codec in (before, after, before)]
    both.write_bytes(b"".join(parts))
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(both, drops=drops))
    names = {"libx264": "h264"}
    one, other = names.get(before, before), names.get(after, after)
    for change in (f"{one} to {other}", f"{other} to {one}"):
        assert f"{both}: its codec changes from {change}" in caplog.text
    assert len(frames) + drops["broken"] >= 86  # a decoder gives up to two pictures less than it was given
    assert len(frames) >= 75 and drops["broken"] <= 15  # up to the next picture that needs no other
    assert {frame.pixels.shape for frame in frames} == {(240, 320, 3)}
    assert all(a.at_s < b.at_s for a, b in pairwise(frames))


def test_a_stream_whose_pictures_change_their_size_says_so_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = tmp_path / "both.ts"
    large, small = (transport_stream(tmp_path / "x.ts", "libx264", 10, size) for size in ((320, 240), (160, 120)))
    both.write_bytes(large + small)
    with caplog.at_level(logging.WARNING):
        frames = list(read_frames(both))
    assert {frame.pixels.shape[:2] for frame in frames} == {(240, 320), (120, 160)}
    assert caplog.text.count("its pictures change from 320x240 to 160x120") == 1


@given(st.binary(max_size=16), st.sampled_from(["h264", "hevc", "mpeg2video", "mpeg4", "mjpeg", "vp8"]))
def test_only_what_speaks_for_another_codec_is_another(data: bytes, now: str) -> None:
    assert codec_of(data, now) == now or (START in data and now not in ("mjpeg", "vp8"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.mp4", None, "No such file"),
        ("text.mp4", b"this is no video" * 100, "is no video that can be opened"),
        ("empty.mp4", b"", "is no video that can be opened"),
    ],
)
def test_what_is_no_video_is_named(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DriverError, match=says) as failed:
        list(read_frames(tmp_path / name))
    assert name in str(failed.value)


def test_a_sound_file_holds_no_video(tmp_path: Path) -> None:
    file = tmp_path / "sound.wav"
    with av.open(str(file), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(DriverError, match="holds no video"):
        list(read_frames(file))


def pictures(directory: Path, count: int = 4) -> Path:
    directory.mkdir()
    for n in range(count):
        cv2.imwrite(str(directory / f"{n:02}.png"), np.full((30, 40, 3), 10 * n, np.uint8))
    return directory


def test_a_broken_picture_is_counted_and_told_once_and_the_others_still_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory, drops = pictures(tmp_path / "shots"), Counter[str]()
    (directory / "01.png").write_bytes(b"broken")
    (directory / "notes.txt").write_text("no picture")
    seen = []
    with caplog.at_level(logging.WARNING):
        for frame in read_frames(directory, fps=10, loop=True, drops=drops):
            seen.append(frame)
            if len(seen) == 6:
                break
    assert [round(f.pixels.mean()) for f in seen] == [0, 20, 30, 0, 20, 30]
    assert [f.at_s for f in seen] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert drops["broken"] == 2 and caplog.text.count("01.png") == 1


def test_a_directory_without_a_picture_that_decodes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"broken")
    with pytest.raises(DriverError, match="not one frame"):
        list(read_frames(tmp_path))
    (tmp_path / "none").mkdir()
    with pytest.raises(DriverError, match="holds no pictures"):
        list(read_frames(tmp_path / "none"))


def open_video(path: Path, clock: FastClock, *, realtime: bool = True, loop: bool = False) -> Camera:
    return open_camera(config.VideoCamera(name="cam", path=path, detector="d", realtime=realtime, loop=loop), clock)


async def take(camera: Camera, count: int) -> list[Frame]:
    frames = []
    async for frame in camera.frames():
        frames.append(frame)
        if len(frames) == count:
            break
    return frames


async def test_a_real_time_camera_stamps_frames_with_their_capture_time(tmp_path: Path) -> None:
    clock = FastClock()
    camera = open_video(encode(tmp_path / "clip.mkv", [0, 40, 500]), clock)
    frames = await take(camera, 99)
    assert [f.at_s for f in frames] == pytest.approx([100.0, 100.04, 100.5])
    assert [f.wall_s - f.at_s for f in frames] == pytest.approx([1e9] * 3)
    assert clock.now_s == pytest.approx(100.5)
    assert not camera.every_frame


async def test_late_frames_are_dropped_and_counted_instead_of_queued(tmp_path: Path) -> None:
    clock = FastClock()
    camera = open_video(encode(tmp_path / "clip.mkv", [40 * n for n in range(30)]), clock)
    frames = []
    async for frame in camera.frames():
        frames.append(frame)
        if frame.seq == 5:
            clock.now_s += 0.4  # the consumer held us up
    assert camera.drops["late"] in range(6, 11)
    assert len(frames) + camera.drops["late"] == 30 and frames[-1].seq == 29


async def test_frame_by_frame_drops_nothing_and_does_not_wait(tmp_path: Path) -> None:
    clock = FastClock()
    camera = open_video(encode(tmp_path / "clip.mkv", [40 * n for n in range(10)]), clock, realtime=False)
    frames = await take(camera, 99)
    assert camera.every_frame and len(frames) == 10 and clock.now_s == 100.0
    assert frames[-1].at_s == pytest.approx(100.36)  # media time, ahead of the clock


async def test_a_loop_goes_on_with_rising_times(tmp_path: Path) -> None:
    camera = open_video(encode(tmp_path / "clip.mkv", [0, 40, 80]), FastClock(), loop=True)
    frames = await take(camera, 7)
    assert [f.at_s - 100 for f in frames] == pytest.approx([0.04 * n for n in range(7)], abs=1e-6)
    assert [f.seq for f in frames] == list(range(7))


async def test_a_camera_without_its_file_fails_when_it_is_read(tmp_path: Path) -> None:
    camera = open_video(tmp_path / "gone.mp4", FastClock())
    with pytest.raises(DriverError, match=r"gone\.mp4"):
        await take(camera, 1)


@pytest.mark.timeout(20)
async def test_what_is_neither_file_nor_directory_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    for path in (tmp_path / "pipe.avi", Path("/dev/null")):
        with pytest.raises(DriverError, match=f"{path}: is neither a regular file nor a directory"):
            await take(open_video(path, FastClock()), 1)


async def test_a_path_behind_a_closed_door_is_an_error_of_the_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Path, **_: bool) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)  # root, who may run this, is denied nothing
    with pytest.raises(DriverError, match=r"clip\.mkv: cannot be read: Permission denied"):
        await take(open_video(tmp_path / "clip.mkv", FastClock()), 1)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("before", "limit_s"), [(0, 0.3), (2, 0.1)])
async def test_a_source_that_gives_no_frame_fails_and_is_not_read_by_two_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, limit_s: float
) -> None:
    gate, reading = threading.Event(), []

    def hanging(path: Path, **_: object) -> Iterator[Frame]:
        reading.append(path)
        for n in range(before):
            yield Frame("cam", n, n * 0.01, 0.0, np.zeros((4, 4, 3), np.uint8))
        gate.wait(20)

    monkeypatch.setattr(video, "read_frames", hanging)
    monkeypatch.setattr(video, "FIRST_FRAME_S", 0.3, raising=False)
    monkeypatch.setattr(video, "NEXT_FRAME_S", 0.1, raising=False)
    shots = pictures(tmp_path / "shots")
    camera = open_video(shots, FastClock())
    with pytest.raises(DriverError, match=f"{shots}: no frame for {limit_s} s"):
        await take(camera, before + 1)
    with pytest.raises(DriverError, match=f"{shots}: .* still hangs"):  # restarted, it does not pile up threads
        await take(camera, 1)
    assert len(reading) == 1

    monkeypatch.setattr(video, "read_frames", read_frames)
    gate.set()  # the disk came back
    async with asyncio.timeout(30):
        while True:
            try:
                assert len(await take(camera, 2)) == 2
                return
            except DriverError:
                await asyncio.sleep(0.01)


async def test_what_a_file_promises_and_does_not_hold_is_counted(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.avi", [40 * n for n in range(100)], suffix="avi")
    data = whole.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: data.index(b"idx1") * 6 // 10])
    drops = Counter[str]()
    frames = list(read_frames(tmp_path / "cut.avi", drops=drops))
    assert 30 < len(frames) < 90 and drops["missing"] in range(100 - len(frames), 102 - len(frames))


def test_a_length_that_looks_like_a_start_code_changes_no_codec(tmp_path: Path) -> None:
    """In MP4 a unit of 0x1B0 bytes (here of filler, H.264 7.3.2.7) begins with 00 00 01 B0, as MPEG-4 does."""
    filler = bytes.fromhex("000001b0 0c") + b"\xff" * 0x1AE + b"\x80"
    with av.open(str(tmp_path / "plain.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            pixels = np.full((48, 64, 3), 20 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="bgr24")))
        out.mux(stream.encode(None))
    with av.open(str(tmp_path / "plain.mp4")) as plain, av.open(str(tmp_path / "clip.mp4"), "w") as out:
        copy = out.add_stream_from_template(plain.streams.video[0])
        for packet in plain.demux(video=0):
            if packet.size:
                padded = av.Packet(filler + bytes(packet))
                padded.pts, padded.dts, padded.time_base = packet.pts, packet.dts, packet.time_base
                padded.stream = copy
                out.mux(padded)
    drops = Counter[str]()
    assert len(list(read_frames(tmp_path / "clip.mp4", drops=drops))) == 10 and not drops


def test_a_matroska_whose_first_frame_comes_late_misses_nothing(tmp_path: Path) -> None:
    drops = Counter[str]()
    clip = encode(tmp_path / "late.mkv", [3000 + 40 * n for n in range(50)])
    assert len(list(read_frames(clip, drops=drops))) == 50 and not drops


@pytest.mark.parametrize(("suffix", "gap"), [("avi", 10), ("matroska", 10), ("mpegts", 0), ("mp4", 10)])
def test_a_whole_file_misses_nothing_even_where_its_frames_have_gaps(tmp_path: Path, suffix: str, gap: int) -> None:
    times_ms = [40 * (n + (gap if n >= 20 else 0)) for n in range(50)]
    drops = Counter[str]()
    clip = encode(tmp_path / "clip", times_ms, suffix=suffix)
    assert len(list(read_frames(clip, drops=drops))) == 50 and not drops
