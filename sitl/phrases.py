"""What a scenario can say, and what each sentence does. Times are the vehicle's; places are metres from home."""

from __future__ import annotations

import asyncio
import json
import math
import signal
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sitl import control, rival, verdict
from sitl.agent import Agent
from sitl.language import Phrasebook
from sitl.station import MODES
from sitl.world import FLIGHT_S, POLL_S, ZONE, World

phrase = Phrasebook()
READY_S = 120.0
HANDS_ON_US, HANDS_OFF_US = 1900, 1100
AHEAD = (
    "gating", "uploading", "verifying", "readying", "arming", "starting", "climb", "route", "transit", "on_scene",
    "returning", "landing", "landed", "ground",
)  # fmt: skip
SQUARE = [(60.0, 0.0), (60.0, 60.0), (0.0, 60.0), (0.0, 30.0)]
LONG = [(150.0, 0.0), (150.0, 40.0), (0.0, 40.0)]
ROUTES = {"square": (SQUARE, 20.0), "long": (LONG, 20.0)}
SMALL = 5.0  # the simulated autopilot flies smaller routes: they are a test of the agent, not of the flying
MESSAGES = {
    "mission item": mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT,
    "mission acknowledgement": mavlink.MAVLINK_MSG_ID_MISSION_ACK,
    "command acknowledgement": mavlink.MAVLINK_MSG_ID_COMMAND_ACK,
}

# --- what there is ----------------------------------------------------------------------------------------------------


@phrase("a drone at home with the patrol {route}")
async def drone_at_home(world: World, route: str) -> None:
    corners, alt_m = shape(world, route)
    world.route(route, corners, alt_m)
    await world.start()
    await world.start_agent()
    await world.until(lambda: world.phase == "ground" and not world.blocked, READY_S, "ready to fly")


@phrase("a drone at home with the patrol {route}, scheduled in {minutes} minutes")
async def scheduled(world: World, route: str, minutes: float) -> None:
    when = datetime.fromtimestamp(world.clock.wall(), ZoneInfo(ZONE)) + timedelta(minutes=minutes)
    world.agent.settings["schedule"] = [
        {"id": "round", "route": route, "rrule": "FREQ=DAILY;COUNT=1", "dtstart": f"{when:%Y-%m-%dT%H:%M:%S}"}
    ]
    await drone_at_home(world, route)


@phrase("a drone at home with the patrol {route}, and a centre that never answers")
async def no_centre(world: World, route: str) -> None:
    world.agent.settings["mqtt"] = {"port": 9, "plain": True}  # discard: nobody listens there
    await drone_at_home(world, route)


@phrase("a drone at home with the patrol {route}, and a hands-off switch on channel {channel}")
async def with_switch(world: World, route: str, channel: int) -> None:
    world.agent.settings["limits"] = {"hands_off_channel": channel}
    world.station.transmit(pulses={channel: HANDS_ON_US})
    await drone_at_home(world, route)


@phrase("a drone that was just switched on, with the patrol {route}")
async def drone_switched_on(world: World, route: str) -> None:
    corners, alt_m = shape(world, route)
    world.route(route, corners, alt_m)
    await world.start()
    await world.start_agent()


@phrase("the parameter {name} is {value}")
async def parameter(world: World, name: str, value: float) -> None:
    await world.station.set(name, value)


@phrase("the agent's limit {name} is {value}")
async def limit(world: World, name: str, value: float) -> None:
    world.agent.settings.setdefault("limits", {})[name] = value
    await world.agent.stop()
    await world.start_agent()


@phrase("a ground station is connected")
async def station_connected(world: World) -> None:
    world.station.present = True


@phrase("the ground station goes silent")
async def station_silent(world: World) -> None:
    world.station.present = False


def shape(world: World, route: str) -> tuple[list[tuple[float, float]], float]:
    """The corners of a route, in metres north and east of home, and its height."""
    corners, alt_m = ROUTES[route]
    if world.vehicle.real:
        return corners, alt_m
    return [(north_m / SMALL, east_m / SMALL) for north_m, east_m in corners], alt_m / 3


def _from(phase: str) -> tuple[str, ...]:
    """A phase of an undisturbed flight and those behind it, for what passes too quickly to be seen."""
    return AHEAD[AHEAD.index(phase) :]


# --- the link ---------------------------------------------------------------------------------------------------------


@phrase("the link loses {percent} % of all messages, and doubles and swaps some")
async def lossy(world: World, percent: float) -> None:
    for air in (world.wire.up, world.wire.down):
        air.drop, air.duplicate, air.reorder = percent / 100, 0.05, 0.05


@phrase("the link damages {percent} % of all messages")
async def damaging(world: World, percent: float) -> None:
    for air in (world.wire.up, world.wire.down):
        air.flip = percent / 100


@phrase("the link is {seconds} s late")
async def late(world: World, seconds: float) -> None:
    for air in (world.wire.up, world.wire.down):
        air.delay_s = seconds


@phrase("the link is good again")
async def healed(world: World) -> None:
    world.wire.up.heal()
    world.wire.down.heal()


@phrase("the link is cut for {seconds} s")
async def cut(world: World, seconds: float) -> None:
    world.wire.up.partition = world.wire.down.partition = True
    await world.wait(seconds)
    world.wire.up.partition = world.wire.down.partition = False


@phrase("the cable is pulled and put in again")
async def pulled(world: World) -> None:
    world.wire.break_connections()


@phrase("the vehicle's next {count} {message} messages are lost")
async def lose_next(world: World, count: int, message: str) -> None:
    world.wire.down.lose_next[MESSAGES[message]] = count


# --- the agent --------------------------------------------------------------------------------------------------------


@phrase("the patrol {route} is ordered")
async def ordered(world: World, route: str) -> None:
    reply = await world.insist("fly", route=route)
    assert reply.get("state") == "accepted", f"the agent answers {reply}"


@phrase("the patrol {route} is refused because of {reason}")
async def refused(world: World, route: str, reason: str) -> None:
    reply = await world.agent.order("fly", route=route)
    assert reply.get("state") not in ("accepted", "done"), f"the agent answers {reply}"
    assert reason in str(reply.get("reason")), f"the agent answers {reply}"


@phrase("the patrol {route} is refused because of {reason} within {seconds} s")
async def refused_within(world: World, route: str, reason: str, seconds: float) -> None:
    """Other gates may still be waiting, for the position or the EKF."""
    end = world.clock.now() + seconds
    while True:
        reply = await world.agent.order("fly", route=route)
        assert reply.get("state") not in ("accepted", "done"), f"the agent answers {reply}"
        if reason in str(reply.get("reason")):
            return
        assert world.clock.now() < end, f"the agent answers {reply}"
        await asyncio.sleep(POLL_S)


@phrase("the operator asks to {what}")
async def asks(world: World, what: str) -> None:
    reply = await world.agent.order(what)
    if what == "resume":
        world.resumed_s.append(world.clock.now())
    assert reply.get("state") in ("accepted", "done"), f"the agent answers {reply}"


@phrase("the agent refuses to {what}")
async def refuses(world: World, what: str) -> None:
    reply = await world.agent.order(what)
    assert reply.get("state") not in ("accepted", "done"), f"the agent answers {reply}"


@phrase("the agent is in {phase}")
async def in_phase(world: World, phase: str) -> None:
    await world.until_phase((phase,), FLIGHT_S)  # an undisturbed flight has every phase once


@phrase("the agent is in {phase} or beyond")
async def in_phase_or_beyond(world: World, phase: str) -> None:
    await world.until_from(_from(phase), FLIGHT_S)


@phrase("the agent is in {phase} within {seconds} s, or beyond")
async def in_phase_or_beyond_within(world: World, phase: str, seconds: float) -> None:
    await world.until_from(_from(phase), seconds)


@phrase("the agent is in {phase} again within {seconds} s, or beyond")
async def again(world: World, phase: str, seconds: float) -> None:
    begin_s = world.clock.now()
    await world.until_from(_from(phase), seconds)
    world.tell(f"    re-attached after {world.clock.now() - begin_s:.1f} s of the vehicle's time")


@phrase("the agent is ready again")
async def ready_again(world: World) -> None:
    await world.until(lambda: world.phase == "ground" and not world.blocked, READY_S, "ready to fly")


@phrase("the drone is down")
async def is_down(world: World) -> None:
    await world.until(lambda: world.station.on_ground and not world.station.armed, FLIGHT_S, "landed and disarmed")


@phrase("the agent is in {phase} within {seconds} s")
async def in_phase_within(world: World, phase: str, seconds: float) -> None:
    await world.until_phase((phase,), seconds)


@phrase("the agent stays in {phase} for {seconds} s")
async def stays(world: World, phase: str, seconds: float) -> None:
    end = world.clock.now() + seconds
    while world.clock.now() < end:
        assert world.phase == phase, f"it is in {world.phase}"
        await asyncio.sleep(0.01)


@phrase("the agent is killed")
async def killed(world: World) -> None:
    await world.agent.kill()
    world.phases.append((world.clock.now(), "killed"))


@phrase("the agent is started again")
async def started(world: World) -> None:
    await world.start_agent()


@phrase("the agent is killed as soon as it has sent mission item {count}")
async def killed_at_item(world: World, count: int) -> None:
    number = mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT
    before = world.wire.count(number)
    await world.until(lambda: world.wire.count(number) >= before + count, 60, f"mission item {count} on the wire")
    await killed(world)


@phrase("the agent hangs for {seconds} s")
async def hangs(world: World, seconds: float) -> None:
    world.agent.pause()
    await world.wait(seconds)
    world.agent.go_on()


@phrase("the computer's clock jumps by {seconds} s")
async def clock_jumps(world: World, seconds: float) -> None:
    world.clock.step_wall(seconds)


@phrase("the agent goes through {phases}")
async def goes_through(world: World, phases: str) -> None:
    wanted = [word.strip() for word in phases.split(",")]
    told = [event["phase"] for event in world.agent.events()]
    rest = iter(told)
    assert all(phase in rest for phase in wanted), f"it went through {', '.join(told)}"


@phrase("the agent says that {words}")
async def says(world: World, words: str) -> None:
    causes = [event["cause"] for event in world.agent.events()]
    assert any(words in cause for cause in causes), f"it says {'; '.join(causes)}"


@phrase("the agent is in {phase} for the {count}. time within {seconds} s")
async def in_phase_times(world: World, phase: str, count: int, seconds: float) -> None:
    times = f"{phase} for the {count}. time"
    await world.until(lambda: [seen for _, seen in world.phases].count(phase) >= count, seconds, times)


@phrase("the agent never goes through {phase}")
async def never_through(world: World, phase: str) -> None:
    told = [event["phase"] for event in world.agent.events()]
    assert phase not in told, f"it went through {', '.join(told)}"


@phrase("the agent flies nothing for {seconds} s")
async def flies_nothing(world: World, seconds: float) -> None:
    end = world.clock.now() + seconds
    while world.clock.now() < end:
        assert not world.station.armed, "the vehicle is armed"
        await asyncio.sleep(0.01)


@phrase("the vehicle was never armed")
async def never_armed(world: World) -> None:
    assert world.station.lifted_s is None, "it took off"
    sent = [c for c in verdict.commands(world.wire.sent) if c.what.startswith("COMPONENT_ARM_DISARM(1")]
    assert not sent, f"the agent sent {sent}"


@phrase("the agent sent {count} commands to {what}")
async def sent_count(world: World, count: int, what: str) -> None:
    starts = {"arm": "COMPONENT_ARM_DISARM(1", "start": "MISSION_START", "upload": "MISSION_COUNT"}[what]
    sent = [act for act in verdict.commands(world.wire.sent) if act.what.startswith(starts) and not act.again]
    assert len(sent) == count, f"it sent {len(sent)}: {sent}"


# --- sent to a place --------------------------------------------------------------------------------------------------


async def send_to(world: World, north_m: float, east_m: float, alt_m: float, hover_s: float) -> dict[str, object]:
    place = world.place(north_m, east_m)
    return await world.agent.order("dispatch", **place, alt_m=alt_m, hover_s=hover_s)


@phrase("a dispatch {north_m} m north and {east_m} m east, {alt_m} m high for {hover_s} s, is ordered")
async def dispatched(world: World, north_m: float, east_m: float, alt_m: float, hover_s: float) -> None:
    reply = await world.insist("dispatch", **world.place(north_m, east_m), alt_m=alt_m, hover_s=hover_s)
    assert reply.get("state") == "accepted", f"the agent answers {reply}"


@phrase(
    "an orbit around {north_m} m north and {east_m} m east, {alt_m} m high, {out_m} m out for {hover_s} s, is ordered"
)
async def orbit_ordered(
    world: World, north_m: float, east_m: float, alt_m: float, out_m: float, hover_s: float
) -> None:
    place = world.place(north_m, east_m)
    reply = await world.insist("dispatch", **place, alt_m=alt_m, hover_s=hover_s, orbit_m=out_m)
    assert reply.get("state") == "accepted", f"the agent answers {reply}"


@phrase(
    "it flew around {north_m} m north and {east_m} m east, {alt_m} m high, {out_m} m out, for {least_s} to {most_s} s"
)
async def flew_around(
    world: World, north_m: float, east_m: float, alt_m: float, out_m: float, least_s: float, most_s: float
) -> None:
    ring = [
        (p.at_s, math.degrees(math.atan2(p.east_m - east_m, p.north_m - north_m)) // 45)
        for p in world.station.path
        if abs(p.up_m - alt_m) < 2 and abs(math.dist((p.north_m, p.east_m), (north_m, east_m)) - out_m) < 2
    ]
    lasted_s = ring[-1][0] - ring[0][0] if ring else 0.0
    sides = len({side for _, side in ring})
    assert least_s <= lasted_s <= most_s and sides == 8, f"{lasted_s:.1f} s, on {sides} of 8 sides"


@phrase(
    "a dispatch {north_m} m north and {east_m} m east, {alt_m} m high for {hover_s} s, is refused because of {reason}"
)
async def dispatch_refused(
    world: World, north_m: float, east_m: float, alt_m: float, hover_s: float, reason: str
) -> None:
    reply = await send_to(world, north_m, east_m, alt_m, hover_s)
    assert reply.get("state") == "rejected", f"the agent answers {reply}"
    assert reason in str(reply.get("reason")), f"the agent answers {reply}"


@phrase(
    "a dispatch {north_m} m north and {east_m} m east, {alt_m} m high for {hover_s} s, is ordered, and the agent killed"
    " at mission item {count}"
)
async def killed_while_sent(
    world: World, north_m: float, east_m: float, alt_m: float, hover_s: float, count: int
) -> None:
    number = mavlink.MAVLINK_MSG_ID_MISSION_ITEM_INT
    before = world.wire.count(number)
    await dispatched(world, north_m, east_m, alt_m, hover_s)
    await world.until(lambda: world.wire.count(number) >= before + count, 60, f"mission item {count} on the wire")
    await killed(world)


@phrase("the operator asks to extend by {seconds} s")
async def extended(world: World, seconds: float) -> None:
    reply = await world.insist("extend", hover_s=seconds)
    assert reply.get("state") == "accepted", f"the agent answers {reply}"


@phrase("what is left of the patrol {route} is ordered")
async def rest_ordered(world: World, route: str) -> None:
    reply = await world.insist("fly", route=route, from_breakpoint=True)
    assert reply.get("state") == "accepted", f"the agent answers {reply}"


@phrase("it hovered {north_m} m north and {east_m} m east, {alt_m} m high, for {least_s} to {most_s} s")
async def hovered(world: World, north_m: float, east_m: float, alt_m: float, least_s: float, most_s: float) -> None:
    there = [
        p.at_s for p in world.station.path if math.dist((p.north_m, p.east_m, p.up_m), (north_m, east_m, alt_m)) < 2
    ]
    stayed_s = there[-1] - there[0] if there else 0.0
    assert least_s <= stayed_s <= most_s, f"{stayed_s:.1f} s"


@phrase("it never came near {north_m} m north and {east_m} m east")
async def never_near(world: World, north_m: float, east_m: float) -> None:
    away_m = min(math.dist((p.north_m, p.east_m), (north_m, east_m)) for p in world.station.path)
    assert away_m > 20, f"it came to {away_m:.1f} m"


@phrase(
    "it was no lower than {least_m} m farther than {away_m} m from home and from {north_m} m north and {east_m} m east"
)
async def no_lower(world: World, least_m: float, away_m: float, north_m: float, east_m: float) -> None:
    between = [
        p.up_m for p in world.station.path
        if math.hypot(p.north_m, p.east_m) > away_m and math.dist((p.north_m, p.east_m), (north_m, east_m)) > away_m
    ]  # fmt: skip
    assert between and min(between) >= least_m, f"{min(between, default=math.nan):.1f} m"


@phrase("it was never guided in the air")
async def never_guided(world: World) -> None:
    lifted_s = world.station.lifted_s or math.inf
    guided = [
        act for act in verdict.commands(world.wire.sent)
        if act.what == "DO_SET_MODE(1, 4)" and act.at_s > lifted_s and not world.station.on_ground
    ]  # fmt: skip
    assert not guided, f"{guided}"


# --- the vehicle, the pilot, the rival --------------------------------------------------------------------------------


@phrase("the pilot switches to {mode}")
async def pilot_switches(world: World, mode: str) -> None:
    world.station.transmit(switch=mode, throttle=1500)
    await world.until(lambda: world.station.mode == mode, 5, f"mode {mode}")


@phrase("the pilot takes the agent's hands off on channel {channel}")
async def hands_off(world: World, channel: int) -> None:
    world.station.transmit(pulses={channel: HANDS_OFF_US})


@phrase("the pilot gives the agent its hands back on channel {channel}")
async def hands_on(world: World, channel: int) -> None:
    world.station.transmit(pulses={channel: HANDS_ON_US})
    await world.wait(2)


@phrase("a ground station sets the mode to {mode}")
async def station_sets_mode(world: World, mode: str) -> None:
    if world.station.flies_by_stick:
        world.station.transmit(throttle=1500)  # a throttle at rest would mean descent
    await world.station.command(mavlink.MAV_CMD_DO_SET_MODE, 1, MODES[mode])
    await world.until(lambda: world.station.mode == mode, 5, f"mode {mode}")


@phrase("the autopilot reboots")
async def reboots(world: World) -> None:
    if world.vehicle.real:
        world.station.send(mavlink.MAVLink_command_long_message(1, 1, 246, 0, 1, 0, 0, 0, 0, 0, 0))
        await asyncio.sleep(0.3)
    else:
        await world.vehicle.stop()
        await world.vehicle.start()
    world.station.connected.clear()
    await world.until(world.station.connected.is_set, 60, "the autopilot back")
    await world.wait(5)  # until then the agent's gates may show what they knew before


@phrase("the autopilot loses its power for {seconds} s")
async def loses_power(world: World, seconds: float) -> None:
    await world.vehicle.stop()
    await asyncio.sleep(seconds / world.speedup)
    await world.vehicle.start()


@phrase("the autopilot hangs for {seconds} s")
async def vehicle_hangs(world: World, seconds: float) -> None:
    world.vehicle.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds / world.speedup)
    world.vehicle.signal(signal.SIGCONT)


@phrase("a second ground station uploads another mission")
async def rival_uploads(world: World) -> None:
    result = await rival.upload(world)
    assert result == mavlink.MAV_MISSION_ACCEPTED, f"it was answered {result}"


@phrase("a second ground station tries to upload another mission")
async def rival_tries(world: World) -> None:
    await rival.upload(world)


@phrase("the mission aboard is the patrol {route}")
async def mission_aboard(world: World, route: str) -> None:
    corners, _ = shape(world, route)
    items = await rival.download(world)
    found = [(i.x, i.y) for i in items if i.command == mavlink.MAV_CMD_NAV_WAYPOINT and i.seq > 0]
    wanted = [(round(p["lat"] * 1e7), round(p["lon"] * 1e7)) for p in (world.place(*corner) for corner in corners)]
    assert found == wanted, f"it is {found}, not {wanted}"


@phrase("the vehicle is at item {seq} or later")
async def at_item(world: World, seq: int) -> None:
    await world.until(lambda: world.station.mission_seq >= seq, FLIGHT_S, f"mission item {seq}")


@phrase("the vehicle is in {mode}")
async def vehicle_in(world: World, mode: str) -> None:
    await world.until(lambda: world.station.mode == mode, 60, f"mode {mode}")


@phrase("the vehicle is in {mode} within {seconds} s")
async def vehicle_in_within(world: World, mode: str, seconds: float) -> None:
    await world.until(lambda: world.station.mode == mode, seconds, f"mode {mode}")


@phrase("the vehicle stays in {mode} for {seconds} s")
async def vehicle_stays(world: World, mode: str, seconds: float) -> None:
    end = world.clock.now() + seconds
    while world.clock.now() < end:
        assert world.station.mode == mode, f"it is in {world.station.mode}"
        await asyncio.sleep(0.01)


@phrase("home is set {metres} m north")
async def home_set(world: World, metres: float) -> None:
    place = world.place(metres, 0)
    station = world.station
    filled = (0, 0, 0, 0, round(place["lat"] * 1e7), round(place["lon"] * 1e7), 10)
    message = mavlink.MAVLink_command_int_message(1, 1, 0, mavlink.MAV_CMD_DO_SET_HOME, 0, 0, *filled)
    ack = await station.answer(
        lambda: station.send(message),
        lambda m: m.get_type() == "COMMAND_ACK" and m.command == mavlink.MAV_CMD_DO_SET_HOME,
        "DO_SET_HOME",
    )
    assert ack.result == mavlink.MAV_RESULT_ACCEPTED, f"DO_SET_HOME: result {ack.result}"


@phrase("its battery is above {percent} %")
async def battery_above(world: World, percent: float) -> None:
    left = world.station.battery_pct
    assert left is not None and left > percent, f"{left} % are left"


# --- how it went ------------------------------------------------------------------------------------------------------


@phrase("{seconds} s pass")
async def pass_time(world: World, seconds: float) -> None:
    await world.wait(seconds)


@phrase("the drone comes home")
async def comes_home(world: World) -> None:
    await world.until(lambda: world.station.lifted_s is not None, 120, "a take-off")
    await world.until(lambda: world.station.on_ground and not world.station.armed, FLIGHT_S, "landed and disarmed")
    await world.until_fresh_phase("ground", 60)


@phrase("the drone is at home again")
async def at_home_again(world: World) -> None:
    await world.until(lambda: world.station.on_ground and not world.station.armed, FLIGHT_S, "landed and disarmed")
    await world.until_fresh_phase("ground", 60)


@phrase("the drone passed every corner of {route} within {metres} m")
async def passed(world: World, route: str, metres: float) -> None:
    corners, alt_m = shape(world, route)
    for north_m, east_m in corners:
        away_m = min(math.dist((p.north_m, p.east_m, p.up_m), (north_m, east_m, alt_m)) for p in world.station.path)
        assert away_m <= metres, f"{away_m:.1f} m from the corner {north_m:g} m north, {east_m:g} m east"


@phrase("its path is the one of an undisturbed flight of {route} within {metres} m")
async def undisturbed(world: World, route: str, metres: float) -> None:
    corners, alt_m = shape(world, route)
    worst_m = verdict.deviation_m(world.station.path, await control.path(world, route, corners, alt_m))
    world.tell(f"    the path differs by {worst_m:.2f} m at most")
    assert worst_m <= metres, f"it differs by {worst_m:.1f} m"


@phrase("the drone may end anywhere")
async def ends_anywhere(world: World) -> None:
    world.ends_at_home = False


# --- without a daemon -------------------------------------------------------------------------------------------------


@phrase("a drone at home without an agent, and the patrol {route} in a configuration")
async def no_agent(world: World, route: str) -> None:
    corners, alt_m = shape(world, route)
    world.route(route, corners, alt_m)
    world.agent.write_config()
    await world.start()
    await world.until(world.station.connected.is_set, READY_S, "the vehicle's heartbeat")


@phrase("{command} is run on the link, and ends with exit code {code}")
async def command_ends(world: World, command: str, code: int) -> None:
    await _run(world, command)
    await _ends(world, code)


@phrase("{command} is run on the link with all our parameter sets, and ends with exit code {code}")
async def sets_end(world: World, command: str, code: int) -> None:
    layers = ("common", "airframe-example", "companion", "speaker-gimbal", "sitl")
    await command_ends(world, " ".join([command, *(f"firmware_config/{name}.param" for name in layers)]), code)


@phrase("{command} is run on the link")
async def command_runs(world: World, command: str) -> None:
    await _run(world, command)


@phrase("the command ends with exit code {code}")
async def _ends(world: World, code: int) -> None:
    found = await world.agent.exit_code()
    assert found == code, f"it ended with {found}: {world.agent.said()[-600:]}"


@phrase("the command is told to {signal_name}")
async def told(world: World, signal_name: str) -> None:
    world.agent.send_signal(signal.Signals[signal_name])


@phrase("the command shows {words}")
async def shows(world: World, words: str) -> None:
    await world.until(lambda: words in world.agent.said(), FLIGHT_S, f"the command shows {words!r}")


@phrase("{command} is run on the link without a configuration, and ends with exit code {code}")
async def bare_command_ends(world: World, command: str, code: int) -> None:
    words = [str(world.agent.folder / word) if word.endswith(".plan") else word for word in command.split()]
    await world.agent.run(*words, "--connection", _link(world), "--out", str(world.agent.data_dir), "--json")
    await _ends(world, code)


@phrase("a second agent that is told to {command} ends with exit code {code}")
async def second_agent(world: World, command: str, code: int) -> None:
    second = Agent(world.folder / "second", world.folder / "clock", world.agent.settings)
    second.write_config()
    await second.run(*command.split(), "--connection", _link(world), "-c", str(second.config))
    found = await second.exit_code()
    assert found == code, f"it ended with {found}: {second.said()[-600:]}"


@phrase("a plan {name} of QGroundControl for the patrol {route}")
async def plan_file(world: World, name: str, route: str) -> None:
    corners, alt_m = shape(world, route)
    places = [(0.0, 0.0), *corners]
    commands = [mavlink.MAV_CMD_NAV_TAKEOFF, *(mavlink.MAV_CMD_NAV_WAYPOINT for _ in corners)]
    items = [
        {
            "type": "SimpleItem", "command": command, "frame": 3, "autoContinue": True, "doJumpId": n,
            "Altitude": alt_m, "AltitudeMode": 1, "AMSLAltAboveTerrain": None,
            "params": [0, 0, 0, None, *world.place(*place).values(), alt_m],
        }
        for n, (command, place) in enumerate(zip(commands, places, strict=True), 1)
    ]  # fmt: skip
    home = {
        "type": "SimpleItem", "command": mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH, "frame": 2, "autoContinue": True,
        "doJumpId": len(items) + 1, "params": [0, 0, 0, 0, 0, 0, 0],
    }  # fmt: skip
    mission = {
        "version": 2, "firmwareType": 3, "vehicleType": 2, "cruiseSpeed": 15, "hoverSpeed": 8,
        "globalPlanAltitudeMode": 1, "plannedHomePosition": [*world.home, 10], "items": [*items, home],
    }  # fmt: skip
    plan = {
        "fileType": "Plan", "version": 1, "groundStation": "QGroundControl", "mission": mission,
        "geoFence": {"version": 2, "circles": [], "polygons": []}, "rallyPoints": {"version": 2, "points": []},
    }  # fmt: skip
    (world.agent.folder / name).write_text(json.dumps(plan))


async def _run(world: World, command: str) -> None:
    await world.agent.run(*command.split(), "--connection", _link(world), "-c", str(world.agent.config), "--json")


def _link(world: World) -> str:
    return f"tcp:{world.wire.here[0]}:{world.wire.here[1]}"
