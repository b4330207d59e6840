"""Which values a parameter may have, in ArduCopter 4.3 to 4.7: pure.

The facts stand in `copter.ranges`, a line a name, `#` in it for any number:

    RTL_ALT 3-5 200..300000; 6 30..300000         of 4.3 to 4.5, and of 4.6; 4.7 has no such name
    SERIAL#_BAUD 7 1..20000000 =1,2,4 &0,3:5 !    a range, values, bits of a mask; `!`: acts from the next start on

They were read from the parameter documentation of each version (github.com/ArduPilot/ParameterRepository,
Copter-4.x/apm.pdef.json: Range, Values, Bitmask, RebootRequired). A value passes if any of the three admits it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

OLDEST, NEWEST = 3, 7  # of 4.x


class Range(NamedTuple):
    """What one version says of one parameter; `values` are runs from, to."""

    low: float | None
    high: float | None
    values: tuple[tuple[float, float], ...]
    bits: tuple[tuple[float, float], ...]
    reboot: bool

    def admits(self, value: float) -> bool:
        value = float(value)  # a whole number has no is_integer before Python 3.12
        if self.low is None and not self.values and not self.bits:
            return True
        if self.low is not None and self.high is not None and _within(self.low, value, self.high):
            return True
        if any(not low.is_integer() for low, _ in self.values):  # names for some places of a scale, not choices
            return _within(self.values[0][0], value, self.values[-1][1])
        if value.is_integer() and any(low <= value <= high for low, high in self.values):
            return True
        return bool(self.bits) and value >= 0 and value.is_integer() and int(value) & ~self._mask() == 0

    def _mask(self) -> int:
        return sum(1 << bit for low, high in self.bits for bit in range(int(low), int(high) + 1))

    def __str__(self) -> str:
        parts = [f"{self.low:g} to {self.high:g}"] if self.low is not None else []
        if self.values:
            parts.append("one of " + ", ".join(_run(run) for run in self.values))
        if self.bits:
            parts.append("a sum of the bits " + ", ".join(_run(run) for run in self.bits))
        return ", or ".join(parts)


class Ranges:
    """The ranges of one version, `minor` being the 6 of 4.6; of all where that is not known, or is not one of ours."""

    def __init__(self, text: str, minor: int | None) -> None:
        known = minor is not None and OLDEST <= minor <= NEWEST
        self._minors = (minor,) if known and minor is not None else tuple(range(OLDEST, NEWEST + 1))
        self._lines = dict(line.split(" ", 1) for line in text.splitlines())

    def of(self, name: str) -> list[tuple[int, Range]]:
        """Version and range; empty for what has no range, and for what is not known."""
        history = self._lines.get(name) or self._lines.get(re.sub(r"\d+", "#", name)) or ""
        found = []
        for part in filter(None, history.split("; ")):
            versions, _, spec = part.partition(" ")
            first, _, last = versions.partition("-")
            found += [(n, _parsed(spec)) for n in self._minors if int(first) <= n <= int(last or first)]
        return found

    def fault(self, name: str, value: float) -> str | None:
        """Why a value is none for this parameter; of several versions each must say so."""
        found = self.of(name)
        if not found or any(known.admits(value) for _, known in found):
            return None
        return f"{value:g} is not {found[-1][1]} (ArduCopter 4.{found[-1][0]})"

    def reboots(self, name: str) -> bool:
        """Whether a change acts only from the autopilot's next start on."""
        return any(known.reboot for _, known in self.of(name))


def _parsed(spec: str) -> Range:
    low = high = None
    values: tuple[tuple[float, float], ...] = ()
    bits: tuple[tuple[float, float], ...] = ()
    for word in spec.split():
        if word[0] == "=":
            values = _runs(word[1:])
        elif word[0] == "&":
            bits = _runs(word[1:])
        elif ".." in word:
            low, high = map(float, word.split(".."))
    return Range(low, high, values, bits, "!" in spec.split())


def _runs(text: str) -> tuple[tuple[float, float], ...]:
    runs = (run.partition(":") for run in text.split(","))
    return tuple((float(first), float(last or first)) for first, _, last in runs)


def _run(run: tuple[float, float]) -> str:
    return f"{run[0]:g}" if run[0] == run[1] else f"{run[0]:g} to {run[1]:g}"


def _within(low: float, value: float, high: float) -> bool:
    """As 32-bit floats are compared: a limit of 0.1 admits what the wire makes of 0.1."""
    slack = 1e-6 * max(abs(low), abs(high))
    return low - slack <= value <= high + slack
