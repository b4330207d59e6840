"""May a route be flown from here? Its heights, its distance, its fence, judged before anything is armed. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_agent import geo
from edge_agent.plans import fence
from edge_agent.plans.model import Fault

if TYPE_CHECKING:
    from edge_agent.config import Limits, Route


def route_faults(route: Route, home: tuple[float, float] | None, limits: Limits) -> list[Fault]:
    """Every waypoint and leg that is outside the limits or the fence; without a home only what needs none."""
    faults: list[Fault] = []
    for number, point in enumerate(route.waypoints):
        where = f"waypoints[{number}]"
        if point.lat == 0 and point.lon == 0:
            faults.append(
                Fault(where=where, reason="0/0 is the sea off Ghana, not a waypoint", remedy="give its place")
            )
        alt_m = point.alt_m if point.alt_m is not None else route.alt_m
        if not limits.min_alt_m <= alt_m <= limits.max_alt_m:
            value, limit = f"{alt_m:g} m", f"limits {limits.min_alt_m:g}..{limits.max_alt_m:g} m"
            remedy = "limits.min_alt_m and limits.max_alt_m set them"
            reason = f"{value} is outside {limit}"
            faults.append(Fault(where=f"{where}.alt_m", reason=reason, value=value, limit=limit, remedy=remedy))
    if home is None:
        return faults
    away_m = [geo.distance_m(*home, point.lat, point.lon) for point in route.waypoints]
    far = [number for number, metres in enumerate(away_m) if not metres <= limits.max_distance_m]
    if far and len(far) == len(away_m):
        nearest_m = min((metres for metres in away_m if math.isfinite(metres)), default=math.inf)
        return [*faults, _far("waypoints", "a route for another site: its nearest place is ", nearest_m, limits)]
    faults += [_far(f"waypoints[{number}]", "", away_m[number], limits) for number in far]
    places = [(point.lat, point.lon) for point in route.waypoints]
    return faults + fence.faults(route.fence, route.rally, home, places)


def _far(where: str, what: str, away_m: float, limits: Limits) -> Fault:
    value, limit = f"{away_m:.0f} m", f"limits.max_distance_m is {limits.max_distance_m:g}"
    reason = f"{what}{value} from the take-off place, {limit}"
    return Fault(where=where, reason=reason, value=value, limit=limit, remedy="plan it for this site")
