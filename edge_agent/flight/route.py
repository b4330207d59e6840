"""A route becomes a mission: take off, fly the places, return home. Pure."""

from __future__ import annotations

from itertools import pairwise

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.config import Route, Waypoint
from edge_agent.flight.energy import Place, Stop
from edge_agent.flight.mission import Item

FRAME = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT
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
            for number, place in enumerate(places, start=3)
        ),
        _item(len(places) + 3, mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH),
    ]  # fmt: skip
    return tuple(items)


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
