"""Detectors: models with a known answer, models that are broken, labels from wherever they are."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from edge_agent import config
from edge_agent.messages import Detection
from edge_agent.runtime import DriverError
from edge_agent.vision import session
from edge_agent.vision.camera import Frame
from edge_agent.vision.detect import open_detector

CAR, PERSON = 2, 0  # COCO


def row(cls: int, score: float, *, classes: int = 80, w: float = 2.0, h: float = 4.0) -> list[float]:
    scores = [0.0] * classes
    scores[cls] = score
    return [0.5, 0.25, math.log(w), math.log(h), 1.0, *scores]


def section(model: Path, **more: Any) -> config.OnnxDetector:
    return config.OnnxDetector(name="d", model=model, threads=1, **more)


def test_boxes_come_back_in_frame_pixels(make_yolox: Any, blank: Frame) -> None:
    # row 19 of 64 x 64 is stride 8, column 3, row 2: (20, 2, 36, 34) in the net; a frame of 128 x 64 is twice as large
    detector = open_detector(section(make_yolox(80, {19: row(PERSON, 0.9)})))
    (found,) = detector.detect(blank)
    assert found.label == "person" and found.score == pytest.approx(0.9)
    assert found.box == pytest.approx((40, 4, 72, 64), abs=1e-3)  # clipped: the frame ends at 64


def test_only_the_classes_that_are_wanted_are_given_and_groups_count(make_yolox: Any, blank: Frame) -> None:
    rows = {0: row(CAR, 0.9), 7: row(PERSON, 0.8), 40: row(13, 0.7)}
    model = make_yolox(80, rows)
    assert {d.label for d in open_detector(section(model, classes=())).detect(blank)} == {"car", "person", "bench"}
    assert [d.label for d in open_detector(section(model, classes=("vehicle",))).detect(blank)] == ["car"]


def test_weak_detections_are_given_down_to_a_floor_for_the_tracker(make_yolox: Any, blank: Frame) -> None:
    detector = open_detector(section(make_yolox(80, {0: row(0, 0.25), 40: row(0, 0.1)}), score=0.5))
    assert detector.score == 0.5
    assert [round(d.score, 2) for d in detector.detect(blank)] == [0.25]


def test_boxes_without_area_in_the_frame_are_dropped(make_yolox: Any, blank: Frame) -> None:
    outside = make_yolox(80, {63: row(0, 0.9, w=0.2, h=0.2), 19: row(0, 0.9, w=0.01, h=4)})
    assert open_detector(section(outside)).detect(blank) == []


def test_a_family_without_suppression_gives_no_more_than_the_thousand_best(make_model: Any, blank: Frame) -> None:
    scores = np.linspace(0.4, 0.9, 3000)[None]
    tensors = np.full((1, 3000, 4), [8, 8, 40, 40]), scores, np.zeros((1, 3000)), np.full((1, 1), 3000)
    model = make_model(*tensors, names=("boxes", "scores", "classes", "num_dets"))
    found = open_detector(section(model)).detect(blank)
    assert len(found) == 1000 and found[0].score == pytest.approx(0.9)


@pytest.mark.parametrize("size", [(32, 32), (96, 64)])
def test_any_size_divisible_by_32_and_any_class_count_will_do(
    make_yolox: Any, blank: Frame, size: tuple[int, int]
) -> None:
    model = make_yolox(3, {0: row(1, 0.9, classes=3)}, size)
    (found,) = open_detector(section(model, labels=("a", "b", "c"), classes=())).detect(blank)
    assert found.label == "b"


@pytest.mark.parametrize("names", ["{0: 'kite', 1: 'boat'}", "['kite', 'boat']"])
def test_the_model_s_own_names_come_first(make_yolox: Any, names: str) -> None:
    model = make_yolox(2, {}, metadata={"names": names})
    assert open_detector(section(model, labels=("x", "y"), classes=())).labels == ("kite", "boat")


@pytest.mark.parametrize(
    ("metadata", "labels", "says"),
    [
        ({}, (), r"none of its labels \(class 0, class 1\) .* or its `labels`"),
        ({}, ("one",), "has 2 classes, but `labels` name 1"),
        ({"names": "{0: 'a'}"}, (), "has 2 classes, but its metadata name 1"),
        ({"names": "__import__('os').abort()"}, (), "is no list of names"),
        ({"names": "[" * 3000}, (), "is no list of names"),
        ({"names": "['a', 'b']" + " " * 200_000}, (), "is no list of names"),
        ({"names": "{0: 'a', 7: 'b'}"}, (), "is no list of names"),
        ({"names": "['a', 'b']"}, (), "set `classes`"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    make_yolox: Any, metadata: dict[str, str], labels: tuple[str, ...], says: str
) -> None:
    model = make_yolox(2, {}, metadata=metadata)
    with pytest.raises(DriverError, match=says) as refused:
        open_detector(section(model, labels=labels))
    assert str(model) in str(refused.value)


def test_an_unknown_layout_is_refused_with_shapes_and_families(make_model: Any) -> None:
    model = make_model(np.zeros((1, 10, 90)))
    with pytest.raises(DriverError, match=r"unknown layout.*\(1, 10, 90\).*yolox") as refused:
        open_detector(section(model))
    assert str(model) in str(refused.value)


@pytest.mark.parametrize(("size", "kind"), [((20, 64), TensorProto.FLOAT), ((64, 64), TensorProto.DOUBLE)])
def test_an_input_that_is_no_picture_is_refused(
    make_model: Any, make_yolox: Any, size: tuple[int, int], kind: int
) -> None:
    if kind == TensorProto.DOUBLE:
        with pytest.raises(DriverError):  # a graph that mixes types does not even load
            open_detector(section(make_yolox(80, {}, input_type=kind)))
        return
    with pytest.raises(DriverError, match=r"inputs images \(1, 3, 64, 20\).*from 32 to 4096"):
        open_detector(section(make_model(np.zeros((1, 84, 85)), size=size)))


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07\x12\x00" * 100])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(content)
    with pytest.raises(DriverError, match=r"broken\.onnx"):
        open_detector(section(file))


def test_a_missing_or_enormous_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DriverError, match=r"gone\.onnx: the model cannot be read: No such file"):
        open_detector(section(tmp_path / "gone.onnx"))
    monkeypatch.setattr(session, "MAX_MODEL_BYTES", 1 << 20)
    (tmp_path / "big.onnx").write_bytes(bytes(2 << 20))
    with pytest.raises(DriverError, match=r"big\.onnx: is 2 MiB; a model may have 1 MiB"):
        open_detector(section(tmp_path / "big.onnx"))


def test_the_simulated_detector_tells_the_truth_and_says_what_it_is(
    blank: Frame, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        detector = open_detector(config.SimulatedDetector(name="sim"))
    assert "simulated" in detector.name and "simulated" in repr(detector) and "simulated" in caplog.text
    assert detector.detect(blank) == []
    truth = (Detection(label="person", score=1.0, box=(1, 2, 3, 4)),)
    assert detector.detect(Frame("c", 0, 0.0, 0.0, blank.pixels, truth)) == list(truth)
