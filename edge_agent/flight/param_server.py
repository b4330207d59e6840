"""The autopilot's end of the parameter protocol, with ArduPilot's manners (GCS_Param.cpp). Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message
from edge_agent.flight.params import float32

QUEUE = 20  # requests that wait; what exceeds them is dropped without a word
PER_TICK = 5  # answers, and values of a list

# ArduCopter 4.6's names; what its SITL boots with, and what makes failsafes act.
DEFAULTS: dict[str, float] = {
    "SYSID_THISMAV": 1, "SYSID_MYGCS": 255, "ARMING_CHECK": 1, "DISARM_DELAY": 10, "AUTO_OPTIONS": 0,
    "MIS_RESTART": 0, "MIS_OPTIONS": 0, "MIS_TOTAL": 0,
    "FS_THR_ENABLE": 1, "FS_GCS_ENABLE": 0, "FS_GCS_TIMEOUT": 5, "FS_OPTIONS": 16, "FS_EKF_ACTION": 1,
    "FS_EKF_THRESH": 0.8, "FS_CRASH_CHECK": 1, "FS_DR_ENABLE": 2, "FS_DR_TIMEOUT": 30, "FS_VIBE_ENABLE": 1,
    "FENCE_ENABLE": 0, "FENCE_AUTOENABLE": 0, "FENCE_TYPE": 7, "FENCE_ACTION": 1, "FENCE_ALT_MAX": 100,
    "FENCE_ALT_MIN": -10, "FENCE_RADIUS": 150, "FENCE_MARGIN": 2, "FENCE_TOTAL": 0, "FENCE_OPTIONS": 1,
    "RTL_ALT": 1500, "RTL_ALT_FINAL": 0, "RTL_CLIMB_MIN": 0, "RTL_SPEED": 0, "RTL_LOIT_TIME": 5000,
    "RTL_CONE_SLOPE": 3, "RTL_ALT_TYPE": 0, "RTL_OPTIONS": 0, "RALLY_TOTAL": 0, "RALLY_LIMIT_KM": 0.3,
    "RALLY_INCL_HOME": 1, "WPNAV_SPEED": 1000, "WPNAV_SPEED_UP": 250, "WPNAV_SPEED_DN": 150, "LAND_SPEED": 50,
    "LAND_ALT_LOW": 1000,
    "BATT_MONITOR": 4, "BATT_CAPACITY": 3300, "BATT_LOW_VOLT": 10.5, "BATT_LOW_MAH": 0, "BATT_CRT_VOLT": 0,
    "BATT_CRT_MAH": 0, "BATT_FS_LOW_ACT": 2, "BATT_FS_CRT_ACT": 1, "BATT_LOW_TIMER": 10, "BATT_ARM_VOLT": 0,
}  # fmt: skip
WHOLE = {name for name in DEFAULTS if name not in {
    "FS_EKF_THRESH", "FENCE_ALT_MAX", "FENCE_ALT_MIN", "FENCE_RADIUS", "FENCE_MARGIN", "RTL_CONE_SLOPE",
    "RALLY_LIMIT_KM", "WPNAV_SPEED", "WPNAV_SPEED_UP", "WPNAV_SPEED_DN", "BATT_LOW_VOLT", "BATT_CRT_VOLT",
    "BATT_LOW_MAH", "BATT_CRT_MAH", "BATT_ARM_VOLT",
}}  # fmt: skip
READ_ONLY = {"FENCE_TOTAL", "RALLY_TOTAL", "MIS_TOTAL"}


class ParamServer:
    """Holds `values`, and answers at its own pace; a name that it does not know stays without an answer."""

    def __init__(self, values: dict[str, float], send: Callable[[Message], None]) -> None:
        self.values, self._send = values, send
        self._asked: deque[tuple[str, int]] = deque()
        self._list: deque[str] = deque()

    def receive(self, message: Message) -> None:
        """One message of the protocol."""
        match message.get_msgId():
            case mavlink.MAVLINK_MSG_ID_PARAM_REQUEST_LIST:
                self._list = deque(self.values)
            case mavlink.MAVLINK_MSG_ID_PARAM_REQUEST_READ if len(self._asked) < QUEUE:
                self._asked.append((message.param_id, message.param_index))
            case mavlink.MAVLINK_MSG_ID_PARAM_SET:
                self._set(message.param_id, message.param_value)

    def tick(self) -> None:
        """Answer a few."""
        names = list(self.values)
        for _ in range(min(PER_TICK, len(self._asked))):
            name, index = self._asked.popleft()
            if 0 <= index < len(names):
                name = names[index]
            if name in self.values:
                self._say(name, index)
        for _ in range(min(PER_TICK, len(self._list))):
            name = self._list.popleft()
            self._say(name, names.index(name))

    def _set(self, name: str, value: float) -> None:
        if name not in self.values or not math.isfinite(value):
            return
        if name not in READ_ONLY:
            self.values[name] = float(int(value + math.copysign(0.01, value))) if name in WHOLE else float32(value)
        self._say(name, -1)

    def _say(self, name: str, index: int) -> None:
        kind = mavlink.MAV_PARAM_TYPE_INT16 if name in WHOLE else mavlink.MAV_PARAM_TYPE_REAL32
        number = index if index >= 0 else 0xFFFF
        self._send(
            mavlink.MAVLink_param_value_message(name.encode(), self.values[name], kind, len(self.values), number)
        )
