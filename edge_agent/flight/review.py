"""A route looked at before it is flown: length, time, energy, heights, fence, and home from each point. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from edge_agent import geo
from edge_agent.config import Airframe, Limits, Route
from edge_agent.flight import energy
from edge_agent.flight import route as routes
from edge_agent.flight.energy import Place, Wind
from edge_agent.plans.fence import way_back
from edge_agent.plans.judge import route_faults
from edge_agent.plans.model import Fault
from edge_agent.plans.terrain import Ground

SAMPLE_M = 15.0  # between looks at the ground along a leg


class Given(NamedTuple):
    """What a route is looked at with. `home` None: the file and the config name none."""

    home: tuple[float, float] | None
    limits: Limits
    airframe: Airframe
    wind: Wind = Wind(0.0)
    ground: Ground | None = None
    battery_pct: float = 100.0


class Over(Struct, frozen=True, kw_only=True):
    """How high over the ground, and on which leg."""

    lowest_m: float
    lowest_at: str
    highest_m: float
    highest_at: str


class Way(Struct, frozen=True, kw_only=True):
    """The way home from one point: where to, how far, and what is left of the battery there beyond the reserve."""

    start: str
    to: str
    length_m: float
    time_s: float
    left_pct: float | None  # None: it is never reached


class Review(Struct, frozen=True, kw_only=True):
    """What `edge-agent route check` says; `ok` where nothing keeps the route from being flown."""

    ok: bool
    route: str
    waypoints: int
    home: tuple[float, float]
    length_m: float
    time_s: float | None  # None: the wind forbids it
    energy_wh: float | None
    energy_pct: float | None  # of the battery
    reserve_pct: float
    lowest_m: float  # above home
    highest_m: float
    terrain: Over | None  # None: the ground is not known
    fence: int  # how many polygons and circles
    wind_mps: float
    wind_from_deg: float | None
    returns: tuple[Way, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def review(route: Route, given: Given, notes: tuple[str, ...] = ()) -> Review:
    """Everything that can be known of a route on the ground."""
    home = given.home
    if home is None:
        home = (route.waypoints[0].lat, route.waypoints[0].lon)
        notes = (
            *notes,
            "home is not known, so the first waypoint stands for it; give -c FILE with site.lat and site.lon",
        )
    faults = route_faults(route, home, given.limits)
    stops = routes.stops(route)
    cost = energy.plan(given.airframe, Place(*home, 0.0), stops, given.wind)
    returns = tuple(_returns(route, home, cost, given))
    faults += _energy_faults(cost, returns, given)
    over, low = _terrain(route, home, given)
    if given.ground is not None and over is None:
        notes = (*notes, "the terrain given does not know this place")
    known = math.isfinite(cost.total.wh)
    heights = [stop.place.alt_m for stop in stops]
    return Review(
        ok=not (faults + low),
        route=route.id,
        waypoints=len(stops),
        home=home,
        length_m=routes.length_m(route, *home),
        time_s=cost.total.s if known else None,
        energy_wh=cost.total.wh if known else None,
        energy_pct=energy.pct(given.airframe, cost.total.wh) if known else None,
        reserve_pct=energy.reserve_pct(given.airframe),
        lowest_m=min(heights),
        highest_m=max(heights),
        terrain=over,
        fence=len(route.fence.polygons) + len(route.fence.circles),
        wind_mps=given.wind.speed_mps,
        wind_from_deg=given.wind.from_deg,
        returns=returns,
        faults=tuple(faults + low),
        notes=notes,
    )


def _returns(route: Route, home: tuple[float, float], cost: energy.Plan, given: Given) -> Iterator[Way]:
    """From the top of the climb and from each waypoint: between two of them it is never dearer than at one."""
    for number, vertex in enumerate(cost.vertices):
        at = (vertex.place.lat, vertex.place.lon)
        end, name = way_back(route.rally, home, at)
        back = vertex.home
        if end != home:
            back = energy.home_cost(given.airframe, vertex.place, Place(*end, 0.0), given.wind)
        left_pct = given.battery_pct - energy.pct(given.airframe, vertex.spent.wh + back.wh)
        yield Way(
            start="home" if number == 0 else f"waypoint {number - 1}",
            to=name,
            length_m=geo.distance_m(*at, *end),
            time_s=back.s,
            left_pct=left_pct - energy.reserve_pct(given.airframe) if math.isfinite(left_pct) else None,
        )


def _energy_faults(cost: energy.Plan, returns: tuple[Way, ...], given: Given) -> list[Fault]:
    wind = f"wind of {given.wind.speed_mps:g} m/s"
    if not math.isfinite(cost.total.wh) or any(way.left_pct is None for way in returns):
        limit = f"airframe.max_air_mps {given.airframe.max_air_mps:g} m/s"
        return [Fault(where="the route", reason=f"a {wind} is too strong for it", limit=limit, remedy="wait")]
    worst = min(returns, key=lambda way: way.left_pct or 0.0)
    if worst.left_pct is not None and worst.left_pct < 0:
        return [
            Fault(
                where=worst.start, reason=f"home cannot be reached from here with reserve in a {wind}",
                value=f"{-worst.left_pct:.0f} % short", limit=f"reserve {energy.reserve_pct(given.airframe):.0f} %",
                remedy="shorten the route, or give it a larger battery (airframe.battery_wh)",
            )
        ]  # fmt: skip
    return []


def _terrain(route: Route, home: tuple[float, float], given: Given) -> tuple[Over | None, list[Fault]]:
    """The heights over the ground along all legs, and the legs that come too near to it."""
    ground = given.ground
    base_m = ground.height_m(*home) if ground else None
    if ground is None or base_m is None:
        return None, []
    low: dict[str, float] = {}
    seen: list[tuple[float, str]] = []
    for name, place in _samples(route, home):
        ground_m = ground.height_m(place.lat, place.lon)
        if ground_m is None:
            return None, []
        over_m = base_m + place.alt_m - ground_m
        seen.append((over_m, name))
        if over_m < given.limits.min_alt_m:
            low[name] = min(over_m, low.get(name, over_m))
    faults = [
        Fault(
            where=name, reason="below the terrain" if over_m <= 0 else "too low over the terrain",
            value=f"{over_m:.0f} m", limit=f"limits.min_alt_m {given.limits.min_alt_m:g} m", remedy="fly it higher",
        )
        for name, over_m in low.items()
    ]  # fmt: skip
    (lowest_m, lowest), (highest_m, highest) = min(seen), max(seen)
    return Over(lowest_m=lowest_m, lowest_at=lowest, highest_m=highest_m, highest_at=highest), faults


def _samples(route: Route, home: tuple[float, float]) -> Iterator[tuple[str, Place]]:
    for name, here, there in _legs(route, home):
        count = max(1, math.ceil(geo.distance_m(here.lat, here.lon, there.lat, there.lon) / SAMPLE_M))
        for k in range(count + 1):
            share = k / count
            yield name, Place(*(x + (y - x) * share for x, y in zip(here, there, strict=True)))


def _legs(route: Route, home: tuple[float, float]) -> Iterator[tuple[str, Place, Place]]:
    """What is flown, and what the autopilot's return would fly from each place."""
    places = [stop.place for stop in routes.stops(route)]
    stops = [
        ("home", Place(*home, places[0].alt_m)),
        *((f"waypoint {number}", place) for number, place in enumerate(places)),
        ("home", Place(*home, max(places[-1].alt_m, energy.RTL_ALT_M))),
    ]
    for (a, here), (b, there) in pairwise(stops):
        yield f"leg from {a} to {b}", here, there
    for number, place in enumerate(places[:-1]):
        end, _ = way_back(route.rally, home, (place.lat, place.lon))
        back_m = max(place.alt_m, energy.RTL_ALT_M)
        yield f"return from waypoint {number}", place._replace(alt_m=back_m), Place(*end, back_m)
