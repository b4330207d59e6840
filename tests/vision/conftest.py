"""Small ONNX models whose answer is known, and frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_agent.vision.camera import Frame

ModelMaker = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> ModelMaker:
    """Writes a model that answers every picture with the same tensors."""

    def make(
        *outputs: np.ndarray[Any, Any],
        size: tuple[int | str, int | str] = (64, 64),
        metadata: dict[str, str] | None = None,
        input_type: int = TensorProto.FLOAT,
        name: str = "model.onnx",
        names: tuple[str, ...] = (),
    ) -> Path:
        called = names or tuple(f"output{number}" for number in range(len(outputs)))
        nodes = [
            helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nil"], ["nothing"]),
        ]
        constants = [numpy_helper.from_array(np.float32(0), "nil")]
        for number, output in enumerate(outputs):
            constants.append(numpy_helper.from_array(output.astype(np.float32), f"answer{number}"))
            nodes.append(helper.make_node("Add", [f"answer{number}", "nothing"], [called[number]]))
        graph = helper.make_graph(
            nodes,
            "constant",
            [helper.make_tensor_value_info("images", input_type, (1, 3, size[1], size[0]))],
            [
                helper.make_tensor_value_info(called[n], TensorProto.FLOAT, output.shape)
                for n, output in enumerate(outputs)
            ],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, metadata or {})
        file = tmp_path / name
        onnx.save(model, str(file))
        return file

    return make


@pytest.fixture
def make_yolox(make_model: ModelMaker) -> ModelMaker:
    """Writes a model in the raw layout of YOLOX that is silent but for some rows."""

    def make(classes: int, rows: dict[int, list[float]], size: tuple[int, int] = (64, 64), **more: Any) -> Path:
        cells = sum((size[0] // stride) * (size[1] // stride) for stride in (8, 16, 32))
        answer = np.zeros((1, cells, 5 + classes), dtype=np.float32)
        for number, row in rows.items():
            answer[0, number] = row
        return make_model(answer, size=size, **more)

    return make


@pytest.fixture
def make_spotter(tmp_path: Path) -> ModelMaker:
    """Writes a model of any size in the raw layout of YOLOX: each bright cell of stride 8 is a person of 16 x 16."""

    def make(**metadata: str) -> Path:
        constants = {
            "dark": [240.0], "range": [15.0], "nil": [0.0], "one": [1.0], "half": [0.5], "log2": [np.log(2.0)],
        }  # fmt: skip
        nodes = [helper.make_node("ReduceMean", ["images"], ["mean1"], axes=[1])]
        for stride, source in ((8, "mean1"), (16, "mean8"), (32, "mean16")):
            side = 8 if stride == 8 else 2
            m = f"mean{stride}"
            nodes += [
                helper.make_node("AveragePool", [source], [m], kernel_shape=[side, side], strides=[side, side]),
                helper.make_node("Sub", [m, "dark"], [f"{m}s"]),
                helper.make_node("Div", [f"{m}s", "range"], [f"{m}d"]),
                helper.make_node("Clip", [f"{m}d", "zero", "unit"], [f"{m}c"]),
                helper.make_node("Mul", [m, "nil"], [f"{m}n"]),
                helper.make_node("Add", [f"{m}n", "half"], [f"{m}h"]),
                helper.make_node("Add", [f"{m}n", "log2"], [f"{m}l"]),
                helper.make_node("Add", [f"{m}n", "one"], [f"{m}o"]),
                helper.make_node(
                    "Concat",
                    [f"{m}{part}" for part in "hhll"] + [f"{m}c" if stride == 8 else f"{m}n", f"{m}o"],
                    [f"{m}rows"],
                    axis=1,
                ),
                helper.make_node("Reshape", [f"{m}rows", "flat"], [f"{m}flat"]),
            ]
        nodes += [
            helper.make_node("Concat", ["mean8flat", "mean16flat", "mean32flat"], ["columns"], axis=2),
            helper.make_node("Transpose", ["columns"], ["output"], perm=[0, 2, 1]),
        ]
        tensors = [numpy_helper.from_array(np.array(value, np.float32), key) for key, value in constants.items()]
        tensors += [
            numpy_helper.from_array(np.float32(0), "zero"),
            numpy_helper.from_array(np.float32(1), "unit"),
            numpy_helper.from_array(np.array([1, 6, -1], np.int64), "flat"),
        ]
        graph = helper.make_graph(
            nodes,
            "spotter",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, "height", "width"))],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, "cells", 6))],
            tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, {"names": "{0: 'person'}", "imgsz": "[288, 288]", **metadata})
        file = tmp_path / "spotter.onnx"
        onnx.save(model, str(file))
        return file

    return make


@pytest.fixture
def blank() -> Frame:
    """A grey frame of 128 x 64, so that the scale to a 64 x 64 net is exactly one half."""
    return Frame("cam", 0, 0.0, 0.0, np.full((64, 128, 3), 128, dtype=np.uint8))
