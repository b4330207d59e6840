"""The part itself: a whole flight through its driver, and vehicles that are not there."""

from __future__ import annotations

import asyncio

import pytest

from edge_agent import config
from edge_agent.flight.pilot import Pilot
from edge_agent.flight.vehicle import Udp, open_vehicle
from edge_agent.messages import FlightEvent, Refusal, Telemetry
from edge_agent.runtime import DriverError, Health
from tests.flight.conftest import PATROL, SITE, WALL_S, Keeper


class JumpingClock:
    """Nobody waits: whoever sleeps moves the time."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return WALL_S + self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Deck:
    """A pilot and everything that was told."""

    def __init__(self, vehicle=None, clock=None) -> None:
        self.clock = clock or JumpingClock()
        self.health = Health(self.clock)
        self.events: list[FlightEvent] = []
        self.telemetry: list[Telemetry] = []
        vehicle = vehicle or open_vehicle(config.SimulatedVehicle(), SITE, self.clock)
        self.pilot = Pilot(
            vehicle, site=SITE, limits=config.Limits(), routes=[PATROL], schedules=[], store=Keeper(),
            clock=self.clock, health=self.health, on_event=self.on_event, on_telemetry=self.telemetry.append,
        )  # fmt: skip

    async def on_event(self, event: FlightEvent) -> None:
        self.events.append(event)

    async def until(self, done, turns: int = 20_000) -> None:
        for _ in range(turns):
            if done():
                return
            await asyncio.sleep(0)
        raise AssertionError(self.pilot.status())


def ready(deck: Deck) -> bool:
    return deck.pilot.status()["phase"] == "ground" and not deck.pilot.status()["blocked"]


async def test_a_flight_runs_from_its_order_to_the_ground():
    deck = Deck()
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: ready(deck))
    run = deck.pilot.fly("patrol", "op")
    assert isinstance(run, str)
    assert len(run) == 26
    await deck.until(lambda: deck.events and deck.events[-1].phase == "route")
    status = deck.pilot.status()
    assert (status["phase"], status["armed"], status["mode"], status["link"]) == ("route", True, "AUTO", "up")
    assert status["run"]["id"] == run
    assert isinstance(deck.pilot.fly("patrol", "op"), Refusal)
    assert deck.pilot.pause("op") is None
    await deck.until(lambda: deck.events[-1].phase == "paused")
    assert deck.pilot.resume("op") is None
    await deck.until(lambda: deck.events[-1].phase == "route")
    assert deck.pilot.recall("op") is None
    await deck.until(lambda: deck.pilot.status()["run"] is None)
    assert deck.events[-1].phase == "landed"
    assert deck.pilot.telemetry.landed
    assert [t.at_s for t in deck.telemetry] == sorted({t.at_s for t in deck.telemetry})
    task.cancel()


async def test_the_part_may_be_restarted_in_flight():
    deck = Deck()
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: ready(deck))
    deck.pilot.fly("patrol", "op")
    await deck.until(lambda: deck.events and deck.events[-1].phase == "route")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: deck.events[-1].phase == "landed")
    assert [event.seq for event in deck.events] == list(range(1, len(deck.events) + 1))
    task.cancel()


async def test_a_vehicle_that_never_speaks_is_told_of_once_and_harms_nobody(caplog):
    class Mute(Udp):
        async def receive(self, timeout_s: float) -> bytes:
            await clock.sleep(timeout_s)
            return b""

    clock = JumpingClock()
    deck = Deck(Mute("127.0.0.1", 0, 1, listen=True), clock)
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: clock.now > 200)
    assert "no heartbeat from system 1 on udpin:127.0.0.1:0" in deck.health.state["vehicle"]
    assert sum("no heartbeat" in record.message for record in caplog.records) == 1
    assert "is the autopilot powered" in deck.pilot.status()["link"]
    assert deck.pilot.status()["phase"] == "boot"
    assert isinstance(deck.pilot.fly("patrol", "op"), Refusal)
    assert deck.health.stuck() == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_link_that_dies_escapes_as_a_driver_error():
    class Broken(Udp):
        async def receive(self, timeout_s: float) -> bytes:
            raise DriverError("udpin: gone")

    with pytest.raises(DriverError, match="gone"):
        await Deck(Broken("127.0.0.1", 0, 1, listen=True)).pilot.run()
