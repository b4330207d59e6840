"""Every gate says no to its own fault, with the value, the limit and the age."""

from __future__ import annotations

import pytest
from msgspec import structs

from edge_agent import config, geo
from edge_agent.flight import gates, route
from edge_agent.flight.gates import Readiness
from edge_agent.messages import Telemetry
from tests.flight.conftest import LAT, LON, PATROL, waypoint

NOW = 50.0
GOOD = Telemetry(
    at_s=NOW - 0.5, armed=False, mode="STABILIZE", landed=True, lat=LAT, lon=LON, alt_m=0.0, battery_pct=95.0,
    gps_fix=3, satellites=12, home_lat=LAT, home_lon=LON,
)  # fmt: skip
READY = Readiness(
    telemetry=GOOD, copter=True, prearm_ok=True, complaints=(), ekf_flags=0x33F, site_lat=LAT, site_lon=LON,
    limits=config.Limits(), route=PATROL,
)  # fmt: skip


def failing(now: float = NOW, ready: dict | None = None, **telemetry) -> list[str]:
    state = READY._replace(telemetry=structs.replace(GOOD, **telemetry), **(ready or {}))
    return [refusal.gate for refusal in gates.refusals(state, now)]


def test_all_gates_pass_for_a_vehicle_that_is_ready():
    assert failing() == []


AWAY = geo.from_local(40, 0, LAT, LON)


@pytest.mark.parametrize(
    ("gate", "telemetry", "ready"),
    [
        ("gate.vehicle", {}, {"copter": False}),
        ("gate.ground", {"armed": True}, {}),
        ("gate.ground", {"landed": None}, {}),
        ("gate.ground", {"landed": False}, {}),
        ("gate.gps", {"gps_fix": 2}, {}),
        ("gate.gps", {"gps_fix": None}, {}),
        ("gate.gps", {"satellites": 5}, {}),
        ("gate.gps", {"satellites": None}, {}),
        ("gate.ekf", {}, {"ekf_flags": 0x33E}),
        ("gate.ekf", {}, {"ekf_flags": 0x33F | 128}),
        ("gate.prearm", {}, {"prearm_ok": False}),
        ("gate.prearm", {}, {"prearm_ok": None}),
        ("gate.home", {"lat": None}, {}),
        ("gate.home", {"lat": AWAY[0], "lon": AWAY[1]}, {}),
        ("gate.home", {"home_lat": AWAY[0], "home_lon": AWAY[1]}, {}),
        ("gate.battery", {"battery_pct": None}, {}),
        ("gate.battery", {"battery_pct": 49.0}, {}),
    ],
)
def test_each_fault_is_refused_by_its_gate(gate, telemetry, ready):
    assert failing(ready=ready, **telemetry) == [gate]


def test_an_ekf_that_is_not_reported_is_no_fault():
    assert failing(ready={"ekf_flags": None}) == []


def test_an_unknown_home_is_the_place_it_stands_on():
    assert failing(home_lat=None, home_lon=None) == []


def test_a_refusal_names_value_limit_age_and_remedy():
    (refusal,) = gates.refusals(READY._replace(telemetry=structs.replace(GOOD, battery_pct=49.0)), NOW)
    assert (refusal.value, refusal.limit, refusal.age_s) == ("49 %", "50 %", 0.5)
    assert refusal.remedy == "charge or change it"


def test_old_telemetry_is_refused_first():
    assert failing(now=NOW + 2, battery_pct=10.0)[0] == "gate.link"


def test_without_any_telemetry_only_the_link_is_to_blame():
    assert [r.gate for r in gates.refusals(READY._replace(telemetry=None), NOW)] == ["gate.link"]


def test_what_the_autopilot_complains_about_is_passed_on():
    ready = READY._replace(prearm_ok=False, complaints=("PreArm: Compass not healthy", "Low voltage"))
    (refusal,) = gates.refusals(ready, NOW)
    assert refusal.value == "PreArm: Compass not healthy"


def test_a_route_that_costs_more_than_there_is_is_refused():
    far = config.Route(id="far", waypoints=(waypoint(1900, 0),), alt_m=50, speed_mps=5)
    assert failing(ready={"route": far}) == ["gate.energy"]


# --- route ----------------------------------------------------------------------------------------------------------


def test_a_mission_takes_off_sets_its_speed_flies_the_places_and_comes_home():
    items = route.mission(PATROL)
    assert [item.command for item in items] == [16, 22, 178, 16, 16, 16, 16, 20]
    assert [item.seq for item in items] == list(range(8))
    assert items[1].z == 20.0
    assert (items[2].p1, items[2].p2) == (1, 8.0)
    assert {item.frame for item in items} == {6}


def test_coordinates_are_rounded_not_cut():
    one = config.Route(id="one", waypoints=(config.Waypoint(lat=-33.33333336, lon=151.00000009, alt_m=7.25),))
    item = route.mission(one)[3]
    assert (item.x, item.y, item.z) == (-333333334, 1510000001, 7.2)


def test_a_place_may_have_its_own_height_and_hold():
    one = config.Route(id="one", waypoints=(waypoint(50, 0, alt_m=40.0, hold_s=12.0), waypoint(60, 0)), alt_m=25)
    assert [(item.z, item.p1) for item in route.mission(one)[3:5]] == [(40.0, 12.0), (25.0, 0.0)]


def test_the_length_of_a_route_counts_the_way_out_and_back():
    assert route.length_m(PATROL, LAT, LON) == pytest.approx(60 + 60 + 60 + 30 + 30, abs=0.1)
