"""Does the camera move, how, and has anything changed in its picture? A small grey copy tells.

A camera that stands still needs its detector only where something changes. One that moves shifts every track, so the
shift is measured (sparse optical flow, RANSAC) and taken from them. What is known to move by itself tells neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.messages import Box
from edge_agent.vision.boxes import Floats, clip

Mode = Literal["auto", "static", "moving", "off"]
Grey = npt.NDArray[np.uint8]

WIDTH = 320  # of the small copy
CORNERS, QUALITY, APART = 80, 0.02, 10.0
RENEW = 5  # frames after which corners are sought anew: they leave the picture on one side
WINDOW = (13, 13)  # around a corner, in which it is found again
ENOUGH = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)  # steps, and pixels, of finding a corner again
MIN_PAIRS = 12  # corners found again; fewer tell of no common motion
MIN_SHARE = 0.5  # of them that agree on one motion
CHANGED = 18  # grey levels from the background
LEAST_SHARE = 0.0004  # of the picture that changed: a person of 6 x 6 pixels of the small copy
BACKGROUND_S = 10.0  # in which the background takes on what stays
REFRESH_S = 2.0  # a still picture is looked at so often all the same
AFTER_S = 1.0  # after a change it is looked at for so long: tracks are confirmed, and end, by being looked at
MOVES_SHARE, STILL_SHARE = 0.0012, 0.0005  # of the width, from frame to frame: it moves, it stands
MUCH_SHARE = 0.03  # with less changed beside what is known, a camera that stood still stands: no flow is sought
MOST_SHARE = 0.5  # with so much of it changed, the flow is sought whatever explained it so far
MARGIN = 0.25  # of its sides, by which what is known may have moved since
JUMP_SHARE, RUNS = 0.01, 3  # one such jump, or so many frames of motion on end: a passer-by alone is neither
STILL_S = 3.0  # so long it must stand to count as standing


class Seen(NamedTuple):
    """What the small copies tell of one frame."""

    moving: bool  # whether the camera is taken to move
    affine: Floats | None  # (2, 3), from the frame before to this one, in frame pixels; None where it stands
    look: bool  # whether the detector is to look


class Motion:
    """The motion of one camera; frames come in order of `at_s`, and may change their size."""

    def __init__(self, mode: Mode = "auto") -> None:
        self._mode, self._flow = mode, _Flow()
        self._before: Grey | None = None
        self._background: npt.NDArray[np.float32] | None = None
        self._at_s = self._changed_s = self._looked_s = float("-inf")
        self._moved_s = float("-inf")  # when it was last seen to move
        self._run = 0  # frames of motion on end
        self._explained = 0.0  # the share that differed from the background when the camera was last seen to stand
        self.moving = mode == "moving"

    def see(self, pixels: npt.NDArray[np.uint8], at_s: float, shrunk: float = 1.0, known: Sequence[Box] = ()) -> Seen:
        """Take a BGR frame (H, W, 3) into account, or a copy of it that is `shrunk` times smaller.

        `known` are the objects of the frame before, in pixels of the frame.
        """
        if self._mode == "off":
            return Seen(False, None, True)
        small, scale = _small(pixels)
        dt_s = at_s - self._at_s
        if self._before is None or self._before.shape != small.shape or dt_s <= 0:
            self._background = small.astype(np.float32)
            self._before, self._at_s, self._looked_s, self._changed_s = small, at_s, at_s, at_s
            self._flow.forget()
            return Seen(self.moving, None, True)
        known = _around(known, scale * shrunk)
        changed, strange = self._change(small, dt_s, known)
        seek = self._mode != "static" and (self.moving or strange >= min(self._explained + MUCH_SHARE, MOST_SHARE))
        affine = self._flow.between(self._before, small, known) if seek else None
        if not seek:
            self._flow.forget()
        stands = affine is not None and _shift(affine) < STILL_SHARE
        self._explained = strange if stands else min(self._explained, strange)
        self._judge(affine, at_s)
        self._before, self._at_s = small, at_s
        if self.moving:
            self._looked_s = at_s
            return Seen(True, None if affine is None else _in_frame(affine, scale * shrunk), True)
        if changed >= LEAST_SHARE:
            self._changed_s = at_s
        look = at_s - self._changed_s <= AFTER_S or at_s - self._looked_s >= REFRESH_S
        if look:
            self._looked_s = at_s
        return Seen(False, None, look)

    def _judge(self, affine: Floats | None, at_s: float) -> None:
        """In `auto`: moving at once, standing only after a while, so that it does not flicker between the two."""
        if self._mode != "auto":
            return
        shift = _shift(affine)
        self._run = self._run + 1 if shift >= MOVES_SHARE else 0
        if shift >= JUMP_SHARE or self._run >= RUNS or (self.moving and shift >= STILL_SHARE):
            self.moving, self._moved_s = True, at_s
        elif at_s - self._moved_s > STILL_S:
            if self.moving:
                self._background = None
            self.moving = False

    def _change(self, small: Grey, dt_s: float, known: Sequence[Box]) -> tuple[float, float]:
        """The share of the picture that differs from its background, which takes on what stays; and without `known`."""
        if self._background is None or self.moving:
            self._background = small.astype(np.float32)
            return 1.0, 1.0
        apart = cv2.absdiff(small, cv2.convertScaleAbs(self._background))
        mask = cv2.threshold(apart, CHANGED, 255, cv2.THRESH_BINARY)[1]
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _DOT)
        cv2.accumulateWeighted(small, self._background, min(dt_s / BACKGROUND_S, 1.0))
        changed = cv2.countNonZero(mask) / mask.size
        return changed, cv2.countNonZero(_without(mask, known)) / mask.size


_DOT = np.ones((2, 2), np.uint8)  # what is smaller is noise


def _small(pixels: npt.NDArray[np.uint8]) -> tuple[Grey, float]:
    """A grey copy of at most WIDTH columns, and frame pixels per pixel of it."""
    height, width = pixels.shape[:2]
    scale = max(1.0, max(width, height) / WIDTH)
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    step = max(1, int(scale) // 2)  # rows and columns left out at once: the mean over the rest is as good, and cheaper
    small: Any = cv2.cvtColor(
        cv2.resize(pixels[::step, ::step], size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY
    )
    return small, scale


def _around(boxes: Sequence[Box], scale: float) -> list[Box]:
    """Boxes of the frame with a margin, in pixels of the small copy."""
    margins = [(MARGIN * (x2 - x1), MARGIN * (y2 - y1)) for x1, y1, x2, y2 in boxes]
    return [
        ((x1 - wide) / scale, (y1 - high) / scale, (x2 + wide) / scale, (y2 + high) / scale)
        for (x1, y1, x2, y2), (wide, high) in zip(boxes, margins, strict=True)
    ]


def _without(mask: Any, boxes: Sequence[Box]) -> Any:
    """The mask with nothing in the boxes."""
    inside = clip(np.array(boxes, dtype=np.float64).reshape(-1, 4), mask.shape[1], mask.shape[0])
    for x1, y1, x2, y2 in inside.astype(int).tolist():
        cv2.rectangle(mask, (x1, y1), (x2, y2), 0, cv2.FILLED)
    return mask


class _Flow:
    """Corners that are followed from one small copy to the next; what moves by itself is no longer followed."""

    def __init__(self) -> None:
        self._corners: Any = None  # (n, 1, 2) in the copy before
        self._age = 0

    def forget(self) -> None:
        """The next copies do not go on from the last."""
        self._corners = None

    def between(self, before: Grey, after: Grey, known: Sequence[Box]) -> Floats | None:
        """The common motion (2, 3): shift, turn and scale; None where none is found beside what is known."""
        if self._corners is not None and self._age < RENEW:
            motion = self._follow(self._corners, before, after)
            if motion is not None:
                return motion
        self._age = 0
        beside = _without(np.full(before.shape, 255, np.uint8), known)
        return self._follow(cv2.goodFeaturesToTrack(before, CORNERS, QUALITY, APART, mask=beside), before, after)

    def _follow(self, corners: Any, before: Grey, after: Grey) -> Floats | None:
        self._corners = None
        if corners is None or len(corners) < MIN_PAIRS:
            return None
        found: Any
        found, status, _ = cv2.calcOpticalFlowPyrLK(
            before, after, corners, corners.copy(), winSize=WINDOW, maxLevel=2, criteria=ENOUGH
        )
        good = status.ravel() == 1
        if good.sum() < MIN_PAIRS:
            return None
        affine, inliers = cv2.estimateAffinePartial2D(corners[good], found[good], ransacReprojThreshold=1.5)
        if affine is None or inliers.sum() < MIN_SHARE * good.sum():
            return None
        self._corners, self._age = found[good][inliers.ravel() == 1], self._age + 1
        motion: Floats = np.asarray(affine, dtype=np.float64)
        return motion


def _shift(affine: Floats | None) -> float:
    """How far the picture's middle and edge move, as a share of its width; 0 where no motion was found."""
    if affine is None:
        return 0.0
    at = np.array([[WIDTH / 2, WIDTH / 3, 1.0], [0.0, 0.0, 1.0]])
    return float(np.abs(at @ affine.T - at[:, :2]).max()) / WIDTH


def _in_frame(affine: Floats, scale: float) -> Floats:
    """The same motion in frame pixels."""
    whole = affine.copy()
    whole[:, 2] *= scale
    return whole
