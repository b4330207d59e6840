"""A small ONNX model that finds what moves before a still background: blobs, and nothing more; made by the test.

Not a person detector. It has the output layout of YOLOX (rows of x, y, w, h, objectness, class over grids of stride
8, 16, 32: Megvii YOLOX, `yolox/models/yolo_head.py`, decode_outputs), so that the product's decoder is what runs.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 416
LABEL = "moving"
WIDTH, HEIGHT = 24.0, 56.0  # of a walker in the letterboxed picture: the boxes have this one size


def letterboxed(pixels: np.ndarray) -> np.ndarray:
    """(1, 3, SIZE, SIZE) float32 BGR, the picture at the top left, 114 around it."""
    import cv2

    ratio = min(SIZE / pixels.shape[0], SIZE / pixels.shape[1])
    small = cv2.resize(pixels, (int(pixels.shape[1] * ratio), int(pixels.shape[0] * ratio)))
    canvas = np.full((SIZE, SIZE, 3), 114, np.uint8)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas.transpose(2, 0, 1)[None].astype(np.float32)


def build(file: Path, pictures: Iterable[np.ndarray], threshold: float = 22.0) -> None:
    """Write a model whose background is the median of `pictures`, all of one size."""
    background = np.median(np.concatenate([letterboxed(p) for p in pictures]), axis=0)[None].astype(np.float32)
    grid = SIZE // 8
    cells = grid * grid
    others = (SIZE // 16) ** 2 + (SIZE // 32) ** 2
    constants = {
        "background": background,
        "threshold": np.array(threshold, np.float32),
        "steepness": np.array(0.4, np.float32),
        "shape": np.array([1, cells, 1], np.int64),
        # centre of the cell, and the one size: xy = (v + grid) * stride, wh = exp(v) * stride
        "place": np.tile(np.array([0.5, 0.5, np.log(WIDTH / 8), np.log(HEIGHT / 8)], np.float32), (1, cells, 1)),
        "class": np.ones((1, cells, 1), np.float32),
        "nothing": np.zeros((1, others, 6), np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["images", "background"], ["difference"]),
        helper.make_node("Abs", ["difference"], ["change"]),
        helper.make_node("ReduceMean", ["change"], ["grey"], axes=[1], keepdims=1),
        # how much moves in each cell, then within a walker's box around it
        helper.make_node("AveragePool", ["grey"], ["coarse"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("AveragePool", ["coarse"], ["cells"], kernel_shape=[7, 3], pads=[3, 1, 3, 1]),
        helper.make_node("MaxPool", ["cells"], ["highest"], kernel_shape=[5, 3], pads=[2, 1, 2, 1]),
        helper.make_node("Equal", ["cells", "highest"], ["is_peak"]),
        helper.make_node("Cast", ["is_peak"], ["peak"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["cells", "threshold"], ["above"]),
        helper.make_node("Mul", ["above", "steepness"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["sure"]),
        helper.make_node("Mul", ["sure", "peak"], ["objectness_map"]),
        helper.make_node("Reshape", ["objectness_map", "shape"], ["objectness"]),
        helper.make_node("Concat", ["place", "objectness", "class"], ["fine"], axis=2),
        helper.make_node("Concat", ["fine", "nothing"], ["output"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "motion-blobs",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, cells + others, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"names": repr({0: LABEL}), "description": "motion blobs, for a test"})
    onnx.checker.check_model(model)
    onnx.save(model, str(file))
