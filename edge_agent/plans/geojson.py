"""GeoJSON (RFC 7946): points, lines and areas of a map, and what each is there for. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from edge_agent.plans.model import Fault, Plan, PlanError, malformed
from edge_agent.plans.shapes import Figure, sort

DEPTH_MAX = 8  # collections within collections


def read(data: bytes, file: str) -> Plan:
    """The shapes; a feature's `role` (or the first word of its name) makes it a fence, exclusion, rally or home."""
    faults: list[Fault] = []
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        fault = Fault(where="the file", reason=f"is not JSON: {malformed(data, error)}")
        raise PlanError(file, [fault], unreadable=True) from None
    figures = list(_figures(found, _Label("the file"), faults, 0))
    return sort(figures, faults, file)


class _Label(NamedTuple):
    """What the feature around a geometry says, and where it stands."""

    where: str
    role: str = ""
    name: str = ""


def _figures(found: Any, label: _Label, faults: list[Fault], depth: int) -> Iterator[Figure]:
    where = label.where
    kind = found.get("type") if isinstance(found, dict) else None
    if depth > DEPTH_MAX:
        faults.append(Fault(where=where, reason="nested too deeply", limit=str(DEPTH_MAX)))
        return
    match kind:
        case "FeatureCollection" | "GeometryCollection":
            key = "features" if kind == "FeatureCollection" else "geometries"
            parts = found.get(key)
            if not isinstance(parts, list):
                faults.append(Fault(where=f"{where}.{key}", reason="a list is wanted"))
                return
            for n, part in enumerate(parts):
                yield from _figures(part, label._replace(where=f"{key}[{n}]"), faults, depth + 1)
        case "Feature":
            properties = found.get("properties")
            properties = properties if isinstance(properties, dict) else {}
            role, name = (str(properties.get(key) or "")[:60] for key in ("role", "name"))
            yield from _figures(found.get("geometry"), _Label(where, role, name), faults, depth + 1)
        case "Point" | "LineString" | "Polygon" | "MultiPoint" | "MultiLineString" | "MultiPolygon":
            yield from _geometry(str(kind), found.get("coordinates"), label, faults)
        case None:
            faults.append(Fault(where=where, reason="no GeoJSON: an object with a `type` is wanted"))
        case other:
            faults.append(Fault(where=where, reason=f"{other} is not a shape of GeoJSON", value=str(other)[:80]))


def _geometry(kind: str, coordinates: Any, label: _Label, faults: list[Fault]) -> Iterator[Figure]:
    where, role, name = label
    parts: Any = coordinates
    if not kind.startswith("Multi"):
        parts = [coordinates]
    if not isinstance(parts, list):
        faults.append(Fault(where=f"{where}.coordinates", reason="a list is wanted"))
        return
    for n, part in enumerate(parts):
        here = f"{where}[{n}]" if kind.startswith("Multi") else where
        try:
            match kind.removeprefix("Multi"):
                case "Point":
                    yield Figure("point", (_corner(part),), role, name, here, _raised([part]))
                case "LineString":
                    yield Figure("line", tuple(_corner(at) for at in part), role, name, here, _raised(part))
                case _:
                    outer, *holes = part
                    yield Figure("area", tuple(_corner(at) for at in outer), role, name, here, _raised(outer))
                    if holes:
                        faults.append(
                            Fault(where=here, reason="an area with holes", value=f"{len(holes)} holes", limit="none",
                                  remedy="draw the hole as an area of role `exclusion`")
                        )  # fmt: skip
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            faults.append(Fault(where=f"{here}.coordinates", reason=f"no coordinates of a {kind}: {error}"))


def _corner(at: Any) -> tuple[float, float]:
    if not isinstance(at, list) or len(at) < 2 or any(type(value) not in (int, float) for value in at[:2]):
        raise ValueError(f"[longitude, latitude] is wanted, got {str(at)[:60]}")
    return float(at[1]), float(at[0])


def _raised(corners: list[Any]) -> bool:
    return any(len(at) > 2 and at[2] != 0 for at in corners)
