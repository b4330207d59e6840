"""Which parts of a large picture the detector looks at, and how their finds become one list; pure.

A person from 60 m up is a dozen pixels wide, and gone in a picture shrunk to the net's size. So every few frames the
whole picture is looked at, and between them some tiles at full size: those with tracks, those on zones, then the
others in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edge_agent.messages import Box, Detection
from edge_agent.vision.boxes import Floats, area

OVERLAP = 0.2  # of a tile's side that its neighbour sees too: a small object is whole in one of them
SAME_IOS = 0.6  # of the smaller box covered: two tiles saw one object
EDGE_PX = 2.0  # a box so near to an inner border is cut by it

Region = tuple[int, int, int, int]  # x1, y1, x2, y2 in frame pixels


class Tiles:
    """The turns of one camera; `side_px` of a tile, `each` tiles a frame, the whole picture every `full_every`."""

    def __init__(self, side_px: int, each: int, full_every: int) -> None:
        self._side_px, self._each, self._full_every = side_px, each, full_every
        self._size = (0, 0)
        self._tiles: list[Region] = []
        self._waited: list[int] = []  # frames since each tile was looked at
        self._frame = 0

    def turn(self, width: int, height: int, tracks: Sequence[Box], zones: Sequence[Box], each: int) -> list[Region]:
        """What to look at in this frame, `each` tiles at most; the whole picture where it is no larger than a tile."""
        whole = (0, 0, width, height)
        if (width, height) != self._size:
            self._size, self._frame = (width, height), 0
            self._tiles = cut(width, height, self._side_px)
            self._waited = [len(self._tiles)] * len(self._tiles)
        self._frame += 1
        if len(self._tiles) <= 1 or (self._frame - 1) % self._full_every == 0:
            return [whole]
        worth = [
            waited * (1 + 2 * _touches(tile, zones) + 4 * _touches(tile, tracks))
            for tile, waited in zip(self._tiles, self._waited, strict=True)
        ]
        chosen = sorted(sorted(range(len(worth)), key=lambda i: (-worth[i], i))[: min(each, self._each)])
        self._waited = [1 if i in chosen else waited + 1 for i, waited in enumerate(self._waited)]
        return [self._tiles[i] for i in chosen] or [whole]


def cut(width: int, height: int, side_px: int) -> list[Region]:
    """Tiles of one size that cover the picture, neighbours overlapping by OVERLAP or more."""
    across, down = _starts(width, side_px), _starts(height, side_px)
    wide, high = min(side_px, width), min(side_px, height)
    return [(x, y, x + wide, y + high) for y in down for x in across]


def merge(found: Sequence[tuple[Region, Sequence[Detection]]], width: int, height: int) -> list[Detection]:
    """Finds of several regions, in frame pixels, as one list: what two of them saw is told once.

    The better is kept: what no inner border cuts, then the higher score. The overlap is taken over the smaller box, as
    a tile may see but a part (SAHI's IoS). Within one region nothing is merged.
    """
    rows = [
        (number, detection, _cut(detection.box, region, width, height))
        for number, (region, detections) in enumerate(found)
        for detection in detections
    ]
    if len(found) < 2 or len(rows) < 2:
        return [detection for _, detection, _ in rows]
    rows.sort(key=lambda row: (row[2], -row[1].score))
    boxes: Floats = np.array([detection.box for _, detection, _ in rows])
    areas = np.maximum(area(boxes), 1e-9)
    kept: list[int] = []
    for i, (number, detection, _) in enumerate(rows):
        others = [k for k in kept if rows[k][0] != number and rows[k][1].label == detection.label]
        if others and (_common(boxes[others], boxes[i]) / np.minimum(areas[others], areas[i])).max() > SAME_IOS:
            continue
        kept.append(i)
    return [rows[i][1] for i in kept]


def _starts(length: int, side_px: int) -> list[int]:
    if length <= side_px:
        return [0]
    count = 1 + int(np.ceil((length - side_px) / (side_px * (1 - OVERLAP))))
    return [round(i * (length - side_px) / (count - 1)) for i in range(count)]


def _touches(tile: Region, boxes: Iterable[Box]) -> bool:
    """Whether the middle of any box lies in the tile."""
    x1, y1, x2, y2 = tile
    return any(x1 <= (b[0] + b[2]) / 2 < x2 and y1 <= (b[1] + b[3]) / 2 < y2 for b in boxes)


def _cut(box: Box, region: Region, width: int, height: int) -> bool:
    """Whether a border of the region that is none of the picture's cuts the box."""
    inner = (region[0] > 0, region[1] > 0, region[2] < width, region[3] < height)
    return any(there and abs(box[side] - region[side]) <= EDGE_PX for side, there in enumerate(inner))


def _common(boxes: Floats, box: Floats) -> Floats:
    """Area that each box shares with one."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    common: Floats = np.clip(sides, 0, None).prod(axis=1)
    return common
