"""Does a camera still look where it did: pictures whose shift is known, other light, cars that come, a bag over it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_agent import config
from edge_agent.vision.anchors import AGREE, EVERY_S, Anchors, ViewWatch
from edge_agent.vision.views import FOLDER, views_of

Pixels = npt.NDArray[np.uint8]
WIDTH, HEIGHT = 640, 360


def place(right: int = 0, down: int = 0, *, light: float = 1.0, noise: float = 3.0, seed: int = 2) -> Pixels:
    """A textured place, looked at so many pixels further right and down."""
    coarse = np.random.default_rng(1).integers(0, 200, (60, 100, 3), np.uint8)
    whole = cv2.resize(coarse, (1000, 600), interpolation=cv2.INTER_CUBIC)
    part = whole[100 + down : 100 + down + HEIGHT, 150 + right : 150 + right + WIDTH].astype(float)
    noisy = part * light + np.random.default_rng(seed).normal(0, noise, part.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (32, 0), (-20, 12), (0, -40)])
def test_the_shift_is_measured_whatever_the_light(right: int, down: int) -> None:
    anchors = Anchors.of(place())
    assert anchors.usable
    shift = anchors.shift(place(right, down, light=0.6, seed=5))
    assert shift is not None and shift.found > 0.6
    assert (shift.right * WIDTH, shift.down * WIDTH) == pytest.approx((-right, -down), abs=2.5)


def test_a_picture_without_texture_holds_no_anchor_and_another_shape_is_not_compared() -> None:
    assert not Anchors.of(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).usable
    assert Anchors.of(place()).shift(np.zeros((480, 640, 3), np.uint8)) is None


def watch(pictures: list[Pixels], light: str = "day") -> str:
    view = ViewWatch()
    for n, pixels in enumerate(pictures):
        assert view.due(n * EVERY_S)
        view.update(n * EVERY_S, pixels, light)
    return view.fault


def test_a_camera_that_was_moved_is_told_after_some_checks_that_agree() -> None:
    moved = place(32, 0)
    assert watch([place()] * 3 + [moved] * (AGREE - 1)) == ""
    assert "+5.0 % to the right" in watch([place()] * 3 + [moved] * AGREE)
    assert watch([place()] + [moved] * AGREE + [place()] * AGREE) == ""  # put back


def test_a_bag_over_it_is_told_and_cars_that_park_are_not() -> None:
    assert "covered" in watch([place()] + [np.full((HEIGHT, WIDTH, 3), 20, np.uint8)] * AGREE)
    cars = place()
    cars[180:340, 40:260], cars[200:330, 380:560] = 30, 200
    assert watch([place()] + [cars] * 6) == ""


def test_each_light_has_its_own_first_picture() -> None:
    view, night = ViewWatch(), place(light=0.15)
    view.update(0.0, place(), "day")
    for n in range(1, 8):
        view.update(n * EVERY_S, night, "night")
    assert view.fault == "" and not view.due(7.5 * EVERY_S)


def settings(directory: Path, corner: float = 1.0) -> config.Agent:
    """A camera with a zone in its picture, and a directory that outlasts restarts."""
    camera = config.SimulatedCamera(name="c", detector="d", anchored=True)
    zone = config.Zone(name="z", camera="c", polygon=((0.0, 0.0), (corner, 0.0), (1.0, 1.0)))
    return config.Agent(site=config.Site(device="d"), data_dir=directory, cameras=(camera,), zones=(zone,))


def started(view: ViewWatch, told: config.Agent, pixels: Pixels, times: int = AGREE + 1, light: str = "day") -> str:
    view.remember(views_of(told, told.cameras[0]))
    for n in range(times):
        view.update(n * EVERY_S, pixels, light)
    return view.fault


def test_a_camera_that_was_moved_while_the_agent_was_off_is_noticed(tmp_path: Path) -> None:
    assert started(ViewWatch(), settings(tmp_path), place()) == ""
    assert started(ViewWatch(), settings(tmp_path), place(seed=9)) == ""
    assert "+5.0 % to the right" in started(ViewWatch(), settings(tmp_path), place(32, 0))
    assert started(ViewWatch(), settings(tmp_path), place(32, 0, light=0.6), light="night") == ""
    (day, night) = sorted((tmp_path / FOLDER).iterdir())
    assert (day.name[:6], night.name[:8]) == ("c.day.", "c.night.")
    assert day.stat().st_size < 40_000


def test_zones_that_are_drawn_anew_make_the_view_of_now_the_first(tmp_path: Path) -> None:
    view = ViewWatch()
    started(view, settings(tmp_path), place())
    assert started(view, settings(tmp_path), place(32, 0)) != ""
    assert started(view, settings(tmp_path, corner=0.9), place(32, 0)) == ""
    assert started(ViewWatch(), settings(tmp_path, corner=0.9), place()) != ""
    assert len(list((tmp_path / FOLDER).iterdir())) == 1  # what the old zones were drawn into is gone


def test_a_passing_truck_is_no_reference_and_a_damaged_file_is_none(tmp_path: Path) -> None:
    started(ViewWatch(), settings(tmp_path), place(), times=AGREE)
    assert not (tmp_path / FOLDER).exists()
    started(ViewWatch(), settings(tmp_path), place())
    (file,) = (tmp_path / FOLDER).iterdir()
    data = file.read_bytes()
    for damaged in (data[:-9], b"\xff", b"{}", data.replace(b'"shape":[180', b'"shape":[1')):
        file.write_bytes(damaged)
        assert started(ViewWatch(), settings(tmp_path), place(32, 0)) == ""
    file.unlink()
    (tmp_path / FOLDER).rmdir()
    (tmp_path / FOLDER).write_text("in the way")
    assert started(ViewWatch(), settings(tmp_path), place()) == ""
