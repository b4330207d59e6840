"""A route becomes a mission: take off, fly the places, return home. Pure."""

from __future__ import annotations

import math
from itertools import pairwise

from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.config import Limits, Route, Waypoint
from edge_agent.flight import scene
from edge_agent.flight.energy import Place, Stop
from edge_agent.flight.mission import Item
from edge_agent.flight.run import DISPATCH
from edge_agent.messages import Dispatch

FRAME = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT
FIRST = 3  # the item of the first waypoint
CORNERS = 12
GROUND_SPEED = 1  # param1 of DO_CHANGE_SPEED


def mission(route: Route) -> tuple[Item, ...]:
    """[home placeholder, TAKEOFF, DO_CHANGE_SPEED, a WAYPOINT for each place, RETURN_TO_LAUNCH]."""
    places = route.waypoints
    items = [
        _item(0, mavlink.MAV_CMD_NAV_WAYPOINT),  # ArduPilot writes home here
        _item(1, mavlink.MAV_CMD_NAV_TAKEOFF, z=_alt(places[0], route)),
        _item(2, mavlink.MAV_CMD_DO_CHANGE_SPEED, GROUND_SPEED, round(route.speed_mps, 2), -1.0),
        *(
            _item(
                number, mavlink.MAV_CMD_NAV_WAYPOINT, float(round(place.hold_s)),
                x=round(place.lat * 1e7), y=round(place.lon * 1e7), z=_alt(place, route),
            )
            for number, place in enumerate(places, start=FIRST)
        ),
        _item(len(places) + FIRST, mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH),
    ]  # fmt: skip
    return tuple(items)


def errand(order: Dispatch, limits: Limits) -> Route:
    """A dispatch as the gates see it: there at the transit height, the hover, and home."""
    there = {"lat": order.lat, "lon": order.lon}
    places = (
        Waypoint(**there, alt_m=transit_m(order, limits)),
        *(Waypoint(lat=lat, lon=lon, alt_m=order.alt_m) for lat, lon in circle(order)),
        Waypoint(**there, alt_m=order.alt_m, hold_s=order.hover_s),
        Waypoint(**there, alt_m=transit_m(order, limits)),
    )
    return Route(id=DISPATCH, waypoints=places, alt_m=order.alt_m, speed_mps=limits.transit_speed_mps)


def circle(order: Dispatch) -> list[tuple[float, float]]:
    """Corners that hold an orbit within them, the first also last; none of a hover."""
    if not order.orbit_m:
        return []
    out_m = order.orbit_m / math.cos(math.pi / CORNERS)
    angles = (math.tau * n / CORNERS for n in range(CORNERS + 1))
    return [geo.from_local(out_m * math.cos(a), out_m * math.sin(a), order.lat, order.lon) for a in angles]


def transit_m(order: Dispatch, limits: Limits) -> float:
    """The height of the way there and back: the asked one, or the least that is allowed."""
    return max(order.alt_m, min(limits.min_transit_alt_m, limits.max_alt_m))


def target(order: Dispatch, limits: Limits) -> scene.Target:
    """What the slots of the mission are filled with."""
    return scene.Target(
        lat=order.lat, lon=order.lon, alt_m=order.alt_m, hover_s=order.hover_s, transit_m=transit_m(order, limits),
        orbit_m=order.orbit_m,
    )  # fmt: skip


def dispatch(order: Dispatch, lat: float, lon: float, limits: Limits) -> tuple[Item, ...]:
    """[home placeholder, TAKEOFF, DO_CHANGE_SPEED, the slots]; it takes off at this place."""
    return (
        _item(0, mavlink.MAV_CMD_NAV_WAYPOINT),
        _item(1, mavlink.MAV_CMD_NAV_TAKEOFF, z=round(transit_m(order, limits), 1)),
        _item(2, mavlink.MAV_CMD_DO_CHANGE_SPEED, GROUND_SPEED, round(limits.transit_speed_mps, 2), -1.0),
        *scene.block(FIRST, lat, lon, target(order, limits)),
    )


def rest(route: Route, waypoint: int, lat: float, lon: float, alt_m: float) -> Route:
    """What is left of a route that was left on the way to this waypoint, from the place where it was left."""
    start = Waypoint(lat=lat, lon=lon, alt_m=round(alt_m, 1))
    return structs.replace(route, waypoints=(start, *route.waypoints[waypoint:]))


def length_m(route: Route, lat: float, lon: float) -> float:
    """Horizontal length from the take-off place along the route and back."""
    places = [(lat, lon), *((p.lat, p.lon) for p in route.waypoints), (lat, lon)]
    return sum(geo.distance_m(*a, *b) for a, b in pairwise(places))


def stops(route: Route) -> tuple[Stop, ...]:
    """The places of a route, for what it costs to fly them."""
    return tuple(
        Stop(Place(place.lat, place.lon, _alt(place, route)), route.speed_mps, place.hold_s)
        for place in route.waypoints
    )


def _alt(place: Waypoint, route: Route) -> float:
    """Metres above home, to the decimetre: the autopilot keeps whole centimetres."""
    return round(place.alt_m if place.alt_m is not None else route.alt_m, 1)


def _item(
    seq: int, command: int, p1: float = 0.0, p2: float = 0.0, p3: float = 0.0, *, x: int = 0, y: int = 0, z: float = 0.0
) -> Item:
    return Item(seq=seq, frame=FRAME, command=command, p1=p1, p2=p2, p3=p3, x=x, y=y, z=z)
