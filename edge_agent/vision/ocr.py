"""PP-OCRv4 through ONNX Runtime: where lines of text are in a picture, and what they say in a given alphabet."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.runtime import DriverError
from edge_agent.vision.session import open_backend
from edge_agent.vision.votes import Calibration

Pixels = npt.NDArray[np.uint8]
Quad = npt.NDArray[np.float32]  # (4, 2) corners: top left, top right, bottom right, bottom left

MAP_THRESHOLD, BOX_THRESHOLD, UNCLIP = 0.3, 0.5, 1.6  # PaddleOCR's values for its PP-OCRv4 detector
LINE_HEIGHT, LINE_WIDTH = 48, 320  # what the recogniser was trained on
MAX_CONTOURS = 100
SEPARATORS = "·•.．・-—:"
LEAST = 0.001  # chances below it are nobody's


class Line(NamedTuple):
    """One line of text: the mean probability of its characters, and its corners in pixels of the picture."""

    text: str
    confidence: float
    quad: Quad
    places: tuple[dict[str, float], ...] = ()  # the chances of the characters at each place


class TextReader:
    """Finds and reads lines of text, blocking; characters outside `alphabet` are never read."""

    calibration = Calibration(0.72, 0.46)  # on 508 real plates, each made worse in three ways: bench/plates.py

    def __init__(self, threads: int, alphabet: str) -> None:
        spec = importlib.util.find_spec("rapidocr_onnxruntime")  # only its files: the package itself is loud and heavy
        if spec is None or spec.origin is None:
            raise DriverError(
                "the plate reader rapidocr needs a Python package that is not installed: "
                "pip install 'edge-agent[rapidocr]' (the reader built-in needs none, and reads plates of CN alone)"
            )
        models = Path(spec.origin).parent / "models"
        self._find = open_backend(models / "ch_PP-OCRv4_det_infer.onnx", threads)
        self._read = open_backend(models / "ch_PP-OCRv4_rec_infer.onnx", threads)
        characters = self._read.metadata["character"].splitlines()
        self._characters = ["", *characters, " "]  # CTC's blank comes first
        allowed = {"", *alphabet}
        self._allowed = np.array([i for i, c in enumerate(self._characters) if c in allowed])
        self._between = np.array([i for i, c in enumerate(self._characters) if c in SEPARATORS])

    def read(self, pixels: Pixels, max_lines: int, max_side: int | None = None) -> list[Line]:
        """The largest lines of a BGR picture, looked for where its longer side is `max_side` pixels at most."""
        scale = 1.0 if max_side is None else min(1.0, max_side / max(pixels.shape[:2]))
        height, width = (max(32, round(side * scale / 32) * 32) for side in pixels.shape[:2])
        small = cv2.resize(pixels, (width, height)).astype(np.float32)
        tensor = np.ascontiguousarray((small / 127.5 - 1).transpose(2, 0, 1)[None])
        chance = self._find.run({self._find.inputs[0].name: tensor})[0][0, 0]
        back = np.array([pixels.shape[1] / width, pixels.shape[0] / height], dtype=np.float32)
        quads = sorted((quad * back for quad in find_lines(chance)), key=cv2.contourArea, reverse=True)
        return [self.line(pixels, quad) for quad in quads[:max_lines]]

    def line(self, pixels: Pixels, quad: Quad) -> Line:
        """What stands between four corners."""
        long, high = float(np.linalg.norm(quad[1] - quad[0])), float(np.linalg.norm(quad[3] - quad[0]))
        width = int(np.clip(round(LINE_HEIGHT * long / max(high, 1.0)), 1, LINE_WIDTH))
        upright = np.array([[0, 0], [width, 0], [width, LINE_HEIGHT], [0, LINE_HEIGHT]], dtype=np.float32)
        flat = cv2.warpPerspective(
            pixels,
            cv2.getPerspectiveTransform(quad, upright),
            (width, LINE_HEIGHT),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        tensor = np.zeros((1, 3, LINE_HEIGHT, LINE_WIDTH), dtype=np.float32)
        tensor[0, :, :, :width] = (flat.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)
        chances = self._read.run({self._read.inputs[0].name: tensor})[0][0]
        chances[chances[:, self._between].max(axis=1) > 0.5, 0] = 1.0  # between characters, and none of them
        peaks, indices, confidence = read_ctc(chances, self._allowed)
        places = tuple(self._place(chances[peak]) for peak in peaks)
        return Line("".join(self._characters[i] for i in indices), confidence, quad, places)

    def _place(self, row: npt.NDArray[np.float32]) -> dict[str, float]:
        likely = self._allowed[(row[self._allowed] > LEAST) & (self._allowed > 0)]
        return {self._characters[i]: float(row[i]) for i in likely}


def find_lines(chance: npt.NDArray[np.float32]) -> list[Quad]:
    """Corners of the text lines in a map (H, W) of probabilities: differentiable binarization (Liao et al., 2020)."""
    mask = cv2.dilate((chance > MAP_THRESHOLD).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    quads = []
    for contour in contours[:MAX_CONTOURS]:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        if min(width, height) < 3:
            continue
        x, y, w, h = cv2.boundingRect(contour)
        inside = np.zeros((h, w), np.uint8)
        cv2.fillPoly(inside, [contour - [x, y]], 1)
        if cv2.mean(chance[y : y + h, x : x + w], inside)[0] < BOX_THRESHOLD:
            continue
        margin = width * height * UNCLIP / (2 * (width + height))  # the map holds shrunken lines
        quads.append(_ordered(cv2.boxPoints((centre, (width + 2 * margin, height + 2 * margin), angle))))
    return quads


def read_ctc(chances: npt.NDArray[np.float32], allowed: npt.NDArray[np.intp]) -> tuple[list[int], list[int], float]:
    """Best path through (T, C) probabilities of the `allowed` characters, 0 = blank.

    Returns when each character is clearest, which it is, and the mean probability of them.
    """
    open_chances = chances[:, allowed]
    path = allowed[open_chances.argmax(axis=1)]
    first = np.concatenate([[True], path[1:] != path[:-1]]) & (path != 0)
    if not first.any():
        return [], [], 0.0
    chance, peaks = open_chances.max(axis=1), list[int]()
    for start in np.flatnonzero(first):
        end = start
        while end + 1 < len(path) and path[end + 1] == path[start]:
            end += 1
        peaks.append(int(start + chance[start : end + 1].argmax()))
    return peaks, path[first].tolist(), float(chance[first].mean())


def _ordered(points: npt.NDArray[Any]) -> Quad:
    """Four corners as top left, top right, bottom right, bottom left of a line that runs from left to right."""
    by_x = points[np.argsort(points[:, 0], kind="stable")]
    (top_left, bottom_left), (top_right, bottom_right) = (pair[np.argsort(pair[:, 1])] for pair in (by_x[:2], by_x[2:]))
    return np.array([top_left, top_right, bottom_right, bottom_left], dtype=np.float32)
