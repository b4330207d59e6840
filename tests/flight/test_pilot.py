"""The part itself: a whole flight through its driver, and vehicles that are not there."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from edge_agent import config
from edge_agent.flight.logbook import State
from edge_agent.flight.pilot import Pilot
from edge_agent.flight.signing import Signing
from edge_agent.flight.signing_key import KeptSigning
from edge_agent.flight.tlog import Tlog
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

    def __init__(self, vehicle=None, clock=None, store=None, **more) -> None:
        self.clock = clock or JumpingClock()
        self.health = Health(self.clock)
        self.store = store or Keeper()
        self.events: list[FlightEvent] = []
        self.telemetry: list[Telemetry] = []
        vehicle = vehicle or open_vehicle(config.SimulatedVehicle(), SITE, self.clock)
        self.pilot = Pilot(
            vehicle, site=SITE, limits=config.Limits(), routes=[PATROL], schedules=[], store=self.store,
            clock=self.clock, health=self.health, on_event=self.on_event, on_telemetry=self.telemetry.append,
            **more,
        )  # fmt: skip

    async def on_event(self, event: FlightEvent) -> None:
        self.events.append(event)

    async def until(self, done, within_s: float = 30.0) -> None:
        end = time.monotonic() + within_s
        while not done():
            assert time.monotonic() < end, self.pilot.status()
            await asyncio.sleep(0)


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
    await deck.until(lambda: deck.events[-1].phase == "landed")
    assert deck.pilot.status()["run"] is None
    assert deck.pilot.telemetry.landed
    assert [t.at_s for t in deck.telemetry] == sorted({t.at_s for t in deck.telemetry})
    task.cancel()


async def test_a_slow_receiver_of_events_does_not_let_the_autopilot_disarm_again():
    class Sluggish(Deck):
        async def on_event(self, event: FlightEvent) -> None:
            await super().on_event(event)
            await self.clock.sleep(7.0 if event.phase in ("arming", "starting") else 0.0)  # a disk under load

    deck = Sluggish()
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: ready(deck))
    assert isinstance(deck.pilot.fly("patrol", "op"), str)
    await deck.until(lambda: deck.events and deck.events[-1].phase in ("route", "failed"))
    assert [event.phase for event in deck.events][-4:] == ["arming", "starting", "climb", "route"]
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


class Slow(Keeper):
    """A disk that takes its time, and knows which thread wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self.released = threading.Event()
        self.released.set()

    def save(self, state: State) -> None:
        assert self.released.wait(10)
        self.threads.add(threading.get_ident())
        super().save(state)


async def test_the_disk_is_written_beside_the_loop_which_goes_on_meanwhile():
    store = Slow()
    deck = Deck(store=store)
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: ready(deck))
    store.released.clear()
    deck.pilot.fly("patrol", "op")
    for _ in range(100):  # the loop turns; nothing of the flight leaves before the disk has it
        await asyncio.sleep(0)
    assert deck.pilot.status()["phase"] == "gating"
    assert deck.events == []
    store.released.set()
    await deck.until(lambda: deck.events and deck.events[-1].phase == "route")
    assert threading.get_ident() not in store.threads
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_was_asked_last_is_on_disk_when_the_part_ends():
    deck = Deck()
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: ready(deck))
    run = deck.pilot.fly("patrol", "op")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deck.store.load().run.id == run


async def test_a_part_that_is_ended_while_the_disk_is_slow_leaves_no_writer_behind():
    store = Slow()
    deck = Deck(store=store)
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: ready(deck))
    store.released.clear()
    deck.pilot.fly("patrol", "op")
    for _ in range(100):
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    store.released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store.load().run.phase == "gating"


async def test_a_flight_leaves_its_telemetry_log(tmp_path):
    clock = JumpingClock()
    deck = Deck(clock=clock, tlog=Tlog(tmp_path, 10, clock.wall))
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: ready(deck))
    run = deck.pilot.fly("patrol", "op")
    await deck.until(lambda: deck.events and deck.events[-1].phase == "climb")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (log,) = tmp_path.glob("*.tlog")
    assert log.name.endswith(f"-{run}.tlog")
    assert log.stat().st_size > 10_000


async def test_packets_that_signing_refuses_are_named_in_the_status(tmp_path):
    clock = JumpingClock()
    signing = Signing(bytes(32), 0, now=clock.now)
    deck = Deck(clock=clock, signing=KeptSigning(signing, tmp_path / "clock"))
    task = asyncio.create_task(deck.pilot.run())
    await deck.until(lambda: signing.refused["unsigned"] > 0)
    assert "unsigned; has the autopilot the same key" in deck.pilot.status()["link"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "clock").exists()
