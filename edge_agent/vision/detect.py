"""Detectors: a frame becomes detections; sessions of ONNX Runtime, or the truth of a simulated camera."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Protocol, assert_never

from edge_agent import config
from edge_agent.messages import Detection, is_a
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame
from edge_agent.vision.coco import COCO

log = logging.getLogger(__name__)

MAX_NAMES_CHARS = 100_000
FLOOR = 0.4  # of `score`: detections down to there are given too, to carry tracks through weak frames
DEFAULT_SIZE = 640  # of models that leave their input size open


class Detector(Protocol):
    """Finds objects in a frame, blocking; is called from one thread only.

    What it gives below `score` may carry on a track, but is too weak to start one.
    """

    name: str
    labels: tuple[str, ...]
    score: float

    def detect(self, frame: Frame) -> list[Detection]: ...


def open_detector(section: config.Detector) -> Detector:
    """The detector of a config section; raises DriverError where the model is missing, broken or of no known layout."""
    match section:
        case config.OnnxDetector():
            return OnnxDetector(section)
        case config.SimulatedDetector():
            return SimulatedDetector(section)
        case _:
            assert_never(section)


class SimulatedDetector:
    """Tells what the simulated camera knows; finds nothing in the frames of any other."""

    labels: tuple[str, ...] = ("person", "vehicle")
    score = 0.5

    def __init__(self, section: config.SimulatedDetector) -> None:
        self.name = f"{section.name} (simulated)"
        log.warning("detector %s is simulated: it sees only what the simulated camera tells it", section.name)

    def __repr__(self) -> str:
        return f"<simulated detector {self.name}>"

    def detect(self, frame: Frame) -> list[Detection]:
        return list(frame.truth or ())


class OnnxDetector:
    """One ONNX model in one session; the layout of its output is found by shape."""

    def __init__(self, section: config.OnnxDetector) -> None:
        import numpy as np

        from edge_agent.vision.heads import UnknownLayoutError, find_head
        from edge_agent.vision.letterbox import PAD, Feeder
        from edge_agent.vision.session import open_session, run

        self.name, self.score, self._file = section.name, section.score, section.model
        self._nms_iou = section.nms_iou
        self._session = open_session(section.model, section.threads)
        metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        width, height = self._input_size(metadata)
        outputs = run(self._session, self._file, np.full((1, 3, height, width), PAD, dtype=np.float32))
        try:
            self._head = find_head(width, height, outputs)
        except UnknownLayoutError as error:
            raise DriverError(f"{self._file}: unknown layout: {error}") from None
        self._feeder = Feeder(width, height, self._head.input)
        self.labels = _labels(self._file, self._head.classes, metadata, section.labels)
        self._wanted = [not section.classes or any(is_a(label, n) for n in section.classes) for label in self.labels]
        if not any(self._wanted):
            raise DriverError(
                f"{self._file}: none of its labels ({_some(self.labels)}) is one of the classes "
                f"{', '.join(section.classes)}; set `classes` of detector {self.name}"
            )

    def detect(self, frame: Frame) -> list[Detection]:
        from edge_agent.vision import boxes, heads, session

        tensor, letterbox = self._feeder.feed(frame.pixels)
        output = session.run(self._session, self._file, tensor)[0]
        found = heads.suppress(self._head.decode(output, self.score * FLOOR), self._nms_iou)
        height, width = frame.pixels.shape[:2]
        placed = boxes.clip(letterbox.to_frame(found.boxes), width, height)
        return [
            Detection(label=self.labels[number], score=min(score, 1.0), box=(x1, y1, x2, y2))
            for (x1, y1, x2, y2), score, number in zip(
                placed.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
            )
            if self._wanted[number] and x2 - x1 >= 1 and y2 - y1 >= 1
        ]

    def _input_size(self, metadata: dict[str, str]) -> tuple[int, int]:
        """Width and height of the one image input; raises DriverError where it is something else."""
        inputs = self._session.get_inputs()
        match [(tuple(i.shape), i.type) for i in inputs]:
            case [((1 | str() | None, 3, height, width), "tensor(float)")]:
                open_size = _image_size(metadata)
                size = (
                    width if isinstance(width, int) else open_size[1],
                    height if isinstance(height, int) else open_size[0],
                )
                if all(32 <= side <= 4096 and side % 32 == 0 for side in size):
                    return size
        shapes = ", ".join(f"{i.name} {tuple(i.shape)} {i.type}" for i in inputs)
        raise DriverError(
            f"{self._file}: unknown layout: inputs {shapes}; wanted is one tensor(float) (1, 3, H, W), "
            "H and W multiples of 32 up to 4096"
        )


def _labels(file: Path, classes: int, metadata: dict[str, str], configured: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes: the model's own, else the configured ones, else COCO's where there are 80."""
    own = _names(file, metadata.get("names", ""))
    labels = own or configured or (COCO if classes == len(COCO) else ())
    if not labels:
        raise DriverError(f"{file}: has {classes} classes and does not name them; give their names in `labels`")
    if len(labels) != classes:
        raise DriverError(
            f"{file}: has {classes} classes, but {'its metadata' if own else '`labels`'} name {len(labels)}"
        )
    return labels


def _names(file: Path, text: str) -> tuple[str, ...]:
    """`names` as ultralytics writes it: the repr of a dict from class number to name, or of a list."""
    if not text:
        return ()
    try:
        names = ast.literal_eval(text) if len(text) <= MAX_NAMES_CHARS else None
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        names = None
    match names:
        case dict() if set(names) == set(range(len(names))):
            return tuple(str(names[number]) for number in range(len(names)))
        case list() | tuple():
            return tuple(str(name) for name in names)
        case _:
            raise DriverError(f"{file}: its metadata `names` is no list of names")


def _image_size(metadata: dict[str, str]) -> tuple[int, int]:
    """`imgsz` as ultralytics writes it, `[height, width]`, for models with an open input size."""
    match metadata.get("imgsz", "")[:100].strip("[]() ").replace(" ", "").split(","):
        case [height, width] if height.isdecimal() and width.isdecimal():
            return int(height), int(width)
        case _:
            return DEFAULT_SIZE, DEFAULT_SIZE


def _some(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
