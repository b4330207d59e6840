"""May this vehicle go to this place? The limits of a dispatch, and the energy of one that flies already. Pure."""

from __future__ import annotations

import math
from itertools import pairwise

from edge_agent import geo
from edge_agent.config import Limits
from edge_agent.flight import energy
from edge_agent.flight import route as routes
from edge_agent.flight.facts import Facts
from edge_agent.flight.gate_settings import beyond_fence
from edge_agent.flight.safety import FRESH_S
from edge_agent.messages import Dispatch, Refusal
from edge_agent.plans.fence import leg_faults

LEAST_ORBIT_M = 5.0


def within(order: Dispatch, home: tuple[float, float] | None, limits: Limits) -> Refusal | None:
    """Whether a place is within the limits at all, wherever the vehicle is."""
    if home is None:
        return _no("home", "home is not known yet", remedy="wait for the position fix")
    away_m = geo.distance_m(*home, order.lat, order.lon)
    if 0 < order.orbit_m < LEAST_ORBIT_M:
        return _no(
            "orbit", "too narrow a circle to be flown", f"{order.orbit_m:g} m", f"{LEAST_ORBIT_M:g} m", "0 hovers"
        )
    away_m += order.orbit_m
    if not away_m <= limits.max_distance_m:
        limit = f"{limits.max_distance_m:g} m, limits.max_distance_m"
        return _no("distance", "the place is too far from home", f"{away_m:.0f} m", limit, "send a nearer one")
    if not limits.min_alt_m <= order.alt_m <= limits.max_alt_m:
        limit = f"{limits.min_alt_m:g}..{limits.max_alt_m:g} m, limits.min_alt_m and max_alt_m"
        return _no("height", "the height over the place is out of limits", f"{order.alt_m:g} m", limit)
    if not order.hover_s <= limits.max_on_scene_s:
        limit = f"{limits.max_on_scene_s:g} s, limits.max_on_scene_s"
        return _no("hover", "too long over one place", f"{order.hover_s:g} s", limit, "ask for less, then extend")
    return None


def aloft(facts: Facts) -> Refusal | None:
    """Why a vehicle in flight could not fly the plan's route from where it is, and then home."""
    t, plan = facts.telemetry, facts.plan
    if t is None or facts.now - t.at_s > FRESH_S or t.lat is None or t.lon is None or t.alt_m is None:
        return _no("link", "telemetry is missing or old", limit=f"{FRESH_S:g} s", remedy="wait for the link")
    if plan.store_fault is not None:
        return _no("store", plan.store_fault, remedy="free the disk, or mount it writable")
    if t.battery_pct is None or t.home_lat is None or t.home_lon is None or plan.route is None:
        return _no("battery", "its charge, or home, is unknown", remedy="set BATT_MONITOR and BATT_CAPACITY")
    place = plan.route.waypoints[0].lat, plan.route.waypoints[0].lon
    ring = [(p.lat, p.lon) for p in plan.route.waypoints[1:-2]]  # of an orbit
    ways = [("the orbit", *leg) for leg in pairwise(ring)]
    ways += [("the way there", (t.lat, t.lon), place), ("the way home", place, (t.home_lat, t.home_lon))]
    if broken := leg_faults(plan.route.fence, ways):
        fault = broken[0]
        return _no("fence", f"{fault.where}: {fault.reason}", fault.value, fault.limit, "send another place")
    if (beyond := beyond_fence(facts)) is not None:
        return _no("fence", beyond.reason, beyond.value, beyond.limit, beyond.remedy)
    home, here = energy.Place(t.home_lat, t.home_lon, 0.0), energy.Place(t.lat, t.lon, t.alt_m)
    flown = energy.plan(plan.airframe, home, routes.stops(plan.route), plan.wind, plan.way, start=here)
    need_pct = energy.pct(plan.airframe, flown.need_wh, plan.ratio) + energy.reserve_pct(plan.airframe, plan.ratio)
    need_pct = max(need_pct, plan.limits.return_battery_pct + 1)  # at that it comes home anyway
    if t.battery_pct >= need_pct:
        return None
    limit = "the wind forbids it" if math.isinf(need_pct) else f"{need_pct:.0f} %"
    return _no(
        "energy", "what is left is not enough to go there and come home", f"{t.battery_pct:g} %", limit,
        "recall it, and send it again with a full battery",
    )  # fmt: skip


def _no(
    gate: str, reason: str, value: str | None = None, limit: str | None = None, remedy: str | None = None
) -> Refusal:
    return Refusal(gate=f"gate.{gate}", reason=reason, value=value, limit=limit, remedy=remedy)
