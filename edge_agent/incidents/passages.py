"""Vehicles whose plates were read: told once for each passage. Pure.

A passage is a track, and every other track that carries the same plate on the same camera until it was not seen for
the rule's `cool_down_s`; a reading that changes after it was told is no second passage.
"""

from __future__ import annotations

from edge_agent import config
from edge_agent.incidents.watch import Found, Key, Watch, key_of
from edge_agent.messages import Incident, Track, Tracks

FORGET_S = 60.0  # a track unseen for so long is over


class PlateWatch(Watch[config.PlateSeen]):
    """One rule on the camera that its zone names, or on all."""

    def __init__(self, rule: config.PlateSeen, zone: config.Zone | None) -> None:
        super().__init__(rule, zone)
        self._forget()

    def _forget(self) -> None:
        self._told: dict[str, dict[Key, float]] = {}  # camera, track: last seen
        self._passed: dict[str, dict[str, float]] = {}  # camera, plate: last seen

    def recall(self, incident: Incident, fired_s: float) -> None:
        """As `Watch` says."""
        if incident.plate is not None:
            self._passed.setdefault(incident.camera, {})[incident.plate.text] = fired_s

    def update(self, tracks: Tracks) -> list[Found]:
        """Whose plate was read surely enough in this frame, for the first time in its passage."""
        if self._step_s(tracks) is None:
            return []
        now, cool_down_s = tracks.at_s, self.rule.cool_down_s
        told = {key: at for key, at in self._told.get(tracks.camera, {}).items() if now - at < FORGET_S}
        passed = {text: at for text, at in self._passed.get(tracks.camera, {}).items() if now - at < cool_down_s}
        self._told[tracks.camera], self._passed[tracks.camera] = told, passed
        fired: list[Found] = []
        for track in tracks.tracks:
            key, plate = key_of(track), track.plate
            if not track.seen or plate is None or (key not in told and not self._sure(track, tracks)):
                continue
            if key not in told and plate.text not in passed:
                fired.append(Found(track, track.first_s))
            told[key] = passed[plate.text] = now
        return fired

    def _sure(self, track: Track, tracks: Tracks) -> bool:
        rule, plate = self.rule, track.plate
        sure = plate is not None and plate.votes >= rule.min_votes and plate.confidence >= rule.min_confidence
        return sure and self._stands(track, tracks)
