"""Whole flights of the pilot's core against the simulated autopilot, on a clock that jumps."""

from __future__ import annotations

import math

import msgspec
import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import config
from edge_agent.flight.budget import Budget
from edge_agent.flight.logbook import State
from edge_agent.flight.phases import Phase
from edge_agent.flight.sim_messages import MAKERS
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError

NOMINAL = [
    "gating", "uploading", "verifying", "readying", "arming", "starting", "climb", "route", "returning", "landing",
    "landed",
]  # fmt: skip
IN_THE_AIR = ["climb", "route", "returning", "landing"]
ON_THE_GROUND = ["gating", "uploading", "verifying", "readying"]


def test_a_patrol_is_flown_to_its_end_and_every_step_is_reported_in_order(world):
    run = world.fly()
    began = world.now
    world.until(lambda: world.commander.logbook.run is None)
    assert world.phases() == NOMINAL
    assert [event.seq for event in world.events] == list(range(1, len(NOMINAL) + 1))
    assert {event.run for event in world.events} == {run}
    assert world.is_home()
    assert [h["seq"] for h in world.autopilot.happenings if h["event"] == "reached"] == [1, 2, 3, 4, 5, 6]
    assert 45 < world.now - began < 75


def test_a_second_patrol_starts_from_the_first_item_again(world):
    for _ in range(2):
        world.fly()
        world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()
    assert [h["seq"] for h in world.autopilot.happenings if h["event"] == "reached"] == [1, 2, 3, 4, 5, 6] * 2


def test_on_the_ground_and_ready_means_that_what_is_aboard_was_read(world):
    def ready() -> bool:
        blocked = world.commander.blocked(None, world.now)
        return not any("being read" in refusal.reason for refusal in blocked)

    world.until("ground")
    assert ready()
    world.fly()
    world.until("verifying")
    world.commander.recall("op", world.now, world.wall)
    world.until("ground")
    assert ready()
    world.fly()
    world.until("landing")
    world.until("ground")
    assert ready()


def test_recall_on_the_route_brings_it_home_at_once(world):
    world.fly()
    world.until("route")
    world.wait(8)
    assert world.commander.recall("op", world.now, world.wall) is None
    world.until(lambda: world.commander.logbook.run is None)
    assert "recalled by op" in [event.cause for event in world.events]
    assert world.is_home()
    assert 6 not in [h.get("seq") for h in world.autopilot.happenings]


@pytest.mark.parametrize("phase", ON_THE_GROUND)
def test_recall_before_arming_calls_the_flight_off(world, phase):
    world.fly()
    world.until(phase) if world.commander.phase != phase else None
    assert world.commander.recall("op", world.now, world.wall) is None
    world.wait(20)
    assert world.phases()[-1] == "failed"
    assert world.events[-1].cause == "called off by op"
    assert "armed" not in world.happened()


@pytest.mark.parametrize("phase", ["arming", "starting"])
def test_recall_between_arming_and_take_off_ends_at_home_and_closes_the_run(world, phase):
    world.fly()
    world.until(phase)
    assert world.commander.recall("op", world.now, world.wall) is None
    world.until(lambda: world.commander.logbook.run is None and world.is_home())
    assert world.phases()[-1] in ("failed", "landed")
    assert max(up for *_, up in world.path) < 16
    world.wait(20)
    assert world.commander.phase == "ground"


def test_pause_holds_and_resume_goes_on_to_the_end(world):
    world.fly()
    world.until("route")
    world.wait(5)
    assert world.commander.pause("op", world.now) is None
    world.until("paused", within_s=5)
    world.wait(5)
    place = world.path[-1]
    world.wait(20)
    assert math.dist(place, world.path[-1]) < 1.0
    assert world.commander.resume("op", world.now) is None
    world.until("route", within_s=5)
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()
    assert [h["seq"] for h in world.autopilot.happenings if h["event"] == "reached"] == [1, 2, 3, 4, 5, 6]


def test_a_pause_that_nobody_ends_comes_home(world):
    world.fly()
    world.until("route")
    world.commander.pause("op", world.now)
    world.until("paused")
    world.until("returning", within_s=310)
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_land_lands_where_it_is(world):
    world.fly()
    world.until("route")
    world.wait(8)
    assert world.commander.land("op", world.now) is None
    world.until(lambda: world.commander.logbook.run is None)
    assert world.phases()[-2:] == ["landing", "landed"]
    state = world.autopilot.state
    assert not state.armed
    assert math.hypot(state.body.north_m, state.body.east_m) > 20


def test_recall_never_undoes_a_landing(world):
    world.fly()
    world.until("route")
    world.commander.land("op", world.now)
    world.until("landing")
    world.commander.recall("op", world.now, world.wall)
    world.until(lambda: world.commander.logbook.run is None)
    assert [h["mode"] for h in world.autopilot.happenings if h["event"] == "mode"][-1] == "LAND"


def test_a_low_battery_calls_it_home_before_the_autopilot_must(make_world):
    world = make_world(battery_pct=55.0)
    world.fly()
    world.until("route")
    world.autopilot.state.body.battery_pct = 29.9
    world.until("returning", within_s=10)
    assert "battery 29 %" in world.events[-1].cause
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_the_autopilots_own_failsafe_is_reported_as_such(world):
    world.fly()
    world.until("route")
    world.autopilot.state.body.battery_pct = 19.0
    world.until("returning", within_s=5)
    assert "Battery Failsafe" in world.events[-1].cause
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.5])
def test_a_mode_that_is_heard_before_its_reason_is_told_with_its_reason(world, after_s):
    world.fly()
    world.until("route")
    world.autopilot.set_mode("LAND", "failsafe")
    world.wait(after_s)
    world.autopilot._text(2, "EKF Failsafe: changed to LAND Mode")
    world.until("landing", within_s=1)
    assert world.events[-1].cause == "mode LAND: autopilot: EKF Failsafe: changed to LAND Mode"


def test_a_foreign_mode_change_is_yielded_to_and_never_fought(world):
    world.fly()
    world.until("route")
    world.wait(3)
    world.autopilot.set_mode("LOITER", "pilot")
    world.until("yielded", within_s=5)
    world.wait(60)
    assert world.autopilot.state.mode == "LOITER"
    assert "another controller" in world.events[-1].cause
    assert isinstance(world.commander.pause("op", world.now), Refusal)


def test_an_order_that_was_lost_is_not_repeated_into_the_hands_of_a_pilot(world):
    world.fly()
    world.until("route")
    world.wait(2)
    assert world.commander.recall("op", world.now, world.wall) is None
    world.cut = True
    world.turn()  # it is sent, and does not arrive
    world.cut = False
    world.autopilot.set_mode("LOITER", "pilot")
    world.until("yielded", within_s=5)
    world.wait(15)
    assert (world.autopilot.state.mode, world.commander.phase) == ("LOITER", "yielded")
    assert world.commander.recall("op", world.now, world.wall) is None  # a new order is another matter
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


@pytest.mark.parametrize("mode", ["RTL", "LAND"])
def test_a_resume_that_was_lost_is_not_repeated_into_a_failsafe(world, mode):
    world.fly()
    world.until("route")
    world.wait(2)
    assert world.commander.pause("op", world.now) is None
    world.until("paused")
    world.wait(2)
    assert world.commander.resume("op", world.now) is None
    world.cut = True
    world.turn()  # it is sent, and does not arrive
    world.cut = False
    world.autopilot.set_mode(mode, "failsafe")
    for _ in range(60):
        world.turn()
        assert world.autopilot.state.mode == mode
    assert world.commander.phase in ("returning", "landing")


def test_an_arming_that_was_lost_is_not_repeated_once_the_flight_is_called_off(world, monkeypatch):
    def lossy(data):
        said = mavlink.MAVLink(None).parse_buffer(data) or []
        arms = mavlink.MAV_CMD_COMPONENT_ARM_DISARM
        return b"" if any(getattr(message, "command", None) == arms for message in said) else data

    monkeypatch.setattr(world, "_air", lossy)
    world.fly()
    world.until("arming")
    world.wait(3)
    assert world.commander.recall("op", world.now, world.wall) is None
    monkeypatch.undo()
    world.wait(12)
    assert "armed" not in world.happened()
    assert world.commander.phase == "ground"


def test_a_person_may_resume_after_somebody_else_flew(world):
    world.fly()
    world.until("route")
    world.autopilot.set_mode("LOITER", "pilot")
    world.until("yielded")
    assert world.commander.resume("op", world.now) is None
    world.until("route", within_s=10)
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_a_resume_that_comes_to_be_done_on_the_ground_is_not_done(world):
    world.fly()
    world.until("route")
    world.autopilot.set_mode("LOITER", "pilot")
    world.until("yielded")
    assert world.commander.resume("op", world.now) is None
    touch_down(world)  # while the mission is read back
    world.wait(5)
    assert world.autopilot.state.mode == "LOITER"
    refusal = world.commander.resume("op", world.now)
    assert isinstance(refusal, Refusal)
    assert "let it land" in refusal.remedy


def test_a_resume_that_the_vehicle_has_not_heard_is_not_repeated_on_the_ground(world):
    world.fly()
    world.until("route")
    assert world.commander.pause("op", world.now) is None
    world.until("paused")
    assert world.commander.resume("op", world.now) is None
    world.commander.turn(world.now, world.wall)
    world.commander.link.tick(world.now)
    world.commander.link.data_to_send()  # lost
    touch_down(world)
    world.wait(5)
    assert world.autopilot.state.mode == "BRAKE"


def touch_down(world):
    world.autopilot.state.body.up_m = 0.0
    world.autopilot._send(MAKERS[mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE](world.autopilot.state))


def test_a_person_cannot_resume_a_mission_that_somebody_replaced(world):
    world.fly()
    world.until("route")
    world.autopilot.set_mode("LOITER", "pilot")
    world.until("yielded")
    world.autopilot.state.items[4] = world.autopilot.state.items[3]
    world.commander.resume("op", world.now)
    world.wait(20)
    assert world.autopilot.state.mode == "LOITER"
    assert world.commander.phase == "yielded"


def test_a_person_may_recall_after_somebody_else_flew(world):
    world.fly()
    world.until("route")
    world.autopilot.set_mode("LOITER", "pilot")
    world.until("yielded")
    assert world.commander.recall("op", world.now, world.wall) is None
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_a_mission_replaced_in_the_air_is_yielded_to(world):
    world.fly()
    world.until("route")
    world.autopilot.state.items.pop(4)
    world.until("yielded", within_s=5)
    assert "not the one verified" in world.events[-1].cause


@pytest.mark.parametrize("phase", [*ON_THE_GROUND, "arming"])
def test_an_agent_killed_before_arming_leaves_the_drone_on_the_ground_and_closes_the_run(world, phase):
    world.fly()
    world.until(phase) if world.commander.phase != phase else None
    world.start()
    world.until(lambda: world.commander.logbook.run is None and world.commander.phase == "ground")
    assert world.phases()[-1] == "failed"
    assert world.happened().count("armed") <= 1
    assert max(up for *_, up in world.path) == 0


def test_an_agent_killed_between_arming_and_the_start_lets_the_autopilot_disarm_itself(world):
    world.fly()
    world.until("starting")
    assert world.autopilot.state.armed
    world.start()
    world.until(lambda: world.commander.logbook.run is None and world.commander.phase == "ground", within_s=30)
    assert world.phases()[-1] == "failed"
    assert [h["why"] for h in world.autopilot.happenings if h["event"] == "disarmed"] == ["disarm delay"]
    assert max(up for *_, up in world.path) == 0


@pytest.mark.parametrize("away_s", [0.5, 20.0])
@pytest.mark.parametrize("phase", IN_THE_AIR)
def test_an_agent_killed_in_the_air_changes_nothing_of_the_path_and_reports_on(make_world, phase, away_s):
    control = make_world()
    control.fly()
    control.until(lambda: control.commander.logbook.run is None)

    world = make_world()
    run = world.fly()
    world.until(phase)
    world.wait(1.0)
    modes = [h for h in world.autopilot.happenings if h["event"] == "mode"]
    end = world.now + away_s
    while world.now < end:
        world.live()
        world.autopilot.data_to_send()
    world.start()
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()
    assert [h for h in world.autopilot.happenings if h["event"] == "mode"] == modes
    assert max(math.dist(a, b) for a, b in zip(control.path, world.path, strict=False)) < 0.01
    assert {event.run for event in world.events} == {run}
    assert [event.seq for event in world.events] == list(range(1, len(world.events) + 1))
    assert world.phases()[-1] == "landed"


def test_an_agent_killed_while_paused_still_brings_it_home(world):
    world.fly()
    world.until("route")
    world.commander.pause("op", world.now)
    world.until("paused")
    world.wait(100)
    world.start()
    world.until("paused", within_s=10)
    world.until("returning", within_s=205)  # the pause began before the restart
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_a_restart_never_starts_a_flight(world):
    world.fly()
    world.until("verifying")
    world.start()
    world.wait(120)
    assert "armed" not in world.happened()


def test_events_that_were_not_handed_over_are_after_a_restart(world):
    world.until("ground")
    world.wait(3)
    world.commander.fly("patrol", "test", world.now, world.wall)
    assert [event.phase for event in world.commander.logbook.unsent] == ["gating"]
    world.save()
    world.start()
    world.turn()
    assert world.phases()[0] == "gating"


def test_a_link_that_breaks_on_the_route_is_found_again_without_a_command(world):
    world.fly()
    world.until("route")
    world.cut = True
    world.until("link_down", within_s=6)
    world.wait(8)
    world.cut = False
    modes = world.happened().count("mode")
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()
    assert world.happened().count("mode") == modes
    assert "attached: on the route" in [event.cause for event in world.events]


def test_a_flight_goes_well_over_a_link_that_loses_a_tenth(world):
    world.loss = 0.1
    world.until("ground")
    world.wait(10)
    run = world.commander.fly("patrol", "test", world.now, world.wall)
    assert isinstance(run, str), run
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()
    assert world.phases()[-1] == "landed"


def test_a_vehicle_armed_by_somebody_else_is_left_alone(world):
    world.until("ground")
    world.wait(3)
    world.autopilot._arm_disarm(arm=True, force=False)
    world.until("foreign", within_s=5)
    refusal = world.commander.fly("patrol", "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert refusal.value == "foreign"


def test_a_disarm_in_the_air_locks_out_until_a_person_clears_it(world):
    world.fly()
    world.until("route")
    world.autopilot._disarm("forced")
    world.until("lockout", within_s=5)
    assert isinstance(world.commander.fly("patrol", "op", world.now, world.wall), Refusal)
    world.start()
    world.wait(10)
    assert world.commander.phase is Phase.LOCKOUT
    assert world.commander.clear(world.now, world.wall) is None
    world.until("ground")
    assert world.commander.logbook.run is None


def orders(world):
    now, wall, pilot = world.now, world.wall, world.commander
    return {
        "fly": lambda: pilot.fly("patrol", "op", now, wall),
        "pause": lambda: pilot.pause("op", now),
        "resume": lambda: pilot.resume("op", now),
        "recall": lambda: pilot.recall("op", now, wall),
        "land": lambda: pilot.land("op", now),
    }


@pytest.mark.parametrize(
    ("asked", "phase", "wants", "remedy"),
    [
        ("pause", "ground", "route", "fly a route first"),
        ("resume", "ground", "paused, yielded", "fly a route first"),
        ("land", "ground", "climb, route, transit, on_scene, paused, returning, landing, yielded", "fly a route first"),
        ("recall", "ground", "climb, route, transit, on_scene, paused", "fly a route first"),
        ("pause", "boot", "route", "check the vehicle's power"),
        ("resume", "route", "paused, yielded", "pause holds it, recall brings it home"),
        ("pause", "returning", "route", "let it land, then fly again"),
        ("resume", "returning", "paused, yielded", "let it land, then fly again"),
        ("pause", "yielded", "route", "resume takes over again"),
        ("land", "starting", "climb, route", "recall calls the flight off"),
        ("fly", "route", "ground", "recall brings it home"),
        ("recall", "lockout", "climb, route", "clear the lockout"),
    ],
)
def test_a_refusal_speaks_the_words_of_who_asked_with_the_phase_and_the_remedy(world, asked, phase, wants, remedy):
    reach(world, phase)
    refusal = orders(world)[asked]()
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(f"cannot {asked}")
    assert refusal.value == phase
    assert wants in refusal.limit
    assert remedy in refusal.remedy
    assert not {"BRAKE", "AUTO", "RTL", "LAND"} & set(str(refusal).replace(";", " ").split())


@pytest.mark.parametrize("asked", ["pause", "resume"])
def test_what_only_a_safer_mode_may_end_is_told_in_the_words_of_who_asked(world, asked):
    reach(world, "route" if asked == "pause" else "yielded")
    world.autopilot.set_mode("LAND", "pilot")
    world.commander.link.receive(world.autopilot.data_to_send(), world.now)  # heard, and not yet acted on
    refusal = orders(world)[asked]()
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(f"cannot {asked}")
    assert "let it land" in refusal.remedy


def reach(world, phase):
    if phase == "boot":
        return
    if phase == "ground":
        world.until("ground")
        return
    world.fly()
    world.until("starting" if phase == "starting" else "route")
    match phase:
        case "returning":
            world.commander.recall("op", world.now, world.wall)
        case "yielded":
            world.autopilot.set_mode("LOITER", "pilot")
        case "lockout":
            world.autopilot._disarm("forced")
    world.until(phase)


def test_an_unknown_route_is_refused_with_the_known_ones(world):
    refusal = world.commander.fly("nope", "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert refusal.limit == "patrol"


def test_a_gate_that_fails_keeps_it_on_the_ground(make_world):
    world = make_world(battery_pct=40.0)
    world.until("ground")
    world.wait(3)
    refusal = world.commander.fly("patrol", "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert (refusal.gate, refusal.value, refusal.limit) == ("gate.battery", "40 %", "50 %")


def test_a_store_that_fails_keeps_it_on_the_ground(world, monkeypatch):
    world.until("ground")
    world.wait(3)

    def full(state: object) -> None:
        raise DriverError("state.json: No space left on device")

    monkeypatch.setattr(world.keeper, "save", full)
    world.commander.fly("patrol", "op", world.now, world.wall)
    world.wait(10)
    assert "armed" not in world.happened()
    assert "No space left" in str(world.events[-1].refusal)


def test_nothing_of_a_phase_is_begun_before_the_disk_knows_of_the_phase(world, monkeypatch):
    world.fly()
    world.until("readying")
    world.sent.clear()

    def full(state: State) -> None:
        raise DriverError("state.json: No space left on device")

    monkeypatch.setattr(world.keeper, "save", full)  # the last save before arming fails
    world.wait(20)
    parser = mavlink.MAVLink(None)
    commands = [m.command for m in parser.parse_buffer(b"".join(world.sent)) or () if m.get_type() == "COMMAND_LONG"]
    assert mavlink.MAV_CMD_COMPONENT_ARM_DISARM not in commands
    assert "armed" not in world.happened()
    assert world.phases()[-1] == "failed"


def test_an_agent_killed_before_its_order_was_saved_flies_nothing(world):
    world.until("ground")
    world.wait(3)
    assert world.commander.fly("patrol", "test", world.now, world.wall) == "RUN0"
    world.start()
    world.wait(60)
    assert world.commander.logbook.run is None
    assert world.events == []


def test_what_is_given_to_the_disk_does_not_change_while_it_is_written(make_world):
    world = make_world(schedules=[DAILY], wall_s=NOON_S - 30)
    world.until("ground")
    book = world.commander.logbook
    before = book.to_save()
    copy = msgspec.json.encode(before)
    world.until("route", within_s=200)
    assert msgspec.json.encode(before) == copy
    assert msgspec.json.encode(book.to_save()) != copy


def test_a_store_that_fails_in_the_air_does_not_end_the_flight(world, monkeypatch):
    world.fly()
    world.until("route")

    def full(state: object) -> None:
        raise DriverError("state.json: No space left on device")

    monkeypatch.setattr(world.keeper, "save", full)
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_the_launch_commands_come_in_their_order_and_none_is_forced(world):
    world.fly()
    world.until("route")
    parser = mavlink.MAVLink(None)
    commands = [m for m in parser.parse_buffer(b"".join(world.sent)) if m.get_type() == "COMMAND_LONG"]
    sent = [(m.command, m.param1, m.param2) for m in commands if m.command != 511]
    assert sent == [(176, 1, 4), (224, 1, 0), (400, 1, 0), (176, 1, 3), (300, 0, 0)]


def test_it_listens_for_three_seconds_before_it_decides(world):
    world.until("attaching")
    began = world.now
    world.until("ground")
    assert world.now - began >= 3


def test_what_the_battery_was_seen_to_pay_outlives_the_agent_but_not_another_profile(world):
    world.fly()
    world.until("route")
    world.commander.budget.meter.ratio = 1.4
    world.until("returning")
    world.start()
    assert world.commander.budget.ratio == pytest.approx(world.keeper.load().paid[1]) == pytest.approx(1.4, abs=0.3)
    assert world.commander.budget.ratio > 1
    other = Budget(config.Airframe(hover_w=500.0))
    other.recall(world.keeper.load().paid)
    assert other.ratio == 1


def test_in_the_air_a_mission_read_back_as_ours_says_enough_after_one_second(world):
    world.fly()
    world.until("route")
    world.start()
    world.until("attaching")
    began = world.now
    world.until("route")
    assert 1 <= world.now - began < 2.5


def test_in_the_air_a_mission_that_is_not_ours_is_listened_to_for_longer(world):
    world.fly()
    world.until("route")
    world.autopilot.state.items.pop(4)
    world.start()
    world.until("attaching")
    began = world.now
    world.until("yielded")
    assert world.now - began >= 3


def test_a_mission_that_is_not_the_one_sent_is_sent_again_and_then_the_run_fails(world):
    world.fly()
    for _ in range(3):
        world.until("verifying")
        world.autopilot.state.items[4] = world.autopilot.state.items[3]
        world.until(lambda: world.commander.phase != "verifying")
    world.wait(5)
    assert world.phases().count("uploading") == 3
    assert world.phases()[-1] == "failed"
    assert "aboard" in world.events[-1].cause
    assert "armed" not in world.happened()


def test_a_home_that_moves_when_it_arms_is_not_left_from(world):
    world.fly()
    world.until("starting")
    world.autopilot.state.home = (80.0, 0.0)
    world.until(lambda: world.commander.logbook.run is None, within_s=40)
    assert world.phases()[-2:] == ["aborting", "failed"]
    assert world.events[-1].refusal.gate == "gate.home"
    assert max(up for *_, up in world.path) == 0


@pytest.mark.parametrize("phase", ["uploading", "verifying", "readying"])
def test_a_vehicle_that_somebody_else_arms_meanwhile_is_not_launched(world, phase):
    world.fly()
    world.until(phase)
    world.autopilot._arm_disarm(arm=True, force=True)
    world.until(lambda: world.commander.logbook.run is None, within_s=20)
    assert world.phases()[-1] == "failed"
    assert world.events[-1].cause == "armed by somebody else"
    assert "mission started" not in world.happened()


def test_a_mode_that_somebody_else_sets_during_the_start_is_yielded_to(world):
    world.fly()
    world.until("starting")
    world.autopilot.set_mode("STABILIZE", "pilot")
    world.wait(3)
    world.autopilot.set_mode("STABILIZE", "pilot")
    world.until(lambda: world.commander.logbook.run is None, within_s=40)
    assert "yielded" in world.phases()
    assert max(up for *_, up in world.path) == 0


DAILY = config.Schedule(id="daily", route="patrol", cron="0 12 * * *", grace_s=600)
NOON_S = 1_780_056_000.0  # 2026-05-29T12:00:00Z


def test_a_schedule_starts_its_flight_once(make_world):
    world = make_world(schedules=[DAILY], wall_s=NOON_S - 30)
    world.until(lambda: world.phases()[-1:] == ["landed"], within_s=200)
    world.wait(700)
    assert world.phases() == NOMINAL
    assert {event.by for event in world.events} == {"schedule:daily"}
    assert NOON_S <= world.events[0].wall_s < NOON_S + 2


def test_a_scheduled_flight_waits_for_its_gates_within_its_grace(make_world):
    world = make_world(schedules=[DAILY], wall_s=NOON_S - 30, battery_pct=40.0)
    world.wait(120)
    assert world.events == []
    world.autopilot.state.body.battery_pct = 90.0
    world.until("route", within_s=60)


def test_a_scheduled_flight_that_no_gate_lets_pass_is_missed_with_the_reason(make_world):
    world = make_world(schedules=[DAILY], wall_s=NOON_S - 30, battery_pct=40.0)
    world.wait(700)
    assert world.phases() == ["missed"]
    assert "gate.battery" in world.events[0].cause
    assert "armed" not in world.happened()
