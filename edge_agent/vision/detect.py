"""Detectors: a frame becomes detections; sessions of ONNX Runtime, or the truth of a simulated camera."""

from __future__ import annotations

import logging
from typing import Protocol, assert_never

from edge_agent import config
from edge_agent.messages import Detection, is_a
from edge_agent.runtime import DriverError
from edge_agent.vision.camera import Frame

log = logging.getLogger(__name__)

DEFAULT = "person-vehicle"  # the detector where none is named
FLOOR = 0.4  # of `score`: detections down to there are given too, to carry tracks through weak frames


class Detector(Protocol):
    """Finds objects in a frame, blocking; is called from one thread only.

    What it gives below `score` may carry on a track, but is too weak to start one. `share` is how much of its net's
    pixels it uses, None where that is fixed. Both may be set between two frames.
    """

    name: str
    labels: tuple[str, ...]
    score: float
    share: float | None

    def detect(self, frame: Frame) -> list[Detection]: ...


def open_detector(section: config.Detector) -> Detector:
    """The detector of a config section; raises DriverError where the model is missing, broken or of no known layout."""
    match section:
        case config.OnnxDetector(socket=None):
            return OnnxDetector(section)
        case config.OnnxDetector(socket=path):
            from edge_agent.vision.child import ChildDetector

            assert path is not None
            return ChildDetector(section, path)
        case config.SimulatedDetector():
            return SimulatedDetector(section)
        case _:
            assert_never(section)


class SimulatedDetector:
    """Tells what the simulated camera knows; finds nothing in the frames of any other."""

    labels: tuple[str, ...] = ("person", "vehicle")
    score = 0.5
    share: float | None = None

    def __init__(self, section: config.SimulatedDetector) -> None:
        self.name = f"{section.name} (simulated)"
        log.warning("detector %s is simulated: it sees only what the simulated camera tells it", section.name)

    def __repr__(self) -> str:
        return f"<simulated detector {self.name}>"

    def detect(self, frame: Frame) -> list[Detection]:
        return list(frame.truth or ())


class OnnxDetector:
    """One ONNX model of any family that `heads.find` knows."""

    def __init__(self, section: config.OnnxDetector) -> None:
        from edge_agent.catalogue import store
        from edge_agent.vision.net import Net

        self.name, self.score, self._nms_iou = section.name, section.score, section.nms_iou
        model = store.resolve(section.model or DEFAULT)
        self._net = Net(model, section.threads, section.labels, section.side_px)
        self.labels = self._net.labels
        self.share: float | None = 1.0 if self._net.open else None
        self._wanted = [
            bool(label) and (not section.classes or any(is_a(label, name) for name in section.classes))
            for label in self.labels
        ]
        if not any(self._wanted):
            raise DriverError(
                f"{model}: none of its labels ({_some(self.labels)}) is one of the classes "
                f"{', '.join(section.classes)}; set `classes` of detector {self.name}, or its `labels`"
            )

    def detect(self, frame: Frame) -> list[Detection]:
        from edge_agent.vision import boxes
        from edge_agent.vision.heads.form import strongest, suppress

        found, letterbox = self._net.look(frame.pixels, frame.lores, self.score * FLOOR, self.share or 1.0)
        found = suppress(found, self._nms_iou) if self._net.head.overlapping else strongest(found)
        height, width = frame.pixels.shape[:2]
        placed = boxes.clip(letterbox.to_frame(found.boxes), width, height)
        return [
            Detection(label=self.labels[number], score=min(score, 1.0), box=(x1, y1, x2, y2))
            for (x1, y1, x2, y2), score, number in zip(
                placed.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True
            )
            if number < len(self.labels) and self._wanted[number] and x2 - x1 >= 1 and y2 - y1 >= 1
        ]


def _some(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:8]) + (", ..." if len(labels) > 8 else "")
