"""Who crosses a line, and which way: told once for each crossing. Pure.

A track is on a side when its feet are clearly there: in the picture `CLEAR` of its height away from the line, on the
map as far as its place is sure (one standard deviation, `CLEAR_M` at least). It has crossed when it is clearly on the
other side and the way between led through the line itself, not past its ends. In the picture that way begins where it
was first seen, before it was seen often enough to be a track: who is quick may have crossed by then.
"""

from __future__ import annotations

from msgspec import Struct

from edge_agent import config, geo
from edge_agent.incidents.watch import Direction, Found, Key, Watch, first_seen, is_evidence, key_of
from edge_agent.messages import Box, Track, Tracks

CLEAR, CLEAR_M = 0.1, 0.5
SIGMAS = 2.447746830680816  # half axes of 95 % ellipses are so many standard deviations (chi² of two)
FORGET_S = 5.0

Line = tuple[geo.Point, geo.Point]
Foot = tuple[geo.Point, float]  # where it stands, and how far from the line it is clearly on a side


class _Seen(Struct):
    side: int
    place: geo.Point
    last_s: float
    fired_s: float = float("-inf")


class LineWatch(Watch[config.LineCrossing]):
    """One rule on its line."""

    def __init__(self, rule: config.LineCrossing) -> None:
        super().__init__(rule, camera=rule.camera)
        self._forget()

    def _forget(self) -> None:
        self._seen: dict[Key, _Seen] = {}

    def update(self, tracks: Tracks) -> list[Found]:
        """Who crossed in this frame, in the rule's direction."""
        rule, now, fired = self.rule, tracks.at_s, list[Found]()
        if self._step_s(tracks) is None:
            return fired
        line = _ends(rule, tracks)
        self._seen = {key: one for key, one in self._seen.items() if now - one.last_s < FORGET_S}
        for track in tracks.tracks:
            foot = _foot(rule, track) if is_evidence(track, rule, tracks) else None
            began = first_seen(track, now) if rule.map is None else None
            if foot and began is not None and key_of(track) not in self._seen:
                self._cross(key_of(track), _in_picture(began), line, now)
            direction = self._cross(key_of(track), foot, line, now) if foot else None
            if direction is not None and rule.direction in ("either", direction):
                fired.append(Found(track, now, direction=direction))
        return fired

    def _cross(self, key: Key, foot: Foot, line: Line, now: float) -> Direction | None:
        (feet, clear), (a, b) = foot, line
        away = geo.side_of(a, b, feet)
        if abs(away) < clear:
            if key in self._seen:
                self._seen[key].last_s = now
            return None
        side, old = (1 if away > 0 else -1), self._seen.get(key)
        if old is None:
            self._seen[key] = _Seen(side, feet, now)
            return None
        crossed = side != old.side and geo.segments_meet(old.place, feet, a, b)
        old.side, old.place, old.last_s = side, feet, now
        if not crossed or now - old.fired_s < self.rule.cool_down_s:
            return None
        old.fired_s = now
        return "to_right" if side > 0 else "to_left"


def _ends(rule: config.LineCrossing, tracks: Tracks) -> Line:
    """The line in pixels, or in metres of the map (east, south: as a picture lies that has north at its top)."""
    if rule.map is not None:
        return _on_map(rule.map, *rule.map[0]), _on_map(rule.map, *rule.map[1])
    assert rule.line is not None  # as the configuration's checks saw to
    (x1, y1), (x2, y2) = rule.line
    return (x1 * tracks.width, y1 * tracks.height), (x2 * tracks.width, y2 * tracks.height)


def _foot(rule: config.LineCrossing, track: Track) -> Foot | None:
    """None where a track's place is not known."""
    if rule.map is None:
        return _in_picture(track.box)
    if (place := track.place) is None:
        return None
    return _on_map(rule.map, place.lat, place.lon), max(CLEAR_M, place.major_m / SIGMAS)


def _in_picture(box: Box) -> Foot:
    x1, y1, x2, y2 = box
    return ((x1 + x2) / 2, y2), CLEAR * (y2 - y1)


def _on_map(line: config.MapLine, lat: float, lon: float) -> geo.Point:
    north, east = geo.to_local(lat, lon, *line[0])
    return east, -north
