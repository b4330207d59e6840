"""`edge-agent detect`: run a detector over picture files and print what it finds."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import config
from edge_agent.cli.catalogue import plain, shown
from edge_agent.cli.models import side_px
from edge_agent.files import read_text
from edge_agent.messages import Detection
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.vision.detect import Detector


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="a picture file (turned as its EXIF says), or a directory",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE|NAME",
        help="the detector: an ONNX file, or a name of `models list` (default: the built-in person-vehicle)",
    )
    parser.add_argument("--score", type=_unit, default=0.3, metavar="X", help="lowest score, 0..1 (default 0.3)")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="names of the classes, one a line, for a model without"
    )
    parser.add_argument(
        "--threads", type=int, default=2, choices=range(1, 65), metavar="N", help="of the model (default 2)"
    )
    parser.add_argument(
        "--side", type=side_px, metavar="PX",
        help="with a model of open size, as person-vehicle: at as many pixels as this square has (default: its own)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object a line and picture")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="write pictures with boxes into this directory")


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 where a picture or the model failed."""
    from edge_agent.vision.detect import open_detector

    try:
        section = config.OnnxDetector(
            name="detect",
            model=args.model,
            score=args.score,
            threads=args.threads,
            labels=_labels(args.labels),
            classes=(),
            side_px=args.side,
        )
        detector = open_detector(section)
    except DriverError as error:
        print(f"edge-agent detect: {plain(str(error))}", file=sys.stderr)
        return 1
    report = _Report(args.json)
    files = list(_expand(args.source, report))
    targets = _Targets(args.draw, files) if args.draw else None
    for number, file in enumerate(files, start=1):
        report.progress(number, len(files), file)
        try:
            _detect(detector, file, number, targets, report)
        except DriverError as error:
            report.failure(file, error)
    report.done()
    return int(report.failed)


def _detect(detector: Detector, file: Path, seq: int, targets: _Targets | None, report: _Report) -> None:
    from edge_agent.vision.camera import Frame
    from edge_agent.vision.picture import read_picture

    frame = Frame("detect", seq, float(seq), 0.0, read_picture(file))
    found = [d for d in detector.detect(frame) if d.score >= detector.score]
    if targets is not None:
        from edge_agent.vision.record import write_picture

        directory, name = targets.place(file)
        write_picture(directory, name, frame, [(d.box, f"{d.label} {d.score:.2f}") for d in found])
    report.result(file, frame.pixels.shape[1], frame.pixels.shape[0], found)


class _Report:
    """What is printed: results on stdout, errors on stderr too, a line of progress while stderr is a terminal."""

    def __init__(self, as_json: bool) -> None:
        self._as_json, self._live, self.failed = as_json, sys.stderr.isatty(), False

    def result(self, file: Path, width: int, height: int, found: list[Detection]) -> None:
        self._clear()
        if self._as_json:
            detections = [
                {"label": d.label, "score": round(d.score, 4), "box": [round(side, 2) for side in d.box]} for d in found
            ]
            print(json.dumps({"file": shown(file), "width": width, "height": height, "detections": detections}))
            return
        counts = Counter(d.label for d in found)
        summary = ", ".join(f"{count} {label}" for label, count in counts.most_common()) or "nothing"
        print(f"{shown(file)}: {width}x{height}: {summary}")
        for d in found:
            x1, y1, x2, y2 = (round(side) for side in d.box)
            print(f"  {d.label} {d.score:.2f} at {x1},{y1} to {x2},{y2}")

    def failure(self, file: Path, error: DriverError) -> None:
        self._clear()
        self.failed = True
        print(f"edge-agent detect: {shown(str(error))}", file=sys.stderr)
        if self._as_json:
            print(json.dumps({"file": shown(file), "error": shown(str(error))}))

    def progress(self, number: int, total: int, file: Path) -> None:
        if self._live and total > 1:
            print(f"\r\x1b[K{number}/{total} {shown(Path(file.name))}", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        self._clear()

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Targets:
    """Where drawn pictures go: each its own name, and never that of a source."""

    def __init__(self, directory: Path, sources: list[Path]) -> None:
        self._directory = directory
        self._taken = {os.path.realpath(source) for source in sources}  # Path.resolve raises where links form a ring

    def place(self, file: Path) -> tuple[Path, str]:
        """Directory and name, without the suffix `.jpg`, for the drawing of a file."""
        for number in itertools.count(1):
            name = f"{file.stem}.boxes" + (f"-{number}" if number > 1 else "")
            target = os.path.realpath(self._directory / f"{name}.jpg")
            if target not in self._taken:
                self._taken.add(target)
                return self._directory, name
        raise AssertionError("numbers do not end")


def _expand(sources: list[Path], report: _Report) -> Iterator[Path]:
    """The files of all sources in the order given; a directory that cannot be read is reported."""
    from edge_agent.vision.picture import find_pictures

    for source in sources:
        try:
            yield from find_pictures(source) if is_directory(source) else [source]
        except DriverError as error:
            report.failure(source, error)


def is_directory(source: Path) -> bool:
    """False also where that cannot be told: who reads it as a picture then says why."""
    try:
        return source.is_dir()
    except OSError:
        return False


def _labels(file: Path | None) -> tuple[str, ...]:
    """One name a line, blank lines at the end left out; raises DriverError."""
    if file is None:
        return ()
    try:
        return tuple(line.strip() for line in read_text(file).rstrip().splitlines())
    except OSError as error:
        raise DriverError(f"{file}: the labels cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DriverError(f"{file}: the file of labels {error}") from None


def _unit(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"a number above 0 and at most 1 is wanted, got {text!r}")
    return value
