"""Vehicles whose plates were read: told once for each passage. Pure.

A passage is a track, and every other track that carries the same plate on the same camera until it was not seen for
the rule's `cool_down_s`; a reading that changes after it was told is no second passage. Whichever of its tracks is read
better improves the one incident.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent import config
from edge_agent.incidents.watch import Found, Key, Watch, key_of
from edge_agent.messages import Incident, Track, Tracks

FORGET_S = 60.0  # a track unseen for so long is over


@dataclass
class _Passage:
    """One vehicle's; `incident` is what it was told as."""

    incident: str | None = None


class PlateWatch(Watch[config.PlateSeen]):
    """One rule on the camera that its zone names, or on all."""

    def __init__(self, rule: config.PlateSeen, zone: config.Zone | None) -> None:
        super().__init__(rule, zone)
        self._forget()

    def _forget(self) -> None:
        self._told: dict[str, dict[Key, tuple[float, _Passage]]] = {}  # camera, track: last seen
        self._passed: dict[str, dict[str, tuple[float, _Passage]]] = {}  # camera, plate: last seen

    def recall(self, incident: Incident, fired_s: float) -> None:
        """As `Watch` says."""
        if incident.plate is not None:
            self._passed.setdefault(incident.camera, {})[incident.plate.text] = fired_s, _Passage()

    def named(self, incident: Incident) -> None:
        """As `Watch` says: another track of this passage goes on with it."""
        if incident.plate is not None:
            self._passed[incident.camera][incident.plate.text][1].incident = incident.id

    def update(self, tracks: Tracks) -> list[Found]:
        """Whose plate was read surely enough in this frame, for the first time in its passage."""
        if self._step_s(tracks) is None:
            return []
        now, camera, cool_down_s = tracks.at_s, tracks.camera, self.rule.cool_down_s
        told = {key: one for key, one in self._told.get(camera, {}).items() if now - one[0] < FORGET_S}
        passed = {text: one for text, one in self._passed.get(camera, {}).items() if now - one[0] < cool_down_s}
        self._told[camera], self._passed[camera] = told, passed
        fired: list[Found] = []
        for track in tracks.tracks:
            key, plate = key_of(track), track.plate
            if not track.seen or plate is None or (key not in told and not self._sure(track, tracks)):
                continue
            if key in told:
                _, passage = told[key]
            elif plate.text in passed:
                _, passage = passed[plate.text]
                if passage.incident is not None:
                    self.resumed.append((passage.incident, track.id))
            else:
                passage = _Passage()
                fired.append(Found(track, track.first_s))
            told[key] = passed[plate.text] = now, passage
        return fired

    def _sure(self, track: Track, tracks: Tracks) -> bool:
        rule, plate = self.rule, track.plate
        sure = plate is not None and plate.votes >= rule.min_votes and plate.confidence >= rule.min_confidence
        return sure and self._stands(track, tracks)
