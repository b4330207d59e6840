"""Scenes for the detector: plates on pictures or textures, with boards and bumpers that are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from training.plates.crops import sign
from training.plates.pictures import Known
from training.plates.render import Floats, Pixels, corners_askew, draw_plate, paste, photograph, texture

SIDE = 256  # of a training scene: a window of the frame, at the frame's scale
NARROWEST, WIDEST = 16.0, 225.0  # plates, in pixels
OVERWRITE = 0.9  # of the plates that a picture already shows


class Scene(NamedTuple):
    """BGR pixels (SIDE, SIDE, 3); corners (n, 4, 2) and rows (n,) of the plates; boxes (m, 4) that teach nothing."""

    pixels: Pixels
    corners: Floats
    rows: npt.NDArray[np.int64]
    ignored: Floats


def render_scene(rng: np.random.Generator, pictures: Sequence[Known] = ()) -> Scene:
    """One scene with up to four plates, often with none."""
    scene, quads = _ground(rng, pictures)
    corners: list[Floats] = []
    rows: list[int] = []
    ignored: list[Floats] = []
    for quad in quads:  # what the picture showed before is overwritten, or teaches nothing
        box = np.concatenate([quad.min(axis=0), quad.max(axis=0)])
        if rng.random() < OVERWRITE and box[2] - box[0] > NARROWEST and _within(box):
            wide = quad + (quad - quad.mean(axis=0)) * 0.06
            rows.append(_put(rng, scene, wide.astype(np.float32), two=_is_high(quad)))
            corners.append(wide.astype(np.float32))
        else:
            ignored.append(box)
    for _ in range(int(rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15]))):
        _put_sign(rng, scene, [*corners, *(_as_quad(box) for box in ignored)])
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.22, 0.48, 0.2, 0.1]))):
        put = _new_corners(rng)
        if all(_apart(put[0], other) for other in [*corners, *(_as_quad(box) for box in ignored)]):
            _bumper(rng, scene, put[0])
            rows.append(_put(rng, scene, put[0], two=put[1]))
            corners.append(put[0])
    pixels = photograph(rng, scene, unsharp=0.45)
    return Scene(
        pixels,
        np.array(corners, np.float32).reshape(-1, 4, 2),
        np.array(rows, np.int64),
        np.array(ignored, np.float32).reshape(-1, 4),
    )


def _ground(rng: np.random.Generator, pictures: Sequence[Known]) -> tuple[Floats, list[Floats]]:
    """A window of a picture at some scale, with the plates known in it, or a texture."""
    if not pictures or rng.random() < 0.1:
        return texture(rng, SIDE, SIDE), []
    known = pictures[rng.integers(len(pictures))]
    height, width = known.pixels.shape[:2]
    scale = float(np.exp(rng.uniform(np.log(0.6), np.log(1.9)))) * SIDE / min(height, width)
    scale = max(scale, SIDE / min(height, width))
    x = rng.uniform(0, max(0.0, width - SIDE / scale))
    y = rng.uniform(0, max(0.0, height - SIDE / scale))
    mirrored = rng.random() < 0.5
    matrix = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
    quads = [(quad - (x, y)) * scale for quad in known.quads]
    if mirrored:
        matrix = np.array([[-scale, 0, SIDE + x * scale], [0, scale, -y * scale]], np.float32)
        quads = [np.stack([SIDE - quad[:, 0], quad[:, 1]], 1)[[1, 0, 3, 2]] for quad in quads]
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    window = cv2.warpAffine(known.pixels, matrix, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REFLECT)
    return window.astype(np.float32), [np.asarray(q, np.float32) for q in quads if _seen(q)]


def _put(rng: np.random.Generator, scene: Floats, corners: Floats, two: bool) -> int:
    """A plate of one row or two at some corners; returns 0 for one row, 1 for two."""
    plate = draw_plate(rng)
    while (plate.kind.rows == 2) != two:
        plate = draw_plate(rng)
    paste(scene, plate.pixels, corners)
    return int(two)


def _new_corners(rng: np.random.Generator) -> tuple[Floats, bool]:
    """Where a new plate lies, within the scene, and whether it has two rows."""
    two = rng.random() < 0.2
    width = float(np.exp(rng.uniform(np.log(NARROWEST + 2), np.log(WIDEST))))
    ratio = (
        float(rng.choice([0.5, 0.55, 0.64], p=[0.7, 0.15, 0.15])) if two else float(rng.choice([140 / 440, 140 / 480]))
    )
    corners = corners_askew(rng, width, width * ratio)
    size = corners.max(axis=0)
    corners = corners + rng.uniform(0, 1, 2) * np.maximum(SIDE - 4 - size, 0) + 2
    return corners.astype(np.float32), bool(two)


def _bumper(rng: np.random.Generator, scene: Floats, corners: Floats) -> None:
    """The frame of a plate, the recess it sits in, and a patch of paint around."""
    middle = corners.mean(axis=0)
    for growth, chance in ((rng.uniform(1.3, 3.0), 0.4), (rng.uniform(1.03, 1.25), 0.45)):
        if rng.random() < chance:
            tone = (
                rng.uniform(0, 255, 3) * rng.uniform(0.1, 1) if rng.random() < 0.6 else np.full(3, rng.uniform(0, 90))
            )
            points = middle + (corners - middle) * (growth, growth * rng.uniform(0.95, 1.4))
            cv2.fillConvexPoly(scene, np.round(points * 16).astype(np.int32), tone.tolist(), cv2.LINE_AA, 4)


def _put_sign(rng: np.random.Generator, scene: Floats, others: Sequence[Floats]) -> None:
    """A board with writing, which is no plate."""
    width = float(np.exp(rng.uniform(np.log(30), np.log(180))))
    corners = corners_askew(rng, width, width * rng.uniform(0.15, 0.7))
    corners = corners + rng.uniform(0, 1, 2) * np.maximum(SIDE - corners.max(axis=0), 0)
    if all(_apart(corners, other) for other in others):
        paste(scene, sign(rng), corners.astype(np.float32))


def _seen(quad: Floats) -> bool:
    low, high = quad.min(axis=0), quad.max(axis=0)
    return bool((high > 0).all() and (low < SIDE).all())


def _within(box: Floats) -> bool:
    return bool(box[0] >= 0 and box[1] >= 0 and box[2] <= SIDE and box[3] <= SIDE)


def _is_high(quad: Floats) -> bool:
    return bool(np.linalg.norm(quad[3] - quad[0]) > 0.42 * np.linalg.norm(quad[1] - quad[0]))


def _as_quad(box: Floats) -> Floats:
    x1, y1, x2, y2 = box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)


def _apart(a: Floats, b: Floats) -> bool:
    margin = 6
    return bool((a.min(axis=0) > b.max(axis=0) + margin).any() or (b.min(axis=0) > a.max(axis=0) + margin).any())
