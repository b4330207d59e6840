"""A detector behind a socket: what it finds arrives, what it makes up does not, and its death is survived."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_agent import config
from edge_agent.messages import Detection
from edge_agent.runtime import DriverError
from edge_agent.vision import child
from edge_agent.vision.camera import Frame
from edge_agent.vision.child import ChildDetector
from edge_agent.vision.detect import open_detector

FOUND = Detection(label="person", score=0.9, box=(1.0, 2.0, 30.0, 40.0))
FRAME = Frame("cam", 0, 0.0, 0.0, np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3))


class Known:
    """Sees one person in the frame of this test, and fails on any other."""

    name, labels, score = "known", ("person",), 0.0
    share: float | None = None

    def detect(self, frame: Frame) -> list[Detection]:
        if not np.array_equal(frame.pixels, FRAME.pixels):
            raise DriverError("another frame")
        return [msgspec.structs.replace(FOUND, score=round(self.score, 3))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "eyes.sock"


@pytest.fixture
def at(path: Path) -> Generator[Callable[..., threading.Thread], None, None]:
    """Runs a child's end in a thread; all are joined at the end."""
    started: list[threading.Thread] = []

    def start(serve: Callable[[socket.socket], None]) -> threading.Thread:
        listener = child.listen(path)

        def run() -> None:
            with listener:
                serve(listener)

        started.append(threading.Thread(target=run))
        started[-1].start()
        return started[-1]

    yield start
    for thread in started:
        thread.join(30)


def section(path: Path) -> config.OnnxDetector:
    return config.OnnxDetector(name="eyes", socket=path, score=0.5)


def test_frames_go_out_as_they_are_and_detections_come_back(path, at):
    at(lambda listener: child.serve(listener, Known(), frames=2))
    detector = open_detector(section(path))
    assert isinstance(detector, ChildDetector)
    assert (detector.name, detector.labels) == ("eyes", ("person",))
    assert detector.detect(FRAME) == [msgspec.structs.replace(FOUND, score=0.5)]
    detector.score = 0.25  # set between two frames
    assert detector.detect(FRAME)[0].score == 0.25
    detector._close()


@pytest.mark.parametrize(("share", "wanted", "used"), [(1.0, 0.6, 0.6), (None, None, None)])
def test_a_child_whose_net_is_open_is_told_how_much_of_it_to_use(path, at, share, wanted, used):
    known = Known()
    known.share = share
    at(lambda listener: child.serve(listener, known, frames=1))
    detector = ChildDetector(section(path), path)
    assert detector.share == share
    detector.share = wanted
    assert len(detector.detect(FRAME)) == 1 and known.share == pytest.approx(used)
    detector._close()


def test_a_child_that_died_is_a_fault_and_the_next_one_goes_on(path, at):
    first = at(lambda listener: child.serve(listener, Known(), frames=1))
    detector = ChildDetector(section(path), path)
    detector.detect(FRAME)
    first.join(30)
    with pytest.raises(DriverError, match="was lost"):
        detector.detect(FRAME)
    with pytest.raises(DriverError, match=r"systemctl enable --now edge-agent-detector@eyes\.socket"):
        detector.detect(FRAME)
    at(lambda listener: child.serve(listener, Known(), frames=1))
    assert detector.detect(FRAME)
    detector._close()


@pytest.mark.parametrize(
    "answer",
    [
        b'{"found":[{"label":"dragon","score":0.9,"box":[1,2,3,4]}]}',
        b'{"found":[{"label":"person","score":9,"box":[1,2,3,4]}]}',
        b'{"found":[{"label":"person","score":0.9,"box":[1,2,3000,4]}]}',
        b'{"found":[{"label":"person","score":0.9,"box":[3,2,1,4]}]}',
        b'{"found":"' + b"A" * 100 + b'"}',
        b"\xff",
        b'{"error":"\xff\xfe"}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_no_detector_answers_is_not_believed(path, at, answer):
    def lie(listener: socket.socket) -> None:
        link, _ = listener.accept()
        with link:
            child._send(link, child.Hello(("person",)))
            child._receive(link, child.LARGEST_FRAME)
            link.sendall(struct.pack("!I", len(answer)) + answer)

    at(lie)
    detector = ChildDetector(section(path), path)
    with pytest.raises(DriverError):
        detector.detect(FRAME)
    detector._close()


def test_an_answer_that_is_announced_too_long_is_not_read(path, at):
    def boast(listener: socket.socket) -> None:
        link, _ = listener.accept()
        with link:
            link.sendall(struct.pack("!I", 1 << 31))

    at(boast)
    with pytest.raises(DriverError, match="2147483648 bytes are announced"):
        ChildDetector(section(path), path)


def test_an_answer_that_comes_byte_by_byte_is_not_waited_for_beyond_the_deadline(path, at, monkeypatch):
    given_up = threading.Event()

    def trickle(listener: socket.socket) -> None:
        link, _ = listener.accept()
        with link, contextlib.suppress(OSError):
            child._send(link, child.Hello(("person",)))
            link.sendall(struct.pack("!I", 100_000))
            while not given_up.wait(0.02):
                link.sendall(b" ")

    at(trickle)
    detector = ChildDetector(section(path), path)
    monkeypatch.setattr(child, "DEADLINE_S", 0.5)
    try:
        with pytest.raises(DriverError, match="timed out"):
            detector.detect(FRAME)
    finally:
        given_up.set()
        detector._close()


def test_the_child_says_what_is_no_frame() -> None:
    head = struct.pack("!IIf", 48, 64, 0.5)
    for data in (b"", head, head + b"x", struct.pack("!IIf", 0, 0, 0.5)):
        assert child._look(Known(), data).error is not None
    for tail in (b"", struct.pack("!f", 0.6)):
        assert child._look(Known(), head + bytes(48 * 64 * 3) + tail).error == "another frame"
