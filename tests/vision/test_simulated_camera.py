"""The simulated camera: pure in time and seed, true in its boxes, legible in its plates."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edge_agent import config, plate_types
from edge_agent.geo import in_polygon
from edge_agent.messages import Box
from edge_agent.runtime import SystemClock
from edge_agent.vision.camera import Frame, open_camera
from edge_agent.vision.camera.plate_art import GLYPHS
from edge_agent.vision.camera.simulated import (
    KERB_ZONE,
    PARKED_FROM_S,
    WADING,
    WATER_ZONE,
    parked_plate,
    render,
)
from edge_agent.vision.plates_own import OwnPlates

SIZE = (1280, 720)
CORNERS = tuple[tuple[float, float], ...]


def stands_in(box: Box, zone: CORNERS) -> bool:
    return in_polygon((box[0] + box[2]) / 2 / SIZE[0], box[3] / SIZE[1], zone)


def in_zone(t_s: float, label: str, zone: CORNERS, seed: int = 1) -> list[Box]:
    _, truth = render("river_bank", t_s, SIZE, seed)
    return [d.box for d in truth if d.label == label and stands_in(d.box, zone)]


def test_the_same_moment_looks_the_same_and_another_seed_does_not() -> None:
    first, truth = render("river_bank", 9.3, SIZE, 4)
    again, same = render("river_bank", 9.3, SIZE, 4)
    assert np.array_equal(first, again) and truth == same
    assert not np.array_equal(first, render("river_bank", 9.3, SIZE, 5)[0])
    assert first.shape == (720, 1280, 3) and first.dtype == np.uint8


def test_somebody_wades_into_the_water_when_the_docstring_says_and_comes_back() -> None:
    enters, leaves = WADING
    for base in (0.0, 60.0):
        wet = [t for t in np.arange(0, 60, 0.25) if in_zone(base + float(t), "person", WATER_ZONE)]
        assert wet[0] == pytest.approx(enters, abs=0.5) and wet[-1] == pytest.approx(leaves, abs=0.5)
        assert len(wet) * 0.25 == pytest.approx(leaves - enters, abs=0.5)


def test_a_car_parks_by_the_kerb_and_stays() -> None:
    assert not in_zone(PARKED_FROM_S - 2, "vehicle", KERB_ZONE)
    boxes = {box for t in (PARKED_FROM_S, 20.0, 500.0) for box in in_zone(t, "vehicle", KERB_ZONE)}
    assert len(boxes) == 1


@pytest.mark.parametrize("seed", range(8))
def test_the_parked_plate_reads_back_exactly_over_time(seed: int, reader: OwnPlates) -> None:
    assert plate_types.kind_of(parked_plate(seed), plate_types.of_countries(("CN",)))
    assert parked_plate(seed)[0] in GLYPHS
    for t in (PARKED_FROM_S, 17.3):
        pixels, _ = render("river_bank", t, SIZE, seed)
        (box,) = in_zone(t, "vehicle", KERB_ZONE, seed)
        read = reader.read(Frame("c", 0, t, t, pixels), box)
        assert read and read.plate.text == parked_plate(seed)
        assert read.plate.box[2] - read.plate.box[0] >= 115


@pytest.fixture(scope="module")
def reader() -> OwnPlates:
    return OwnPlates(threads=2)


@pytest.mark.parametrize("t_s", [2.0, 10.0, 14.0, 25.0])
def test_truth_boxes_hold_what_was_drawn_and_nothing_was_drawn_elsewhere(t_s: float) -> None:
    pixels, truth = render("river_bank", t_s, SIZE, 2)
    empty, nobody = render("empty", t_s, SIZE, 2)
    assert nobody == () and truth
    changed = np.any(pixels != empty, axis=2)
    outside = changed.copy()
    for d in truth:
        x1, y1, x2, y2 = (round(side) for side in d.box)
        assert 0 <= d.box[0] < d.box[2] <= SIZE[0] and 0 <= d.box[1] < d.box[3] <= SIZE[1]
        assert changed[y1:y2, x1:x2].mean() > (0.75 if d.label == "vehicle" else 0.3)
        wide, high = x2 - x1, y2 - y1  # shadows and rings of water reach a little further
        outside[max(0, y1 - 4) : y2 + high // 8 + 4, max(0, x1 - wide // 2) : x2 + wide // 2] = False
    assert outside.sum() < 40


def test_other_sizes_show_the_same_scene() -> None:
    _, large = render("river_bank", 10.0, SIZE, 1)
    pixels, small = render("river_bank", 10.0, (320, 240), 1)
    assert pixels.shape == (240, 320, 3) and [d.label for d in small] == [d.label for d in large]
    for a, b in zip(large, small, strict=True):
        assert np.array(b.box) * [4, 3, 4, 3] == pytest.approx(np.array(a.box), abs=0.01)


def test_a_frame_costs_little() -> None:
    render("river_bank", 0.0, SIZE, 1)
    best = min(_timed(t) for t in range(5, 15))
    assert best < 0.1  # of the processor's time: a machine that is busy elsewhere takes no part


def _timed(t: int) -> float:
    start = time.thread_time()
    render("river_bank", float(t), SIZE, 1)
    return time.thread_time() - start


async def test_the_camera_keeps_pace_with_the_clock_and_knows_the_truth() -> None:
    section = config.SimulatedCamera(name="sim", detector="d", fps=20, width=320, height=180)
    camera = open_camera(section, SystemClock())
    assert camera.name == "sim" and not camera.every_frame
    frames = []
    async for frame in camera.frames():
        frames.append(frame)
        if len(frames) == 4:
            break
    assert [f.seq for f in frames] == [0, 1, 2, 3]
    assert frames[-1].at_s - frames[0].at_s >= 3 / 20 - 1e-6
    assert frames[0].truth and frames[0].pixels.shape == (180, 320, 3)
