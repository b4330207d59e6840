"""What a rule wants flown about its incident: an orbit or a hover, within the limits; nobody's dispatch is taken."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import pytest
from msgspec import structs

from edge_agent import config, geo, response
from edge_agent.flight import route, scene
from edge_agent.flight.logbook import MOST_UNSENT
from edge_agent.messages import Dispatch, Fix, Refusal
from tests.flight.conftest import LAT, LON
from tests.flight.test_dispatch import ends, order, send, take_off


def ask(world, what: Dispatch | Refusal, *, take_off: bool = False) -> str | Refusal:
    answer = world.commander.respond(what, "rule:water", world.now, world.wall, take_off=take_off)
    world.save()
    return answer


def test_an_orbit_goes_around_the_place_for_about_as_long_and_comes_home(world):
    world.path.clear()
    take_off(world, order(80, 0, orbit_m=15.0, hover_s=50.0))
    world.until("on_scene")
    world.path.clear()
    world.until("returning")
    around = [math.hypot(n - 80, e) for n, e, up in world.path if up < 16]
    assert 11 < min(around[30:-30]) <= max(around) < 18
    corners = {round(math.atan2(e, n - 80)) for n, e, up in world.path if up < 16}
    assert corners == {-3, -2, -1, 0, 1, 2, 3}  # all sides
    assert 35 < len(around) * 0.1 < 60
    ends(world)


def test_a_patrol_is_called_to_an_incident_and_keeps_its_breakpoint(world):
    patrol = world.fly()
    world.until("route")
    run = ask(world, order(60, 30, hover_s=5))
    assert isinstance(run, str)
    ends(world)
    assert [event.phase for event in world.events if event.run == patrol][-1] == "preempted"
    assert {event.by for event in world.events if event.run == run} == {"rule:water"}
    assert world.commander.logbook.breakpoints["patrol"].why == "called away"


def test_nobodys_dispatch_is_taken_away_and_a_person_takes_the_rules(world):
    take_off(world)
    world.until("transit")
    refusal = ask(world, order(0, 60))
    assert isinstance(refusal, Refusal)
    assert refusal.gate == "pilot.respond"
    told = world.commander.logbook.unsent[-1]
    assert (told.phase, told.by, told.refusal) == ("missed", "rule:water", refusal)
    ends(world)
    world.fly()
    world.until("route")
    ask(world, order(60, 30))
    world.until("transit")
    assert isinstance(ask(world, order(30, 30)), Refusal)  # one incident after the other
    operators = send(world, order(0, 40, hover_s=2))
    ends(world)
    assert world.events[-1].run == operators


def test_on_the_ground_it_takes_off_only_where_the_rule_may(world):
    world.until("ground")
    world.until(lambda: world.autopilot.state.time_s > 6)
    assert isinstance(ask(world, order()), Refusal)
    assert not world.commander.logbook.unsent  # it is no news that nothing flies
    assert isinstance(ask(world, order(), take_off=True), str)
    ends(world)


def test_what_is_refused_to_a_person_is_refused_to_a_rule(world):
    world.fly()
    world.until("route")
    assert isinstance(ask(world, order(5000, 0)), Refusal)
    assert isinstance(ask(world, order(60, 0, orbit_m=3)), Refusal)
    nowhere = response.order(config.Respond(), "01J")
    assert isinstance(nowhere, Refusal)
    assert ask(world, nowhere) is nowhere
    ends(world)
    assert "preempted" not in world.phases()


def test_what_rules_ask_for_while_the_vehicle_is_away_does_not_pile_up(world):
    for _ in range(3 * MOST_UNSENT):
        assert isinstance(ask(world, order(), take_off=True), Refusal)
    assert len(world.commander.logbook.unsent) == MOST_UNSENT


def test_an_orbit_that_leaves_the_fence_is_refused_where_its_middle_is_within(make_world):
    from tests.flight.test_dispatch import fence

    within = fence((-30, -30), (-30, 100), (100, 100), (100, -30))
    world = make_world()
    world.commander.aboard.fence = within.fence
    world.fly()
    world.until("route")
    world.commander.aboard.fence = within.fence
    refusal = ask(world, order(80, 60, orbit_m=30))
    assert isinstance(refusal, Refusal)
    assert (refusal.gate, "the orbit" in refusal.reason) == ("gate.fence", True)
    assert isinstance(ask(world, order(80, 60, orbit_m=10)), str)
    ends(world)


@pytest.mark.parametrize(("radius_m", "lap_s"), [(5.0, 18.0), (20.0, 25.13), (100.0, 56.2)])
def test_a_lap_takes_as_long_as_the_rate_and_the_acceleration_allow(radius_m, lap_s):
    assert scene.lap_s(radius_m) == pytest.approx(lap_s, rel=0.01)


def test_an_orbit_read_back_is_the_one_that_was_asked_for():
    asked = Dispatch(lat=LAT, lon=LON, alt_m=30.0, hover_s=80.0, orbit_m=20.0)
    items = route.dispatch(asked, LAT, LON, config.Limits())
    found = scene.target_of(items, 3, 5)
    assert found is not None
    assert (found.orbit_m, round(found.hover_s)) == (20.0, 75)


def test_a_rule_says_where_how_high_and_how_long():
    wanted = config.Respond(fly="orbit", lat=LAT, lon=LON, alt_m=25.0, for_s=40.0, radius_m=12.0)
    found = response.order(wanted, "01J")
    assert found == Dispatch(lat=LAT, lon=LON, alt_m=25.0, hover_s=40.0, orbit_m=12.0, incident="01J")
    assert response.order(structs.replace(wanted, fly="hover"), "01J").orbit_m == 0


@pytest.mark.parametrize(("major_m", "named", "at"), [
    (50.0, None, 31.0), (50.1, None, None), (50.1, 30.0, 30.0), (3.0, 30.0, 31.0),
])  # fmt: skip
def test_the_place_is_the_one_that_was_seen_where_that_is_good_enough(major_m, named, at):
    seen = Fix(lat=31.0, lon=LON, major_m=major_m, minor_m=1.0, azimuth_deg=0.0, method="drone", height_ref="home")
    wanted = config.Respond(lat=named, lon=None if named is None else LON, worst_m=50.0)
    found = response.order(wanted, "01J", seen)
    assert (found.lat if isinstance(found, Dispatch) else None) == at


def test_the_corners_of_an_orbit_hold_all_of_it():
    asked = Dispatch(lat=LAT, lon=LON, alt_m=30.0, orbit_m=50.0)
    corners = [geo.to_local(*corner, LAT, LON) for corner in route.circle(asked)]
    assert math.dist(corners[0], corners[-1]) < 0.01
    middles = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in pairwise(corners)]
    assert min(math.hypot(*middle) for middle in middles) == pytest.approx(50.0, abs=0.1)


def test_a_dispatch_of_yesterday_hovers():
    assert msgspec.json.decode(b'{"name":"dispatch","lat":1,"lon":2,"alt_m":30}', type=Dispatch).orbit_m == 0
