"""What a model gets wrong, as a sheet: `python -m training.people.failures DATA MODEL OUT.jpg [SET...]`.

In the project's own environment. Green: there and found; red: found and not there; yellow: there and missed; pictures
with the most mistakes first, one a set in turn. Only sets whose pictures may be shown are named by the caller.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from edge_agent import config
from edge_agent.messages import is_a
from edge_agent.vision.camera import Frame
from edge_agent.vision.detect import Detector, open_detector
from training.people import ap
from training.people.evaluate import CLASSES, read_truth

SIDE, COLUMNS, EACH = 300, 4, 2
GREEN, RED, YELLOW = (80, 200, 80), (60, 60, 230), (0, 220, 240)


def main() -> None:
    data, model, out, *sets = sys.argv[1:]
    detector = open_detector(config.OnnxDetector(name="judged", model=Path(model), threads=1, score=0.3))
    worst = [sheet for name in sets for sheet in of_set(detector, Path(data) / name)]
    worst += [np.full((SIDE, SIDE, 3), 255, np.uint8)] * (-len(worst) % COLUMNS)
    rows = [np.hstack(worst[at : at + COLUMNS]) for at in range(0, len(worst), COLUMNS)]
    cv2.imwrite(out, np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 70])


def of_set(detector: Detector, folder: Path) -> list[np.ndarray]:
    """The pictures of a set with the most mistakes, drawn."""
    labelled = [CLASSES[number] for number in json.loads((folder / "set.json").read_text())["labelled_classes"]]
    drawn = []
    for file in sorted((folder / "val" / "images").iterdir()):
        pixels = cv2.imread(str(file))
        found = [d for d in detector.detect(Frame("val", 0, 0.0, 0.0, pixels)) if d.score >= detector.score]
        truth = read_truth(folder / "val" / "labels" / f"{file.stem}.txt", *pixels.shape[1::-1])
        scale = SIDE / max(pixels.shape[:2])
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        wrong = sum(draw(small, scale, [d for d in found if is_a(d.label, label)], truth[label]) for label in labelled)
        canvas = np.full((SIDE, SIDE, 3), 255, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        cv2.putText(canvas, folder.name, (4, SIDE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3)
        cv2.putText(canvas, folder.name, (4, SIDE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
        drawn.append((wrong, canvas))
    drawn.sort(key=lambda one: -one[0])
    return [canvas for _, canvas in drawn[:EACH]]


def draw(small: np.ndarray, scale: float, found: list, truth: np.ndarray) -> int:
    """Boxes of one class; gives how many are wrong or missed."""
    boxes = np.array([d.box for d in found], dtype=np.float64).reshape(-1, 4)
    overlaps = ap.iou(boxes, truth)
    right = overlaps.max(axis=1) >= 0.5 if truth.size else np.zeros(len(boxes), bool)
    missed = overlaps.max(axis=0) < 0.5 if boxes.size else np.ones(len(truth), bool)
    for some, colour in ((boxes[right], GREEN), (boxes[~right], RED), (truth[missed], YELLOW)):
        for box in some:
            x1, y1, x2, y2 = (round(side * scale) for side in box)
            cv2.rectangle(small, (x1, y1), (x2, y2), colour, 1)
    return int((~right).sum() + missed.sum())


if __name__ == "__main__":
    main()
