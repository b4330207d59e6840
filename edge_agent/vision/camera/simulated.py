"""A rendered river bank as a camera: what happens in it is a function of time, so its truth is known.

Scene `river_bank`, in seconds from its start, for ever alike:

- all the time: two people walk up and down the path between the water and the road;
- of every 60: a third one comes along the bank, wades into the water (WATER_ZONE) at 8, strolls there until 20, goes
  back and waits far away until it begins again;
- from 1 on: a car comes up the road, stops by the kerb (KERB_ZONE) at 6 and stays; its plate is `parked_plate(seed)`;
- every 11, from 8 on: a car comes towards us on the road, and from 13 on one drives away; their plates are too small
  to read most of the time.

Scene `empty`: the same place, nobody there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from edge_agent import config
from edge_agent.messages import Box, Detection
from edge_agent.runtime import Clock
from edge_agent.vision.camera import Frame
from edge_agent.vision.camera.liveness import State
from edge_agent.vision.camera.scenery import (
    ROAD_X,
    WATER_X,
    View,
    draw_car,
    draw_glints,
    draw_person,
    draw_place,
)
from edge_agent.vision.worker import Worker

Pixels = npt.NDArray[np.uint8]
Truth = tuple[Detection, ...]


def _zone(*corners: tuple[float, float]) -> tuple[config.Corner, ...]:
    """A polygon on the ground as fractions of the picture, kept within it."""
    points = (View(1, 1).ground(x, z) for x, z in corners)
    return tuple((round(min(max(x, 0.0), 1.0), 3), round(min(max(y, 0.0), 1.0), 3)) for x, y in points)


WATER_ZONE = _zone((WATER_X, 5.02), (WATER_X, 40.0), (-28.0, 40.0), (-9.0, 12.6), (-3.6, 5.02))
KERB_ZONE = _zone((ROAD_X - 0.3, 4.2), (ROAD_X - 0.3, 8.0), (3.0, 8.0), (2.8, 4.2))
WADING = (8.0, 20.0)  # of every PERIOD_S
PARKED_FROM_S = 6.0
PERIOD_S = 60.0
MIN_VISIBLE = 0.35  # of an object's box: less of it in the picture is no truth

_PLATES = ("京A73K56", "浙C4E739", "苏E6J749", "沪B96T43", "吉A37H92", "云A7K964", "甘A63T75", "川A45K73")


def parked_plate(seed: int) -> str:
    """The plate of the car that parks."""
    return _PLATES[seed % len(_PLATES)]


def render(scene: str, t_s: float, size: tuple[int, int], seed: int) -> tuple[Pixels, Truth]:
    """The picture of a moment, (height, width, 3) BGR for a `size` of (width, height), and what is to be seen in it."""
    width, height = size
    view, picture = View(width, height), draw_place(width, height, seed).copy()
    draw_glints(picture, view, t_s, seed)
    if scene == "empty":
        return picture, ()
    truth = []
    for label, _, draw in sorted(_cast(t_s, seed), key=lambda item: -item[1]):  # the farthest first
        if seen := _visible(draw(picture, view), width, height):
            truth.append(Detection(label=label, score=1.0, box=seen))
    return picture, tuple(truth)


class SimulatedCamera:
    """Renders its scene at the pace of the clock; moments that are past are left out and counted."""

    every_frame = False

    def __init__(self, section: config.SimulatedCamera, clock: Clock) -> None:
        self.name, self.drops = section.name, Counter[str]()
        self.state: State = "back-off"
        self.max_exposure_ms: float | None = None
        self._section, self._clock = section, clock

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Frames for ever; the scene starts when it is first looked at, or did at `began_s`."""
        section = self._section
        size, period_s = (section.width, section.height), 1 / section.fps
        start_s, start_wall_s = self._clock.monotonic(), self._clock.wall()
        gone_s = max(0.0, start_wall_s - section.began_s) if section.began_s is not None else 0.0
        worker = Worker(f"camera.{self.name}")
        seq = tick = 0
        self.state = "live"
        try:
            while True:
                t_s = tick * period_s
                pixels, truth = await worker.call(render, section.scene, gone_s + t_s, size, section.seed)
                await self._clock.sleep(max(0.0, start_s + t_s - self._clock.monotonic()))
                yield Frame(self.name, seq, start_s + t_s, start_wall_s + t_s, pixels, truth)
                seq, due = seq + 1, int((self._clock.monotonic() - start_s) / period_s)
                self.drops["late"] += max(0, due - tick - 1)
                tick = max(tick + 1, due)
        finally:
            self.state = "back-off"
            worker.close()


_Keys = tuple[tuple[float, float, float], ...]  # (t_s, x_m, z_m)
_WADER: _Keys = (
    (0, -2.2, 22),
    (6, -2.4, 10.5),
    (8, WATER_X, 9.6),
    (10, -4.7, 9.0),
    (13, -4.9, 8.6),
    (16, -4.5, 8.9),
    (18, -4.8, 9.0),
    (20, WATER_X, 9.6),
    (22, -2.4, 10.5),
    (30, -2.2, 24),
    (50, -2.2, 24),
    (60, -2.2, 22),
)
_PARKER: _Keys = ((1, 2.7, 55), (4.5, 2.3, 10), (PARKED_FROM_S, 1.5, 4.6))

_Actor = tuple[str, float, Callable[[Pixels, View], Box]]  # label, distance, how to draw it


def _cast(t_s: float, seed: int) -> list[_Actor]:
    """Who is where at that time."""
    x_m, z_m = _along(_WADER, t_s % PERIOD_S)
    later_x, later_z = _along(_WADER, t_s % PERIOD_S + 0.1)
    step = 5.5 * t_s if math.hypot(later_x - x_m, later_z - z_m) > 0.03 else 0.0
    sunk_m = 0.4 * min(max((WATER_X - x_m) / 0.8, 0.0), 1.0)
    cast = [
        _person(x_m, z_m, step, seed, sunk_m),
        _person(-1.6, 6.5 + _to_and_fro(1.2 * t_s, 16.0), 5.8 * t_s, seed + 1),
        _person(-0.95, 7.0 + _to_and_fro(1.05 * t_s + 9.0, 19.0), 5.2 * t_s + 1, seed + 2),
    ]
    if t_s >= _PARKER[0][0]:
        cast.append(_car(*_along(_PARKER, t_s), seed, parked_plate(seed), front=True))
    for first_s, toward in ((8.0, True), (13.0, False)):  # the traffic, one car each way at a time
        if t_s >= first_s:
            nth, since_s = divmod(t_s - first_s, 11.0)
            x_m, z_m = (3.5, 60 - 8 * since_s) if toward else (6.0, 7 + 7 * since_s)
            look = seed + int(nth) + (1 if toward else 4)
            if 4 < z_m < 62:
                cast.append(_car(x_m, z_m, look, parked_plate(look), front=toward))
    return cast


def _person(x_m: float, z_m: float, step: float, look: int, sunk_m: float = 0.0) -> _Actor:
    return "person", z_m, partial(draw_person, x_m=x_m, z_m=z_m, step=step, look=look, sunk_m=sunk_m)


def _car(x_m: float, z_m: float, look: int, plate: str, *, front: bool) -> _Actor:
    return "vehicle", z_m, partial(draw_car, x_m=x_m, z_m=z_m, look=look, plate=plate, front=front)


def _along(keys: _Keys, t_s: float) -> tuple[float, float]:
    """The place on a timed path, straight between its keys."""
    times, xs, zs = zip(*keys, strict=True)
    return float(np.interp(t_s, times, xs)), float(np.interp(t_s, times, zs))


def _to_and_fro(way: float, length: float) -> float:
    return length - abs(way % (2 * length) - length)


def _visible(box: Box, width: int, height: int) -> Box | None:
    """The part of a box within the picture, None where it is too little to count."""
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    whole, part = (box[2] - box[0]) * (box[3] - box[1]), max(x2 - x1, 0.0) * max(y2 - y1, 0.0)
    return (x1, y1, x2, y2) if part >= MIN_VISIBLE * whole and y2 - y1 >= 8 else None
