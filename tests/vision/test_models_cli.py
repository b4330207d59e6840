"""`edge-agent models check`: what it says of a model, and of files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.cli import main

CELLS = 84  # of a 64 x 64 input
MORE_CELLS = 2100  # of 320 x 320


def test_a_model_is_named_with_what_told_it(make_model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model(np.zeros((1, 84, MORE_CELLS)), size=(320, 320))
    assert main(["models", "check", "--json", str(model)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["ok"], told["format"]) == (str(model), True, "yolov8")
    assert told["why"] == "as many columns as cells"
    assert told["outputs"] == {"output0": [1, 84, MORE_CELLS]}
    assert told["labels"][0] == "person" and told["ms"] > 0
    assert main(["models", "check", str(model)]) == 0
    assert "yolov8, told by as many columns as cells" in capsys.readouterr().out


def test_a_sidecar_overrules_and_its_faults_name_file_and_key(
    make_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(np.zeros((1, CELLS, 7)), metadata={"names": "['0', '1']"})
    sidecar = Path(f"{model}.toml")
    sidecar.write_text('format = "yolov6"\nlabels = ["a", "b"]\n[input]\ncolor = "bgr"\nstd = [1, 1, 1]\n')
    assert main(["models", "check", "--json", str(model)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["labels"], told["why"]) == ("yolov6", ["a", "b"], "the sidecar's `format`")
    assert (told["input"]["color"], told["input"]["std"], told["input"]["fit"]) == ("bgr", [1, 1, 1], "centred")
    for text, says in (
        ("std = 3", "std"),
        ("[input]\nfit = 'round'", "fit"),
        ("a = [", "toml"),
        ("format = 'x'", "`format` is 'x'"),
        ("labels = " + "[" * 50_000, "nested too deeply"),
        ("#" * (1 << 20) + "#", "is larger than 1 MiB"),
    ):
        sidecar.write_text(text)
        assert main(["models", "check", str(model)]) == 1
        error = capsys.readouterr().err
        assert str(model) in error and says in error


def test_classes_without_names_are_numbered_and_the_key_is_told(
    make_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(np.zeros((1, 6, CELLS)))
    assert main(["models", "check", str(model)]) == 0
    assert "labels   class 0, class 1; name them as `labels` in model.onnx.toml" in capsys.readouterr().out


def test_an_rf_detr_may_name_its_classes_without_the_last_which_is_nothing(
    make_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(np.zeros((1, 9, 4)), np.zeros((1, 9, 3)), names=("dets", "labels"))
    Path(f"{model}.toml").write_text('labels = ["person", "car"]')
    assert main(["models", "check", "--json", str(model)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["format"], told["labels"]) == ("rf-detr", ["person", "car"])


def test_what_is_no_model_is_refused_in_words(
    tmp_path: Path, make_model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.onnx").write_text("no model at all")
    odd = make_model(np.zeros((1, 3, 9)))
    files = [str(tmp_path / "text.onnx"), str(tmp_path / "none.onnx"), str(odd), "a" * 300, "\udcff.onnx"]
    assert main(["models", "check", "--json", *files]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["ok"] for line in lines] == [False] * 5
    assert "no ONNX model" in lines[0]["error"] and "cannot be read" in lines[1]["error"]
    assert "output0 (1, 3, 9)" in lines[2]["error"] and f"{odd.name}.toml" in lines[2]["error"]
    assert "File name too long" in lines[3]["error"] and lines[4]["file"] == "\N{REPLACEMENT CHARACTER}.onnx"
