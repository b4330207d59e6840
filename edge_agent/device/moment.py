"""What time it is, before anything that could prove it: which source is believed, and how far. Pure.

In this order: a clock that NTP steers (chrony, with NTS where that is set up); the GPS, as the autopilot tells it in
SYSTEM_TIME; the real-time clock; the time that was saved last. No time before `FLOOR_S` (this program did not exist) or
before the saved one is believed, wherever it comes from. An HTTP server's Date is never asked: nobody signed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

FLOOR_S = 1_793_491_200.0  # 2026-11-01
CEILING_S = 4_102_444_800.0  # 2100-01-01: a clock that says more is broken
CLOSE_S = 1.0  # less than this is not worth a step
ORDER = ("nts", "ntp", "gps", "rtc", "saved", "system", "floor")
Name = Literal["nts", "ntp", "gps", "rtc", "saved", "system", "floor"]


class Source(Struct, frozen=True, kw_only=True):
    """What one clock says: Unix seconds, and by how much it may be off (None: nobody knows)."""

    name: Name
    unix_s: float
    err_s: float | None = None


class Judged(Struct, frozen=True, kw_only=True):
    """The time that is believed, from whom, and the step that the system's clock needs (0: none)."""

    source: Name
    unix_s: float
    err_s: float | None
    step_s: float
    steered: bool  # somebody keeps it right from now on
    rejected: tuple[str, ...] = ()


def judge(system_s: float, sources: Sequence[Source]) -> Judged:
    """The best of these sources, the system's own clock among them; it is stepped only where it cannot be right."""
    saved = max((one.unix_s for one in sources if one.name == "saved"), default=0.0)
    floor_s = max(FLOOR_S, saved if saved < CEILING_S else 0.0)
    everyone = [*sources, Source(name="system", unix_s=system_s), Source(name="floor", unix_s=floor_s)]
    believed: list[Source] = []
    rejected: list[str] = []
    for one in sorted(everyone, key=lambda one: ORDER.index(one.name)):
        if floor_s - CLOSE_S <= one.unix_s < CEILING_S:
            believed.append(one)
        else:
            rejected.append(f"{one.name}: {one.unix_s:.0f} is before {floor_s:.0f}, or no time at all")
    best = believed[0]
    if best.name in ("saved", "floor") or (best.name == "rtc" and system_s >= best.unix_s):
        best = max(believed, key=lambda one: (one.unix_s, -ORDER.index(one.name)))  # time does not run backwards
    step_s = best.unix_s - system_s
    steered = best.name in ("nts", "ntp")
    if steered or abs(step_s) < CLOSE_S:
        step_s = 0.0
    return Judged(
        source=best.name,
        unix_s=best.unix_s,
        err_s=best.err_s,
        step_s=step_s,
        steered=steered,
        rejected=tuple(rejected),
    )
