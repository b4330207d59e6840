"""The simulated camera's scene as a set of training pictures, so that the demo is seen and not told.

`python -m training.people.rendered DIR [COUNT]` in the project's own environment (the agent draws); seeds
below 1000 are never drawn for training: they are what the agent and its tests are shown.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from edge_agent.vision.camera.simulated import render

CLASSES = ("person", "vehicle", "two-wheeler")
SIZE = (640, 360)


def main() -> None:
    folder, train = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 400
    rng = np.random.default_rng(1)
    for part, count in (("train", train), ("val", train * 3 // 20)):
        for kind in ("images", "labels"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed = 1000 + number // 4 + (500 if part == "val" else 0)
            scene = "empty" if rng.random() < 0.08 else "river_bank"
            pixels, truth = render(scene, float(rng.uniform(0, 120)), (1280, 720), seed)
            name = f"{part}-{number:04d}"
            cv2.imwrite(
                str(folder / part / "images" / f"{name}.jpg"), cv2.resize(pixels, SIZE, interpolation=cv2.INTER_AREA)
            )
            lines = []
            for d in truth:
                x1, y1, x2, y2 = np.array(d.box) / np.array([1280, 720] * 2)
                where = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
                lines.append(f"{CLASSES.index(d.label)} " + " ".join(f"{v:.5f}" for v in where))
            (folder / part / "labels" / f"{name}.txt").write_text("\n".join(lines))
    (folder / "set.json").write_text(json.dumps({"repo": "rendered here", "labelled_classes": [0, 1, 2]}))


if __name__ == "__main__":
    main()
