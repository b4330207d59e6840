"""What every rule at work has: its zone in the picture, the order of frames, how it tells what it found. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Literal, Protocol, TypeVar

from msgspec import Struct

from edge_agent import config, geo
from edge_agent.incidents.zones import Area
from edge_agent.messages import Box, Hit, Incident, Track, Tracks, is_a

RESTART_S = 1.0  # time going back by more is a video that restarts; by less, a frame out of order
EPSILON_S = 1e-6
NEW_S = 3.0  # a track that was first seen so lately has only just become one, at one frame a second, too

Key = tuple[int, float]  # a tracker that restarts counts its ids from the beginning: first_s tells them apart
Direction = Literal["to_left", "to_right"]  # for who looks from a line's first end to its second
R = TypeVar("R", bound=config.RuleSection)


class Found(Struct, frozen=True):
    """A rule fired for a track; `began_s` is the frames' time at which that began."""

    track: Track
    began_s: float
    hit: Hit | None = None
    direction: Direction | None = None
    count: int | None = None
    gap_s: float | None = None  # the longest time within it that nobody saw the object
    stay: int | None = None  # the name of the stay that it is
    per_m2: float | None = None


class Watch(ABC, Generic[R]):
    """One rule at work, on one camera, or on all where none is named."""

    def __init__(self, rule: R, zone: config.Zone | None = None, camera: str | None = None) -> None:
        self.rule, self.zone = rule, zone
        self.camera = zone.camera if zone else camera
        self.resumed: list[tuple[str, int]] = []  # incidents of before, and the tracks that they go on with
        self._areas: dict[str, Area] = {}
        self._sides: dict[tuple[str, Key], _Side] = {}
        self._clocks: dict[str, float] = {}

    @abstractmethod
    def update(self, tracks: Tracks) -> list[Found]:
        """What fires in this frame of a camera that it watches."""

    @abstractmethod
    def _forget(self) -> None:
        """A video begins again: nothing of before counts."""

    def recall(self, incident: Incident, fired_s: float) -> None:
        """The rule fired before the agent was restarted, at this time of the frames: its cool-down holds on.

        Not for who crosses a line: tracks have other numbers now, and crossing again is another event.
        """

    def named(self, incident: Incident) -> None:
        """What was found in the last frame is told as this incident."""

    def change(self, rule: R) -> None:
        """Judge by other terms from the next frame on."""
        self.rule = rule

    def move(self, zone: config.Zone) -> None:
        """The zone has other corners from now on."""
        self.zone = zone
        self._areas.clear()

    def _step_s(self, tracks: Tracks) -> float | None:
        """Seconds since the last frame of this camera; None for a frame out of order, which is to be left out."""
        for track in tracks.ended:
            self._sides.pop((tracks.camera, key_of(track)), None)
        now, last_s = tracks.at_s, self._clocks.get(tracks.camera, tracks.at_s)
        if last_s - RESTART_S < now < last_s:
            return None
        if now < last_s:
            self._forget()
        self._clocks[tracks.camera] = now
        return max(0.0, now - last_s)

    def _stands(self, track: Track, tracks: Tracks) -> bool:
        """Whether a track stands in the zone, with its inertia; without a zone, everything does."""
        if self.zone is None:
            return True
        if self.zone.map:  # its likeliest place counts
            here = track.place is not None and geo.in_polygon(track.place.lat, track.place.lon, self.zone.map)
        else:
            here = self._area(tracks).holds(track.box)
        if not self.zone.inertia:
            return here
        side = self._sides.setdefault((tracks.camera, key_of(track)), _Side())
        return side.judge(here, tracks.at_s, self.zone.inertia)

    def _area(self, tracks: Tracks) -> Area:
        assert self.zone is not None
        area = self._areas.get(tracks.camera)
        if area is None or (area.width, area.height) != (tracks.width, tracks.height):
            area = self._areas[tracks.camera] = Area(self.zone, tracks.width, tracks.height)
        return area


class _Side(Struct):
    """Whether a track counts as in the zone, and since when it has been seen on the other side."""

    inside: bool = False
    other_s: float | None = None

    def judge(self, here: bool, now: float, inertia_s: float) -> bool:
        if here == self.inside:
            self.other_s = None
        else:
            self.other_s = now if self.other_s is None else min(self.other_s, now)
            if now - self.other_s >= inertia_s - EPSILON_S:
                self.inside, self.other_s = here, None
        return self.inside


def first_seen(track: Track, now: float) -> Box | None:
    """Where a track was first seen, if that was lately: what it did before a rule held is not the rule's."""
    return track.first_box if now - track.first_s <= NEW_S else None


def key_of(track: Track) -> Key:
    """Who a track is, whatever tracker counted it."""
    return track.id, track.first_s


class Judged(Protocol):
    """A rule about some classes of things."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def min_score(self) -> float: ...
    @property
    def min_size(self) -> float: ...


def is_evidence(track: Track, rule: Judged, tracks: Tracks) -> bool:
    """Whether a track is evidence in this frame: seen, sure and tall enough, and of the rule's classes."""
    if not track.seen or track.score < rule.min_score:
        return False
    if track.box[3] - track.box[1] < rule.min_size * tracks.height:
        return False
    return any(is_a(track.label, name) for name in rule.classes)
