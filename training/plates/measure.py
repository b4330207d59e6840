"""How well plates are found: average precision at an overlap of one half, and how far corners are off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from edge_agent.vision import boxes
from training.plates.detector import PlateDetectorNet
from training.plates.render import Floats, Pixels

INPUT_SIDE = 640
FLOOR = 0.05


class Photograph(NamedTuple):
    """A picture whose plates are all known: corners (n, 4, 2), from the top left, clockwise."""

    name: str
    pixels: Pixels
    corners: Floats


class Found(NamedTuple):
    """Scores (n,), falling, and corners (n, 4, 2) in pixels of the picture."""

    scores: Floats
    corners: Floats


class Figures(NamedTuple):
    """AP50, and the mean error of corners of those found, in widths of the plate."""

    ap50: float
    corner_error: float


def photographs(folder: Path) -> list[Photograph]:
    """The labelled photographs of a folder of plates."""
    told = json.loads((folder.parent / "ground_truth.json").read_text())
    quads: dict[int, list[list[list[float]]]] = {}
    for one in told["annotations"]:
        if one["category_id"] == 3:
            x, y, w, h = one["bbox"]
            quad = one.get("quad") or [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
            quads.setdefault(one["image_id"], []).append(quad)
    found = []
    for image in told["images"]:
        if image["file_name"].startswith(f"{folder.name}/") and "plate" in image["annotated_classes"]:
            pixels = np.asarray(cv2.imread(str(folder.parent / image["file_name"])), np.uint8)
            corners = np.array(quads.get(image["id"], []), np.float32).reshape(-1, 4, 2)
            found.append(Photograph(image["file_name"], pixels, corners))
    return found


def found_plates(net: PlateDetectorNet, pixels: Pixels, side: int = INPUT_SIDE) -> Found:
    """What a network finds in a BGR picture, letterboxed into a square."""
    scale = side / max(pixels.shape[:2])
    small = cv2.resize(
        pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    framed = np.full((side, side, 3), 114, np.uint8)
    framed[: small.shape[0], : small.shape[1]] = small[:side, :side]
    tensor = torch.from_numpy(framed[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255
    net.eval()
    with torch.inference_mode():
        rows = net(tensor)[0].T.numpy()
    scores = rows[:, 4:6].max(axis=1)
    rows, scores = rows[scores > FLOOR], scores[scores > FLOOR]
    order = np.argsort(-scores)[:200]
    corners = rows[order, 6:].reshape(-1, 4, 2)
    kept = suppressed(_around(corners), 0.5)
    return Found(scores[order][kept], corners[kept] / scale)


def suppressed(found: Floats, iou: float) -> list[int]:
    """Which boxes stay, best first, when those that overlap a better one by more than `iou` go."""
    kept: list[int] = []
    for i in range(len(found)):
        if all(boxes.iou(found[i][None], found[k][None])[0] <= iou for k in kept):
            kept.append(i)
    return kept


def precision_recall(pairs: Sequence[tuple[Found, Floats]]) -> Figures:
    """Over pictures: what was found, and what there is."""
    scores, hits, errors, total = [], [], [], 0
    for found, truth in pairs:
        total += len(truth)
        taken: set[int] = set()
        overlaps = np.zeros((len(found.corners), len(truth)))
        if len(truth) and len(found.corners):
            overlaps = boxes.iou(_around(found.corners)[:, None], _around(truth)[None])
        for i, score in enumerate(found.scores):
            free = [(overlaps[i, j], j) for j in range(len(truth)) if j not in taken and overlaps[i, j] >= 0.5]
            scores.append(float(score))
            hits.append(bool(free))
            if free:
                j = max(free)[1]
                taken.add(j)
                off = np.linalg.norm(found.corners[i] - truth[j], axis=1).mean()
                errors.append(float(off / np.linalg.norm(truth[j][1] - truth[j][0])))
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits, dtype=float)[order])
    recall = right / max(total, 1)
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1] if len(right) else np.zeros(0)
    area = float(np.sum(np.diff(np.concatenate([[0.0], recall])) * envelope)) if len(right) else 0.0
    return Figures(area, float(np.mean(errors)) if errors else float("nan"))


def _around(corners: Floats) -> Floats:
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
