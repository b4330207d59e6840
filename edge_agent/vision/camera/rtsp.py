"""An RTSP stream by PyAV, over TCP, with a deadline for every read."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Generator
from functools import partial

import av
import numpy as np

from edge_agent import config
from edge_agent.runtime import Clock, DriverError
from edge_agent.vision.camera.decoding import Decoder
from edge_agent.vision.camera.live import LiveCamera, Pixels, Shot

BROKEN_IN_A_ROW = 250  # so many packets without one picture: this will not become one


def open_rtsp(section: config.RtspCamera, clock: Clock) -> LiveCamera:
    """The camera of a config; the stream itself is opened by `frames`."""
    return LiveCamera(
        section.name,
        section.url,
        partial(read_stream, section),
        clock,
        connect_s=section.connect_s + section.stall_s,
        stall_s=section.stall_s,
        frozen_s=section.frozen_s,
        max_fps=section.max_fps,
    )


def read_stream(section: config.RtspCamera, drops: Counter[str]) -> Generator[Shot, None, None]:
    """Every picture of a stream, blocking; what does not decode is counted in `drops["broken"]`."""
    began_s, opened = time.monotonic(), False
    options = {"rtsp_transport": section.transport, "fflags": "nobuffer", "max_delay": "500000"}
    try:
        address = config.with_login(section.url, section.credentials)
    except ValueError as error:
        raise DriverError(f"camera {section.name}: {error}") from None
    try:
        with av.open(address, options=options, timeout=(section.connect_s, section.stall_s)) as stream_in:
            opened = True
            if not stream_in.streams.video:
                raise DriverError(f"{section.url}: has no video")
            stream = stream_in.streams.video[0]
            stream.thread_type = "SLICE"  # threads by frame would hold pictures back
            yield from _pictures(section, stream_in, stream, drops)
    except av.FFmpegError as error:  # its own text may hold the address with the password
        silent = not opened and time.monotonic() - began_s >= section.connect_s
        why = f"no answer within {section.connect_s:g} s" if silent else _reason(error)
        raise DriverError(f"{section.url}: {why}") from None


def _pictures(
    section: config.RtspCamera,
    stream_in: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    drops: Counter[str],
) -> Generator[Shot, None, None]:
    broken, decoder = 0, Decoder(section.url, stream)
    for packet in stream_in.demux(stream):
        try:
            frames = decoder.decode(packet)
        except av.InvalidDataError:
            drops["broken"] += 1
            broken += 1
            if broken >= BROKEN_IN_A_ROW:
                raise DriverError(f"{section.url}: nothing of it can be decoded") from None
            continue
        for frame in frames:
            broken = 0
            if frame.is_corrupt:
                drops["broken"] += 1
                continue
            stamp_s = None if frame.pts is None or frame.time is None else float(frame.time)
            yield Shot(stamp_s, False, partial(_bgr, frame))


def _bgr(frame: av.VideoFrame) -> Pixels:
    return np.asarray(frame.to_ndarray(format="bgr24"), dtype=np.uint8)


def _reason(error: av.FFmpegError) -> str:
    """What happened, in words; without the address."""
    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "it wants other credentials (401): give `credentials`, a file with USER:PASSWORD"
    if isinstance(error, av.error.HTTPNotFoundError):
        return "there is no such stream (404)"
    if isinstance(error, av.InvalidDataError):
        return "what it answers is no stream that can be read"
    with contextlib.suppress(AttributeError):
        if isinstance(error, av.error.ExitError):
            return "no answer in time"
    return error.strerror or type(error).__name__
