"""Where the detector looks in a frame: at the whole of it, or at some tiles within a budget of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_agent.config import Tiles
from edge_agent.messages import Box, Detection
from edge_agent.vision import tiles
from edge_agent.vision.camera import Frame

MEMORY = 0.8  # of what one look has cost


class Looker:
    """Asks the detector of one camera; `zones` are boxes in fractions of the frame that deserve more looks."""

    def __init__(
        self, detect: Callable[[Frame], list[Detection]], section: Tiles | None, zones: Sequence[Box] = ()
    ) -> None:
        self.detect, self._section = detect, section
        self.most: int | None = None  # looks a frame that may be taken, whatever the budget
        self.zones = tuple(zones)
        self._turns = tiles.Tiles(section.side_px, section.each, section.full_every) if section else None
        self._cost_s = 0.0  # of one look, as it was lately

    def look(self, frame: Frame, tracks: Sequence[Box]) -> list[Detection]:
        """What the detector finds in this frame, in pixels of the frame; `tracks` are where objects should be."""
        if self._turns is None or self._section is None:
            return self.detect(frame)
        height, width = frame.pixels.shape[:2]
        zones = [(x1 * width, y1 * height, x2 * width, y2 * height) for x1, y1, x2, y2 in self.zones]
        regions = self._turns.turn(width, height, tracks, zones, self._affordable())
        return tiles.merge([(region, self._in(region, frame)) for region in regions], width, height)

    def _affordable(self) -> int:
        """How many looks the budget pays for, one at least."""
        assert self._section
        paid = int(self._section.budget_ms / 1000 / self._cost_s) if self._cost_s else self._section.each
        return max(1, paid if self.most is None else min(paid, self.most))

    def _in(self, region: tiles.Region, frame: Frame) -> list[Detection]:
        began_s = time.perf_counter()
        x, y, right, bottom = region
        height, width = frame.pixels.shape[:2]
        whole = (right - x, bottom - y) == (width, height)
        found = self.detect(frame if whole else replace(frame, pixels=frame.pixels[y:bottom, x:right], lores=None))
        took_s = time.perf_counter() - began_s
        self._cost_s = MEMORY * self._cost_s + (1 - MEMORY) * took_s if self._cost_s else took_s
        return [
            Detection(label=d.label, score=d.score, box=(d.box[0] + x, d.box[1] + y, d.box[2] + x, d.box[3] + y))
            for d in found
        ]
