"""`edge-agent models`: which there are, where they come from, what a file is, and how long a picture takes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_agent.cli import catalogue
from edge_agent.cli.catalogue import plain, shown
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.vision.net import Net
    from edge_agent.vision.plates_own import PlateText

ROUNDS = 5
SHOWN = 12  # labels of a readable answer


def side_px(text: str) -> int:
    """The side of a square, as `side_px` of a detector; raises ArgumentTypeError."""
    if not text.isdecimal() or len(text) > 4 or int(text) not in range(64, 2049, 32):
        raise argparse.ArgumentTypeError(f"a multiple of 32 from 64 to 2048 is wanted, got {text!r}")
    return int(text)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="what came along, what is installed, what is known")
    listing.add_argument("--json", action="store_true", help="one JSON object a line and model")

    install = actions.add_parser("install", help="download a known model, or take one from a file or directory")
    install.add_argument(
        "what", metavar="NAME|FILE|DIR", help="of the list; or a file; or a directory, as of a USB stick"
    )
    install.add_argument(
        "--from", dest="source", type=Path, metavar="PATH", help="offline: take NAME from this file or directory"
    )
    install.add_argument(
        "--url", metavar="URL", help="take NAME from this address, as of a mirror; its hash stays pinned"
    )
    install.add_argument("--name", metavar="NAME", help="how a FILE of your own is called from now on")
    install.add_argument("--sha256", metavar="HEX", help="what the SHA-256 of a FILE of your own must be")
    install.add_argument("--accept-licence", metavar="LICENCE", help="needed for copyleft models: AGPL or GPL")
    install.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    install.add_argument("--json", action="store_true", help="one JSON object a line and model")

    check = actions.add_parser("check", help="say of which family a detector is and why, or what it lacks")
    bench = actions.add_parser("bench", help="measure how long a picture takes, models taking turns")
    for action in (check, bench):
        some = "+" if action is check else "*"
        action.add_argument(
            "file",
            nargs=some,
            metavar="FILE|NAME",
            help="an ONNX file (FILE.toml beside it is read too), or a model by name",
        )
        action.add_argument("--threads", type=int, default=1, choices=range(1, 65), metavar="N", help="(default 1)")
        action.add_argument(
            "--side", type=side_px, metavar="PX",
            help="of models with an open size: at as many pixels as this square has",
        )  # fmt: skip
        action.add_argument("--json", action="store_true", help="one JSON object a line and file")
    bench.add_argument(
        "--rounds", type=int, default=30, choices=range(3, 1001), metavar="N", help="pictures each (default 30)"
    )

    remove = actions.add_parser("remove", help="take an installed model away")
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    remove.add_argument("--json", action="store_true", help="a JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 where a file is no model that can be used, cannot be had, or is not the one that is pinned."""
    try:
        match args.action:
            case "list":
                return catalogue.show(args)
            case "install":
                return catalogue.install(args)
            case "remove":
                return catalogue.remove(args)
            case "bench":
                return _bench(args)
            case _:
                good = [_check(file, args) for file in args.file]  # all of them, also after a bad one
                return 0 if all(good) else 1
    except DriverError as error:
        print(f"edge-agent models: {plain(str(error))}", file=sys.stderr)
        return 1


def _check(file: str, args: argparse.Namespace) -> bool:
    from edge_agent.vision.net import Net, sidecar_path

    try:
        told = _told(net := Net(_find(file), args.threads, side_px=args.side), args.threads)
    except DriverError as error:
        if _check_reader(file, args):
            return True
        _refuse(file, error, args)
        return False
    if args.json:
        print(json.dumps(told, ensure_ascii=False))
        return True
    labels = ", ".join(net.labels[:SHOWN]) + (f", ... ({len(net.labels)})" if len(net.labels) > SHOWN else "")
    print(f"{shown(file)}: {told['format']}, told by {told['why']}")
    print(f"  input    {told['input']['width']}x{told['input']['height']} {told['input']['dtype']}, {_fed(net.form)}")
    if own := told["input"]["own_shape"]:
        shapes = ", ".join(f"{wide}x{high} for {picture}" for picture, (wide, high) in own.items())
        print(f"           in the picture's own shape: {shapes}")
    print("  outputs  " + ", ".join(f"{plain(name)} {tuple(shape)}" for name, shape in told["outputs"].items()))
    print(
        f"  labels   {plain(labels)}{'' if net.named else f'; name them as `labels` in {sidecar_path(net.file).name}'}"
    )
    print(f"  time     {told['ms']:.1f} ms a picture, {args.threads} thread{'s' if args.threads > 1 else ''}")
    if told["licence"]:
        print(f"  licence  {plain(told['licence'])}")
    return True


def _check_reader(file: str, args: argparse.Namespace) -> bool:
    """Tell of a file that is a plate reader and no detector; False, and nothing is told, where it is neither."""
    from edge_agent.vision.plates_own import PlateText

    try:
        reader = PlateText(path := _find(file), args.threads)
    except DriverError:
        return False
    (took_s,) = taking_turns([_of_reader(reader).look], ROUNDS)
    told = {
        "file": shown(path),
        "ok": True,
        "format": "plate-reader",
        "why": "labels and colors in its metadata",
        "input": {"width": reader.width, "height": reader.height, "dtype": "float32", "layout": "nchw", "color": "bgr"},
        "labels": reader.labels,
        "colors": reader.colors,
        "ms": round(sorted(took_s)[ROUNDS // 2] * 1000, 2),
        "threads": args.threads,
        "licence": reader.metadata.get("licence", ""),
    }
    if args.json:
        print(json.dumps(told, ensure_ascii=False))
        return True
    print(f"{shown(file)}: plate-reader, told by {told['why']}")
    print(f"  input    crops of {reader.width}x{reader.height} float32, BGR, stretched")
    print(f"  labels   {plain(''.join(reader.labels))}; grounds {plain(', '.join(reader.colors))}")
    print(f"  time     {told['ms']:.1f} ms a crop, {args.threads} thread{'s' if args.threads > 1 else ''}")
    print(f"  licence  {plain(told['licence'])}")
    return True


class Timed(NamedTuple):
    """A model whose time is taken: `look` has it work on one picture, or a reader on one crop."""

    family: str
    width: int
    height: int
    look: Callable[[], object]


def _bench(args: argparse.Namespace) -> int:
    """Models take turns, so that a busy machine slows them alike; the first is what the ratios are of."""
    from edge_agent import weights
    from edge_agent.catalogue import store

    models: dict[str, Timed] = {}
    for file in dict.fromkeys(args.file or [*weights.names(), *(model.name for model in store.installed())]):
        try:
            models[file] = _timed(_find(file), args.threads, args.side)
        except DriverError as error:
            _refuse(file, error, args)
    took = taking_turns([model.look for model in models.values()], args.rounds)
    middle = [sorted(times)[len(times) // 2] * 1000 for times in took]
    for (file, model), ms, times in zip(models.items(), middle, took, strict=True):
        told = {
            "file": shown(file),
            "format": model.family,
            "input": {"width": model.width, "height": model.height},
            "bytes": _find(file).stat().st_size,
            "ms": round(ms, 3),
            "fastest_ms": round(min(times) * 1000, 3),
            "ratio": round(ms / middle[0], 3),
            "threads": args.threads,
            "rounds": args.rounds,
        }
        if args.json:
            print(json.dumps(told, ensure_ascii=False))
        else:
            print(
                f"{shown(file)}: {ms:.2f} ms a picture of {model.width}x{model.height} ({told['ratio']:.2f} x), "
                f"{model.family}, {told['bytes'] / 1e6:.1f} MB"
            )
    return int(any(file not in models for file in args.file))


def _timed(path: Path, threads: int, side_px: int | None) -> Timed:
    """A detector or a plate reader; raises the detector's DriverError where the file is neither."""
    from edge_agent.vision.net import Net
    from edge_agent.vision.plates_own import PlateText

    try:
        return of_net(Net(path, threads, side_px=side_px))
    except DriverError:
        try:
            return _of_reader(PlateText(path, threads))
        except DriverError:
            pass
        raise


def of_net(net: Net) -> Timed:
    """A detector, which looks at grey."""
    picture = net.grey()
    return Timed(net.head.family, net.width, net.height, lambda: net.run(picture))


def _of_reader(reader: PlateText) -> Timed:
    import numpy as np

    from edge_agent.vision.plate_cut import Cut, whole

    crop, cut = np.zeros((reader.height, reader.width, 3), np.uint8), Cut(whole(reader.width, reader.height))
    return Timed("plate-reader", reader.width, reader.height, lambda: reader.read(crop, [cut]))


def taking_turns(looks: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds of each look, a list a model; a line of progress on a terminal."""
    took: list[list[float]] = [[] for _ in looks]
    for turn in range(rounds):
        if sys.stderr.isatty():
            print(f"\r{turn + 1}/{rounds}\x1b[K", end="", file=sys.stderr, flush=True)
        for look, times in zip(looks, took, strict=True):
            began_s = time.perf_counter()
            look()
            times.append(time.perf_counter() - began_s)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return took


def _told(net: Net, threads: int) -> dict[str, Any]:
    import numpy as np

    (took_s,) = taking_turns([of_net(net).look], ROUNDS)
    return {
        "file": shown(net.file),
        "ok": True,
        "format": net.head.family,
        "why": net.why,
        "input": {
            "width": net.width,
            "height": net.height,
            "dtype": np.dtype(net.dtype).name,
            "layout": "nhwc" if net.form.nhwc else "nchw",
            "color": "rgb" if net.form.rgb else "bgr",
            "fit": net.form.fit,
            "mean": list(net.form.mean),
            "std": list(net.form.std),
            "pad": net.form.pad,
            "own_shape": _own_shape(net),
        },
        "outputs": {name: list(shape) for name, shape in net.shapes.items()},
        "labels": list(net.labels),
        "nms": net.head.overlapping,
        "ms": round(sorted(took_s)[ROUNDS // 2] * 1000, 2),
        "threads": threads,
        "licence": _licence(net),
    }


def _own_shape(net: Net) -> dict[str, tuple[int, int]]:
    """Sizes of the input for pictures of common sizes; none where all are looked at in the same."""
    shapes = (1920, 1080), (640, 480), (1080, 1920)
    found = {f"{wide}x{high}": net.size_for(wide, high) for wide, high in shapes}
    return {} if set(found.values()) == {(net.width, net.height)} else found


def _licence(net: Net) -> str:
    return net.metadata.get("licence") or net.metadata.get("license", "")


def _find(file: str) -> Path:
    from edge_agent.catalogue import store

    return store.resolve(file)


def _refuse(file: str, error: DriverError, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps({"file": shown(file), "ok": False, "error": shown(str(error))}, ensure_ascii=False))
    else:
        print(plain(str(error)), file=sys.stderr)


def _fed(form: Any) -> str:
    how = {"centred": "letterboxed in the middle", "top_left": "letterboxed at the top left", "stretch": "stretched"}
    scaled = "" if form.std == (1.0, 1.0, 1.0) else f", (x - {list(form.mean)}) / {list(form.std)}"
    return f"{'RGB' if form.rgb else 'BGR'}, {how[form.fit]}{scaled}"
