"""Vehicles whose plates stand on a hot list: asked once for each new reading, told once for each entry. Pure."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from edge_agent import config
from edge_agent.incidents.hotlist import LIMITS, Quality
from edge_agent.incidents.watch import Found, Watch
from edge_agent.messages import Hit, Incident, Track, Tracks

FORGET_S = 60.0  # a track unseen for so long is asked about anew


class Lists(Protocol):
    """The hot lists; `generation` rises when they change."""

    generation: int

    def look(self, plate: str, *, quality: Quality, only: tuple[str, ...] = ..., by: str) -> Hit | None: ...


class _Asked(Struct):
    text: str
    generation: int
    hit: Hit | None
    last_s: float


class HotWatch(Watch[config.HotListed]):
    """One rule on the cameras that its zone names, or on all."""

    def __init__(self, rule: config.HotListed, zone: config.Zone | None, lists: Lists) -> None:
        super().__init__(rule, zone)
        self._lists = lists
        self._forget()

    def _forget(self) -> None:
        self._asked: dict[tuple[str, int, float], _Asked] = {}
        self._told: dict[str, tuple[float, Quality]] = {}  # entry: when it fired, and how sure that was

    def recall(self, incident: Incident, fired_s: float) -> None:
        """As `Watch` says."""
        if incident.hit is not None:
            self._told[incident.hit.entry] = (fired_s, incident.hit.quality)

    def update(self, tracks: Tracks) -> list[Found]:
        """What fires in this frame: each entry once within `cool_down_s`, and again where the match became surer."""
        now, fired = tracks.at_s, list[Found]()
        if self._step_s(tracks) is None:
            return fired
        for track in tracks.tracks:
            if not track.seen or track.plate is None or not self._stands(track, tracks):
                continue
            hit = self._hit(track, tracks.camera, now) if track.plate.confidence >= self.rule.min_confidence else None
            if hit is not None and self._fires(hit, now):
                self._told[hit.entry] = (now, hit.quality)
                fired.append(Found(track, track.first_s, hit=hit))
        self._asked = {key: one for key, one in self._asked.items() if now - one.last_s < FORGET_S}
        return fired

    def _hit(self, track: Track, camera: str, now: float) -> Hit | None:
        assert track.plate
        key, text = (camera, track.id, track.first_s), track.plate.text
        asked = self._asked.get(key)
        if asked is None or (asked.text, asked.generation) != (text, self._lists.generation):
            rule = self.rule
            hit = self._lists.look(text, quality=rule.quality, only=rule.lists, by=f"rule:{rule.id} {camera}")
            asked = self._asked[key] = _Asked(text, self._lists.generation, hit, now)
        asked.last_s = now
        return asked.hit

    def _fires(self, hit: Hit, now: float) -> bool:
        told = self._told.get(hit.entry)
        if told is None or now - told[0] >= self.rule.cool_down_s:
            return True
        return LIMITS[hit.quality] < LIMITS[told[1]]
