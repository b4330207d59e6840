"""Which format a file of a route has, and what it says."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.plans import geojson, kml, qgc, survey, wpl
from edge_agent.plans.model import Fault, Plan, PlanError

if TYPE_CHECKING:
    from edge_agent import config

BYTES_MAX = 8 * 1024 * 1024
FORMATS = {
    ".plan": qgc.read, ".waypoints": wpl.read, ".txt": wpl.read, ".mission": wpl.read, ".geojson": geojson.read,
    ".json": geojson.read, ".kml": kml.read,
}  # fmt: skip
WRITERS = {".plan": qgc.write, ".waypoints": wpl.write}
HFOV_DEG = 70.0  # a common wide camera, where nobody says which


def read(file: Path, how: survey.Survey | None = None) -> Plan:
    """The route in a file, its areas and lines surveyed as `how` says; PlanError names file, item, value and limit."""
    try:
        with file.open("rb") as source:
            data = source.read(BYTES_MAX + 1)
    except OSError as error:
        fault = Fault(where="the file", reason=f"cannot be read: {error.strerror}")
        raise PlanError(str(file), [fault], unreadable=True) from None
    return parse(data, file, how)


def parse(data: bytes, file: Path, how: survey.Survey | None = None) -> Plan:
    """As `read`, of bytes."""
    if len(data) > BYTES_MAX:
        fault = Fault(where="the file", reason="too large for a route", limit=f"{BYTES_MAX} bytes")
        raise PlanError(str(file), [fault], unreadable=True)
    data = data.removeprefix(codecs.BOM_UTF8)  # as some editors put before everything
    reader = FORMATS.get(file.suffix.lower())
    if reader is None:
        fault = Fault(where="the file", reason="a format that is not known", value=file.suffix or "no ending",
                      limit=", ".join(FORMATS))  # fmt: skip
        raise PlanError(str(file), [fault], unreadable=True)
    if data[:1000].lstrip().startswith(b"{") and b'"fileType"' in data[:100_000]:
        reader = qgc.read  # a plan by whatever name
    plan = reader(data, str(file))
    return survey.surveyed(plan, how or survey.Survey(survey.camera(hfov_deg=HFOV_DEG), 30.0), str(file))


def write(plan: Plan, file: Path) -> bytes:
    """The bytes of a file of the format that its ending names; PlanError where there is no such format."""
    writer = WRITERS.get(file.suffix.lower())
    if writer is None:
        fault = Fault(where="the file", reason="a format that is not written", value=file.suffix or "no ending",
                      limit=", ".join(WRITERS))  # fmt: skip
        raise PlanError(str(file), [fault])
    return writer(plan)


def survey_of(section: config.Survey, alt_m: float) -> survey.Survey:
    """How a config says that areas and lines are flown over; ValueError where it names no camera."""
    known = section.sensor_mm is not None or section.focal_mm is not None
    hfov_deg = section.hfov_deg if section.hfov_deg is not None or known else HFOV_DEG
    camera = survey.camera(
        hfov_deg=hfov_deg, sensor_mm=section.sensor_mm, focal_mm=section.focal_mm, pixels=section.pixels
    )
    return survey.Survey(
        camera, alt_m, section.front_overlap, section.side_overlap, section.corridor_m, section.angle_deg
    )
