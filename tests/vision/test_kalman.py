"""The filter of boxes: true time steps, the way through an occlusion, and a picture that moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.vision.boxes import Floats
from edge_agent.vision.kalman import Kalman


def box(x: float, wider: float = 0.0) -> Floats:
    return np.array([[x - 30 - wider, 220.0, x + 30 + wider, 380.0 + wider]])


def walked(speed: float, *, fps: float = 10.0, seconds: float = 3.0) -> Kalman:
    """A filter that saw somebody walk to x = 500."""
    kalman, steps = Kalman(), int(seconds * fps)
    kalman.add(box(500 - speed * steps / fps))
    for n in range(1, steps + 1):
        kalman.predict(1 / fps)
        kalman.correct([0], box(500 - speed * (steps - n) / fps))
    return kalman


@pytest.mark.parametrize("fps", [2.0, 5.0, 12.5, 25.0, 60.0])
def test_the_speed_is_per_second_whatever_the_frame_rate(fps: float) -> None:
    kalman = walked(70, fps=fps)
    assert kalman.velocity[0, 0] == pytest.approx(70, abs=7)
    kalman.predict(0.7)
    assert kalman.position[0, 0] == pytest.approx(500 + 0.7 * 70, abs=7)


@pytest.mark.parametrize(("fps", "gap_s"), [(5, 0.8), (10, 1.0), (25, 1.8)])
@pytest.mark.parametrize("stride", [60.0, 0.0, -30.0])
def test_who_was_hidden_goes_on_at_the_speed_of_its_way_through(fps: float, gap_s: float, stride: float) -> None:
    """It went on, stopped, or turned: what was predicted meanwhile does not throw it on."""
    kalman = walked(60, fps=fps)
    for _ in range(round(gap_s * fps)):
        kalman.predict(1 / fps)
    kalman.correct([0], box(500 + stride * gap_s))
    assert kalman.velocity[0, 0] == pytest.approx(stride, abs=20)
    assert kalman.position[0, 0] == pytest.approx(500 + stride * gap_s, abs=6)


def test_a_slow_camera_is_no_occlusion() -> None:
    """Where each frame sees it there is no way to be led over: one step of any length is one step."""
    once, twice = walked(60, fps=1), walked(60, fps=1)
    once.predict(1.5)
    twice.predict(0.75)
    twice.predict(0.75)
    for kalman in (once, twice):
        kalman.correct([0], box(500))
    assert abs(once.velocity[0, 0] - twice.velocity[0, 0]) > 1


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.5, 2.0),
    st.floats(-300, 300),
    st.lists(st.tuples(st.floats(0.02, 0.9), st.booleans(), st.floats(-20, 20)), min_size=4, max_size=12),
)
def test_a_picture_that_zooms_and_shifts_changes_nothing_but_the_picture(
    zoom: float, shift: float, steps: list[tuple[float, bool, float]]
) -> None:
    """What is warped midway stands where it would stand had all of it been seen in the new picture."""
    affine = np.array([[zoom, 0, shift], [0, zoom, -shift]])

    def there(boxes: Floats) -> Floats:
        return boxes * zoom + np.array([shift, -shift, shift, -shift])

    warped, anew = Kalman(), Kalman()
    warped.add(box(400))
    anew.add(there(box(400)))
    x = 400.0
    for n, (dt_s, seen, dx) in enumerate(steps):
        x += dx
        moved = n >= len(steps) // 2
        warped.predict(dt_s)
        anew.predict(dt_s)
        if n == len(steps) // 2:
            warped.warp(affine)
        if seen:
            warped.correct([0], there(box(x, 2 * n)) if moved else box(x, 2 * n))
            anew.correct([0], there(box(x, 2 * n)))
    assert warped.boxes() == pytest.approx(anew.boxes())
    assert warped.velocity == pytest.approx(anew.velocity, abs=1e-6)
    assert warped.deviation() == pytest.approx(anew.deviation())
    assert warped.last_seen == pytest.approx(anew.last_seen)


def test_a_picture_that_turns_turns_what_is_not_known_of_a_place() -> None:
    kalman = walked(60)
    kalman.predict(1.0)
    wide, high = kalman.deviation()[0]
    kalman.warp(np.array([[0.0, -1, 600], [1, 0, 0]]))
    assert kalman.deviation()[0] == pytest.approx([high, wide])
    assert kalman.velocity[0, :2] == pytest.approx([0, 60], abs=6)
