"""Plates of two rows are read by the reader of one row, because their rows are laid side by side before it."""

import cv2
import numpy as np
import pytest

pytest.importorskip("PIL", reason="the renderer takes glyphs from fonts through Pillow")
from training.plates import glyphs

if missing := [file.name for file, _ in (*glyphs.CHINESE_FONTS, *glyphs.LATIN_FONTS) if not file.exists()]:
    pytest.skip(f"fonts are not installed: {', '.join(missing)} (tests/packages.sh)", allow_module_level=True)

from edge_agent.vision.plate_cut import Cut, flatten, whole
from edge_agent.vision.plates_own import OwnPlates
from training.plates.crops import HEIGHT, WIDTH, render_crop, render_cut
from training.plates.kinds import KINDS, Kind
from training.plates.render import draw_plate, paste

HIGH = [kind for kind in KINDS if kind.rows == 2]


@pytest.fixture(scope="module")
def plates() -> OwnPlates:
    return OwnPlates(1)


def right(said: str, text: str) -> list[bool]:
    """Which characters of a plate were read."""
    return [a == b for a, b in zip(said.ljust(len(text), "?"), text, strict=False)]


@pytest.mark.parametrize("kind", HIGH, ids=lambda kind: kind.name)
def test_a_crop_of_two_rows_is_read(plates: OwnPlates, kind: Kind) -> None:
    rows = []
    for seed in range(12):
        crop = render_cut(np.random.default_rng([7, seed]), (), kind)
        read = plates.read_crop(crop.pixels)
        rows.append(right(read.plate.text if read else "", crop.text))
    authority, serial = np.mean(rows, axis=0)[1], np.mean(rows, axis=0)[2:].mean()
    assert min(authority, serial) > 0.6, (authority, serial)


def test_a_plate_of_two_rows_in_a_picture_is_found_and_read_once(plates: OwnPlates) -> None:
    rows = []
    for seed in range(10):
        rng = np.random.default_rng([8, seed])
        flat = draw_plate(rng, HIGH[seed % 2])
        scene = np.full((360, 480, 3), 90, np.float32)
        quad = np.array([[150, 120], [330, 128], [326, 220], [148, 208]], np.float32)
        cv2.fillConvexPoly(scene, np.round(quad + (quad - quad.mean(axis=0)) * 0.2).astype(np.int32), (35, 35, 35))
        paste(scene, flat.pixels, quad)
        found = plates.find(scene.astype(np.uint8))
        assert len(found) == 1
        rows.append(right(found[0].text, flat.text))
    assert np.mean(rows) > 0.6


def test_training_sees_two_rows_as_the_agent_does() -> None:
    cut, crop = (render(np.random.default_rng(3), (), HIGH[0]).pixels for render in (render_cut, render_crop))
    height, width = cut.shape[:2]
    assert np.array_equal(crop, flatten(cut, Cut(whole(width, height), two_rows=True), WIDTH, HEIGHT))
