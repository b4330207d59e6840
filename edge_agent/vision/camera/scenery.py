"""Draws what a simulated camera sees: a river bank in perspective, people that walk, cars with plates; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.messages import Box
from edge_agent.vision.camera.plate_art import HEIGHT as PLATE_HEIGHT
from edge_agent.vision.camera.plate_art import WIDTH as PLATE_WIDTH
from edge_agent.vision.camera.plate_art import draw_plate

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR
Points = npt.NDArray[np.int32]

# The ground in metres: X to the right, Z away from the camera. From the left: water, sand, grass, path, verge, road.
WATER_X, GRASS_X, PATH_X, VERGE_X, KERB_X, ROAD_X, FAR_X = -3.6, -2.9, -1.9, -0.6, 0.15, 0.35, 8.2
NEAR_Z, FAR_Z = 3.0, 90.0

CAR_WIDTH_M, CAR_HEIGHT_M, PLATE_M = 1.8, 1.5, 0.6  # plates are drawn larger than life (0.44 m), to be read at 720p


@dataclass(frozen=True, slots=True)
class View:
    """A camera 3 m above the ground; other shapes than 16:9 are stretched, so that fractions stay where they are."""

    width: int
    height: int

    def ground(self, x_m: float, z_m: float) -> tuple[float, float]:
        """The pixel of a place on the ground."""
        return (0.56 + 0.78125 * x_m / z_m) * self.width, (0.05 + 4.1667 / z_m) * self.height

    def scale(self, z_m: float) -> tuple[float, float]:
        """Pixels per metre at that distance, across and up."""
        return 0.78125 * self.width / z_m, 4.1667 / 3 * self.height / z_m

    def area(self, *corners: tuple[float, float]) -> Points:
        """A polygon on the ground in pixels."""
        return np.round([self.ground(x, z) for x, z in corners]).astype(np.int32)


@lru_cache(maxsize=4)
def draw_place(width: int, height: int, seed: int) -> Pixels:
    """The place without anybody."""
    rng, view = np.random.default_rng(seed), View(width, height)
    picture = np.empty((height, width, 3), dtype=np.uint8)
    _shade(picture, 0.0, 0.12, (235, 205, 165), (240, 228, 210))  # sky
    _shade(picture, 0.12, 1.0, (120, 140, 100), (70, 120, 80))  # meadows
    _far_bank(picture, rng)
    _fill(picture, view.area((-90, FAR_Z), (WATER_X, FAR_Z), (WATER_X, NEAR_Z), (-90, NEAR_Z)), (150, 122, 78))
    _ripples(picture, view, rng)
    for left, right, colour in (
        (WATER_X, GRASS_X, (140, 180, 200)),
        (GRASS_X, PATH_X, (80, 145, 95)),
        (PATH_X, VERGE_X, (178, 188, 196)),
        (VERGE_X, KERB_X, (75, 138, 88)),
        (KERB_X, ROAD_X, (205, 208, 210)),
        (ROAD_X, FAR_X, (92, 88, 86)),
        (FAR_X, 60.0, (78, 140, 92)),
    ):
        _fill(picture, view.area((left, FAR_Z), (right, FAR_Z), (right, NEAR_Z), (left, NEAR_Z)), colour)
    for z in np.geomspace(NEAR_Z, 40, 24):  # joints of the paving
        _line(picture, view, (PATH_X, z), (VERGE_X, z), (160, 170, 178))
    for z in np.arange(3.5, 60, 5.0):  # lane marks
        _fill(picture, view.area((4.4, z + 2.4), (4.55, z + 2.4), (4.55, z), (4.4, z)), (225, 228, 230))
    for edge in (ROAD_X + 0.12, ROAD_X + 0.32):  # a double yellow line: no parking
        _fill(
            picture,
            view.area((edge, FAR_Z), (edge + 0.08, FAR_Z), (edge + 0.08, NEAR_Z), (edge, NEAR_Z)),
            (60, 190, 235),
        )
    noise = rng.normal(0, 3.0, (height, width, 1))
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    for z in (34.0, 24.0, 17.0, 12.0):
        _tree(picture, view, -0.2, z, rng)
    picture.setflags(write=False)
    return picture


def draw_glints(picture: Pixels, view: View, t_s: float, seed: int) -> None:
    """Light on the water, drifting."""
    rng = np.random.default_rng(seed + 1)
    for x, z, phase in zip(rng.uniform(-16, -4.4, 40), rng.uniform(5, 30, 40), rng.uniform(0, 6.28, 40), strict=True):
        strength = math.sin(1.7 * t_s + phase)
        if strength > 0.2:
            x_m = x + 0.3 * math.sin(0.5 * t_s + phase)
            length = 0.25 + 0.3 * strength
            _line(picture, view, (x_m, z), (min(x_m + length, WATER_X - 0.3), z), (200, 180, 140))


def draw_person(
    picture: Pixels, view: View, *, x_m: float, z_m: float, step: float, look: int, sunk_m: float = 0.0
) -> Box:
    """Somebody 1.72 m tall, `step` radians into the stride, standing `sunk_m` deep in water; gives the visible box."""
    coat, trousers, skin = _LOOKS[look % len(_LOOKS)], _LOOKS[(look + 3) % len(_LOOKS)], (140, 170, 205)
    (foot_x, foot_y), (sx, sy) = view.ground(x_m, z_m), view.scale(z_m)

    def at(x: float, up: float) -> tuple[int, int]:
        return round(foot_x + x * sx), round(foot_y - max(up - sunk_m, 0.0) * sy)

    def limb(points: list[tuple[float, float]], colour: Colour, thick_m: float) -> None:
        line = np.array([at(x, up) for x, up in points], dtype=np.int32)
        cv2.polylines(
            picture, [line], isClosed=False, color=colour, thickness=_thick(thick_m * sx), lineType=cv2.LINE_AA
        )

    swing = 0.26 * math.sin(step)
    if sunk_m > 0:
        cv2.ellipse(
            picture, at(0, sunk_m), (round(0.42 * sx), round(0.09 * sy)), 0, 0, 360, (190, 170, 130), 2, cv2.LINE_AA
        )
    else:
        cv2.ellipse(picture, at(0.1, 0), (round(0.36 * sx), round(0.07 * sy)), 0, 0, 360, (75, 80, 80), -1, cv2.LINE_AA)
    limb([(0.0, 0.85), (-swing * 0.5, 0.46), (-swing, 0.06)], _darker(trousers), 0.15)
    limb([(0.0, 0.85), (swing * 0.6, 0.46), (swing, 0.06)], trousers, 0.15)
    limb([(-0.03, 1.38), (swing * 0.8, 1.08), (swing * 1.1, 0.86)], _darker(coat), 0.10)
    torso = [at(-0.17, 1.42), at(0.17, 1.42), at(0.16, 1.1), at(0.14, 0.82), at(-0.14, 0.82), at(-0.16, 1.1)]
    cv2.fillPoly(picture, [np.array(torso, dtype=np.int32)], coat, cv2.LINE_AA)
    limb([(0.03, 1.38), (-swing * 0.8, 1.08), (-swing * 1.1, 0.86)], coat, 0.10)
    limb([(0.0, 1.40), (0.0, 1.52)], skin, 0.10)
    cv2.ellipse(picture, at(0, 1.60), (round(0.10 * sx), round(0.13 * sy)), 0, 0, 360, skin, -1, cv2.LINE_AA)
    cv2.ellipse(picture, at(0, 1.64), (round(0.105 * sx), round(0.10 * sy)), 0, 180, 360, (40, 40, 45), -1, cv2.LINE_AA)
    half = max(0.22, abs(swing) * 1.1 + 0.06) if sunk_m == 0 else 0.24
    return foot_x - half * sx, foot_y - (1.74 - sunk_m) * sy, foot_x + half * sx, foot_y


def draw_car(picture: Pixels, view: View, *, x_m: float, z_m: float, look: int, plate: str, front: bool) -> Box:
    """A car seen from its front or its rear, with its plate; gives its box, which may reach out of the picture."""
    paint = _PAINTS[look % len(_PAINTS)]
    (mid, ground), (sx, sy) = view.ground(x_m, z_m), view.scale(z_m)

    def at(x: float, up: float) -> tuple[int, int]:
        return round(mid + x * sx), round(ground - up * sy)

    def shape(points: list[tuple[float, float]], colour: Colour) -> None:
        outline = [at(x, up) for x, up in points] + [at(-x, up) for x, up in reversed(points)]  # both sides alike
        cv2.fillPoly(picture, [np.array(outline, dtype=np.int32)], colour, cv2.LINE_AA)

    def block(x1: float, up1: float, x2: float, up2: float, colour: Colour) -> None:
        cv2.rectangle(picture, at(x1, up2), at(x2, up1), colour, -1, cv2.LINE_AA)

    cv2.ellipse(picture, at(0, 0.02), (round(1.0 * sx), round(0.12 * sy)), 0, 0, 360, (45, 45, 45), -1, cv2.LINE_AA)
    for side in (-1, 1):
        block(side * 0.78 - 0.11, 0.0, side * 0.78 + 0.11, 0.4, (30, 30, 30))
    shape([(0.52, 1.48), (0.60, 1.44), (0.76, 0.98), (0.88, 0.90), (0.90, 0.55), (0.88, 0.22), (0.80, 0.17)], paint)
    shape([(0.50, 1.40), (0.67, 1.00)], (95, 80, 70))  # windscreen
    shape([(0.30, 1.38), (0.42, 1.12)], (125, 112, 100))
    shape([(0.86, 0.46), (0.86, 0.20)], _darker(paint))  # bumper
    lamp: Colour = (235, 245, 250) if front else (50, 50, 200)
    for side in (-1, 1):
        block(side * 0.68 - 0.15, 0.66, side * 0.68 + 0.15, 0.82, lamp)
    if front:
        block(-0.42, 0.64, 0.42, 0.80, (50, 50, 50))
    block(-PLATE_M / 2 - 0.05, 0.29, PLATE_M / 2 + 0.05, 0.53, (60, 60, 60))
    _put_plate(
        picture, at(-PLATE_M / 2, 0.41 + PLATE_M * PLATE_HEIGHT / PLATE_WIDTH / 2), round(PLATE_M * sx), sy / sx, plate
    )
    half = CAR_WIDTH_M / 2
    return mid - half * sx, ground - CAR_HEIGHT_M * sy, mid + half * sx, ground


_LOOKS: tuple[Colour, ...] = ((60, 60, 190), (150, 90, 40), (70, 130, 60), (55, 55, 60), (40, 160, 220), (120, 70, 110))
_PAINTS: tuple[Colour, ...] = ((205, 205, 205), (60, 50, 140), (110, 70, 40), (70, 70, 72), (190, 200, 205))


def _put_plate(picture: Pixels, corner: tuple[int, int], width: int, stretch: float, text: str) -> None:
    height = round(width * PLATE_HEIGHT / PLATE_WIDTH * stretch)
    x1, y1 = max(corner[0], 0), max(corner[1], 0)
    x2, y2 = min(corner[0] + width, picture.shape[1]), min(corner[1] + height, picture.shape[0])
    if width < 8 or height < 3 or x2 <= x1 or y2 <= y1:
        return
    small = cv2.resize(draw_plate(text), (width, height), interpolation=cv2.INTER_AREA)
    picture[y1:y2, x1:x2] = small[y1 - corner[1] : y2 - corner[1], x1 - corner[0] : x2 - corner[0]]


def _tree(picture: Pixels, view: View, x_m: float, z_m: float, rng: np.random.Generator) -> None:
    (x, y), (sx, sy) = view.ground(x_m, z_m), view.scale(z_m)
    cv2.ellipse(
        picture, (round(x + 0.5 * sx), round(y)), (round(1.1 * sx), round(0.16 * sy)), 0, 0, 360, (62, 112, 72), -1
    )
    cv2.line(
        picture, (round(x), round(y)), (round(x), round(y - 2.2 * sy)), (50, 70, 95), _thick(0.2 * sx), cv2.LINE_AA
    )
    for _ in range(26):
        dx, up = rng.normal(0, 0.42), 2.7 + rng.normal(0, 0.42)
        green = int(rng.integers(90, 150))
        centre = (round(x + dx * sx), round(y - up * sy))
        cv2.circle(picture, centre, max(1, round(0.34 * sx)), (green // 2 + 5, green, green // 2 + 15), -1, cv2.LINE_AA)


def _far_bank(picture: Pixels, rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    for x in np.linspace(0, width, 70):
        green = int(rng.integers(80, 125))
        radius = max(1, round(height * rng.uniform(0.012, 0.03)))
        cv2.circle(picture, (round(x), round(height * 0.115)), radius, (green - 10, green, green - 25), -1, cv2.LINE_AA)


def _ripples(picture: Pixels, view: View, rng: np.random.Generator) -> None:
    for z in np.geomspace(5, 60, 90):
        x = rng.uniform(-20, -4.5)
        _line(picture, view, (x, z), (min(x + rng.uniform(0.4, 1.8), WATER_X - 0.2), z), (168, 140, 95))


def _shade(picture: Pixels, top: float, bottom: float, first: Colour, last: Colour) -> None:
    height = picture.shape[0]
    rows = slice(round(top * height), round(bottom * height))
    steps = np.linspace(0, 1, rows.stop - rows.start)[:, None, None]
    picture[rows] = (np.array(first) * (1 - steps) + np.array(last) * steps).astype(np.uint8)


def _fill(picture: Pixels, points: Points, colour: Colour) -> None:
    cv2.fillPoly(picture, [points], colour, cv2.LINE_AA)


def _line(picture: Pixels, view: View, a: tuple[float, float], b: tuple[float, float], colour: Colour) -> None:
    (x1, y1), (x2, y2) = view.area(a, b).tolist()
    cv2.line(picture, (x1, y1), (x2, y2), colour, _thick(0.02 * view.scale(a[1])[0]), cv2.LINE_AA)


def _thick(pixels: float) -> int:
    return max(1, round(pixels))


def _darker(colour: Colour) -> Colour:
    return colour[0] * 3 // 4, colour[1] * 3 // 4, colour[2] * 3 // 4
