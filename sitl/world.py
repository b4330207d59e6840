"""Everything that one scenario needs: a vehicle, the wire, the agent, a ground station; all on the vehicle's clock."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sitl import vehicles
from sitl.agent import DEVICE, Agent
from sitl.station import Point, Station
from sitl.vehicle_time import Hand
from sitl.wire import Wire

HOME = (30.2461, 120.1552)
ZONE = "Asia/Shanghai"
BEGAN_S = datetime(2026, 6, 1, 8, 0, tzinfo=ZoneInfo(ZONE)).timestamp()
if TYPE_CHECKING:
    from sitl.centre import Centre

POLL_S = 0.03
START_WALL_S = 60.0
INSIST_S = 20.0
FLIGHT_S = 400.0  # a flight of the harness' routes is over by then


class World:
    """One scenario's world in `folder`; `vehicle` is "arducopter" or "simulated"."""

    def __init__(self, folder: Path, *, vehicle: str, speedup: float, seed: int, slot: int = 0) -> None:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.speedup, self.seed, self.slot = folder, speedup, seed, slot
        self.clock = Hand(folder / "clock", BEGAN_S)
        self.home = HOME
        self.home_radius_m = 5.0
        self.vehicle = self._vehicle(vehicle, slot)
        wire_port = 5790 + slot if self.vehicle.real else _free_port()
        self.wire = Wire(
            (vehicles.HOST, wire_port), self.vehicle.link, seed=seed, clock=self.clock, speedup=speedup,
            tlog=folder / "link.tlog",
        )  # fmt: skip
        self.station = Station(self.vehicle.station, self.vehicle.rc, HOME, self.clock)
        self.agent = Agent(folder / "agent", folder / "clock", self._settings(wire_port))
        self.phases: list[tuple[float, str]] = []  # as the status showed them, with the time they were first seen
        self.flight: dict[str, Any] = {}
        self.looks = 0  # how often the agent has told its status
        self.resumed_s: list[float] = []  # when a person took the drone back into the agent's hands
        self.ends_at_home = True
        self.story: list[str] = []
        self.centre: Centre | None = None
        self._watcher: asyncio.Task[None] | None = None

    def _vehicle(self, kind: str, slot: int) -> Any:
        folder = self.folder / "vehicle"
        if kind == "simulated":
            return vehicles.Simulated(folder, HOME, self.speedup, _free_port())
        binary = vehicles.arducopter()
        if binary is None:
            raise SystemExit("ARDUCOPTER is not set: name ArduCopter's SITL program, or run sitl/get-arducopter")
        return vehicles.ArduCopter(binary, folder, HOME, speedup=self.speedup, slot=slot, start_s=BEGAN_S)

    def _settings(self, port: int) -> dict[str, Any]:
        return {
            "site": {"device": DEVICE, "lat": HOME[0], "lon": HOME[1], "time_zone": ZONE},
            "vehicle": {"type": "mavlink", "url": f"tcp:{vehicles.HOST}:{port}"},
            "outbox": {"ballast_mib": 0},
            "route": [],
        }

    # --- its life -------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """A line of the story that a failed run leaves."""
        self.story.append(f"{self.clock.now():8.1f} s  {text}")

    async def start(self) -> None:
        """Switch the vehicle on, and watch it; the agent is started by a sentence."""
        await self.vehicle.start()
        self.station.open()
        await self.wire.open()
        self._watcher = asyncio.create_task(self._watch())

    async def start_agent(self) -> None:
        """Start the agent, and wait until it answers: how long the interpreter takes is no time of the flight."""
        self.flight = {}
        await self.agent.start()
        end = time.monotonic() + START_WALL_S
        while not self.flight:
            assert self.agent.runs and time.monotonic() < end, f"the agent does not start: {self.agent.said()[-300:]}"
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self.agent.stop()
        if self.centre is not None:
            self.centre.stop()
        await self.station.close()
        await self.wire.close()
        await self.vehicle.stop()

    async def _watch(self) -> None:
        """Ask the agent how it does, for ever."""
        while True:
            if self.agent.daemon and self.agent.runs and (flight := await self.agent.flight()):
                self.flight, self.looks = flight, self.looks + 1
                phase = str(flight.get("phase"))
                if not self.phases or self.phases[-1][1] != phase:
                    self.phases.append((self.clock.now(), phase))
                    self.tell(f"    the agent is in {phase}")
            await asyncio.sleep(POLL_S)

    # --- what sentences need --------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        return self.phases[-1][1] if self.phases else ""

    async def until(self, what: Callable[[], object], within_s: float, why: str) -> None:
        """Wait for something in the vehicle's time; the error says how everything stands."""
        try:
            await self.station.until(what, within_s, why)
        except AssertionError as error:
            raise AssertionError(f"{error}; the agent: {self.phase or 'silent'}, {_blocked(self.flight)}") from None

    async def until_phase(self, phases: tuple[str, ...], within_s: float) -> None:
        """Until the agent is seen in one of `phases`, from now on."""
        await self.until(lambda: self.phase in phases, within_s, f"the agent in {' or '.join(phases)}")

    async def until_fresh_phase(self, phase: str, within_s: float) -> None:
        """The same, by a status that was asked for from now on."""
        known = self.looks + 1  # one may be on its way
        await self.until(lambda: self.looks > known and self.phase == phase, within_s, f"the agent in {phase}")

    async def until_from(self, phases: tuple[str, ...], within_s: float) -> None:
        """The same, where the "ground" that a flight starts from is not the one that it ends on."""
        known = len(self.phases) if self.phase == "ground" else 0
        await self.until(
            lambda: self.phase in phases and (self.phase != "ground" or len(self.phases) > known),
            within_s, f"the agent in {' or '.join(phases)}",
        )  # fmt: skip

    async def insist(self, name: str, **args: Any) -> dict[str, Any]:
        """Order a flight, and again for some seconds where the link's age forbids it: the machine may have stalled."""
        end = self.clock.now() + INSIST_S
        while True:
            reply = await self.agent.order(name, **args)
            stalled = any(word in str(reply.get("reason")) for word in ("telemetry is", "link_down", "attaching"))
            if not stalled or self.clock.now() > end:
                return reply
            await asyncio.sleep(POLL_S)

    async def wait(self, seconds: float) -> None:
        """Let the vehicle's time pass."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            await asyncio.sleep(0.005)

    def route(self, name: str, corners: list[tuple[float, float]], alt_m: float, **more: Any) -> None:
        """Give the agent a route through places north and east of home, in metres."""
        waypoints = [self.place(*corner) for corner in corners]
        self.agent.settings["route"].append({"id": name, "alt_m": alt_m, "waypoints": waypoints, **more})

    def place(self, north_m: float, east_m: float) -> dict[str, float]:
        lat = self.home[0] + north_m / 111_319.49
        lon = self.home[1] + east_m / 111_319.49 / math.cos(math.radians(self.home[0]))
        return {"lat": round(lat, 7), "lon": round(lon, 7)}

    def offset(self, place: dict[str, float]) -> tuple[float, float]:
        """Metres north and east of home of a place."""
        north_m = (place["lat"] - self.home[0]) * 111_319.49
        return north_m, (place["lon"] - self.home[1]) * 111_319.49 * math.cos(math.radians(self.home[0]))

    @property
    def blocked(self) -> bool:
        """Whether the agent's gates say no to any route, or it has not told yet."""
        found = self.flight.get("blocked")
        return (not found and not self.flight) or any((found or {}).values())

    def where(self) -> Point:
        """The vehicle's true place, or where it believes to be when its simulation does not say."""
        return self.station.truth or self.station.path[-1]


def _blocked(flight: dict[str, Any]) -> str:
    found = [f"{route}: {'; '.join(why)}" for route, why in (flight.get("blocked") or {}).items()]
    return " | ".join(found) or f"mode {flight.get('mode')}"


def _free_port() -> int:
    with socket.create_server((vehicles.HOST, 0)) as free:
        return int(free.getsockname()[1])
