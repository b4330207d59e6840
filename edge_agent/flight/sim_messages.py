"""What the simulated autopilot is, and what it says of itself: its state, and the messages made of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from msgspec import Struct, field
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import geo
from edge_agent.flight.airframe import Body
from edge_agent.flight.frames import Message
from edge_agent.flight.mavlink import MODE_NUMBERS
from edge_agent.flight.mission import Item
from edge_agent.flight.param_server import DEFAULTS

READY_S = 2.0  # GPS and EKF are good so long after the start
BATTERY_LOW_PCT = 20.0
GROUND_MSL_M = 50.0
_EKF_GOOD = 0x33F  # EKF_STATUS_REPORT of a healthy EKF with a position

_FENCE_POLYGON = 4  # the bit of FENCE_TYPE


class State(Struct, kw_only=True):
    """Everything that a killed world needs to go on where it stood."""

    lat: float
    lon: float
    time_s: float = 0.0  # since the start
    body: Body = field(default_factory=Body)
    mode: str = "STABILIZE"
    armed: bool = False
    idle_s: float = 0.0  # armed on the ground, and nothing flies
    home: tuple[float, float] = (0.0, 0.0)  # north_m, east_m
    items: list[Item] = field(default_factory=list)
    fence: list[Item] = field(default_factory=list)
    rally: list[Item] = field(default_factory=list)
    params: dict[str, float] = field(default_factory=lambda: dict(DEFAULTS))
    fence_on: bool = False
    seq: int = 0
    started: bool = False  # the mission runs
    started_s: float = 0.0
    paused: bool = False
    speed_mps: float = 5.0
    arrived_s: float | None = None  # at the waypoint, or over home
    descending: bool = False
    failsafe: str = ""
    rc_us: tuple[int, ...] = ()  # what its pilot's transmitter sends, channel by channel; empty: nothing


def prearm(s: State) -> str:
    """Why it would not arm, or nothing."""
    if s.time_s < READY_S:
        return "GPS 1: Bad fix"
    if s.body.battery_pct < BATTERY_LOW_PCT:
        return "Battery 1 below minimum arming capacity"
    return ""


def fence_present(s: State) -> bool:
    """AC_Fence::present: heights and the circle around home are there by their type, polygons by their corners."""
    kinds = int(s.params["FENCE_TYPE"])
    return bool(kinds & ~_FENCE_POLYGON) or bool(kinds & _FENCE_POLYGON and s.fence)


def place(s: State) -> tuple[float, float]:
    return geo.from_local(s.body.north_m, s.body.east_m, s.lat, s.lon)


def _home_place(s: State) -> tuple[int, int]:
    lat, lon = geo.from_local(*s.home, s.lat, s.lon)
    return round(lat * 1e7), round(lon * 1e7)


def home_item(s: State) -> Item:
    x, y = _home_place(s)
    return Item(seq=0, frame=0, command=mavlink.MAV_CMD_NAV_WAYPOINT, x=x, y=y, z=GROUND_MSL_M)


def heartbeat(s: State) -> Message:
    base = mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED | (mavlink.MAV_MODE_FLAG_SAFETY_ARMED if s.armed else 0)
    state = mavlink.MAV_STATE_ACTIVE if s.armed else mavlink.MAV_STATE_STANDBY
    return mavlink.MAVLink_heartbeat_message(
        mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA, base, MODE_NUMBERS[s.mode], state, 3
    )


def sys_status(s: State) -> Message:
    prearm_bit = mavlink.MAV_SYS_STATUS_PREARM_CHECK
    fence_bit = mavlink.MAV_SYS_STATUS_GEOFENCE if fence_present(s) else 0
    present = prearm_bit | mavlink.MAV_SYS_STATUS_SENSOR_GPS | mavlink.MAV_SYS_STATUS_SENSOR_BATTERY | fence_bit
    enabled = present & ~(0 if s.fence_on and s.params["FENCE_ACTION"] else fence_bit)
    health = present & ~(prearm_bit if prearm(s) else 0)
    millivolts, percent = round(s.body.voltage * 1000), int(s.body.battery_pct)
    return mavlink.MAVLink_sys_status_message(present, enabled, health, 100, millivolts, -1, percent, 0, 0, 0, 0, 0, 0)


def battery(s: State) -> Message:
    body = s.body
    cells = [round(body.voltage * 250)] * 4 + [0xFFFF] * 6
    return mavlink.MAVLink_battery_status_message(0, 0, 0, 0x7FFF, cells, -1, -1, -1, int(body.battery_pct))


def global_position(s: State) -> Message:
    body = s.body
    lat, lon = place(s) if s.time_s >= READY_S else (0.0, 0.0)
    return mavlink.MAVLink_global_position_int_message(
        round(s.time_s * 1000), round(lat * 1e7), round(lon * 1e7),
        round((GROUND_MSL_M + body.up_m) * 1000), round(body.up_m * 1000),
        round(body.north_mps * 100), round(body.east_mps * 100), round(-body.up_mps * 100),
        round(body.heading_deg * 100) % 36000,
    )  # fmt: skip


def attitude(s: State) -> Message:
    """Always level: a body without inertia does not lean."""
    yaw = math.remainder(math.radians(s.body.heading_deg), math.tau)
    return mavlink.MAVLink_attitude_message(round(s.time_s * 1000), 0.0, 0.0, yaw, 0.0, 0.0, 0.0)


def gps(s: State) -> Message:
    lat, lon = place(s)
    fix, satellites = (3, 12) if s.time_s >= READY_S else (1, 3)
    return mavlink.MAVLink_gps_raw_int_message(
        round(s.time_s * 1e6), fix, round(lat * 1e7), round(lon * 1e7),
        round((GROUND_MSL_M + s.body.up_m) * 1000), 80, 120, round(s.body.speed_mps * 100), 0, satellites,
    )  # fmt: skip


def extended(s: State) -> Message:
    if s.body.on_ground:
        landed = mavlink.MAV_LANDED_STATE_ON_GROUND
    elif s.descending:
        landed = mavlink.MAV_LANDED_STATE_LANDING
    elif s.mode == "AUTO" and s.seq == 1:
        landed = mavlink.MAV_LANDED_STATE_TAKEOFF
    else:
        landed = mavlink.MAV_LANDED_STATE_IN_AIR
    return mavlink.MAVLink_extended_sys_state_message(0, landed)


def mission_current(s: State) -> Message:
    return mavlink.MAVLink_mission_current_message(s.seq, max(len(s.items) - 1, 0))


def ekf(s: State) -> Message:
    flags = _EKF_GOOD if s.time_s >= READY_S else mavlink.EKF_ATTITUDE | mavlink.EKF_CONST_POS_MODE
    return mavlink.MAVLink_ekf_status_report_message(flags, 0.1, 0.1, 0.1, 0.1, 0.0)


def home(s: State) -> Message:
    x, y = _home_place(s)
    return mavlink.MAVLink_home_position_message(x, y, round(GROUND_MSL_M * 1000), 0, 0, 0, [1, 0, 0, 0], 0, 0, 0)


def rc_channels(s: State) -> Message:
    pulses = (*s.rc_us, *[0] * 18)[:18]
    return mavlink.MAVLink_rc_channels_message(round(s.time_s * 1000), len(s.rc_us), *pulses, 255 if s.rc_us else 0)


MAKERS: dict[int, Callable[[State], Message]] = {
    mavlink.MAVLINK_MSG_ID_HEARTBEAT: heartbeat,
    mavlink.MAVLINK_MSG_ID_SYS_STATUS: sys_status,
    mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: global_position,
    mavlink.MAVLINK_MSG_ID_ATTITUDE: attitude,
    mavlink.MAVLINK_MSG_ID_GPS_RAW_INT: gps,
    mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE: extended,
    mavlink.MAVLINK_MSG_ID_MISSION_CURRENT: mission_current,
    mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: battery,
    mavlink.MAVLINK_MSG_ID_EKF_STATUS_REPORT: ekf,
    mavlink.MAVLINK_MSG_ID_HOME_POSITION: home,
    mavlink.MAVLINK_MSG_ID_RC_CHANNELS: rc_channels,
}
