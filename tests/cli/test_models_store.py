"""`edge-agent models list|install|remove|bench`: by name, file or stick; what differs is never installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent import catalogue, weights
from edge_agent.catalogue import store
from edge_agent.cli import main
from edge_agent.runtime import DriverError


def make(file: Path, **metadata: str) -> Path:
    """A YOLOX of 64 x 64 and three classes that sees nothing."""
    answer = numpy_helper.from_array(np.zeros((1, 84, 8), np.float32), "answer")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nil"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "still",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 84, 8))],
        [answer, numpy_helper.from_array(np.float32(0), "nil")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"names": "['person', 'vehicle', 'two-wheeler']", **metadata})
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(file))
    return file


@pytest.fixture
def stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the file of `known-one`; `known-agpl` is copyleft and has no address."""
    file = make(tmp_path / "stick" / "models" / "published.onnx")
    data = file.read_bytes()
    (tmp_path / "catalogue.toml").write_text(
        f"""
        [known-one]
        task = "detector"
        about = "for tests"
        url = "http://127.0.0.1:1/published.onnx"
        sha256 = "{hashlib.sha256(data).hexdigest()}"
        bytes = {len(data)}
        licence = "Apache-2.0"

        [known-agpl]
        task = "detector"
        about = "export it"
        licence = "AGPL-3.0"
        """
    )
    (tmp_path / "stick" / "holiday.jpg").write_bytes(b"x" * len(data))
    monkeypatch.setattr(catalogue, "FILE", tmp_path / "catalogue.toml")
    monkeypatch.setenv("EDGE_AGENT_MODELS", str(tmp_path / "installed"))
    catalogue.known.cache_clear()
    yield tmp_path / "stick"
    catalogue.known.cache_clear()


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    return {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


@pytest.mark.parametrize("by", ["name", "file", "directory"])
def test_a_known_model_is_installed_offline_and_used_by_name(
    stick: Path, by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stick / "models" / "published.onnx"
    what = {"name": ["known-one", "--from", str(stick)], "file": [str(file)], "directory": [str(stick)]}[by]
    assert main(["models", "install", *what, "--dry-run"]) == 0
    assert listed(capsys)["known-one"]["state"] == "known"
    assert main(["models", "install", *what]) == 0
    row = listed(capsys)["known-one"]
    assert (row["state"], row["licence"]) == ("installed", "Apache-2.0")
    assert Path(row["file"]).read_bytes() == file.read_bytes()
    assert main(["models", "check", "known-one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["person", "vehicle", "two-wheeler"]
    assert main(["models", "remove", "known-one", "--dry-run"]) == 0
    assert main(["models", "remove", "known-one"]) == 0
    assert listed(capsys)["known-one"]["state"] == "known"
    assert list(Path(row["file"]).parent.iterdir()) == []


@pytest.mark.parametrize("name", ["published.onnx", "known-one.onnx"])
def test_a_file_that_claims_to_be_a_known_one_and_differs_is_refused(
    stick: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = make(stick / "fake" / name, note="changed")
    assert main(["models", "install", str(fake)]) == 1
    assert "claims to be known-one, and its SHA-256 differs" in capsys.readouterr().err
    assert main(["models", "install", "known-one", "--from", str(fake)]) == 1
    assert listed(capsys)["known-one"]["state"] == "known"


def test_a_model_of_ones_own_is_tried_before_it_is_installed(stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = make(stick / "Own.onnx", author="me")
    sha256 = hashlib.sha256(own.read_bytes()).hexdigest()
    (stick / "Own.onnx.toml").write_text('labels = ["a", "b", "c"]\n')
    (stick / "cut.onnx").write_bytes(own.read_bytes()[:-40])
    assert main(["models", "install", str(stick / "cut.onnx")]) == 1
    assert main(["models", "install", str(own), "--sha256", "0" * 64]) == 1
    assert f"its SHA-256 is {sha256}, not 000" in capsys.readouterr().err
    assert main(["models", "install", str(own), "--sha256", sha256]) == 0
    row = listed(capsys)["own"]
    assert (row["state"], row["licence"], row["sha256"]) == ("installed", "not named", sha256)
    assert Path(row["file"] + ".toml").exists() and "cut" not in listed(capsys)


def test_a_licence_that_drives_a_terminal_is_shown_as_letters(stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = make(stick / "own.onnx", note="mine", licence="\x1b[2JMIT\n\nperson-vehicle  built-in")
    assert main(["models", "install", str(own)]) == 0
    assert main(["models", "list"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "�[2JMIT person-vehicle built-in" in said


def test_no_name_at_all_installs_nothing(
    stick: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(stick / "models")
    assert main(["models", "install", ""]) == 1
    assert "is no known model" in capsys.readouterr().err
    assert listed(capsys)["known-one"]["state"] == "known"


def test_copyleft_is_named_and_never_installed_unasked(stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = make(stick / "yolo.onnx", license="AGPL-3.0 License (https://ultralytics.com/license)")
    assert main(["models", "install", str(own)]) == 1
    assert "--accept-licence AGPL" in capsys.readouterr().err
    assert main(["models", "install", str(own), "--accept-licence", "GPL"]) == 1
    assert main(["models", "install", str(own), "--accept-licence", "AGPL-3.0"]) == 0
    assert listed(capsys)["yolo"]["licence"].startswith("AGPL-3.0")
    assert main(["models", "install", "known-agpl"]) == 1
    assert "export it" in capsys.readouterr().err


def test_what_was_changed_on_the_disk_is_not_loaded(stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "install", str(stick)]) == 0
    file = Path(listed(capsys)["known-one"]["file"])
    file.write_bytes(file.read_bytes() + b" ")
    assert main(["models", "check", "known-one"]) == 1
    assert "differs from what was installed" in capsys.readouterr().err
    with pytest.raises(DriverError, match="differs"):
        store.find("known-one")


def test_a_broken_download_leaves_nothing_installed(
    stick: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.catalogue.download.WAIT_S", 0.001)
    assert main(["models", "install", "known-one"]) == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert main(["models", "install", "known-one", "--url", "file:///etc/passwd"]) == 1
    assert "no http or https" in capsys.readouterr().err
    assert main(["models", "install", "nobody-knows"]) == 1
    assert "known are known-one, known-agpl" in capsys.readouterr().err
    assert main(["models", "remove", "known-one"]) == 1
    assert listed(capsys)["known-one"]["state"] == "known"


def test_bench_lets_models_take_turns_and_gives_ratios(stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(stick / "models" / "published.onnx")
    assert main(["models", "bench", file, "--rounds", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["file"], told["format"], told["ratio"], told["rounds"]) == (file, "yolox", 1.0, 3)
    assert told["ms"] >= told["fastest_ms"] > 0
    assert main(["models", "bench", str(stick / "holiday.jpg")]) == 1


def test_bench_without_names_takes_every_model_that_came_along(stick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "bench", "--rounds", "3", "--json"]) == 0
    told = {row["file"]: row["format"] for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert set(told) == set(weights.names())
    assert told["plate-reader"] == "plate-reader"


def test_the_catalogue_that_ships_pins_what_it_names() -> None:
    catalogue.known.cache_clear()
    for name, model in catalogue.known().items():
        assert catalogue.NAME.fullmatch(name)
        assert bool(model.url) == bool(model.sha256) == bool(model.bytes), name
        assert model.url.startswith("https://") or catalogue.copyleft(model.licence) == "AGPL", name
        assert not (model.url and catalogue.copyleft(model.licence)), f"{name}: copyleft is nobody's default"
