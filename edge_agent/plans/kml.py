"""KML 2.2 (OGC 07-147r2): the points, lines and areas of its placemarks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from edge_agent.plans.model import Fault, Plan, PlanError
from edge_agent.plans.shapes import Figure, sort

_SHAPES = {"Point": "point", "LineString": "line", "Polygon": "area"}
_OTHER = ("Model", "Track", "MultiTrack", "LinearRing")


def read(data: bytes, file: str) -> Plan:
    """The shapes; the first word of a placemark's name makes it a fence, exclusion, rally or home."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = Fault(where="the file", reason=f"is not UTF-8 at byte {error.start}")
        raise PlanError(file, [fault], unreadable=True) from None
    if "<!DOCTYPE" in text:  # its entities can make gigabytes of a few bytes
        fault = Fault(where="the file", reason="a document type is not read", remedy="export it as plain KML")
        raise PlanError(file, [fault], unreadable=True)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (a document type, and so every entity, is refused above)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise PlanError(file, [Fault(where="the file", reason=f"is not XML: {error}")], unreadable=True) from None
    if _tag(root) != "kml":
        raise PlanError(file, [Fault(where="the file", reason=f"is <{_tag(root)}>, not <kml>")], unreadable=True)
    faults: list[Fault] = []
    placemarks = [element for element in root.iter() if _tag(element) == "Placemark"]
    figures = [figure for n, mark in enumerate(placemarks) for figure in _figures(mark, n, faults)]
    return sort(figures, faults, file)


def _figures(placemark: ElementTree.Element, number: int, faults: list[Fault]) -> Iterator[Figure]:
    name = next((child.text or "" for child in placemark if _tag(child) == "name"), "").strip()
    where = f"Placemark[{number}]" + (f" {name[:60]!r}" if name else "")
    inside = {id(part) for shape in placemark.iter() if _tag(shape) == "Polygon" for part in shape.iter()}
    for element in placemark.iter():
        tag = _tag(element)
        if tag in _OTHER and id(element) not in inside:
            faults.append(Fault(where=where, reason=f"{tag} is not a shape that routes are made of", value=tag))
        if tag not in _SHAPES:
            continue
        if tag == "Polygon" and any(_tag(part) == "innerBoundaryIs" for part in element):
            faults.append(
                Fault(where=where, reason="an area with holes", remedy="draw the hole as a placemark `exclusion …`")
            )
            continue
        text = next((part.text or "" for part in element.iter() if _tag(part) == "coordinates"), "")
        try:
            corners = tuple(_corner(word) for word in text.split())
        except ValueError as error:
            faults.append(Fault(where=where, reason=f"coordinates: {error}"))
            continue
        yield Figure(_SHAPES[tag], corners, "", name, where)


def _corner(word: str) -> tuple[float, float]:
    parts = word.split(",")
    if len(parts) not in (2, 3):
        raise ValueError(f"longitude,latitude[,height] is wanted, got {word[:60]!r}")
    return float(parts[1]), float(parts[0])


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
