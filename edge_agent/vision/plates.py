"""Licence plates: a vehicle's pixels become text, checked by the grammar and voted over frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, assert_never

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent import config
from edge_agent.messages import Box, Plate
from edge_agent.vision import plate_types
from edge_agent.vision.camera import Frame

Pixels = npt.NDArray[np.uint8]

MAX_WAIT = 16  # times `every_s`, between tries on a plate that does not read


class PlateReader(Protocol):
    """Finds and reads plates, blocking; called from one thread at a time."""

    def read(self, frame: Frame, box: Box) -> Plate | None:
        """The plate within a vehicle's box that reads best, in frame pixels; None where nothing reads as a plate."""
        ...

    def find(self, pixels: Pixels) -> list[Plate]:
        """All plates of a whole BGR picture, the surest first."""
        ...

    def read_crop(self, pixels: Pixels) -> Plate | None:
        """The plate that a picture shows and nothing else, of one row or two."""
        ...


def open_plate_reader(reader: config.PlateReader, threads: int, countries: tuple[str, ...]) -> PlateReader:
    """The reader of a name; raises DriverError where it cannot be had, or does not know a country's plates."""
    match reader:
        case "built-in":
            from edge_agent.vision.plates_own import OwnPlates

            return OwnPlates(threads, countries)
        case "rapidocr":
            from edge_agent.vision.plates_ocr import OcrPlates

            return OcrPlates(threads, countries)
        case _:
            assert_never(reader)


def _by_character(sums: Mapping[str, float], leader: str) -> str:
    """The likeliest character at each place, over all texts as long as the leading one, weighed by their sums."""
    same = {text: weight for text, weight in sums.items() if len(text) == len(leader)}
    voted = ""
    for at, leads in enumerate(leader):
        weights: dict[str, float] = {}
        for text, weight in same.items():
            weights[text[at]] = weights.get(text[at], 0.0) + weight
        voted += max(weights, key=lambda character: (weights[character], character == leads))
    return voted


def ground_color(pixels: Pixels) -> str | None:
    """The colour of a plate's ground: blue, green, yellow-green, yellow, white or black; None where it is none."""
    if min(pixels.shape[:2]) < 4:
        return None
    height, width = pixels.shape[:2]
    inner = pixels[height // 10 : height - height // 10, width // 20 : width - width // 20]
    hue, saturation, value = np.moveaxis(cv2.cvtColor(inner, cv2.COLOR_BGR2HSV), 2, 0).astype(int)
    coloured = (saturation > 60) & (value > 40)
    shares = {
        "blue": float((coloured & (hue >= 92) & (hue <= 135)).mean()),
        "green": float((coloured & (hue >= 36) & (hue < 92)).mean()),
        "yellow": float((coloured & (hue >= 12) & (hue < 36)).mean()),
    }
    name, share = max(shares.items(), key=lambda pair: pair[1])
    if name != "blue" and min(shares["green"], shares["yellow"]) > 0.15:
        return "yellow-green"
    if share > 0.25:
        return name
    if (saturation < 60).mean() > 0.6:
        return "white" if np.median(value) > 110 else "black"
    return None


def moved(plate: Plate, left: float, top: float, scale: float) -> Plate:
    """A plate of a part of a picture, enlarged, in pixels of the picture."""
    x1, y1, x2, y2 = (side * scale for side in plate.box)
    return msgspec.structs.replace(
        plate,
        box=(x1 + left, y1 + top, x2 + left, y2 + top),
        corners=tuple((x * scale + left, y * scale + top) for x, y in plate.corners),
    )


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
        ballot.best[plate.text] = msgspec.structs.replace(clearest, votes=votes)

    def plate(self, track: int) -> Plate | None:
        """The text that its reads make, character by character; its confidence is that of the reads that say so.

        A text that nobody read, yet each of its characters was read most often, counts where it is a plate by grammar.
        """
        ballot = self._ballots.get(track)
        if ballot is None or not ballot.sums:
            return None
        text = max(ballot.sums, key=lambda text: ballot.sums[text])
        best = ballot.best[text]
        voted = _by_character(ballot.sums, text)
        if voted in ballot.sums:
            text, best = voted, ballot.best[voted]
        elif kind := plate_types.kind_of(voted, plate_types.known_types(), best.color):
            best = msgspec.structs.replace(best, text=voted, type=kind.id, country=kind.country)
        confidence = ballot.sums[text] / ballot.reads
        return msgspec.structs.replace(best, confidence=confidence)

    def forget(self, tracks: Iterable[int]) -> None:
        """Drop what is known of tracks that ended."""
        for track in tracks:
            self._ballots.pop(track, None)
