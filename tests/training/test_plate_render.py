"""The plate renderer: the same seed gives the same picture, every kind is a plate by the agent's own grammar."""

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("PIL", reason="the renderer takes glyphs from fonts through Pillow")
from training.plates import glyphs

if missing := [file.name for file, _ in (*glyphs.CHINESE_FONTS, *glyphs.LATIN_FONTS) if not file.exists()]:
    pytest.skip(f"fonts are not installed: {', '.join(missing)} (tests/packages.sh)", allow_module_level=True)

from edge_agent import plate_types
from training.plates.crops import HEIGHT, WIDTH, render_crop
from training.plates.glyphs import PROVINCES
from training.plates.kinds import ALPHABET, COLORS, KINDS, LONGEST, Kind, draw_text
from training.plates.render import draw_plate, paste
from training.plates.scenes import SIDE, render_scene

CN = plate_types.of_countries(("CN",))
AS_THE_AGENT_CALLS_IT = {"large_rear": "large", "motorcycle": "large", "moped": "small", "low_speed": "large"}


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_seed_names_a_picture_for_good() -> None:
    for seed in range(12):
        one, other = render_crop(rng(seed)), render_crop(rng(seed))
        assert np.array_equal(one.pixels, other.pixels)
        assert one.text == other.text
    scene, again = render_scene(rng(5)), render_scene(rng(5))
    assert np.array_equal(scene.pixels, again.pixels)
    assert np.array_equal(scene.corners, again.corners)
    assert not np.array_equal(render_crop(rng(1)).pixels, render_crop(rng(2)).pixels)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_text_is_a_plate_of_its_kind_by_the_agents_grammar(kind: Kind) -> None:
    for seed in range(40):
        text = draw_text(rng(seed), kind)
        assert len(text) == len(kind.slots) <= LONGEST
        assert set(text) <= set(ALPHABET)
        known = plate_types.kind_of(text, CN, kind.color)
        assert known is not None, text
        assert known.id == AS_THE_AGENT_CALLS_IT.get(kind.name, kind.name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_character_leaves_its_plate(kind: Kind) -> None:
    for slot in kind.slots:
        assert 0 <= slot.x < slot.x + slot.width <= kind.width
        assert 0 <= slot.y < slot.y + slot.height <= kind.height
    assert kind.color in COLORS
    flat = draw_plate(rng(1), kind).pixels
    assert flat.shape == (round(kind.height / 2), round(kind.width / 2), 3)
    assert flat.std() > 15  # something stands on it


def test_all_provinces_come_alike() -> None:
    small = next(kind for kind in KINDS if kind.name == "small")
    counts = Counter(draw_text(rng(seed), small)[0] for seed in range(3100))
    assert set(counts) == set(PROVINCES)
    assert 50 < min(counts.values()) <= max(counts.values()) < 160


def test_a_pasted_plate_lies_between_its_corners_and_nowhere_else() -> None:
    scene = np.zeros((100, 200, 3), np.float32)
    corners = np.array([[20, 30], [150, 20], [155, 60], [25, 75]], np.float32)
    paste(scene, np.full((70, 220, 3), 200, np.float32), corners)
    assert scene[47, 90].min() > 190
    assert scene[5:15].max() == scene[85:].max() == scene[:, 170:].max() == 0


def test_a_scene_tells_every_plate_within_its_window() -> None:
    plates = 0
    for seed in range(12):
        scene = render_scene(rng(seed))
        assert scene.pixels.shape == (SIDE, SIDE, 3)
        assert len(scene.corners) == len(scene.rows)
        assert ((scene.corners >= 0) & (scene.corners <= SIDE)).all()
        for corners in scene.corners:  # clockwise on the picture, from the top left
            assert corners[1, 0] > corners[0, 0]
            assert corners[2, 1] > corners[1, 1]
        plates += len(scene.corners)
    assert plates > 5


def test_a_crop_without_a_plate_says_nothing() -> None:
    crops = [render_crop(rng(9, seed)) for seed in range(70)]
    assert all(crop.pixels.shape == (HEIGHT, WIDTH, 3) for crop in crops)
    empty = [crop for crop in crops if crop.kind is None]
    assert 1 <= len(empty) < 25
    assert all(crop.text == "" for crop in empty)
