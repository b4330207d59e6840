"""Detections become tracks: ByteTrack's two-stage association over a Kalman filter with true time steps; pure.

Differences from the paper (Zhang et al., 2022), which assumes 30 frames a second: velocities are per second and all
limits are in seconds; boxes are enlarged by what is not known of their place before they are compared, so that slow
cameras and gaps do not tear tracks; who walks on is taken before who would have to turn round (as in OC-SORT); the
fainter an object is, the longer it must be seen before it counts; and labels of one group (car, bus, truck) are one
kind of object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import lap
import numpy as np

from edge_agent.messages import Box, Detection, Track, Tracks, group_of
from edge_agent.vision import boxes as box_math
from edge_agent.vision.boxes import Floats
from edge_agent.vision.kalman import Kalman, centred

CONFIRM_HITS = 3  # seen so often, and long enough for its score, it is an object and gets its id
CONFIRM_S = 1.0  # long enough for one that only just started; one that is sure needs next to nothing
LOST_S = 2.5  # not seen for so long, it is gone: a gap of two seconds keeps its id, whatever frames lie at its ends
TENTATIVE_S = 0.5  # the same before it is confirmed; not seen in the last frame before it, where frames are rarer
WEAK_S = 0.3  # seen within so long, or in the last frame, a weak detection may carry it on
OUTSIDE = 0.9  # with so much of its area beyond the edge while unseen, it has left the picture
MIN_IOU, MIN_IOU_WEAK = 0.2, 0.6  # of the enlarged boxes; weak detections must fit better, as in the paper
KNOWN, GROW_MAX = 0.05, 0.5  # a deviation that is usual, of an object's size; by so much of its sides it grows at most
TURN, MOVES = 0.2, 0.1  # what turning round costs in IoU; what moves by so little of its size has hardly a direction
YIELD = 0.4  # of IoU: where one not yet confirmed fits by so much better, a detection is no other's
SCORE_MEMORY = 0.7
QUICK_PER_S, QUICK_S, ALIKE = 4.0, 0.35, 1.4  # longer sides a second, for so long, at an unknown speed; ratio of sizes
NEVER, EPSILON = 10.0, 1e-9


class Moment(NamedTuple):
    """Which frame it is: its number, capture time on both clocks, and size."""

    seq: int
    at_s: float
    wall_s: float
    width: int
    height: int


@dataclass(slots=True)
class _Object:
    group: str
    first_s: float
    last_s: float
    score: float
    id: int = 0  # 0 while it is not confirmed
    hits: int = 1
    seen: bool = True
    first_box: Box | None = None  # within the frame, at `first_s`
    box: Box = (0.0, 0.0, 0.0, 0.0)  # within the frame, as it was when it was last seen
    labels: dict[str, float] = field(default_factory=dict)  # sums of scores: the object goes by the best

    def take(self, detection: Detection, at_s: float) -> None:
        """It was seen again."""
        self.last_s, self.seen, self.hits = at_s, True, self.hits + 1
        self.score = SCORE_MEMORY * self.score + (1 - SCORE_MEMORY) * detection.score
        self.labels[detection.label] = self.labels.get(detection.label, 0.0) + detection.score


class Tracker:
    """Follows the objects of one camera; `start_score` is what a detection needs to start a track."""

    def __init__(self, camera: str, start_score: float) -> None:
        self._camera, self.start_score = camera, start_score
        self._kalman = Kalman()
        self._objects: list[_Object] = []  # row by row with the filter
        self._at_s: float | None = None
        self._last_id = 0

    def boxes(self) -> list[Box]:
        """Where the objects are, those not yet confirmed too, in pixels of the last frame."""
        return [_box(row) for row in self._kalman.boxes().tolist()]

    @property
    def unsure(self) -> bool:
        """Whether some object was not seen in the last frame, or is not confirmed: it wants a look."""
        return any(not thing.seen or not thing.id for thing in self._objects)

    def hold(self, at: Moment) -> Tracks:
        """Nothing has changed in the picture since the last frame: what was seen is still there, where it was."""
        for thing in self._objects:
            if thing.seen:
                thing.last_s = at.at_s
        self._kalman.velocity[[row for row, thing in enumerate(self._objects) if thing.seen]] = 0.0
        ended = self._drop(self._expired(at.at_s))
        self._at_s = at.at_s
        return self._shown(ended, at)

    def update(self, detections: Sequence[Detection], at: Moment, camera: Floats | None = None) -> Tracks:
        """All confirmed tracks at `at_s`, the unseen ones where they should be by now; ended ones where last seen.

        `camera` (2, 3) is how the picture as a whole moved since the last frame, where the camera moves.
        """
        at_s = at.at_s
        ended = self._drop(self._expired(at_s))
        step_s = at_s - self._at_s if self._at_s is not None else 0.0
        self._kalman.predict(step_s)
        if camera is not None:
            self._kalman.warp(camera)
        self._at_s = at_s
        for thing in self._objects:
            thing.seen = False
        self._associate(detections, at_s, step_s)
        gone = self._outside(at.width, at.height)
        ended += self._drop(gone)
        for thing in self._objects:
            if not thing.id and self._is_sure(thing):
                self._last_id += 1
                thing.id = self._last_id
        return self._shown(ended, at)

    def _shown(self, ended: list[Track], at: Moment) -> Tracks:
        shown = [_box(row) for row in box_math.clip(self._kalman.boxes(), at.width, at.height).tolist()]
        for thing, box in zip(self._objects, shown, strict=True):
            thing.box = box if thing.seen else thing.box
            thing.first_box = thing.first_box or box
        return Tracks(
            camera=self._camera,
            seq=at.seq,
            at_s=at.at_s,
            wall_s=at.wall_s,
            width=at.width,
            height=at.height,
            tracks=tuple(_track(thing, box) for thing, box in zip(self._objects, shown, strict=True) if thing.id),
            ended=tuple(ended),
            unsure=tuple(_track(thing, box) for thing, box in zip(self._objects, shown, strict=True) if not thing.id),
        )

    def _is_sure(self, thing: _Object) -> bool:
        """Whether it was seen often enough, and for long enough: the longer, the less its score is above the start."""
        doubt = (1 - thing.score) / max(1 - self.start_score, EPSILON)
        return thing.hits >= CONFIRM_HITS and thing.last_s - thing.first_s >= CONFIRM_S * doubt**3

    def _associate(self, detections: Sequence[Detection], at_s: float, step_s: float) -> None:
        if not detections:
            return
        found = np.array([d.box for d in detections], dtype=np.float64)
        strong = [i for i, d in enumerate(detections) if d.score >= self.start_score]
        weak = [i for i, d in enumerate(detections) if d.score < self.start_score]
        confirmed = [row for row, thing in enumerate(self._objects) if thing.id]
        tentative = [row for row, thing in enumerate(self._objects) if not thing.id]
        cost = self._cost(detections, found)

        first = self._with_turns(cost, found)
        if tentative:
            first = np.where(cost > cost[tentative].min(axis=0) + YIELD, NEVER, first)
        pairs = assign(first, confirmed, strong, 1 - MIN_IOU)
        left, weak_s = _without(confirmed, [r for r, _ in pairs]), max(WEAK_S, step_s)
        fresh = [row for row in left if self._age(row, at_s) <= weak_s]
        pairs += assign(cost, fresh, weak, 1 - MIN_IOU_WEAK)
        pairs += assign(cost, tentative, _without(strong, [i for _, i in pairs]), 1 - MIN_IOU)
        alone = _without(tentative, [r for r, _ in pairs])
        once = [row for row in alone if self._objects[row].hits == 1 and self._age(row, at_s) <= QUICK_S]
        pairs += self._quick(once, _without(strong, [i for _, i in pairs]), cost, found, at_s)

        if pairs:
            self._kalman.correct([row for row, _ in pairs], found[[i for _, i in pairs]])
        for row, i in pairs:
            self._objects[row].take(detections[i], at_s)
        if not (new := _without(strong, [i for _, i in pairs])):
            return
        self._kalman.add(found[new])
        for d in (detections[i] for i in new):
            self._objects.append(_Object(group_of(d.label), at_s, at_s, d.score, labels={d.label: d.score}))

    def _cost(self, detections: Sequence[Detection], found: Floats) -> Floats:
        """1 - IoU of every object with every detection, both enlarged by the object's doubt; NEVER across groups."""
        margin = self._kalman.deviation() - KNOWN * self._kalman.sizes()
        margin = np.clip(margin, 0, GROW_MAX * self._kalman.position[:, 2:])
        outward = np.concatenate([-margin, margin], axis=1)
        overlap = box_math.iou((self._kalman.boxes() + outward)[:, None], found[None] + outward[:, None])
        theirs, ours = [group_of(d.label) for d in detections], [thing.group for thing in self._objects]
        if len({*theirs, *ours}) == 1:
            return 1 - overlap
        same = np.array(ours, dtype=np.str_)[:, None] == np.array(theirs, dtype=np.str_)[None]
        return np.where(same, 1 - overlap, NEVER)

    def _quick(
        self, rows: list[int], columns: list[int], cost: Floats, found: Floats, at_s: float
    ) -> list[tuple[int, int]]:
        """Pairs of who was seen once, at no known speed, and what lies beyond its box: of one size, and not too far."""
        if not rows or not columns:
            return []
        ours, theirs = self._kalman.position[rows][:, None], centred(found[columns])[None]
        unlike = np.maximum(ours[..., 2:] / theirs[..., 2:], theirs[..., 2:] / ours[..., 2:]).max(axis=2)
        away = np.linalg.norm(theirs[..., :2] - ours[..., :2], axis=2)
        ages = np.array([self._age(row, at_s) for row in rows])[:, None]
        share = away / np.maximum(QUICK_PER_S * ours[..., 2:].max(axis=2) * ages, EPSILON)
        may = (cost[np.ix_(rows, columns)] < NEVER) & (unlike < ALIKE)
        pairs = assign(np.where(may, share, NEVER), list(range(len(rows))), list(range(len(columns))), 1.0)
        return [(rows[r], columns[i]) for r, i in pairs]

    def _with_turns(self, cost: Floats, found: Floats) -> Floats:
        """The cost with, on top, how far the object would have to turn from its course; less where it hardly moved."""
        rows, columns = np.nonzero(cost < 1 - MIN_IOU)
        course = self._kalman.velocity[rows, :2]
        way = (found[columns, :2] + found[columns, 2:]) / 2 - self._kalman.last_seen[rows, :2]
        fast, far = np.hypot(course[:, 0], course[:, 1]), np.hypot(way[:, 0], way[:, 1])
        along = course[:, 0] * way[:, 0] + course[:, 1] * way[:, 1]
        least = MOVES * self._kalman.sizes()[rows, 0]
        cost = cost.copy()
        cost[rows, columns] += TURN / 2 * (fast * far - along) / ((fast + least) * (far + least))
        return cost

    def _age(self, row: int, at_s: float) -> float:
        return at_s - self._objects[row].last_s

    def _expired(self, at_s: float) -> list[int]:
        """Who was not seen for too long; or was seen well after `at_s`, for the clock began anew."""
        step_s = at_s - self._at_s if self._at_s is not None else 0.0
        tentative_s = min(max(TENTATIVE_S, step_s), LOST_S)
        return [
            row
            for row, thing in enumerate(self._objects)
            if abs(self._age(row, at_s)) > (LOST_S if thing.id else tentative_s)
        ]

    def _outside(self, width: int, height: int) -> list[int]:
        if all(thing.seen for thing in self._objects):
            return []
        boxes = self._kalman.boxes()
        inside = box_math.area(box_math.clip(boxes, width, height)) / np.maximum(box_math.area(boxes), 1e-9)
        return [row for row, thing in enumerate(self._objects) if not thing.seen and inside[row] < 1 - OUTSIDE]

    def _drop(self, rows: list[int]) -> list[Track]:
        """Forget some rows; gives the confirmed ones as they were last seen."""
        if not rows:
            return []
        dropped = [_track(thing, thing.box) for thing in (self._objects[row] for row in rows) if thing.id]
        kept = _without(list(range(len(self._objects))), rows)
        self._kalman.keep(kept)
        self._objects = [self._objects[row] for row in kept]
        return dropped


def assign(cost: Floats, rows: list[int], columns: list[int], limit: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the cheapest assignment (Jonker-Volgenant) among those that cost at most `limit`.

    `rows` and `columns` rise: where there are as many as `cost` has, they are all of them.
    """
    if not rows or not columns:
        return []
    among = cost if (len(rows), len(columns)) == cost.shape else cost[np.ix_(rows, columns)]
    best = among.argmin(axis=1)
    near = np.flatnonzero(among[np.arange(len(rows)), best] < limit)
    if len(set(best[near].tolist())) == len(near):  # each has its own nearest: nothing is cheaper
        return [(rows[k], columns[best[k]]) for k in near.tolist()]
    _, chosen, _ = lap.lapjv(among, extend_cost=True, cost_limit=limit)
    return [(rows[k], columns[j]) for k, j in enumerate(chosen) if j >= 0]


def _box(row: list[float]) -> Box:
    return row[0], row[1], row[2], row[3]


def _track(thing: _Object, box: Box) -> Track:
    return Track(
        id=thing.id,
        label=max(thing.labels, key=thing.labels.__getitem__),
        score=thing.score,
        box=box,
        first_s=thing.first_s,
        last_s=thing.last_s,
        hits=thing.hits,
        seen=thing.seen,
        first_box=thing.first_box,
    )


def _without(rows: list[int], taken: Sequence[int]) -> list[int]:
    if not taken:
        return rows
    gone = set(taken)
    return [row for row in rows if row not in gone]
