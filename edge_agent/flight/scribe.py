"""What of a flight goes into its record, and the one writer that takes it to the disk beside the control loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import to_builtins
from ulid import ULID

from edge_agent import __version__, config
from edge_agent.flight import phases
from edge_agent.flight.gates import Check
from edge_agent.flight.mission import Item
from edge_agent.flight.recorder import REFUSED, Note, Recorder
from edge_agent.flight.route import stops
from edge_agent.flight.safety import UploadMission
from edge_agent.messages import FlightEvent, Refusal, Telemetry
from edge_agent.runtime import Clock, DriverError, Health

LOOK_S = 1.0


class Scribe:
    """Notes pile up while the disk is slow; a disk that fails costs the record, never the flight."""

    def __init__(self, recorder: Recorder, clock: Clock, health: Health) -> None:
        self._recorder, self._clock, self._health = recorder, clock, health
        self._notes: list[Note] = []
        self._writing: asyncio.Task[None] | None = None
        self._looked_s = float("-inf")
        self._sum = Summary()

    def begin(self, event: FlightEvent, route: config.Route | None, checks: Sequence[Check]) -> None:
        """A run begins: what is planned, and how the gates stand."""
        self._sum = Summary()
        self._head(event.run, event.route, event.by, route, checks)

    def refuse(self, name: str, by: str, route: config.Route | None, checks: Sequence[Check], cause: str) -> str:
        """A flight that was asked for and refused leaves a record too; its id."""
        run = f"{ULID()}{REFUSED}"
        self._head(run, name, by, route, checks)
        self._note(run, "end", {"result": "refused", "cause": cause, **Summary().to_dict()})
        return run

    def enter(self, event: FlightEvent, digest: str | None) -> None:
        """A phase was entered; one that ends the run closes its record."""
        self._note(event.run, "transition", {**to_builtins(event), "digest": digest})
        if event.phase in phases.RUN_ENDS:
            self._note(event.run, "end", {"result": event.phase, "cause": event.cause, **self._sum.to_dict()})

    def look(self, run: str | None, t: Telemetry | None, orders: deque[tuple[Any, Any]]) -> None:
        """What was ordered since the last look, and once a second where the vehicle is."""
        while orders:
            command, refusal = orders.popleft()
            if run is not None:
                self._note(run, "command", _shown(command, refusal))
        if run is None or t is None or abs(_when(t) - self._looked_s) < LOOK_S:
            return
        self._looked_s = _when(t)
        self._sum.take(t)
        self._note(run, "telemetry", {key: value for key, value in to_builtins(t).items() if value is not None})

    def flush(self) -> None:
        """Take what has piled up to the disk, in a thread of its own; one at a time."""
        if self._writing is not None and not self._writing.done():
            return
        self._judge()
        if self._notes:
            notes, self._notes = self._notes, []
            self._writing = asyncio.create_task(asyncio.to_thread(self._recorder.write, notes))

    async def close(self) -> None:
        """Wait for the writer, and write the rest."""
        while self._writing is not None or self._notes:
            if self._writing is not None:
                await asyncio.wait([self._writing])
            self._judge()
            self.flush()

    def _judge(self) -> None:
        if self._writing is None:
            return
        error, self._writing = self._writing.exception(), None
        if isinstance(error, DriverError):
            self._health.failed("flight.record", error)
        elif error is not None:
            raise error
        else:
            self._health.set("flight.record", "running")

    def _head(self, run: str, name: str, by: str, route: config.Route | None, checks: Sequence[Check]) -> None:
        self._note(run, "run", {"route": name, "by": by, "version": __version__, "plan": _plan(route)})
        self._note(run, "gates", {"checks": to_builtins(checks)})

    def _note(self, run: str, kind: str, data: dict[str, Any]) -> None:
        self._notes.append(Note(run, kind, data, self._clock.wall()))


def _plan(route: config.Route | None) -> list[dict[str, float]]:
    return [
        {**stop.place._asdict(), "speed_mps": stop.speed_mps, "hold_s": stop.hold_s}
        for stop in (stops(route) if route else ())
    ]


def _when(t: Telemetry) -> float:
    """The vehicle's clock where it tells: a simulated one may live faster than we do."""
    return t.at_s if t.boot_s is None else t.boot_s


class Summary:
    """A flight in a line: how long, how far, how high, what it cost, how near the margin came."""

    def __init__(self) -> None:
        self.took_off_s: float | None = None
        self.airborne_s = self.length_m = self.max_alt_m = 0.0
        self.first_pct: float | None = None
        self.last_pct: float | None = None
        self.least_margin_pct: float | None = None
        self._last_s = 0.0

    def take(self, t: Telemetry) -> None:
        if not t.armed or t.landed is not False:
            return
        if self.took_off_s is None:
            self.took_off_s, self.first_pct, self._last_s = _when(t), t.battery_pct, _when(t)
        lasted_s, self._last_s = _when(t) - self._last_s, _when(t)
        self.airborne_s = _when(t) - self.took_off_s
        self.length_m += (t.speed_mps or 0.0) * lasted_s
        self.max_alt_m = max(self.max_alt_m, t.alt_m or 0.0)
        self.last_pct = t.battery_pct
        if t.margin_pct is not None:
            least = self.least_margin_pct
            self.least_margin_pct = t.margin_pct if least is None else min(t.margin_pct, least)

    def to_dict(self) -> dict[str, Any]:
        used = None if self.first_pct is None or self.last_pct is None else self.first_pct - self.last_pct
        return {
            "flew": self.took_off_s is not None,
            "airborne_s": round(self.airborne_s, 1),
            "length_m": round(self.length_m, 1),
            "max_alt_m": round(self.max_alt_m, 1),
            "battery_used_pct": used,
            "least_margin_pct": self.least_margin_pct,
        }


def _shown(command: Any, refusal: Refusal | None) -> dict[str, Any]:
    """A command as it was ordered; a mission by its items' number, for the plan and its digest are in the record."""
    data: dict[str, Any] = {"name": type(command).__name__}
    if isinstance(command, UploadMission):
        items: tuple[Item, ...] = command.items
        data["items"] = len(items)
    else:
        data |= {key: value for key, value in to_builtins(command).items() if key != "type"}
    if refusal is not None:
        data["refused"] = to_builtins(refusal)
    return data
