"""H.264 by PyAV: pictures become packets, packets an MP4 without being encoded anew, or with parts blurred."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.files import write_durably
from edge_agent.messages import Video
from edge_agent.runtime import DriverError
from edge_agent.sealing import seal
from edge_agent.vision.blur import Region, blurred, others
from edge_agent.vision.ring import BLUR_AROUND_S, Coded, widened

TICK = Fraction(1, 1000)
KEY_EVERY_S = 1.0
MIN_SIDE = 16  # smaller pictures are no video

Pixels = npt.NDArray[np.uint8]


class Encoder:
    """Frames of one camera to H.264, one packet a frame, a key picture each second; blocking."""

    def __init__(self, max_height: int, quality: int = 27) -> None:
        self._max_height, self._quality = max_height, quality
        self._context: av.VideoCodecContext | None = None
        self._size, self._began_s, self._last_ms, self._key_s = (0, 0), 0.0, -1, 0.0

    def encode(self, pixels: Pixels, at_s: float, wall_s: float, private: Sequence[Region]) -> Coded | None:
        """One picture (H, W, 3) BGR; None where it is too small, or where its time does not go on."""
        height, width = pixels.shape[:2]
        scale = min(1.0, self._max_height / height)
        size = (int(width * scale) // 2 * 2, int(height * scale) // 2 * 2)  # 4:2:0 wants even sides
        if min(size) < MIN_SIDE:
            return None
        if self._context is None or size != self._size or at_s < self._began_s:
            self._open(size, at_s)
        ms = round((at_s - self._began_s) * 1000)
        if ms <= self._last_ms or self._context is None:
            self._context = None  # a clock that stepped back: begin anew with the next
            return None
        small = pixels if size == (width, height) else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(small, dtype=np.uint8), format="bgr24")
        frame.pts, frame.time_base = ms, TICK
        key = self._last_ms < 0 or at_s - self._key_s >= KEY_EVERY_S
        if key:
            frame.pict_type, self._key_s = av.video.frame.PictureType.I, at_s
        self._last_ms = ms
        try:
            packets = self._context.encode(frame)
        except av.FFmpegError as error:  # which sizes an encoder takes it only says when it begins
            self._context = None
            raise DriverError(f"clips: pictures of {size[0]}x{size[1]} cannot be encoded: {error.strerror}") from None
        x, y = size[0] / width, size[1] / height
        return Coded(
            at_s=at_s,
            wall_s=wall_s,
            data=b"".join(bytes(packet) for packet in packets),
            key=any(packet.is_keyframe for packet in packets),
            width=size[0],
            height=size[1],
            private=tuple((id, (x1 * x, y1 * y, x2 * x, y2 * y)) for id, (x1, y1, x2, y2) in private),
        )

    def _open(self, size: tuple[int, int], at_s: float) -> None:
        try:
            context = av.VideoCodecContext.create("libx264", "w")
        except (ValueError, av.FFmpegError) as error:
            raise DriverError(f"clips: this PyAV cannot encode H.264: {error}; set clips.seconds = 0") from None
        context.width, context.height, context.pix_fmt = *size, "yuv420p"
        context.time_base, context.framerate = TICK, Fraction(10)
        context.thread_count, context.gop_size = 1, 600  # key pictures are asked for by time
        context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(self._quality)}
        self._context, self._size, self._began_s, self._last_ms = context, size, at_s, -1


def write_video(
    file: Path,
    pictures: Sequence[Coded],
    *,
    blur: bool,
    subjects: Iterable[int] = (),
    before_each: Callable[[], object] = bool,
) -> Video:
    """The pictures as an MP4, on disk when this returns.

    With `blur` what is private in them is made unreadable, but for the plates of the tracks `subjects`; `before_each`
    is called before each picture that is encoded anew. The first picture must be a key picture. Raises DriverError.
    """
    coded = _blur(pictures, subjects, before_each) if blur else pictures
    temporary = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _mux(temporary, coded)
        temporary.chmod(0o600)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
            sha256, size = hashlib.file_digest(written, "sha256").hexdigest(), written.seek(0, os.SEEK_END)
        temporary.replace(file)
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except (OSError, av.FFmpegError) as error:
        temporary.unlink(missing_ok=True)
        raise DriverError(f"{file}: cannot be written: {error.strerror or error}") from None
    return Video(
        path=str(file),
        sha256=sha256,
        bytes=size,
        width=coded[0].width,
        height=coded[0].height,
        frames=len(coded),
        began_s=coded[0].wall_s,
        lasts_s=round(coded[-1].at_s - coded[0].at_s, 3),
    )


def seal_video(file: Path, pictures: Sequence[Coded], recipient: str) -> str:
    """The pictures as an MP4 that the recipient alone can open; in plain it is in memory only. Raises DriverError.

    Returns the SHA-256 of what the recipient will find.
    """
    whole = io.BytesIO()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _mux(whole, pictures)
        write_durably(file, seal(whole.getvalue(), recipient))
        return hashlib.sha256(whole.getvalue()).hexdigest()
    except (OSError, av.FFmpegError) as error:
        raise DriverError(f"{file}: cannot be written: {error.strerror or error}") from None


def _mux(file: Path | io.BytesIO, pictures: Sequence[Coded]) -> None:
    first, options = pictures[0], {} if isinstance(file, io.BytesIO) else {"movflags": "+faststart"}
    with av.open(file if isinstance(file, io.BytesIO) else str(file), "w", format="mp4", options=options) as out:
        stream = out.add_mux_stream("h264", rate=10, width=first.width, height=first.height)
        stream.time_base = TICK
        for one in pictures:
            packet = av.Packet(one.data)
            packet.pts = packet.dts = round((one.at_s - first.at_s) * 1000)
            packet.time_base, packet.is_keyframe, packet.stream = TICK, one.key, stream
            out.mux(packet)


def _blur(pictures: Sequence[Coded], subjects: Iterable[int], before_each: Callable[[], object]) -> list[Coded]:
    """Decode, make unreadable, encode again."""
    decoder = av.VideoCodecContext.create("h264", "r")
    decoder.thread_count = 1
    encoder = Encoder(pictures[0].height)
    found: list[Coded] = []
    regions = [others(each, *subjects) for each in widened(pictures, BLUR_AROUND_S)]

    def take(frames: Sequence[av.VideoFrame]) -> None:
        for frame in frames:
            one, boxes = pictures[len(found)], regions[len(found)]
            pixels = np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8)
            again = encoder.encode(blurred(pixels, boxes), one.at_s, one.wall_s, ())
            if again is not None:
                found.append(again)

    for one in pictures:
        before_each()
        take(decoder.decode(av.Packet(one.data)))
    take(decoder.decode(None))
    if not found:
        raise DriverError("clip: none of its pictures can be decoded again")
    return found
