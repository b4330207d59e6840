"""One flight, from the order to its end, and what of the mission aboard belongs to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from edge_agent import geo
from edge_agent.flight import mission, scene
from edge_agent.flight.mission import Item
from edge_agent.flight.phases import Leg, Stands
from edge_agent.messages import Dispatch, Telemetry

DISPATCH = "dispatch"  # the route of a flight that no route names


class Run(Struct, frozen=True, kw_only=True):
    """One flight of one route, or to one place (`order`). The mission is its head and, where it may be or was sent to
    a place, the slots behind it (`scene`).
    """

    id: str  # ULID
    route: str
    by: str
    phase: str
    seq: int = 0  # of the last event
    digest: str | None = None  # of the head, once verified
    first: int = 2  # the first item after take-off
    last: int = 0  # of the mission aboard
    head: int = 0  # how many items stand before the slots; 0: all of them
    slots: tuple[Item, ...] = ()  # as verified
    writing: tuple[Item, ...] = ()  # what is being written in flight, from its first item on
    rehearsal: bool = False  # never to be armed
    flew: bool = False
    paused: bool = False
    entered_wall_s: float = 0.0  # when `phase` began
    order: Dispatch | None = None
    arrived_wall_s: float | None = None  # first seen over the place
    ends: tuple[tuple[float, float], ...] = ()  # home, and the rally points aboard, when it left the ground
    skipped: int = 0  # waypoints of the route that stand before this mission's first

    @property
    def at(self) -> int:
        """The first slot, or where it would stand."""
        return self.head or self.last + 1

    def stands(self, t: Telemetry, radius_m: float) -> Stands:
        """Of the places where its return may lead, the one that it is at."""
        if not self.ends or t.lat is None or t.lon is None:
            return "home"
        near = [geo.distance_m(t.lat, t.lon, *end) <= radius_m for end in self.ends]
        return "home" if near[0] else "rally" if any(near) else "away"

    def leg(self, seq: int) -> Leg:
        """What the current item is a part of."""
        if seq < self.first:
            return "climb"
        if seq >= self.at:
            return scene.leg(self.at, seq) if self.slots or self.writing else "route"
        return "home" if self.order is None and seq == self.at - 1 else "route"

    def totals(self) -> range:
        """What MISSION_CURRENT may name as the last item."""
        return range(self.last, max([self.last, *(item.seq for item in self.writing)]) + 1)

    def holds(self, held: Sequence[Item]) -> bool:
        """Whether a mission read back is this flight's: also half way through being rewritten by us."""
        if len(held) - 1 not in self.totals() or mission.digest(held[: self.at]) != self.digest:
            return False
        known: dict[int, list[Item]] = {}
        for item in (*self.slots, *self.writing):
            known.setdefault(item.seq, []).append(item)
        placeholder = scene.placeholder(self.at)
        known.setdefault(placeholder.seq, []).append(placeholder)
        return all(any(mission.same(ours, item) for ours in known.get(item.seq, ())) for item in held[self.at :])

    def switched(self, held: Sequence[Item], seq: int) -> bool:
        """Whether the vehicle flies the slots that were being written."""
        wanted = {item.seq: item for item in self.writing}
        first = scene.first(self.at, seq)
        return (
            seq in wanted
            and all(
                held[n].seq in wanted and mission.same(wanted[n], held[n]) for n in range(first, first + scene.GROUP)
            )
            and scene.leg(self.at, seq) in ("transit", "scene")
        )
