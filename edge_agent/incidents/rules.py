"""Tracks in, incidents out: all rules of all cameras, each told once. Pure; time is `at_s` of the frames alone."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Any, Literal, assert_never, cast

from msgspec import structs
from ulid import ULID

from edge_agent import config, spans
from edge_agent.incidents.crowds import CrowdWatch
from edge_agent.incidents.lines import LineWatch
from edge_agent.incidents.listed import HotWatch, Lists
from edge_agent.incidents.passages import PlateWatch
from edge_agent.incidents.shots import Shot, ShotPlan
from edge_agent.incidents.stays import StayWatch
from edge_agent.incidents.tallies import TallyWatch
from edge_agent.incidents.watch import Found, Watch
from edge_agent.messages import Incident, Tally, Tracks

Kind = Literal["forbidden_zone", "dwell", "loitering", "crowd", "line_crossing", "plate_seen", "hot_list"]
Telling = (  # the rules that make incidents
    config.ForbiddenZone
    | config.Dwell
    | config.Loitering
    | config.Crowd
    | config.LineCrossing
    | config.PlateSeen
    | config.HotListed
)


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
        by_name, rules = {zone.name: zone for zone in zones}, tuple(rules)
        counts = (rule for rule in rules if isinstance(rule, config.Count))
        self._tallies = [TallyWatch(rule, by_name[rule.zone] if rule.zone else None) for rule in counts]
        watches = (_watch(rule, by_name, lists) for rule in rules if not isinstance(rule, config.Count))
        self._watches: list[Watch[Any]] = [watch for watch in watches if watch is not None]
        photographed = [rule for rule in rules if isinstance(rule, config.Dwell) and rule.evidence is not None]
        self._plans = {rule.id: ShotPlan(rule) for rule in photographed}
        self._shots: list[Shot] = []
        self._recalled: list[Incident] = []
        self._rng = rng or random.Random()
        self._time_zone = time_zone

    def recall(self, incidents: Iterable[Incident]) -> None:
        """These fired before the agent was restarted: their cool-downs hold on, by the wall clock."""
        self._recalled = list(incidents)

    def resumed(self) -> list[tuple[config.Rule, str, int]]:
        """The earlier incidents that go on since the last frame: by which rule, and with which other track.

        Of whoever is there still, after a restart or as another track; and of the vehicle whose plate another carries.
        """
        found: list[tuple[config.Rule, str, int]] = []
        for watch in self._watches:
            found += [(watch.rule, incident, track) for incident, track in watch.resumed]
            watch.resumed.clear()
        return found

    def _hold_on(self, tracks: Tracks) -> None:
        mine = [one for one in self._recalled if one.camera == tracks.camera]
        self._recalled = [one for one in self._recalled if one.camera != tracks.camera]
        for incident in mine:
            ago_s = tracks.wall_s - incident.wall_s
            for watch in self._watches:
                if watch.rule.id == incident.rule and 0 <= ago_s < watch.rule.cool_down_s:
                    watch.recall(incident, tracks.at_s - ago_s)

    def update(self, tracks: Tracks) -> list[Incident]:
        """Judge one frame; returns what fired in it, without pictures."""
        if self._recalled:
            self._hold_on(tracks)
        incidents: list[Incident] = []
        for watch in self._watches:
            if watch.camera not in (None, tracks.camera) or not self._holds(watch.rule, tracks):
                continue
            found = [(one.stay, self._incident(watch, one, tracks)) for one in watch.update(_visible(watch, tracks))]
            for _, incident in found:
                watch.named(incident)
                incidents.append(incident)
            if isinstance(watch, StayWatch) and (plan := self._plans.get(watch.rule.id)) is not None:
                told = {stay: incident.id for stay, incident in found if stay is not None}
                self._shots += plan.update(tracks, watch.stays, told)
        return incidents

    def shots(self) -> list[Shot]:
        """The photographs that are due in the frame that was judged last, for the sets of evidence."""
        shots, self._shots = self._shots, []
        return shots

    def count(self, tracks: Tracks) -> list[Tally]:
        """Count in one frame; returns the intervals that ended before it."""
        ended = (
            tally.update(_visible(tally.watch, tracks), active=self._holds(tally.rule, tracks))
            for tally in self._tallies
            if tally.watch.camera == tracks.camera
        )
        return [self._named(tally) for tally in ended if tally is not None]

    def close(self) -> list[Tally]:
        """The intervals that are open, as far as they went."""
        return [self._named(ended) for tally in self._tallies if (ended := tally.close()) is not None]

    def _named(self, tally: Tally) -> Tally:
        return structs.replace(tally, id=str(_ulid(tally.since_s + tally.lasted_s, self._rng)))

    def _holds(self, rule: config.Rule, tracks: Tracks) -> bool:
        if self._time_zone is None or not rule.active:
            return True
        local = datetime.fromtimestamp(tracks.wall_s, self._time_zone).replace(tzinfo=None)
        return any(spans.holds(span, local) for span in rule.active)

    def change(self, rule: config.Rule) -> None:
        """Judge by other terms (`after_s`, `cool_down_s`, `min_score`) from the next frame on."""
        for watch in self._watches:
            if watch.rule.id == rule.id:
                watch.change(rule)
        for tally in self._tallies:
            if isinstance(rule, config.Count) and tally.rule.id == rule.id:
                tally.change(rule)

    def move(self, zone: config.Zone) -> None:
        """Judge by other corners from the next frame on: who stands within both goes on with their clock."""
        for watch in [*self._watches, *(tally.watch for tally in self._tallies)]:
            if watch.zone is not None and watch.zone.name == zone.name and watch.zone != zone:
                watch.move(zone)

    def _incident(self, watch: Watch[Any], found: Found, tracks: Tracks) -> Incident:
        track, lasted_s = found.track, max(0.0, tracks.at_s - found.began_s)
        return Incident(
            id=str(_ulid(tracks.wall_s, self._rng)),
            kind=kind_of(watch.rule),
            rule=watch.rule.id,
            camera=tracks.camera,
            zone=watch.zone.name if watch.zone else "",
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
            hit=found.hit,
            direction=found.direction,
            count=found.count,
            per_m2=found.per_m2,
            place=track.place,
            gap_s=found.gap_s,
        )


def _visible(watch: Watch[Any], tracks: Tracks) -> Tracks:
    """Of a zone on the map, those whose place is known: while it is not, nobody knows who left."""
    if watch.zone is None or not watch.zone.map:
        return tracks
    return structs.replace(tracks, tracks=tuple(track for track in tracks.tracks if track.place is not None))


def _watch(rule: Telling, zones: dict[str, config.Zone], lists: Lists | None) -> Watch[Any] | None:
    match rule:
        case config.ForbiddenZone() | config.Dwell() | config.Loitering():
            return StayWatch(rule, zones[rule.zone])
        case config.Crowd():
            return CrowdWatch(rule, zones[rule.zone])
        case config.LineCrossing():
            return LineWatch(rule)
        case config.PlateSeen():
            return PlateWatch(rule, zones[rule.zone] if rule.zone else None)
        case config.HotListed():
            return HotWatch(rule, zones[rule.zone] if rule.zone else None, lists) if lists is not None else None
        case _:
            assert_never(rule)


def kind_of(rule: config.Rule) -> Kind:
    """The kind of incident that a rule tells of: its `type`."""
    return cast(Kind, type(rule).__struct_config__.tag)


def _ulid(wall_s: float, rng: random.Random) -> ULID:
    ms = min(max(0, int(wall_s * 1000)), 2**48 - 1)
    return ULID.from_bytes(ms.to_bytes(6, "big") + rng.randbytes(10))
