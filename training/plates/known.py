"""Finds the plates that training pictures already show, so that they are overwritten or teach nothing.

`python -m training.plates.known MODEL.onnx build/known-plates.json FOLDER...`, with any plate detector that the agent
reads; the shipped one was taught with HyperLPR's y5fu_640x (Apache-2.0).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from edge_agent.vision.heads.form import suppress
from edge_agent.vision.net import Net

SCORE, IOU = 0.25, 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("folder", type=Path, nargs="+", help="SET/train, with its pictures in SET/train/images")
    args = parser.parse_args()
    net = Net(args.model, 1, ())
    told: dict[str, list[list[list[float]]]] = {}
    for file in sorted(file for folder in args.folder for file in folder.rglob("*.jpg")):
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        candidates, letterbox = net.look(np.asarray(picture, np.uint8), None, SCORE)
        found = suppress(candidates, IOU)
        corners = found.corners if found.corners is not None else np.zeros((0, 4, 2))
        placed = letterbox.to_frame(corners.reshape(-1, 4)).reshape(-1, 4, 2)
        told[f"{file.parent.parent.parent.name}/{file.name}"] = placed.round(1).tolist()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(told))
    print(f"{sum(map(len, told.values()))} plates in {sum(map(bool, told.values()))} of {len(told)} pictures")


if __name__ == "__main__":
    main()
