"""The plate reader's word: `python bench/plates.py CROPS TRUTH.json` says how far its confidence can be believed.

CROPS are pictures of one plate each, TRUTH.json has `{"crops": [{"file_name", "plate_text"}]}`. Each is made worse in
three ways (smaller, smeared, darker, noisy, compressed), read, and the curve from a reader's chances to how often it is
right (Platt, 1999) is fitted on one half of the plates and judged on the other, each half in turn. Then the three
pictures of a plate vote. Writes its part of docs/PERFORMANCE.md; --print only prints.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from pages import write_part  # noqa: E402

from edge_agent import plate_types  # noqa: E402
from edge_agent.vision.picture import read_picture  # noqa: E402
from edge_agent.vision.plates import PlateReader, open_plate_reader  # noqa: E402
from edge_agent.vision.votes import Calibration, PlateVotes, Read  # noqa: E402

WAYS, SEED = 3, 1
BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
Pixels = Any
Floats = Any


def worse(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A crop as a poorer camera, a faster car or a darker night would have it, at its old size."""
    height, width = pixels.shape[:2]
    share = rng.uniform(0.25, 1.0)
    small = cv2.resize(pixels, (max(16, int(width * share)), max(8, int(height * share))), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.6:
        length = int(rng.integers(1, 6))
        smear = np.zeros((length, length), np.float32)
        smear[length // 2] = 1.0
        turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), float(rng.uniform(0, 180)), 1)
        smear = cv2.warpAffine(smear, turn, (length, length))
        small = cv2.filter2D(small, -1, smear / max(float(smear.sum()), 1e-6))
    noise = rng.normal(0, rng.uniform(0, 14), small.shape)
    dim = np.clip(small.astype(np.float32) * rng.uniform(0.15, 1.2) + noise, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", dim, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])[1]
    return cv2.resize(cv2.imdecode(coded, cv2.IMREAD_COLOR), (width, height), interpolation=cv2.INTER_CUBIC)


def platt(logits: Floats, right: Floats) -> Calibration:
    """Slope and offset of the logistic curve that fits best: Newton's method on the likelihood."""
    slope, offset = 1.0, 0.0
    for _ in range(50):
        chance = 1 / (1 + np.exp(-(slope * logits + offset)))
        slack, weight = chance - right, chance * (1 - chance) + 1e-9
        gradient = [(slack * logits).sum(), slack.sum()]
        cross = (weight * logits).sum()
        step = np.linalg.solve([[(weight * logits**2).sum(), cross], [cross, weight.sum()]], gradient)
        slope, offset = slope - step[0], offset - step[1]
    return Calibration(float(slope), float(offset))


def logit(log_chance: float) -> float:
    chance = min(max(math.exp(log_chance), 1e-9), 1 - 1e-6)
    return math.log(chance / (1 - chance))


def read_all(reader: PlateReader, root: Path, truth: list[dict[str, str]]) -> list[tuple[int, str, Read | None, Any]]:
    """Of each plate and way: its number, its text, how it reads, and what was decoded."""
    rng, found = np.random.default_rng(SEED), []
    for number, entry in enumerate(truth):
        pixels, text = read_picture(root / entry["file_name"]), entry["plate_text"].replace("·", "")
        for way in range(WAYS):
            crop = worse(pixels, rng)
            read = reader.read_crop(crop)
            decoded = None if read is None else plate_types.decode(read.places, reader.types, read.color)
            found.append((number, text, read, decoded))
            if sys.stderr.isatty():
                print(f"\r{number + 1}/{len(truth)} plates, way {way + 1}", end="", file=sys.stderr)
    return found


def main() -> None:
    """Read, fit, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crops", type=Path, metavar="CROPS")
    parser.add_argument("truth", type=Path, metavar="TRUTH.json")
    parser.add_argument("--reader", choices=("built-in", "rapidocr"), default="built-in")
    parser.add_argument("--print", action="store_true")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    reader = open_plate_reader(args.reader, 1, ("CN",))
    truth = json.loads(args.truth.read_text(encoding="utf-8"))["crops"]
    reads = read_all(reader, args.crops, truth)
    read = [(number, text, decoded) for number, text, _, decoded in reads if decoded is not None]
    numbers = np.array([number for number, _, _ in read])
    logits = np.array([logit(decoded.log_chance) for _, _, decoded in read])
    right = np.array([decoded.text == text for _, text, decoded in read], float)
    told = np.zeros(len(read))
    for half in (0, 1):
        fitted = platt(logits[numbers % 2 == half], right[numbers % 2 == half])
        told[numbers % 2 != half] = 1 / (1 + np.exp(-(fitted.slope * logits + fitted.offset)))[numbers % 2 != half]
    page = part((len(truth), len(reads)), told, right, platt(logits, right), vote(reader, reads, truth))
    print(page if args.print else write_part("plates", page))


def vote(reader: PlateReader, reads: list[Any], truth: list[dict[str, str]]) -> tuple[float, float, Floats, Floats]:
    """Shares of plates that are right: the surest reading alone, all ways together; confidences of the latter."""
    alone = together = 0
    told, right = [], []
    for number, entry in enumerate(truth):
        text = entry["plate_text"].replace("·", "")
        mine = [read for one, _, read, _ in reads if one == number and read is not None]
        votes = PlateVotes(0.0, WAYS, 0.0, reader.types, reader.calibration)
        for at_s, read in enumerate(mine):
            votes.add(0, float(at_s), read)
        plate = votes.plate(0)
        alone += bool(mine) and max(mine, key=lambda one: one.plate.confidence).plate.text == text
        if plate is not None:
            together += plate.text == text
            told.append(plate.confidence)
            right.append(float(plate.text == text))
    return alone / len(truth), together / len(truth), np.array(told), np.array(right)


def curve(told: Floats, right: Floats) -> list[str]:
    """Rows of the reliability curve: what was said, how often it was right, of how many."""
    rows = []
    for low, high in pairwise(BINS):
        there = (told >= low) & ((told < high) | (high == BINS[-1]))
        if there.any():
            rows.append(f"| {low:g}–{high:g} | {told[there].mean():.2f} | {right[there].mean():.2f} | {there.sum()} |")
    return rows


def gap(told: Floats, right: Floats) -> float:
    """Expected calibration error over tenths (Naeini et al., 2015)."""
    tenth = np.minimum((told * 10).astype(int), 9)
    return float(sum(abs((told - right)[tenth == n].sum()) for n in range(10)) / len(told))


def part(counts: tuple[int, int], told: Floats, right: Floats, fitted: Calibration, voted: Any) -> str:
    """The part of the page."""
    alone, together, said, was = voted
    return "\n".join(
        [
            "## Plates: what a confidence is worth",
            "",
            f"{counts[0]} crops of real plates, each made worse in {WAYS} ways (down to a quarter of the size, smeared,"
            f" dim, noisy, compressed): {counts[1]} pictures, {len(told)} of which read as a plate. The curve is fitted"
            " on one half of the plates and judged on the other. Written by `bench/plates.py`.",
            "",
            f"Slope {fitted.slope:.2f}, offset {fitted.offset:.2f}; expected calibration error {gap(told, right):.3f}"
            f" of one reading, {gap(said, was):.3f} of three that voted.",
            "",
            "| said | mean | right | readings |",
            "| --- | --- | --- | --- |",
            *curve(told, right),
            "",
            f"Of all plates the surest single picture was right in {alone:.1%}, the three together in {together:.1%}.",
        ]
    )


if __name__ == "__main__":
    main()
