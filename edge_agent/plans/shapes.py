"""The shapes of a map, sorted by what they are there for; a survey's places made of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

from edge_agent.plans.model import Corner, Fault, Fence, FencePolygon, Plan, PlanError, Rally, Shape

ROLES = ("fence", "exclusion", "rally", "home")
CORNERS_MAX = 5000
_A = {"point": "a point", "line": "a line", "area": "an area"}


class Figure(NamedTuple):
    """A shape as a file has it."""

    kind: str
    corners: tuple[Corner, ...]
    role: str
    name: str
    where: str
    raised: bool = False  # whether it names heights, which a map's route does not fly


def sort(figures: Sequence[Figure], faults: list[Fault], file: str) -> Plan:
    """Fences, rally points and home apart from what is to be visited; PlanError names what is wrong."""
    polygons: list[FencePolygon] = []
    rally: list[Rally] = []
    shapes: list[Shape] = []
    home: tuple[float, float] | None = None
    for figure in figures:
        if not _good(figure, faults):
            continue
        corners = figure.corners
        if figure.kind == "area" and corners[0] == corners[-1]:
            corners = corners[:-1]
        match _role(figure):
            case ("fence" | "exclusion") as role:
                if figure.kind != "area":
                    faults.append(_wanted(figure, "an area"))
                elif len(corners) > 200:
                    faults.append(
                        Fault(where=figure.where, reason="a fence of too many corners", value=str(len(corners)),
                              limit="200")
                    )  # fmt: skip
                else:
                    polygons.append(FencePolygon(corners=corners, inclusion=role == "fence"))
            case ("rally" | "home") as role:
                if figure.kind != "point":
                    faults.append(_wanted(figure, "a point"))
                elif role == "rally":
                    rally.append(Rally(lat=corners[0][0], lon=corners[0][1]))
                else:
                    home = corners[0]
            case _:
                kind = cast(Literal["point", "line", "area"], figure.kind)
                shapes.append(Shape(kind=kind, corners=corners, item=figure.where, name=figure.name))
    if not faults and not (shapes or polygons or rally):
        faults.append(Fault(where="the file", reason="no point, line or area in it"))
    if faults:
        raise PlanError(file, faults)
    raised = sum(figure.raised for figure in figures)
    return Plan(
        shapes=tuple(shapes), fence=Fence(polygons=tuple(polygons)), rally=tuple(rally), home=home,
        notes=(f"the heights that {raised} shapes name are left out: a map is flown at one height",) if raised else (),
    )  # fmt: skip


def _role(figure: Figure) -> str:
    word = (figure.role or figure.name.split(" ")[0]).lower()
    return word if word in ROLES else ""


def _good(figure: Figure, faults: list[Fault]) -> bool:
    least = {"point": 1, "line": 2, "area": 4}[figure.kind]
    before = len(faults)
    if len(figure.corners) < least:
        faults.append(
            Fault(where=figure.where, reason=f"too few corners for {_A[figure.kind]}", value=str(len(figure.corners)),
                  limit=f"{least}" + (", the last like the first" if least == 4 else ""))
        )  # fmt: skip
    elif len(figure.corners) > CORNERS_MAX:
        faults.append(
            Fault(where=figure.where, reason="too many corners", value=str(len(figure.corners)), limit=str(CORNERS_MAX))
        )
    elif figure.kind == "area" and len(set(figure.corners)) < 3:
        faults.append(Fault(where=figure.where, reason="an area without an inside"))
    for lat, lon in figure.corners:
        if not (-90 <= lat <= 90 and -180 <= lon <= 180):
            faults.append(
                Fault(where=figure.where, reason="no place on Earth", value=f"{lat:g}, {lon:g}",
                      limit="latitude ±90, longitude ±180", remedy="coordinates are longitude first")
            )  # fmt: skip
            break
        if lat == 0 and lon == 0:
            faults.append(Fault(where=figure.where, reason="0/0 is the sea off Ghana, not a waypoint", value="0, 0"))
            break
    return len(faults) == before


def _wanted(figure: Figure, what: str) -> Fault:
    return Fault(where=figure.where, reason=f"{figure.role or figure.name} is {what}", value=figure.kind)
