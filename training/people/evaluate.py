"""AP50 with intervals, as the agent would see it: `python -m training.people.evaluate DATA MODEL...`.

In the project's own environment: pictures go through `edge_agent.vision`, letterbox, suppression and all, and with
`--tiles PX` cut into tiles too, all of which are looked at. A set counts for the classes that it labels; sets of one
kind are judged together as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from msgspec.structs import replace

from edge_agent import config
from edge_agent.messages import Detection, is_a
from edge_agent.vision import tiles
from edge_agent.vision.camera import Frame
from edge_agent.vision.detect import Detector, open_detector
from training.people import ap

CLASSES = ("person", "vehicle", "two-wheeler")
TOGETHER = {
    "person, street and CCTV sets": ("person", ("cctv_person_224", "coco_person", "coco_val_free", "rail_person")),
    "vehicle, street and road sets": ("vehicle", ("openimages_vehicles", "atl_highway")),
    "vehicle, from above": ("vehicle", ("aerial_cars",)),
    "two-wheeler, street and road sets": ("two-wheeler", ("openimages_vehicles", "atl_highway")),
}
LOWEST = 0.01 / 0.4  # of `score`, so that the detector gives what scores 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--sets", nargs="*", help="only these")
    parser.add_argument("--tiles", type=int, metavar="PX", help="side of a tile")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    named = [folder for folder in sorted(args.data.iterdir()) if not args.sets or folder.name in args.sets]
    folders = [folder for folder in named if (folder / "val").is_dir()]
    told = {}
    for model in args.model:
        section = config.OnnxDetector(name="judged", model=Path(model), score=LOWEST, threads=1, classes=())
        told[Path(model).stem] = judge_all(open_detector(section), folders, args.tiles)
        show(Path(model).stem, told[Path(model).stem])
    if args.json:
        args.json.write_text(json.dumps(told, indent=1))


def judge_all(detector: Detector, folders: list[Path], side_px: int | None = None) -> dict[str, dict]:
    """A row a set and class, and a row for each of `TOGETHER` that is complete."""
    judged: dict[tuple[str, str], list[ap.Judged]] = {}
    for folder in folders:
        labelled = [CLASSES[number] for number in json.loads((folder / "set.json").read_text())["labelled_classes"]]
        for file in sorted((folder / "val" / "images").iterdir()):
            pixels = cv2.imread(str(file))
            found = look(detector, pixels, side_px)
            truth = read_truth(folder / "val" / "labels" / f"{file.stem}.txt", *pixels.shape[1::-1])
            for label in labelled:
                ours = [d for d in found if is_a(d.label, label)]
                boxes = np.array([d.box for d in ours], dtype=np.float64).reshape(-1, 4)
                scores = np.array([d.score for d in ours], dtype=np.float64)
                judged.setdefault((folder.name, label), []).append(ap.judge(boxes, scores, truth[label]))
    rows = {f"{name}: {label}": row(some) for (name, label), some in judged.items()}
    for name, (label, sets) in TOGETHER.items():
        if all((one, label) in judged for one in sets):
            rows[name] = row([j for one in sets for j in judged[one, label]])
    return rows


def look(detector: Detector, pixels: np.ndarray, side_px: int | None) -> list[Detection]:
    """What is found in a picture, or in the whole of it and in each of its tiles."""
    height, width = pixels.shape[:2]
    regions = [(0, 0, width, height), *(tiles.cut(width, height, side_px) if side_px else ())]
    found = []
    for x, y, right, bottom in regions:
        part = detector.detect(Frame("val", 0, 0.0, 0.0, np.ascontiguousarray(pixels[y:bottom, x:right])))
        moved = [replace(d, box=(d.box[0] + x, d.box[1] + y, d.box[2] + x, d.box[3] + y)) for d in part]
        found.append(((x, y, right, bottom), moved))
    return tiles.merge(found, width, height)


def row(judged: list[ap.Judged]) -> dict:
    there = sum(one.there for one in judged)
    low, high = ap.interval(judged) if there else (float("nan"),) * 2
    return {
        "ap50": round(ap.average_precision(judged), 4),
        "from": round(low, 4),
        "to": round(high, 4),
        "objects": there,
        "pictures": len(judged),
    }


def read_truth(file: Path, width: int, height: int) -> dict[str, np.ndarray]:
    """Boxes of each class in pixels, from YOLO's lines."""
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    rows = np.array(lines, dtype=np.float64).reshape(-1, 5) * [1, width, height, width, height]
    boxes = np.concatenate([rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2], axis=1)
    return {label: boxes[rows[:, 0] == number] for number, label in enumerate(CLASSES)}


def show(name: str, rows: dict[str, dict]) -> None:
    print(f"\n{name}\n| set: class | AP50 | 95 % | objects | pictures |\n|---|---|---|---|---|")
    for title, told in rows.items():
        if told["objects"]:
            where = f"{told['from']:.3f} to {told['to']:.3f}"
            print(f"| {title} | {told['ap50']:.3f} | {where} | {told['objects']} | {told['pictures']} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
