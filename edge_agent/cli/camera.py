"""`edge-agent camera test|calibrate`: does this camera work, and what does its lens do?"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add both verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    test = verbs.add_parser("test", help="look through a camera for some seconds and say how it does")
    test.add_argument("camera", metavar="NAME|URL", help="a [[camera]] of -c, or rtsp://…, /dev/video0, a video file")
    test.add_argument("-c", "--config", type=Path, metavar="FILE", help="the configuration that names it")
    test.add_argument("--seconds", type=float, default=5.0, metavar="S", help="how long to look (default: 5)")
    test.add_argument("--credentials", type=Path, metavar="FILE", help="a file with USER:PASSWORD for a URL")
    test.add_argument("--picture", type=Path, metavar="FILE", help="write the last frame there, as PNG")
    calibrate = verbs.add_parser("calibrate", help="camera matrix and distortion from pictures of a chessboard")
    calibrate.add_argument("picture", nargs="+", type=Path, metavar="PICTURE", help="pictures or directories of them")
    calibrate.add_argument("--board", type=_board, default=(9, 6), metavar="CxR", help="inner corners (default: 9x6)")
    calibrate.add_argument("--square-mm", type=float, default=25.0, metavar="MM", help="side of a square (default: 25)")
    calibrate.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the result there, as JSON")
    for verb in (test, calibrate):
        verb.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 where the camera or the pictures are no good; 78 on a bad configuration."""
    try:
        found = _test(args) if args.verb == "test" else _calibrate(args)
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
            print(f"{name}: {value}")
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
    if text.startswith(("rtsp://", "rtsps://")):
        if "@" in text.split("/")[2]:
            raise DriverError("everybody sees a password on the command line: put it in a file, --credentials FILE")
        credentials = str(args.credentials) if args.credentials else None
        return config.RtspCamera(name="test", url=text, detector="-", credentials=credentials)
    if text.startswith("/dev/"):
        return config.V4l2Camera(name="test", device=Path(text), detector="-")
    if text in ("picamera", "simulated"):
        return config.PiCamera(name="test", detector="-") if text == "picamera" else _simulated()
    return config.VideoCamera(name="test", path=Path(text), detector="-")


def _simulated() -> config.Camera:
    return config.SimulatedCamera(name="test", detector="-")


async def _look(section: config.Camera, seconds: float, picture: Path | None) -> dict[str, Any]:
    from contextlib import aclosing

    from edge_agent.runtime import SystemClock
    from edge_agent.vision.camera import open_camera

    clock = SystemClock()
    camera = open_camera(section, clock)
    began_s, first_s, ages_s, sizes, last = clock.monotonic(), None, list[float](), list[str](), None
    state = "connecting"
    try:
        async with asyncio.timeout(None) as limit, aclosing(camera.frames()) as frames:
            async for frame in frames:
                now = clock.monotonic()
                if first_s is None:
                    first_s = now
                    limit.reschedule(asyncio.get_running_loop().time() + seconds)
                ages_s.append(now - frame.at_s)
                state, last = camera.state, frame
                size = f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]}"
                if size not in sizes:
                    sizes.append(size)
                _progress(len(ages_s), size)
    except TimeoutError:
        pass
    finally:
        _progress(0, "")
    if first_s is None or last is None:
        raise DriverError(f"{section.name}: ended without one picture")
    if picture is not None:
        from edge_agent.vision.record import write_png

        write_png(picture, last.pixels)
    looked_s = clock.monotonic() - first_s
    return {
        "ok": True,
        "camera": section.name,
        "type": section.__struct_config__.tag,
        "state": state,
        "frames": len(ages_s),
        "fps": round((len(ages_s) - 1) / looked_s, 2) if looked_s > 0.2 else None,
        "size": sizes[-1],
        "sizes": sizes,
        "first_frame_s": round(first_s - began_s, 3),
        "age_ms": round(1000 * sorted(ages_s)[len(ages_s) // 2], 1),
        "drops": dict(camera.drops),
    }


def _progress(frames: int, size: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{frames} frames of {size}" if frames else "\r\033[K", end="", file=sys.stderr, flush=True)


def _calibrate(args: argparse.Namespace) -> dict[str, Any]:
    from edge_agent.files import write_durably
    from edge_agent.vision.calibrate import calibrate
    from edge_agent.vision.picture import find_pictures

    files = [file for given in args.picture for file in (find_pictures(given) if given.is_dir() else [given])]
    found = calibrate(files, args.board, args.square_mm / 1000)
    if args.out is not None:
        import json

        try:
            write_durably(args.out, json.dumps(found, indent=2).encode() + b"\n", 0o644)
        except OSError as error:
            raise DriverError(f"{args.out}: cannot be written: {error.strerror}") from None
    return {"ok": True} | found


def _board(text: str) -> tuple[int, int]:
    columns, x, rows = text.partition("x")
    if not x or not columns.isdigit() or not rows.isdigit() or min(int(columns), int(rows)) < 3:
        raise argparse.ArgumentTypeError(f"columns and rows of inner corners are wanted, as 9x6; got {text!r}")
    return int(columns), int(rows)
