"""Families found from their tensors and decoded: against the authors' decoders, and rows worked out from their text.

`tests/golden/heads` holds tensors with their origin and what the author's own decoder made of them; each keeps the
rows that count, the others are zero.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.vision.boxes import clip, iou
from edge_agent.vision.coco import COCO_91
from edge_agent.vision.heads.find import FORMATS, Found, find_head
from edge_agent.vision.heads.form import MAX_CANDIDATES, Candidates, UnknownLayoutError, grid, suppress
from edge_agent.vision.heads.model import Model
from edge_agent.vision.heads.told import names

CELLS = 84  # of a 64 x 64 input: 8 * 8 + 4 * 4 + 2 * 2
GOLDEN = sorted((Path(__file__).parent.parent / "golden/heads").glob("*.json"))


def found(
    *tensors: np.ndarray[Any, Any], names: str = "", inputs: str = "images", size: int = 64, **more: Any
) -> Found:
    """The family of a square model with these outputs, named as said."""
    called = names.split() or [f"output{number}" for number in range(len(tensors))]
    outputs = dict(zip(called, tensors, strict=True))
    return find_head(Model(width=size, height=size, inputs=tuple(inputs.split()), outputs=outputs, **more))


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, dtype=np.float32)


# --- the authors' own decoders ------------------------------------------------------------------------------------


def tensor_of(kept: dict[str, Any]) -> np.ndarray[Any, Any]:
    whole = zeros(*kept["shape"]) + np.float32(kept.get("fill", 0))
    if "column" in kept:
        column, value = kept["column"]
        whole[..., column] = value
    for index, *values in kept.get("rows", ()):
        whole.reshape(-1, kept["shape"][-1])[index] = values
    for index, *values in kept.get("columns", ()):
        whole.reshape(kept["shape"][1], -1)[:, index] = values
    return whole


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_a_family_is_found_and_decodes_as_its_author_s_decoder(file: Path) -> None:
    golden = json.loads(file.read_text())
    outputs = {kept["name"]: tensor_of(kept) for kept in golden["outputs"]}
    model = Model(width=golden["width"], height=golden["height"], inputs=tuple(golden["inputs"]), outputs=outputs)
    head = find_head(model).head
    assert head.family == file.stem
    got = head.decode(list(outputs.values()), golden["score"])
    boxes = clip(got.boxes, golden["width"], golden["height"]) if golden.get("clipped") else got.boxes
    assert len(head.decode(list(outputs.values()), 1.01).boxes) == 0
    rows = np.column_stack([boxes, got.scores, got.classes])
    wanted = np.array(golden["expected"])
    assert len(rows) == len(wanted) > 0
    for row in wanted:
        alike = (iou(rows[:, :4], row[:4]) > 0.99) & (np.abs(rows[:, 4] - row[4]) < 0.002) & (rows[:, 5] == row[5])
        assert alike.any(), row
    if "corners" in golden:
        assert got.corners is not None
        assert sorted(got.corners.reshape(-1, 8).round(1).tolist()) == pytest.approx(
            np.array(sorted(np.array(golden["corners"]).round(1).tolist())), abs=0.2
        )


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf, 3e38, -3e38])
@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_what_is_no_number_is_dropped_by_every_family(file: Path, wild: float) -> None:
    golden = json.loads(file.read_text())
    outputs = {kept["name"]: tensor_of(kept) for kept in golden["outputs"]}
    model = Model(width=golden["width"], height=golden["height"], inputs=tuple(golden["inputs"]), outputs=outputs)
    head = find_head(model).head
    rng = np.random.default_rng(3)
    tensors = [np.where(rng.random(tensor.shape) < 0.2, np.float32(wild), tensor) for tensor in outputs.values()]
    with np.errstate(all="ignore"):
        got = head.decode(tensors, golden["score"])
    assert np.isfinite(got.boxes).all() and np.isfinite(got.scores).all() and (got.classes >= 0).all()
    assert len(suppress(got, 0.5).boxes) <= MAX_CANDIDATES


# --- worked out from the authors' text ----------------------------------------------------------------------------


def test_yolox_rows_decode_as_in_megvii_s_decode_outputs() -> None:
    # yolox/models/yolo_head.py: outputs[..., :2] = (outputs[..., :2] + grids) * strides
    #                            outputs[..., 2:4] = torch.exp(outputs[..., 2:4]) * strides; score = obj * cls
    raw = np.zeros((1, CELLS, 7), dtype=np.float32)
    raw[0, 19] = [0.5, 0.25, math.log(2), math.log(4), 0.9, 0.1, 0.8]  # stride 8, column 3, row 2
    raw[0, 64 + 9] = [0.0, -0.5, 0.0, math.log(3), 0.5, 1.0, 0.0]  # stride 16, column 1, row 2
    raw[0, 80 + 3] = [0.5, 0.5, 0.0, 0.0, 1.0, 0.25, 0.3]  # stride 32, column 1, row 1
    got = found(raw).head.decode([raw], 0.29)
    assert got.classes.tolist() == [1, 0, 1]
    assert got.scores == pytest.approx([0.72, 0.5, 0.3])
    assert got.boxes == pytest.approx(
        np.array([[20, 2, 36, 34], [8, 0, 24, 48], [32, 32, 64, 64]], dtype=float), abs=1e-4
    )


def test_yolov8_columns_are_centre_and_size_in_input_pixels() -> None:
    raw = np.zeros((1, 6, CELLS), dtype=np.float32)
    raw[0, :, 7] = [30, 20, 10, 8, 0.2, 0.9]
    raw[0, :, 8] = [30, 20, 10, 8, 0.2, 0.1]
    got = found(raw).head.decode([raw], 0.5)
    assert got.boxes.tolist() == [[25, 16, 35, 24]]
    assert got.classes.tolist() == [1]


def test_yolov8_of_an_export_in_fractions_of_the_input_is_told_by_the_probe() -> None:
    raw = np.full((1, 6, CELLS), 0.5, dtype=np.float32)
    head = found(raw).head
    raw[0, :, :] = 0
    raw[0, :, 7] = [0.5, 0.25, 0.125, 0.5, 0.2, 0.9]
    assert head.decode([raw], 0.5).boxes.tolist() == [[28, 0, 36, 32]]


def test_plates_of_a_yolov8_pose_model_have_their_four_corners() -> None:
    # ultralytics, pose export: 4 box + C classes + K key points of (x, y, visible) a column; kpt_shape in the metadata
    raw = zeros(1, 4 + 1 + 12, CELLS)
    raw[0, :, 3] = [30, 20, 20, 8, 0.9, 20, 16, 1, 40, 16, 1, 40, 24, 1, 20, 24, 1]
    head = found(raw + 3 * (np.arange(CELLS) == 80), metadata={"kpt_shape": "[4, 3]"}).head
    got = head.decode([raw], 0.5)
    assert head.family == "yolov8-plate" and head.classes == 1
    assert got.corners is not None and got.corners.tolist() == [[[20, 16], [40, 16], [40, 24], [20, 24]]]


def test_masks_and_key_points_beside_the_classes_do_not_count_as_classes() -> None:
    # ultralytics, Segment and Pose: 32 coefficients, or 17 points of (x, y, visible), behind the classes of each column
    masks = zeros(1, 32, 16, 16)
    segment, pose = found(zeros(1, 4 + 2 + 32, CELLS), masks), zeros(1, 4 + 1 + 51, CELLS)
    assert (segment.head.family, segment.head.classes) == ("yolov8", 2)
    assert found(pose, metadata={"kpt_shape": "[17, 3]", "task": "pose"}).head.classes == 1
    ready = zeros(1, 300, 6 + 32)
    ready[0, 0, :6] = [1, 2, 11, 22, 0.9, 3]
    head = found(ready, masks).head
    got = head.decode([ready, masks], 0.5)
    assert (head.family, got.boxes.tolist(), got.classes.tolist()) == ("yolo-end-to-end", [[1, 2, 11, 22]], [3])
    heads = [
        zeros(1, 3, 64 // stride, 64 // stride, 7) for stride in (8, 16, 32)
    ]  # YOLOv5's, exported for training too
    assert found(zeros(1, 3 * CELLS, 7), *heads).head.family == "yolov5"


def test_tasks_without_upright_boxes_are_refused_by_name() -> None:
    for task, shape in (("obb", (1, 300, 7)), ("obb", (1, 4 + 15 + 1, CELLS)), ("classify", (1, 1000))):
        with pytest.raises(UnknownLayoutError, match=rf"its task is '{task}'.*output0 \({shape[0]}, .*`format`"):
            found(zeros(*shape), metadata={"task": task})


def test_a_yolov8_with_a_row_a_cell_is_told_by_its_names() -> None:
    raw = zeros(1, CELLS, 4 + 2)
    raw[0, 7] = [30, 20, 10, 8, 0.2, 0.9]
    raw[0, 8, :2] = 500
    head = found(raw, metadata={"names": '{"0": "a", "1": "b"}'}).head
    assert (head.family, head.decode([raw], 0.5).boxes.tolist()) == ("yolov8", [[25, 16, 35, 24]])
    assert found(raw).head.family == "yolox-decoded"


def test_a_square_table_is_a_yolov8_s_unless_the_names_say_otherwise() -> None:
    raw = zeros(1, CELLS, CELLS)  # 80 classes of a YOLOv8 at 64 x 64, or 79 of a YOLOX
    assert (found(raw).head.family, found(raw).head.classes) == ("yolov8", 80)
    other = found(raw, metadata={"names": str(dict.fromkeys(range(79), "x"))}).head
    assert (other.family, other.classes) == ("yolox", 79)


def test_names_cannot_drive_a_terminal() -> None:
    assert names({"names": "['\\x1b[2Ja', 'b']"}) == ("\N{REPLACEMENT CHARACTER}[2Ja", "b")


def test_yolov5_rows_are_pixels_with_an_objectness() -> None:
    # yolov5/models/yolo.py, Detect: cx, cy, w, h in input pixels, objectness, classes, all after the sigmoid
    raw = zeros(1, 3 * CELLS, 7)
    raw[0, 100] = [30, 20, 10, 8, 0.9, 0.1, 0.8]
    head = found(raw).head
    got = head.decode([raw], 0.5)
    assert (head.family, head.classes) == ("yolov5", 2)
    assert got.boxes.tolist() == [[25, 16, 35, 24]]
    assert got.scores == pytest.approx([0.72])


def test_ten_named_classes_are_not_taken_for_a_plate_s_corners() -> None:
    raw = zeros(1, 3 * CELLS, 15)
    assert found(raw).head.family == "yolov5-plate"
    assert found(raw, metadata={"names": str(dict.fromkeys(range(10), "x"))}).head.family == "yolov5"


def test_yolov6_is_told_from_a_raw_grid_by_its_pixels() -> None:
    # YOLOv6, `effidehead.py`: boxes * stride, an objectness of 1, classes
    decoded = zeros(1, CELLS, 7)
    decoded[0, :, :2], decoded[0, :, 4] = 500.0, 1.0
    decoded[0, 9] = [30, 20, 10, 8, 1, 0.1, 0.8]
    head = found(decoded).head
    assert head.family == "yolov6"
    assert head.decode([decoded], 0.5).boxes.tolist() == [[25, 16, 35, 24]]


def test_a_decoded_yolox_is_told_by_an_objectness_that_varies() -> None:
    # YOLOX, `export_onnx.py --decode_in_inference`: the same columns, in input pixels; fed BGR from 0 to 255
    decoded = zeros(1, CELLS, 7)
    decoded[0, :, :2], decoded[0, :, 4] = 500.0, np.linspace(0, 0.2, CELLS)
    head = found(decoded).head
    assert (head.family, head.input.rgb, head.input.std) == ("yolox-decoded", False, (1.0, 1.0, 1.0))


def test_yolov10_rows_are_ready() -> None:
    # ultralytics, v10Detect.postprocess: x1, y1, x2, y2, score, class; no suppression after it
    raw = zeros(1, 300, 6)
    raw[0, 0], raw[0, 1] = [1, 2, 11, 22, 0.9, 3], [1, 2, 11, 22, 0.1, 3]
    head = found(raw).head
    got = head.decode([raw], 0.5)
    assert not head.overlapping
    assert (got.boxes.tolist(), got.classes.tolist()) == ([[1, 2, 11, 22]], [3])


def test_nothing_found_in_a_grey_picture_is_still_a_table() -> None:
    assert found(zeros(1, 0, 6)).head.family == "yolo-end-to-end"
    assert found(zeros(0, 7)).head.family == "yolov7-end-to-end"


def test_one_box_far_from_the_corner_or_large_tells_pixels_from_offsets() -> None:
    decoded = zeros(1, CELLS, 7)
    decoded[0, 9] = [30, 20, 12, 8, 0.9, 0.1, 0.8]
    assert found(decoded).head.family == "yolox-decoded"
    decoded[0, 9, 4] = 1
    assert found(decoded).head.family == "yolov6"


def test_plates_of_an_end_to_end_pose_model_have_their_four_corners() -> None:
    # ultralytics, pose export with `nms=True` or end2end: the row of a box, then key points; kpt_shape in the metadata
    raw = zeros(1, 300, 6 + 12)
    raw[0, 0] = [20, 16, 40, 24, 0.9, 0, 20, 16, 1, 40, 16, 1, 40, 24, 1, 20, 24, 1]
    head = found(raw, metadata={"kpt_shape": "[4, 3]"}).head
    got = head.decode([raw], 0.5)
    assert got.boxes.tolist() == [[20, 16, 40, 24]]
    assert got.corners is not None and got.corners.tolist() == [[[20, 16], [40, 16], [40, 24], [20, 24]]]
    assert len(head.decode([raw], 0.95).boxes) == 0


def test_yolov7_end_to_end_rows_begin_with_the_batch() -> None:
    # yolov7/models/experimental.py, ONNX_ORT: batch, x1, y1, x2, y2, class, score
    raw = np.array([[0, 1, 2, 11, 22, 3, 0.9]], dtype=np.float32)
    got = found(zeros(0, 7)).head.decode([raw], 0.5)
    assert (got.boxes.tolist(), got.classes.tolist(), got.scores.tolist()) == (
        [[1, 2, 11, 22]],
        [3],
        [pytest.approx(0.9)],
    )


def test_the_detr_family_tells_pixels_of_the_size_it_was_asked_for() -> None:
    # RT-DETR `rtdetr_postprocessor.py`, D-FINE `export_onnx.py`: labels, boxes (x1, y1, x2, y2), scores, by name
    labels, boxes, scores = np.zeros((1, 300), np.int64), zeros(1, 300, 4), zeros(1, 300)
    labels[0, 7], boxes[0, 7], scores[0, 7] = 2, [1, 2, 11, 22], 0.9
    asked = {"names": "labels boxes scores", "inputs": "images orig_target_sizes"}
    got = found(labels, boxes, scores, **asked).head.decode([labels, boxes, scores], 0.5)
    assert (got.boxes.tolist(), got.classes.tolist()) == ([[1, 2, 11, 22]], [2])


def test_rt_detr_of_ultralytics_tells_fractions_and_probabilities() -> None:
    # ultralytics, RTDETRDecoder: cx, cy, w, h over the input's size, then class probabilities
    raw = zeros(1, 300, 84)
    raw[0, 5, :4], raw[0, 5, 4 + 2] = [0.5, 0.25, 0.5, 0.25], 0.8
    head = found(raw, size=640).head
    got = head.decode([raw], 0.5)
    assert head.family == "rt-detr"
    assert (got.boxes.tolist(), got.classes.tolist()) == ([[160, 80, 480, 240]], [2])


def test_rf_detr_s_logits_go_through_a_sigmoid_each() -> None:
    # rf-detr `models/lwdetr.py`, PostProcess: prob = out_logits.sigmoid(); topk over queries and classes; cxcywh
    dets, labels = zeros(1, 300, 4), np.full((1, 300, 91), -9, dtype=np.float32)
    dets[0, 4], labels[0, 4, 1], labels[0, 4, 3] = [0.5, 0.5, 0.25, 0.5], math.log(3), 0.0
    head = found(dets, labels, names="dets labels").head
    got = head.decode([dets, labels], 0.5)
    assert got.classes.tolist() == [1, 3] and got.scores == pytest.approx([0.75, 0.5])
    assert got.boxes.tolist() == [[24, 16, 40, 48]] * 2
    assert (COCO_91[1], COCO_91[3], COCO_91[12], COCO_91[90]) == ("person", "car", "", "toothbrush")


def test_detrs_of_hugging_face_tell_logits_without_a_size() -> None:
    # transformers, `RTDetrImageProcessor.post_process_object_detection`: sigmoid of logits; pred_boxes are cx, cy, w, h
    boxes, logits = zeros(1, 300, 4), np.full((1, 300, 80), -9, dtype=np.float32)
    boxes[0, 4], logits[0, 4, 2] = [0.5, 0.5, 0.25, 0.5], math.log(3)
    head = found(logits, boxes, names="logits pred_boxes", inputs="pixel_values").head
    got = head.decode([logits, boxes], 0.5)
    assert (head.family, head.input.fit, got.classes.tolist()) == ("detr-logits", "stretch", [2])
    assert got.boxes.tolist() == [[24, 16, 40, 48]] and got.scores == pytest.approx([0.75])


def test_a_told_format_finds_its_tensors_without_their_names() -> None:
    labels, boxes, scores = np.zeros((1, 300), np.int64), zeros(1, 300, 4), zeros(1, 300)
    labels[0, 7], boxes[0, 7], scores[0, 7] = 2, [1, 2, 11, 22], 0.9
    outputs = {"1830": scores, "1833": labels, "1840": boxes}
    model = Model(width=64, height=64, inputs=("images", "orig_target_sizes"), outputs=outputs)
    with pytest.raises(UnknownLayoutError, match=r"1833 \(1, 300\)"):
        find_head(model)
    assert find_head(model, "detr").head.decode(list(outputs.values()), 0.5).boxes.tolist() == [[1, 2, 11, 22]]
    logits = np.full((1, 300, 3), -9, dtype=np.float32)
    logits[0, 7, 1] = 5
    queries = Model(width=64, height=64, inputs=("x",), outputs={"a": logits, "b": boxes / 64})
    assert find_head(queries, "rf-detr").head.decode([logits, boxes / 64], 0.5).classes.tolist() == [1]


@pytest.mark.parametrize("suffix", ["", ":0"])
def test_an_ssd_of_tensorflow_tells_rows_before_columns_and_counts_from_one(suffix: str) -> None:
    # TensorFlow Object Detection API, `exporter_lib_v2.py`: boxes ymin, xmin, ymax, xmax normalised, classes from 1
    boxes, classes, scores, count = zeros(1, 10, 4), zeros(1, 10), zeros(1, 10), zeros(1)
    boxes[0, 0], classes[0, 0], scores[0, 0] = [0.25, 0.5, 0.5, 1.0], 3, 0.9
    tensors, called = (
        (boxes, classes, scores, count),
        "detection_boxes detection_classes detection_scores num_detections",
    )
    called = " ".join(name + suffix for name in called.split())
    head = found(*tensors, names=called, nhwc=True).head
    got = head.decode(tensors, 0.5)
    assert head.family == "ssd" and head.input.fit == "stretch"
    assert (got.boxes.tolist(), got.classes.tolist()) == ([[32, 16, 64, 32]], [2])


def test_an_ssd_of_torchvision_tells_pixels_and_coco_s_own_numbers() -> None:
    # torchvision, models/detection/ssd.py, SSD.postprocess_detections: boxes in pixels, scores, labels from 1; no batch
    boxes, scores, labels = zeros(200, 4), zeros(200), np.zeros(200, np.int64)
    boxes[3], scores[3], labels[3] = [1, 2, 11, 22], 0.9, 3
    for called in ("boxes scores labels", "4211 4180 4181"):
        head = found(boxes, scores, labels, names=called).head
        got = head.decode([boxes, scores, labels], 0.5)
        assert (head.family, got.boxes.tolist(), got.classes.tolist()) == ("ssd-torchvision", [[1, 2, 11, 22]], [3])


def test_an_ssd_whose_priors_nobody_told_is_refused() -> None:
    offsets = np.random.default_rng(0).normal(size=(1, 3000, 4)).astype(np.float32)
    with pytest.raises(UnknownLayoutError, match=r"boxes \(1, 3000, 4\)"):
        found(zeros(1, 3000, 21), offsets, names="scores boxes")


@pytest.mark.parametrize("names", ["boxes scores labels", "detection_boxes detection_scores detection_classes"])
def test_lists_that_do_not_belong_together_are_refused(names: str) -> None:
    for shapes in ([(1, 5, 4), (1, 6), (1, 5)], [(5, 3), (5,), (5,)], [(2, 5, 4), (2, 5), (2, 5)], [(4,), (), ()]):
        with pytest.raises(UnknownLayoutError):
            found(*(zeros(*shape) for shape in shapes), names=names, inputs="images orig_target_sizes")


def test_efficient_nms_tells_pixels() -> None:
    # TensorRT, efficientNMSPlugin/README.md: num_detections, boxes (x1, y1, x2, y2), scores, classes
    tensors = zeros(1, 1), zeros(1, 100, 4), zeros(1, 100), np.zeros((1, 100), np.int32)
    tensors[1][0, 0], tensors[2][0, 0], tensors[3][0, 0] = [1, 2, 11, 22], 0.9, 5
    got = found(*tensors, names="num_dets boxes scores classes").head.decode(tensors, 0.5)
    assert (got.boxes.tolist(), got.classes.tolist()) == ([[1, 2, 11, 22]], [5])


def test_nanodet_plus_measures_from_the_corner_of_a_cell() -> None:
    # nanodet_plus_head.py: centre = index * stride (get_single_level_center_priors); Integral over reg_max + 1 = 8 bins
    raw = np.full((1, 85, 2 + 32), -50, dtype=np.float32)
    raw[0, :, :2] = 0
    raw[0, 19, 1] = 0.9  # stride 8, column 3, row 2: at (24, 16)
    for side, bin_ in enumerate((1, 2, 3, 4)):
        raw[0, 19, 2 + 8 * side + bin_] = 50
    head = found(raw).head
    got = head.decode([raw], 0.5)
    assert head.family == "nanodet-plus"
    assert got.boxes == pytest.approx(np.array([[24 - 8, 16 - 16, 24 + 24, 16 + 32]], dtype=float), abs=1e-6)


def test_maps_beside_a_table_change_neither_its_boxes_nor_its_corners() -> None:
    plate = [20, 16, 1, 40, 16, 1, 40, 24, 1, 20, 24, 1]
    pose, ended = zeros(1, 4 + 1 + 12 + 8, CELLS), zeros(1, 100, 6 + 12 + 8)
    pose[0, :17, 3], ended[0, 0, :18] = [30, 20, 20, 8, 0.9, *plate], [20, 16, 40, 24, 0.9, 0, *plate]
    pose[0, :4, 80] = 3
    nanodet = zeros(1, 85, 2 + 32)
    nanodet[0, 19, 1] = 0.9
    for raw, family in ((pose, "yolov8-plate"), (ended, "yolo-end-to-end-plate"), (nanodet, "nanodet-plus")):
        tensors = [raw, zeros(1, 8 if raw is not nanodet else 0, 16, 16)]
        head = found(*tensors, metadata={} if raw is nanodet else {"kpt_shape": "[4, 3]"}).head
        got = head.decode(tensors, 0.5)
        assert head.family == family and len(got.boxes) == 1
        assert got.corners is None or got.corners.tolist() == [[[20, 16], [40, 16], [40, 24], [20, 24]]]


def test_yunet_s_boxes_are_told_from_cells() -> None:
    # OpenCV, modules/objdetect/src/face_detect.cpp, postProcess: cx = (c + dx) * s, w = exp(dw) * s, sqrt(cls * obj)
    sizes = [64, 16, 4]
    called = [f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
    tensors = [zeros(1, rows, width) for width in (1, 1, 4, 10) for rows in sizes]
    tensors[1][0, 6], tensors[4][0, 6], tensors[7][0, 6] = 0.81, 1.0, [0.5, 0.25, math.log(2), 0]  # stride 16, (2, 1)
    got = found(*tensors, names=" ".join(called)).head.decode(tensors, 0.5)
    assert got.scores == pytest.approx([0.9])
    assert got.boxes == pytest.approx(np.array([[40 - 16, 20 - 8, 40 + 16, 20 + 8]], dtype=float), abs=1e-4)


def test_yolo_fastestv2_in_two_maps_is_the_same_as_in_one_table() -> None:
    golden = json.loads(next(file for file in GOLDEN if file.stem == "yolo-fastestv2").read_text())
    table = tensor_of(golden["outputs"][0])
    maps = [table[:484].reshape(1, 22, 22, 95), table[484:].reshape(1, 11, 11, 95)]
    one, two = (found(*tensors, size=352).head.decode(tensors, 0.3) for tensors in ([table], maps))
    assert one.boxes.tolist() == two.boxes.tolist()


# --- found, or refused --------------------------------------------------------------------------------------------


def test_a_sidecar_s_format_overrules_the_probe() -> None:
    model = Model(width=64, height=64, inputs=("images",), outputs={"o": zeros(1, CELLS, 7)})
    assert find_head(model).head.family == "yolox"
    assert find_head(model, "yolov6").head.family == "yolov6"
    with pytest.raises(UnknownLayoutError, match=r"`format` is 'yolov5', and the tensors are not its: .*\(1, 84, 7\)"):
        find_head(model, "yolov5")
    with pytest.raises(UnknownLayoutError, match=r"'yolo-9000'; known are .*rf-detr"):
        find_head(model, "yolo-9000")


@given(st.lists(st.lists(st.integers(0, 100), max_size=4), max_size=4), st.sampled_from([None, *FORMATS]))
def test_any_tensors_are_found_or_refused_in_words_and_decode(shapes: list[list[int]], format: str | None) -> None:
    tensors = [zeros(*shape) for shape in shapes]
    outputs = {f"o{number}": tensor for number, tensor in enumerate(tensors)}
    try:
        head = find_head(Model(width=64, height=64, inputs=("images",), outputs=outputs), format).head
    except UnknownLayoutError as error:
        assert all(str(tuple(shape)) in str(error) for shape in shapes)
    else:
        assert len(head.decode(tensors, 0.5).boxes) == 0


def test_numbers_that_are_none_are_dropped_and_never_raise() -> None:
    raw = zeros(1, CELLS, 6)
    head = found(raw).head
    raw[0, 0] = [0, 0, 5000, 0, 1, 1]  # exp overflows
    raw[0, 1] = [math.nan, 0, 0, 0, 1, 1]
    raw[0, 2] = [0, 0, 0, 0, math.nan, 1]
    raw[0, 3] = [0, 0, 0, 0, 1, 1]
    with np.errstate(all="ignore"):
        assert len(head.decode([raw], 0.5).boxes) == 1


def test_part_cells_at_the_edges_count() -> None:
    assert len(grid(416, 416, (64,))[0]) == 49


# --- suppression --------------------------------------------------------------------------------------------------


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
