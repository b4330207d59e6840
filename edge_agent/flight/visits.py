"""What must be visited, and whether it was: credited by measured geometry, due again after its days. Pure.

A point is visited when the path came near enough and stayed for long enough; a line when enough of it was passed near
enough; an area when enough of it was inside the camera's footprint, straight below. What one run leaves out stays
open, so that the next has only the rest to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from msgspec import Struct, field, structs

from edge_agent import geo
from edge_agent.config import Limits, MustVisit, Route, Waypoint
from edge_agent.flight import route as routes
from edge_agent.messages import Telemetry, Visit, VisitStateName
from edge_agent.plans import survey
from edge_agent.plans.judge import route_faults
from edge_agent.plans.model import PLACES_MAX

DAY_S = 86_400.0
GAP_S = 3.0  # two looks further apart are not joined: nobody knows the path between them
SPOTS = 400  # at most so many of a line or an area are looked at apart
LEAST_M = 2.0
CARRIED_MAX = 100  # waypoints that a run takes on beyond its own

Point = geo.Point


class Progress(Struct, kw_only=True):
    """What is known of one target; it survives restarts."""

    since_s: float  # the period began: first heard of, or last visited
    visited_s: float | None = None
    seen: str = "0"  # which spots, a bit each, in hexadecimal
    dwell_s: float = 0.0
    closest_m: float | None = None
    told: str = ""  # the last reminder of this period
    carried: bool = False  # a run left it out: the next takes it on


class VisitState(Struct, kw_only=True):
    """Everything that is kept."""

    targets: dict[str, Progress] = field(default_factory=dict)
    run: str | None = None
    began_s: float | None = None  # when that run left the ground


class Target:
    """A target's geometry, in metres around its first corner."""

    def __init__(self, section: MustVisit) -> None:
        self.section = section
        self.origin = section.corners[0]
        self.ring = [geo.to_local(lat, lon, *self.origin) for lat, lon in section.corners]
        self.spots = _spots(section, self.ring)
        self.camera = survey.camera(hfov_deg=section.hfov_deg)

    def share(self, seen: int) -> float:
        """How much of it."""
        return seen.bit_count() / len(self.spots)

    def see(self, seen: int, before: Point, here: Point, t: Telemetry) -> int:
        """The spots that were seen, with those of one straight move in (north, east) metres."""
        if self.section.kind == "area":
            inside = self._footprint(here, t)
        else:
            within_m = self.section.within_m
            inside = [n for n, spot in enumerate(self.spots) if _near(spot, before, here) <= within_m]
        for number in inside:
            seen |= 1 << number
        return seen

    def _footprint(self, here: Point, t: Telemetry) -> Sequence[int]:
        if not t.alt_m or t.alt_m <= 0 or t.heading_deg is None:
            return ()
        across_m, along_m = self.camera.footprint_m(t.alt_m)
        course = math.radians(t.heading_deg)
        cos, sin = math.cos(course), math.sin(course)
        found = []
        for number, (north, east) in enumerate(self.spots):
            n, e = north - here[0], east - here[1]
            if abs(n * cos + e * sin) <= along_m / 2 and abs(e * cos - n * sin) <= across_m / 2:
                found.append(number)
        return found


class Visits:
    """The ledger: fed with telemetry and the ends of runs, it says what was visited, is due, or was missed."""

    def __init__(self, sections: Iterable[MustVisit], state: VisitState, wall: float) -> None:
        self.state = state
        self._targets = {section.id: Target(section) for section in sections}
        self._last: Telemetry | None = None
        self._done: set[str] = set()  # in this flight: nothing is visited twice in one
        for id in self._targets:
            state.targets.setdefault(id, Progress(since_s=wall))
        for id in state.targets.keys() - self._targets.keys():
            del state.targets[id]

    def take(self, t: Telemetry, wall: float) -> list[Visit]:
        """One look at the vehicle in the air; what it completed."""
        if t.lat is None or t.lon is None or not t.armed or t.landed is not False:
            self._last = None
            self._done.clear()
            return []
        before, self._last = self._last or t, t
        passed_s = t.at_s - before.at_s
        start = before if 0 <= passed_s <= GAP_S else t
        done = []
        for id, target in self._targets.items():
            if id in self._done:
                continue
            progress = self.state.targets[id]
            here = geo.to_local(t.lat, t.lon, *target.origin)
            from_ = geo.to_local(start.lat or t.lat, start.lon or t.lon, *target.origin)
            progress.seen = f"{target.see(int(progress.seen, 16), from_, here, t):x}"
            away_m = min(_near(spot, from_, here) for spot in target.spots)
            if progress.closest_m is None or away_m < progress.closest_m:
                progress.closest_m = away_m
            if start is before and math.hypot(*here) <= target.section.within_m and target.section.kind == "point":
                progress.dwell_s += passed_s
            share = target.share(int(progress.seen, 16))
            if share >= target.section.share and progress.dwell_s >= target.section.dwell_s:
                done.append(self._credit(target, progress, wall))
        return done

    def began(self, run: str, wall: float) -> None:
        """A run left the ground."""
        if self.state.run != run:
            self.state.run, self.state.began_s = run, wall
            self._done.clear()

    def ended(self, route: str, run: str, wall: float) -> list[Visit]:
        """A run of a route is over: what it should have visited, had not been visited before, and was not."""
        if self.state.run != run or self.state.began_s is None:
            return []
        self.state.run, began_s, self.state.began_s = None, self.state.began_s, None
        missed = []
        for id, target in self._targets.items():
            progress, section = self.state.targets[id], target.section
            fresh = progress.visited_s is not None and wall < self._due_s(id) - section.remind_h * 3600
            if route not in section.routes or fresh or (progress.visited_s or 0.0) >= began_s:
                continue
            progress.carried = True
            missed.append(structs.replace(self._tell(id, "missed", wall), route=route, run=run))
        return missed

    def tick(self, wall: float) -> list[Visit]:
        """What is due soon, or overdue, and was not said yet."""
        told = []
        for id, target in self._targets.items():
            progress, left_s = self.state.targets[id], self._due_s(id) - wall
            state: VisitStateName = "overdue" if left_s <= 0 else "due_soon"
            if left_s <= target.section.remind_h * 3600 and progress.told not in (state, "overdue"):
                progress.told = state
                told.append(self._tell(id, state, wall))
        return told

    def with_owed(self, route: Route, home: Point | None, limits: Limits) -> Route:
        """The route, and behind its own waypoints those that lead over what an earlier run left out.

        Only what the route does not pass anyway, as far as limits and fence allow.
        """
        for id, target in self._targets.items():
            if not self.state.targets[id].carried or self._covered(target, route):
                continue
            more = self._ways(target, route)
            longer = structs.replace(route, waypoints=(*route.waypoints, *more))
            if len(more) <= CARRIED_MAX and len(longer.waypoints) <= PLACES_MAX:
                route = route if route_faults(longer, home, limits) else longer
        return route

    def rows(self, wall: float) -> list[Visit]:
        """How each stands."""
        return [self._tell(id, self._stands(id, wall), wall) for id in self._targets]

    def _stands(self, id: str, wall: float) -> VisitStateName:
        progress, left_s = self.state.targets[id], self._due_s(id) - wall
        if left_s <= 0:
            return "overdue"
        if progress.carried:
            return "owed"
        if left_s <= self._targets[id].section.remind_h * 3600:
            return "due_soon"
        return "open" if progress.visited_s is None else "visited"

    def _credit(self, target: Target, progress: Progress, wall: float) -> Visit:
        progress.visited_s, progress.since_s = wall, wall
        told = structs.replace(self._tell(target.section.id, "visited", wall), run=self.state.run)
        progress.seen, progress.dwell_s, progress.closest_m = "0", 0.0, None
        progress.told, progress.carried = "", False
        self._done.add(target.section.id)
        return told

    def _due_s(self, id: str) -> float:
        return self.state.targets[id].since_s + self._targets[id].section.every_days * DAY_S

    def _tell(self, id: str, state: VisitStateName, wall: float) -> Visit:
        target, progress = self._targets[id], self.state.targets[id]
        return Visit(
            target=id, kind=target.section.kind, state=state, wall_s=wall,
            due_s=self._due_s(id), visited_s=progress.visited_s, share=round(target.share(int(progress.seen, 16)), 3),
            closest_m=None if progress.closest_m is None else round(progress.closest_m, 1),
            dwell_s=round(progress.dwell_s, 1), carried=progress.carried,
        )  # fmt: skip

    def _covered(self, target: Target, route: Route) -> bool:
        """Whether flying the route as planned would visit the target."""
        stops, seen, held = routes.stops(route), 0, 0.0
        for a, b in [(stops[0], stops[0]), *pairwise(stops)]:
            here = geo.to_local(b.place.lat, b.place.lon, *target.origin)
            from_ = geo.to_local(a.place.lat, a.place.lon, *target.origin)
            course = geo.bearing_deg(a.place.lat, a.place.lon, b.place.lat, b.place.lon)
            look = Telemetry(at_s=0.0, armed=True, mode="AUTO", alt_m=b.place.alt_m, heading_deg=course)
            count = max(1, math.ceil(math.dist(from_, here) / 10.0))
            path = [_share(from_, here, k / count) for k in range(count + 1)]
            for start, end in pairwise(path):
                seen = target.see(seen, start, end, look)
            held = max(held, b.hold_s if math.hypot(*here) <= target.section.within_m else 0.0)
        return target.share(seen) >= target.section.share and held >= target.section.dwell_s

    def _ways(self, target: Target, route: Route) -> tuple[Waypoint, ...]:
        """Places that lead over what is still to be seen of a target."""
        alt_m, section = route.alt_m, target.section
        seen = int(self.state.targets[section.id].seen, 16)
        if section.kind == "area":
            lines = survey.strips(target.ring, survey.Survey(target.camera, alt_m))
            points = [end for line in lines for end in line]
        elif section.kind == "line":
            unseen = [n for n in range(len(target.spots)) if not seen >> n & 1]
            points = [target.spots[n] for n in unseen if {n - 1, n + 1} - set(unseen) or n % 10 == 0]
        else:
            points = list(target.ring)
        places = (geo.from_local(*point, *target.origin) for point in points)
        hold_s = float(math.ceil(section.dwell_s * 1.2)) if section.kind == "point" else 0.0
        return tuple(Waypoint(lat=lat, lon=lon, alt_m=alt_m, hold_s=hold_s) for lat, lon in places)


def _spots(section: MustVisit, ring: Sequence[Point]) -> list[Point]:
    """The places of a target that are looked at apart: evenly along a line, on a grid over an area."""
    if section.kind == "point":
        return [ring[0]]
    if section.kind == "line":
        length_m = sum(math.dist(a, b) for a, b in pairwise(ring))
        step_m = max(LEAST_M, section.within_m / 2, length_m / (SPOTS - len(ring)))
        found = [ring[0]]
        for a, b in pairwise(ring):
            count = max(1, math.ceil(math.dist(a, b) / step_m))
            found += [_share(a, b, k / count) for k in range(1, count + 1)]
        return found
    norths, easts = [n for n, _ in ring], [e for _, e in ring]
    tall, wide = max(norths) - min(norths), max(easts) - min(easts)
    step_m = max(LEAST_M, math.sqrt(tall * wide / SPOTS))
    rows, columns = max(1, math.ceil(tall / step_m)), max(1, math.ceil(wide / step_m))
    grid = [
        (min(norths) + tall * (r + 0.5) / rows, min(easts) + wide * (c + 0.5) / columns)
        for r in range(rows)
        for c in range(columns)
    ]
    return [spot for spot in grid if geo.in_polygon(*spot, ring)] or list(ring)


def _share(a: Point, b: Point, share: float) -> Point:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _near(spot: Point, a: Point, b: Point) -> float:
    """From a spot to the segment a-b."""
    north, east = b[0] - a[0], b[1] - a[1]
    length2 = north * north + east * east
    along = 0.0 if length2 == 0 else ((spot[0] - a[0]) * north + (spot[1] - a[1]) * east) / length2
    at = _share(a, b, max(0.0, min(1.0, along)))
    return math.hypot(spot[0] - at[0], spot[1] - at[1])
