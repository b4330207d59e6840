"""Pictures of the world for backgrounds: read once, made small, in a fixed order, with the plates known in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from training.plates.render import Floats, Pixels

MOST = 1200


class Known(NamedTuple):
    """A picture, and the corners (4, 2) of each plate that it shows."""

    pixels: Pixels
    quads: tuple[Floats, ...]


def load_pictures(folders: Iterable[Path], plates: Path | None = None, longest_side: int = 480) -> list[Known]:
    """All JPEG and PNG pictures below some folders, at most MOST, spread evenly.

    `plates` is what `training.plates.known` wrote; with it, pictures that it does not name are left out.
    """
    told = json.loads(plates.read_text()) if plates else None
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.suffix in {".jpg", ".jpeg", ".png"})
    if told is not None:
        files = [file for file in files if f"{file.parent.parent.parent.name}/{file.name}" in told]
    found = []
    for file in files[:: max(1, len(files) // MOST)]:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None or min(picture.shape[:2]) < 64:
            continue
        scale = min(1.0, longest_side / max(picture.shape[:2]))
        small = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        quads = told[f"{file.parent.parent.parent.name}/{file.name}"] if told is not None else []
        found.append(Known(small, tuple(np.array(quad, np.float32) * scale for quad in quads)))
    return found
