"""Plates: the grammar, the votes, and the reader on pictures that are drawn here."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from edge_agent.messages import Plate
from edge_agent.vision import plate_types
from edge_agent.vision.camera import Frame
from edge_agent.vision.camera.plate_art import draw_plate
from edge_agent.vision.ocr import read_ctc
from edge_agent.vision.plates import PlateVotes, ground_color
from edge_agent.vision.plates_ocr import OcrPlates

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
        for sign in pattern:
            assert sign in plate_types.CLASSES or sign in plate_types.ALPHABET


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


def test_a_character_that_most_reads_agree_on_wins_though_no_read_was_right() -> None:
    votes = PlateVotes(0.5, 5, 0.6)
    for at_s, text in enumerate(("京A00007", "京A00B01", "京A0C001")):
        votes.add(7, float(at_s), plate(text))
    best = votes.plate(7)
    assert best
    assert best.text == "京A00001"


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


def plate(text: str, confidence: float = 0.9) -> Plate:
    return Plate(text=text, confidence=confidence, box=(0, 0, 10, 3))


def test_the_text_with_the_largest_sum_of_confidences_wins() -> None:
    votes = PlateVotes(0.5, 5, 0.6)
    for at_s, (text, confidence) in enumerate([("京A00001", 0.99), ("京A00007", 0.8), ("京A00007", 0.7)]):
        votes.add(7, float(at_s), plate(text, confidence))
    best = votes.plate(7)
    assert best and (best.text, best.votes) == ("京A00007", 2)
    assert best.confidence == pytest.approx(1.5 / 3)  # one read of three said otherwise
    assert votes.plate(8) is None


def test_reads_come_at_most_every_so_often_until_there_are_enough() -> None:
    votes, reads = PlateVotes(0.5, 3, 0.6), []
    for n in range(100):
        if votes.due(1, n * 0.1):
            reads.append(n)
            votes.add(1, n * 0.1, plate("京A00001"))
    assert reads == [0, 5, 10]


def test_a_plate_that_does_not_read_is_tried_less_and_less_but_never_given_up() -> None:
    votes, reads = PlateVotes(0.5, 3, 0.6), []
    for n in range(600):
        if votes.due(1, n * 0.1):
            reads.append(n)
            votes.add(1, n * 0.1, None if n % 2 else plate("京A00001", 0.3))
    assert reads[:5] == [0, 5, 15, 35, 75] and max(b - a for a, b in pairwise(reads)) == 80
    assert votes.plate(1) is None


def test_a_track_that_ended_is_forgotten() -> None:
    votes = PlateVotes(0.5, 1, 0.6)
    votes.add(1, 0.0, plate("京A00001"))
    votes.forget([1, 2])
    assert votes.plate(1) is None and votes.due(1, 0.0)


@pytest.fixture(scope="module")
def reader() -> OcrPlates:
    return OcrPlates(threads=2)


@pytest.mark.parametrize("text", ["京A73K56", "苏E9H557", "川C4E739"])
def test_a_plate_in_perspective_is_read_and_found_where_it_is(reader: OcrPlates, text: str) -> None:
    pixels = np.full((480, 640, 3), 90, dtype=np.uint8)
    corners = np.array([[250, 300], [385, 290], [387, 334], [252, 342]], dtype=np.float32)
    upright = np.array([[0, 0], [440, 0], [440, 140], [0, 140]], dtype=np.float32)
    warp = cv2.getPerspectiveTransform(upright, corners)
    small = cv2.GaussianBlur(draw_plate(text), (0, 0), 1.5)
    cv2.warpPerspective(small, warp, (640, 480), dst=pixels, borderMode=cv2.BORDER_TRANSPARENT)
    found = reader.read(Frame("c", 0, 0.0, 0.0, pixels), (120, 100, 520, 400))
    assert found and found.text == text and found.confidence > 0.6
    x1, y1, x2, y2 = found.box
    assert abs((x1 + x2) / 2 - 318) < 12 and abs((y1 + y2) / 2 - 316) < 10 and 100 < x2 - x1 < 170


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (600, 440, 900, 700), (10, 10, 12, 12), (-50, -50, -1, -1)])
def test_where_there_is_no_plate_none_is_read(reader: OcrPlates, box: tuple[float, float, float, float]) -> None:
    pixels = np.full((480, 640, 3), 90, dtype=np.uint8)
    cv2.putText(pixels, "TAXI 12345", (100, 200), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 4)
    assert reader.read(Frame("c", 0, 0.0, 0.0, pixels), box) is None
