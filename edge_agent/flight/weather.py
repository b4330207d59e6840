"""Is this weather to fly in? One sample against its limits, with hysteresis: what refused must ease further. Pure."""

from __future__ import annotations

import math

from msgspec import Struct

from edge_agent.config import WeatherLimits
from edge_agent.flight.verdict import Verdict, no, unknown, yes

EASE = 0.85  # what was over a limit must fall to this share of it before it counts as under


class Weather(Struct, frozen=True, kw_only=True):
    """One sample; None is not measured. `wind_from_deg` is where it comes from, true."""

    at_s: float  # monotonic
    source: str
    wind_mps: float | None = None
    wind_from_deg: float | None = None
    gust_mps: float | None = None
    rain_mm_h: float | None = None
    temp_c: float | None = None
    visibility_m: float | None = None


class Judge:
    """Remembers what was over its limit, so that a wind around the limit does not open and shut the gate."""

    def __init__(self, limits: WeatherLimits) -> None:
        self._limits = limits
        self._over: set[str] = set()

    def ask(self, weather: Weather | None, now: float) -> Verdict:
        """How the weather stands; with no source at all it is advice alone."""
        limits = self._limits
        optional = not limits.required
        if weather is None:
            return unknown("no weather is known", "name a source: [weather]", advice=optional)
        if now - weather.at_s > limits.max_age_s:
            age, oldest = f"{now - weather.at_s:.0f} s", f"{limits.max_age_s:g} s"
            return no("the weather is old", age, oldest, f"look at {weather.source}", advice=optional)
        known = self._known(weather)
        if not any(name in ("wind", "gust") for name, *_ in known):
            return unknown("the wind is not known", f"look at {weather.source}", advice=optional)
        if bad := self._bad(known):
            name, value, limit, unit = bad[0]
            return no(f"{name} is out of limits", f"{value:g} {unit}", f"{limit:g} {unit}", "wait")
        shown = ", ".join(f"{name} {value:g} {unit}" for name, value, _, unit in known)
        return yes("fit to fly", shown, f"wind {limits.max_wind_mps:g} m/s, gust {limits.max_gust_mps:g} m/s")

    def turns_back(self, weather: Weather | None, now: float) -> str | None:
        """What of a fresh sample is out of its limit, for a drone in the air: what is old or unknown calls nobody."""
        if weather is None or now - weather.at_s > self._limits.max_age_s:
            return None
        bad = self._bad(self._known(weather))
        return f"{bad[0][0]} {bad[0][1]:g} {bad[0][3]}, limit {bad[0][2]:g}" if bad else None

    def _known(self, weather: Weather) -> list[tuple[str, float, float, str]]:
        return [(name, value, limit, unit) for name, value, limit, unit in self._measured(weather) if value is not None]

    def _bad(self, known: list[tuple[str, float, float, str]]) -> list[tuple[str, float, float, str]]:
        return [found for found in known if self._exceeds(*found)]

    def _measured(self, w: Weather) -> list[tuple[str, float | None, float, str]]:
        limits = self._limits
        return [
            ("wind", w.wind_mps, limits.max_wind_mps, "m/s"),
            ("gust", w.gust_mps, limits.max_gust_mps, "m/s"),
            ("rain", w.rain_mm_h, limits.max_rain_mm_h, "mm/h"),
            ("cold", w.temp_c, limits.min_temp_c, "°C"),
            ("heat", w.temp_c, limits.max_temp_c, "°C"),
            ("visibility", w.visibility_m, limits.min_visibility_m, "m"),
        ]

    def _exceeds(self, name: str, value: float, limit: float, _unit: str) -> bool:
        low = name in ("cold", "visibility")
        if name in self._over:
            limit = _eased(name, limit)
        over = value < limit if low else value > limit
        (self._over.add if over else self._over.discard)(name)
        return over


def _eased(name: str, limit: float) -> float:
    """The limit for what was over it before: 2 °C inside for temperatures, 15 % inside for the others."""
    match name:
        case "cold":
            return limit + 2.0
        case "heat":
            return limit - 2.0
        case "visibility":
            return limit / EASE
        case _:
            return limit * EASE


def from_mavlink(speed_mps: float, direction_deg: float, at_s: float) -> Weather | None:
    """A WIND message; exactly 0 is what ArduPilot sends while it has no estimate, so it is no wind that is known."""
    if speed_mps == 0 or not (math.isfinite(speed_mps) and math.isfinite(direction_deg)):
        return None
    return Weather(at_s=at_s, source="WIND", wind_mps=round(speed_mps, 1), wind_from_deg=direction_deg % 360)
