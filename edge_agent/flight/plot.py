"""The picture of one run: its path over its plan, and height, battery and margin over time, as a PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_agent import geo
from edge_agent.flight.record import entries
from edge_agent.runtime import DriverError

WIDTH, HEIGHT, MAP = 1280, 720, 640  # the map is a square on the left, below the title
TITLE, PAD = 48, 56
INK, GREY, PLAN, PATH, ACCENT, ALARM = (
    (40, 40, 40),
    (205, 205, 205),
    (190, 150, 60),
    (60, 60, 200),
    (60, 140, 40),
    (40, 40, 220),
)
FONT = cv2.FONT_HERSHEY_SIMPLEX

Points = list[tuple[float, float]]


def draw(record: Path, out: Path) -> None:
    """Draw a record; raises OSError where a file fails, and DriverError where OpenCV refuses."""
    lines = record.read_bytes().splitlines()
    run = next(iter(entries(lines, "run")), {})
    flown = [t for t in entries(lines, "telemetry") if t.get("lat") is not None]
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    end = next(iter(entries(lines, "end")), {})
    _text(canvas, f"{run.get('route', '?')}   {record.stem}   {end.get('result', 'not ended')}", (16, 30), 0.6)
    _map(canvas, run, flown)
    clock = "boot_s" if all(t.get("boot_s") is not None for t in flown) else "wall_s"
    began_s = flown[0][clock] if flown else 0.0
    for row, (name, key, unit, floor) in enumerate(
        (("height", "alt_m", "m", 0.0), ("battery", "battery_pct", "%", 0.0), ("margin", "margin_pct", "%", 0.0))
    ):
        series = [(t[clock] - began_s, t[key]) for t in flown if t.get(key) is not None]
        _chart(canvas, row, f"{name} [{unit}]", series, floor)
    done, data = cv2.imencode(".png", canvas)
    if not done:
        raise DriverError(f"{out}: OpenCV could not encode the plot")
    out.write_bytes(data.tobytes())


def _map(canvas: Any, run: dict[str, Any], flown: Sequence[dict[str, Any]]) -> None:
    planned = [(place["lat"], place["lon"]) for place in run.get("plan", ())]
    path = [(t["lat"], t["lon"]) for t in flown]
    home = next(((t["home_lat"], t["home_lon"]) for t in flown if t.get("home_lat") is not None), None)
    origin = home or next(iter(path or planned), None)
    if origin is None:
        _text(canvas, "no position was known", (PAD, HEIGHT // 2), 0.6)
        return
    loop = [home, *planned, home] if home else planned
    places = {
        "plan": [geo.to_local(*place, *origin) for place in loop if place],
        "path": [geo.to_local(*place, *origin) for place in path],
    }
    to_pixel, metres = _fit([*places["plan"], *places["path"], (0.0, 0.0)])
    _line(canvas, [to_pixel(place) for place in places["plan"]], PLAN, 1)
    for place in places["plan"]:
        cv2.circle(canvas, to_pixel(place), 4, PLAN, 1, cv2.LINE_AA)
    _line(canvas, [to_pixel(place) for place in places["path"]], PATH, 2)
    cv2.drawMarker(canvas, to_pixel((0.0, 0.0)), INK, cv2.MARKER_TRIANGLE_UP, 14, 2)
    bar_m = _round(metres / 4)
    bar = round(bar_m / metres * (MAP - 2 * PAD))
    base = (PAD, HEIGHT - 18)
    cv2.line(canvas, base, (base[0] + bar, base[1]), INK, 2)
    _text(canvas, f"{bar_m:g} m   north is up   plan blue, path red", (base[0] + bar + 10, base[1] + 5), 0.45)


def _fit(places: Points) -> tuple[Callable[[tuple[float, float]], tuple[int, int]], float]:
    """How (north, east) metres become pixels, and how many metres the map is wide."""
    norths, easts = [p[0] for p in places], [p[1] for p in places]
    metres = max(max(norths) - min(norths), max(easts) - min(easts), 20.0)
    mid_n, mid_e = (max(norths) + min(norths)) / 2, (max(easts) + min(easts)) / 2
    scale = (MAP - 2 * PAD) / metres

    def to_pixel(place: tuple[float, float]) -> tuple[int, int]:
        return round(MAP / 2 + (place[1] - mid_e) * scale), round(TITLE + MAP / 2 - 20 - (place[0] - mid_n) * scale)

    return to_pixel, metres


def _chart(canvas: Any, row: int, name: str, series: Points, floor: float) -> None:
    height = (HEIGHT - TITLE - 24) // 3
    left, right, top = MAP + 70, WIDTH - 24, TITLE + row * height + 26
    bottom = TITLE + (row + 1) * height - 14
    _text(canvas, name, (left, top - 8), 0.5)
    cv2.rectangle(canvas, (left, top), (right, bottom), GREY, 1)
    if not series:
        _text(canvas, "not known", (left + 10, (top + bottom) // 2), 0.5)
        return
    values = [value for _, value in series]
    low, high = min(floor, *values), max(values)
    high = high if high - low > 1e-6 else low + 1.0
    span = max(series[-1][0], 1e-6)

    def at(point: tuple[float, float]) -> tuple[int, int]:
        x, y = point
        return round(left + x / span * (right - left)), round(bottom - (y - low) / (high - low) * (bottom - top))

    zero = at((0.0, 0.0))[1]
    cv2.line(canvas, (left, zero), (right, zero), ALARM if low < 0 else GREY, 1)
    _line(canvas, [at(point) for point in series], ACCENT, 2)
    _text(canvas, f"{high:.0f}", (left - 44, top + 10), 0.45)
    _text(canvas, f"{round(low) + 0}", (left - 44, bottom), 0.45)
    _text(canvas, f"{span:.0f} s", (right - 52, bottom + 13), 0.4)


def _line(canvas: Any, points: Sequence[tuple[int, int]], colour: tuple[int, int, int], width: int) -> None:
    for start, end in pairwise(points):
        cv2.line(canvas, start, end, colour, width, cv2.LINE_AA)


def _text(canvas: Any, text: str, at: tuple[int, int], size: float) -> None:
    plain = text.encode("ascii", "replace").decode()  # the font of OpenCV knows no more
    cv2.putText(canvas, plain, at, FONT, size, INK, 1, cv2.LINE_AA)


def _round(metres: float) -> float:
    """A length for the scale bar: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(metres, 1e-3)))
    return float(max(step * power for step in (1, 2, 5) if step * power <= metres * 1.0001))
