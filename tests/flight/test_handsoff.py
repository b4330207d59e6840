"""The pilot's switch: in whatever phase it is turned, the agent says so, sends nothing, and comes back by an order."""

from __future__ import annotations

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import config
from edge_agent.flight import sim_messages
from edge_agent.flight.phases import HANDS_OFF
from edge_agent.messages import Refusal
from tests.flight.test_dispatch import order, send

CHANNEL = 8


@pytest.fixture
def world(make_world):
    made = make_world(limits=config.Limits(hands_off_channel=CHANNEL, max_on_scene_s=60))
    switch(made, 1900)
    return made


def switch(world, pulse_us: int) -> None:
    world.autopilot.state.rc_us = (*[1500] * (CHANNEL - 1), pulse_us)


def off(world) -> None:
    switch(world, 1100)
    world.until("yielded", within_s=3)
    assert HANDS_OFF in [event.cause for event in world.events]
    world.sent.clear()


def acts(world) -> list[str]:
    return [event["event"] for event in world.autopilot.happenings if event["event"] in ("mode", "current", "disarmed")]


@pytest.mark.parametrize("phase", ["climb", "route", "returning"])
def test_hands_off_lets_the_plan_aboard_fly_on_to_its_end_at_home(world, phase):
    world.fly()
    world.until(phase)
    before = len(acts(world))
    off(world)
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()
    assert world.phases()[-2:] == ["yielded", "landed"]
    assert "mode" not in acts(world)[before:]


def test_over_a_place_every_order_is_refused_until_the_switch_is_back_and_then_one_is_needed(world):
    world.until("ground")
    world.until(lambda: world.autopilot.state.time_s > 6)
    send(world, order(hover_s=50))
    world.until("on_scene")
    off(world)
    at = (world.now, world.wall)
    commander = world.commander
    refusals = [commander.recall("op", *at), commander.resume("op", at[0]), commander.land("op", at[0])]
    assert {refusal.gate for refusal in refusals if isinstance(refusal, Refusal)} == {"pilot.hands_off"}
    assert isinstance(commander.dispatch(order(0, 40), "op", *at), Refusal)
    assert isinstance(commander.extend(5, at[0]), Refusal)
    switch(world, 1900)
    world.wait(5)
    assert commander.phase == "yielded"
    assert commander.resume("op", world.now) is None
    world.until("on_scene", within_s=5)
    world.until(lambda: commander.logbook.run is None)
    assert world.is_home()


def test_a_place_that_was_being_written_is_dropped(world):
    world.fly()
    world.until("route")
    send(world, order(60, 30))
    world.turn()
    off(world)
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()
    assert not world.commander.logbook.next


def test_a_restarted_agent_finds_the_switch_as_it_is(world):
    world.fly()
    world.until("route")
    off(world)
    world.start()
    world.until("yielded", within_s=20)
    assert HANDS_OFF in world.events[-1].cause
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_turned_before_arming_nothing_is_armed(world):
    world.fly()
    switch(world, 1100)
    world.until(lambda: world.commander.logbook.run is None)
    assert "armed" not in world.happened()
    assert world.events[-1].refusal.gate == "gate.remote"


def test_seen_turned_while_it_arms_no_flight_is_begun(world):
    world.fly()
    world.until("arming")
    switch(world, 1100)
    turned = sim_messages.rc_channels(world.autopilot.state)
    world.commander.link.receive(turned.pack(mavlink.MAVLink(None, srcSystem=1, srcComponent=1)), world.now)
    world.until(lambda: world.commander.logbook.run is None)
    assert world.phases()[-3:] == ["arming", "aborting", "failed"]
    assert "AUTO" not in [event.get("mode") for event in world.autopilot.happenings if event["event"] == "mode"]
    assert "mission started" not in world.happened()


def test_a_start_that_was_lost_is_not_repeated_once_the_switch_is_over(world, monkeypatch):
    def lossy(data):
        said = mavlink.MAVLink(None).parse_buffer(data) or []
        start = mavlink.MAV_CMD_MISSION_START
        return b"" if any(getattr(message, "command", None) == start for message in said) else data

    monkeypatch.setattr(world, "_air", lossy)
    world.fly()
    world.until("starting")
    world.wait(1)
    switch(world, 1100)
    world.until("aborting", within_s=3)
    monkeypatch.undo()
    world.until(lambda: world.commander.logbook.run is None)
    assert "mission started" not in world.happened()
    assert world.phases()[-2:] == ["aborting", "failed"]


def test_an_order_that_was_lost_is_not_repeated_once_the_switch_is_over(world):
    world.fly()
    world.until("route")
    world.wait(2)
    assert world.commander.pause("op", world.now) is None
    world.cut = True
    world.turn()  # it is sent, and does not arrive
    world.cut = False
    before = len(acts(world))
    switch(world, 1100)
    turned = sim_messages.rc_channels(world.autopilot.state)
    world.commander.link.receive(turned.pack(mavlink.MAVLink(None, srcSystem=1, srcComponent=1)), world.now)
    world.until(lambda: world.commander.logbook.run is None)
    assert "mode" not in acts(world)[before:]
    assert world.is_home()


def test_a_remote_control_that_falls_silent_wants_nothing(world):
    world.fly()
    world.until("route")
    world.autopilot.state.rc_us = ()
    world.until(lambda: world.commander.logbook.run is None)
    assert "yielded" not in world.phases()
