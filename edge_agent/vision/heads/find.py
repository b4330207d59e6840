"""Which family a model is of: told by its sidecar, its metadata, the names and shapes of its tensors, and a probe."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_agent.vision.heads import anchors, cells, ready
from edge_agent.vision.heads.form import IMAGENET_RGB, UNIT_RGB, Head, Input, Tensor, UnknownLayoutError, grid

MAX_READY = 1000  # rows of a table of found boxes; grids have more
QUERIES = 300  # of RT-DETR
PLATE_COLUMNS = 15
P5, P6 = (8, 16, 32), (8, 16, 32, 64)


@dataclass(frozen=True)
class Model:
    """What is known of a model before it is used: its input's size, its tensors for a grey picture, its metadata."""

    width: int
    height: int
    inputs: tuple[str, ...]  # their names
    outputs: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    nhwc: bool = False

    @property
    def tensors(self) -> list[Tensor]:
        return list(self.outputs.values())

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(tensor.shape) for tensor in self.tensors]

    def at(self, *names: str) -> tuple[int, ...] | None:
        """Where outputs of these names stand; None where one is missing."""
        there = [name.removesuffix(":0") for name in self.outputs]  # as TensorFlow's converters leave it
        return tuple(there.index(name) for name in names) if set(names) <= set(there) else None

    def cells(self, strides: Sequence[int]) -> int:
        """How many cells the strides make of the input."""
        return len(grid(self.width, self.height, strides)[0])


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
        head = FORMATS[format](model)
        if head is None:
            raise UnknownLayoutError(f"`format` is {format!r}, and the tensors are not its: {_told(model)}")
        return Found(head, "the sidecar's `format`")
    for why, look in _LOOKS:
        if (head := look(model)) is not None:
            return Found(head, why)
    raise UnknownLayoutError(
        f"{_told(model)} fit no family; if it is one of {', '.join(FORMATS)}, name it as `format` in the sidecar"
    )


# --- each: a head where the tensors fit, else None -----------------------------------------------------------------


def _yolox(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows == model.cells(P5) and columns > 5:
            return cells.Yolox(model.width, model.height, columns - 5)
    return None


def _square(model: Model) -> Head | None:
    """As many rows as columns, as of 80 classes at 64 x 64: YOLOv8's, unless the names are one fewer."""
    match model.shapes:
        case [(1, rows, columns)] if rows == columns and len(names(model.metadata) or ()) != columns - 5:
            return _yolov8(model)
    return None


def _yolov6(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows == model.cells(P5) and columns > 5:
            return cells.Rows("yolov6", columns - 5)
    return None


def _yolox_decoded(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows == model.cells(P5) and columns > 5:
            return cells.Rows("yolox-decoded", columns - 5, cells.Yolox.input)
    return None


def _one_a_cell(model: Model) -> Head | None:
    """Cell offsets are small, pixels are not: what a grey picture gives tells a raw grid from a decoded one.

    Of the decoded ones YOLOv6 has an objectness of 1 everywhere (`effidehead.py`).
    """
    head = _yolox(model)
    if head is None or _reach(model.tensors[0][0, :, :2]) <= 4 * max(P5):
        return head
    return _yolov6(model) if (model.tensors[0][0, :, 4] == 1).all() else _yolox_decoded(model)


def _yolov5(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows in (3 * model.cells(P5), 3 * model.cells(P6)) and columns > 5:
            return cells.Rows("yolov5", columns - 5)
    return None


def _yolov5_plate(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows == 3 * model.cells(P5) and columns == PLATE_COLUMNS:
            return anchors.PlateRows()
    return None


def _three_a_cell(model: Model) -> Head | None:
    """Fifteen columns are ten classes, or a plate's corners: a model that names ten classes is no plate model."""
    named = len(names(model.metadata) or ()) == PLATE_COLUMNS - 5
    return (None if named else _yolov5_plate(model)) or _yolov5(model)


def _yolov8(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows > 4 and columns in (model.cells(P5), model.cells(P6)):
            point = _corner_numbers(model)
            unit = 0 < _reach(model.tensors[0][0, :4]) <= 2.0
            classes = rows - 4 - 4 * point
            return cells.Yolov8(model.width, model.height, classes, point, unit=unit) if classes > 0 else None
    return None


def _end_to_end(model: Model) -> Head | None:
    point = _corner_numbers(model)
    match model.shapes:
        case [(1, rows, columns)] if rows <= MAX_READY and columns == 6 + 4 * point:
            return ready.end_to_end(point)
    return None


def _yolov7_end_to_end(model: Model) -> Head | None:
    match model.shapes:
        case [(_, 7)]:
            return ready.yolov7_end_to_end()
    return None


def _picodet_nms(model: Model) -> Head | None:
    match model.shapes:
        case [(_, 6), (_,)] if "scale_factor" in model.inputs:
            return ready.picodet_nms()
    return None


def _efficient_nms(model: Model) -> Head | None:
    for prefix in ("", "det_", "detection_"):
        at = model.at(f"{prefix}boxes", f"{prefix}scores", f"{prefix}classes")
        if at and (model.at("num_dets") or model.at("num_detections")) and not model.nhwc:
            return ready.Lists("efficient-nms", UNIT_RGB, at)
    return None


def _detr(model: Model) -> Head | None:
    at = model.at("boxes", "scores", "labels")
    return ready.Lists("detr", ready.STRETCHED_RGB, at) if at and "orig_target_sizes" in model.inputs else None


def _rf_detr(model: Model) -> Head | None:
    at = model.at("dets", "labels")
    if at is None:
        return None
    size = (model.width, model.height)
    return ready.Queries("rf-detr", IMAGENET_RGB, size, model.shapes[at[1]][-1], at)


def _detr_logits(model: Model) -> Head | None:
    at = model.at("pred_boxes", "logits")
    if at is None or "pixel_mask" in model.inputs:  # the first DETR of all, whose last class is nothing
        return None
    size = (model.width, model.height)
    return ready.Queries("detr-logits", ready.STRETCHED_RGB, size, model.shapes[at[1]][-1], at)


def _rt_detr_table(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows == QUERIES and columns > 6:
            size = (model.width, model.height)
            return ready.Queries("rt-detr", ready.STRETCHED_RGB, size, columns - 4)
    return None


def _ssd(model: Model) -> Head | None:
    at = model.at("detection_boxes", "detection_scores", "detection_classes")
    if at is None:
        return None
    form = Input(rgb=True, fit="stretch", nhwc=model.nhwc)
    return ready.Lists("ssd", form, at, size=(model.width, model.height), first=1)


def _nanodet_m(model: Model) -> Head | None:
    classes = _two_widths(model, P5)
    return cells.nanodet_m(model.width, model.height, classes) if classes else None


def _picodet(model: Model) -> Head | None:
    classes = _two_widths(model, P6)
    return cells.picodet(model.width, model.height, classes) if classes else None


def _nanodet_plus(model: Model) -> Head | None:
    match model.shapes:
        case [(1, rows, columns)] if rows == model.cells(P6) and columns > 32:
            return cells.nanodet_plus(model.width, model.height, columns - 32)
    return None


def _fastestdet(model: Model) -> Head | None:
    match model.shapes:
        case [(1, channels, rows, columns)] if channels > 5 and (columns, rows) == _map(model, 16):
            return cells.FastestDet(model.width, model.height, channels - 5)
    return None


def _fastest_v2(model: Model) -> Head | None:
    match model.shapes:
        case [(1, r2, c2, n2), (1, r3, c3, n3)] if n2 == n3 > 15 and [(c2, r2), (c3, r3)] == [
            _map(model, 16),
            _map(model, 32),
        ]:
            return anchors.FastestV2(model.width, model.height, n2 - 15)
        case [(rows, columns)] | [(1, rows, columns)] if columns > 15 and rows == model.cells((16, 32)):
            return anchors.FastestV2(model.width, model.height, columns - 15)
    return None


def _yunet(model: Model) -> Head | None:
    at = model.at(*(f"{name}_{stride}" for name in ("cls", "obj", "bbox") for stride in P5))
    return cells.YuNet(model.width, model.height, at) if at else None


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
    "detr": _detr, "rt-detr": _rt_detr_table, "detr-logits": _detr_logits, "rf-detr": _rf_detr, "ssd": _ssd,
    "fastestdet": _fastestdet, "yolo-fastestv2": _fastest_v2, "yunet": _yunet, "lpd-yunet": _lpd_yunet,
    "yolov5-plate": _yolov5_plate,
}  # fmt: skip

# In this order: names first, for shapes may be alike.
_LOOKS: Sequence[tuple[str, Callable[[Model], Head | None]]] = (
    ("the input `orig_target_sizes` and the outputs labels, boxes, scores", _detr),
    ("the input `scale_factor` and a table of six columns", _picodet_nms),
    ("the outputs dets and labels", _rf_detr),
    ("the outputs logits and pred_boxes", _detr_logits),
    ("the outputs cls_8 ... bbox_32", _yunet),
    ("the outputs loc, conf and iou, and as many priors", _lpd_yunet),
    ("the outputs num_dets, boxes, scores and classes", _efficient_nms),
    ("the outputs detection_boxes, detection_scores and detection_classes", _ssd),
    ("three class maps and three maps of distances", _nanodet_m),
    ("four class maps and four maps of distances", _picodet),
    ("a table of seven columns", _yolov7_end_to_end),
    ("cells of the strides 16 and 32, three anchors each", _fastest_v2),
    ("one map of stride 16", _fastestdet),
    ("three rows a cell", _three_a_cell),
    ("as many columns as cells, and as many rows", _square),
    ("one row a cell, and the values of a probe", _one_a_cell),
    ("as many columns as cells", _yolov8),
    ("a table of six columns", _end_to_end),
    ("one row a cell of the strides 8 to 64, with 32 columns of distances", _nanodet_plus),
    ("a table of queries", _rt_detr_table),
)


def names(metadata: Mapping[str, str], limit: int = 100_000) -> tuple[str, ...] | None:
    """`names` as ultralytics writes it: the repr of a dict from class number to name, or of a list; None without it.

    Raises ValueError where it is something else.
    """
    text = metadata.get("names", "")
    if not text:
        return None
    try:
        found = ast.literal_eval(text) if len(text) <= limit else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        found = None
    match found:
        case dict() if set(found) == set(range(len(found))):
            return tuple(_plain(str(found[number])) for number in range(len(found)))
        case list() | tuple():
            return tuple(_plain(str(name)) for name in found)
        case _:
            raise ValueError("its metadata `names` is no list of names")


def _plain(name: str) -> str:
    """Names are shown on terminals: nothing in them may move a cursor."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in name)


def _corner_numbers(model: Model) -> int:
    """Numbers a corner (2 or 3) where the metadata `kpt_shape` tells of four key points, else 0."""
    match model.metadata.get("kpt_shape", "")[:40].strip("[]() ").replace(" ", "").split(","):
        case ["4", "2" | "3" as numbers]:
            return int(numbers)
    return 0


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


def _reach(values: Tensor) -> float:
    """The largest of them, whatever its sign; numbers that are none do not count."""
    return float(np.nan_to_num(np.abs(values), nan=0.0).max(initial=0.0))


def _map(model: Model, stride: int) -> tuple[int, int]:
    return model.width // stride, model.height // stride


def _told(model: Model) -> str:
    inputs = ", ".join(model.inputs)
    outputs = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in model.outputs.items())
    return f"outputs {outputs or 'none'} for the inputs {inputs} of {model.width}x{model.height}"
