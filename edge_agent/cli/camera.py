"""`edge-agent camera test|calibrate`: does this camera work, what does its lens do, how does it look at the ground?"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.vision.camera import Camera, Frame

MOST_S = 86_400.0
WATCH_S = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add both verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    test = verbs.add_parser("test", help="look through a camera for some seconds and say how it does")
    test.add_argument("camera", metavar="NAME|URL", help="a [[camera]] of -c, or rtsp://…, /dev/video0, a video file")
    test.add_argument("-c", "--config", type=Path, metavar="FILE", help="the configuration that names it")
    test.add_argument("--seconds", type=_seconds, default=5.0, metavar="S", help="how long to look (default: 5)")
    test.add_argument("--credentials", type=Path, metavar="FILE", help="a file with USER:PASSWORD for a URL")
    test.add_argument("--picture", type=Path, metavar="FILE", help="write the last frame there, as PNG")
    calibrate = verbs.add_parser(
        "calibrate", help="a lens from pictures of a chessboard, or the ground from marked points"
    )
    calibrate.add_argument("picture", nargs="*", type=Path, metavar="PICTURE", help="pictures or directories of them")
    calibrate.add_argument(
        "--points", type=Path, metavar="FILE", help="a CSV with x,y,lat,lon of 4 or more points on the ground"
    )
    calibrate.add_argument("--size", type=_size, metavar="WxH", help="of the picture where x and y are pixels")
    calibrate.add_argument("--lens", type=Path, metavar="FILE", help="with --points: the lens, as found before")
    calibrate.add_argument("--board", type=_board, default=(9, 6), metavar="CxR", help="inner corners (default: 9x6)")
    calibrate.add_argument("--square-mm", type=float, default=25.0, metavar="MM", help="side of a square (default: 25)")
    calibrate.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the result there, as JSON")
    for verb in (test, calibrate):
        verb.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 where the camera or the pictures are no good; 78 on a bad configuration."""
    try:
        found = _test(args) if args.verb == "test" else _ground(args) if args.points else _calibrate(args)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        if args.json:
            print_json({"ok": False, "error": str(error)})
        print(f"edge-agent camera: {error}", file=sys.stderr)
        return 1
    if args.json:
        print_json(found)
    else:
        for name, value in found.items():
            print(f"{name}: {_words(value) if args.verb == 'test' else value}")
    return 0 if found["ok"] else 1


def _test(args: argparse.Namespace) -> dict[str, Any]:
    section = _section(args)
    return asyncio.run(_look(section, args.seconds, args.picture))


def _section(args: argparse.Namespace) -> config.Camera:
    """The camera of the configuration by that name, or one made for a URL, device or file."""
    text: str = args.camera
    if args.config is not None:
        cameras = {camera.name: camera for camera in config.load(args.config).cameras}
        if text in cameras:
            return cameras[text]
        there = ", ".join(cameras) or "none"
        raise config.ConfigError(args.config, [f"no camera is called {text!r} (there is: {there})"])
    kinds = "rtsp://HOST/…, /dev/video0, picamera, simulated, a video file, a directory of pictures"
    if not text or ("://" in text and urlsplit(text).scheme not in ("rtsp", "rtsps")):
        raise DriverError(f"{text.partition('://')[0]!r} is no camera; one is: {kinds}")
    if text.startswith(("rtsp://", "rtsps://")):
        if "@" in text.split("/")[2]:
            raise DriverError("everybody sees a password on the command line: put it in a file, --credentials FILE")
        if not urlsplit(text).hostname:
            raise DriverError(f"{text}: names no host")
        credentials = str(args.credentials) if args.credentials else None
        return config.RtspCamera(name="test", url=text, detector="-", credentials=credentials)
    if text.startswith("/dev/"):
        return config.V4l2Camera(name="test", device=Path(text), detector="-")
    if text in ("picamera", "simulated"):
        return config.PiCamera(name="test", detector="-") if text == "picamera" else _simulated()
    return config.VideoCamera(name="test", path=Path(text), detector="-")


def _simulated() -> config.Camera:
    return config.SimulatedCamera(name="test", detector="-")


class _Seen:
    """What came of a camera while it was looked through."""

    def __init__(self, camera: Camera, now: float) -> None:
        self._camera, self._began_s = camera, now
        self.first_s: float | None = None
        self.last: Frame | None = None
        self._last_s = now
        self._ages_s, self._sizes, self._states = list[float](), list[str](), list[str]()

    def take(self, frame: Frame, now: float) -> None:
        """A frame came."""
        self.first_s = now if self.first_s is None else self.first_s
        self.last, self._last_s = frame, now
        self._ages_s.append(now - frame.at_s)
        size = f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]}"
        if size not in self._sizes:
            self._sizes.append(size)
        self._note()

    def _note(self) -> None:
        if self._states[-1:] != [self._camera.state]:
            self._states.append(self._camera.state)

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None, None]:
        """Notice states also while no frame comes, and show how it goes."""

        async def watch() -> None:
            while True:
                self._note()
                _progress(
                    f"{self._camera.state}, {len(self._ages_s)} frames of {', '.join(self._sizes) or 'no size yet'}"
                )
                await asyncio.sleep(WATCH_S)

        watching = asyncio.get_running_loop().create_task(watch())
        try:
            yield
        finally:
            watching.cancel()
            _progress("")

    def facts(self) -> dict[str, Any]:
        """All of it, once a frame came."""
        from edge_agent.vision.light import LightSwitch, signs_of

        assert self.last is not None and self.first_s is not None
        looked_s, ages_s = self._last_s - self.first_s, sorted(self._ages_s)
        signs = signs_of(self.last.pixels, self.last.lux)
        return {
            "state": self._states[-1],
            "states": self._states,
            "frames": len(ages_s),
            "fps": round((len(ages_s) - 1) / looked_s, 2) if looked_s > 0.2 else None,
            "size": self._sizes[-1],
            "sizes": self._sizes,
            "first_frame_s": round(self.first_s - self._began_s, 3),
            "age_ms": round(1000 * ages_s[len(ages_s) // 2], 1),
            "age_ms_max": round(1000 * ages_s[-1], 1),
            "drops": dict(self._camera.drops),
            "light": LightSwitch("auto", {"night"}, 0.0).update(0.0, signs),
            "luma": round(signs.luma, 1),
            "chroma": round(signs.chroma, 1),
            "lux": signs.lux,
        }


async def _look(section: config.Camera, seconds: float, picture: Path | None) -> dict[str, Any]:
    """What `seconds` from the first frame on show; one that fails on the way is told with what it showed before."""
    from edge_agent.runtime import SystemClock
    from edge_agent.vision.camera import open_camera

    clock, error = SystemClock(), None
    camera = open_camera(section, clock)
    seen = _Seen(camera, clock.monotonic())
    try:
        async with asyncio.timeout(None) as limit, aclosing(camera.frames()) as frames, seen.watched():
            async for frame in frames:
                if seen.first_s is None:
                    limit.reschedule(asyncio.get_running_loop().time() + seconds)
                seen.take(frame, clock.monotonic())
    except TimeoutError:
        pass
    except DriverError as failure:
        if seen.last is None:
            raise
        error = str(failure)
    if seen.last is None:
        raise DriverError(f"{section.name}: ended without one picture")
    if picture is not None:
        from edge_agent.vision.masks import Masks
        from edge_agent.vision.record import write_png

        write_png(picture, Masks(section.masks).painted(seen.last.pixels))
    what = {"ok": error is None, "camera": section.name, "type": section.__struct_config__.tag}
    return what | seen.facts() | ({"error": error} if error else {})


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "not told" if value is None else str(value)


def _calibrate(args: argparse.Namespace) -> dict[str, Any]:
    from edge_agent.vision.calibrate import calibrate
    from edge_agent.vision.picture import find_pictures

    if not args.picture:
        raise DriverError("give pictures of a chessboard, or --points FILE")
    files = [file for given in args.picture for file in (find_pictures(given) if given.is_dir() else [given])]
    found = calibrate(files, args.board, args.square_mm / 1000)
    _write(args.out, found)
    return {"ok": True} | found


def _ground(args: argparse.Namespace) -> dict[str, Any]:
    """How marked points fit the ground, and the file for `camera.view` of type "points"."""
    import json

    import msgspec

    from edge_agent.vision.ground import Misfit, PointsSight
    from edge_agent.vision.places import read_lens, read_marks

    marks, lens = read_marks(args.points)
    if args.size is not None:
        wide, high = args.size
        marks = [msgspec.structs.replace(mark, x=mark.x / wide, y=mark.y / high) for mark in marks]
    if any(not (0 <= mark.x <= 1 and 0 <= mark.y <= 1) for mark in marks):
        beyond = (
            "outside of the picture" if args.size else "no fractions of the picture: are they pixels? give --size WxH"
        )
        raise DriverError(f"{args.points}: x and y are {beyond}")
    lens = read_lens(args.lens) if args.lens is not None else lens
    try:
        sight = PointsSight(marks, lens)
    except Misfit as error:
        raise DriverError(f"{args.points}: {error}") from None
    found = {
        "points": [msgspec.to_builtins(mark) for mark in marks],
        "lens": json.loads(args.lens.read_bytes()) if args.lens is not None else None,
        "rms_m": round(sight.rms_m, 3),
        "misses_m": [round(miss, 3) for miss in sight.misses_m],
    }
    _write(args.out, found)
    worst = max(range(len(marks)), key=lambda n: sight.misses_m[n])
    note = (
        "four points always fit: mark more, and the rest tells how well"
        if len(marks) == 4
        else f"the worst is point {worst + 1}, off by {sight.misses_m[worst]:.2f} m"
    )
    return {"ok": True} | found | {"note": note}


def _write(file: Path | None, found: dict[str, Any]) -> None:
    import json

    from edge_agent.files import write_durably

    if file is None:
        return
    try:
        write_durably(file, json.dumps(found, indent=2).encode() + b"\n", 0o644)
    except OSError as error:
        raise DriverError(f"{file}: cannot be written: {error.strerror}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number of seconds is wanted, as 5 or 0.5; got {text!r}") from None
    if not 0 < seconds <= MOST_S:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {MOST_S:g}")
    return seconds


def _size(text: str) -> tuple[int, int]:
    width, x, height = text.partition("x")
    if not x or not width.isdigit() or not height.isdigit() or min(int(width), int(height)) < 1:
        raise argparse.ArgumentTypeError(f"width and height in pixels are wanted, as 1920x1080; got {text!r}")
    return int(width), int(height)


def _board(text: str) -> tuple[int, int]:
    columns, x, rows = text.partition("x")
    if not x or not columns.isdigit() or not rows.isdigit() or min(int(columns), int(rows)) < 3:
        raise argparse.ArgumentTypeError(f"columns and rows of inner corners are wanted, as 9x6; got {text!r}")
    return int(columns), int(rows)
