"""Every gate says no to its own fault, with the value, the limit, the age and the way out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import config, geo
from edge_agent.flight import gate_rules, gates, reach, route
from edge_agent.flight.energy import Return
from edge_agent.flight.facts import Around, Facts, Plan
from edge_agent.flight.mavlink import Other
from edge_agent.flight.verdict import Verdict
from edge_agent.messages import Dispatch, Telemetry
from edge_agent.plans.model import Fence, FencePolygon
from tests.flight.conftest import LAT, LON, PATROL, waypoint

NOW = 50.0
GOOD = Telemetry(
    at_s=NOW - 0.5, armed=False, mode="STABILIZE", landed=True, lat=LAT, lon=LON, alt_m=0.0, battery_pct=95.0,
    battery_v=16.5, gps_fix=3, satellites=12, home_lat=LAT, home_lon=LON,
)  # fmt: skip
FENCE = mavlink.MAV_SYS_STATUS_GEOFENCE
SENSORS = FENCE | 0x0220002F  # gyro, accelerometer, compass, barometer, GPS, attitude, battery


def heartbeat(system: int = 1, component: int = 1):
    message = mavlink.MAVLink_heartbeat_message(2, 3, 0, 0, 3, 3)
    message._header = mavlink.MAVLink_header(0, srcSystem=system, srcComponent=component)
    return message


def status(enabled: int = SENSORS, healthy: int = SENSORS, present: int = SENSORS):
    return mavlink.MAVLink_sys_status_message(present, enabled, healthy, 0, 16500, -1, 95, 0, 0, 0, 0, 0, 0)


def ekf(flags: int = 0x33F, variance: float = 0.1):
    return mavlink.MAVLink_ekf_status_report_message(flags, 0.1, variance, 0.1, 0.1, 0.1)


def gps(hdop: float = 1.2):
    return mavlink.MAVLink_gps_raw_int_message(0, 3, 0, 0, 0, round(hdop * 100), 100, 0, 0, 12)


def attitude(roll: float = 0.0):
    return mavlink.MAVLink_attitude_message(0, roll, 0.0, 0.0, 0.0, 0.0, 0.0)


def version(number: int = 0x04060300, capabilities: int = mavlink.MAV_PROTOCOL_CAPABILITY_MISSION_INT):
    return mavlink.MAVLink_autopilot_version_message(capabilities, number, 0, 0, 0, b"96bc2f5e", b"", b"", 0, 0, 0)


def battery(**fields):
    message = mavlink.MAVLink_battery_status_message(0, 0, 0, 0x7FFF, [4200] * 10, -1, -1, -1, 95)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def rc(channel7: int = 1900):
    return mavlink.MAVLink_rc_channels_message(0, 18, *[1500] * 6, channel7, *[1500] * 11, 255)


def remote_id(status: int = 0):
    return mavlink.MAVLink_open_drone_id_arm_status_message(status, b"GPS is not good")


def gps_time(unix_s: float = 1_780_000_000.0):
    return mavlink.MAVLink_system_time_message(round(unix_s * 1e6), 0)


def said(*messages) -> dict:
    return {message.get_msgId(): (NOW - 0.5, message) for message in messages}


PARAMS = {
    "BATT_FS_LOW_ACT": 2.0, "BATT_FS_CRT_ACT": 1.0, "FS_EKF_ACTION": 1.0, "FS_CRASH_CHECK": 1.0, "FENCE_ACTION": 1.0,
    "RTL_ALT": 1500.0, "RTL_ALT_FINAL": 0.0, "FENCE_ENABLE": 1.0, "FENCE_TYPE": 7.0, "FENCE_ALT_MAX": 100.0,
    "SYSID_THISMAV": 1.0, "SYSID_MYGCS": 255.0,
}  # fmt: skip
NIGHT_S, DAY_S = 1_780_000_000.0, 1_780_027_000.0  # 28 May 2026, 20:26 and 03:56 UTC: 04:26 and 11:56 at 120° east
PLAN = Plan(site=(LAT, LON), limits=config.Limits(), airframe=config.Airframe(), route=PATROL)
READY = Facts(
    now=NOW, plan=PLAN, telemetry=GOOD, copter=True, prearm_ok=True, complaints=(),
    said=said(heartbeat(), status(), ekf(), gps(), attitude(), version(), battery(), gps_time()),
    others=(), system_id=1, params=PARAMS,
    around=Around(at_s=NOW, wall_s=1_780_000_000.5, disk_free_mib=1000.0, clock="ntp"),
)  # fmt: skip


def failing(*messages, now: float = NOW, facts: dict | None = None, plan: dict | None = None, **telemetry) -> list[str]:
    state = READY._replace(
        now=now, telemetry=structs.replace(GOOD, **telemetry), said={**READY.said, **said(*messages)},
        plan=PLAN._replace(**(plan or {})), **(facts or {}),
    )  # fmt: skip
    return [refusal.gate for refusal in gates.refusals(state)]


def test_all_gates_pass_for_a_vehicle_that_is_ready():
    assert failing() == []


def test_every_gate_says_what_it_found_and_where_it_looked():
    told = READY._replace(
        plan=PLAN._replace(weather=Verdict("pass", "fit to fly")), telemetry=structs.replace(GOOD, mission_total=8)
    )
    for check in gates.checks(told):
        assert check.state == "pass", check
        assert check.reason and check.source, check


AWAY = geo.from_local(40, 0, LAT, LON)
YARD = Fence(
    polygons=(
        FencePolygon(
            inclusion=True,
            corners=tuple(geo.from_local(*c, LAT, LON) for c in ((-99, -99), (-99, 99), (99, 99), (99, -99))),
        ),
    )
)


@pytest.mark.parametrize(
    ("gate", "telemetry", "facts"),
    [
        ("gate.vehicle", {}, {"copter": False}),
        ("gate.alone", {}, {"others": (Other(1, 191, 18, NOW),)}),
        ("gate.ground", {"armed": True}, {}),
        ("gate.ground", {"landed": None}, {}),
        ("gate.ground", {"landed": False}, {}),
        ("gate.gps", {"gps_fix": 2}, {}),
        ("gate.gps", {"gps_fix": None}, {}),
        ("gate.gps", {"satellites": 5}, {}),
        ("gate.gps", {"satellites": None}, {}),
        ("gate.prearm", {}, {"prearm_ok": False}),
        ("gate.prearm", {}, {"prearm_ok": None}),
        ("gate.home", {"lat": None}, {}),
        ("gate.home", {"alt_m": 80.0}, {}),
        ("gate.home", {"alt_m": -80.0}, {}),
        ("gate.home", {"lat": AWAY[0], "lon": AWAY[1]}, {}),
        ("gate.home", {"home_lat": AWAY[0], "home_lon": AWAY[1]}, {}),
        ("gate.battery", {"battery_pct": 49.0}, {}),
        ("gate.voltage", {"battery_pct": 100.0, "battery_v": 15.0}, {}),
    ],
)
def test_each_fault_is_refused_by_its_gate(gate, telemetry, facts):
    assert failing(facts=facts, **telemetry) == [gate]


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("gate.ekf", ekf(0x33E)),
        ("gate.ekf", ekf(0x33F | 128)),
        ("gate.ekf", ekf(variance=0.7)),
        ("gate.gps", gps(hdop=2.6)),
        ("gate.sensors", status(healthy=SENSORS & ~4)),
        ("gate.fence", status(healthy=SENSORS & ~FENCE)),
        ("gate.level", attitude(roll=0.3)),
        ("gate.level", attitude(roll=-0.3)),
        ("gate.firmware", version(0x04020000)),
        ("gate.firmware", version(capabilities=0)),
        ("gate.health", battery(fault_bitmask=4)),
        ("gate.health", battery(charge_state=mavlink.MAV_BATTERY_CHARGE_STATE_CRITICAL)),
        ("gate.health", battery(temperature=-500)),
        ("gate.health", battery(temperature=7000)),
        ("gate.remote_id", remote_id(1)),
    ],
)
def test_each_message_that_tells_of_a_fault_is_refused_by_its_gate(gate, message):
    assert failing(message) == [gate]


def test_a_sensor_that_is_switched_off_is_no_fault():
    assert failing(status(enabled=SENSORS & ~4, healthy=SENSORS & ~4)) == []


def test_an_unknown_charge_stops_the_flight_and_waiting_may_tell():
    facts = READY._replace(telemetry=structs.replace(GOOD, battery_pct=None))
    unknown = {check.gate: check for check in gates.checks(facts) if check.state == "unknown"}
    assert {gate for gate, check in unknown.items() if check.blocks} == {"battery", "energy"}
    assert all(check.heals for check in unknown.values())


def test_an_unknown_home_stops_the_flight_and_waiting_may_tell():
    assert failing(home_lat=None) == ["gate.home", "gate.energy"]


def test_without_a_site_home_alone_says_where_it_stands():
    far = geo.from_local(5000, 0, LAT, LON)
    there = {"lat": far[0], "lon": far[1], "home_lat": far[0], "home_lon": far[1]}
    short = config.Route(id="near", waypoints=(config.Waypoint(lat=far[0], lon=far[1]),))
    assert failing(plan={"route": short}, **there) == ["gate.home"]
    assert failing(plan={"site": None, "route": short}, **there) == []


def test_a_ground_station_is_welcome():
    assert failing(facts={"others": (Other(255, 190, mavlink.MAV_TYPE_GCS, NOW),)}) == []


def limited(**limits) -> dict:
    return {"limits": config.Limits(**limits)}


@pytest.mark.parametrize(
    ("gate", "plan"),
    [
        ("gate.storage", {"store_fault": "flight/state.json: No space left on device"}),
        ("gate.storage", limited(min_disk_mib=2000.0)),
        ("gate.lockout", {"locked": True}),
        ("gate.night", limited(night=False)),
        ("gate.remote", limited(hands_off_channel=7)),
        ("gate.remote_id", limited(require_remote_id=True)),
        ("gate.return", limited(max_alt_m=12.0, min_alt_m=5.0)),
        ("gate.weather", {"weather": Verdict("fail", "wind is out of limits")}),
        ("gate.home", {"site_alt_m": 200.0}),
        ("gate.route", {"route": config.Route(id="far", waypoints=(waypoint(2100, 0),), speed_mps=15)}),
        ("gate.route", {"route": config.Route(id="high", waypoints=(waypoint(10, 0, alt_m=121.0),))}),
    ],
)
def test_what_the_plan_or_the_rules_forbid_is_refused_by_its_gate(gate, plan):
    assert gate in failing(plan=plan, alt_msl_m=20.0)
    assert set(failing(plan=plan, alt_msl_m=20.0)) <= {gate, "gate.route", "gate.fence"}


def test_by_day_it_may_fly_where_the_night_is_forbidden():
    around = READY.around._replace(wall_s=DAY_S)
    assert failing(plan=limited(night=False), facts={"around": around}) == []


def test_the_switch_of_the_remote_control_decides():
    assert failing(rc(1900), plan=limited(hands_off_channel=7)) == []
    assert failing(rc(1100), plan=limited(hands_off_channel=7)) == ["gate.remote"]
    assert failing(rc(0), plan=limited(hands_off_channel=7)) == ["gate.remote"]


def test_a_remote_id_that_is_good_to_arm_is_enough():
    assert failing(remote_id(0), plan=limited(require_remote_id=True)) == []


def test_a_window_that_is_closed_keeps_it_on_the_ground():
    assert failing(facts={"around": READY.around._replace(closed="noon, 12:00 to 14:00")}) == ["gate.no_fly"]


@pytest.mark.parametrize(
    "name", ["BATT_FS_LOW_ACT", "BATT_FS_CRT_ACT", "FS_EKF_ACTION", "FS_CRASH_CHECK", "FENCE_ACTION"]
)
def test_a_failsafe_that_is_off_is_shown_and_stops_the_flight_only_where_the_config_says_so(name):
    params = {**PARAMS, name: 0.0}
    assert failing(facts={"params": params}) == []
    (shown,) = [check for check in gates.checks(READY._replace(params=params)) if check.state == "fail"]
    assert (shown.gate, shown.advice) == ("failsafes", True) and name in str(shown.value)
    assert failing(facts={"params": params}, plan=limited(require_failsafes=True)) == ["gate.failsafes"]


def test_a_ground_station_id_that_is_ours_would_mask_the_loss_of_the_real_one():
    params = {**PARAMS, "SYSID_MYGCS": 1.0}
    assert failing(facts={"params": params}, plan=limited(require_failsafes=True)) == ["gate.failsafes"]


@pytest.mark.parametrize(
    ("params", "route", "enabled", "refused"),
    [
        ({"FENCE_RADIUS": 70.0}, PATROL, SENSORS, True),  # its farthest corner is 85 m away
        ({"FENCE_RADIUS": 90.0}, PATROL, SENSORS, False),
        ({"FENCE_RADIUS": 70.0, "FENCE_TYPE": 4.0}, PATROL, SENSORS, False),  # polygons alone
        ({"FENCE_RADIUS": 70.0, "FENCE_ACTION": 0.0}, PATROL, SENSORS, False),  # it only reports
        ({"FENCE_RADIUS": 70.0}, PATROL, SENSORS & ~FENCE, False),
        ({"FENCE_RADIUS": 70.0, "FENCE_AUTOENABLE": 3.0}, PATROL, SENSORS & ~FENCE, True),
        ({"FENCE_RADIUS": 70.0}, structs.replace(PATROL, fence=YARD), SENSORS & ~FENCE, True),  # it is switched on then
        ({"FENCE_RADIUS": 70.0}, structs.replace(PATROL, fence=YARD, id="dispatch"), SENSORS & ~FENCE, False),
        ({"FENCE_ALT_MAX": 20.0}, PATROL, SENSORS, True),
        ({"FENCE_ALT_MAX": 20.5}, PATROL, SENSORS, False),
        ({"FENCE_ALT_MIN": 20.0, "FENCE_TYPE": 15.0}, PATROL, SENSORS, True),
        ({"FENCE_ALT_MIN": 20.0}, PATROL, SENSORS, False),
    ],
)
def test_a_place_beyond_the_autopilots_own_cylinder_is_refused_before_it_flies_there(params, route, enabled, refused):
    found = failing(status(enabled), facts={"params": PARAMS | params}, plan={"route": route})
    assert found == (["gate.fence"] if refused else [])


def test_a_flight_is_called_nowhere_from_where_the_autopilots_own_return_takes_too_much():
    order = Dispatch(lat=waypoint(500, 0).lat, lon=LON, alt_m=30, hover_s=10)
    flies = structs.replace(GOOD, armed=True, landed=False, mode="AUTO", alt_m=30.0)
    for way, gate in ((Return(), None), (Return(speed_mps=0.8), "gate.energy")):
        plan = PLAN._replace(route=route.errand(order, PLAN.limits), way=way)
        refusal = reach.aloft(READY._replace(telemetry=flies, plan=plan))
        assert (refusal.gate if refusal else None) == gate


@pytest.mark.parametrize(("present", "enabled"), [(SENSORS & ~FENCE, SENSORS & ~FENCE), (SENSORS, SENSORS & ~FENCE)])
def test_a_fence_that_is_off_stops_the_flight_only_where_the_config_wants_one(present, enabled):
    """Its health bit alone is set without any fence as well."""
    without = status(present=present, enabled=enabled)
    assert failing(without) == []
    assert failing(without, plan=limited(require_fence=True)) == ["gate.fence"]


@pytest.mark.parametrize(
    "params", [{"RTL_ALT_FINAL": 200.0}, {"RTL_ALT": 10_100.0}, {"RTL_ALT": 12_100.0, "FENCE_ENABLE": 0.0}]
)
def test_a_return_that_does_not_land_or_breaks_a_ceiling_is_refused(params):
    assert failing(facts={"params": {**PARAMS, **params}}) == ["gate.return"]


def test_a_clock_that_differs_from_the_gps_is_shown():
    off = {"around": READY.around._replace(wall_s=1_780_000_030.0)}
    (shown,) = [
        check for check in gates.checks(READY._replace(**off)) if check.state != "pass" and check.gate == "clock"
    ]
    assert (shown.value, shown.advice) == ("+29.5 s", True)


def test_a_refusal_names_value_limit_age_and_remedy():
    (refusal,) = gates.refusals(READY._replace(telemetry=structs.replace(GOOD, battery_pct=49.0)))
    assert (refusal.value, refusal.limit, refusal.age_s) == ("49 %", "50 %", 0.5)
    assert refusal.remedy == "charge or change it"


def test_old_telemetry_is_refused_first():
    assert failing(now=NOW + 2, battery_pct=10.0)[0] == "gate.link"


def test_without_any_telemetry_only_the_link_is_to_blame():
    assert [r.gate for r in gates.refusals(READY._replace(telemetry=None))] == ["gate.link"]


def test_what_the_autopilot_complains_about_is_passed_on():
    ready = READY._replace(prearm_ok=False, complaints=("PreArm: Compass not healthy", "Low voltage"))
    (refusal,) = gates.refusals(ready)
    assert refusal.value == "PreArm: Compass not healthy"


def test_a_route_that_costs_more_than_there_is_is_refused():
    far = config.Route(id="far", waypoints=(waypoint(1900, 0),), alt_m=50, speed_mps=3)
    assert failing(plan={"route": far}) == ["gate.energy"]


def test_a_battery_that_was_seen_to_pay_more_flies_less_far():
    half = config.Route(id="half", waypoints=(waypoint(900, 0),), alt_m=50, speed_mps=8)
    assert failing(plan={"route": half}) == []
    assert failing(plan={"route": half, "ratio": 2.5}) == ["gate.energy"]


@given(st.floats(2.0, 4.4), st.floats(0.0, 0.5))
def test_a_fuller_cell_never_shows_less_voltage(cell_v, more):
    low, high = gate_rules.lipo_pct(cell_v), gate_rules.lipo_pct(cell_v + more)
    assert 0 <= low <= high <= 100


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
