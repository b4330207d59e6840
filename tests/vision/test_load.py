"""What is left out under load and heat: in its order, back again in time, and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_agent import config
from edge_agent.messages import Detection
from edge_agent.vision.camera import Frame
from edge_agent.vision.eye import Eye
from edge_agent.vision.heat import temperature_c
from edge_agent.vision.load import (
    CALM_S,
    FEW_FRAMES,
    NO_PLATES,
    ONE_TILE,
    PLATES_SELDOM,
    SMALL,
    SMALL_PICTURE,
    STEPS,
    WINDOW_S,
    Load,
)


def run(
    load: Load, seconds: float, *, took_s: float, every_s: float, from_s: float, temp_c: float | None = None
) -> float:
    """Frames that take so long, so far apart; returns when that ended."""
    now = from_s
    while now < from_s + seconds:
        now += every_s
        load.frame(now, took_s)
        if load.due(now):
            load.judge(now, 1, temp_c)
    return now


def test_a_board_that_is_fast_enough_leaves_nothing_out() -> None:
    load = Load(2.0, 80.0)
    run(load, 120, took_s=0.09, every_s=0.1, from_s=0.0)  # busy, at 10 frames a second
    run(load, 120, took_s=0.1, every_s=5.0, from_s=200.0)  # one frame in 5 s, and at rest between: the camera is slow
    assert load.step == 0 and load.told() == "running"


def test_a_board_that_is_too_slow_leaves_out_one_thing_after_the_other() -> None:
    load, at_s, steps = Load(2.0, 80.0), 0.0, list[int]()
    for _ in range(7):
        at_s = run(load, WINDOW_S, took_s=0.8, every_s=0.8, from_s=at_s)
        steps.append(load.step)
    assert steps == [1, 2, 3, 4, 5, 5, 5] and len(STEPS) == 6
    assert load.told().startswith("degraded: plates are read four times less often; one tile a frame; the net looks at")
    assert "three fifths of the pixels; no plates are read; two frames a second (" in load.told()
    assert "1.2 frames a second, 2 wanted" in load.told()


def test_what_would_spare_nothing_is_passed_over_both_ways_and_not_told() -> None:
    load, at_s, steps = Load(2.0, 80.0, {PLATES_SELDOM, SMALL_PICTURE, NO_PLATES}), 0.0, list[int]()
    for _ in range(3):
        at_s = run(load, WINDOW_S, took_s=0.8, every_s=0.8, from_s=at_s)
        steps.append(load.step)
    assert steps == [ONE_TILE, FEW_FRAMES, FEW_FRAMES]
    assert load.told().startswith("degraded: one tile a frame; two frames a second (")
    for _ in range(2):
        at_s = run(load, CALM_S + 2 * WINDOW_S, took_s=0.1, every_s=0.4, from_s=at_s)
        steps.append(load.step)
    assert steps[3:] == [ONE_TILE, 0] and load.told() == "running"


def test_it_comes_back_step_by_step_when_all_is_well_for_long_and_not_before() -> None:
    load = Load(2.0, 80.0)
    at_s = run(load, 12.0, took_s=0.8, every_s=0.8, from_s=0.0)
    assert load.step == 2
    at_s = run(load, 2 * CALM_S, took_s=0.39, every_s=0.4, from_s=at_s)
    assert load.step == 2  # enough frames, yet no room for more work
    at_s = run(load, CALM_S + 2 * WINDOW_S, took_s=0.1, every_s=0.4, from_s=at_s)
    assert load.step == 1
    run(load, CALM_S + 2 * WINDOW_S, took_s=0.1, every_s=0.4, from_s=at_s)
    assert load.step == 0 and load.told() == "running"


def test_heat_is_load_too_and_must_pass_by_some_degrees() -> None:
    load = Load(2.0, 80.0)
    at_s = run(load, WINDOW_S, took_s=0.05, every_s=0.1, from_s=0.0, temp_c=83.0)
    assert load.step == 1 and "83 °C" in load.told()
    at_s = run(load, 2 * CALM_S, took_s=0.05, every_s=0.1, from_s=at_s, temp_c=78.0)
    assert load.step == 1
    run(load, CALM_S + 2 * WINDOW_S, took_s=0.05, every_s=0.1, from_s=at_s, temp_c=70.0)
    assert load.step == 0


def test_the_hottest_zone_counts_and_one_that_does_not_answer_does_not(tmp_path: Path) -> None:
    assert temperature_c(tmp_path) is None
    for number, text in enumerate(("45678\n", "81200\n", "")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text, encoding="utf-8")
    assert temperature_c(tmp_path) == pytest.approx(81.2)


class Counter:
    """Counts its looks."""

    name, labels, score = "counter", ("person",), 0.5
    share: float | None = None

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, frame: Frame) -> list[Detection]:
        self.looks += 1
        return []


def test_under_load_an_eye_looks_at_one_tile_a_frame() -> None:
    looks = {}
    for step in (0, 2):
        counter = Counter()
        tiles = config.Tiles(side_px=320, each=4, full_every=1000, budget_ms=60_000)
        eye = Eye(counter, config.Plates(), None, config.SimulatedCamera(name="c", detector="d", tiles=tiles))
        eye.step = step
        for n in range(5):
            eye.process(Frame("c", n, n * 0.1, n * 0.1, np.zeros((720, 1280, 3), np.uint8)))
        looks[step] = counter.looks
    assert looks == {0: 1 + 4 * 4, 2: 5}


def test_under_load_an_eye_looks_at_fewer_pixels_and_at_all_of_them_again() -> None:
    counter, shares = Counter(), list[float | None]()
    counter.share = 1.0
    eye = Eye(counter, config.Plates(), None, config.SimulatedCamera(name="c", detector="d", motion="off"))
    for n, step in enumerate((0, SMALL_PICTURE, FEW_FRAMES, ONE_TILE)):
        eye.step = step
        eye.process(Frame("c", n, n * 0.1, n * 0.1, np.zeros((72, 128, 3), np.uint8)))
        shares.append(counter.share)
    assert shares == [1.0, SMALL, SMALL, 1.0]
