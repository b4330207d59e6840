"""What a flight costs and what is left to come home by: wind triangle, climb, hover and cruise power. Pure.

Powers are those of the airframe's profile times what its battery was seen to pay for it (`Meter`). Where a rule must
guess, it guesses dear: an unknown wind blows from ahead on every leg, and no height is ever given back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from edge_agent import geo
from edge_agent.config import Airframe
from edge_agent.messages import Telemetry

# ArduCopter's way home where its parameters are not known: RTL_ALT, WPNAV_SPEED, RTL_LOIT_TIME; LAND_SPEED below 10 m.
RTL_ALT_M, RTL_MPS, RTL_LOITER_S = 15.0, 10.0, 5.0
TOUCHDOWN_MPS, TOUCHDOWN_BELOW_M = 0.5, 10.0
MIN_GROUND_MPS = 0.5  # a leg against the wind that is slower than this leads nowhere
HOVER_RESERVE_S = 120.0  # what stays in the battery is at least that much hovering

LEARN_AFTER_PCT = 4.0  # of the battery, before what it was seen to pay says anything
LEARNED = (0.7, 4.0)  # a ratio outside of these is a broken sensor, not an airframe
LONGEST_GAP_S = 10.0


class Place(NamedTuple):
    """Degrees, and metres above home."""

    lat: float
    lon: float
    alt_m: float


class Stop(NamedTuple):
    """A place of a route: how fast it is flown to over the ground, and how long it is hovered at."""

    place: Place
    speed_mps: float
    hold_s: float = 0.0


class Wind(NamedTuple):
    """`from_deg` is where it comes from; None: unknown, so from ahead, wherever that is."""

    speed_mps: float
    from_deg: float | None = None


class Return(NamedTuple):
    """How the autopilot returns: it climbs to `alt_m` first."""

    alt_m: float = RTL_ALT_M
    speed_mps: float = RTL_MPS
    loiter_s: float = RTL_LOITER_S


class Cost(NamedTuple):
    """Seconds and watt-hours; both infinite where the wind forbids it."""

    s: float
    wh: float

    def plus(self, other: Cost) -> Cost:
        return Cost(self.s + other.s, self.wh + other.wh)


class Vertex(NamedTuple):
    """A point of a route: what was spent to leave it, and what home costs from there."""

    place: Place
    spent: Cost
    home: Cost


class Plan(NamedTuple):
    """`total` flies the route to its end at home; `need_wh` also covers turning back from its worst point."""

    total: Cost
    need_wh: float
    vertices: tuple[Vertex, ...]


FREE = Cost(0.0, 0.0)


def air_power_w(frame: Airframe, air_mps: float) -> float:
    """Level flight through the air: the profile's hover power, and parasite drag that grows with the cube."""
    return frame.hover_w + (frame.cruise_w - frame.hover_w) * (air_mps / frame.cruise_mps) ** 3


def ground_speed_mps(frame: Airframe, bearing_deg: float, speed_mps: float, wind: Wind) -> tuple[float, float]:
    """(over the ground, through the air) on a track: a copter holds its ground speed until it cannot lean further.

    The wind triangle: what blows across must be leaned against, and only the rest of the airspeed goes ahead.
    """
    angle = 0.0 if wind.from_deg is None else math.radians(wind.from_deg - bearing_deg)
    against, across = wind.speed_mps * math.cos(angle), wind.speed_mps * math.sin(angle)
    most = frame.max_air_mps**2 - across**2
    ahead = math.sqrt(most) - against if most > 0 else 0.0
    if ahead < MIN_GROUND_MPS:
        return 0.0, frame.max_air_mps
    over = min(speed_mps, ahead)
    return over, math.hypot(over + against, across)


def leg(frame: Airframe, start: Place, end: Place, speed_mps: float, wind: Wind) -> Cost:
    """A straight line in the air; the slower of its two movements sets the time."""
    climb_m = end.alt_m - start.alt_m
    up_s = max(climb_m / frame.climb_mps, -climb_m / frame.descent_mps)
    length_m = geo.distance_m(start.lat, start.lon, end.lat, end.lon)
    over, air = 0.0, wind.speed_mps  # over one place the wind blows all the same
    if length_m > 0:
        bearing = geo.bearing_deg(start.lat, start.lon, end.lat, end.lon)
        over, air = ground_speed_mps(frame, bearing, speed_mps, wind)
        if over == 0:
            return Cost(math.inf, math.inf)
    along_s = length_m / over if over else 0.0
    extra_wh = (frame.climb_w - frame.hover_w) * max(climb_m, 0.0) / frame.climb_mps / 3600
    lasts_s = max(along_s, up_s)
    return Cost(lasts_s, air_power_w(frame, air) * lasts_s / 3600 + extra_wh)


def hover(frame: Airframe, seconds: float, wind: Wind) -> Cost:
    """Holding one place: the wind blows through the rotors all the same."""
    return Cost(seconds, air_power_w(frame, min(wind.speed_mps, frame.max_air_mps)) * seconds / 3600)


def home_cost(frame: Airframe, at: Place, home: Place, wind: Wind, way: Return | None = None) -> Cost:
    """The autopilot's return from `at`: up to its height, straight home, wait, down, touch down."""
    way = way or Return()
    top_m = max(at.alt_m, way.alt_m) if at.alt_m > 0 else 0.0
    slow_m = min(max(top_m, 0.0), TOUCHDOWN_BELOW_M)
    above = home._replace(alt_m=top_m)
    return (
        leg(frame, at, at._replace(alt_m=top_m), way.speed_mps, wind)
        .plus(leg(frame, at._replace(alt_m=top_m), above, way.speed_mps, wind))
        .plus(hover(frame, way.loiter_s if top_m else 0.0, wind))
        .plus(leg(frame, above, home._replace(alt_m=slow_m), way.speed_mps, wind))
        .plus(hover(frame, slow_m / TOUCHDOWN_MPS, wind))
    )


def down_cost(frame: Airframe, alt_m: float) -> Cost:
    """A landing where it is."""
    slow_m = min(max(alt_m, 0.0), TOUCHDOWN_BELOW_M)
    return hover(frame, max(alt_m - slow_m, 0.0) / frame.descent_mps + slow_m / TOUCHDOWN_MPS, Wind(0.0))


def plan(
    frame: Airframe,
    home: Place,
    stops: Sequence[Stop],
    wind: Wind,
    way: Return | None = None,
    *,
    start: Place | None = None,
) -> Plan:
    """A route from home (or from `start`, in the air) by its stops and back; the climb to the first is vertical."""
    at, spent = start or home, FREE
    if start is None and stops:
        above = home._replace(alt_m=stops[0].place.alt_m)
        at, spent = above, leg(frame, home, above, stops[0].speed_mps, wind)
    vertices = [Vertex(at, spent, home_cost(frame, at, home, wind, way))]
    for stop in stops:
        spent = spent.plus(leg(frame, at, stop.place, stop.speed_mps, wind)).plus(hover(frame, stop.hold_s, wind))
        at = stop.place
        vertices.append(Vertex(at, spent, home_cost(frame, at, home, wind, way)))
    need_wh = max(vertex.spent.wh + vertex.home.wh for vertex in vertices)
    return Plan(spent.plus(vertices[-1].home), need_wh, tuple(vertices))


def pct(frame: Airframe, wh: float, ratio: float = 1.0) -> float:
    """Watt-hours of the profile as per cent of this battery; `ratio` is what it was seen to pay (`Meter`)."""
    return wh * ratio / frame.battery_wh * 100


def reserve_pct(frame: Airframe, ratio: float = 1.0) -> float:
    """What must be left after landing."""
    return max(frame.reserve_pct, pct(frame, frame.hover_w * HOVER_RESERVE_S / 3600, ratio))


def margin_pct(frame: Airframe, battery_pct: float, home: Cost, ratio: float = 1.0) -> float:
    """What is left beyond the way home and the reserve; at 0 it is time to turn back."""
    return battery_pct - pct(frame, home.wh, ratio) - reserve_pct(frame, ratio)


class Meter:
    """Learns what this battery pays for what the profile says: a ratio, by what is flown and what the battery reports.

    Never below the ratio it began with: a profile that is too dear costs flying time, one too cheap costs a drone.
    """

    def __init__(self, frame: Airframe, ratio: float = 1.0) -> None:
        self._frame, self._least, self.ratio = frame, ratio, ratio
        self._last: Telemetry | None = None
        self._full_pct: float | None = None
        self._wh = 0.0

    def take(self, t: Telemetry, wind: Wind) -> None:
        """One sample in the air; anything else ends the measurement."""
        last, self._last = self._last, t
        if not (t.armed and t.landed is False and t.battery_pct is not None):
            self._last, self._full_pct, self._wh = None, None, 0.0
            return
        if self._full_pct is None or last is None or t.battery_pct > self._full_pct:
            self._full_pct, self._wh = t.battery_pct, 0.0
            return
        self._wh += _flown_wh(self._frame, last, t, wind)
        used_pct = self._full_pct - t.battery_pct
        if used_pct >= LEARN_AFTER_PCT and self._wh > 0:
            seen = used_pct / pct(self._frame, self._wh)
            self.ratio = min(max(seen, self._least, LEARNED[0]), LEARNED[1])


def _flown_wh(frame: Airframe, last: Telemetry, t: Telemetry, wind: Wind) -> float:
    """What the profile says of the time between two samples."""
    clocks = (t.boot_s, last.boot_s)  # the vehicle's own where it tells: a simulated one may live faster than we do
    lasted_s = t.at_s - last.at_s if None in clocks else (t.boot_s or 0.0) - (last.boot_s or 0.0)
    lasted_s = min(max(lasted_s, 0.0), LONGEST_GAP_S)
    air_mps = max(t.speed_mps or 0.0, wind.speed_mps if wind.from_deg is not None else 0.0)
    climbed_m = max((t.alt_m or 0.0) - (last.alt_m or 0.0), 0.0)
    extra_wh = (frame.climb_w - frame.hover_w) * climbed_m / frame.climb_mps / 3600
    return air_power_w(frame, min(air_mps, frame.max_air_mps)) * lasted_s / 3600 + extra_wh
