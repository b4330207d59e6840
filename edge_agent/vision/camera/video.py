"""A video file, or a directory of pictures, as a camera."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from edge_agent import config
from edge_agent.runtime import Clock, DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.camera.decoding import Decoder
from edge_agent.vision.camera.liveness import State
from edge_agent.vision.picture import find_pictures, read_picture
from edge_agent.vision.worker import Worker

log = logging.getLogger(__name__)

PICTURES_FPS = 5.0  # of a directory, unless said otherwise
BEHIND_S = 1.0  # so late, it is the decoder that cannot keep up: time is shifted instead of dropping everything
FIRST_FRAME_S, NEXT_FRAME_S = 20.0, 10.0  # for which the disk and the decoder may take
SILENT = 50  # packets in a row without a picture: more than any decoder holds back
CUT_SHORT_S = 0.5  # by which an end may come before the duration: sound may be longer than the picture
BACK_S = 1.0  # stamps that go back by more began anew: recordings that were joined, a recorder that was restarted

Pixels = npt.NDArray[np.uint8]


class VideoCamera:
    """Plays a file at its own pace (`realtime`, late frames dropped) or as fast as its frames are taken."""

    def __init__(self, section: config.VideoCamera, clock: Clock) -> None:
        self.name, self.every_frame, self.drops = section.name, not section.realtime, Counter[str]()
        self.state: State = "back-off"
        self.max_exposure_ms: float | None = None
        self._section, self._clock = section, clock
        self._hung: Worker | None = None  # the thread of a read that was given up

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Frames stamped with start + time in the video; ends with the file unless `loop`.

        In real time the stamps keep pace with the clock. Frame by frame they are media time: they run ahead of the
        clock, or behind it, as fast as frames are taken; durations are those of the video, and none is an age.
        """
        source = read_frames(
            self._section.path,
            camera=self.name,
            fps=self._section.fps,
            loop=self._section.loop,
            drops=self.drops,
        )
        if self._hung and self._hung.alive:  # a thread more at each restart would pile up
            raise DriverError(f"{self._section.path}: no frame: the read that was given up still hangs")
        worker = Worker(f"camera.{self.name}")
        start_s, start_wall_s, previous_s = self._clock.monotonic(), self._clock.wall(), 0.0
        limit_s, self.state = FIRST_FRAME_S, "connecting"
        try:
            while frame := await self._next(worker, source, limit_s):
                limit_s, self.state = NEXT_FRAME_S, "live"
                if self._section.realtime:
                    late_s = self._clock.monotonic() - (start_s + frame.at_s)
                    if late_s > BEHIND_S:
                        start_s, start_wall_s = start_s + late_s, start_wall_s + late_s
                        self.drops["behind"] += 1
                    elif late_s > max(frame.at_s - previous_s, 0.05):  # its successor is due already
                        self.drops["late"] += 1
                        continue
                    elif late_s < 0:
                        await self._clock.sleep(-late_s)
                previous_s = frame.at_s
                yield Frame(self.name, frame.seq, start_s + frame.at_s, start_wall_s + frame.at_s, frame.pixels)
        finally:
            self.state = "back-off"
            worker.close(source.close)

    async def _next(self, worker: Worker, source: Generator[Frame, None, None], limit_s: float) -> Frame | None:
        """The next frame, None at the end; raises DriverError where it does not come in time, whatever blocks it."""
        try:
            async with asyncio.timeout(limit_s):
                return await worker.call(next, source, None)
        except TimeoutError:
            self._hung = worker
            raise DriverError(f"{self._section.path}: no frame for {limit_s:g} s") from None


def read_frames(
    path: Path,
    *,
    camera: str = "video",
    fps: float | None = None,
    loop: bool = False,
    drops: Counter[str] | None = None,
) -> Generator[Frame, None, None]:
    """Every frame of a video file or of a directory of pictures; `at_s` is the time in the video, from 0, rising.

    `fps` replaces the file's own times. What cannot be decoded is logged and counted in `drops["broken"]`, the others
    still come; frames that the file promises and does not hold are counted in `drops["missing"]`. Raises DriverError
    where the path holds no video or nothing of it can be decoded.
    """
    drops = Counter() if drops is None else drops
    told: set[Path] = set()
    seq, base_s, step_s = 0, 0.0, 1 / (fps or PICTURES_FPS)
    while True:
        first, last_s = seq, base_s
        for at_s, pixels in _pictures(path, drops, told) if _is_directory(path) else _video(path, drops):
            if seq > first:
                this_s = last_s + 1 / fps if fps else max(base_s + at_s, last_s + 1e-3)
                step_s, last_s = this_s - last_s, this_s
            yield Frame(camera, seq, last_s, last_s, pixels)
            seq += 1
        if seq == first:
            raise DriverError(f"{path}: not one frame of it can be decoded")
        if not loop:
            return
        base_s = last_s + step_s


def _is_directory(path: Path) -> bool:
    """Whether it is a directory rather than a file; raises DriverError for all else, which may block for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise DriverError(f"{path}: cannot be read: {error.strerror}") from None
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise DriverError(f"{path}: is neither a regular file nor a directory")
    return stat.S_ISDIR(mode)


def _pictures(directory: Path, drops: Counter[str], told: set[Path]) -> Iterator[tuple[float, Pixels]]:
    for number, file in enumerate(find_pictures(directory)):
        try:
            yield number / PICTURES_FPS, read_picture(file)
        except DriverError as error:
            if file not in told:  # however often a loop comes by
                log.warning("%s", error)
                told.add(file)
            drops["broken"] += 1


def _video(file: Path, drops: Counter[str]) -> Iterator[tuple[float, Pixels]]:
    """Upright pictures, timed from the first one's PTS; ends early, with a warning, where the file is cut."""
    try:
        with av.open(str(file)) as container:
            if len(container.streams.video) == 0:
                raise DriverError(f"{file}: holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            start: float | None = None
            at_s, count = 0.0, 0
            for frame in _decoded(file, container, stream, drops):
                if frame.pts is None:
                    at_s += 1 / rate
                else:
                    start = frame.time if start is None else start
                    if frame.time - start < at_s - BACK_S:
                        start = frame.time - (at_s + 1 / rate)
                    at_s = frame.time - start
                count += 1
                yield at_s, _upright(frame)
            step_s = max(1 / rate, at_s / max(count - 1, 1))  # a rate may only be that of the ticks
            if count and (missing := _missing(container, stream, count, at_s + step_s, step_s)):
                drops["missing"] += missing
                log.warning("%s: ends after %.1f s, %d frames early: the file is cut short", file, at_s, missing)
    except av.FFmpegError as error:
        hint = " (an MP4 that was cut short has no index)" if isinstance(error, av.InvalidDataError) else ""
        raise DriverError(f"{file}: is no video that can be opened: {error.strerror}{hint}") from None


_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    -90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    -180: cv2.ROTATE_180,
}


def _upright(frame: av.VideoFrame) -> Pixels:
    """BGR as a player shows it: turned as the file's display matrix says, which telephones set."""
    pixels = np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8)
    turn = _TURNS.get(frame.rotation)
    return pixels if turn is None else np.asarray(cv2.rotate(pixels, turn), dtype=np.uint8)


def _decoded(
    file: Path, container: av.container.InputContainer, stream: av.video.stream.VideoStream, drops: Counter[str]
) -> Iterator[av.VideoFrame]:
    """All frames that can be had: a packet that does not decode costs itself, a broken container the rest.

    A decoder may also pass over what it does not understand, without a word: then that is said here.
    """
    packets, decoder, said = container.demux(stream), Decoder(str(file), stream), False
    owed = silent = most = 0  # frames that packets have not given; packets in a row without one, and the most of them
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if packet.is_corrupt:  # a part of it is not there, though decoders may conceal that
                drops["broken"] += 1
            frames = decoder.decode(packet)
        except av.FFmpegError as error:
            if isinstance(error, av.EOFError):
                break
            drops["broken"] += 1
            if not said:
                log.warning("%s: a part cannot be decoded: %s", file, error.strerror)
            said = True
            continue
        owed += bool(packet.size) - len(frames)
        silent = 0 if frames else silent + 1
        most = max(most, silent)
        yield from frames
    if min(most, owed) > SILENT:
        drops["broken"] += owed
        log.warning("%s: %d packets give no picture: is a part of it of another codec, or damaged?", file, owed)


def _missing(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, count: int, end_s: float, step_s: float
) -> int:
    """How many frames the file promises after its end, 0 where it keeps its word or gives none.

    Its count goes first, as libavformat may have estimated the duration from the length of the file that was cut; but
    the count of an AVI is one of ticks, those between frames included.
    """
    if stream.frames:
        ticks = container.format.name == "avi" and stream.time_base
        promised_s, slack_s = stream.frames * float(ticks or step_s), step_s / 2
    elif stream.duration and stream.time_base:
        promised_s, slack_s = float(stream.duration * stream.time_base), CUT_SHORT_S
    else:
        promised_s, slack_s = (container.duration or 0) / av.time_base, CUT_SHORT_S
        end_s += max(0.0, (container.start_time or 0) / av.time_base)  # Matroska's is counted from 0, not from there
    if count == stream.frames or promised_s - end_s <= slack_s:
        return 0
    return max(1, round((promised_s - end_s) / step_s))
