"""One camera's way from frame to tracks: motion, detector, tracker, plates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from edge_agent import config
from edge_agent.messages import Box, Track, Tracks, is_a
from edge_agent.vision.anchors import ViewWatch
from edge_agent.vision.boxes import Floats
from edge_agent.vision.camera import Frame
from edge_agent.vision.detect import Detector
from edge_agent.vision.light import LightSwitch, signs_of
from edge_agent.vision.load import NO_PLATES, ONE_TILE, PLATES_SELDOM, SELDOM, SMALL, SMALL_PICTURE
from edge_agent.vision.look import Looker
from edge_agent.vision.masks import Masks
from edge_agent.vision.motion import Motion
from edge_agent.vision.plates import PlateReader, shot_of
from edge_agent.vision.track import Moment, Tracker
from edge_agent.vision.votes import PlateVotes

Pixels = npt.NDArray[np.uint8]

LORES_PX = 640  # longer side of the smaller copy that motion and detector share


class Look(NamedTuple):
    """What one profile looks with."""

    detector: Detector
    score: float
    max_exposure_ms: float | None = None


class Eye:
    """One camera's way from frame to tracks: detector, tracker, plates; blocking, one thread at a time."""

    def __init__(
        self,
        detector: Detector,
        plates: config.Plates,
        reader: PlateReader | None,
        camera: config.Camera,
        zones: Sequence[Box] = (),
        *,
        profiles: Mapping[config.Light, Look] | None = None,
        sun: Callable[[float], float] | None = None,
    ) -> None:
        self._reader, self._every_s, self._sun = reader, plates.every_s, sun
        self._looks: dict[config.Light, Look] = {"day": Look(detector, detector.score), **(profiles or {})}
        known: set[config.Light] = {*(profiles or ())} | ({"night"} if camera.anchored else set())
        self._switch = LightSwitch(camera.light, known, camera.light_after_s)
        self._tracker = Tracker(camera.name, detector.score)
        self._votes = _votes(plates, reader) if reader else None
        self._motion = Motion(camera.motion)
        self._looker = Looker(detector.detect, camera.tiles, zones)
        self._shrinker, self._masks = Shrinker(), Masks(camera.masks)
        self.view = ViewWatch() if camera.anchored else None
        self._size: tuple[int, int] | None = None  # of the frame before
        self.skipped = 0  # frames that were not looked at, because nothing had changed
        self.step = 0  # of load.STEPS: what is left out
        self.look = self._looks["day"]

    def process(self, frame: Frame) -> Tracks:
        """The tracks after this frame, which `veil` gave; frames must come in order of `at_s`."""
        height, width = frame.pixels.shape[:2]
        frame = self._shrinker.shrink(frame)
        small = frame.pixels if frame.lores is None else frame.lores
        self._adapt(frame, small)
        known = self._tracker.boxes()
        seen = self._motion.see(small, frame.at_s, width / small.shape[1], known)
        resized = self._resized(width, height)
        at = Moment(frame.seq, frame.at_s, frame.wall_s, width, height)
        if seen.look or self._tracker.unsure or resized is not None:
            found = self._masks.believed(self._looker.look(frame, known), width, height)
            tracks = self._tracker.update(found, at, seen.affine if resized is None else resized)
        else:
            self.skipped += 1
            tracks = self._tracker.hold(at)
        if self._reader is None or self._votes is None:
            return tracks
        return self._with_plates(frame, tracks, self._reader, self._votes)

    def _resized(self, width: int, height: int) -> Floats | None:
        """How the pixels of the frame before become those of one of another size; None where it has the same."""
        before, self._size = self._size, (width, height)
        if before is None or before == self._size:
            return None
        return np.array([[width / before[0], 0.0, 0.0], [0.0, height / before[1], 0.0]])

    def veil(self, frame: Frame) -> Frame:
        """The frame as anybody may see it: what masks hide is painted over."""
        return self._masks.veil(frame)

    @property
    def light(self) -> config.Light:
        """Whose profile is in force."""
        return self._switch.light

    @property
    def resizable(self) -> bool:
        """Whether any of its detectors can look at fewer pixels."""
        return any(look.detector.share is not None for look in self._looks.values())

    def _adapt(self, frame: Frame, small: Pixels) -> None:
        """Look as the light wants it, and as the load allows it."""
        if self._switch.due(frame.at_s):
            self._switch.update(frame.at_s, signs_of(small, frame.lux, self._sun(frame.wall_s) if self._sun else None))
        if self.view and self.view.due(frame.at_s):
            self.view.update(frame.at_s, small, self._switch.light)
        self.look = self._looks.get(self._switch.light, self._looks["day"])
        self.look.detector.score = self._tracker.start_score = self.look.score  # other eyes may share the detector
        if self.look.detector.share is not None:
            self.look.detector.share = SMALL if self.step >= SMALL_PICTURE else 1.0
        self._looker.detect = self.look.detector.detect
        self._looker.most = 1 if self.step >= ONE_TILE else None
        if self._votes:
            self._votes.every_s = self._every_s * (SELDOM if self.step >= PLATES_SELDOM else 1)

    def look_at(self, zones: Sequence[Box]) -> None:
        """The zones lie elsewhere from now on (fractions of the picture): tiles follow them. Any thread may say so."""
        self._looker.zones = tuple(zones)

    def _with_plates(self, frame: Frame, tracks: Tracks, reader: PlateReader, votes: PlateVotes) -> Tracks:
        """At most one read a frame, of the largest vehicle that is due: the cost of a frame stays bounded."""
        cars = [t for t in tracks.tracks if t.seen and is_a(t.label, "vehicle")]
        due = [(size, t) for t in cars if votes.due(t.id, frame.at_s, size := _size(t))]
        if due and self.step < NO_PLATES:  # what was read before is told on
            size, nearest = max(due, key=lambda pair: pair[0])
            read = reader.read(frame, nearest.box)
            votes.add(nearest.id, frame.at_s, read and read._replace(shot=shot_of(frame, read.plate)), size)

        def with_plate(track: Track) -> Track:
            return msgspec.structs.replace(track, plate=votes.plate(track.id), shot=votes.shot(track.id))

        named = msgspec.structs.replace(
            tracks, tracks=tuple(map(with_plate, tracks.tracks)), ended=tuple(map(with_plate, tracks.ended))
        )
        votes.forget(t.id for t in tracks.ended)
        return named


def _votes(plates: config.Plates, reader: PlateReader) -> PlateVotes:
    return PlateVotes(plates.every_s, plates.enough, plates.min_confidence, reader.types, reader.calibration)


def _size(track: Track) -> float:
    x1, y1, x2, y2 = track.box
    return (x2 - x1) * (y2 - y1)


class Shrinker:
    """Gives large frames a smaller copy, so that not each who needs one makes its own; it lasts until the next."""

    def __init__(self) -> None:
        self._copy = np.empty((0, 0, 3), dtype=np.uint8)

    def shrink(self, frame: Frame) -> Frame:
        """The frame with `lores`, where it is worth one."""
        height, width = frame.pixels.shape[:2]
        if frame.lores is not None or max(height, width) < 2 * LORES_PX:
            return frame
        ratio = LORES_PX / max(height, width)
        size = max(1, int(width * ratio)), max(1, int(height * ratio))
        if self._copy.shape[:2] != size[::-1]:
            self._copy = np.empty((size[1], size[0], 3), dtype=np.uint8)
        times = width // size[0]
        if times % 2 and (width, height) == (times * size[0], times * size[1]):
            middle = frame.pixels[times // 2 :, times // 2 :]  # where linear interpolation falls on every time
            cv2.resize(middle, None, dst=self._copy, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_NEAREST)
        else:
            cv2.resize(frame.pixels, size, dst=self._copy)
        return replace(frame, lores=self._copy)
