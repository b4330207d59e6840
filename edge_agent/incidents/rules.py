"""Tracks in, incidents out: who stands in a zone for how long, told once. Pure; time is `at_s` of the frames alone.

A *stay* is one object in one zone under one rule, from the first frame that shows it there. It goes on while nothing
speaks against it, ends when frames show the object elsewhere or not at all, and fires at most once.

One event gives one incident, and a second person is not swallowed by the first:
- a new track that appears where another of its group was just lost is that object: it takes over clock and mark;
- a track that has fired fires again only in a new stay, `cool_down_s` after it fired;
- a newcomer who may be an object that fired and then vanished (same group, first seen after the other was last seen;
  for `dwell` also the same place; never with another plate) waits until that object's cool-down is over, and fires
  then if it is still there. Each object that fired holds back one newcomer at a time;
- whoever is seen together with the one that fired is somebody else, and fires on its own clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Literal, assert_never

from ulid import ULID

from edge_agent import config, spans
from edge_agent.incidents.lines import Direction, LineWatch
from edge_agent.incidents.listed import HotWatch, Lists
from edge_agent.incidents.zones import Area, apart
from edge_agent.messages import Box, Hit, Incident, Plate, Track, Tracks, group_of, is_a

FLICKER_S = 0.5  # a shorter look elsewhere is noise of the detector
SETTLE_S = 1.0  # a vehicle rests once it moved less than STILL for this long: its clock starts there
STILL = 0.15  # of its own size
BLIND_S = 10.0  # after so long without frames nobody knows who stayed
RESTART_S = 1.0  # time going back by more is a video that restarts; by less, a frame out of order
_EPSILON_S = 1e-6

Kind = Literal["forbidden_zone", "dwell", "hot_list", "line_crossing"]
Key = tuple[int, float]  # a tracker that restarts counts its ids from the beginning: first_s tells them apart


class Rules:
    """All rules of all cameras; `update` wants the frames of each camera in order. Without `lists` no plate is hot.

    Without a `time_zone` every rule holds at any time.
    """

    def __init__(
        self,
        zones: Iterable[config.Zone],
        rules: Iterable[config.Rule],
        rng: random.Random | None = None,
        lists: Lists | None = None,
        time_zone: tzinfo | None = None,
    ) -> None:
        by_name = {zone.name: zone for zone in zones}
        self._rng = rng or random.Random()
        self._watches: dict[str, list[_Watch]] = {}
        self._hot: list[HotWatch] = []
        self._lines: list[LineWatch] = []
        self._time_zone = time_zone
        for rule in rules:
            if isinstance(rule, config.LineCrossing):
                self._lines.append(LineWatch(rule))
                continue
            if isinstance(rule, config.HotListed):
                if lists is not None:
                    self._hot.append(HotWatch(rule, by_name[rule.zone] if rule.zone else None, lists))
                continue
            zone = by_name[rule.zone]
            self._watches.setdefault(zone.camera, []).append(_Watch(rule, zone))

    def update(self, tracks: Tracks) -> list[Incident]:
        """Judge one frame; returns what fired in it, without pictures."""
        stays = [
            self._incident(watch.rule, track, tracks, began_s=stay.began_s)
            for watch in self._watches.get(tracks.camera, ())
            if self._holds(watch.rule, tracks)
            for stay, track in watch.update(tracks)
        ]
        hits = [
            self._incident(watch.rule, track, tracks, began_s=track.first_s, hit=hit)
            for watch in self._hot
            if self._holds(watch.rule, tracks)
            for track, hit in watch.update(tracks)
        ]
        crossings = [
            self._incident(line.rule, track, tracks, began_s=tracks.at_s, direction=direction)
            for line in self._lines
            if line.rule.camera == tracks.camera and self._holds(line.rule, tracks)
            for track, direction in line.update(tracks)
        ]
        return stays + hits + crossings

    def _holds(self, rule: config.Rule, tracks: Tracks) -> bool:
        if self._time_zone is None or not rule.active:
            return True
        local = datetime.fromtimestamp(tracks.wall_s, self._time_zone).replace(tzinfo=None)
        return any(spans.holds(span, local) for span in rule.active)

    def change(self, rule: config.Rule) -> None:
        """Judge by other terms (`after_s`, `cool_down_s`, `min_score`) from the next frame on."""
        if isinstance(rule, config.HotListed):
            for hot in self._hot:
                hot.rule = rule if hot.rule.id == rule.id else hot.rule
            return
        if isinstance(rule, config.LineCrossing):
            for line in self._lines:
                line.rule = rule if line.rule.id == rule.id else line.rule
            return
        for watch in self._all():
            if watch.rule.id == rule.id:
                watch.rule = rule

    def move(self, zone: config.Zone) -> None:
        """Judge by other corners from the next frame on: who stands within both goes on with their clock."""
        watches: list[_Watch | HotWatch] = [*self._all(), *self._hot]
        for watch in watches:
            if watch.zone is not None and watch.zone.name == zone.name and watch.zone != zone:
                watch.move(zone)

    def _all(self) -> list[_Watch]:
        return [watch for watches in self._watches.values() for watch in watches]

    def _incident(
        self,
        rule: config.Rule,
        track: Track,
        tracks: Tracks,
        *,
        began_s: float,
        hit: Hit | None = None,
        direction: Direction | None = None,
    ) -> Incident:
        lasted_s = max(0.0, tracks.at_s - began_s)
        return Incident(
            id=str(_ulid(tracks.wall_s, self._rng)),
            kind=kind_of(rule),
            rule=rule.id,
            camera=tracks.camera,
            zone="" if isinstance(rule, config.LineCrossing) else rule.zone or "",
            track=track.id,
            label=track.label,
            score=track.score,
            box=track.box,
            began_s=tracks.wall_s - lasted_s,  # the wall clock may have been set since: only its present is believed
            wall_s=tracks.wall_s,
            at_s=tracks.at_s,
            lasted_s=lasted_s,
            frame=tracks.seq,
            plate=track.plate,
            hit=hit,
            direction=direction,
        )


def kind_of(rule: config.Rule) -> Kind:
    """The kind of incident that a rule tells of."""
    match rule:
        case config.ForbiddenZone():
            return "forbidden_zone"
        case config.Dwell():
            return "dwell"
        case config.HotListed():
            return "hot_list"
        case config.LineCrossing():
            return "line_crossing"
        case _:
            assert_never(rule)


def _ulid(wall_s: float, rng: random.Random) -> ULID:
    ms = min(max(0, int(wall_s * 1000)), 2**48 - 1)
    return ULID.from_bytes(ms.to_bytes(6, "big") + rng.randbytes(10))


@dataclass(frozen=True)
class _Past:
    """An object that fired: when, and what is known of it since."""

    key: Key
    group: str
    fired_s: float
    last_s: float
    box: Box
    plate: Plate | None


@dataclass
class _Stay:
    """One object in the zone."""

    key: Key
    group: str
    began_s: float
    anchor: Box
    last_s: float
    box: Box
    plate: Plate | None
    own_s: float  # as `began_s`, of this very track
    done: bool = False  # this stay has fired, itself or as the track that it took over from
    past: _Past | None = None  # the firing whose cool-down it is under
    heir_of: Key | None = None


class _Watch:
    """One rule in its zone."""

    def __init__(self, rule: config.ForbiddenZone | config.Dwell, zone: config.Zone) -> None:
        self.rule, self.zone = rule, zone
        dwell = isinstance(rule, config.Dwell)
        self._gap_s = 5.0 if dwell else 2.0  # unseen for longer, an object has left
        self._radius = rule.radius if isinstance(rule, config.Dwell) else None
        self._near = self._radius if self._radius is not None else 1.0  # sizes within which a new track takes over
        self._around = 1.0 if dwell else math.inf  # sizes within which one that fired may have come back
        self._area: Area | None = None
        self._last_s: float | None = None
        self._forget()

    def move(self, zone: config.Zone) -> None:
        """The zone has other corners from now on."""
        self.zone, self._area = zone, None

    def _forget(self) -> None:
        self._stays: dict[Key, _Stay] = {}
        self._pasts: list[_Past] = []

    def update(self, tracks: Tracks) -> list[tuple[_Stay, Track]]:
        now = tracks.at_s
        if self._last_s is not None and now < self._last_s:
            if now > self._last_s - RESTART_S:
                return []
            self._forget()
        elif self._last_s is not None and now - self._last_s > BLIND_S:
            for key in list(self._stays):
                self._end(key)
        self._last_s = now
        if self._area is None or (self._area.width, self._area.height) != (tracks.width, tracks.height):
            self._area = Area(self.zone, tracks.width, tracks.height)

        seen = {(track.id, track.first_s): track for track in tracks.tracks if self._counts(track)}
        standing = [key for key in sorted(seen) if self._area.holds(seen[key].box)]
        self._pasts = [past for past in self._pasts if now - past.fired_s < self.rule.cool_down_s]
        for key in list(self._stays):
            self._go_on(key, seen.get(key), key in standing, now)
        for stay in self._stays.values():
            if stay.heir_of is not None and stay.heir_of in seen:
                self._disinherit(stay)
        for key in standing:
            if key not in self._stays:
                self._begin(key, seen[key], seen, now)
        return [(self._stays[key], seen[key]) for key in standing if self._fires(key, seen[key], now)]

    def _counts(self, track: Track) -> bool:
        """Whether a track is evidence in this frame: seen, sure enough, and of the rule's classes."""
        rule = self.rule
        return track.seen and track.score >= rule.min_score and any(is_a(track.label, name) for name in rule.classes)

    def _go_on(self, key: Key, track: Track | None, standing: bool, now: float) -> None:
        """Carry a stay on, or end it."""
        stay = self._stays[key]
        if track is None:
            if now - stay.last_s > self._gap_s:
                self._end(key)
            return
        stay.plate = track.plate or stay.plate
        moved = self._moved(stay, track.box, now)
        if standing and not moved:
            stay.last_s, stay.box = now, track.box
        elif now - stay.last_s >= FLICKER_S or (moved and now - stay.began_s < SETTLE_S):
            self._end(key)

    def _moved(self, stay: _Stay, box: Box, now: float) -> bool:
        if self._radius is None:
            return False
        limit = self._radius if now - stay.began_s >= SETTLE_S else min(STILL, self._radius)
        return apart(stay.anchor, box) > limit

    def _begin(self, key: Key, track: Track, seen: dict[Key, Track], now: float) -> None:
        stay = _Stay(
            key=key,
            group=group_of(track.label),
            began_s=now,
            anchor=track.box,
            last_s=now,
            box=track.box,
            plate=track.plate,
            own_s=now,
        )
        self._stays[key] = stay
        if (same := self._lost(stay, seen, self._near)) is not None:
            stay.began_s, stay.anchor, stay.done, stay.past = same.began_s, same.anchor, same.done, same.past
            stay.heir_of = same.key
        elif (past := self._claim(stay)) is not None:
            self._pasts.remove(past)
            stay.past = past
        elif (maybe := self._lost(stay, seen, self._around)) is not None:
            stay.past, stay.heir_of = maybe.past, maybe.key

    def _lost(self, stay: _Stay, seen: dict[Key, Track], within: float) -> _Stay | None:
        """The stay that a new track may go on with: unseen now, last seen before it, of its group, the nearest."""
        taken = {other.heir_of for other in self._stays.values()}
        lost = [
            other
            for other in self._stays.values()
            if other.key not in seen
            and other.key not in taken
            and other.group == stay.group
            and other.last_s < stay.key[1]
            and apart(other.box, stay.box) <= within
        ]
        return min(lost, key=lambda other: (apart(other.box, stay.box), other.key), default=None)

    def _claim(self, stay: _Stay) -> _Past | None:
        """The object that fired before and may be this one: itself, or one that vanished before this one came."""
        mine = [past for past in self._pasts if past.key == stay.key]
        maybe = [
            past
            for past in self._pasts
            if past.group == stay.group and past.last_s < stay.key[1] and apart(past.box, stay.box) <= self._around
        ]
        return min(mine or maybe, key=lambda past: (past.fired_s, past.key), default=None)

    def _disinherit(self, stay: _Stay) -> None:
        """The track that it took over from is seen beside it: they are two, and this one has its own clock."""
        stay.heir_of = None
        if stay.done and stay.past is not None and stay.past.key == stay.key:
            return  # it has fired itself
        stay.began_s, stay.anchor, stay.done, stay.past = stay.own_s, stay.box, False, None

    def _end(self, key: Key) -> None:
        stay = self._stays.pop(key)
        if stay.past is not None and not any(other.heir_of == key for other in self._stays.values()):
            plate = stay.plate or stay.past.plate
            self._pasts.append(replace(stay.past, key=key, last_s=stay.last_s, box=stay.box, plate=plate))
        for other in self._stays.values():
            if other.heir_of == key:
                other.heir_of = None

    def _fires(self, key: Key, track: Track, now: float) -> bool:
        stay, rule = self._stays[key], self.rule
        if stay.done or stay.last_s < now or now - stay.began_s < rule.after_s - _EPSILON_S:
            return False
        past = stay.past
        if past is not None and now - past.fired_s < rule.cool_down_s and not self._another(past, stay):
            return False
        stay.done = True
        stay.past = _Past(key, stay.group, now, now, track.box, stay.plate)
        return True

    @staticmethod
    def _another(past: _Past, stay: _Stay) -> bool:
        """Whether a plate read since shows that this is not the object that fired."""
        return past.key != stay.key and _differ(past.plate, stay.plate)


def _differ(a: Plate | None, b: Plate | None) -> bool:
    return a is not None and b is not None and a.text != b.text
