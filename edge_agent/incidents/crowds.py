"""So many at once in a zone, for how long: told once for each gathering. Pure."""

from __future__ import annotations

from msgspec import structs

from edge_agent import config
from edge_agent.incidents.watch import EPSILON_S, Found, Watch, is_evidence
from edge_agent.messages import Track, Tracks

DIP_S = 2.0  # fewer, or no frames, for a shorter time: somebody stood behind another


class CrowdWatch(Watch[config.Crowd]):
    """One rule in its zone."""

    def __init__(self, rule: config.Crowd, zone: config.Zone) -> None:
        super().__init__(rule, zone)
        self._forget()

    def _forget(self) -> None:
        self._fired_s = float("-inf")
        self._disperse()

    def _disperse(self) -> None:
        self._since_s: float | None = None
        self._last_s = 0.0
        self._told = False

    def update(self, tracks: Tracks) -> list[Found]:
        """The gathering, in the frame in which it has lasted long enough; a new one waits for the cool-down's end."""
        rule, now = self.rule, tracks.at_s
        if self._step_s(tracks) is None:
            return []
        there = [
            track
            for track in tracks.tracks
            if is_evidence(track, rule.classes, rule.min_score) and self._stands(track, tracks)
        ]
        if now - self._last_s > DIP_S:
            self._disperse()
        if len(there) < rule.count:
            return []
        self._since_s = now if self._since_s is None else self._since_s
        self._last_s = now
        if self._told or now - self._since_s < rule.after_s - EPSILON_S or now - self._fired_s < rule.cool_down_s:
            return []
        self._told, self._fired_s = True, now
        return [Found(_as_one(there), self._since_s, count=len(there))]


def _as_one(there: list[Track]) -> Track:
    """Who was first seen of them, in a box around all; the plate of one is not that of all."""
    left, top, right, bottom = zip(*(track.box for track in there), strict=True)
    first = min(there, key=lambda track: (track.first_s, track.id))
    return structs.replace(first, box=(min(left), min(top), max(right), max(bottom)), plate=None)
