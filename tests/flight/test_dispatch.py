"""Dispatches against the simulated autopilot: there, hover, home; called elsewhere in flight; killed half way."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from edge_agent import config, geo
from edge_agent.flight import safety, scene
from edge_agent.flight.fence import fence_items
from edge_agent.messages import Dispatch, Refusal
from edge_agent.plans.model import Fence, FencePolygon
from tests.flight.conftest import LAT, LON, PATROL


def order(north_m: float = 80, east_m: float = 0, **more) -> Dispatch:
    lat, lon = geo.from_local(north_m, east_m, LAT, LON)
    return Dispatch(**{"lat": lat, "lon": lon, "alt_m": 15.0, "hover_s": 20.0, **more})


def send(world, what: Dispatch) -> str:
    run = world.commander.dispatch(what, "op", world.now, world.wall)
    assert isinstance(run, str), run
    world.save()
    return run


def take_off(world, what: Dispatch | None = None) -> str:
    world.until("ground")
    world.until(lambda: world.autopilot.state.time_s > 6)
    return send(world, what or order())


def over(world, north_m: float, east_m: float) -> list[float]:
    """The heights at which it was over a place."""
    return [up for n, e, up in world.path if math.hypot(n - north_m, e - east_m) < 3]


def ends(world) -> None:
    world.until(lambda: world.commander.logbook.run is None, within_s=600)
    assert world.is_home()
    aloft = [h["mode"] for h in world.autopilot.happenings if h["event"] == "mode" and h["alt_m"] > 1]
    assert "GUIDED" not in aloft


def test_a_dispatch_goes_there_hovers_and_comes_home(world):
    run = take_off(world, order(say="请离开", lang="cmn"))
    ends(world)
    assert world.phases()[-6:] == ["climb", "transit", "on_scene", "returning", "landing", "landed"]
    assert {event.run for event in world.events} == {run}
    scene_event = next(e for e in world.events if e.phase == "on_scene")
    assert scene_event.say == "请离开"
    assert [e.say for e in world.events if e.phase != "on_scene"] == [None] * (len(world.events) - 1)
    stayed = [up for up in over(world, 80, 0) if up < 15.5]
    assert 20 <= len(stayed) * 0.1 < 30
    way = [up for n, e, up in world.path if 20 < n < 70]
    assert min(way) > 28  # never lower than the transit height


def test_a_place_on_another_continent_is_refused_and_nothing_is_armed(world):
    world.until("ground")
    world.wait(5)
    refusal = world.commander.dispatch(order(), "op", world.now, world.wall)
    refusal = world.commander.dispatch(Dispatch(lat=52.5, lon=13.4, alt_m=20.0), "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert refusal.gate == "gate.distance"
    assert "2000 m" in refusal.limit
    assert "armed" not in world.happened()


def test_called_elsewhere_on_the_way_it_never_sees_the_first_place(world):
    first = take_off(world)
    world.until("transit")
    world.wait(3)
    second = send(world, order(0, 80))
    ends(world)
    assert over(world, 80, 0) == []
    assert min(over(world, 0, 80)) < 15.5
    told = [(e.run, e.phase) for e in world.events]
    assert (first, "preempted") in told
    assert (second, "on_scene") in told
    assert told[-1] == (second, "landed")


def test_called_elsewhere_from_the_scene_it_rises_first(world):
    take_off(world)
    world.until("on_scene")
    world.wait(3)
    send(world, order(0, 80, alt_m=12.0))
    ends(world)
    assert min(over(world, 0, 80)) < 12.5
    between = [up for n, e, up in world.path if 15 < n < 70 and 10 < e < 65]
    assert between
    assert min(between) > 28


def test_it_can_be_called_again_and_again(world):
    take_off(world)
    places = [(0, 80), (60, 60), (-50, 20), (40, -40)]
    for n, place in enumerate(places):
        world.until("on_scene" if n % 2 else "transit")
        world.wait(2)
        send(world, order(*place, hover_s=5.0))
    ends(world)
    assert min(over(world, 40, -40)) < 15.5


def test_extend_on_scene_hovers_longer(world):
    take_off(world, order(hover_s=10.0))
    world.until("on_scene")
    world.wait(4)
    assert world.commander.extend(20.0, world.now) is None
    ends(world)
    stayed = [up for up in over(world, 80, 0) if up < 15.5]
    assert 28 <= len(stayed) * 0.1 < 40


def test_extend_on_the_way_hovers_longer(world):
    take_off(world, order(hover_s=10.0))
    world.until("transit")
    assert world.commander.extend(20.0, world.now) is None
    ends(world)
    stayed = [up for up in over(world, 80, 0) if up < 15.5]
    assert 28 <= len(stayed) * 0.1 < 40
    assert sum(e.say is not None for e in world.events) == 0


def test_a_patrol_is_called_away_and_goes_on_next_time(world):
    patrol = world.fly()
    world.until("route")
    world.wait(8)
    away = send(world, order(-60, 0))
    ends(world)
    assert min(over(world, -60, 0)) < 15.5
    told = [(e.run, e.phase) for e in world.events]
    assert (patrol, "preempted") in told
    assert told[-1] == (away, "landed")
    left = world.commander.logbook.breakpoints["patrol"]
    assert left.run == patrol
    run = world.commander.fly("patrol", "op", world.now, world.wall, from_breakpoint=True)
    assert isinstance(run, str)
    world.save()
    ends(world)
    assert world.commander.logbook.breakpoints == {}


def test_what_one_flight_read_back_in_the_air_is_not_held_against_the_next(world):
    world.fly()
    world.until("route")
    world.wait(8)
    send(world, order(-60, 0))
    world.until("transit")
    world.autopilot._text(6, "Flight plan received")  # about our own slots, and late: they are read back
    ends(world)
    assert isinstance(world.commander.fly("patrol", "op", world.now, world.wall), str)
    world.save()
    ends(world)
    assert "yielded" not in world.phases()


@pytest.mark.parametrize("after_s", [0.2, 0.5, 0.9, 1.5, 3.0])
def test_killed_while_a_patrol_is_called_away_it_still_ends_at_home(world, after_s):
    world.fly()
    world.until("route")
    world.wait(8)
    send(world, order(-60, 0))
    world.wait(after_s)
    world.start()
    ends(world)
    assert "yielded" not in world.phases()
    assert world.phases()[-1] == "landed"


def test_a_refused_dispatch_leaves_the_flight_as_it_is(make_world):
    world = make_world(battery_pct=70.0)
    world.fly()
    world.until("route")
    world.autopilot.state.body.battery_pct = 34.0
    world.wait(2)
    refusal = world.commander.dispatch(order(900, 0), "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert refusal.gate == "gate.energy"
    assert refusal.value in ("33 %", "34 %")
    ends(world)


@pytest.mark.parametrize("lost", range(6))
def test_over_a_link_that_loses_a_fifth_it_gets_there_or_comes_home(make_world, lost):
    world = make_world()
    world.rng.seed(lost)
    take_off(world)
    world.until("transit")
    world.loss = 0.2
    world.wait(1)
    world.commander.dispatch(order(0, 80), "op", world.now, world.wall)
    world.save()
    ends(world)


def fence(*corners: tuple[float, float]) -> config.Route:
    places = [geo.from_local(*corner, LAT, LON) for corner in corners]
    return structs.replace(PATROL, fence=Fence(polygons=(FencePolygon(corners=tuple(places)),)))


def test_a_place_outside_the_fence_aboard_is_refused_on_the_ground_and_aloft(world):
    within = fence((-100, -100), (-100, 100), (100, 100), (100, -100))
    world.autopilot.state.fence.extend(fence_items(within))
    world.until("ground")
    world.wait(8)
    refusal = world.commander.dispatch(order(150, 0), "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert (refusal.gate, "outside inclusion polygon" in refusal.reason) == ("gate.route", True)
    send(world, order(80, 0))
    world.until("transit")
    refusal = world.commander.dispatch(order(150, 0), "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert (refusal.gate, "outside inclusion polygon" in refusal.reason) == ("gate.fence", True)
    ends(world)
    assert world.autopilot.state.fence  # it stays aboard


def test_a_fence_that_a_dry_run_put_aboard_holds_for_the_next_dispatch(make_world, monkeypatch):
    monkeypatch.setattr("tests.flight.conftest.PATROL", fence((-100, -100), (-100, 100), (100, 100), (100, -100)))
    world = make_world()
    world.until("ground")
    world.until(lambda: not world.commander.blocked(None, world.now))
    assert isinstance(world.commander.fly("patrol", "op", world.now, world.wall, rehearse=True), str)
    world.until(lambda: world.commander.phase == "ground" and not world.commander.blocked(None, world.now))
    refusal = world.commander.dispatch(order(150, 0), "op", world.now, world.wall)
    assert isinstance(refusal, Refusal)
    assert "outside inclusion polygon" in refusal.reason


ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["dispatch", "extend", "pause", "resume", "recall", "land", "fly", "pilot", "kill", "cut"]),
        st.floats(0, 25), st.integers(-120, 120), st.integers(-120, 120),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ORDERS)
def test_whatever_is_asked_and_happens_severity_only_rises_and_it_ends_on_the_ground(make_world, orders):
    world = make_world()
    take_off(world)
    world.until("climb")
    for what, wait_s, north_m, east_m in orders:
        ask(world, what, north_m, east_m)
        world.save()
        world.wait(wait_s)
    world.cut = False
    world.wait(12)
    if world.autopilot.state.armed and world.autopilot.state.mode == "LOITER":
        world.commander.recall("op", world.now, world.wall)  # a person took over, and a person gives it back
    world.until(lambda: not world.autopilot.state.armed, within_s=700)
    assert world.autopilot.state.body.on_ground
    assert "pilot" in [what for what, *_ in orders] or all(map(only_rises, flights(world)))
    assert scene.path(world.autopilot.state.items, 1)


def flights(world) -> list[list[str]]:
    """The modes that we ordered in the air, for each flight."""
    found: list[list[str]] = [[]]
    for h in world.autopilot.happenings:
        if h["event"] == "disarmed":
            found.append([])
        elif h["event"] == "mode" and h["by"] == "command" and h["alt_m"] > 0.5:
            found[-1].append(h["mode"])
    return found


def only_rises(modes: list[str]) -> bool:
    """Once it returns or lands, only more safety follows."""
    severity = [safety.SEVERITY.get(mode, 0) for mode in modes]
    homeward = severity[next((n for n, one in enumerate(severity) if one), len(severity)) :]
    return homeward == sorted(homeward)


def ask(world, what: str, north_m: float, east_m: float) -> None:
    commander, now, wall = world.commander, world.now, world.wall
    match what:
        case "dispatch":
            commander.dispatch(order(north_m, east_m), "op", now, wall)
        case "extend":
            commander.extend(15.0, now)
        case "pause" | "resume" | "land":
            getattr(commander, what)("op", now)
        case "recall":
            commander.recall("op", now, wall)
        case "fly":
            commander.fly("patrol", "op", now, wall)
        case "pilot":
            world.autopilot.set_mode("LOITER", "pilot")
        case "kill":
            world.start()
        case "cut":
            world.cut = not world.cut
