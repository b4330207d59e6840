"""Does the camera move, and has anything changed: pictures that are made so that the answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_agent.messages import Box
from edge_agent.vision.motion import Mode, Motion, Seen

Pixels = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 640, 360


def ground(seed: int = 1) -> Pixels:
    """A textured plain, larger than the picture, to be looked at from above."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (60, 100, 3), np.uint8)
    return np.ascontiguousarray(cv2.resize(coarse, (1000, 600), interpolation=cv2.INTER_CUBIC))


def run(motion: Motion, pictures: list[Pixels], fps: float = 10.0) -> list[Seen]:
    return [motion.see(pixels, n / fps) for n, pixels in enumerate(pictures)]


def still(count: int, *, noise: float = 0.0) -> list[Pixels]:
    scene, rng = ground()[:HEIGHT, :WIDTH].astype(float), np.random.default_rng(2)
    return [np.clip(scene + rng.normal(0, noise, scene.shape), 0, 255).astype(np.uint8) for _ in range(count)]


@pytest.mark.parametrize("mode", ["auto", "static"])
def test_a_still_picture_is_looked_at_at_first_and_then_every_two_seconds(mode: Mode) -> None:
    seen = run(Motion(mode), still(100, noise=4.0))
    looked = [n for n, one in enumerate(seen) if one.look]
    assert looked == [*range(11), *range(30, 100, 20)]
    assert not any(one.moving or one.affine is not None for one in seen)


def test_a_small_thing_that_appears_is_looked_at_at_once() -> None:
    pictures = still(60, noise=4.0)
    for n in range(35, 60):
        pictures[n][200:224, 300 + 2 * n : 312 + 2 * n] = 250
    seen = run(Motion("static"), pictures)
    assert all(one.look for one in seen[35:])


def test_what_stays_becomes_background() -> None:
    pictures = still(400)
    for n in range(30, 400):
        pictures[n][100:200, 100:200] = 250
    seen = run(Motion("static"), pictures)
    assert all(one.look for one in seen[30:60])
    assert sum(one.look for one in seen[300:]) == 5


@pytest.mark.parametrize(("right_px", "down_px"), [(4, 0), (-3, 2), (0, -5)])
def test_the_motion_of_the_camera_is_measured_in_pixels_of_the_frame(right_px: int, down_px: int) -> None:
    scene = ground()
    pictures = [
        scene[100 + down_px * n : 100 + down_px * n + HEIGHT, 150 + right_px * n : 150 + right_px * n + WIDTH]
        for n in range(20)
    ]
    seen = run(Motion("moving"), pictures)
    shifts = np.array([one.affine[:, 2] for one in seen[1:] if one.affine is not None])
    assert len(shifts) >= 17
    assert np.median(shifts, axis=0) == pytest.approx([-right_px, -down_px], abs=0.3)
    assert all(one.look for one in seen)


def test_the_motion_seen_in_a_smaller_copy_is_in_pixels_of_the_frame_too() -> None:
    scene, motion = ground(), Motion("moving")
    seen = [motion.see(scene[:HEIGHT, 4 * n : 4 * n + WIDTH], n / 10, 3.0) for n in range(20)]
    shifts = np.array([one.affine[:, 2] for one in seen[1:] if one.affine is not None])
    assert len(shifts) >= 17
    assert np.median(shifts, axis=0) == pytest.approx([-12, 0], abs=0.9)


def test_auto_tells_a_moving_camera_and_that_it_stands_again() -> None:
    scene = ground()
    pan = [np.ascontiguousarray(scene[:HEIGHT, 4 * n : 4 * n + WIDTH]) for n in range(30)]
    seen = run(Motion("auto"), [pan[0]] * 20 + pan + [pan[-1]] * 60)
    assert not any(one.moving for one in seen[:20])
    assert all(one.moving for one in seen[25:50])
    assert not any(one.moving for one in seen[85:])


def on_a_plain(count: int, *, pan_px: int = 0) -> tuple[list[Pixels], list[list[Box]]]:
    """White things that go to the right together over ground with hardly any texture, and where they are."""
    plain = 90 + ground() // 20
    things = [(40.0 + 150 * i, 30.0 + 80 * j, 80.0 + 150 * i, 70.0 + 80 * j) for i in range(4) for j in range(4)]
    pictures, known = [], []
    for n in range(count):
        picture = np.ascontiguousarray(plain[:HEIGHT, pan_px * n : pan_px * n + WIDTH])
        known.append([(x1 + 3 * n, y1, x2 + 3 * n, y2) for x1, y1, x2, y2 in things])
        for x1, y1, x2, y2 in known[-1]:
            picture[int(y1) : int(y2), int(x1) : int(x2)] = 250
        pictures.append(picture)
    return pictures, known


def seen_with(motion: Motion, pictures: list[Pixels], known: list[list[Box]]) -> list[Seen]:
    before = [[], *known[:-1]]
    return [motion.see(one, n / 10, 1.0, boxes) for n, (one, boxes) in enumerate(zip(pictures, before, strict=True))]


def test_things_that_move_together_on_a_plain_are_no_motion_of_the_camera() -> None:
    pictures, known = on_a_plain(20)
    assert not any(one.moving for one in seen_with(Motion("auto"), pictures, known))
    assert any(one.moving for one in run(Motion("auto"), pictures))  # who does not know them is misled


def test_the_camera_s_motion_is_that_of_the_ground_beside_what_is_known() -> None:
    pictures, known = on_a_plain(20, pan_px=4)
    seen = seen_with(Motion("moving"), pictures, known)
    shifts = np.array([one.affine[:, 2] for one in seen[1:] if one.affine is not None])
    assert len(shifts) >= 17
    assert np.median(shifts, axis=0) == pytest.approx([-4, 0], abs=0.3)


def test_a_picture_of_another_size_or_a_clock_that_stands_begins_anew() -> None:
    motion = Motion("auto")
    picture, dot = still(1)[0], np.zeros((1, 1, 3), np.uint8)
    for pixels, at_s in ((picture, 0.0), (dot, 0.1), (picture, 0.1), (picture, 0.1)):
        assert motion.see(pixels, at_s) == Seen(False, None, True)


def test_a_flat_picture_tells_of_no_motion() -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    seen = run(Motion("moving"), [grey] * 5)
    assert all(one.affine is None and one.look for one in seen)


def test_what_is_known_may_lie_far_beyond_the_picture() -> None:
    motion, beyond = Motion("auto"), [(-1e12, -50.0, 1e12, 90.0), (1e9, 1e9, 2e9, 2e9)]
    for n, picture in enumerate(still(4)):
        motion.see(picture, n / 10, 1.0, beyond)
    assert not motion.moving
