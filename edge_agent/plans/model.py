"""What a file of a route says, whatever its format: places, fence, rally points, shapes; and why it is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

PLACES_MAX = 500  # of one route; ArduCopter on common boards holds some 700 items in all
TOLD_MAX = 50  # faults of one file that are told in words
ALT_MAX_M, HOLD_MAX_S, SPEED_MAX_MPS = 500.0, 600.0, 30.0  # as `config.Waypoint` and `config.Route` take them

Lat = Annotated[float, Meta(ge=-90, le=90)]
Lon = Annotated[float, Meta(ge=-180, le=180)]
Corner = tuple[Lat, Lon]


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a file: which item, what, its value, the limit, and the way out."""

    where: str
    reason: str
    value: str | None = None
    limit: str | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        facts = [
            f"{name} {fact}"
            for name, fact in (("value", self.value), ("limit", self.limit))
            if fact is not None and fact not in self.reason
        ]
        facts += [self.remedy] if self.remedy else []
        return f"{self.where}: {self.reason}" + (f" ({'; '.join(facts)})" if facts else "")


class PlanError(Exception):
    """A file that is no route; `unreadable` where nothing of it could be understood."""

    def __init__(self, file: str, faults: Sequence[Fault], *, unreadable: bool = False) -> None:
        self.file, self.faults, self.unreadable = file, tuple(faults), unreadable
        told = [f"{file}: {fault}" for fault in faults[:TOLD_MAX]]
        more = [f"{file}: and {len(faults) - TOLD_MAX} faults more"] if len(faults) > TOLD_MAX else []
        super().__init__("\n".join(told + more))


def malformed(data: bytes, error: Exception) -> str:
    """What a JSON decoder complains of, and the text that it stumbled over."""
    at = re.search(r"\(byte (\d+)\)", str(error))
    if at is None:
        return str(error)
    near = data[max(0, int(at[1]) - 20) : int(at[1]) + 10].decode(errors="replace")
    return f"{error}, near {near!r}"


class FencePolygon(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An area that is to be kept in (`inclusion`) or out of; corners are (lat, lon)."""

    corners: Annotated[tuple[Corner, ...], Meta(min_length=3, max_length=200)]
    inclusion: bool = True


class FenceCircle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A circle that is to be kept in or out of."""

    lat: Lat
    lon: Lon
    radius_m: Annotated[float, Meta(gt=0, le=50_000)]
    inclusion: bool = True


class Fence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a flight may be: inside every inclusion (FENCE_OPTIONS bit 1 unset), in no exclusion."""

    polygons: tuple[FencePolygon, ...] = ()
    circles: tuple[FenceCircle, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.polygons or self.circles)


class Rally(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the autopilot may return to instead of home; `alt_m` is above home."""

    lat: Lat
    lon: Lon
    alt_m: Annotated[float, Meta(gt=0, le=500)] = 30.0


class Place(Struct, frozen=True, kw_only=True):
    """A place to fly to, metres above home; `item` says where in the file it stands."""

    lat: float
    lon: float
    alt_m: float
    hold_s: float = 0.0
    item: str = ""


class Shape(Struct, frozen=True, kw_only=True):
    """A point, line or area of a map, corners as (lat, lon); an area's ring is not closed."""

    kind: Literal["point", "line", "area"]
    corners: tuple[Corner, ...]
    item: str
    name: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """What was read. `notes` say what was understood but is not flown."""

    places: tuple[Place, ...] = ()
    home: tuple[float, float] | None = None
    speed_mps: float | None = None
    fence: Fence = Fence()
    rally: tuple[Rally, ...] = ()
    shapes: tuple[Shape, ...] = ()
    notes: tuple[str, ...] = ()
