"""Which family a model is of: told by its sidecar, its metadata, the names and shapes of its tensors, and a probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_agent.vision.coco import COCO, COCO_91
from edge_agent.vision.heads import anchors, cells, ready
from edge_agent.vision.heads.form import IMAGENET_RGB, UNIT_RGB, Head, Input, UnknownLayoutError
from edge_agent.vision.heads.model import Model, reach
from edge_agent.vision.heads.told import names, task

MAX_READY = 1000  # rows of a table of found boxes; grids have more
QUERIES = 300  # of RT-DETR
PLATE_COLUMNS = 15
P5, P6, P2 = (8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32)  # strides
LARGEST_OFFSET, LARGEST_LOGARITHM = 128.0, 10.0  # of a raw YOLOX: far beyond what any cell tells
OTHER_TASKS = ("obb", "classify", "semantic", "depth")  # of ultralytics, which are no boxes along the picture's sides


@dataclass(frozen=True)
class Found:
    """A family, and what told it."""

    head: Head
    why: str


def find_head(model: Model, format: str | None = None) -> Found:
    """The family of a model; `format` (a sidecar's) overrules what the tensors tell. Raises UnknownLayoutError."""
    if format is not None:
        if format not in FORMATS:
            raise UnknownLayoutError(f"`format` is {format!r}; known are {', '.join(FORMATS)}")
        head = FORMATS[format](replace(model, told=True))
        if head is None:
            raise UnknownLayoutError(f"`format` is {format!r}, and the tensors are not its: {model}")
        return Found(head, "the sidecar's `format`")
    if task(model.metadata) in OTHER_TASKS:
        raise UnknownLayoutError(
            f"its metadata say that its task is {task(model.metadata)!r}, which is not to find boxes: {model}; "
            f"if it is one of {', '.join(FORMATS)} all the same, name it as `format` in the sidecar"
        )
    for why, look in _LOOKS:
        if (head := look(model)) is not None:
            return Found(head, why)
    raise UnknownLayoutError(
        f"{model} fit no family; if it is one of {', '.join(FORMATS)}, name it as `format` in the sidecar"
    )


# --- each: a head where the tensors fit, else None -----------------------------------------------------------------


def _yolox(model: Model) -> Head | None:
    rows, columns = model.table
    fits = rows == model.cells(P5) and columns > 5
    return cells.Yolox(model.width, model.height, columns - 5) if fits else None


def _yolov6(model: Model) -> Head | None:
    return cells.Rows("yolov6", model.table[1] - 5) if _yolox(model) else None


def _yolox_decoded(model: Model) -> Head | None:
    return cells.Rows("yolox-decoded", model.table[1] - 5, cells.Yolox.input) if _yolox(model) else None


def _one_a_cell(model: Model) -> Head | None:
    """What a grey picture gives tells a raw grid, of offsets in cells and logarithms of sizes, from a decoded one.

    Of the decoded ones YOLOv6 has an objectness of 1 everywhere (`effidehead.py`).
    """
    head = _yolox(model)
    if head is None:
        return None
    table = model.tensors[0][0]
    if reach(table[:, :2]) <= LARGEST_OFFSET and reach(table[:, 2:4]) <= LARGEST_LOGARITHM:
        return head
    told = table[(table[:, :4] != 0).any(axis=1)]
    return _yolov6(model) if (told[:, 4] == 1).all() else _yolox_decoded(model)


def _yolov5(model: Model) -> Head | None:
    rows, columns = model.table
    classes = columns - 5 - model.beside
    fits = classes > 0 and rows in [3 * model.cells(strides) for strides in (P5, P6)]
    return cells.Rows("yolov5", classes) if fits else None


def _yolov5_plate(model: Model) -> Head | None:
    rows, columns = model.table
    fits = rows == 3 * model.cells(P5) and columns > anchors.PlateRows.FIRST_CLASS
    return anchors.PlateRows(columns - anchors.PlateRows.FIRST_CLASS) if fits else None


def _three_a_cell(model: Model) -> Head | None:
    """Fifteen columns are ten classes, or a plate's corners: a model that names ten classes is no plate model."""
    plate = model.table[1] == PLATE_COLUMNS and len(names(model.metadata) or ()) != PLATE_COLUMNS - 5
    return (_yolov5_plate(model) if plate else None) or _yolov5(model)


def _yolov8(model: Model) -> Head | None:
    """A column a cell, as ultralytics exports it; a row a cell in some other exports."""
    return _yolov8_columns(model) or _yolov8_head(model, *model.table, turned=True)


def _yolov8_columns(model: Model) -> Head | None:
    numbers, count = model.table
    return _yolov8_head(model, count, numbers, turned=False)


def _yolov8_rows(model: Model) -> Head | None:
    """Without an objectness: told from YOLOX and YOLOv6 by as many names, or COCO's 80, as classes."""
    head = _yolov8_head(model, *model.table, turned=True)
    return head if head and head.classes == len(names(model.metadata) or COCO) else None


def _yolov8_head(model: Model, count: int, numbers: int, *, turned: bool) -> Head | None:
    classes = numbers - 4 - model.beside
    if classes < 1 or count not in [model.cells(strides) for strides in (P5, P6, P2)]:
        return None
    whole = model.tensors[0][0]
    unit = 0 < reach(whole[:, :4] if turned else whole[:4]) <= 2.0
    return cells.Yolov8(model.width, model.height, classes, model.corner_numbers, unit=unit, turned=turned)


def _square(model: Model) -> Head | None:
    """As many rows as columns, as of 80 classes at 64 x 64: YOLOv8's, unless the names are one fewer."""
    rows, columns = model.table
    own = rows == columns > 0 and len(names(model.metadata) or ()) != columns - 5
    return _yolov8_columns(model) if own else None


def _end_to_end(model: Model) -> Head | None:
    rows, columns = model.table
    fits = rows <= MAX_READY and columns == 6 + model.beside
    return ready.end_to_end(model.corner_numbers) if fits else None


def _yolov7_end_to_end(model: Model) -> Head | None:
    match model.shapes:
        case [(_, 7)] if not model.at("graph2_flat_predictions"):  # YOLO-NAS', whose last two columns change places
            return ready.yolov7_end_to_end()
    return None


def _picodet_nms(model: Model) -> Head | None:
    match model.shapes:
        case [(_, 6), (_,)] if "scale_factor" in model.inputs:
            return ready.picodet_nms(detr="im_shape" in model.inputs)
    return None


def _efficient_nms(model: Model) -> Head | None:
    for prefix in ("", "det_", "detection_"):
        at = model.lists(f"{prefix}boxes", f"{prefix}scores", f"{prefix}classes")
        if at and (model.at("num_dets") or model.at("num_detections")) and not model.nhwc:
            fractions = 0 < reach(model.tensors[at[0]]) <= 2.0  # are TensorFlow's, under the same names
            return None if fractions else ready.Lists("efficient-nms", UNIT_RGB, at)
    return None


def _detr(model: Model) -> Head | None:
    at = model.lists("boxes", "scores", "labels")
    return ready.Lists("detr", ready.STRETCHED_RGB, at) if at and "orig_target_sizes" in model.inputs else None


def _rf_detr(model: Model) -> Head | None:
    at = model.queries("dets", "labels")
    if at is None:
        return None
    return ready.Queries("rf-detr", IMAGENET_RGB, (model.width, model.height), model.shapes[at[1]][-1], at)


def _detr_logits(model: Model) -> Head | None:
    """A sigmoid for each class: RT-DETR and D-FINE count COCO's 80 classes, older ones its 91 numbers."""
    at = model.queries("pred_boxes", "logits") or model.queries("pred_boxes", "pred_logits")
    if at is None:
        return None
    classes = model.shapes[at[1]][-1]
    form = IMAGENET_RGB if classes == len(COCO_91) or "pixel_mask" in model.inputs else ready.STRETCHED_RGB
    return ready.Queries("detr-logits", form, (model.width, model.height), classes, at)


def _detr_softmax(model: Model) -> Head | None:
    """The first DETR, YOLOS and Table Transformer: a softmax over the classes and, last, nothing."""
    at = model.queries("pred_boxes", "logits") or model.queries("pred_boxes", "pred_logits")
    if at is None or (classes := model.shapes[at[1]][-1] - 1) < 1:
        return None
    size = (model.width, model.height)
    return ready.Queries("detr-softmax", IMAGENET_RGB, size, classes, at, softmax=True)


def _detr_with_nothing(model: Model) -> Head | None:
    head = _detr_softmax(model)
    return head if head and head.classes == len(names(model.metadata) or COCO_91) else None


def _rt_detr_table(model: Model) -> Head | None:
    """Boxes in fractions, then a score a class; or, of later exports, the score and the class: a whole number.

    Such tables are those of end-to-end YOLOs too, whose boxes are pixels, or nothing for a grey picture.
    """
    rows, columns = model.table
    if rows != QUERIES or columns < 5:
        return None
    size, table = (model.width, model.height), model.tensors[0][0]
    largest = reach(table[:, :4])
    if largest > 2.0 or (largest == 0 and columns == 6 + model.beside):
        return None
    if columns == 6 and (table[:, 5] == np.round(table[:, 5])).all():
        return ready.rt_detr_found(size)
    return ready.Queries("rt-detr", ready.STRETCHED_RGB, size, columns - 4)


def _ssd(model: Model) -> Head | None:
    at = model.lists("detection_boxes", "detection_scores", "detection_classes")
    if at is None:
        return None
    form = Input(rgb=True, fit="stretch", nhwc=model.nhwc)
    return ready.Lists("ssd", form, at, size=(model.width, model.height), first=1)


def _ssd_torchvision(model: Model) -> Head | None:
    """Nothing else gives lists without a batch, of boxes, numbers and whole numbers: their names may be any."""
    flat = replace(model, told=model.told or all(len(shape) < 3 for shape in model.shapes))
    at = flat.lists("boxes", "scores", "labels")
    return ready.Lists("ssd-torchvision", ready.STRETCHED_RGB, at) if at and len(model.inputs) == 1 else None


def _ssd_scores(model: Model) -> Head | None:
    """Where the corners are not in order, they are offsets from priors that nobody has told."""
    at = model.at("boxes", "scores")
    match [model.shapes[i] for i in at or ()]:
        case [(1, count, 4), (1, scored, numbers)] if count == scored and numbers > 1 and len(model.shapes) == 2:
            boxes = model.tensors[at[0]][0] if at else np.empty((0, 4))
            if (boxes[:, 2:] >= boxes[:, :2]).all():
                return ready.Scored(model.width, model.height, numbers - 1, at or ())
    return None


def _nanodet_m(model: Model) -> Head | None:
    classes = _two_widths(model, P5)
    return cells.nanodet_m(model.width, model.height, classes) if classes else None


def _picodet(model: Model) -> Head | None:
    classes = _two_widths(model, P6)
    return cells.picodet(model.width, model.height, classes) if classes else None


def _nanodet_plus(model: Model) -> Head | None:
    rows, columns = model.table
    fits = rows == model.cells(P6) and columns > 32
    return cells.nanodet_plus(model.width, model.height, columns - 32) if fits else None


def _fastestdet(model: Model) -> Head | None:
    match model.shapes:
        case [(1, channels, rows, columns)] if channels > 5 and (columns, rows) == model.map(16):
            return cells.FastestDet(model.width, model.height, channels - 5)
    return None


def _fastest_v2(model: Model) -> Head | None:
    match model.shapes:
        case [(1, r2, c2, n2), (1, r3, c3, n3)] if n2 == n3 > 15 and [(c2, r2), (c3, r3)] == [
            model.map(16),
            model.map(32),
        ]:
            return anchors.FastestV2(model.width, model.height, n2 - 15)
        case [(rows, columns)] | [(1, rows, columns)] if columns > 15 and rows == model.cells((16, 32)):
            return anchors.FastestV2(model.width, model.height, columns - 15)
    return None


def _yunet(model: Model) -> Head | None:
    at = model.at(*(f"{name}_{stride}" for name in ("cls", "obj", "bbox") for stride in P5))
    sizes = [model.cells((stride,)) * width for width in (1, 1, 4) for stride in P5]
    if at is None or [model.tensors[i].size for i in at] != sizes:
        return None
    return cells.YuNet(model.width, model.height, at)


def _lpd_yunet(model: Model) -> Head | None:
    at = model.at("loc", "conf", "iou")
    if at is None:
        return None
    head = anchors.LpdYuNet(model.width, model.height, at)
    return head if [model.shapes[i] for i in at] == [(head.priors, n) for n in (14, 2, 1)] else None


FORMATS: Mapping[str, Callable[[Model], Head | None]] = {
    "yolox": _yolox, "yolox-decoded": _yolox_decoded, "yolov5": _yolov5, "yolov6": _yolov6, "yolov8": _yolov8,
    "yolo-end-to-end": _end_to_end, "yolov7-end-to-end": _yolov7_end_to_end, "efficient-nms": _efficient_nms,
    "nanodet-m": _nanodet_m, "nanodet-plus": _nanodet_plus, "picodet": _picodet, "picodet-nms": _picodet_nms,
    "detr": _detr, "rt-detr": _rt_detr_table, "detr-logits": _detr_logits, "detr-softmax": _detr_softmax,
    "rf-detr": _rf_detr, "ssd": _ssd, "ssd-torchvision": _ssd_torchvision, "ssd-scores": _ssd_scores,
    "fastestdet": _fastestdet, "yolo-fastestv2": _fastest_v2, "yunet": _yunet, "lpd-yunet": _lpd_yunet,
    "yolov5-plate": _yolov5_plate,
}  # fmt: skip

# In this order: names first, for shapes may be alike.
_LOOKS: Sequence[tuple[str, Callable[[Model], Head | None]]] = (
    ("the input `orig_target_sizes` and the outputs labels, boxes, scores", _detr),
    ("the input `scale_factor` and a table of six columns", _picodet_nms),
    ("the outputs dets and labels", _rf_detr),
    ("the outputs logits and pred_boxes, and one class more than names", _detr_with_nothing),
    ("the outputs logits and pred_boxes", _detr_logits),
    ("the outputs cls_8 ... bbox_32", _yunet),
    ("the outputs loc, conf and iou, and as many priors", _lpd_yunet),
    ("the outputs num_dets, boxes, scores and classes", _efficient_nms),
    ("the outputs detection_boxes, detection_scores and detection_classes", _ssd),
    ("lists of boxes, scores and labels, and no size asked for", _ssd_torchvision),
    ("the outputs boxes and scores, and corners in order", _ssd_scores),
    ("three class maps and three maps of distances", _nanodet_m),
    ("four class maps and four maps of distances", _picodet),
    ("a table of seven columns", _yolov7_end_to_end),
    ("cells of the strides 16 and 32, three anchors each", _fastest_v2),
    ("one map of stride 16", _fastestdet),
    ("three rows a cell", _three_a_cell),
    ("as many columns as cells, and as many rows", _square),
    ("one row a cell, and as many classes as names", _yolov8_rows),
    ("one row a cell, and the values of a probe", _one_a_cell),
    ("as many columns as cells", _yolov8_columns),
    ("a table of queries, and boxes in fractions", _rt_detr_table),
    ("a table of six columns", _end_to_end),
    ("one row a cell of the strides 8 to 64, with 32 columns of distances", _nanodet_plus),
)


def _two_widths(model: Model, strides: Sequence[int]) -> int:
    """How many classes, where the tensors are a class map and a map of distances for each stride; else 0."""
    rows = [model.cells((stride,)) for stride in strides]
    if len(model.shapes) != 2 * len(strides) or any(len(shape) not in (2, 3) for shape in model.shapes):
        return 0
    for named, sides in (
        (model.shapes[: len(strides)], model.shapes[len(strides) :]),
        (model.shapes[::2], model.shapes[1::2]),
    ):
        widths = {shape[-1] for shape in named}
        if [shape[-2] for shape in (*named, *sides)] == rows * 2 and {shape[-1] for shape in sides} == {32}:
            return widths.pop() if len(widths) == 1 and widths != {32} else 0
    return 0
