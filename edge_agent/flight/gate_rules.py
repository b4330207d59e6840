"""What each gate asks of the vehicle. Pure; limits come from the config or from the source that the line names."""

from __future__ import annotations

import math
from itertools import pairwise

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.flight import energy as costs
from edge_agent.flight import facts as known
from edge_agent.flight import route as routes
from edge_agent.flight.facts import Facts
from edge_agent.flight.mavlink import OURS
from edge_agent.flight.verdict import Verdict, no, unknown, yes
from edge_agent.plans.judge import route_faults

# What autotest's wait_ready_to_arm asks of EKF_STATUS_REPORT, and what must not be there.
EKF_NEEDED = (
    mavlink.EKF_ATTITUDE | mavlink.EKF_VELOCITY_HORIZ | mavlink.EKF_VELOCITY_VERT | mavlink.EKF_POS_HORIZ_REL
    | mavlink.EKF_POS_HORIZ_ABS | mavlink.EKF_POS_VERT_ABS | mavlink.EKF_PRED_POS_HORIZ_REL
    | mavlink.EKF_PRED_POS_HORIZ_ABS
)  # fmt: skip
EKF_FORBIDDEN = mavlink.EKF_CONST_POS_MODE | mavlink.EKF_UNINITIALIZED | mavlink.EKF_GPS_GLITCHING
EKF_VARIANCE = 0.64  # 0.8 of FS_EKF_THRESH's default 0.8, past which ArduPilot calls it a failure

LEVEL_DEG = 15.0
SITE_ALT_M = 40.0  # GPS heights are that good
HOME_ALT_M = 15.0  # how far a vehicle on the ground may stand above or below its own home

# A LiPo cell at rest: volts against per cent. A reboot of the flight controller counts from 100 % again, whatever is
# in the battery; the voltage does not forget.
LIPO = (
    (3.27, 0.0), (3.69, 10.0), (3.73, 20.0), (3.77, 30.0), (3.79, 40.0), (3.82, 50.0), (3.87, 60.0), (3.92, 70.0),
    (3.98, 80.0), (4.08, 90.0), (4.20, 100.0),
)  # fmt: skip
BATTERY_C = (0.0, 60.0)
CELL_MAX_V = 4.25
VOLTAGE_DOUBT_PCT = 35.0  # below what is reported: the curve is flat, and chemistries differ

SENSORS = {
    mavlink.MAV_SYS_STATUS_SENSOR_3D_GYRO: "gyro",
    mavlink.MAV_SYS_STATUS_SENSOR_3D_ACCEL: "accelerometer",
    mavlink.MAV_SYS_STATUS_SENSOR_3D_MAG: "compass",
    mavlink.MAV_SYS_STATUS_SENSOR_ABSOLUTE_PRESSURE: "barometer",
    mavlink.MAV_SYS_STATUS_SENSOR_GPS: "GPS",
    mavlink.MAV_SYS_STATUS_AHRS: "attitude estimate",
    mavlink.MAV_SYS_STATUS_SENSOR_BATTERY: "battery monitor",
}


def vehicle(facts: Facts) -> Verdict:
    if facts.copter:
        return yes("a multicopter under ArduPilot")
    return no("not a multicopter under ArduPilot", remedy="check vehicle.url and vehicle.system_id")


def alone(facts: Facts) -> Verdict:
    """One agent a vehicle; ground stations are welcome."""
    if known.agents(facts.others, facts.system_id, OURS):
        remedy = "stop the other agent, or ask it to fly"
        return no(
            "another agent commands this vehicle", f"component {OURS} of system {facts.system_id}", "none", remedy
        )
    stations = len(known.stations(facts.others))
    return yes("no other agent", f"{stations} ground station{'' if stations == 1 else 's'}")


def on_ground(facts: Facts) -> Verdict:
    t = facts.t
    found = f"{'armed' if t.armed else 'disarmed'}, {'on the ground' if t.landed else 'not seen on the ground'}"
    if t.landed is True and not t.armed:
        return yes("disarmed and on the ground", found)
    return no("a flight starts disarmed and on the ground", found, remedy="land and disarm")


def level(facts: Facts) -> Verdict:
    """On its feet: it stands neither on a slope nor in somebody's hands."""
    attitude = facts.message(mavlink.MAVLINK_MSG_ID_ATTITUDE)
    if attitude is None:
        return unknown("its attitude was not heard", "wait", advice=True)
    lean = max(abs(math.degrees(attitude.roll)), abs(math.degrees(attitude.pitch)))
    value, limit = f"{lean:.1f}°", f"{LEVEL_DEG:g}°"
    return yes("level", value, limit) if lean <= LEVEL_DEG else no("it leans", value, limit, "put it on level ground")


def gps(facts: Facts) -> Verdict:
    t, limits = facts.t, facts.plan.limits
    if (t.gps_fix or 0) < mavlink.GPS_FIX_TYPE_3D_FIX:
        return no("no 3D fix", str(t.gps_fix), "3", "wait, under open sky")
    least = str(limits.min_satellites)
    if (t.satellites or 0) < limits.min_satellites:
        return no("too few satellites", str(t.satellites), least, "wait, under open sky")
    raw = facts.message(mavlink.MAVLINK_MSG_ID_GPS_RAW_INT)
    if raw is not None and raw.eph != 0xFFFF and raw.eph / 100 > limits.max_hdop:
        return no("the satellites stand badly", f"hdop {raw.eph / 100:g}", f"{limits.max_hdop:g}", "wait")
    return yes("a fix that is good enough", f"fix {t.gps_fix}, {t.satellites} satellites", f"3, {least}")


def ekf(facts: Facts) -> Verdict:
    report = facts.message(mavlink.MAVLINK_MSG_ID_EKF_STATUS_REPORT)
    if report is None:
        return unknown("EKF_STATUS_REPORT was not heard", "wait", f"{EKF_NEEDED:#06x}")
    flags = report.flags
    if flags & EKF_NEEDED != EKF_NEEDED or flags & EKF_FORBIDDEN:
        return no("the position estimate is not good yet", f"{flags:#06x}", f"{EKF_NEEDED:#06x}", "wait")
    names = ("velocity_variance", "pos_horiz_variance", "pos_vert_variance", "compass_variance")
    worst = max(names, key=lambda name: float(getattr(report, name)))
    value = f"{worst} {getattr(report, worst):.2f}"
    if getattr(report, worst) > EKF_VARIANCE:
        return no("the position estimate doubts itself", value, f"{EKF_VARIANCE:g}", "wait; keep away from metal")
    return yes("the position estimate is good", value, f"{EKF_VARIANCE:g}")


def home(facts: Facts) -> Verdict:
    """Home is where the autopilot returns to and what heights are measured from: all three must be one place."""
    t, plan = facts.t, facts.plan
    if t.lat is None or t.lon is None:
        return unknown("no position yet", "wait for the position fix")
    if t.home_lat is None or t.home_lon is None:
        return unknown("home is not known yet", "wait for the position fix")
    radius_m = plan.limits.home_radius_m
    limit = f"{radius_m:g} m"
    away_m = geo.distance_m(t.home_lat, t.home_lon, t.lat, t.lon)
    if away_m > radius_m:
        remedy = "carry it to its home, or set home anew where it stands"
        return no("the vehicle is away from its home", f"{away_m:.0f} m", limit, remedy)
    if t.alt_m is not None and abs(t.alt_m) > HOME_ALT_M:
        remedy = "set home anew: heights are measured from it"
        return no("the vehicle is not at its home's height", f"{t.alt_m:+.0f} m", f"{HOME_ALT_M:g} m", remedy)
    if plan.site is None:
        return yes("it stands at its home", f"{away_m:.0f} m", limit)
    if plan.site_alt_m is not None and t.alt_msl_m is not None and abs(t.alt_msl_m - plan.site_alt_m) > SITE_ALT_M:
        value, limit = f"{t.alt_msl_m:.0f} m above the sea", f"{plan.site_alt_m:g} m, {SITE_ALT_M:g} m more or less"
        return no("not at the height of the site's take-off place", value, limit, "look at the GPS, or at site.alt_m")
    for what, lat, lon in (("home", t.home_lat, t.home_lon), ("the vehicle", t.lat, t.lon)):
        away_m = geo.distance_m(*plan.site, lat, lon)
        if away_m > radius_m:
            remedy = "carry it there, or mend site.lat/site.lon or limits.home_radius_m"
            return no(f"{what} is away from the site's take-off place", f"{away_m:.0f} m", limit, remedy)
    return yes("it stands at its home, on the site's take-off place", f"{away_m:.0f} m", limit)


def sensors(facts: Facts) -> Verdict:
    status = facts.message(mavlink.MAVLINK_MSG_ID_SYS_STATUS)
    if status is None:
        return unknown("SYS_STATUS was not heard", "wait")
    there = status.onboard_control_sensors_present & status.onboard_control_sensors_enabled
    sick = [name for bit, name in SENSORS.items() if there & bit and not status.onboard_control_sensors_health & bit]
    if sick:
        return no("not healthy, says the autopilot", ", ".join(sick), "all healthy", "mend what it names")
    return yes("all that are enabled are healthy", f"{sum(bool(there & bit) for bit in SENSORS)} sensors")


def prearm(facts: Facts) -> Verdict:
    if facts.prearm_ok:
        return yes("the autopilot's own checks pass")
    if facts.prearm_ok is None:
        return no("the autopilot does not report its checks", remedy="set ARMING_CHECK to 1")
    said = "; ".join(text for text in facts.complaints if "Arm" in text) or None
    return no("the autopilot's own checks fail", said, remedy="mend what it names")


def battery(facts: Facts) -> Verdict:
    t, least = facts.t, facts.plan.limits.takeoff_battery_pct
    limit = f"{least:g} %"
    if t.battery_pct is None:
        return unknown("its charge is unknown", "set BATT_MONITOR and BATT_CAPACITY", limit)
    if t.battery_pct < least:
        return no("too low to take off", f"{t.battery_pct:g} %", limit, "charge or change it")
    return yes("enough to take off", f"{t.battery_pct:g} %", limit)


def voltage(facts: Facts) -> Verdict:
    t = facts.t
    if t.battery_v is None or t.battery_pct is None:
        return unknown("its voltage is not measured", "set BATT_MONITOR", advice=True)
    cells = facts.plan.airframe.cells or math.ceil(t.battery_v / CELL_MAX_V)
    charge_pct = lipo_pct(t.battery_v / cells)
    value = f"{t.battery_v:.1f} V of {cells} cells, about {charge_pct:.0f} %"
    limit = f"{t.battery_pct:g} % less {VOLTAGE_DOUBT_PCT:g}"
    if charge_pct < t.battery_pct - VOLTAGE_DOUBT_PCT:
        remedy = "charge or change it: a reboot makes the autopilot count from 100 % again; airframe.cells if wrong"
        return no("the voltage is that of an emptier battery", value, limit, remedy)
    return yes("the voltage agrees with the charge", value, limit)


def battery_health(facts: Facts) -> Verdict:
    """What a battery says of itself, where it can speak (BATTERY_STATUS)."""
    message = facts.message(mavlink.MAVLINK_MSG_ID_BATTERY_STATUS)
    if message is None:
        return unknown("BATTERY_STATUS was not heard", "wait", advice=True)
    faults = getattr(message, "fault_bitmask", 0)
    if faults:
        return no("the battery reports a fault", f"{faults:#x}", "0", "change it")
    bad = (mavlink.MAV_BATTERY_CHARGE_STATE_CRITICAL, mavlink.MAV_BATTERY_CHARGE_STATE_EMERGENCY,
           mavlink.MAV_BATTERY_CHARGE_STATE_FAILED, mavlink.MAV_BATTERY_CHARGE_STATE_UNHEALTHY)  # fmt: skip
    state = getattr(message, "charge_state", 0)
    if state in bad:
        name = str(mavlink.enums["MAV_BATTERY_CHARGE_STATE"][state].name).removeprefix("MAV_BATTERY_CHARGE_STATE_")
        return no("the battery is not well", name.lower(), "ok", "charge or change it")
    cold_c = message.temperature / 100 if message.temperature not in (0, 0x7FFF) else None
    if cold_c is not None and not BATTERY_C[0] <= cold_c <= BATTERY_C[1]:
        return no(
            "the battery is too cold or too hot", f"{cold_c:.0f} °C", f"{BATTERY_C[0]:g}..{BATTERY_C[1]:g} °C", "wait"
        )
    return yes("no fault is reported")


def route(facts: Facts) -> Verdict:
    """Heights, distances and fence of the route, from where this vehicle's home is."""
    t, plan = facts.t, facts.plan
    if plan.route is None:
        return yes("no route was named")
    place = plan.site if t.home_lat is None or t.home_lon is None else (t.home_lat, t.home_lon)
    faults = route_faults(plan.route, place, plan.limits)
    if faults:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return no(f"{first.where}: {first.reason}{more}", first.value, first.limit, first.remedy)
    return yes("within limits and fence", f"{len(plan.route.waypoints)} places")


def energy(facts: Facts) -> Verdict:
    t, plan = facts.t, facts.plan
    if plan.route is None:
        return yes("no route was named")
    if t.battery_pct is None:
        return unknown("its charge is unknown", "set BATT_MONITOR and BATT_CAPACITY")
    if t.home_lat is None or t.home_lon is None:
        return unknown("home is not known yet", "wait for the position fix")
    stops, place = routes.stops(plan.route), costs.Place(t.home_lat, t.home_lon, 0.0)
    flown = costs.plan(plan.airframe, place, stops, plan.wind, plan.way)
    reserve_pct = costs.reserve_pct(plan.airframe, plan.ratio)
    need_pct = costs.pct(plan.airframe, flown.need_wh, plan.ratio) + reserve_pct
    value = f"{t.battery_pct:g} %"
    if math.isinf(need_pct):
        return no(f"the wind forbids the route {plan.route.id}", f"{plan.wind.speed_mps:g} m/s", remedy="wait")
    limit = f"{need_pct:.0f} % ({reserve_pct:.0f} % of it reserve)"
    if t.battery_pct < need_pct:
        reason = f"the route {plan.route.id} needs more than there is"
        return no(reason, value, limit, "charge, or fly a shorter route")
    return yes(f"enough for the route {plan.route.id}", value, limit)


def lipo_pct(cell_v: float) -> float:
    """The charge of a cell at rest, from its voltage."""
    if cell_v <= LIPO[0][0]:
        return 0.0
    for (low_v, low_pct), (high_v, high_pct) in pairwise(LIPO):
        if cell_v <= high_v:
            return low_pct + (cell_v - low_v) / (high_v - low_v) * (high_pct - low_pct)
    return 100.0
