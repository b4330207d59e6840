"""What a run leaves behind: JUnit for a CI server, and of a flight that failed its path, its height and its story."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from msgspec import Struct

if TYPE_CHECKING:
    from sitl.world import World

WIDTH, HEIGHT, EDGE = 720, 420, 40


class Result(Struct, frozen=True):
    """How one scenario went; `why` says what was wrong, "" where nothing was."""

    name: str
    title: str
    why: str = ""
    known: str = ""  # the reason why it is known to fail
    vehicle_s: float = 0.0
    wall_s: float = 0.0
    skipped: str = ""

    @property
    def word(self) -> str:
        if self.skipped:
            return "skipped"
        if self.known:
            return "known failing" if self.why else "PASSES NOW"
        return "FAILED" if self.why else "passed"

    @property
    def bad(self) -> bool:
        return bool(self.why) and not self.known


def junit(results: Sequence[Result], file: Path) -> None:
    """The results as a CI server reads them; a known failure is a skipped test with its reason."""
    suite = ET.Element(
        "testsuite",
        name="sitl",
        tests=str(len(results)),
        failures=str(sum(r.bad for r in results)),
        skipped=str(sum(bool(r.skipped or (r.known and r.why)) for r in results)),
        time=f"{sum(r.wall_s for r in results):.1f}",
    )
    for result in results:
        case = ET.SubElement(suite, "testcase", classname="sitl", name=result.name, time=f"{result.wall_s:.1f}")
        if result.bad:
            ET.SubElement(case, "failure", message=result.why.splitlines()[0]).text = result.why
        elif result.skipped or (result.known and result.why):
            ET.SubElement(case, "skipped", message=result.skipped or f"{result.known} ({result.why})")
    ET.ElementTree(suite).write(file, encoding="utf-8", xml_declaration=True)


def leave(world: World, why: str) -> None:
    """Write the story of a flight, and the pictures of its path and height, beside its logs."""
    told = [*world.story, "", *(f"{at_s:8.1f} s  vehicle: {text}" for at_s, text in world.station.texts), "", why]
    (world.folder / "story.txt").write_text("\n".join(told) + "\n")
    path = world.station.path
    if not path:
        return
    marks = [(at_s, phase) for at_s, phase in world.phases]
    planned = [
        [world.offset(waypoint) for waypoint in route["waypoints"]] for route in world.agent.settings.get("route", ())
    ]
    flown = [(p.east_m, p.north_m) for p in path]
    legs = [[(0.0, 0.0), *((east, north) for north, east in route), (0.0, 0.0)] for route in planned]
    (world.folder / "path.svg").write_text(_plot("path, metres east and north of home", flown, legs, square=True))
    heights = [(p.at_s, p.up_m) for p in path]
    (world.folder / "height.svg").write_text(_plot("height above home, metres, over seconds", heights, [], marks))


def _plot(
    title: str,
    line: Sequence[tuple[float, float]],
    plans: Sequence[Sequence[tuple[float, float]]],
    marks: Sequence[tuple[float, str]] = (),
    *,
    square: bool = False,
) -> str:
    """One line over some thin ones, as SVG; `square` gives both axes the same scale."""
    every = [*line, *(place for plan in plans for place in plan)]
    low_x, high_x = min(x for x, _ in every), max(x for x, _ in every)
    low_y, high_y = min(y for _, y in every), max(y for _, y in every)
    scale_x = (WIDTH - 2 * EDGE) / max(high_x - low_x, 1.0)
    scale_y = (HEIGHT - 2 * EDGE) / max(high_y - low_y, 1.0)
    if square:
        scale_x = scale_y = min(scale_x, scale_y)

    def at(x: float, y: float) -> str:
        return f"{EDGE + (x - low_x) * scale_x:.1f},{HEIGHT - EDGE - (y - low_y) * scale_y:.1f}"

    def drawn(places: Sequence[tuple[float, float]], style: str) -> str:
        return f'<polyline fill="none" {style} points="{" ".join(at(*place) for place in places)}"/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{EDGE}" y="20">{escape(title)}: x {low_x:.0f} to {high_x:.0f}, y {low_y:.0f} to {high_y:.0f}</text>',
        *(drawn(plan, 'stroke="#bbb" stroke-dasharray="4"') for plan in plans),
        drawn(line, 'stroke="#06c"'),
    ]
    for x, word in marks:
        if low_x <= x <= high_x:
            place = at(x, low_y).split(",")[0]
            parts.append(f'<line x1="{place}" x2="{place}" y1="{EDGE}" y2="{HEIGHT - EDGE}" stroke="#ddd"/>')
            parts.append(f'<text transform="translate({place},{HEIGHT - EDGE}) rotate(-90)">{escape(word)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
