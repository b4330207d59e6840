"""What calls a drone home, what happens where home cannot be reached, and where a flight may end."""

from __future__ import annotations

import pytest
from msgspec import structs

from edge_agent import config, geo
from edge_agent.flight import phases
from edge_agent.flight.budget import Budget, to_rally
from edge_agent.flight.fence import fence_items, rally_items
from edge_agent.flight.phases import Phase, Seen
from edge_agent.flight.weather import Judge, Weather
from edge_agent.messages import Telemetry
from edge_agent.plans.model import Fence, FencePolygon, Rally
from tests.flight.conftest import LAT, LON, PATROL

ALOFT = Telemetry(at_s=0.0, armed=True, mode="RTL", landed=False, alt_m=30.0, home_lat=LAT, home_lon=LON)


def place(north_m: float, east_m: float = 0.0) -> tuple[float, float]:
    return geo.from_local(north_m, east_m, LAT, LON)


def over(north_m: float, battery_pct: float) -> Telemetry:
    lat, lon = place(north_m)
    return structs.replace(ALOFT, lat=lat, lon=lon, battery_pct=battery_pct)


def test_a_wind_that_it_cannot_fly_against_calls_it_home_and_where_home_is_out_of_reach_it_lands(
    make_world, monkeypatch
):
    for failsafe in ("LOW", "CRITICAL"):  # an autopilot that was told to do nothing about its battery
        monkeypatch.setattr(f"edge_agent.flight.simulator.BATTERY_{failsafe}_PCT", -1.0)
    world = make_world(wind_mps=17.0, wind_from_deg=0.0)  # the airframe makes 15 m/s
    world.fly()
    world.until("route")
    world.until("returning", within_s=120)
    assert "no nearer to item 3" in world.events[-1].cause
    world.autopilot.state.body.battery_pct = 4.0
    world.until("landing", within_s=200)
    assert "out of reach" in world.events[-1].cause
    world.until(lambda: world.commander.logbook.run is None)
    assert (world.phases()[-1], world.events[-1].cause) == ("landed", phases.AWAY)


def test_one_that_waits_at_a_waypoint_because_it_is_told_to_is_not_called_home(make_world, monkeypatch):
    patient = structs.replace(PATROL.waypoints[0], hold_s=120.0)
    route = structs.replace(PATROL, waypoints=(patient, *PATROL.waypoints[1:]))
    monkeypatch.setattr("tests.flight.conftest.PATROL", route)
    world = make_world()
    world.fly()
    world.until(lambda: world.commander.logbook.run is None)
    assert [event.cause for event in world.events if event.phase == "returning"] == [phases.LEADS_HOME]


def test_where_a_pilot_flew_it_meanwhile_is_no_way_that_leads_nowhere(world):
    world.fly()
    world.until("route")
    world.wait(5)
    world.autopilot.set_mode("LOITER", "pilot")
    world.until("yielded")
    world.autopilot.state.body.north_m -= 20.0  # farther from where it was going
    world.wait(60)
    assert world.commander.resume("op", world.now) is None
    world.until(lambda: world.commander.logbook.run is None)
    assert [event.cause for event in world.events if event.phase == "returning"] == [phases.LEADS_HOME]


def test_one_wrong_sample_of_the_battery_lands_nobody_away_from_home(world, monkeypatch):
    for failsafe in ("LOW", "CRITICAL"):
        monkeypatch.setattr(f"edge_agent.flight.simulator.BATTERY_{failsafe}_PCT", -1.0)
    world.fly()
    world.until("route")
    world.wait(5)
    assert world.commander.recall("op", world.now, world.wall) is None
    world.until("returning")
    body = world.autopilot.state.body
    charge_pct, body.battery_pct = body.battery_pct, 0.0
    world.until(lambda: world.commander.telemetry().battery_pct == 0, within_s=3)
    body.battery_pct = charge_pct
    world.until(lambda: world.commander.logbook.run is None)
    assert world.is_home()


def test_a_home_that_somebody_moves_in_the_air_is_told_of_and_is_not_the_one_that_was_planned(world):
    world.fly()
    world.until("route")
    world.autopilot.state.home = (80.0, 0.0)
    world.until(lambda: world.commander.logbook.run is None)
    told = [event.cause for event in world.events]
    assert sum("home was moved by 80 m" in cause for cause in told) == 1
    assert told[-1] == phases.AWAY


def test_called_off_between_arming_and_take_off_it_is_disarmed_at_once(world):
    world.fly()
    world.until("starting")
    began_s = world.now
    assert world.commander.recall("op", world.now, world.wall) is None
    world.until(lambda: world.commander.logbook.run is None)
    assert world.phases()[-2:] == ["aborting", "failed"]
    assert world.now - began_s < 3
    assert max(up for *_, up in world.path) < 0.5


def test_whoever_arms_by_hand_where_a_launch_was_interrupted_is_not_disarmed(world, monkeypatch):
    monkeypatch.setattr("edge_agent.flight.simulator.DISARM_DELAY_S", 1e9)
    world.fly()
    world.until("readying")
    world.start()
    assert world.autopilot.set_mode("LOITER", "pilot")
    world.autopilot.state.armed = True
    world.until("aborting")
    world.wait(30)
    assert world.autopilot.state.armed


@pytest.mark.parametrize(
    ("seen", "to"),
    [
        ({"armed": True, "mode": "LOITER"}, Phase.YIELDED),
        ({"armed": False, "mode": "LOITER"}, Phase.FAILED),
        ({"armed": True, "mode": "GUIDED"}, Phase.STARTING),
    ],
)
def test_who_changes_the_mode_while_it_arms_has_it(seen, to):
    step = phases.step(Phase.ARMING, Seen(run=True, landed=True, **seen))
    assert step is not None
    assert step.to is to


@pytest.mark.parametrize(("ours", "hands_off", "to"), [(True, False, Phase.CLIMB), (False, False, Phase.YIELDED),
                                                       (True, True, Phase.YIELDED)])  # fmt: skip
def test_one_that_lifts_off_all_the_same_is_flown_only_where_it_is_ours(ours, hands_off, to):
    seen = Seen(run=True, armed=True, landed=False, mode="AUTO", alt_m=2.0, ours=ours, hands_off=hands_off)
    step = phases.step(Phase.ABORTING, seen)
    assert step is not None
    assert step.to is to


@pytest.mark.parametrize(("battery_pct", "lands"), [(20.0, False), (5.0, True)])
def test_far_from_home_the_last_of_the_battery_is_for_the_landing(battery_pct, lands):
    budget = Budget(config.Airframe())
    assert bool(budget.out_of_reach(over(1500, battery_pct))) == lands
    assert budget.out_of_reach(over(5, battery_pct)) is None  # home is near enough


@pytest.mark.parametrize(
    ("params", "at_m", "end_m"),
    [
        ({}, 150, 200),
        ({}, 90, 0),  # home is nearer
        ({}, 700, 0),  # every point is farther than RALLY_LIMIT_KM
        ({"RALLY_LIMIT_KM": 0.0}, 700, 200),
        ({"RALLY_INCL_HOME": 0.0}, 90, 200),
    ],
)
def test_a_return_leads_where_arducopter_leads_it(params, at_m, end_m):
    """AP_Rally::find_nearest_rally_point and calc_best_rally_or_home_location, as read in 4.6."""
    budget = Budget(config.Airframe())
    budget.rally, budget.goes_to_rally = (place(200), place(0, 900)), to_rally(params)
    assert budget.end(place(at_m), (LAT, LON)) == ((LAT, LON) if end_m == 0 else place(end_m))


def test_what_is_left_counts_against_the_rally_point_that_a_return_leads_to():
    budget = Budget(config.Airframe())
    far = budget.margin_pct(over(1500, 60))
    budget.rally, budget.goes_to_rally = (place(1450),), (0.0, True)
    near = budget.margin_pct(over(1500, 60))
    assert far is not None and near is not None and near > far + 5


def test_a_rally_point_beyond_the_fence_is_no_way_home_and_the_others_outlive_a_restart(world):
    near, beyond = place(30, 30), place(70, 150)
    yard = FencePolygon(corners=tuple(place(*c) for c in ((-99, -99), (-99, 99), (99, 99), (99, -99))))
    points = tuple(Rally(lat=lat, lon=lon) for lat, lon in (near, beyond))
    world.autopilot.state.fence.extend(fence_items(structs.replace(PATROL, fence=Fence(polygons=(yard,)))))
    world.autopilot.state.rally.extend(rally_items(structs.replace(PATROL, rally=points)))
    world.fly()
    world.until("route")
    assert world.commander.budget.rally == (pytest.approx(near, abs=1e-6),)
    world.start()
    world.until("route")
    world.turn()
    assert world.commander.budget.rally == (pytest.approx(near, abs=1e-6),)


def test_weather_that_is_known_to_be_bad_turns_a_drone_back_and_an_old_or_missing_one_does_not():
    judge = Judge(config.WeatherLimits(max_wind_mps=10))
    bad = Weather(at_s=0.0, source="mast", wind_mps=12.0)
    assert judge.turns_back(bad, 1.0) == "wind 12 m/s, limit 10"
    assert judge.turns_back(structs.replace(bad, wind_mps=9.0), 2.0) is not None  # it must ease first
    assert judge.turns_back(structs.replace(bad, wind_mps=8.0), 3.0) is None
    assert judge.turns_back(bad, 601.0) is None
    assert judge.turns_back(None, 1.0) is None
