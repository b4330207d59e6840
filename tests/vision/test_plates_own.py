"""Our own plate reader: what its chances become, and files that are no such model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent import plate_types, weights
from edge_agent.runtime import DriverError
from edge_agent.vision.camera.plate_art import draw_plate
from edge_agent.vision.plate_cut import Cut
from edge_agent.vision.plates_own import LOOKS, TILE_PX, OwnPlates, PlateText, Text, agreed, apart, make_plate
from edge_agent.vision.votes import Calibration

CN, PLAIN = plate_types.of_countries(("CN",)), Calibration()
CORNERS = np.array([[10, 20], [110, 22], [112, 60], [9, 57]], float)
SHARES = np.array([[0.1, 0.2], [0.9, 0.1], [0.95, 0.8], [0.05, 0.9]])
LABELS, COLORS = ("", "京", "A", "1"), ("blue", "none")


def text(places: list[dict[str, float]], **colors: float) -> Text:
    return Text(tuple(places) + ({"": 0.99},) * (8 - len(places)), colors, CORNERS)


def spelt(plate: str, chance: float = 0.97) -> list[dict[str, float]]:
    return [{character: chance} for character in plate]


def test_chances_become_a_plate_with_kind_colour_and_corners() -> None:
    read = make_plate(text(spelt("京A12345"), blue=0.9, none=0.02), CORNERS, CN, PLAIN)
    assert read
    assert (read.plate.text, read.plate.type, read.plate.color) == ("京A12345", "small", "blue")
    assert read.plate.box == (9, 20, 112, 60)
    assert read.plate.corners[2] == (112, 60)
    assert 0.5 < read.plate.confidence < 0.97


def test_eight_characters_are_a_new_energy_plate_and_a_doubtful_eighth_is_left_out() -> None:
    eight = make_plate(text(spelt("粤BD12345"), green=0.9, none=0.0), CORNERS, CN, PLAIN)
    assert eight and (eight.plate.text, eight.plate.type) == ("粤BD12345", "nev_small")
    doubtful = Text((*spelt("京A12345"), {"": 0.8, "1": 0.2}), {"blue": 0.9, "none": 0.0}, CORNERS)
    seven = make_plate(doubtful, CORNERS, CN, PLAIN)
    assert seven and seven.plate.text == "京A12345"


def test_what_the_reader_calls_no_plate_is_told_with_little_confidence_and_gibberish_not_at_all() -> None:
    doubted = make_plate(text(spelt("京A12345"), blue=0.1, none=0.9), CORNERS, CN, PLAIN)
    assert doubted and doubted.plate.confidence < 0.1
    assert make_plate(text(spelt("138京津"), white=0.9, none=0.0), CORNERS, CN, PLAIN) is None
    assert make_plate(text([], none=1.0), CORNERS, CN, PLAIN) is None


def reader(
    file: Path, metadata: dict[str, str], taken: tuple[int | str, ...] = ("n", 3, 40, 128), characters: int = 4
) -> Path:
    """A model that gives the same chances for any crops."""
    constants = [
        numpy_helper.from_array(np.full((1, 8, characters), 1 / characters, np.float32), "text"),
        numpy_helper.from_array(np.full((1, 2), 0.5, np.float32), "color"),
        numpy_helper.from_array(SHARES[None].astype(np.float32), "rim"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["text"], ["characters"]),
            helper.make_node("Identity", ["color"], ["colors"]),
            helper.make_node("Identity", ["rim"], ["corners"]),
        ],
        "reader",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, taken)],
        [
            helper.make_tensor_value_info("characters", TensorProto.FLOAT, (1, 8, characters)),
            helper.make_tensor_value_info("colors", TensorProto.FLOAT, (1, 2)),
            helper.make_tensor_value_info("corners", TensorProto.FLOAT, (1, 4, 2)),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, str(file))
    return file


GOOD = {"labels": json.dumps(LABELS), "colors": json.dumps(COLORS)}


def test_chances_are_named_by_the_metadata(tmp_path: Path) -> None:
    [told] = PlateText(reader(tmp_path / "r.onnx", GOOD), 1).read(np.zeros((60, 200, 3), np.uint8), [Cut(CORNERS)])
    assert len(told.places) == 8
    assert told.places[0] == dict.fromkeys(LABELS, 0.25)
    assert told.colors == {"blue": 0.5, "none": 0.5}


def test_corners_that_the_reader_sees_are_told_in_pixels_of_the_picture(tmp_path: Path) -> None:
    text_of = PlateText(reader(tmp_path / "r.onnx", GOOD), 1)
    upright = np.array([[100, 40], [300, 40], [300, 100], [100, 100]], float)
    [told] = text_of.read(np.zeros((200, 400, 3), np.uint8), [Cut(upright, margin=0.1)])
    # 0.8 of the cut is 200 by 60 pixels, so the whole is 250 by 75 from (75, 32.5)
    assert np.allclose(told.corners, SHARES * (250, 75) + (75, 32.5), atol=0.01)


@pytest.mark.parametrize(
    ("metadata", "taken", "characters", "word"),
    [
        ({}, ("n", 3, 40, 128), 4, "name no characters"),
        ({"labels": "__import__('os')", "colors": "[]"}, ("n", 3, 40, 128), 4, "name no characters"),
        ({"labels": "[1, 2, 3, 4]", "colors": "[]"}, ("n", 3, 40, 128), 4, "name no characters"),
        (GOOD, ("n", 3, 40, 128), 5, "is no plate reader"),
        (GOOD, ("n", 1, 40, 128), 4, "is no plate reader"),
        (GOOD, ("n", 3, 100_000, 100_000), 4, "is no plate reader"),
        (GOOD, ("n", 3, "h", "w"), 4, "is no plate reader"),
    ],
)
def test_a_file_that_is_no_plate_reader_is_refused_in_words(
    tmp_path: Path, metadata: dict[str, str], taken: tuple[int | str, ...], characters: int, word: str
) -> None:
    with pytest.raises(DriverError, match=word):
        PlateText(reader(tmp_path / "r.onnx", metadata, taken, characters), 1)


def test_a_file_cut_short_is_refused_in_words(tmp_path: Path) -> None:
    whole = reader(tmp_path / "r.onnx", GOOD).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DriverError, match=r"cut\.onnx"):
        PlateText(tmp_path / "cut.onnx", 1)


def test_plates_of_other_countries_are_left_to_the_reader_that_knows_them() -> None:
    with pytest.raises(DriverError, match="rapidocr"):
        OwnPlates(1, plate_types.of_countries(("CN", "GB")))


@pytest.mark.skipif("plate-reader" not in weights.names(), reason="the weights are not there yet")
def test_the_models_that_come_along_say_what_they_are() -> None:
    assert weights.path("plate-reader").stat().st_size <= 3_000_000
    assert weights.path("plate-detector").stat().st_size <= 2_000_000
    plates = OwnPlates(1)
    assert plates.find(np.full((200, 300, 3), 128, np.uint8)) == []
    assert plates.find(np.zeros((1, 1, 3), np.uint8)) == []
    assert plates.read_crop(np.zeros((1, 1, 3), np.uint8)) is None


@pytest.mark.parametrize("plate", ["京A73K56", "苏E9H557", "川C4E739", "浙B2N481"])
def test_a_plate_askew_in_a_wide_crop_is_read_because_each_look_is_closer(plate: str) -> None:
    flat = cv2.resize(cv2.GaussianBlur(draw_plate(plate), (0, 0), 1.5), (220, 70), interpolation=cv2.INTER_AREA)
    there = np.array([[66, 31], [285, 11], [285, 80], [66, 100]], np.float32)
    rim = np.array([[0, 0], [219, 0], [219, 69], [0, 69]], np.float32)
    crop = np.full((112, 352, 3), 90, np.uint8)
    turned = cv2.getPerspectiveTransform(rim, there)
    cv2.warpPerspective(flat, turned, (352, 112), dst=crop, borderMode=cv2.BORDER_TRANSPARENT)
    read = OwnPlates(1).read_crop(crop)
    assert read and read.plate.text == plate


@pytest.mark.parametrize(("nothing", "looks"), [(0.95, 1), (0.3, LOOKS)])
def test_a_look_that_sees_no_plate_is_the_last(monkeypatch: pytest.MonkeyPatch, nothing: float, looks: int) -> None:
    seen: list[Cut] = []

    def read(_: PlateText, pixels: npt.NDArray[np.uint8], cuts: Sequence[Cut]) -> list[Text]:
        seen.extend(cuts)
        return [text(spelt("京A12345"), blue=1 - nothing, none=nothing) for _ in cuts]

    monkeypatch.setattr(PlateText, "read", read)
    OwnPlates(1).read_crop(np.full((40, 128, 3), 114, np.uint8))
    assert len(seen) == looks


@pytest.mark.parametrize(("plate", "beyond"), [("苏E9H557", 0.15), ("川C4E739", 0.1)])
def test_a_plate_that_a_tile_cuts_is_read_where_its_neighbour_sees_it_whole(plate: str, beyond: float) -> None:
    flat = cv2.resize(cv2.GaussianBlur(draw_plate(plate), (0, 0), 1.5), (90, 29), interpolation=cv2.INTER_AREA)
    picture = np.full((800, 1700, 3), 70, np.uint8)
    left = round(TILE_PX + beyond * 90 - 90)
    picture[220:359, left - 60 : left + 150] = 110
    picture[300:329, left : left + 90] = flat
    assert [found.text for found in OwnPlates(1).find(picture) if found.confidence > 0.5] == [plate]


@pytest.mark.parametrize("plate", ["苏E9H557", "川C4E739", "京A73K56"])
@pytest.mark.parametrize("beyond", [0.1, 0.15, 0.2])
def test_a_plate_that_leaves_the_picture_is_not_read_as_another(plate: str, beyond: float) -> None:
    flat = cv2.resize(cv2.GaussianBlur(draw_plate(plate), (0, 0), 1.5), (110, 35), interpolation=cv2.INTER_AREA)
    picture = np.full((300, 400, 3), 110, np.uint8)
    left = round(400 - (1 - beyond) * 110)
    picture[150:185, left:] = flat[:, : 400 - left]
    told = {found.text for found in OwnPlates(1).find(picture) if found.confidence > 0.3}
    assert told <= {plate}


def test_a_part_of_a_plate_is_no_plate_beside_it() -> None:
    plate = np.array([[0, 0], [200, 0], [200, 100], [0, 100]], float)
    lower_row, beside, below = (
        plate * (1, 0.4) + np.array((0, 60)),
        plate + np.array((190, 0)),
        plate + np.array((0, 60)),
    )
    assert apart([plate, lower_row, beside, below]) == [0, 2, 3]
    assert apart([]) == []


@pytest.fixture(scope="module")
def plates() -> OwnPlates:
    return OwnPlates(1)


@pytest.mark.parametrize("plate", ["苏E9H557", "川C4E739"])
def test_a_picture_of_a_plate_and_nothing_else_is_read_without_being_told_so(plates: OwnPlates, plate: str) -> None:
    picture = cv2.resize(cv2.GaussianBlur(draw_plate(plate), (0, 0), 2), (900, 290), interpolation=cv2.INTER_AREA)
    assert [found.text for found in plates.find(picture) if found.confidence > 0.5] == [plate]


@pytest.mark.parametrize(("rows", "margin"), [(1, 0.0), (1, 0.2), (1, 0.8), (2, 0.0), (2, 0.4), (2, 0.8)])
def test_a_crop_is_read_however_much_was_left_around_the_plate(plates: OwnPlates, rows: int, margin: float) -> None:
    plate = "川C4E739"
    flat = draw_plate(plate)
    if rows == 2:  # GA 36-2018: province and authority small above, the serial large below
        high = np.full((220, 440, 3), flat[4, 220], np.uint8)
        high[14:80, 130:310] = cv2.resize(flat[20:120, 8:128], (180, 66), interpolation=cv2.INTER_AREA)
        high[88:208, 20:420] = cv2.resize(flat[20:120, 148:432], (400, 120), interpolation=cv2.INTER_CUBIC)
        flat = high
    small = cv2.resize(cv2.GaussianBlur(flat, (0, 0), 1.5), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    above, beside = round(margin * height), round(margin * width)
    crop = cv2.copyMakeBorder(small, above, above, beside, beside, cv2.BORDER_CONSTANT, value=(60, 60, 60))
    read = plates.read_crop(np.asarray(crop, np.uint8))
    assert read and read.plate.text == plate
    left, top, right, bottom = read.plate.box
    assert abs((left + right) / 2 - crop.shape[1] / 2) < 0.1 * width
    assert abs((top + bottom) / 2 - crop.shape[0] / 2) < 0.15 * height


def test_a_text_that_several_looks_agree_on_counts_more_than_the_one_that_is_surest() -> None:
    reads = [
        make_plate(text(spelt(plate, chance), blue=0.9, none=0.0), CORNERS, CN, PLAIN)
        for plate, chance in (("浙B2N481", 0.9), ("浙B2NV48", 0.92), ("浙B2N481", 0.88))
    ]
    told = agreed([read for read in reads if read])
    assert told and told is reads[0]
    assert agreed([]) is None
