"""Who crosses a line, and which way: told once for each crossing. Pure.

A track is on a side when its feet are clearly there (`CLEAR` of its height away from the line); it has crossed when it
is clearly on the other side and the way between led through the line itself, not past its ends.
"""

from __future__ import annotations

from msgspec import Struct

from edge_agent import config, geo
from edge_agent.incidents.watch import Direction, Found, Key, Watch, is_evidence, key_of
from edge_agent.messages import Box, Tracks

CLEAR = 0.1
FORGET_S = 5.0


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
        (x1, y1), (x2, y2) = rule.line
        a, b = (x1 * tracks.width, y1 * tracks.height), (x2 * tracks.width, y2 * tracks.height)
        for track in tracks.tracks:
            if not is_evidence(track, rule.classes, rule.min_score):
                continue
            direction = self._cross(key_of(track), track.box, a, b, now)
            if direction is not None and rule.direction in ("either", direction):
                fired.append(Found(track, now, direction=direction))
        self._seen = {key: one for key, one in self._seen.items() if now - one.last_s < FORGET_S}
        return fired

    def _cross(self, key: Key, box: Box, a: geo.Point, b: geo.Point, now: float) -> Direction | None:
        feet = ((box[0] + box[2]) / 2, box[3])
        away = geo.side_of(a, b, feet)
        if abs(away) < CLEAR * (box[3] - box[1]):
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
