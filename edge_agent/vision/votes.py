"""When to read which vehicle's plate, and what its readings add up to: pure.

Of each track the best readings are kept, by the quality of their crops. They vote place by place with all their
chances, not with their texts, and the sum is decoded by the grammar and the colour of the country's plates, so that
five doubtful readings may make a sure plate, and one sharp crop outweighs three smeared ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import structs

from edge_agent import plate_types
from edge_agent.messages import Plate, PlateShot
from edge_agent.plate_types import Chances, Type

MAX_WAIT = 16  # times `every_s`, between tries on a plate that does not read
LARGER = 1.5  # the vehicle's area since the last reading: worth another when there are enough
MOST = 3  # times `enough`, after which a track is left alone
SURE = 0.9  # of what enough readings make: below, more of them may improve it, each twice as long after the one before
COUNTS = 0.5  # of `min_confidence`: a reading so sure has a vote, though it is not told alone
FAINT = 1e-6  # no reading is surer than this that there is a plate, or none
UNSEEN = 0.001  # the chance of a character that a reading does not name (ocr.LEAST)
ALIKE = 0.5  # n readings of one plate are as good as n ** ALIKE independent ones: light, dirt and angle are the same


class Calibration(NamedTuple):
    """What a reader's chances are worth: the chance that a whole plate is right, as a logistic curve over their logit.

    Fitted for each reader on plates that it has not seen (bench/plates.py), after Platt, 1999.
    """

    slope: float = 1.0
    offset: float = 0.0

    def confidence(self, log_chance: float) -> float:
        """From the sum of the logarithms of a plate's characters to how often such a plate is right, 0..1."""
        chance = min(max(math.exp(log_chance), 1e-9), 1 - 1e-6)
        return 1 / (1 + math.exp(-self.slope * math.log(chance / (1 - chance)) - self.offset))


class Read(NamedTuple):
    """One reading of one crop: the plate as it reads alone, and what it was made of."""

    plate: Plate
    places: tuple[Chances, ...]  # of each character of the text
    color: str | None  # of the ground, as seen
    quality: float  # 0..1: size, sharpness and angle of the crop
    nothing: float = 0.0  # the chance that the crop shows no plate
    shot: PlateShot | None = None


@dataclass(slots=True)
class _Ballot:
    next_s: float
    wait_s: float
    again_s: float = 0.0  # when a plate that is not sure is worth another reading
    size: float = 0.0  # of the vehicle's box when it was last read
    count: int = 0
    best: list[Read] = field(default_factory=list)
    texts: Counter[str] = field(default_factory=Counter)
    plate: Plate | None = None
    shot: PlateShot | None = None


class PlateVotes:
    """The ballots of one camera's tracks; `enough` readings a track, every `every_s` seconds."""

    def __init__(
        self,
        every_s: float,
        enough: int,
        min_confidence: float,
        types: Sequence[Type],
        calibration: Calibration,
    ) -> None:
        self.every_s, self._enough, self._min_confidence = every_s, enough, min_confidence
        self._types, self._calibration = types, calibration
        self._ballots: dict[int, _Ballot] = {}

    def due(self, track: int, at_s: float, size: float = 0.0) -> bool:
        """Whether another reading of this track is worth its time; `size` is the area of its box."""
        ballot = self._ballots.get(track)
        if ballot is None:
            return True
        if at_s < ballot.next_s or ballot.count >= MOST * self._enough:
            return False
        if ballot.count < self._enough or size > LARGER * ballot.size:
            return True
        return at_s >= ballot.again_s and (ballot.plate is None or ballot.plate.confidence < SURE)

    def add(self, track: int, at_s: float, read: Read | None, size: float = 0.0) -> None:
        """Count one reading; each failure doubles the wait for the next."""
        ballot = self._ballots.setdefault(track, _Ballot(next_s=at_s, wait_s=self.every_s))
        if read is None or read.plate.confidence < COUNTS * self._min_confidence:
            ballot.next_s = at_s + ballot.wait_s
            ballot.wait_s = min(ballot.wait_s * 2, self.every_s * MAX_WAIT)
            return
        ballot.wait_s, ballot.next_s = self.every_s, at_s + self.every_s
        ballot.count, ballot.size = ballot.count + 1, max(size, ballot.size)
        ballot.texts[read.plate.text] += 1
        ballot.best = sorted([*ballot.best, read], key=lambda one: -one.quality)[: self._enough]
        ballot.plate, ballot.shot = self._elect(ballot)
        ballot.again_s = at_s + self.every_s * min(2.0 ** (ballot.count + 1 - self._enough), MAX_WAIT)

    def plate(self, track: int) -> Plate | None:
        """What its readings make together; None until that is sure enough. Box and corners are those of the best."""
        ballot = self._ballots.get(track)
        return ballot.plate if ballot else None

    def shot(self, track: int) -> PlateShot | None:
        """The best of the crops that read as `plate` does."""
        ballot = self._ballots.get(track)
        return ballot.shot if ballot else None

    def forget(self, tracks: Iterable[int]) -> None:
        """Drop what is known of tracks that ended."""
        for track in tracks:
            self._ballots.pop(track, None)

    def _elect(self, ballot: _Ballot) -> tuple[Plate | None, PlateShot | None]:
        reads, color = _of_one_length(ballot.best), _color(ballot.best)
        decoded = plate_types.decode(pooled(reads), self._types, color)
        if decoded is None:
            return None, None
        confidence = self._calibration.confidence(decoded.log_chance) * (1 - nothing(reads))
        if confidence < self._min_confidence:
            return None, None
        same = [read for read in reads if read.plate.text == decoded.text] or reads
        plate = structs.replace(
            same[0].plate,
            text=decoded.text,
            confidence=confidence,
            votes=max(1, ballot.texts[decoded.text]),
            country=decoded.type.country,
            type=decoded.type.id,
            color=color if color in decoded.type.colors else decoded.type.colors[0],
        )
        return plate, same[0].shot


def pooled(reads: Sequence[Read]) -> tuple[dict[str, float], ...]:
    """The chances at each place after all readings of one length: their logarithms, weighed by quality, summed."""
    whole = sum(read.quality for read in reads)
    worth = len(reads) ** ALIKE / whole
    places = []
    for at in range(len(reads[0].places)):
        letters = sorted({letter for read in reads for letter in read.places[at]})
        logs = [
            worth * sum(read.quality * math.log(max(read.places[at].get(letter, 0.0), UNSEEN)) for read in reads)
            for letter in letters
        ]
        most = max(logs)
        # What no reading gave to a letter of its alphabet is somebody else's: of one reading all stays as it was read.
        rest = math.exp(worth * sum(read.quality * math.log(_rest(read.places[at])) for read in reads) - most)
        weights = [math.exp(log - most) for log in logs]
        total = sum(weights) + rest
        places.append({letter: weight / total for letter, weight in zip(letters, weights, strict=True)})
    return tuple(places)


def nothing(reads: Sequence[Read]) -> float:
    """The chance that there is no plate at all, after all readings: as `pooled`, of two that exclude each other."""
    worth = len(reads) ** ALIKE / sum(read.quality for read in reads)
    for_it = worth * sum(read.quality * math.log(max(read.nothing, FAINT)) for read in reads)
    against = worth * sum(read.quality * math.log(max(1 - read.nothing, FAINT)) for read in reads)
    return 1 / (1 + math.exp(against - for_it))


def _rest(place: Chances) -> float:
    return max(1 - sum(place.values()), UNSEEN)


def _of_one_length(reads: Sequence[Read]) -> list[Read]:
    """Those readings whose length most speaks for, by quality and confidence; the best first."""
    weight: dict[int, float] = {}
    for read in reads:
        weight[len(read.places)] = weight.get(len(read.places), 0.0) + read.quality * read.plate.confidence
    length = max(weight, key=lambda one: weight[one])
    return [read for read in reads if len(read.places) == length]


def _color(reads: Sequence[Read]) -> str | None:
    """The ground's colour that most readings saw, by quality."""
    weight: dict[str, float] = {}
    for read in reads:
        if read.color is not None:
            weight[read.color] = weight.get(read.color, 0.0) + read.quality
    return max(weight, key=lambda one: weight[one], default=None)
