"""`QGC WPL 110`, the plain text of waypoints (https://mavlink.io/en/file_formats/): item 0 is home. Pure."""

from __future__ import annotations

import math

from edge_agent.plans.items import RELATIVE, RETURN, SPEED, TAKEOFF, WAYPOINT, Raw, flown
from edge_agent.plans.model import Fault, Plan, PlanError

HEADER = "QGC WPL 110"
_COLUMNS = (
    "index", "current", "frame", "command", "p1", "p2", "p3", "p4", "lat", "lon", "alt", "autocontinue"
)  # fmt: skip


def read(data: bytes, file: str) -> Plan:
    """The plan; PlanError names every line that is wrong."""
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise _unreadable(file, "the file", f"is not UTF-8 at byte {error.start}") from None
    if not lines or lines[0].strip() != HEADER:
        raise _unreadable(file, "line 1", f"`{HEADER}` is wanted")
    faults: list[Fault] = []
    raws = [
        raw
        for number, line in enumerate(lines[1:], start=2)
        if line.strip() and (raw := _raw(line, number, faults)) is not None
    ]
    home = None
    if raws and raws[0].number == 0:
        lat, lon = raws[0].params[4], raws[0].params[5]
        if lat and lon and -90 <= lat <= 90 and -180 <= lon <= 180:
            home = (lat, lon)
        raws = raws[1:]
    ways = flown(raws, home, faults)
    if not faults and not ways.places:
        faults.append(Fault(where="the file", reason="no place to fly to"))
    if faults:
        raise PlanError(file, faults)
    return Plan(places=ways.places, home=home, speed_mps=ways.speed_mps, notes=ways.notes)


def write(plan: Plan) -> bytes:
    """Home, take-off, speed, places, return; the format has no fence and no rally points."""
    home = plan.home or (plan.places[0].lat, plan.places[0].lon)
    rows: list[tuple[int, int, tuple[float, ...]]] = [
        (0, WAYPOINT, (0, 0, 0, 0, *home, 0)),
        (RELATIVE[0], TAKEOFF, (0, 0, 0, 0, 0, 0, plan.places[0].alt_m)),
    ]
    if plan.speed_mps is not None:
        rows.append((RELATIVE[0], SPEED, (1, plan.speed_mps, -1, 0, 0, 0, 0)))
    rows += [(RELATIVE[0], WAYPOINT, (p.hold_s, 0, 0, 0, p.lat, p.lon, p.alt_m)) for p in plan.places]
    rows.append((RELATIVE[0], RETURN, (0, 0, 0, 0, 0, 0, 0)))
    lines = [HEADER]
    for index, (frame, command, params) in enumerate(rows):
        numbers = "\t".join(f"{value:.8f}" for value in params)
        lines.append(f"{index}\t{int(index == 0)}\t{frame}\t{command}\t{numbers}\t1")
    return ("\n".join(lines) + "\n").encode()


def _raw(line: str, number: int, faults: list[Fault]) -> Raw | None:
    fields, where = line.split(), f"line {number}"
    if len(fields) != len(_COLUMNS):
        faults.append(
            Fault(where=where, reason="not twelve columns", value=str(len(fields)), limit=", ".join(_COLUMNS))
        )
        return None
    try:
        index, frame, command = int(fields[0]), int(fields[2]), int(fields[3])
        params = tuple(_number(field) for field in fields[4:11])
    except ValueError as error:
        faults.append(Fault(where=where, reason=str(error)))
        return None
    return Raw(f"{where} (item {index})", index, command, frame, params)


def _number(field: str) -> float | None:
    value = float(field)
    return None if math.isnan(value) else value


def _unreadable(file: str, where: str, reason: str) -> PlanError:
    return PlanError(file, [Fault(where=where, reason=reason)], unreadable=True)
