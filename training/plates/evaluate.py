"""The reader's tables for its card: `python -m training.plates.evaluate --gallery OUT.jpg`.

Reads rendered crops that no training has seen (and with `--media` real ones) with the agent's own code.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_agent.vision.plates_own import OwnPlates
from training.plates.crops import Crop, render_cut
from training.plates.kinds import KINDS
from training.plates.render import Pixels
from training.run import wilson

SEED, OF_EACH_KIND = 424_242, 60
GALLERY = (6, 8)


def reads(plates: OwnPlates, pixels: Pixels) -> tuple[str, str]:
    """The text and the colour that the agent tells for a whole crop; "" where it tells no plate."""
    read = plates.read_crop(pixels)
    return (read.plate.text, read.plate.color or "") if read else ("", "")


def table(title: str, wanted: Iterable[tuple[str, bool]]) -> list[str]:
    """How many are right by what they are, with 95 % intervals."""
    right, count = Counter[str](), Counter[str]()
    for key, good in wanted:
        count[key] += 1
        right[key] += good
    rows = [f"| {title} | right | of | % | 95 % interval |", "|---|---|---|---|---|"]
    for key, total in count.items():
        low, high = wilson(right[key], total)
        share = 100 * right[key] / total
        rows.append(f"| {key} | {right[key]} | {total} | {share:.1f} | {100 * low:.1f}–{100 * high:.1f} |")
    return [*rows, ""]


def confusion(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The commonest misread characters."""
    wrong = Counter(
        f"{a} as {b}"
        for true, said in pairs
        if len(true) == len(said)
        for a, b in zip(true, said, strict=True)
        if a != b
    )
    return ["Commonest: " + ", ".join(f"{what} ({count})" for what, count in wrong.most_common(16)) + ".", ""]


def gallery(failures: Sequence[tuple[Crop, str]]) -> Pixels:
    """Crops that were misread."""
    across, down = GALLERY
    tiles = [cv2.resize(crop.pixels, (192, 60)) for crop, _ in failures[: across * down]]
    tiles += [np.zeros((60, 192, 3), np.uint8)] * (across * down - len(tiles))
    return np.asarray(np.vstack([np.hstack(tiles[i : i + across]) for i in range(0, across * down, across)]), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=Path, help="a folder with ground_truth.json and the real crops it names")
    parser.add_argument("--gallery", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    reader = OwnPlates(1)
    rendered, failures = list[tuple[Crop, tuple[str, str]]](), list[tuple[Crop, str]]()
    for number, kind in enumerate(KINDS):
        for i in range(OF_EACH_KIND):
            crop = render_cut(np.random.default_rng([SEED, number, i]), (), kind)
            said = reads(reader, crop.pixels)
            rendered.append((crop, said))
            if said[0] != crop.text and i % 8 == 0:
                failures.append((crop, said[0]))
    lines = table("kind (rendered)", ((crop.kind.name, said[0] == crop.text) for crop, said in rendered if crop.kind))
    lines += table(
        "ground (rendered)", ((crop.kind.color, said[1] == crop.kind.color) for crop, said in rendered if crop.kind)
    )
    plain = [(crop, said) for crop, said in rendered if crop.kind and crop.kind.patterns[0].startswith("pa")]
    lines += table(
        "province (rendered), the first character",
        ((crop.text[0], said[0][:1] == crop.text[0]) for crop, said in plain),
    )
    lines += confusion([(crop.text, said[0]) for crop, said in rendered])
    if args.media:
        listed = json.loads((args.media / "ground_truth.json").read_text())["crops"]
        real = []
        for one in listed:
            pixels = np.asarray(cv2.imread(str(args.media / one["file_name"])), np.uint8)
            real.append((one["plate_text"], reads(reader, pixels)[0]))
        lines += table("real crops", (("皖" if true[0] == "皖" else "others", true == said) for true, said in real))
        lines += table(
            "real crops, character by character",
            ((name, good) for true, said in real for name, good in _places(true, said)),
        )
        lines += confusion(real)
    print("\n".join(lines))
    if args.gallery:
        args.gallery.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(args.gallery), gallery(failures))


def _places(true: str, said: str) -> list[tuple[str, bool]]:
    padded = said.ljust(len(true), "?")
    return [("province" if i == 0 else "others", padded[i] == sign) for i, sign in enumerate(true)]


if __name__ == "__main__":
    main()
