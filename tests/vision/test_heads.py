"""Decoding of output tensors: golden rows worked out by hand, suppression against a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.boxes import clip, iou
from edge_agent.vision.heads import Candidates, UnknownLayoutError, Yolov8, Yolox, find_head, suppress

CELLS = 84  # of a 64 x 64 input: 8 * 8 + 4 * 4 + 2 * 2


def test_yolox_rows_decode_as_in_megvii_s_decode_outputs() -> None:
    # yolox/models/yolo_head.py: outputs[..., :2] = (outputs[..., :2] + grids) * strides
    #                            outputs[..., 2:4] = torch.exp(outputs[..., 2:4]) * strides; score = obj * cls
    raw = np.zeros((1, CELLS, 7), dtype=np.float32)
    raw[0, 19] = [0.5, 0.25, math.log(2), math.log(4), 0.9, 0.1, 0.8]  # stride 8, column 3, row 2
    raw[0, 64 + 9] = [0.0, -0.5, 0.0, math.log(3), 0.5, 1.0, 0.0]  # stride 16, column 1, row 2
    raw[0, 80 + 3] = [0.5, 0.5, 0.0, 0.0, 1.0, 0.25, 0.3]  # stride 32, column 1, row 1
    found = Yolox(64, 64, 2).decode(raw, 0.29)
    assert found.classes.tolist() == [1, 0, 1]
    assert found.scores == pytest.approx([0.72, 0.5, 0.3])
    assert found.boxes == pytest.approx(
        np.array([[20, 2, 36, 34], [8, 0, 24, 48], [32, 32, 64, 64]], dtype=float), abs=1e-4
    )


def test_yolov8_columns_are_centre_and_size_in_input_pixels() -> None:
    raw = np.zeros((1, 6, CELLS), dtype=np.float32)
    raw[0, :, 7] = [30, 20, 10, 8, 0.2, 0.9]
    raw[0, :, 8] = [30, 20, 10, 8, 0.2, 0.1]
    found = Yolov8(2).decode(raw, 0.5)
    assert found.boxes.tolist() == [[25, 16, 35, 24]]
    assert found.classes.tolist() == [1]


def test_numbers_that_are_none_are_dropped_and_never_raise() -> None:
    raw = np.zeros((1, CELLS, 6), dtype=np.float32)
    raw[0, 0] = [0, 0, 5000, 0, 1, 1]  # exp overflows
    raw[0, 1] = [math.nan, 0, 0, 0, 1, 1]
    raw[0, 2] = [0, 0, 0, 0, math.nan, 1]
    raw[0, 3] = [0, 0, 0, 0, 1, 1]
    assert len(Yolox(64, 64, 1).decode(raw, 0.5).boxes) == 1


@pytest.mark.parametrize(
    ("shape", "family"),
    [((1, CELLS, 85), Yolox), ((1, CELLS, 6), Yolox), ((1, 84, 84), Yolox), ((1, 7, CELLS), Yolov8)],
)
def test_the_family_is_found_from_the_shape(shape: tuple[int, ...], family: type) -> None:
    assert isinstance(find_head(64, 64, [np.zeros(shape, dtype=np.float32)]), family)


@pytest.mark.parametrize(
    "shapes", [[(1, 100, 85)], [(1, CELLS, 5)], [(2, CELLS, 85)], [(1, CELLS, 6), (1, 2)], [()], []]
)
def test_an_unknown_layout_is_refused_with_its_shapes(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(UnknownLayoutError) as refused:
        find_head(64, 64, [np.zeros(shape, dtype=np.float32) for shape in shapes])
    assert "YOLOX" in str(refused.value)
    assert all(str(shape) in str(refused.value) for shape in shapes)


def test_a_grid_that_is_decoded_already_is_not_taken_for_a_raw_one() -> None:
    decoded = np.zeros((1, CELLS, 85), dtype=np.float32)
    decoded[0, :, :2] = 500.0
    with pytest.raises(UnknownLayoutError, match="decoded already"):
        find_head(64, 64, [decoded])


def reference_nms(candidates: Candidates, limit: float) -> list[list[float]]:
    """The textbook loop: take the best, strike out its class mates that overlap too much, repeat."""
    left = sorted(range(len(candidates.scores)), key=lambda i: -candidates.scores[i])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(candidates.boxes[best].tolist())
        left = [
            i
            for i in left
            if candidates.classes[i] != candidates.classes[best]
            or overlap(candidates.boxes[i].tolist(), candidates.boxes[best].tolist()) <= limit
        ]
    return kept


def overlap(a: list[float], b: list[float]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union if union else 0.0


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_suppression_equals_the_plain_loop(seed: int, count: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 40, (count, 2))], axis=1)
    candidates = Candidates(boxes, rng.permutation(count) / max(count, 1), rng.integers(0, 3, count))
    assert suppress(candidates, limit).boxes.tolist() == reference_nms(candidates, limit)


def test_two_people_side_by_side_both_stay() -> None:
    # boxes given to a suppression as corners where it wants sizes lose neighbours: these two do not overlap at all
    boxes = np.array([[500.0, 100, 540, 220], [545, 100, 585, 220]])
    assert len(suppress(Candidates(boxes, np.array([0.9, 0.8]), np.array([0, 0])), 0.45).boxes) == 2


def test_overlap_of_empty_boxes_is_nothing() -> None:
    empty = np.array([[5.0, 5, 5, 5], [9, 9, 2, 2]])
    assert iou(empty[:, None], empty[None]).tolist() == [[0, 0], [0, 0]]
    assert clip(np.array([[-5.0, 2, 700, 900]]), 640, 480).tolist() == [[0, 2, 640, 480]]
