"""`edge-agent detect` as it is typed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.vision.camera.simulated import render


@pytest.fixture
def model(make_yolox: Any) -> str:
    """Finds a person of 16 x 32 at (28, 18) of its 64 x 64 input, and a bench that is too weak."""
    person, bench = [0.0] * 80, [0.0] * 80
    person[0], bench[13] = 0.9, 0.2
    rows = {19: [0.5, 0.25, math.log(2), math.log(4), 1.0, *person], 40: [0.5, 0.5, 0, 0, 1.0, *bench]}
    return str(make_yolox(80, rows))


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    directory = tmp_path / "shots"
    directory.mkdir()
    for name in ("a.png", "b.jpg", "图.png"):
        file = directory / name
        file.write_bytes(cv2.imencode(file.suffix, np.full((64, 64, 3), 90, np.uint8))[1].tobytes())
    return directory


def test_json_has_one_line_a_picture(model: str, shots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(shots), "--model", model, "--json"]) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(line["file"]).name for line in lines] == ["a.png", "b.jpg", "图.png"]
    assert lines[0]["width"] == lines[0]["height"] == 64
    assert lines[0]["detections"] == [{"label": "person", "score": 0.9, "box": [20.0, 2.0, 36.0, 34.0]}]
    assert captured.err == ""  # no progress in a pipe


def test_a_lower_score_shows_more(model: str, shots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(shots / "a.png"), "--model", model, "--score", "0.15"]) == 0
    assert "1 person, 1 bench" in capsys.readouterr().out


def test_a_broken_picture_is_told_and_the_others_are_done(
    model: str, shots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shots / "a.png").write_bytes(b"broken")
    assert main(["detect", str(shots / "gone.png"), str(shots), "--model", model, "--json"]) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert ["error" in line for line in lines] == [True, True, False, False]
    assert "gone.png" in captured.err and "a.png" in captured.err


def test_a_name_that_is_no_text_is_no_trouble(model: str, shots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = os.path.join(os.fsencode(shots), b"odd\xff.png")  # noqa: PTH118  a Path cannot be made of bytes
    os.rename(shots / "a.png", odd)  # noqa: PTH104  as above
    assert main(["detect", os.fsdecode(odd), "--model", model]) == 0
    assert "odd\ufffd.png" in capsys.readouterr().out


def test_drawings_collide_neither_with_each_other_nor_with_sources(
    model: str, shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("a.png", "a.boxes.jpg"):
        (other / name).write_bytes((shots / "b.jpg").read_bytes())
    before = (other / "a.boxes.jpg").read_bytes()
    sources = [str(shots / "a.png"), str(other / "a.png"), str(other / "a.boxes.jpg")]
    assert main(["detect", *sources, "--model", model, "--draw", str(other)]) == 0
    assert (other / "a.boxes.jpg").read_bytes() == before
    drawn = sorted(f.name for f in other.glob("*.boxes*"))
    assert drawn == ["a.boxes-2.jpg", "a.boxes-3.jpg", "a.boxes.boxes.jpg", "a.boxes.jpg"]


def test_without_a_model_the_one_that_came_along_sees_people_and_vehicles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, _ = render("river_bank", 17.0, (1280, 720), 1)
    (tmp_path / "bank.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    assert main(["detect", str(tmp_path / "bank.png"), "--json"]) == 0
    seen = {found["label"] for found in json.loads(capsys.readouterr().out)["detections"]}
    assert seen == {"person", "vehicle"}


def test_a_name_that_no_model_has_is_told_with_those_there_are(shots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(shots), "--model", "no-such-model"]) == 1
    assert "no model is called no-such-model here (there is: person-vehicle" in capsys.readouterr().err


def test_a_model_that_is_none_is_named(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    assert main(["detect", str(shots), "--model", str(tmp_path / "bad.onnx")]) == 1
    assert "bad.onnx" in capsys.readouterr().err


def test_labels_come_from_a_file(
    make_yolox: Any, shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(make_yolox(2, {19: [0.5, 0.25, 0.0, 0.0, 1.0, 0.0, 0.9]}))
    (tmp_path / "names.txt").write_text("船\n人\n", encoding="utf-8")
    assert main(["detect", str(shots / "a.png"), "--model", model, "--labels", str(tmp_path / "names.txt")]) == 0
    assert "1 人" in capsys.readouterr().out
    assert main(["detect", str(shots / "a.png"), "--model", model, "--labels", str(tmp_path / "none.txt")]) == 1
    assert "none.txt" in capsys.readouterr().err


@pytest.mark.timeout(30)
def test_sources_that_cannot_be_read_are_told_and_the_others_are_done(
    model: str, shots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stat = Path.stat

    def door(self: Path, **more: bool) -> os.stat_result:
        if self.name == "secret.jpg":
            raise PermissionError(13, "Permission denied")
        return stat(self, **more)

    monkeypatch.setattr(Path, "stat", door)  # root, who may run this, is denied nothing
    for fifo in (tmp_path / "pipe.jpg", shots / "c.jpg"):
        os.mkfifo(fifo)
    (tmp_path / "round.jpg").symlink_to("round.jpg")
    bad = [str(tmp_path / name) for name in ("secret.jpg", "pipe.jpg", "round.jpg")]
    drawn = str(tmp_path / "drawn")
    assert main(["detect", *bad, str(shots), "--model", model, "--json", "--draw", drawn]) == 1
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(line["file"]).name for line in lines if "error" in line] == ["secret.jpg", "pipe.jpg", "round.jpg"]
    assert [Path(line["file"]).name for line in lines if "detections" in line] == ["a.png", "b.jpg", "图.png"]
    for reason in ("secret.jpg: cannot be read: Permission denied", "pipe.jpg: is no regular file"):
        assert reason in captured.err
