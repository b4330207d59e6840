"""What the autopilot holds: is its mission still ours, where does it lead now, and what fence is it under? Sans-I/O."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge_agent import geo
from edge_agent.flight import phases, scene, transfer
from edge_agent.flight.fence import fence_of
from edge_agent.flight.mavlink import Link
from edge_agent.flight.mission import FENCE, RALLY, Item
from edge_agent.flight.phases import Phase
from edge_agent.flight.run import Run
from edge_agent.messages import Telemetry
from edge_agent.plans.fence import breaks
from edge_agent.plans.model import Fence

ARRIVED_M, ARRIVED_ALT_M = 5.0, 2.0  # ArduCopter's WPNAV_RADIUS is 2 m
AT_REST = frozenset({Phase.ATTACHING, Phase.LANDED, Phase.CHECKED, Phase.GROUND})
REPLACED = "Flight plan received"  # ArduPilot's text after every upload, ours and others'


class Aboard:
    """`plan` is the mission as verified, `ours` whether it is still there, `fence` what it is flown within, `rally`
    where else a return may lead.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.plan: tuple[Item, ...] = ()
        self.ours = False
        self.fence = Fence()
        self.rally: tuple[tuple[float, float], ...] = ()
        self._read: transfer.Download | None = None  # the mission read back in the air
        self._read_s = 0.0
        self._reading: transfer.Download | None = None  # the fence or the rally points, on the ground
        self._looked: frozenset[int] = frozenset()  # which of the two were read
        self._looked_s = 0.0

    def forget(self) -> None:
        """The link is a new one: whatever is aboard may be another's."""
        self._read = self._reading = None
        self._looked = frozenset()

    def landed(self) -> None:
        """A flight is over."""
        self._read = None

    def verified(self, items: Sequence[Item], fence: Fence, rally: Sequence[tuple[float, float]], now: float) -> None:
        """Put aboard by us and read back; what the autopilot said of it until now was about that."""
        self.ours, self.plan = True, tuple(items)
        self.fence, self.rally = fence or self.fence, tuple(rally) or self.rally
        self._read, self._read_s = None, now

    def replaced(self, kinds: Collection[int]) -> None:
        """Fence or rally points are about to be: whatever becomes of the flight, they are read once it is over."""
        self._looked -= set(kinds)

    def written(self, at_s: float) -> None:
        """We wrote to it then."""
        self._read_s = max(self._read_s, at_s)

    @property
    def settled(self) -> bool:
        """Whether it was read back in the air."""
        return self._read is not None and self._read.state != "running"

    def read(self, now: float) -> None:
        """Read the mission anew."""
        self._read, self._read_s = self._link.download(now), now

    def look(self, run: Run | None, phase: Phase, now: float) -> bool:
        """Read what is to be read: the mission while attaching in the air and when the autopilot got another one, the
        fence once. True while the mission, as read, has been judged.
        """
        if not self._link.alive(now):
            return False
        if run is not None and self._outdated(phase):
            self.read(now)
        elif run is not None and self._read is not None and self.settled:
            self.ours = self._read.state == "done" and run.holds(self._read.items)
            if self.ours:
                self.plan = tuple(self._read.items)
            return True
        else:
            self._look_around(phase, now)
        return False

    def _outdated(self, phase: Phase) -> bool:
        attaching = phase is Phase.ATTACHING and self._link.armed and self._read is None
        replaced = phase in phases.IN_FLIGHT and any(
            text.at_s > self._read_s and REPLACED in text.text for text in self._link.texts
        )
        return attaching or replaced

    @property
    def known(self) -> bool:
        """Whether fence and rally points were asked for, and what came is judged."""
        return self._looked == {FENCE, RALLY}

    @property
    def refuges(self) -> tuple[tuple[float, float], ...]:
        """The rally points that a return may lead to: AP_Rally_Copter::is_valid takes none beyond the fence."""
        return tuple(place for place in self.rally if breaks(self.fence, place, place) is None)

    def _look_around(self, phase: Phase, now: float) -> None:
        """At the fence and the rally points: once, and again after an upload by us or by anybody."""
        reading, busy = self._reading, self._link.transfer
        if reading is not None and reading.state != "running":
            self._reading, self._looked = None, self._looked | {reading.kind}
            if reading.state == "done" and reading.kind == FENCE:
                self.fence = fence_of(reading.items)
            elif reading.state == "done":
                self.rally = tuple((item.x / 1e7, item.y / 1e7) for item in reading.items)
        if phase not in AT_REST or self._reading is not None or (busy is not None and busy.state == "running"):
            return
        if self._link.rival_s > self._looked_s:
            self._looked = frozenset()
        kind = next((kind for kind in (FENCE, RALLY) if kind not in self._looked), None)
        if kind is not None:
            self._reading, self._looked_s = self._link.download(now, kind), now

    # --- where it leads -------------------------------------------------------------------------------------------

    def over_place(self, run: Run, t: Telemetry) -> bool:
        """Whether it is seen where the current slots lead, at their height."""
        target = scene.target_of(self.plan, run.at, t.mission_seq or 0)
        if target is None or t.lat is None or t.lon is None or t.alt_m is None:
            return False
        away_m = geo.distance_m(t.lat, t.lon, target.lat, target.lon)
        return away_m <= ARRIVED_M + target.orbit_m and abs(t.alt_m - target.alt_m) <= ARRIVED_ALT_M

    def to_go_m(self, run: Run | None, t: Telemetry | None, home: tuple[float, float] | None) -> float | None:
        """Over the ground: to the place of a dispatch while it is on its way there, else home."""
        if run is None or t is None or t.lat is None or t.lon is None:
            return None
        target = scene.target_of(self.plan, run.at, t.mission_seq or 0)
        outward = run.leg(t.mission_seq or 0) in ("transit", "scene") and t.mode == "AUTO"
        to = (target.lat, target.lon) if outward and target is not None else home
        return None if to is None else round(geo.distance_m(t.lat, t.lon, *to), 1)
