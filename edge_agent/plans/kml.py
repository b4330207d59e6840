"""KML 2.2 (OGC 07-147r2): the points, lines and areas of its placemarks. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from edge_agent.plans.model import Fault, Plan, PlanError
from edge_agent.plans.shapes import Figure, sort

_SHAPES = {"Point": "point", "LineString": "line", "Polygon": "area"}
_OTHER = ("Model", "Track", "MultiTrack", "LinearRing")
DEPTH_MAX = 64  # elements within elements


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
    figures = [figure for n, mark in enumerate(_placemarks(root, file)) for figure in _figures(mark, n, faults)]
    return sort(figures, faults, file)


def _placemarks(root: ElementTree.Element, file: str) -> list[ElementTree.Element]:
    """In the order of the file."""
    found: list[ElementTree.Element] = []
    ahead = [(root, 0)]
    while ahead:
        element, depth = ahead.pop()
        if depth > DEPTH_MAX:  # what looks into each of them again must end
            fault = Fault(where="the file", reason="nested too deeply", limit=str(DEPTH_MAX))
            raise PlanError(file, [fault], unreadable=True)
        if _tag(element) == "Placemark":
            found.append(element)
        ahead += [(child, depth + 1) for child in reversed(element)]
    return found


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
            corners = [_corner(word) for word in text.split()]
        except ValueError as error:
            faults.append(Fault(where=where, reason=f"coordinates: {error}"))
            continue
        places = tuple((lat, lon) for lat, lon, _ in corners)
        yield Figure(_SHAPES[tag], places, "", name, where, any(alt_m for _, _, alt_m in corners))


def _corner(word: str) -> tuple[float, float, float]:
    try:
        lon, lat, alt_m = map(float, (word if word.count(",") > 1 else f"{word},0").split(","))
    except ValueError:
        raise ValueError(f"longitude,latitude[,height] is wanted, got {word[:60]!r}") from None
    return lat, lon, alt_m


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]
