"""`edge-agent plates`: exact shape of its answer, plates of one row and two, and pictures that are none."""

import importlib.util
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.vision.camera.plate_art import draw_plate


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[dict[str, Any]]]:
    code = main(["plates", *args, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def soft(text: str) -> np.ndarray:
    return cv2.GaussianBlur(draw_plate(text), (0, 0), 1.5)


def two_rows(text: str) -> np.ndarray:
    """A plate of 440 x 220 as GA 36-2018 lays it out: province and authority small above, the serial large below."""
    flat = draw_plate(text)
    ground = flat[4, 220].tolist()
    picture = np.full((220, 440, 3), ground, np.uint8)
    picture[14:80, 130:310] = cv2.resize(flat[20:120, 8:128], (180, 66), interpolation=cv2.INTER_AREA)
    picture[88:208, 20:420] = cv2.resize(flat[20:120, 148:432], (400, 120), interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(picture, (0, 0), 1.5)


def test_crops_and_scenes_are_read_and_told_as_promised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "crop.png"), cv2.resize(soft("川C4E739"), (220, 70), interpolation=cv2.INTER_AREA))
    code, [told] = run(capsys, "--crop", str(tmp_path / "crop.png"))
    [plate] = told["plates"]
    assert (code, told["file"]) == (0, str(tmp_path / "crop.png"))
    assert {name: plate[name] for name in ("text", "country", "type", "color")} == {
        "text": "川C4E739",
        "country": "CN",
        "type": "small",
        "color": "blue",
    }
    assert list(plate) == ["text", "confidence", "country", "type", "color", "box", "corners"]
    scene = np.full((480, 640, 3), 90, np.uint8)
    scene[300:370, 200:420] = cv2.resize(soft("京A73K56"), (220, 70), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "scene.png"), scene)
    code, [told] = run(capsys, str(tmp_path / "scene.png"))
    [plate] = told["plates"]
    assert plate["text"] == "京A73K56"
    assert plate["confidence"] > 0.6
    x1, y1, x2, y2 = plate["box"]
    assert abs((x1 + x2) / 2 - 310) < 12
    assert abs((y1 + y2) / 2 - 335) < 10
    assert len(plate["corners"]) == 4


def test_a_plate_of_two_rows_is_one_plate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "two.png"), two_rows("京A73K56"))
    _, [told] = run(capsys, "--crop", str(tmp_path / "two.png"))
    assert [plate["text"] for plate in told["plates"]] == ["京A73K56"]


def test_pictures_without_a_plate_and_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.zeros((1, 1, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 300, 3), 128, np.uint8))
    (tmp_path / "text.jpg").write_text("no picture")
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "huge.png").write_bytes(huge)
    names = ("one.png", "grey.png", "text.jpg", "huge.png", "none.png")
    for crop in ((), ("--crop",)):
        code, told = run(capsys, *crop, *(str(tmp_path / name) for name in names))
        assert code == 1
        assert [one.get("plates") for one in told] == [[], [], None, None, None]
        assert "400 megapixels" in told[3]["error"]


def test_any_name_of_a_file_is_told_in_words_and_the_next_one_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_text = tmp_path / os.fsdecode(b"\xff.png")
    no_text.write_bytes(cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes())
    code, told = run(capsys, "a" * 300, str(no_text), str(no_text.with_suffix(".none")))
    assert code == 1 and "File name too long" in told[0]["error"]
    assert told[1] == {"file": f"{tmp_path}/\N{REPLACEMENT CHARACTER}.png", "plates": []}
    assert "cannot be read" in told[2]["error"]
    assert main(["plates", str(no_text)]) == 0 and "no plate" in capsys.readouterr().out


def test_a_country_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plates", "x.png", "--country", "XX"]) == 64
    assert "no plates of XX" in capsys.readouterr().err


def test_the_reader_is_the_one_that_knows_the_country(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # rapidocr is not installed
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 300, 3), 128, np.uint8))
    assert main(["plates", str(tmp_path / "grey.png")]) == 0
    assert main(["plates", str(tmp_path / "grey.png"), "--country", "GB"]) == 1
    assert "pip install 'edge-agent[rapidocr]'" in capsys.readouterr().err
    assert main(["plates", str(tmp_path / "grey.png"), "--country", "GB", "--reader", "built-in"]) == 1
    assert "knows plates of CN, not of GB" in capsys.readouterr().err
