"""A small world: the pilot's core and the simulated autopilot joined by a wire, on a clock that jumps."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from edge_agent import config, geo
from edge_agent.flight.commander import Commander
from edge_agent.flight.logbook import State
from edge_agent.flight.mavlink import Link
from edge_agent.flight.simulator import Autopilot
from edge_agent.messages import FlightEvent
from edge_agent.runtime import DriverError

LAT, LON = 30.25, 120.15
WALL_S = 1_780_000_000.0
STEP_S = 0.1


def waypoint(north_m: float, east_m: float, **more: float) -> config.Waypoint:
    lat, lon = geo.from_local(north_m, east_m, LAT, LON)
    return config.Waypoint(lat=round(lat, 7), lon=round(lon, 7), **more)


SITE = config.Site(device="d1", lat=LAT, lon=LON)
PATROL = config.Route(
    id="patrol", waypoints=(waypoint(60, 0), waypoint(60, 60), waypoint(0, 60), waypoint(0, 30)), alt_m=20, speed_mps=8
)


class Keeper:
    """A store in memory that keeps what a disk would: bytes."""

    def __init__(self) -> None:
        self.data = msgspec.json.encode(State())
        self.saves = 0

    def load(self) -> State:
        return msgspec.json.decode(self.data, type=State)

    def save(self, state: State) -> None:
        self.data = msgspec.json.encode(state)
        self.saves += 1


class World:
    """`turn` lets a tenth of a second pass; `lossy` drops that share of what either side sends, frame by frame."""

    def __init__(self, *, limits: config.Limits | None = None, schedules=(), wall_s: float = WALL_S, **autopilot):
        self.now, self.wall = 1000.0, wall_s
        self.limits, self.schedules = limits or config.Limits(), tuple(schedules)
        self.autopilot = Autopilot(LAT, LON, **autopilot)
        self.keeper = Keeper()
        self.events: list[FlightEvent] = []
        self.notes: list[str] = []
        self.path: list[tuple[float, float, float]] = []
        self.sent: list[bytes] = []
        self.cut = False  # nothing passes
        self.loss, self.rng = 0.0, random.Random(1)
        self.ids = iter(f"RUN{n}" for n in range(1000))
        self.start()

    def start(self) -> None:
        """A new agent on the same disk."""
        self.commander = Commander(
            Link(1), site=SITE, limits=self.limits, routes=(PATROL,), schedules=self.schedules,
            state=self.keeper.load(), new_id=lambda: next(self.ids), note=self.notes.append, warn=self.notes.append,
        )  # fmt: skip

    def turn(self) -> None:
        self.live()
        link = self.commander.link
        link.receive(self._air(self.autopilot.data_to_send()), self.now)
        self.commander.turn(self.now, self.wall)
        while self.save():
            self.commander.turn(self.now, self.wall)
        link.tick(self.now)
        data = link.data_to_send()
        self.sent.append(data)
        self.autopilot.receive(self._air(data), self.now)
        while self.commander.logbook.unsent:
            self.events.append(self.commander.logbook.unsent[0])
            self.commander.logbook.sent()

    def save(self) -> bool:
        """What the pilot does between two turns."""
        book = self.commander.logbook
        if not book.unsaved:
            return False
        try:
            self.keeper.save(book.to_save())
        except DriverError as error:
            book.fault = str(error)
        else:
            book.fault = None
        return True

    def live(self) -> None:
        """Time passes for the world, and no agent runs."""
        self.now += STEP_S
        self.wall += STEP_S
        self.autopilot.step(self.now)
        body = self.autopilot.state.body
        self.path.append((body.north_m, body.east_m, body.up_m))

    def _air(self, data: bytes) -> bytes:
        return b"" if self.cut or (self.loss and self.rng.random() < self.loss) else data

    def until(self, what: Callable[[], object] | str, within_s: float = 300.0) -> None:
        """Turn until a phase is reached or something holds."""
        done = (lambda: self.commander.phase == what) if isinstance(what, str) else what
        end = self.now + within_s
        while not done():
            assert self.now < end, f"not within {within_s} s: {self.commander.phase}, {self.phases()}"
            self.turn()

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.turn()

    def fly(self) -> str:
        self.until("ground")
        self.until(lambda: not self.commander.blocked(PATROL, self.now))
        run = self.commander.fly("patrol", "test", self.now, self.wall)
        assert isinstance(run, str), run
        self.save()
        return run

    def phases(self) -> list[str]:
        return [event.phase for event in self.events]

    def happened(self) -> list[str]:
        return [h["event"] for h in self.autopilot.happenings]

    def is_home(self) -> bool:
        """Landed, disarmed, and where it took off."""
        state = self.autopilot.state
        body = state.body
        return not state.armed and body.on_ground and abs(body.north_m) < 2 and abs(body.east_m) < 2


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world() -> type[World]:
    return World
