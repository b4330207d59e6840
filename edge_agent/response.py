"""What a rule wants the drone to do about its incident, as an order to the flight. Pure."""

from __future__ import annotations

from edge_agent.config import Respond
from edge_agent.messages import Dispatch, Refusal


def order(wanted: Respond, incident: str) -> Dispatch | Refusal:
    """Where to, how high and for how long; what the drone may do is the flight's to say."""
    if wanted.lat is None or wanted.lon is None:
        return Refusal(
            gate="respond.place",
            reason="where the incident is, is not known",
            remedy="give the rule respond.lat and lon",
        )
    orbit_m = wanted.radius_m if wanted.fly == "orbit" else 0.0
    return Dispatch(
        lat=wanted.lat, lon=wanted.lon, alt_m=wanted.alt_m, hover_s=wanted.for_s, orbit_m=orbit_m, incident=incident
    )
