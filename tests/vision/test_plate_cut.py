"""Plates of two rows: each character comes to lie where the reader of one row looks for it (GA 36-2018)."""

import cv2
import numpy as np
import pytest

from edge_agent.vision.plate_cut import Cut, flatten, is_high, whole

WIDTH, HEIGHT = 128, 40
PX_PER_MM = 2
# x, y, width, height in millimetres: province, authority, and five of the serial, on 440 x 220 and on 440 x 140.
TWO_ROWS = [(110, 15, 80, 60), (250, 15, 80, 60), *((27.5 + 80 * i, 90, 65, 110) for i in range(5))]
ONE_ROW = [(15.5, 25, 45, 90), (72.5, 25, 45, 90), *((151.5 + 57 * i, 25, 45, 90) for i in range(5))]
TONES = [30 * n + 60 for n in range(7)]


def plate() -> np.ndarray:
    """A plate of two rows, each character a block of its own grey on a dark ground."""
    picture = np.zeros((220 * PX_PER_MM, 440 * PX_PER_MM, 3), np.uint8)
    for (x, y, w, h), tone in zip(TWO_ROWS, TONES, strict=True):
        x1, y1, x2, y2 = (round(side * PX_PER_MM) for side in (x, y, x + w, y + h))
        picture[y1:y2, x1:x2] = tone
    return picture


def expect_one_row(crop: np.ndarray) -> None:
    """The inner half of each character's place on a plate of one row shows that character and nothing else."""
    assert crop.shape == (HEIGHT, WIDTH, 3)
    left, top = WIDTH * 0.025, HEIGHT * 0.025
    x_scale, y_scale = (WIDTH - 2 * left) / 440, (HEIGHT - 2 * top) / 140
    for (x, y, w, h), tone in zip(ONE_ROW, TONES, strict=True):
        x1, x2 = (round(left + (x + share * w) * x_scale) for share in (0.25, 0.75))
        y1, y2 = (round(top + (y + share * h) * y_scale) for share in (0.25, 0.75))
        assert crop[y1:y2, x1:x2].min() >= tone - 4
        assert crop[y1:y2, x1:x2].max() <= tone + 4


def corners(width: float, height: float) -> np.ndarray:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], float)


def test_the_rows_are_laid_side_by_side() -> None:
    expect_one_row(flatten(plate(), Cut(corners(880, 440), two_rows=True), WIDTH, HEIGHT))


def test_the_rows_of_an_askew_plate_are_laid_side_by_side() -> None:
    askew = np.array([[60, 90], [420, 40], [400, 260], [80, 270]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners(880, 440).astype(np.float32), askew)
    frame = cv2.warpPerspective(plate(), matrix, (480, 320), flags=cv2.INTER_AREA)
    expect_one_row(flatten(frame, Cut(askew.astype(float), two_rows=True), WIDTH, HEIGHT))


@pytest.mark.parametrize("off_mm", [-8, 8])
def test_corners_a_little_off_leave_every_character_in_its_place(off_mm: float) -> None:
    moved = corners(880, 440) + off_mm * PX_PER_MM
    crop = flatten(plate(), Cut(moved, two_rows=True), WIDTH, HEIGHT)
    seen = [crop[20, round(3.2 + (x + w / 2) * 0.276), 0] for x, _, w, _ in ONE_ROW]
    assert np.allclose(seen, TONES, atol=6)


def test_a_whole_crop_of_one_row_is_taken_as_it_is() -> None:
    crop = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    blurred = cv2.GaussianBlur(crop, (0, 0), 3)
    assert np.abs(flatten(blurred, Cut(whole(WIDTH, HEIGHT)), WIDTH, HEIGHT).astype(int) - blurred).max() <= 2


def test_only_a_plate_close_to_a_square_may_have_two_rows() -> None:
    assert is_high(corners(440, 220))  # rear of a large vehicle
    assert is_high(corners(220, 140))  # motorcycle
    assert is_high(corners(280, 140))  # one row from aside: read both ways
    assert not is_high(corners(440, 140))
    assert not is_high(corners(480, 140))


@pytest.mark.parametrize("two_rows", [False, True])
def test_noise_of_a_plate_much_larger_than_the_crop_is_averaged(two_rows: bool) -> None:
    board = (np.indices((660, 2112)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = flatten(np.dstack([board] * 3), Cut(whole(2112, 660), two_rows), 128, 40)
    assert abs(float(crop.mean()) - 127.5) < 2
    assert float(crop.std()) < 10


def test_a_plate_much_larger_than_the_crop_keeps_its_place() -> None:
    picture = cv2.resize(plate(), None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    height, width = picture.shape[:2]
    there = corners(width, height) + np.array([300, 200])
    wide = cv2.copyMakeBorder(picture, 200, 100, 300, 50, cv2.BORDER_CONSTANT, value=(9, 99, 199))
    small = flatten(plate(), Cut(corners(width / 4, height / 4)), 128, 40).astype(int)
    large = flatten(np.asarray(wide, np.uint8), Cut(there), 128, 40).astype(int)
    assert np.abs(small - large)[3:-3, 3:-3].mean() < 12
