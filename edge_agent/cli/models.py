"""`edge-agent models check`: what a model file is, why, and how long it takes for a picture."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.vision.net import Net

ROUNDS = 5
SHOWN = 12  # labels of a readable answer


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="say of which family a detector is and why, or what it lacks")
    check.add_argument(
        "file", nargs="+", type=Path, metavar="FILE", help="an ONNX file; FILE.toml beside it is read too"
    )
    check.add_argument("--threads", type=int, default=1, choices=range(1, 65), metavar="N", help="(default 1)")
    check.add_argument("--json", action="store_true", help="one JSON object a line and file")


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 where a file is no model that can be used."""
    good = [_check(file, args) for file in args.file]
    return 0 if all(good) else 1


def _check(file: Path, args: argparse.Namespace) -> bool:
    from edge_agent.vision.net import Net

    try:
        told = _told(net := Net(file, args.threads), args.threads)
    except DriverError as error:
        if args.json:
            print(json.dumps({"file": str(file), "ok": False, "error": str(error)}, ensure_ascii=False))
        else:
            print(error, file=sys.stderr)
        return False
    if args.json:
        print(json.dumps(told, ensure_ascii=False))
        return True
    labels = ", ".join(net.labels[:SHOWN]) + (f", ... ({len(net.labels)})" if len(net.labels) > SHOWN else "")
    form = net.form
    print(f"{file}: {told['format']}, told by {told['why']}")
    print(f"  input    {told['input']['width']}x{told['input']['height']} {told['input']['dtype']}, {_fed(form)}")
    print("  outputs  " + ", ".join(f"{name} {tuple(shape)}" for name, shape in told["outputs"].items()))
    print(f"  labels   {labels}")
    print(f"  time     {told['ms']:.1f} ms a picture, {args.threads} thread{'s' if args.threads > 1 else ''}")
    if told["licence"]:
        print(f"  licence  {told['licence']}")
    return True


def _told(net: Net, threads: int) -> dict[str, Any]:
    import numpy as np

    shape = (1, net.height, net.width, 3) if net.form.nhwc else (1, 3, net.height, net.width)
    picture = np.zeros(shape, dtype=net.dtype)
    took_s = []
    for _ in range(ROUNDS):
        began_s = time.perf_counter()
        net.run(picture)
        took_s.append(time.perf_counter() - began_s)
    return {
        "file": str(net.file),
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
        },
        "outputs": {name: list(shape) for name, shape in net.shapes.items()},
        "labels": list(net.labels),
        "nms": net.head.overlapping,
        "ms": round(sorted(took_s)[ROUNDS // 2] * 1000, 2),
        "threads": threads,
        "licence": net.metadata.get("license", ""),
    }


def _fed(form: Any) -> str:
    how = {"centred": "letterboxed in the middle", "top_left": "letterboxed at the top left", "stretch": "stretched"}
    scaled = "" if form.std == (1.0, 1.0, 1.0) else f", (x - {list(form.mean)}) / {list(form.std)}"
    return f"{'RGB' if form.rgb else 'BGR'}, {how[form.fit]}{scaled}"
