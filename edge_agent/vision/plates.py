"""Licence plates: a vehicle's pixels become text, checked by the grammar and voted over frames."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np

from edge_agent.messages import Box, Plate
from edge_agent.vision.camera import Frame
from edge_agent.vision.ocr import Line, TextReader

PROVINCES = "京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新"
_S = "A-HJ-NP-Z0-9"  # serials have no I and no O
# GA 36-2018: province, authority (O on legacy official cars), five characters; new-energy vehicles have six.
GRAMMAR = re.compile(rf"[{PROVINCES}][A-HJ-Z](?:[{_S}]{{5}}|[{_S}]{{4}}[学警挂试]|[A-HJK][{_S}]\d{{4}}|\d{{5}}[A-HJK])")
ALPHABET = PROVINCES + "学警挂试ABCDEFGHJKLMNOPQRSTUVWXYZ0123456789"

CROP_SIDE, MAX_ENLARGE = 640, 3.0  # vehicles are scaled towards this side, which bounds the cost of a read
MAX_LINES = 6  # of text on one vehicle: vans carry advertisements
MAX_WAIT = 16  # times `every_s`, between tries on a plate that does not read


def canonical(text: str) -> str | None:
    """A read as the plate's own text, without dot and spaces; None where it is no plate by the grammar."""
    plain = re.sub(r"[\s·•.．・-]", "", text).upper()
    return plain if GRAMMAR.fullmatch(plain) else None


class PlateReader:
    """Reads the plate within a vehicle's box of a full frame, blocking; called from one thread at a time."""

    def __init__(self, threads: int) -> None:
        self._reader = TextReader(threads, ALPHABET)

    def read(self, frame: Frame, box: Box) -> Plate | None:
        """The plate that reads best, its box in frame pixels; None where nothing reads as a plate."""
        height, width = frame.pixels.shape[:2]
        x1, y1 = max(0, int(box[0])), max(0, int(box[1]))
        x2, y2 = min(width, int(box[2]) + 1), min(height, int(box[3]) + 1)
        if x2 - x1 < 16 or y2 - y1 < 16:
            return None
        scale = min(CROP_SIDE / max(x2 - x1, y2 - y1), MAX_ENLARGE)
        crop = np.asarray(cv2.resize(frame.pixels[y1:y2, x1:x2], None, fx=scale, fy=scale), dtype=np.uint8)
        plates = [_plate(line, x1, y1, scale) for line in self._reader.read(crop, MAX_LINES)]
        return max((plate for plate in plates if plate), key=lambda plate: plate.confidence, default=None)


@dataclass(slots=True)
class _Ballot:
    next_s: float
    wait_s: float
    reads: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: dict[str, Plate] = field(default_factory=dict)  # of each text, the read with the highest confidence


class PlateVotes:
    """When to read which track, and what its reads add up to: pure."""

    def __init__(self, every_s: float, enough: int, min_confidence: float) -> None:
        self._every_s, self._enough, self._min_confidence = every_s, enough, min_confidence
        self._ballots: dict[int, _Ballot] = {}

    def due(self, track: int, at_s: float) -> bool:
        """Whether another read of this track is worth its time."""
        ballot = self._ballots.get(track)
        return ballot is None or (ballot.reads < self._enough and at_s >= ballot.next_s)

    def add(self, track: int, at_s: float, plate: Plate | None) -> None:
        """Count one read; each failure doubles the wait for the next."""
        ballot = self._ballots.setdefault(track, _Ballot(next_s=at_s, wait_s=self._every_s))
        if plate is None or plate.confidence < self._min_confidence:
            ballot.next_s = at_s + ballot.wait_s
            ballot.wait_s = min(ballot.wait_s * 2, self._every_s * MAX_WAIT)
            return
        ballot.wait_s, ballot.next_s, ballot.reads = self._every_s, at_s + self._every_s, ballot.reads + 1
        ballot.sums[plate.text] = ballot.sums.get(plate.text, 0.0) + plate.confidence
        known = ballot.best.get(plate.text)
        votes = known.votes + 1 if known else 1
        clearest = plate if known is None or plate.confidence > known.confidence else known
        ballot.best[plate.text] = Plate(text=plate.text, confidence=clearest.confidence, box=clearest.box, votes=votes)

    def plate(self, track: int) -> Plate | None:
        """The text with the largest sum of confidences; its confidence is that sum over all reads of the track."""
        ballot = self._ballots.get(track)
        if ballot is None or not ballot.sums:
            return None
        text = max(ballot.sums, key=lambda text: ballot.sums[text])
        best = ballot.best[text]
        return Plate(text=text, confidence=ballot.sums[text] / ballot.reads, box=best.box, votes=best.votes)

    def forget(self, tracks: Iterable[int]) -> None:
        """Drop what is known of tracks that ended."""
        for track in tracks:
            self._ballots.pop(track, None)


def _plate(line: Line, left: int, top: int, scale: float) -> Plate | None:
    text = canonical(line.text)
    if text is None:
        return None
    (x1, y1), (x2, y2) = (line.quad.min(axis=0) / scale).tolist(), (line.quad.max(axis=0) / scale).tolist()
    return Plate(text=text, confidence=min(line.confidence, 1.0), box=(x1 + left, y1 + top, x2 + left, y2 + top))
