"""Plates: the grammar, the votes, and the reader on pictures that are drawn here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent import plate_types
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.camera.plate_art import draw_plate
from edge_agent.vision.ocr import read_ctc
from edge_agent.vision.plates import PlateReader, ground_color, open_plate_reader, quality

CN = plate_types.of_countries(("CN",))


@pytest.mark.parametrize(
    ("text", "color", "kind"),
    [
        ("京A73K56", "blue", "small"),
        ("京A73K56", "yellow", "large"),
        ("粤BD12345", "green", "nev_small"),
        ("粤B12345D", "yellow-green", "nev_large"),
        ("粤B12345D", None, "nev_large"),
        ("苏E9H55学", "yellow", "trainer"),
        ("苏E9H55挂", "yellow", "trailer"),
        ("京A1234警", "white", "police"),
        ("粤ZC123港", "black", "hongkong_macao"),
        ("使123456", "black", "embassy"),
        ("京X1234应急", "white", "emergency"),
        ("WJ京12345", "white", "armed_police"),
        ("京A1234", None, None),
        ("京I12345", None, None),
        ("京A1234O", None, None),
        ("出租车公司", None, None),
        ("", None, None),
    ],
)
def test_only_what_the_grammar_knows_is_a_plate_and_its_colour_says_of_which_kind(
    text: str, color: str | None, kind: str | None
) -> None:
    found = plate_types.kind_of(text, CN, color)
    assert (found and found.id) == kind


def chances(*places: str) -> list[dict[str, float]]:
    """Of each place its likeliest character, and others at a third of it: `0O` is a 0 that may be an O."""
    return [{character: 0.9 if n == 0 else 0.3 for n, character in enumerate(place)} for place in places]


@pytest.mark.parametrize(
    ("places", "text"),
    [
        (("京", "A", "O0", "1", "2", "3", "4"), "京A01234"),  # no O in a serial
        (("京", "4A", "0", "1", "2", "3", "4"), "京A01234"),  # an authority is a letter
        (("粤", "B", "0D", "1", "2", "3", "4", "5"), "粤BD12345"),
        (("京", "A", "0", "1", "2", "3", "4", "1"), "京A01234"),  # a bolt at the end
        (("出", "A", "0", "1", "2", "3", "4"), None),
    ],
)
def test_each_place_is_read_as_the_grammar_allows(places: tuple[str, ...], text: str | None) -> None:
    found = plate_types.decode(chances(*places), CN, None)
    assert (found and found.text) == text


@pytest.mark.parametrize("kind", plate_types.known_types(), ids=lambda kind: f"{kind.country} {kind.id}")
def test_every_pattern_of_the_table_is_made_of_known_signs(kind: plate_types.Type) -> None:
    for pattern in kind.patterns:
        assert 3 <= len(pattern) <= 10
        assert all(letter in plate_types.ALPHABET for sign in pattern for letter in kind.allowed(sign))


OWN = """
[[type]]
id = "farm"
country = "CN"
patterns = ["pannhhhh"]
colors = ["green"]
classes = {h = "0123456789农"}

[[type]]
id = "current"
country = "GB"
patterns = ["llnnlll"]
colors = ["black"]
"""


def test_a_file_of_ones_own_adds_kinds_of_plates_and_replaces_those_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    types = plate_types.known_types((file,))
    assert [t.colors for t in types if (t.country, t.id) == ("GB", "current")] == [("black",)]
    found = plate_types.kind_of("皖A12345农", plate_types.of_countries(("CN",), (file,)))
    assert found is not None
    assert found.id == "farm"
    assert plate_types.kind_of("皖A12345农", CN) is None
    assert "农" in plate_types.characters(types)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[type", "is no table of plates"),
        ('[[types]]\nid = "x"', "unknown field `types`"),
        (
            OWN.replace("pannhhhh", "pannzzzz"),
            r"type 1 \('farm'\): patterns: .z. is no class of characters \(there is",
        ),
        (OWN.replace('"CN"', '"cn"'), r"type 1 \('farm'\): .*\$.country"),
        (OWN.replace('"green"', '"pink"'), r"type 1 \('farm'\): Invalid enum value 'pink' - at `\$.colors"),
        (OWN.replace("colors", "colours"), r"type 1 \('farm'\): .*colo"),
    ],
)
def test_a_file_of_kinds_that_is_wrong_says_where(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=fault):
        plate_types.known_types((file,))


def test_a_device_is_no_file_of_kinds_and_is_not_read_for_ever() -> None:
    with pytest.raises(ValueError, match="/dev/zero: is no table of plates: is larger than 4 MiB"):
        plate_types.known_types((Path("/dev/zero"),))


@pytest.mark.parametrize(
    ("bgr", "color"),
    [
        ((180, 60, 20), "blue"),
        ((30, 190, 230), "yellow"),
        ((120, 190, 60), "green"),
        ((230, 230, 230), "white"),
        ((25, 25, 25), "black"),
    ],
)
def test_the_ground_has_a_colour_whatever_stands_on_it(bgr: tuple[int, int, int], color: str) -> None:
    crop = np.full((48, 160, 3), bgr, np.uint8)
    cv2.putText(crop, "A12345", (10, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.1, tuple(255 - c for c in bgr), 2)
    assert ground_color(crop) == color
    assert ground_color(crop[:2]) is None


def test_ctc_collapses_repeats_between_blanks_and_reads_only_the_alphabet() -> None:
    # blank = 0; path 1 1 0 1 2 3: the repeat collapses, the blank parts two equal ones, 3 is not allowed
    chances = np.full((6, 4), 0.02, dtype=np.float32)
    for step, best in enumerate([1, 1, 0, 1, 2, 3]):
        chances[step, best] = 0.9
    chances[5, 2] = 0.05
    peaks, indices, confidence = read_ctc(chances, np.array([0, 1, 2]))
    assert (peaks, indices) == ([0, 3, 4], [1, 1, 2])
    assert confidence == pytest.approx(0.9)
    assert read_ctc(np.eye(4, dtype=np.float32)[[0, 0]], np.array([0, 1])) == ([], [], 0.0)


def test_a_larger_sharper_straighter_crop_is_of_better_quality() -> None:
    art = cv2.resize(draw_plate("京A73K56"), (220, 70))
    ground = np.full((200, 400, 3), 90, np.uint8)
    ground[60:130, 80:300] = art
    square = ((80.0, 60.0), (300.0, 60.0), (300.0, 130.0), (80.0, 130.0))
    best = quality(ground, square)
    assert best > 0.5
    assert quality(np.asarray(cv2.GaussianBlur(ground, (0, 0), 4), dtype=np.uint8), square) < best / 2
    far = np.asarray(cv2.resize(ground, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    assert quality(far, tuple((x / 5, y / 5) for x, y in square)) < best / 2
    assert quality(ground, ((80, 60), (300, 100), (300, 130), (80, 130))) < best
    assert 0 < quality(ground, ((80, 60), (80, 60), (80, 60), (80, 60))) < 0.05


@pytest.fixture(scope="module", params=["built-in", "rapidocr"])
def reader(request: pytest.FixtureRequest) -> PlateReader:
    if request.param == "rapidocr" and importlib.util.find_spec("rapidocr_onnxruntime") is None:
        pytest.skip("not installed: pip install 'edge-agent[rapidocr]'")
    return open_plate_reader(request.param, 2, ("CN",))


@pytest.mark.parametrize("text", ["京A73K56", "苏E9H557", "川C4E739"])
def test_a_plate_in_perspective_is_read_and_found_where_it_is(reader: PlateReader, text: str) -> None:
    pixels = np.full((480, 640, 3), 90, dtype=np.uint8)
    corners = np.array([[250, 300], [385, 290], [387, 334], [252, 342]], dtype=np.float32)
    upright = np.array([[0, 0], [440, 0], [440, 140], [0, 140]], dtype=np.float32)
    warp = cv2.getPerspectiveTransform(upright, corners)
    small = cv2.GaussianBlur(draw_plate(text), (0, 0), 1.5)
    cv2.warpPerspective(small, warp, (640, 480), dst=pixels, borderMode=cv2.BORDER_TRANSPARENT)
    found = reader.read(Frame("c", 0, 0.0, 0.0, pixels), (120, 100, 520, 400))
    assert found and found.plate.text == text and found.plate.confidence > 0.6 and found.quality > 0.1
    x1, y1, x2, y2 = found.plate.box
    assert abs((x1 + x2) / 2 - 318) < 12 and abs((y1 + y2) / 2 - 316) < 10 and 100 < x2 - x1 < 170


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (600, 440, 900, 700), (10, 10, 12, 12), (-50, -50, -1, -1)])
def test_where_there_is_no_plate_none_is_read(reader: PlateReader, box: tuple[float, float, float, float]) -> None:
    pixels = np.full((480, 640, 3), 90, dtype=np.uint8)
    cv2.putText(pixels, "TAXI 12345", (100, 200), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 4)
    assert reader.read(Frame("c", 0, 0.0, 0.0, pixels), box) is None


def test_the_reader_that_is_not_installed_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DriverError, match=r"pip install 'edge-agent\[rapidocr\]'"):
        open_plate_reader("rapidocr", 1, ("CN",))
