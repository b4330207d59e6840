"""When to photograph who stays where it must not: at entry, when the rule fires, at intervals, at exit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from edge_agent import config
from edge_agent.incidents.stays import RESTS_BLIND_S, SETTLE_S, Stay
from edge_agent.incidents.watch import EPSILON_S, Key, key_of
from edge_agent.incidents.zones import Spot, apart, spot_of
from edge_agent.messages import Track, Tracks

MAX_STAYS = 16  # whose entry is held in memory until the rule fires; of more, those who came first

Role = Literal["entry", "photo", "exit", "stayed", "lost"]


class Shot(Struct, frozen=True, kw_only=True):
    """A photograph of a stay, from the frame that was judged; `exit` and `stayed` (beyond the grace) are its last.

    After so long without frames that nobody knows whether it left, there is nothing to photograph: it is `lost`.
    The entry of a stay that ends before its rule fires is to be thrown away: that is `over`.
    """

    role: Role | Literal["over"]
    stay: tuple[str, int]  # rule, name of the stay
    incident: str | None  # none before the rule fired
    track: Track | None  # none where it is not seen
    moved: float  # since the entry, in sizes of the object
    entered_s: float  # the frames' time at which the stay began
    last_s: float  # and at which the object was last seen in it
    gap_s: float


class _Open(Struct):
    """A stay that is photographed."""

    entry: Spot
    entered_s: float
    key: Key
    last_s: float
    incident: str | None = None
    fired_s: float = 0.0
    next_s: float = 0.0
    photos: int = 0
    gap_s: float = 0.0
    closed: bool = False


class ShotPlan:
    """The photographs of one rule."""

    def __init__(self, rule: config.Dwell) -> None:
        assert rule.evidence is not None
        self._id, self._wanted = rule.id, rule.evidence
        self._open: dict[int, _Open] = {}
        self._waiting: set[int] = set()  # for a place among those whose entry is held
        self._at_s: float | None = None

    def update(self, tracks: Tracks, stays: Iterable[Stay], fired: Mapping[int, str]) -> list[Shot]:
        """What to photograph in this frame; `fired` names the incidents of the stays whose rule fired in it."""
        now, shots = tracks.at_s, list[Shot]()
        blind = self._at_s is not None and not 0 <= now - self._at_s <= RESTS_BLIND_S  # or a video that began again
        self._at_s = now
        seen = {key_of(track): track for track in tracks.tracks if track.seen}
        here: dict[int, tuple[Stay, Track | None]] = {}
        for stay in stays:
            track = seen.get(stay.key)
            if stay.name not in here or track is not None:
                here[stay.name] = stay, track
        self._waiting &= here.keys()
        for name, (stay, track) in here.items():
            shots += self._go_on(name, stay, track, fired.get(name), tracks)
        for name in [name for name in self._open if name not in here]:
            one = self._open.pop(name)
            role: Literal["lost", "exit"] = "lost" if blind else "exit"
            if not one.closed:
                shots.append(self._shot(role if one.incident else "over", name, one, seen.get(one.key), tracks))
        return shots

    def _go_on(self, name: int, stay: Stay, track: Track | None, incident: str | None, tracks: Tracks) -> list[Shot]:
        shots, one, now = list[Shot](), self._open.get(name), tracks.at_s
        if one is None:
            full = sum(other.incident is None for other in self._open.values()) >= MAX_STAYS
            if track is None or (incident is None and now - stay.began_s < SETTLE_S):
                return []
            if incident is None and full:
                self._waiting.add(name)
                return []
            one = self._open[name] = _Open(spot_of(track, tracks), stay.began_s, stay.key, stay.last_s)
            if incident is None or name not in self._waiting:  # else its first photograph is that of the firing
                shots.append(self._shot("entry", name, one, track, tracks))
        one.key, one.last_s, one.gap_s = stay.key, stay.last_s, max(one.gap_s, stay.gap_s)
        if incident is not None and one.incident is None:
            one.incident, one.fired_s, one.next_s = incident, now, now
        if one.incident is None or one.closed:
            return shots
        if track is not None and now >= one.next_s - EPSILON_S:
            one.photos, one.next_s = one.photos + 1, now + self._wanted.every_s
            shots.append(self._shot("photo", name, one, track, tracks))
        elif now - one.fired_s >= self._wanted.grace_s and one.photos >= self._wanted.photos:
            one.closed = True
            shots.append(self._shot("stayed", name, one, track, tracks))
        return shots

    def _shot(self, role: Role | Literal["over"], name: int, one: _Open, track: Track | None, tracks: Tracks) -> Shot:
        return Shot(
            role=role,
            stay=(self._id, name),
            incident=one.incident,
            track=track,
            moved=apart(one.entry, spot_of(track, tracks)) if track is not None else 0.0,
            entered_s=one.entered_s,
            last_s=one.last_s,
            gap_s=one.gap_s,
        )
