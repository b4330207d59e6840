"""How each side stands, as the other is told: states, desired and reported settings, questions, a centre's presence."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edge_agent.topics import Auth, Count

# --- up -----------------------------------------------------------------------------------------------------------


class State(Struct, frozen=True, kw_only=True):
    """How a group stands since `time`, on the wire."""

    time: str
    boot: str
    data: Any


class FlightState(Struct, frozen=True, kw_only=True):
    """`state/flight`: the phase of the flight, and whose it is."""

    phase: str
    mode: str | None = None
    armed: bool | None = None
    run: str | None = None
    route: str | None = None
    level: str | None = None  # the patrol level that holds


class GpsState(Struct, frozen=True, kw_only=True):
    """`state/gps`: MAVLink's GPS_FIX_TYPE (3: a fix in three dimensions)."""

    fix: int | None = None


class PartsState(Struct, frozen=True, kw_only=True):
    """`state/camera` and `state/speaker`: "running" or "failed: why", by name."""

    parts: dict[str, str]


class LinkState(Struct, frozen=True, kw_only=True):
    """`state/link`: the way to the broker."""

    broker: str
    mqtt: Literal["5", "3.1.1"]
    tls: bool


class Rejected(Struct, frozen=True, kw_only=True):
    """A value of a desired configuration that cannot be, and why."""

    path: str
    why: str


class Reported(Struct, frozen=True, kw_only=True):
    """How the device is set. With anything in `rejected`, nothing of that document is in effect."""

    time: str
    desired_version: Count  # of the document in effect; 0 for none
    settings: dict[str, Any]
    rejected_version: Count | None = None
    rejected: tuple[Rejected, ...] = ()
    key: str | None = None


class Ask(Struct, frozen=True, kw_only=True):
    """What a device asks of the centre; what goes into `data` depends on what is asked for."""

    id: str
    time: str
    data: Any = None


# --- down ---------------------------------------------------------------------------------------------------------


class Desired(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a device is to be set, by whom; a later document has a higher `version` and replaces the whole."""

    version: Annotated[int, Meta(ge=1, le=2**53)]
    by: str
    settings: dict[str, Any] = {}
    auth: Auth | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """The centre's answer to `Ask`."""

    id: str
    state: Literal["ok", "refused"]
    reason: str | None = None
    data: Any = None


class Host(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A centre: birth and will; `contract` is the range that it understands, `max_in_flight` what it takes at once."""

    state: Literal["online", "offline"]
    sess: str
    time: str
    contract: tuple[int, int] = (1, 1)
    max_in_flight: int | None = None
