"""Plates: our two models beside RapidOCR and public plate detectors, on the same pictures, and false plates.

    make bench-plate-models MEDIA=DIR [MODELS=DIR] [PLATE_FREE=DIR]

MEDIA holds ground_truth.json (COCO's form, with `crops`, `plate_text` and `quad`) and the pictures that it names;
MODELS public detectors to compare with; PLATE_FREE pictures that somebody looked at and saw no plate on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from pages import write_part

from edge_agent import plate_types, weights
from edge_agent.messages import Plate
from edge_agent.runtime import DriverError
from edge_agent.vision import boxes
from edge_agent.vision.heads.form import suppress
from edge_agent.vision.net import Net
from edge_agent.vision.ocr import SEPARATORS
from edge_agent.vision.plates import PlateReader, open_plate_reader
from edge_agent.vision.votes import Read

SITE = Path(__file__).resolve().parent.parent / "build/bench/rapidocr"
LEAST_CONFIDENCE = 0.6  # what the agent asks for by default
SCORE_FLOOR, IOU = 0.05, 0.5


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    if not total:
        return 0.0, 1.0
    z, share = 1.96, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def shown(hits: int, total: int) -> str:
    """A share with its interval, in per cent."""
    low, high = wilson(hits, total)
    return f"{hits} of {total} ({100 * hits / max(total, 1):.1f} %, {100 * low:.1f}–{100 * high:.1f})"


def crops_read(reader: PlateReader, media: Path, crops: list[dict[str, Any]]) -> dict[str, Any]:
    """Exact match over crops, those of 皖 and the others apart, and the median time of one."""
    right = {"all": 0, "other": 0}
    count = {"all": 0, "other": 0}
    took_s = []
    for crop in crops:
        pixels = np.asarray(cv2.imread(str(media / crop["file_name"])), np.uint8)
        began_s = time.perf_counter()
        read = reader.read_crop(pixels)
        took_s.append(time.perf_counter() - began_s)
        exact = read is not None and read.plate.text == crop["plate_text"]
        for key in ("all",) if crop["plate_text"][0] == "皖" else ("all", "other"):
            count[key] += 1
            right[key] += exact
    return {"right": right, "count": count, "ms": median(took_s) * 1000}


def scenes_read(reader: PlateReader, media: Path, truth: dict[str, Any]) -> dict[str, Any]:
    """Plates of photographs that are found and read exactly, and how many are told that are not there."""
    right = wanted = strange = 0
    took_s = []
    for name, labelled in plate_pictures(truth):
        pixels = np.asarray(cv2.imread(str(media / name)), np.uint8)
        began_s = time.perf_counter()
        told = [plate.text for plate in reader.find(pixels) if plate.confidence >= LEAST_CONFIDENCE]
        took_s.append(time.perf_counter() - began_s)
        texts = [one["plate_text"] for one in labelled if one.get("plate_text") and one.get("legible", True)]
        wanted += len(texts)
        right += sum(text in told for text in texts)
        strange += len([text for text in told if text not in texts])
    return {"right": right, "wanted": wanted, "strange": strange, "ms": median(took_s) * 1000}


def false_plates(reader: PlateReader, pictures: Iterable[Path]) -> tuple[int, int]:
    """Pictures without a plate on which one is told nevertheless, and all of them."""
    told = total = 0
    for file in pictures:
        pixels = np.asarray(cv2.imread(str(file)), np.uint8)
        total += 1
        told += any(plate.confidence >= LEAST_CONFIDENCE for plate in reader.find(pixels))
    return told, total


def plate_pictures(truth: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Names of the pictures whose plates are all labelled, with their labels."""
    labels: dict[int, list[dict[str, Any]]] = {}
    for one in truth["annotations"]:
        if one["category_id"] == 3:
            labels.setdefault(one["image_id"], []).append(one)
    return [
        (image["file_name"], labels.get(image["id"], []))
        for image in truth["images"]
        if "plate" in image["annotated_classes"] and image["file_name"].startswith("plates/")
    ]


def found_by(file: Path, media: Path, truth: dict[str, Any]) -> dict[str, float]:
    """AP50, the mean error of corners in widths of the plate (no number without any), and the median time of a look."""
    net = Net(file, 1, ())
    scores: list[float] = []
    hits: list[bool] = []
    errors: list[float] = []
    took_s: list[float] = []
    total = 0
    for name, labelled in plate_pictures(truth):
        pixels = np.asarray(cv2.imread(str(media / name)), np.uint8)
        began_s = time.perf_counter()
        candidates, letterbox = net.look(pixels, None, SCORE_FLOOR)
        took_s.append(time.perf_counter() - began_s)
        found = suppress(candidates, IOU)
        placed = letterbox.to_frame(found.boxes)
        corners = letterbox.to_frame(found.corners) if found.corners is not None else None
        total += len(labelled)
        taken: set[int] = set()
        for i in np.argsort(-found.scores, kind="stable"):
            free = [
                (overlap, j)
                for j, one in enumerate(labelled)
                if j not in taken and (overlap := _overlap(placed[i], one["bbox"])) >= 0.5
            ]
            scores.append(float(found.scores[i]))
            hits.append(bool(free))
            if not free:
                continue
            j = max(free)[1]
            taken.add(j)
            if corners is not None and (quad := labelled[j].get("quad")):
                true = np.array(quad, float)
                off = np.linalg.norm(corners[i] - true, axis=1).mean()
                errors.append(float(off / np.linalg.norm(true[1] - true[0])))
    return {
        "ap50": average_precision(scores, hits, total),
        "corners": float(np.mean(errors)) if errors else math.nan,
        "ms": median(took_s) * 1e3,
    }


def _overlap(box: Any, bbox: list[float]) -> float:
    x, y, w, h = bbox
    return float(boxes.iou(np.array([box]), np.array([[x, y, x + w, y + h]]))[0])


def average_precision(scores: list[float], hits: list[bool], total: int) -> float:
    """The area below precision over recall, precision made falling (all points, as in COCO)."""
    right = np.cumsum(np.array(hits, float)[np.argsort(-np.array(scores), kind="stable")])
    if not len(right) or not total:
        return 0.0
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0.0], right / total])) * precision))


class RapidOcr3:
    """The package `rapidocr` as it comes (PP-OCRv6 small): its whole text, where that is a plate by our grammar."""

    types = plate_types.of_countries(("CN",))

    def __init__(self) -> None:
        sys.path.append(str(SITE))
        try:
            from rapidocr import RapidOCR
        except ImportError as error:
            raise DriverError(f"not installed below {SITE}: {error}") from None
        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
        self._engine = RapidOCR(params={"Global.log_level": "error", **threads})

    def find(self, pixels: Any) -> list[Plate]:
        """Plates of a picture."""
        return self._plates(pixels, whole=True)

    def read_crop(self, pixels: Any) -> Read | None:
        """The plate that a picture shows and nothing else."""
        found = self._plates(pixels, whole=False)
        return Read(found[0], (), None, 1.0) if found else None

    def _plates(self, pixels: Any, whole: bool) -> list[Plate]:
        told = self._engine(pixels, use_det=whole, use_cls=whole, use_rec=True)
        plates = []
        for line, score in zip(told.txts or (), told.scores or (), strict=True):
            text = "".join(sign for sign in line if sign not in SEPARATORS + " ")
            if kind := plate_types.kind_of(text, self.types):
                plates.append(Plate(text=text, confidence=float(score), box=(0, 0, 1, 1), type=kind.id))
        return plates


def readers() -> dict[str, tuple[Callable[[], PlateReader], float]]:
    """The readers to compare, and the megabytes of their models."""
    ours = sum(weights.path(name).stat().st_size for name in ("plate-detector", "plate-reader")) / 1e6
    return {
        "built-in": (lambda: open_plate_reader("built-in", 1, ("CN",)), ours),
        "RapidOCR 1.4.4 (PP-OCRv4), with our grammar": (lambda: open_plate_reader("rapidocr", 1, ("CN",)), 15.6),
        "RapidOCR 3.10 (PP-OCRv6 small), as it comes": (RapidOcr3, 31.2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, required=True)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--plate-free", type=Path)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth crop and plate-free picture")
    parser.add_argument("--json", type=Path, default=Path("build/plate-models.json"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    truth = json.loads((args.media / "ground_truth.json").read_text())
    free = sorted(args.plate_free.glob("*.jpg"))[:: args.every] if args.plate_free else []
    found: dict[str, Any] = {"readers": {}, "detectors": {}}
    for name, (opened, megabytes) in readers().items():
        try:
            reader = opened()
        except DriverError as error:
            print(f"{name}: {error}")
            continue
        found["readers"][name] = {
            "mb": megabytes,
            "crops": crops_read(reader, args.media, truth["crops"][:: args.every]),
            "scenes": scenes_read(reader, args.media, truth),
            "false": false_plates(reader, free),
        }
        print(name, json.dumps(found["readers"][name]), flush=True)
    others = sorted(args.models.glob("*.onnx")) if args.models else []
    for file in (weights.path("plate-detector"), *others):
        try:
            figures = found_by(file, args.media, truth)
        except DriverError:
            continue
        if math.isnan(figures["corners"]):
            continue  # finds no corners of plates: no plate model
        found["detectors"][file.stem] = {**figures, "mb": file.stat().st_size / 1e6}
        print(file.stem, found["detectors"][file.stem], flush=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(found, indent=1, ensure_ascii=False))
    write_part("plate_models", part(found))


def part(found: dict[str, Any]) -> str:
    """The page's part."""
    lines = [
        "## Plate models",
        "",
        "Real pictures, none trained on; one thread; shares with 95 % Wilson intervals (`make bench-plate-models`).",
        "",
        "| reader | crops read exactly | of them not 皖 | plates of photographs | told though not there"
        " | plate-free pictures with a plate told | ms a crop | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found["readers"].items():
        crops, scenes, (false, total) = one["crops"], one["scenes"], one["false"]
        lines.append(
            f"| {name} | {shown(crops['right']['all'], crops['count']['all'])}"
            f" | {shown(crops['right']['other'], crops['count']['other'])}"
            f" | {scenes['right']} of {scenes['wanted']} | {scenes['strange']}"
            f" | {shown(false, total) if total else '–'} | {crops['ms']:.1f} | {one['mb']:.1f} |"
        )
    lines += ["", "| detector | AP50 | corners off, of the plate's width | ms | MB |", "|---|---|---|---|---|"]
    for name, one in found["detectors"].items():
        off = 100 * one["corners"]
        lines.append(f"| {name} | {one['ap50']:.3f} | {off:.1f} % | {one['ms']:.1f} | {one['mb']:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
