"""A detector in a process of its own that has no network: frames go out over a UNIX socket, detections come back.

What a hostile picture or model could take over is then a process that sees nothing but pictures. So what it answers
is judged like any stranger's. On the wire, each way: a length (4 bytes, big-endian) and that much; the child begins
with its labels, a frame is height, width, score (!IIf) and its BGR bytes, and the share of the net's pixels (!f) where
the child said that it is open; an answer is JSON.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from edge_agent.messages import Detection
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent import config
    from edge_agent.vision.camera import Frame
    from edge_agent.vision.detect import Detector

log = logging.getLogger(__name__)

DEADLINE_S = 20.0  # for one frame; a model that hangs is the child's fault, not the agent's end
LARGEST_FRAME = 8192 * 8192 * 3
LARGEST_ANSWER = 1 << 20
NO_ANSWER = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LENGTH, _FRAME, _SHARE = struct.Struct("!I"), struct.Struct("!IIf"), struct.Struct("!f")


class Hello(Struct, frozen=True):
    """What the child has loaded."""

    labels: Annotated[tuple[str, ...], Meta(max_length=10_000)]
    open: bool = False  # its net leaves its size open


class Answer(Struct, frozen=True):
    """What it found in one frame, or why it could not look."""

    found: Annotated[list[Detection], Meta(max_length=1000)] = []
    error: str | None = None


class ChildDetector:
    """The agent's end; the next frame connects anew where the child was lost."""

    def __init__(self, section: config.OnnxDetector, path: Path) -> None:
        self.name, self.score, self._path = section.name, section.score, path
        self.share: float | None = None
        self._socket: socket.socket | None = None
        self.labels: tuple[str, ...] = ()
        self._connect()

    def detect(self, frame: Frame) -> list[Detection]:
        pixels = frame.pixels
        height, width = pixels.shape[:2]
        try:
            link = self._socket or self._connect()
            link.settimeout(DEADLINE_S)
            head = _FRAME.pack(height, width, self.score)
            tail = b"" if self.share is None else _SHARE.pack(self.share)
            link.sendall(_LENGTH.pack(len(head) + pixels.nbytes + len(tail)) + head)
            link.sendall(pixels.tobytes() + tail)
            answer = msgspec.json.decode(_receive(link, LARGEST_ANSWER, DEADLINE_S), type=Answer)
        except (OSError, EOFError, *NO_ANSWER) as error:
            self._close()
            raise DriverError(f"detector {self.name}: its process at {self._path} was lost: {error}") from None
        if answer.error is not None:
            raise DriverError(f"detector {self.name}: {answer.error[:500]}")
        if not all(self._sound(one, width, height) for one in answer.found):
            self._close()
            raise DriverError(f"detector {self.name}: its process at {self._path} answers what no detector answers")
        return answer.found

    def _sound(self, one: Detection, width: int, height: int) -> bool:
        x1, y1, x2, y2 = one.box
        inside = 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height  # not of NaN either
        return inside and 0 <= one.score <= 1 and math.isfinite(one.score) and one.label in self.labels

    def _connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(DEADLINE_S)
        try:
            link.connect(str(self._path))
            hello = msgspec.json.decode(_receive(link, LARGEST_ANSWER, DEADLINE_S), type=Hello)
        except (OSError, EOFError, *NO_ANSWER) as error:
            link.close()
            unit = f"edge-agent-detector@{self.name}.socket"
            raise DriverError(f"detector {self.name}: {self._path}: {error}; systemctl enable --now {unit}") from None
        self._socket, self.labels, self.share = link, hello.labels, 1.0 if hello.open else None
        return link

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def serve(listener: socket.socket, detector: Detector, frames: int | None = None) -> None:
    """The child's end: one agent at a time, for ever or for so many frames."""
    while frames is None or frames > 0:
        link, _ = listener.accept()
        with link, contextlib.suppress(OSError, EOFError):  # the agent went away: the next one is waited for
            _send(link, Hello(detector.labels, detector.share is not None))
            while frames is None or frames > 0:
                _send(link, _look(detector, _receive(link, LARGEST_FRAME + _FRAME.size + _SHARE.size)))
                frames = None if frames is None else frames - 1


def _look(detector: Detector, data: bytes) -> Answer:
    import numpy as np

    from edge_agent.vision.camera import Frame

    if len(data) < _FRAME.size:
        return Answer(error="a frame without its head")
    height, width, score = _FRAME.unpack_from(data)
    tail = len(data) - _FRAME.size - height * width * 3
    if not height or not width or tail not in (0, _SHARE.size):
        return Answer(error=f"{len(data)} bytes are no frame of {width} x {height}")
    pixels = np.frombuffer(data, np.uint8, height * width * 3, _FRAME.size).reshape(height, width, 3)
    detector.score = score
    if tail:
        (detector.share,) = _SHARE.unpack_from(data, len(data) - tail)
    try:
        return Answer(found=detector.detect(Frame("child", 0, 0.0, 0.0, pixels)))
    except DriverError as error:
        return Answer(error=str(error))


def listen(path: Path | None) -> socket.socket:
    """The socket that systemd has made (sd_listen_fds: the first is 3), or one of our own at `path`; DriverError."""
    if os.environ.get("LISTEN_FDS") == "1" and os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=3)
    if path is None:
        raise DriverError("no socket came from systemd, and --socket names none")
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise DriverError(f"{path}: {error.strerror or error}") from None
    return listener


def _send(link: socket.socket, value: Hello | Answer) -> None:
    data = msgspec.json.encode(value)
    link.sendall(_LENGTH.pack(len(data)) + data)


def _receive(link: socket.socket, most: int, within_s: float | None = None) -> bytes:
    """What comes, whole `within_s` seconds, however many pieces it comes in; TimeoutError, EOFError."""
    until_s = None if within_s is None else time.monotonic() + within_s
    (length,) = _LENGTH.unpack(_exactly(link, _LENGTH.size, until_s))
    if length > most:
        raise EOFError(f"{length} bytes are announced, at most {most} are taken")
    return _exactly(link, length, until_s)


def _exactly(link: socket.socket, count: int, until_s: float | None) -> bytes:
    data = bytearray(count)
    view, have = memoryview(data), 0
    while have < count:
        if until_s is not None:
            link.settimeout(max(until_s - time.monotonic(), 1e-3))
        if not (got := link.recv_into(view[have:])):
            raise EOFError("it hung up")
        have += got
    return bytes(data)
