"""Plates as a camera sees them: drawn flat, worn and lit, put askew before a background, blurred and compressed.

Everything follows from one `numpy` generator, so a seed names a picture for good (with the same OpenCV and fonts).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from training.plates.glyphs import CHINESE_STYLES, LATIN_STYLES, STAMP_WEIGHTS, STROKES, glyph, stamped
from training.plates.kinds import GROUNDS, KINDS, RED, WEIGHTS, Kind, draw_text

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

STAMPED = 0.75  # of plates, where pictures of the dies' characters are at hand
PX_PER_MM = 0.5  # of the flat drawing: more than any crop that is read


class Flat(NamedTuple):
    """A plate drawn from the front: BGR 0..255, what it says, and its kind."""

    pixels: Floats
    text: str
    kind: Kind


def draw_plate(rng: np.random.Generator, kind: Kind | None = None, text: str | None = None) -> Flat:
    """A clean or worn plate of a kind (drawn by its weight where none is asked for)."""
    kind = kind or KINDS[rng.choice(len(KINDS), p=WEIGHTS)]
    text = text or draw_text(rng, kind)
    width, height = round(kind.width * PX_PER_MM), round(kind.height * PX_PER_MM)
    ground = _ground(rng, kind, width, height)
    ink = np.zeros((height, width), np.uint8)
    red = np.zeros((height, width), np.uint8)
    latin = int(rng.integers(STROKES)) if rng.random() < 0.65 else int(rng.integers(STROKES, LATIN_STYLES))
    chinese = int(rng.integers(CHINESE_STYLES))
    weight = int(rng.integers(len(STAMP_WEIGHTS))) if rng.random() < STAMPED else None
    squat = rng.uniform((0.84, 0.76), (1.02, 1.02))  # stamped Chinese characters seldom fill their box
    lower = rng.uniform(0.3, 0.8)
    for place, (character, slot) in enumerate(zip(text, kind.slots, strict=True)):
        x, y, w, h = (side * PX_PER_MM for side in slot)
        style = latin
        if ord(character) > 127:
            style = chinese
            x, y = x + w * (1 - squat[0]) / 2, y + h * (1 - squat[1]) * lower
            w, h = w * squat[0], h * squat[1]
        x, y, w, h = max(0, round(x)), max(0, round(y)), max(2, round(w)), max(3, round(h))
        is_red = character in kind.red or (place < kind.red.count("^"))
        mask = None if weight is None else stamped(_dies(kind, place, character), weight, w, h)
        (red if is_red else ink)[y : y + h, x : x + w] = glyph(character, style, w, h) if mask is None else mask
    if kind.dot is not None and rng.random() < 0.95:
        centre = (round(kind.dot[0] * PX_PER_MM), round(kind.dot[1] * PX_PER_MM))
        cv2.circle(ink, centre, max(2, round(5 * PX_PER_MM)), 255, -1, cv2.LINE_AA)
    _frame(rng, ink, kind)
    coverage = (ink.astype(np.float32) * rng.uniform(0.8, 1.0) / 255)[..., None]
    if rng.random() < 0.5:  # embossed: lit on one edge of each stroke, dark on the other
        _emboss(rng, ground, cv2.max(ink, red))
    color = np.array(kind.ink, np.float32) + rng.uniform(-25, 25)
    pixels = ground + (color - ground) * coverage
    if kind.red:
        tone = np.array(RED, np.float32) * rng.uniform(0.7, 1.15)
        pixels = pixels + (tone - pixels) * (red.astype(np.float32) / 255)[..., None]
    _wear(rng, pixels)
    return Flat(np.clip(pixels, 0, 255).astype(np.float32), text, kind)


def _dies(kind: Kind, place: int, character: str) -> tuple[str, ...]:
    """Names of the dies that stamp a character: those of plates of two rows and of green ones are cut otherwise."""
    plain = f"140_{character}"
    if kind.rows == 2:
        return (f"220_{character}", f"220_{'up' if place < 2 else 'down'}_{character}", plain)
    return (f"green_{character}", plain) if kind.name.startswith("nev") else (plain,)


def _ground(rng: np.random.Generator, kind: Kind, width: int, height: int) -> Floats:
    """The plate's ground: one colour, NEV's white that turns green downwards, or NEV's yellow beside green."""
    tone = np.array(GROUNDS[kind.color], np.float32) * rng.uniform(0.75, 1.2) + rng.uniform(-14, 14, 3)
    ground = np.empty((height, width, 3), np.float32)
    ground[:] = tone
    if kind.name == "nev_small":
        pale = np.array((225, 240, 230), np.float32)
        share = np.clip(np.linspace(rng.uniform(-0.1, 0.3), rng.uniform(0.8, 1.2), height), 0, 1)[:, None, None]
        ground = pale + (tone - pale) * share.astype(np.float32)
        ground = np.repeat(ground, width, axis=1)
    elif kind.name == "nev_large":
        ground[:, : round(width * 0.255)] = np.array(GROUNDS["yellow"], np.float32) * rng.uniform(0.85, 1.1)
    return ground.astype(np.float32)


def _frame(rng: np.random.Generator, ink: Pixels, kind: Kind) -> None:
    """The painted line along the rim, and the bolts."""
    height, width = ink.shape
    if rng.random() < 0.8:
        inset = int(rng.integers(1, 4))
        cv2.rectangle(ink, (inset, inset), (width - 1 - inset, height - 1 - inset), int(rng.integers(120, 256)), 1)
    if rng.random() < 0.5:
        radius = int(rng.integers(2, 4))
        for x in (0.25, 0.75) if kind.rows == 1 else (0.12, 0.88):
            for y in (0.09, 0.91) if rng.random() < 0.7 else (0.09,):
                at = (round(width * x + rng.uniform(-6, 6)), round(height * y))
                cv2.circle(ink, at, radius, int(rng.integers(60, 256)), -1, cv2.LINE_AA)


def _emboss(rng: np.random.Generator, ground: Floats, ink: Pixels) -> None:
    soft = cv2.GaussianBlur(ink, (3, 3), 0).astype(np.float32)
    dx, dy = int(rng.integers(-1, 2)), 1
    edge = np.roll(soft, (dy, dx), (0, 1)) - np.roll(soft, (-dy, -dx), (0, 1))
    ground += edge[..., None] * np.float32(rng.uniform(-0.25, 0.25))


def _wear(rng: np.random.Generator, pixels: Floats) -> None:
    """Dirt, scratches, mud over a part, and stickers or frames over the rim."""
    height, width = pixels.shape[:2]
    if rng.random() < 0.35:  # dirt in soft spots
        coarse = rng.random((max(2, height // 12), max(2, width // 12)), dtype=np.float32)
        dirt = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        share = (np.clip(dirt - 0.5, 0, 1) * rng.uniform(0.3, 1.3))[..., None]
        pixels += (rng.uniform(50, 150, 3).astype(np.float32) - pixels) * share
    if rng.random() < 0.12:  # something in front of a corner or the rim
        tone = rng.uniform(0, 200, 3).tolist()
        x, y = float(rng.uniform(0, width)), float(rng.choice([0, height]))
        axes = (int(rng.integers(4, 22)), int(rng.integers(2, max(3, height // 5))))
        cv2.ellipse(pixels, (round(x), round(y)), axes, 0, 0, 360, tone, -1)
    if rng.random() < 0.08:
        for _ in range(int(rng.integers(1, 5))):
            a, b = (tuple(int(v) for v in rng.integers(0, (width, height))) for _ in range(2))
            cv2.line(pixels, a, b, rng.uniform(60, 220, 3).tolist(), 1, cv2.LINE_AA)


def texture(rng: np.random.Generator, width: int, height: int) -> Floats:
    """What lies around a plate where no picture is at hand: colour, noise of two scales, lines, and a grille."""
    low = rng.uniform(0, 255, (int(rng.integers(2, 5)), int(rng.integers(2, 7)), 3)).astype(np.float32)
    if rng.random() < 0.7:
        low = low * 0.3 + rng.uniform(0, 200) * 0.7
    ground = cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(0, 5))):
        a, b = (tuple(int(v) for v in rng.integers((-20, -20), (width + 20, height + 20))) for _ in range(2))
        cv2.line(ground, a, b, rng.uniform(0, 255, 3).tolist(), int(rng.integers(1, 9)), cv2.LINE_AA)
    if rng.random() < 0.2:
        ground[:: int(rng.integers(3, 8))] *= rng.uniform(0.3, 0.9)
    return np.asarray(ground, dtype=np.float32)


def corners_askew(rng: np.random.Generator, width: float, height: float) -> Floats:
    """Where the corners of a plate of this size come to lie when it is turned in space: (4, 2), from the top left."""
    strength = 1.0 if rng.random() < 0.6 else 2.0
    roll, yaw, pitch = np.radians(rng.normal(0, (4.5 * strength, 14 * strength, 11 * strength)))
    x, y = np.array([-1, 1, 1, -1]) * width / 2, np.array([-1, -1, 1, 1]) * height / 2
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    depth = rng.uniform(3, 10) * width
    depth_at = depth + x * np.sin(yaw) + y * np.sin(pitch)
    points = np.stack([x * np.cos(yaw), y * np.cos(pitch)], 1) * (depth / depth_at)[:, None]
    shear = np.array([[1.0, 0.0], [rng.normal(0, 0.06 * strength), 1.0]])  # the camera is aside and above
    points = points @ shear.T
    return (points - points.min(axis=0)).astype(np.float32)


def paste(scene: Floats, plate: Floats, corners: Floats) -> None:
    """Put a flat plate into a scene at four corners, with soft edges."""
    height, width = plate.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    x1, y1 = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    x2, y2 = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, (scene.shape[1], scene.shape[0]))
    if x2 <= x1 or y2 <= y1:
        return
    local = (corners - (x1, y1)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, local)
    shrink = np.linalg.norm(corners[1] - corners[0]) / width
    if shrink < 0.5:  # warping alone would alias
        plate = cv2.blur(plate, (round(0.5 / shrink) * 2 - 1,) * 2)
    laid = cv2.warpPerspective(plate, matrix, (int(x2 - x1), int(y2 - y1)), flags=cv2.INTER_LINEAR)
    mask = np.zeros(laid.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(local * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    part = scene[y1:y2, x1:x2]
    part += (laid - part) * (mask.astype(np.float32) / 255)[..., None]


def photograph(rng: np.random.Generator, scene: Floats, least_side: int = 0, unsharp: float | None = None) -> Pixels:
    """A scene under some light, through a lens onto a sensor, compressed; smaller where the camera was far.

    `unsharp` scales the blur; without it the scene counts as one plate that fills it.
    """
    height, width = scene.shape[:2]
    if rng.random() < 0.35:  # light or shadow that falls off across it
        ramp = cv2.resize(rng.uniform(0.35, 1.5, (2, 2)).astype(np.float32), (width, height))
        scene = scene * cv2.merge([ramp] * 3)
    if rng.random() < 0.15:  # the edge of a hard shadow
        points = np.array([rng.uniform(-0.5, 1.5, 2) * (width, height) for _ in range(4)], np.int32)
        shade = np.ones((height, width), np.float32)
        cv2.fillPoly(shade, [points], float(rng.uniform(0.35, 0.75)), cv2.LINE_AA)
        scene = scene * cv2.merge([shade] * 3)
    if rng.random() < 0.08:  # glare
        spot = np.zeros((height, width), np.float32)
        at = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(spot, at, int(rng.integers(3, max(4, height // 3))), float(rng.uniform(80, 250)), -1)
        scene = scene + cv2.GaussianBlur(spot, (0, 0), max(1.0, height / 10))[..., None]
    scene = _expose(rng, scene)
    scene = _blur(rng, scene, scene.shape[1] / 160 if unsharp is None else unsharp)
    if rng.random() < 0.5:
        grain = rng.standard_normal((height, width, 1 if rng.random() < 0.5 else 3), dtype=np.float32)
        scene = scene + grain * np.float32(rng.uniform(1, 12))
    picture = np.clip(scene, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:  # the camera's gamma
        curve = 255 * (np.arange(256) / 255) ** np.exp(rng.normal(0, 0.35))
        picture = np.asarray(cv2.LUT(picture, np.round(curve).astype(np.uint8)), dtype=np.uint8)
    if least_side and width > least_side and rng.random() < 0.75:
        small = int(rng.integers(least_side, width))
        how = cv2.INTER_AREA if rng.random() < 0.7 else cv2.INTER_LINEAR
        picture = cv2.resize(picture, (small, max(12, round(small * height / width))), interpolation=how)
    if rng.random() < 0.7:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 96))]
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)
    return np.asarray(picture, dtype=np.uint8)


def _expose(rng: np.random.Generator, scene: Floats) -> Floats:
    """Contrast, brightness, white balance, and now and then no colour at all (infra-red at night)."""
    balance = rng.normal(1.0, 0.10, 3).astype(np.float32)
    gain = np.float32(np.exp(rng.normal(-0.05, 0.38)))
    contrast, mean = rng.uniform(0.45, 1.25), np.array(cv2.mean(scene)[:3])
    scene = scene * (balance * gain * contrast).astype(np.float32)
    scene += (mean.mean() * balance * gain * (1 - contrast) + rng.normal(0, 14)).astype(np.float32)
    draw = rng.random()
    if draw < 0.05:
        scene = np.repeat(scene.mean(axis=2, keepdims=True), 3, axis=2)
    elif draw < 0.35:
        grey = scene.mean(axis=2, keepdims=True)
        scene = grey + (scene - grey) * np.float32(rng.uniform(0.2, 1.5))
    return scene


def _blur(rng: np.random.Generator, scene: Floats, scale: float) -> Floats:
    """Out of focus, moved while the shutter was open, or neither."""
    draw = rng.random()
    if draw < 0.4:
        return cv2.GaussianBlur(scene, (0, 0), float(rng.uniform(0.4, 1.5) * scale))
    if draw < 0.65:
        length = max(2, round(float(rng.uniform(2, 6)) * scale))
        angle = rng.uniform(-0.35, 0.35) if rng.random() < 0.7 else rng.uniform(0, np.pi)
        kernel = np.zeros((length, length), np.float32)
        middle, half = (length - 1) / 2, length / 2
        step = np.array([np.cos(angle), np.sin(angle)]) * half
        a, b = (tuple(int(v) for v in np.round(middle + sign * step)) for sign in (-1, 1))
        cv2.line(kernel, a, b, 1.0, 1)
        return cv2.filter2D(scene, -1, kernel / max(kernel.sum(), 1e-6), borderType=cv2.BORDER_REFLECT)
    return scene
