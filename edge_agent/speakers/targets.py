"""Who is meant: a speaker, a group, the drone, the nearest to a place. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from edge_agent import geo
from edge_agent.config import AnySpeaker
from edge_agent.messages import Place, Refusal

DRONE = "drone"  # every speaker that flies


def resolve(names: Iterable[str], near: Place | None, speakers: Iterable[AnySpeaker]) -> tuple[str, ...] | Refusal:
    """The speakers that are meant, each once; no name means all of them. With `near`, the one of them that is nearest.

    A speaker's own name goes before a group's.
    """
    there = {speaker.name: speaker for speaker in speakers}
    if not there:
        return Refusal(gate="speaker", reason="no speaker is configured")
    found: list[str] = []
    for name in names:
        members = [name] if name in there else [s.name for s in there.values() if _is_in(s, name)]
        if not members:
            groups = sorted({group for speaker in there.values() for group in speaker.groups} - {*there})
            return Refusal(
                gate="speaker",
                reason="no speaker has this name, nor a group",
                value=name,
                limit=f"one of {', '.join([*there, *groups])}",
            )
        found += members
    found = list(dict.fromkeys(found)) or list(there)
    return (_nearest([there[name] for name in found], near),) if near is not None else tuple(found)


def _is_in(speaker: AnySpeaker, group: str) -> bool:
    return group in speaker.groups or (group == DRONE and speaker.airborne)


def _nearest(speakers: list[AnySpeaker], near: Place) -> str:
    """By the ground; one without a place is farther than any that has one."""

    def away_m(speaker: AnySpeaker) -> float:
        if speaker.lat is None or speaker.lon is None:
            return float("inf")
        return geo.distance_m(speaker.lat, speaker.lon, near.lat, near.lon)

    return min(speakers, key=away_m).name
