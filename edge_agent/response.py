"""What a rule wants the drone to do about its incident, as an order to the flight. Pure."""

from __future__ import annotations

from edge_agent.config import Respond
from edge_agent.messages import Dispatch, Fix, Refusal


def order(wanted: Respond, incident: str, seen: Fix | None = None) -> Dispatch | Refusal:
    """Where to, how high and for how long; what the drone may do is the flight's to say.

    Where the picture told the place surely enough (`worst_m`) it is that one.
    """
    sure = seen is not None and seen.major_m <= wanted.worst_m
    lat, lon = (seen.lat, seen.lon) if seen is not None and sure else (wanted.lat, wanted.lon)
    if lat is None or lon is None:
        return Refusal(
            gate="respond.place",
            reason="where the incident is, is not known" + ("" if seen is None else " surely enough"),
            value=None if seen is None else f"±{seen.major_m:.0f} m",
            limit=None if seen is None else f"±{wanted.worst_m:g} m",
            remedy="give the rule respond.lat and lon",
        )
    orbit_m = wanted.radius_m if wanted.fly == "orbit" else 0.0
    return Dispatch(lat=lat, lon=lon, alt_m=wanted.alt_m, hover_s=wanted.for_s, orbit_m=orbit_m, incident=incident)
