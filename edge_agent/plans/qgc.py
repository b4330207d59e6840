"""QGroundControl's `.plan`, as its developer guide describes it (file_formats/plan.html). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

from edge_agent.plans.items import RELATIVE, RETURN, SPEED, TAKEOFF, WAYPOINT, Raw, flown
from edge_agent.plans.model import Corner, Fault, Fence, FenceCircle, FencePolygon, Plan, PlanError, Rally, malformed

Numbers = tuple[float | None, ...]


class Simple(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="SimpleItem"):
    """One MAVLink item."""

    command: int
    frame: int
    params: Numbers
    do_jump_id: int | None = None


class Transects(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a survey or corridor comes to."""

    items: tuple[Simple, ...] | None = field(default=None, name="Items")


class Complex(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="ComplexItem"):
    """A survey, a corridor, a structure: flown as its own expansion says, never planned anew."""

    complex_item_type: str
    transects: Transects | None = field(default=None, name="TransectStyleComplexItem")
    items: tuple[Simple, ...] | None = field(default=None, name="Items")


class Mission(Struct, frozen=True, kw_only=True, rename="camel"):
    version: int
    items: tuple[Simple | Complex, ...]
    planned_home_position: Numbers | None = None
    hover_speed: float | None = None


class Circle(Struct, frozen=True, kw_only=True, rename="camel"):
    center: Corner
    radius: float


class CircleFence(Struct, frozen=True, kw_only=True, rename="camel"):
    circle: Circle
    inclusion: bool


class PolygonFence(Struct, frozen=True, kw_only=True, rename="camel"):
    polygon: tuple[Corner, ...]
    inclusion: bool


class GeoFence(Struct, frozen=True, kw_only=True, rename="camel"):
    version: int
    polygons: tuple[PolygonFence, ...] = ()
    circles: tuple[CircleFence, ...] = ()


class RallyPoints(Struct, frozen=True, kw_only=True, rename="camel"):
    version: int
    points: tuple[tuple[float, float, float], ...] = ()


class File(Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole; unknown keys are QGroundControl's own business."""

    file_type: str
    version: int
    mission: Mission
    geo_fence: GeoFence | None = None
    rally_points: RallyPoints | None = None


VERSIONS = {"version": 1, "mission.version": 2, "geoFence.version": 2, "rallyPoints.version": 2}
_COMPLEX = ("survey", "CorridorScan", "StructureScan-Simple", "StructureScan")


def read(data: bytes, file: str) -> Plan:
    """The plan; PlanError names every item that is wrong."""
    try:
        found = msgspec.json.decode(data, type=File)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        what, _, where = malformed(data, error).partition(" - at `$")
        place = where.rstrip("`").lstrip(".") or "the file"
        raise PlanError(
            file, [Fault(where=place, reason=what, remedy="save it anew in QGroundControl")], unreadable=True
        ) from None
    faults = _versions(found)
    raws = list(_raws(found.mission, faults))
    home = _home(found.mission, faults)
    fence, rally = _fence(found.geo_fence, faults), _rally(found.rally_points, faults)
    ways = flown(raws, home, faults)
    if not faults and not ways.places:
        faults.append(Fault(where="mission.items", reason="no place to fly to"))
    if faults:
        raise PlanError(file, faults)
    return Plan(
        places=ways.places, home=home, speed_mps=ways.speed_mps or _speed(found.mission), fence=fence, rally=rally,
        notes=ways.notes,
    )  # fmt: skip


def write(plan: Plan) -> bytes:
    """A `.plan` that QGroundControl opens: take-off, speed, places, return; fence and rally points beside them."""
    items = [_simple(TAKEOFF, [0, 0, 0, None, *(plan.home or (0, 0)), plan.places[0].alt_m])]
    if plan.speed_mps is not None:
        items.append(_simple(SPEED, [1, plan.speed_mps, -1, 0, 0, 0, 0], frame=2))
    items += [_simple(WAYPOINT, [p.hold_s, 0, 0, None, p.lat, p.lon, p.alt_m]) for p in plan.places]
    items.append(_simple(RETURN, [0, 0, 0, 0, 0, 0, 0], frame=2))
    for number, item in enumerate(items, start=1):
        item["doJumpId"] = number
    speed_mps = plan.speed_mps if plan.speed_mps is not None else 5
    return (
        json.dumps(
            {
                "fileType": "Plan",
                "geoFence": {
                    "circles": [
                        {
                            "circle": {"center": [c.lat, c.lon], "radius": c.radius_m},
                            "inclusion": c.inclusion,
                            "version": 1,
                        }
                        for c in plan.fence.circles
                    ],
                    "polygons": [
                        {"inclusion": p.inclusion, "polygon": [list(corner) for corner in p.corners], "version": 1}
                        for p in plan.fence.polygons
                    ],
                    "version": 2,
                },
                "groundStation": "QGroundControl",
                "mission": {
                    "cruiseSpeed": 15,
                    "firmwareType": 3,  # MAV_AUTOPILOT_ARDUPILOTMEGA
                    "globalPlanAltitudeMode": 1,  # relative to launch
                    "hoverSpeed": speed_mps,
                    "items": items,
                    "plannedHomePosition": [*(plan.home or (plan.places[0].lat, plan.places[0].lon)), 0],
                    "vehicleType": 2,  # MAV_TYPE_QUADROTOR
                    "version": 2,
                },
                "rallyPoints": {"points": [[r.lat, r.lon, r.alt_m] for r in plan.rally], "version": 2},
                "version": 1,
            },
            indent=4,
        ).encode()
        + b"\n"
    )


def _simple(command: int, params: list[float | None], *, frame: int = RELATIVE[0]) -> dict[str, Any]:
    alt_m = params[6] if frame in RELATIVE else None
    height = {"AMSLAltAboveTerrain": None, "Altitude": alt_m, "AltitudeMode": 1} if alt_m is not None else {}
    return {
        **height, "autoContinue": True, "command": command, "doJumpId": 0, "frame": frame, "params": params,
        "type": "SimpleItem",
    }  # fmt: skip


def _versions(found: File) -> list[Fault]:
    got = {"version": found.version, "mission.version": found.mission.version}
    if found.geo_fence:
        got["geoFence.version"] = found.geo_fence.version
    if found.rally_points:
        got["rallyPoints.version"] = found.rally_points.version
    faults = [
        Fault(where=key, reason="a version of the format that is not known", value=str(number),
              limit=str(VERSIONS[key]), remedy="open it in QGroundControl 4 or later and save it anew")
        for key, number in got.items() if number != VERSIONS[key]
    ]  # fmt: skip
    if found.file_type != "Plan":
        faults.insert(0, Fault(where="fileType", reason="not a plan", value=found.file_type, limit="Plan"))
    return faults


def _raws(mission: Mission, faults: list[Fault]) -> Iterator[Raw]:
    for index, item in enumerate(mission.items):
        where = f"mission.items[{index}]"
        match item:
            case Simple():
                yield from _raw(item, where, index + 1, faults)
            case Complex(complex_item_type=kind, transects=transects, items=own):
                inside = (transects.items if transects else None) or own
                if kind not in _COMPLEX or not inside:
                    known = kind in _COMPLEX
                    faults.append(
                        Fault(where=where, reason=f"{kind} " + ("is not expanded in the file" if known else
                              "is not a kind of item that routes fly"), value=kind, limit=", ".join(_COMPLEX),
                              remedy="make plain waypoints of it")
                    )  # fmt: skip
                    continue
                for number, part in enumerate(inside):
                    yield from _raw(part, f"{where}.Items[{number}]", -1, faults)


def _raw(item: Simple, where: str, number: int, faults: list[Fault]) -> Iterator[Raw]:
    if len(item.params) != 7:
        faults.append(Fault(where=f"{where}.params", reason="not seven", value=str(len(item.params)), limit="7"))
        return
    # QGroundControl numbers its items itself; one without a number cannot be jumped to
    yield Raw(where, item.do_jump_id if item.do_jump_id is not None else number, item.command, item.frame, item.params)


def _home(mission: Mission, faults: list[Fault]) -> tuple[float, float] | None:
    home = mission.planned_home_position
    if not home:
        return None
    lat, lon = (*home, None, None)[:2]
    if lat is None or lon is None or not (-90 <= lat <= 90 and -180 <= lon <= 180):
        faults.append(Fault(where="mission.plannedHomePosition", reason="no place on Earth", value=str(list(home))))
        return None
    return None if lat == 0 and lon == 0 else (lat, lon)


def _speed(mission: Mission) -> float | None:
    speed_mps = mission.hover_speed
    return speed_mps if speed_mps is not None and 0 < speed_mps <= 30 else None


def _fence(fence: GeoFence | None, faults: list[Fault]) -> Fence:
    if fence is None:
        return Fence()
    for n, polygon in enumerate(fence.polygons):
        if not 3 <= len(polygon.polygon) <= 200:
            faults.append(
                Fault(where=f"geoFence.polygons[{n}]", reason="no area", value=f"{len(polygon.polygon)} corners",
                      limit="3 to 200")
            )  # fmt: skip
    for n, circle in enumerate(fence.circles):
        if not 0 < circle.circle.radius <= 50_000:
            faults.append(
                Fault(where=f"geoFence.circles[{n}]", reason="no radius", value=f"{circle.circle.radius:g} m",
                      limit="above 0 up to 50000 m")
            )  # fmt: skip
    return Fence(
        polygons=tuple(FencePolygon(corners=p.polygon, inclusion=p.inclusion) for p in fence.polygons),
        circles=tuple(
            FenceCircle(lat=c.circle.center[0], lon=c.circle.center[1], radius_m=c.circle.radius, inclusion=c.inclusion)
            for c in fence.circles
        ),
    )


def _rally(rally: RallyPoints | None, faults: list[Fault]) -> tuple[Rally, ...]:
    found = []
    for n, (lat, lon, alt_m) in enumerate(rally.points if rally else ()):
        if -90 <= lat <= 90 and -180 <= lon <= 180 and 0 < alt_m <= 500:
            found.append(Rally(lat=lat, lon=lon, alt_m=alt_m))
        else:
            faults.append(
                Fault(where=f"rallyPoints.points[{n}]", reason="no place to return to",
                      value=f"{lat:g}, {lon:g}, {alt_m:g} m", limit="±90, ±180, above 0 up to 500 m")
            )  # fmt: skip
    return tuple(found)
