"""A contact sheet of what the renderer makes: `python -m training.plates.sheet OUT.png [--seed N]`."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from training.plates.crops import render_crop
from training.plates.kinds import KINDS
from training.plates.render import Pixels, draw_plate

ACROSS = 7  # crops of each kind


def contact_sheet(seed: int) -> Pixels:
    """Each kind in a row: flat, then as crops; the last row holds crops of no plate."""
    rows = []
    for number, kind in enumerate(KINDS):
        flat = draw_plate(np.random.default_rng([seed, number]), kind).pixels.astype(np.uint8)
        crops = [render_crop(np.random.default_rng([seed, number, i]), (), kind).pixels for i in range(ACROSS)]
        rows.append(np.hstack([cv2.resize(flat, (128, 40), interpolation=cv2.INTER_AREA), *crops]))
    empty = (render_crop(np.random.default_rng([seed, i])) for i in range(10_000))
    rows.append(
        np.hstack([crop.pixels for crop, _ in zip((c for c in empty if not c.text), range(ACROSS + 1), strict=False)])
    )
    return np.asarray(np.vstack(rows), dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), contact_sheet(args.seed))


if __name__ == "__main__":
    main()
