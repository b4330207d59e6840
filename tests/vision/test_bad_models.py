"""Model files that mean harm: they are refused in words, and the process lives on."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.runtime import DriverError
from edge_agent.vision import session
from edge_agent.vision.net import Net
from edge_agent.vision.plates_own import PlateText


def write(file: Path, nodes: list[Any], constants: list[Any], size: tuple[int | str, int | str] = (64, 64)) -> Path:
    """A model of one picture, of 64 x 64 unless told, whose output is `out`."""
    graph = helper.make_graph(
        nodes,
        "harm",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, *size))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(file))
    return file


def looping(file: Path, *, where_wide: bool = False) -> Path:
    """Adds one to the picture, 2^62 times; or a YOLOv8 of open size, so often only where the picture is not square."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going_on"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, ()),
            helper.make_tensor_value_info("going", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(np.float32(1), "one")],
    )
    constants = [
        numpy_helper.from_array(np.array(2**62, dtype=np.int64), "turns"),
        numpy_helper.from_array(np.array(True), "go"),
    ]
    if not where_wide:
        return write(file, [helper.make_node("Loop", ["turns", "go", "images"], ["out"], body=body)], constants)
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Gather", ["shape", "3"], ["width"]),
        helper.make_node("Gather", ["shape", "2"], ["height"]),
        helper.make_node("Sub", ["width", "height"], ["wider"]),
        helper.make_node("Mul", ["wider", "turns"], ["many"]),
        helper.make_node("Loop", ["many", "go", "images"], ["looped"], body=body),
        helper.make_node("ReduceMean", ["looped"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nil"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["out"]),
    ]
    constants[0] = numpy_helper.from_array(np.array(2**50, dtype=np.int64), "turns")
    constants += [
        *(numpy_helper.from_array(np.array(n, dtype=np.int64), str(n)) for n in (2, 3)),
        numpy_helper.from_array(np.float32(0), "nil"),
        numpy_helper.from_array(np.zeros((1, 84, 8400), np.float32), "answer"),
    ]
    return write(file, nodes, constants, ("h", "w"))


def greedy(file: Path, *, folded: bool) -> Path:
    """Ten gigabytes of zeros: while it is loaded (`folded`), or when it runs."""
    shape = numpy_helper.from_array(np.array([1, 10, 1 << 28], dtype=np.int64), "shape")
    if folded:
        nodes = [helper.make_node("ConstantOfShape", ["shape"], ["zeros"])]
    else:
        nodes = [
            helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
            helper.make_node("Expand", ["mean", "shape"], ["zeros"]),
        ]
    return write(file, [*nodes, helper.make_node("Relu", ["zeros"], ["out"])], [shape])


def folding(file: Path) -> Path:
    """Four thousand sums of a million constants each: worked out in advance, nothing could stop them."""
    long = 1_000_000
    nodes = [helper.make_node("ConstantOfShape", [f"s{side}"], [side]) for side in ("a", "b")]
    nodes += [helper.make_node("Gemm", ["a", "b", f"c{n}"], [f"c{n + 1}"]) for n in range(4000)]
    nodes += [helper.make_node("Add", ["images", "c4000"], ["out"])]
    shapes = {"sa": np.array([1, long]), "sb": np.array([long, 1]), "c0": np.zeros((1, 1), np.float32)}
    return write(file, nodes, [numpy_helper.from_array(value, name) for name, value in shapes.items()])


def test_a_model_that_loops_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "TRIED_S", 0.5)
    with pytest.raises(DriverError, match=r"loop\.onnx.* more than 0\.5 s"):
        Net(looping(tmp_path / "loop.onnx"), 1)


def test_a_model_that_loops_at_other_sizes_than_its_own_is_run_at_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(looping(tmp_path / "loop.onnx", where_wide=True), 1)
    monkeypatch.setattr(session, "TRIED_S", 0.5)
    assert net.open and net.size_for(1920, 1080) == (640, 640)


def test_work_that_an_optimizer_would_do_while_loading_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "TRIED_S", 0.5)
    model = folding(tmp_path / "fold.onnx")
    with pytest.raises(DriverError, match=r"fold\.onnx.* more than 0\.5 s"):
        Net(model, 1)
    monkeypatch.undo()
    with pytest.raises(DriverError, match=r"fold\.onnx: its metadata"):  # told before anything is worked out
        PlateText(model, 1)


@pytest.mark.parametrize("kind", ["nothing", "words", "truths", "a list"])
def test_what_neither_takes_nor_gives_numbers_is_refused(tmp_path: Path, kind: str) -> None:
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))
    inputs, node = [picture], helper.make_node("SequenceConstruct", ["images"], ["out"])
    output = helper.make_tensor_sequence_value_info("out", TensorProto.FLOAT, (1, 3, 64, 64))
    if kind != "a list":
        words = helper.make_tensor("words", TensorProto.STRING, [1], [b"x"])
        numbers = numpy_helper.from_array(np.zeros(1, bool if kind == "truths" else np.float32))
        value = words if kind == "words" else numbers
        node = helper.make_node("Constant", [], ["out"], value=value)
        output = helper.make_tensor_value_info("out", value.data_type, (1,))
        inputs = [] if kind == "nothing" else inputs
    graph = helper.make_graph([node], "harm", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "odd.onnx"))
    with pytest.raises(DriverError, match=r"odd\.onnx: unknown layout: .*(no input|not a tensor of numbers)"):
        Net(tmp_path / "odd.onnx", 1)


@pytest.mark.parametrize("folded", [True, False])
def test_a_model_that_wants_ten_gigabytes_does_not_get_them(tmp_path: Path, folded: bool) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(DriverError, match=r"huge\.onnx.* wants more than 2048 MiB"):
        Net(greedy(tmp_path / "huge.onnx", folded=folded), 1)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_weights_may_lie_beside_a_model_and_nowhere_else(tmp_path: Path, make_yolox: Any) -> None:
    # onnx.proto, TensorProto.external_data: a location relative to the model; torch.onnx.export writes FILE.data
    model = onnx.load(str(make_yolox(3, {0: [0, 0, 0, 0, 1, 0, 1, 0]}, metadata={"names": "['a', 'b', 'c']"})))
    answer = next(one for one in model.graph.initializer if one.name == "answer0")
    outside, folder = tmp_path / "weights", tmp_path / "models"
    folder.mkdir()
    for place in (outside, folder / "inside"):
        place.write_bytes(answer.raw_data)
    (folder / "link").symlink_to(outside)
    answer.ClearField("raw_data")
    answer.data_location = TensorProto.EXTERNAL
    at = answer.external_data.add(key="location")
    for location in ("../weights", str(outside), "link", "nowhere"):
        at.value = location
        (folder / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(DriverError, match=r"m\.onnx: is no ONNX model that can be loaded: .*xternal data"):
            Net(folder / "m.onnx", 1)
    at.value = "inside"
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    assert Net(folder / "m.onnx", 1).labels == ("a", "b", "c")


def test_a_model_whose_answer_changes_shape_with_the_picture_is_refused_then(tmp_path: Path) -> None:
    # as many cells as the picture's brightest value is above its mean, more than the 84 of a 64 x 64 input
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["brightest", "mean"], ["more"]),
        helper.make_node("Cast", ["more"], ["more_cells"], to=TensorProto.INT64),
        helper.make_node("Add", ["cells", "more_cells"], ["count"]),
        helper.make_node("Concat", ["one", "count", "seven"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["out"]),
    ]
    numbers = {"cells": [84], "one": [1], "seven": [7]}
    model = Net(
        write(tmp_path / "m.onnx", nodes, [numpy_helper.from_array(np.array(v), k) for k, v in numbers.items()]), 1
    )
    picture = np.zeros((64, 64, 3), np.uint8)
    assert len(model.look(picture, None, 0.5)[0].boxes) == 0
    picture[:8] = 255
    with pytest.raises(DriverError, match=r"m\.onnx: gives \[\(1, 307, 7\)\] .* gave \[\(1, 84, 7\)\]"):
        model.look(picture, None, 0.5)


def test_a_pointer_of_git_lfs_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(DriverError, match="pointer of Git LFS"):
        Net(tmp_path / "m.onnx", 1)


@pytest.mark.parametrize("device", ["pipe", "/dev/zero"])
def test_a_pipe_or_a_device_is_not_read_for_ever(tmp_path: Path, device: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DriverError, match="is no file that could be a model"):
        Net(tmp_path / device, 1)


def test_a_model_cut_anywhere_is_refused(tmp_path: Path, make_yolox: Any) -> None:
    whole = make_yolox(3, {}).read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.onnx").write_bytes(whole[:cut])
        with pytest.raises(DriverError, match=r"cut\.onnx"):
            Net(tmp_path / "cut.onnx", 1)


@pytest.mark.parametrize(
    "names", ["__import__('os').abort()", "[" * 5000, "{0: 'a', 7: 'b'}", "x" * 200_000, "{[0]: 'a'}", "[{{}}]"]
)
def test_metadata_is_never_carried_out(make_yolox: Any, names: str) -> None:
    with pytest.raises(DriverError, match="`names` is no list of names"):
        Net(make_yolox(3, {}, metadata={"names": names}), 1)
