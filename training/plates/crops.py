"""Crops as the reader gets them: cut out by four corners, or by the upright box around an askew plate, or no plate.

Of plates of two rows the agent lays the rows side by side (edge_agent/vision/plate_cut.py), and so do these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from edge_agent.vision.plate_cut import Cut, flatten, whole
from training.plates.glyphs import DIGITS, LETTERS, PROVINCES, SPECIAL, glyph
from training.plates.kinds import KINDS, WEIGHTS, Kind, draw_gibberish
from training.plates.pictures import Known
from training.plates.render import Floats, Pixels, corners_askew, draw_plate, paste, photograph, texture

WIDTH, HEIGHT = 128, 40  # what the reader takes
SCENE_WIDTH, SCENE_HEIGHT, TWO_ROWS_HEIGHT = 160, 50, 80  # what is cut out by corners before it is made to fit
NO_PLATE = 0.07  # share of crops without one
WAYS = ("told", "roughly told", "boxed")  # how plates are cut out: by good corners, by a detector's, by a box
SHARES = (0.3, 0.28, 0.42)
FEWEST_PX = 60  # the narrowest plate that a person still reads


class Crop(NamedTuple):
    """BGR pixels, what the plate says ("" where there is none), its kind, and its corners where they lie as they were.

    Corners are shares of the crop's width and height (4, 2), from the top left, clockwise.
    """

    pixels: Pixels
    text: str
    kind: Kind | None
    corners: Floats | None = None


def render_crop(
    rng: np.random.Generator,
    pictures: Sequence[Known] = (),
    kind: Kind | None = None,
    text: str | None = None,
    gibberish: float = 0.0,
) -> Crop:
    """One crop (HEIGHT, WIDTH, 3), as the reader takes it: see `render_cut`."""
    crop = render_cut(rng, pictures, kind, text, gibberish)
    height, width = crop.pixels.shape[:2]
    if crop.kind and crop.kind.rows == 2:
        flat = flatten(crop.pixels, Cut(whole(width, height), True), WIDTH, HEIGHT)
        return crop._replace(pixels=flat, corners=None)
    return crop._replace(pixels=_fit(crop.pixels))


def render_cut(
    rng: np.random.Generator,
    pictures: Sequence[Known] = (),
    kind: Kind | None = None,
    text: str | None = None,
    gibberish: float = 0.0,
) -> Crop:
    """What was cut out of a frame, at its own size; of no plate now and then, unless a kind is asked for.

    A share of the texts may be gibberish.
    """
    if kind is None and rng.random() < NO_PLATE:
        scene = sign(rng) if rng.random() < 0.4 else background(rng, pictures, SCENE_WIDTH, SCENE_HEIGHT)
        return Crop(photograph(rng, scene, FEWEST_PX), "", None)
    if kind is None and text is None and rng.random() < gibberish:
        kind = KINDS[rng.choice(len(KINDS), p=WEIGHTS)]
        text = draw_gibberish(rng, kind)
    plate = draw_plate(rng, kind, text)
    way = WAYS[rng.choice(len(WAYS), p=SHARES)]
    if way == "boxed":
        corners, size = _boxed(rng, plate.kind)
    else:
        size = (SCENE_WIDTH, SCENE_HEIGHT if plate.kind.rows == 1 else TWO_ROWS_HEIGHT)
        corners = _corners_told(rng, size, rough=way == "roughly told" and plate.kind.rows == 1)
    scene = background(rng, pictures, *size)
    paste(scene, plate.pixels, corners)
    return Crop(photograph(rng, scene, FEWEST_PX), plate.text, plate.kind, (corners / size).astype(np.float32))


def background(rng: np.random.Generator, pictures: Sequence[Known], width: int, height: int) -> Floats:
    """A piece of a picture where there are any, else a texture; sometimes one that resembles a car's paint."""
    if not pictures or rng.random() < 0.4:
        return texture(rng, width, height)
    picture = pictures[rng.integers(len(pictures))].pixels
    h, w = picture.shape[:2]
    side = int(rng.integers(min(24, w - 1), max(25, w // 2)))
    high = max(8, min(h, round(side * height / width)))
    x, y = int(rng.integers(0, max(1, w - side))), int(rng.integers(0, max(1, h - high)))
    piece = cv2.resize(picture[y : y + high, x : x + side], (width, height), interpolation=cv2.INTER_LINEAR)
    return piece.astype(np.float32)


def _corners_told(rng: np.random.Generator, size: tuple[int, int], rough: bool) -> Floats:
    """Corners near the rim of the crop, each a little off; as a detector tells them they want a margin and are more."""
    margin = rng.uniform(0.02, 0.14, 2) if rough else rng.uniform(-0.01, 0.06, 2)
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    unit = unit * (1 - 2 * margin) + margin + rng.normal(0, (0.035, 0.08) if rough else (0.012, 0.04), (4, 2))
    unit = unit + (rng.normal(0, (0.025, 0.04)) if rough else 0)
    return (unit * size).astype(np.float32)


def _boxed(rng: np.random.Generator, kind: Kind) -> tuple[Floats, tuple[int, int]]:
    """Corners within the box around an askew plate, with a margin that may be negative, and the scene's size."""
    corners = corners_askew(rng, 100.0, 100.0 * kind.height / kind.width)
    box = corners.max(axis=0)
    before, after = rng.uniform(-0.03, 0.09, 2), rng.uniform(-0.03, 0.09, 2)
    width, height = box * (1 + before + after)
    scale = SCENE_WIDTH / width
    high = int(np.clip(round(height * scale), 30, 130))
    placed = (corners + before * box) * (scale, high / height)
    return placed.astype(np.float32), (SCENE_WIDTH, high)


def sign(rng: np.random.Generator) -> Floats:
    """A board with writing that is no plate: a telephone number, a shop, an advertisement."""
    scene = np.empty((50, SCENE_WIDTH, 3), np.float32)
    scene[:] = rng.uniform(0, 255, 3)
    ink = rng.uniform(0, 255, 3).astype(np.float32)
    letters = DIGITS if rng.random() < 0.5 else DIGITS + LETTERS + SPECIAL + PROVINCES
    count = int(rng.choice([1, 2, 3, 4, 9, 10, 11, 12, 13]))
    h = int(rng.integers(12, 44))
    w = max(3, min(h, SCENE_WIDTH // count) - 1)
    top, style = int(rng.integers(0, 50 - h)), int(rng.integers(100))
    for place in range(count):
        x = 2 + place * (w + 1)
        if x + w > SCENE_WIDTH:
            break
        mask = glyph(letters[rng.integers(len(letters))], style, w, h).astype(np.float32)[..., None] / 255
        part = scene[top : top + h, x : x + w]
        part += (ink - part) * mask
    return scene


def _fit(picture: Pixels) -> Pixels:
    return np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
