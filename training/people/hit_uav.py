"""HIT-UAV (Suo et al., CC BY 4.0) from a checkout, as sets: `python -m training.people.hit_uav DIR OUT`.

Frames 281 to 9297 alone: 9298 to 9948 are the validation split of `hit_uav_thermal`, and the rest stays unseen. A frame
is cut to 512 pixels square at its own scale, at a place that its number says. By day people are few and look otherwise
(on warm ground, under umbrellas), so they are a set of their own, to be drawn more often.
"""

from __future__ import annotations

import argparse
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2

FRAMES = range(281, 9298)
NUMBER = {"Person": 0, "Car": 1, "OtherVehicle": 1, "Bicycle": 2}
SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="of suojiashun/HIT-UAV-Infrared-Thermal-Dataset")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    for file in sorted((args.checkout / "normal_xml" / "Annotations").glob("*.xml")):
        if int(file.stem.split("_")[-1]) in FRAMES:
            convert(file, args.checkout / "normal_xml" / "JPEGImages" / f"{file.stem}.jpg", args.out)


def convert(annotations: Path, picture: Path, out: Path) -> None:
    """One frame into its set; one with a region that its makers left unlabelled is left out."""
    pixels = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    left = int(annotations.stem.split("_")[-1]) * 37 % (pixels.shape[1] - SIDE + 1)
    rows = []
    for thing in ElementTree.parse(annotations).getroot().iter("object"):
        if (name := thing.findtext("name")) == "DontCare":
            return
        x1, y1, x2, y2 = (float(thing.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
        seen1, seen2 = max(x1 - left, 0), min(x2 - left, SIDE)
        if seen2 - seen1 > 0.4 * (x2 - x1):
            row = ((seen1 + seen2) / 2, (y1 + y2) / 2, seen2 - seen1, y2 - y1)
            rows.append((NUMBER[name], *(f"{value / SIDE:.5f}" for value in row)))
    day, people = annotations.stem.startswith("0_"), any(row[0] == 0 for row in rows)
    folder = out / ("hit_uav_night" if not day else "hit_uav_day_people" if people else "hit_uav_day_rest")
    for part in ("images", "labels"):
        (folder / "train" / part).mkdir(parents=True, exist_ok=True)
    (folder / "set.json").write_text(json.dumps({"licence": "CC BY 4.0", "labelled_classes": [0, 1, 2]}))
    cv2.imwrite(str(folder / "train" / "images" / f"{annotations.stem}.png"), pixels[:SIDE, left : left + SIDE])
    (folder / "train" / "labels" / f"{annotations.stem}.txt").write_text(
        "".join(" ".join(map(str, row)) + "\n" for row in rows)
    )


if __name__ == "__main__":
    main()
