"""How many enter a zone or cross a line in each interval. Pure.

Intervals follow the wall clock at which they begin and last by the frames' own: a clock that is set makes none longer.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec import Struct, field, structs

from edge_agent import config
from edge_agent.incidents.lines import LineWatch
from edge_agent.incidents.stays import StayWatch
from edge_agent.incidents.watch import EPSILON_S, RESTART_S, Direction, Watch
from edge_agent.messages import Tally, Tracks

ENTERED_S = 0.5  # in the zone for so long: a box that trembles at its edge is nobody who enters
BLIND_S = 2.0  # without frames for longer, that time was not observed


class _Interval(Struct):
    """One that is open, in the frames' time but for `since_s`, which is Unix time."""

    since_s: float
    began_s: float
    until_s: float
    last_s: float
    observed_s: float = 0.0
    labels: Counter[str] = field(default_factory=Counter)
    ways: Counter[Direction | None] = field(default_factory=Counter)


class TallyWatch:
    """One count; whoever stands in the zone when it begins counts as entered."""

    def __init__(self, rule: config.Count, zone: config.Zone | None) -> None:
        self.rule = rule
        self.watch: Watch[Any] = _watch(rule, zone)
        self._open: _Interval | None = None

    def change(self, rule: config.Count) -> None:
        """Judge by another `min_score` from the next frame on."""
        self.rule = rule
        self.watch.change(structs.replace(self.watch.rule, min_score=rule.min_score))

    def update(self, tracks: Tracks, *, active: bool) -> Tally | None:
        """Count in this frame; returns the interval that ended before it."""
        now, ended = tracks.at_s, None
        if self._open and now < self._open.last_s - RESTART_S:  # a video that begins again
            ended = self.close()
        elif self._open and now >= self._open.until_s - EPSILON_S:
            _look(self._open, now)
            ended = self.close()
        if not active:
            return ended
        if self._open is None:
            rest_s = self.rule.interval_s - tracks.wall_s % self.rule.interval_s
            self._open = _Interval(tracks.wall_s, now, now + rest_s, now)
        _look(self._open, now)
        for found in self.watch.update(tracks):
            self._open.labels[found.track.label] += 1
            self._open.ways[found.direction] += 1
        return ended

    def close(self) -> Tally | None:
        """The interval that is open, as far as it went, without an id; None where none is."""
        done, self._open = self._open, None
        if done is None:
            return None
        line = self.rule.zone is None
        return Tally(
            id="",
            rule=self.rule.id,
            camera=self.watch.camera or "",
            zone=self.rule.zone or "",
            since_s=done.since_s,
            lasted_s=done.last_s - done.began_s,
            observed_s=done.observed_s,
            total=done.labels.total(),
            labels=dict(sorted(done.labels.items())),
            to_left=done.ways["to_left"] if line else None,
            to_right=done.ways["to_right"] if line else None,
        )


def _look(interval: _Interval, now: float) -> None:
    """There is a frame: what of the interval has passed, and whether it was observed."""
    seen = now - interval.last_s <= BLIND_S
    passed_s = max(0.0, min(now, interval.until_s) - interval.last_s)
    interval.last_s += passed_s
    interval.observed_s += passed_s if seen else 0.0


def _watch(rule: config.Count, zone: config.Zone | None) -> Watch[Any]:
    """Who is counted: each stay in the zone, each crossing of the line."""
    classes, score, size = rule.classes, rule.min_score, rule.min_size
    if zone is not None:
        entering = config.ForbiddenZone(
            id=rule.id,
            zone=zone.name,
            classes=classes,
            after_s=ENTERED_S,
            min_score=score,
            min_size=size,
            cool_down_s=0,
        )
        return StayWatch(entering, zone)
    assert rule.camera is not None  # as the configuration's checks saw to
    crossing = config.LineCrossing(
        id=rule.id,
        camera=rule.camera,
        line=rule.line,
        map=rule.map,
        classes=classes,
        min_score=score,
        min_size=size,
        cool_down_s=0,
    )
    return LineWatch(crossing)
