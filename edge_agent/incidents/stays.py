"""Who stands in a zone for how long, told once. Pure; time is `at_s` of the frames alone.

A *stay* is one object in one zone under one rule, from the first frame that shows it there. It goes on while nothing
speaks against it, ends when frames show the object elsewhere or not at all, and fires at most once.

One event gives one incident, and a second person is not swallowed by the first:
- a new track that appears where another of its group was just lost is that object: it takes over clock and mark; one
  that came there from elsewhere, or with another plate, does not;
- a track that has fired fires again only in a new stay, `cool_down_s` after it fired;
- a newcomer who may be an object that fired and then vanished (same group, first seen after the other was last seen;
  for `dwell` also the same place; of one that was seen to go, where it went; never with another plate) waits until that
  object's cool-down is over, and fires then if it is still there. Each object that fired holds back one newcomer at a
  time;
- whoever is seen together with the one that fired is somebody else, and fires on its own clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from edge_agent import config
from edge_agent.incidents.watch import EPSILON_S, Found, Key, Watch, first_seen, is_evidence, key_of
from edge_agent.incidents.zones import Spot, apart, spot_of
from edge_agent.messages import Incident, Plate, Track, Tracks, group_of

FLICKER_S = 0.5  # a shorter look elsewhere is noise of the detector
SETTLE_S = 1.0  # a vehicle rests once it moved less than STILL for this long: its clock starts there
STILL = 0.15  # of its own size
SHAKES_S = 3.0  # in one place for so long, though never still for a second: it is the camera that trembles
BLIND_S = 10.0  # after so long without frames nobody knows who stayed,
RESTS_BLIND_S = 60.0  # and who rested: a camera restarts, a stream is connected to anew
WENT_NEAR = 2.0  # sizes from where an object that went was last seen, within which a new track may be it
FRAME_S = 1.0  # of the time between two frames no more speaks against who rested and is not seen after it

StayRule = config.ForbiddenZone | config.Dwell | config.Loitering


class _Patience(NamedTuple):
    unseen_s: float  # an object unseen for so long has left
    near: float  # sizes within which a new track takes over from a lost one
    around: float  # sizes within which one that fired may have come back


_PATIENCE: dict[type[StayRule], _Patience] = {
    config.ForbiddenZone: _Patience(2.0, 1.0, math.inf),
    config.Dwell: _Patience(12.0, 1.0, 1.0),  # a bus halts before it; takes over within the rule's radius
    config.Loitering: _Patience(5.0, 2.0, math.inf),  # walks on behind a tree
}


@dataclass(frozen=True)
class _Past:
    """An object that fired: when, and what is known of it since."""

    key: Key
    group: str
    fired_s: float
    last_s: float
    spot: Spot
    plate: Plate | None
    incident: str | None = None  # whose life goes on once it is seen to be there still, as another track
    went: bool = False  # it was seen elsewhere since: `spot` is there


@dataclass
class Stay:
    """One object in the zone."""

    key: Key
    group: str
    began_s: float
    anchor: Spot
    last_s: float
    spot: Spot
    plate: Plate | None
    own_s: float  # as `began_s`, of this very track
    name: int  # of the stay: a track that takes it over keeps it
    gap_s: float = 0.0  # the longest time within it that nobody saw the object
    blind_s: float = 0.0  # the time without frames since it was last seen
    done: bool = False  # this stay has fired, itself or as the track that it took over from
    past: _Past | None = None  # the firing whose cool-down it is under
    resumed: bool = False  # it was told that the incident of that firing goes on with this track
    heir_of: Key | None = None
    plate_before: Plate | None = None  # of the track that it took over from


class StayWatch(Watch[StayRule]):
    """One rule in its zone."""

    def __init__(self, rule: StayRule, zone: config.Zone) -> None:
        super().__init__(rule, zone)
        self._count = 0
        self._patience = _PATIENCE[type(rule)]
        self._radius = rule.radius if isinstance(rule, config.Dwell) else None
        self._near = self._radius or self._patience.near
        self._forget()

    def _forget(self) -> None:
        self._stays: dict[Key, Stay] = {}
        self._pasts: list[_Past] = []
        self._first: dict[Key, Spot] = {}  # where each track was first seen
        self._came: dict[Key, tuple[Spot, float]] = {}  # where and when those who do not rest yet came to their place

    @property
    def stays(self) -> Iterable[Stay]:
        """Who is in the zone, or was until lately; a stay that is over is no longer among them."""
        return self._stays.values()

    def recall(self, incident: Incident, fired_s: float) -> None:
        """As `Watch` says: it is held back as one would be who was out of sight for as long."""
        spot, nobody = Spot(incident.box, incident.place), (0, fired_s)  # trackers count from 1
        group = group_of(incident.label)
        self._pasts.append(_Past(nobody, group, fired_s, fired_s, spot, incident.plate, incident.id))

    def named(self, incident: Incident) -> None:
        """As `Watch` says."""
        for stay in self._stays.values():
            if (
                stay.done
                and stay.past is not None
                and stay.key[0] == incident.track
                and stay.past.fired_s == incident.at_s
            ):
                stay.past = replace(stay.past, incident=incident.id)

    def update(self, tracks: Tracks) -> list[Found]:
        """Whose stay became long enough in this frame."""
        now, step_s = tracks.at_s, self._step_s(tracks)
        if step_s is None:
            return []
        self._miss(step_s)
        rule = self.rule
        seen = {key_of(track): track for track in tracks.tracks if is_evidence(track, rule, tracks)}
        there = {key_of(track) for track in tracks.tracks}
        before = self._first
        self._first = {key: spot for key, spot in before.items() if key in there}
        for key, track in seen.items():
            self._first.setdefault(key, spot_of(track, tracks))
        standing = [key for key in sorted(seen) if self._stands(seen[key], tracks)]
        pasts = (past for past in self._pasts if now - past.fired_s < self.rule.cool_down_s)
        self._pasts = [self._follow(past, seen.get(past.key), tracks) for past in pasts]
        for key in list(self._stays):
            self._go_on(key, seen.get(key), key in standing, tracks)
        for stay in self._stays.values():
            if stay.heir_of is not None and stay.heir_of in seen:
                self._resume(self._stays[stay.heir_of])
                self._disinherit(stay)
        for key in standing:
            if key not in self._stays:
                self._begin(key, seen, tracks, new=key not in before)
        fired = [(seen[key], self._stays[key]) for key in standing if self._fires(key, seen[key], tracks)]
        return [Found(track, stay.began_s, gap_s=stay.gap_s, stay=stay.name) for track, stay in fired]

    def _miss(self, step_s: float) -> None:
        """So long nobody looked: a vehicle may rest all the same, and goes on where it is found again."""
        if step_s > (BLIND_S if self._radius is None else RESTS_BLIND_S):
            for key in list(self._stays):
                self._end(key)
        if self._radius is not None and step_s > FRAME_S:
            for stay in self._stays.values():
                stay.blind_s += step_s - FRAME_S

    def _patience_s(self) -> float:
        """How long one may be unseen: who is found again is in the zone only after its inertia."""
        return self._patience.unseen_s + (self.zone.inertia if self.zone else 0.0)

    def _go_on(self, key: Key, track: Track | None, standing: bool, tracks: Tracks) -> None:
        """Carry a stay on, or end it."""
        stay, now = self._stays[key], tracks.at_s
        if track is None:
            if now - stay.last_s - stay.blind_s > self._patience_s():
                self._end(key)
            return
        if _differ(stay.plate_before, track.plate):
            self._disinherit(stay)
        stay.plate, stay.blind_s = track.plate or stay.plate, 0.0
        spot = spot_of(track, tracks)
        moved = self._moved(stay, spot, now)
        if standing and not moved:
            stay.gap_s = max(stay.gap_s, now - stay.last_s)
            stay.last_s, stay.spot = now, spot
        elif moved and now - stay.began_s < SETTLE_S:
            came = self._came.get(key)
            self._end(key)
            if came is not None:
                self._came[key] = came
        elif now - stay.last_s >= FLICKER_S:
            self._end(key)

    def _moved(self, stay: Stay, spot: Spot, now: float) -> bool:
        if self._radius is None:
            return False
        anchor, came_s = self._came.setdefault(stay.key, (stay.anchor, stay.began_s))
        if apart(anchor, spot) > self._radius:
            self._came[stay.key] = spot, now
        elif now - stay.began_s < SETTLE_S and now - came_s >= SHAKES_S:
            stay.anchor, stay.began_s, stay.own_s = anchor, came_s, came_s
        limit = self._radius if now - stay.began_s >= SETTLE_S else min(STILL, self._radius)
        return apart(stay.anchor, spot) > limit

    def _begin(self, key: Key, seen: dict[Key, Track], tracks: Tracks, *, new: bool) -> None:
        now, track = tracks.at_s, seen[key]
        spot = spot_of(track, tracks)
        began_s = track.first_s if new and self._came_here(track, tracks) else now
        stay = Stay(
            key=key,
            group=group_of(track.label),
            began_s=began_s,
            anchor=spot,
            last_s=tracks.at_s,
            spot=spot,
            plate=track.plate,
            own_s=began_s,
            name=self._next(),
        )
        self._stays[key] = stay
        if (same := self._lost(stay, seen, self._near)) is not None:
            stay.began_s, stay.anchor, stay.done, stay.past = same.began_s, same.anchor, same.done, same.past
            stay.heir_of, stay.name, stay.gap_s = same.key, same.name, max(same.gap_s, now - same.last_s)
            stay.plate_before = same.plate or same.plate_before
            if stay.done:
                self._resume(stay)
        elif (past := self._claim(stay)) is not None:
            self._pasts.remove(past)
            stay.past = past
        elif (maybe := self._lost(stay, seen, self._patience.around)) is not None:
            stay.past, stay.heir_of = maybe.past, maybe.key

    def _came_here(self, track: Track, tracks: Tracks) -> bool:
        """Whether a track that is new stood in the picture's zone when it was first seen: it took a while to be one."""
        if self._radius is not None or self.zone is None or not self.zone.polygon or self.zone.inertia:
            return False
        began = first_seen(track, tracks.at_s)
        return began is not None and self._area(tracks).holds(began)

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _lost(self, stay: Stay, seen: dict[Key, Track], within: float) -> Stay | None:
        """The stay that a new track may go on with: unseen now, last seen before it, of its group, the nearest.

        The track must have appeared about there: what drove or walked up is somebody else.
        """
        first = self._first[stay.key]
        taken = {other.heir_of for other in self._stays.values()}
        lost = [
            other
            for other in self._stays.values()
            if other.key not in seen
            and other.key not in taken
            and other.group == stay.group
            and other.last_s < stay.key[1]
            and apart(other.spot, stay.spot) <= within
            and apart(other.spot, first) <= max(within, 1.0)
            and not _differ(other.plate, stay.plate)
        ]
        return min(lost, key=lambda other: (apart(other.spot, stay.spot), other.key), default=None)

    def _claim(self, stay: Stay) -> _Past | None:
        """The object that fired before and may be this one: itself, or one that vanished before this one came."""
        mine = [past for past in self._pasts if past.key == stay.key]
        maybe = [
            past
            for past in self._pasts
            if past.group == stay.group and past.last_s < stay.key[1] and self._may_be(past, stay)
        ]
        return min(mine or maybe, key=lambda past: (past.fired_s, past.key), default=None)

    def _follow(self, past: _Past, track: Track | None, tracks: Tracks) -> _Past:
        """An object that fired, and may be seen where it does not stay."""
        if track is None or past.key in self._stays:
            return past
        return replace(past, last_s=tracks.at_s, spot=spot_of(track, tracks), went=True)

    def _may_be(self, past: _Past, stay: Stay) -> bool:
        """Whether a track may be the object that fired, by the places where one was lost and the other appeared."""
        if past.went:
            return apart(past.spot, self._first[stay.key]) <= WENT_NEAR
        return apart(past.spot, stay.spot) <= self._patience.around

    def _resume(self, stay: Stay) -> None:
        """The incident of the firing whose cool-down it is under goes on with its track."""
        stay.resumed = True
        if stay.past is not None and stay.past.incident is not None:
            self.resumed.append((stay.past.incident, stay.key[0]))

    def _disinherit(self, stay: Stay) -> None:
        """The track before it is seen beside it, or had another plate: they are two, each with its own clock."""
        stay.heir_of = stay.plate_before = None
        if stay.done and stay.past is not None and stay.past.key == stay.key:
            return  # it has fired itself
        stay.began_s, stay.anchor, stay.done, stay.past = stay.own_s, stay.spot, False, None
        stay.name, stay.gap_s = self._next(), 0.0

    def _end(self, key: Key) -> None:
        stay = self._stays.pop(key)
        self._came.pop(key, None)
        if stay.past is not None and not any(other.heir_of == key for other in self._stays.values()):
            plate = stay.plate or stay.past.plate
            self._pasts.append(replace(stay.past, key=key, last_s=stay.last_s, spot=stay.spot, plate=plate))
        for other in self._stays.values():
            if other.heir_of == key:
                other.heir_of = None

    def _fires(self, key: Key, track: Track, tracks: Tracks) -> bool:
        stay, rule, now = self._stays[key], self.rule, tracks.at_s
        if stay.done or stay.last_s < now or now - stay.began_s < rule.after_s - EPSILON_S:
            return False
        past = stay.past
        if past is not None and now - past.fired_s < rule.cool_down_s and not self._another(past, stay):
            if not stay.resumed:
                self._resume(stay)
            return False
        stay.done = True
        stay.past = _Past(key, stay.group, now, now, spot_of(track, tracks), stay.plate)
        return True

    @staticmethod
    def _another(past: _Past, stay: Stay) -> bool:
        """Whether a plate read since shows that this is not the object that fired."""
        return past.key != stay.key and _differ(past.plate, stay.plate)


def _differ(a: Plate | None, b: Plate | None) -> bool:
    return a is not None and b is not None and a.text != b.text
