"""So many at once in a zone, for how long: told once for each gathering. Pure."""

from __future__ import annotations

from msgspec import structs

from edge_agent import config, geo
from edge_agent.incidents.watch import EPSILON_S, Found, Watch, is_evidence
from edge_agent.messages import Incident, Track, Tracks

DIP_S = 2.0  # fewer, or no frames, for a shorter time: somebody stood behind another


class CrowdWatch(Watch[config.Crowd]):
    """One rule in its zone."""

    def __init__(self, rule: config.Crowd, zone: config.Zone) -> None:
        super().__init__(rule, zone)
        self._area_m2 = rule.area_m2 or _area_m2(zone)
        self._forget()

    def move(self, zone: config.Zone) -> None:
        """The zone has other corners from now on, and perhaps another size."""
        super().move(zone)
        self._area_m2 = self.rule.area_m2 or _area_m2(zone)

    def _many(self, count: int) -> bool:
        """Whether so many are a crowd, by their number or by how close they stand."""
        rule = self.rule
        if rule.count is not None and count >= rule.count:
            return True
        return rule.per_m2 is not None and count >= 2 and self._area_m2 > 0 and count >= rule.per_m2 * self._area_m2

    def _forget(self) -> None:
        self._fired_s = float("-inf")
        self._disperse()

    def recall(self, incident: Incident, fired_s: float) -> None:
        """As `Watch` says: a gathering is known by its place."""
        if self.zone is not None and incident.zone == self.zone.name:
            self._fired_s = max(self._fired_s, fired_s)

    def _disperse(self) -> None:
        self._since_s: float | None = None
        self._last_s = 0.0
        self._told = False

    def update(self, tracks: Tracks) -> list[Found]:
        """The gathering, in the frame in which it has lasted long enough; a new one waits for the cool-down's end."""
        rule, now = self.rule, tracks.at_s
        if self._step_s(tracks) is None:
            return []
        there = [track for track in tracks.tracks if is_evidence(track, rule, tracks) and self._stands(track, tracks)]
        if now - self._last_s > DIP_S:
            self._disperse()
        if not self._many(len(there)):
            return []
        self._since_s = now if self._since_s is None else self._since_s
        self._last_s = now
        if self._told or now - self._since_s < rule.after_s - EPSILON_S or now - self._fired_s < rule.cool_down_s:
            return []
        self._told, self._fired_s = True, now
        return [Found(_as_one(there), self._since_s, count=len(there), per_m2=self._density(len(there)))]

    def _density(self, count: int) -> float | None:
        return count / self._area_m2 if self._area_m2 else None


def _area_m2(zone: config.Zone) -> float:
    """Of a zone on the map; 0 where it is drawn in the picture."""
    if not zone.map:
        return 0.0
    lat0, lon0 = zone.map[0]
    return geo.area([geo.to_local(lat, lon, lat0, lon0) for lat, lon in zone.map])


def _as_one(there: list[Track]) -> Track:
    """Who was first seen of them, in a box around all; the plate of one is not that of all."""
    left, top, right, bottom = zip(*(track.box for track in there), strict=True)
    first = min(there, key=lambda track: (track.first_s, track.id))
    return structs.replace(first, box=(min(left), min(top), max(right), max(bottom)), plate=None)
