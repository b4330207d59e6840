"""What the gates look at: everything known of vehicle, place and run at one instant, with its age. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.config import Airframe, Limits, Route
from edge_agent.flight.energy import Return, Wind
from edge_agent.flight.frames import Message
from edge_agent.flight.mavlink import Link, Other
from edge_agent.flight.verdict import Verdict
from edge_agent.messages import Telemetry

COMPLAINT_S = 35.0  # ArduPilot repeats its PreArm texts every 30 s
OTHER_S = 5.0  # a controller that was not heard for so long has left


class Around(NamedTuple):
    """What the agent knows of its own machine and of the sky; None is not known."""

    at_s: float = 0.0
    wall_s: float | None = None
    disk_free_mib: float | None = None
    clock: str | None = None  # what steers the system clock: "ntp", or "unsynchronised"
    closed: str | None = None  # a no-fly window that is open now, or opens before the flight could be over


class Plan(NamedTuple):
    """What the flight asks of vehicle and place; without a site, only the vehicle's own home says where it stands."""

    site: tuple[float, float] | None
    limits: Limits
    airframe: Airframe
    route: Route | None = None
    wind: Wind = Wind(0.0)
    way: Return = Return()
    ratio: float = 1.0  # what the battery was seen to pay for the airframe's profile
    site_alt_m: float | None = None  # above the sea
    store_fault: str | None = None  # why the state of a flight cannot be saved
    locked: bool = False  # a person must look at the vehicle first
    weather: Verdict | None = None
    digest: str | None = None  # of the mission that was verified, while a run is open
    looked: bool = True  # whether the fence and the rally points aboard were read
    rally: int = 0  # how many are aboard


class Facts(NamedTuple):
    """One look at everything; None is not known."""

    now: float
    plan: Plan
    telemetry: Telemetry | None
    copter: bool
    prearm_ok: bool | None  # None: the autopilot does not report it, or all checks are switched off
    complaints: tuple[str, ...]
    said: dict[int, tuple[float, Message]]  # the last message of each id, and when it came
    others: tuple[Other, ...]  # who else speaks on this link
    system_id: int  # the vehicle's, and ours
    params: Mapping[str, float] = MappingProxyType({})  # as far as they were heard
    around: Around = Around()

    def age_s(self, number: int) -> float | None:
        """How old the newest message of this id is; None where none came."""
        return self.now - self.said[number][0] if number in self.said else None

    def message(self, number: int) -> Message | None:
        found = self.said.get(number)
        return found[1] if found else None

    @property
    def t(self) -> Telemetry:
        assert self.telemetry is not None  # the gates after `link` are asked only when something was heard
        return self.telemetry


def gather(link: Link, plan: Plan, around: Around, now: float) -> Facts:
    """What the link and the machine know, for one plan."""
    return Facts(
        now=now,
        plan=plan,
        telemetry=link.telemetry(),
        copter=link.copter,
        prearm_ok=link.prearm_ok,
        complaints=tuple(dict.fromkeys(link.said_since(now - COMPLAINT_S))),
        said=link.said,
        others=tuple(other for other in link.others.values() if now - other.at_s < OTHER_S),
        system_id=link.system_id,
        params=link.params,
        around=around,
    )


def agents(others: Sequence[Other], system_id: int, component: int) -> tuple[Other, ...]:
    """Other companions that speak under our own identity on this vehicle: a second agent."""
    return tuple(other for other in others if (other.system, other.component) == (system_id, component))


def stations(others: Sequence[Other]) -> tuple[Other, ...]:
    """Ground stations on this link."""
    return tuple(other for other in others if other.kind == mavlink.MAV_TYPE_GCS)
