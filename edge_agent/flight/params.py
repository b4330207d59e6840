"""Parameters over MAVLink (https://mavlink.io/en/services/parameter.html) as ArduPilot keeps them, sans-I/O.

ArduPilot answers no request for a name that it does not know, drops what exceeds its queue of 20, and tells every
client of a value that was set. Values travel as 32-bit floats, whole numbers too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message

State = Literal["running", "done", "failed"]

RESEND_S = 0.7
TRIES = 6
WINDOW = 8  # of the 20 requests that ArduPilot queues
SILENT_S = 8.0  # a list of which nothing came
GAP_S = 1.0  # a list that stands still has lost what is missing
CONFIRM_S = 0.3  # from setting to asking what it is
MAX_NAME = 16


class Known(NamedTuple):
    """One setting under the names that it had, each with the factor that makes SI units of its value."""

    names: tuple[tuple[str, float], ...]
    why: str


def _same(*names: str, why: str) -> dict[str, Known]:
    return {name.lower(): Known(((name, 1.0),), why) for name in names}


# The settings that safety hangs on, under their names in ArduCopter 4.3 to 4.7. The new names are 4.7's, from
# "Parameter Name Changes" (ardupilot_wiki common-param-name-changes.rst) and QGroundControl's 4.7 remap; the old ones
# and all the others from ArduCopter/Parameters.cpp, AC_Fence.cpp, AP_BattMonitor_Params.cpp and AP_Mission.cpp of 4.6.
SAFETY: dict[str, Known] = {
    **_same("FS_THR_ENABLE", "FS_GCS_ENABLE", "FS_GCS_TIMEOUT", "FS_OPTIONS", "FS_EKF_ACTION", "FS_EKF_THRESH",
            "FS_CRASH_CHECK", "FS_DR_ENABLE", "FS_DR_TIMEOUT", "FS_VIBE_ENABLE", why="what a failsafe does"),
    **_same("FENCE_ENABLE", "FENCE_AUTOENABLE", "FENCE_TYPE", "FENCE_ACTION", "FENCE_ALT_MAX", "FENCE_ALT_MIN",
            "FENCE_RADIUS", "FENCE_MARGIN", "FENCE_TOTAL", "FENCE_OPTIONS", why="where it may be"),
    **_same("RTL_LOIT_TIME", "RTL_CONE_SLOPE", "RTL_ALT_TYPE", "RTL_OPTIONS", "RALLY_TOTAL", "RALLY_LIMIT_KM",
            "RALLY_INCL_HOME", why="how it comes home, and where to"),
    **_same("BATT_MONITOR", "BATT_CAPACITY", "BATT_LOW_VOLT", "BATT_LOW_MAH", "BATT_CRT_VOLT", "BATT_CRT_MAH",
            "BATT_FS_LOW_ACT", "BATT_FS_CRT_ACT", "BATT_LOW_TIMER", "BATT_ARM_VOLT", why="when it must end"),
    **_same("MIS_RESTART", "MIS_OPTIONS", "AUTO_OPTIONS", "DISARM_DELAY", why="what AUTO begins with, and how it ends"),
    "rtl_alt_m": Known((("RTL_ALT_M", 1.0), ("RTL_ALT", 0.01)), "the height of the way home"),
    "rtl_alt_final_m": Known((("RTL_ALT_FINAL_M", 1.0), ("RTL_ALT_FINAL", 0.01)), "0: it lands"),
    "rtl_climb_min_m": Known((("RTL_CLIMB_MIN_M", 1.0), ("RTL_CLIMB_MIN", 0.01)), "it climbs at least so far"),
    "rtl_speed_mps": Known((("RTL_SPEED_MS", 1.0), ("RTL_SPEED", 0.01)), "0: the speed of waypoints"),
    "wp_speed_mps": Known((("WP_SPD", 1.0), ("WPNAV_SPEED", 0.01)), "the speed where a mission names none"),
    "wp_speed_up_mps": Known((("WP_SPD_UP", 1.0), ("WPNAV_SPEED_UP", 0.01)), "climbing"),
    "wp_speed_down_mps": Known((("WP_SPD_DN", 1.0), ("WPNAV_SPEED_DN", 0.01)), "descending"),
    "land_speed_mps": Known((("LAND_SPD_MS", 1.0), ("LAND_SPEED", 0.01)), "the last metres"),
    "land_alt_low_m": Known((("LAND_ALT_LOW_M", 1.0), ("LAND_ALT_LOW", 0.01)), "where the last metres begin"),
    "system_id": Known((("MAV_SYSID", 1.0), ("SYSID_THISMAV", 1.0)), "whom we speak with"),
    "gcs_system_id": Known((("MAV_GCS_SYSID", 1.0), ("SYSID_MYGCS", 1.0)), "whose silence FS_GCS_ENABLE minds"),
    "arming_check": Known((("ARMING_CHECK", 1.0),), "the checks that are made, before 4.7; 1: all"),
    "arming_skip": Known((("ARMING_SKIPCHK", 1.0),), "the checks that are left out, from 4.7; 0: none"),
}  # fmt: skip
WATCHED = tuple(name for known in SAFETY.values() for name, _ in known.names)


def safety_value(aboard: Mapping[str, float], key: str) -> float | None:
    """A setting of `SAFETY` in SI units, whichever name this firmware has for it; None where it was not heard."""
    for name, factor in SAFETY[key].names:
        if name in aboard:
            return aboard[name] * factor
    return None


def float32(value: float) -> float:
    """The value as the wire and the autopilot hold it; OverflowError where no 32-bit float does."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


class _Job:
    """What all three have in common: `state`, `detail`, and the messages that are due."""

    def __init__(self, to: tuple[int, int]) -> None:
        self._to = to
        self._out: list[Message] = []
        self.state: State = "running"
        self.detail = ""

    def receive(self, message: Message, now: float) -> None:
        """A PARAM_VALUE; it names no addressee, and is true whoever asked."""
        if self.state == "running":
            self._heed(message, now)

    def tick(self, now: float) -> None:
        if self.state == "running":
            self._due(now)

    def messages(self) -> list[Message]:
        """What to send now."""
        out, self._out = self._out, []
        return out

    def abandon(self, why: str) -> None:
        """The other end is gone."""
        if self.state == "running":
            self.state, self.detail = "failed", why

    def _ask(self, name: str, index: int = -1) -> None:
        self._out.append(mavlink.MAVLink_param_request_read_message(*self._to, name.encode(), index))

    def _heed(self, message: Message, now: float, /) -> None:
        raise NotImplementedError

    def _due(self, now: float) -> None:
        raise NotImplementedError


class Read(_Job):
    """Reads some parameters by name: `values`; `missing` is what this firmware does not answer for."""

    def __init__(self, to: tuple[int, int], names: Iterable[str], now: float) -> None:
        super().__init__(to)
        self.values: dict[str, float] = {}
        self.missing: list[str] = []
        self._waiting = dict.fromkeys(names, 0)  # tries so far
        self._due_s = dict.fromkeys(self._waiting, now)
        self._due(now)

    def _heed(self, message: Message, now: float) -> None:
        if message.param_id in self._waiting:
            self.values[message.param_id] = message.param_value
            del self._waiting[message.param_id]
            self._due(now)

    def _due(self, now: float) -> None:
        for name in list(self._waiting)[:WINDOW]:
            if now < self._due_s[name]:
                continue
            if self._waiting[name] == TRIES:
                del self._waiting[name]
                self.missing.append(name)
                continue
            self._waiting[name] += 1
            self._due_s[name] = now + RESEND_S
            self._ask(name)
        if not self._waiting:
            self.state = "done"


class ReadAll(_Job):
    """Reads every parameter: `values`. ArduPilot sends the list once; what is lost of it is asked for by index."""

    def __init__(self, to: tuple[int, int], now: float) -> None:
        super().__init__(to)
        self.values: dict[str, float] = {}
        self.count: int | None = None
        self._missing: set[int] = set()
        self._heard_s = self._asked_s = now
        self._tries = 1
        self._request()

    def _request(self) -> None:
        self._out.append(mavlink.MAVLink_param_request_list_message(*self._to))

    def _heed(self, message: Message, now: float) -> None:
        if self.count != message.param_count:  # at first, or when an …_ENABLE showed or hid a group: all indexes moved
            self.count, self._missing = message.param_count, set(range(message.param_count))
            self.values.clear()
        if message.param_index not in self._missing:
            return  # an answer to somebody's question by name has no index
        self._missing.discard(message.param_index)
        self.values[message.param_id] = message.param_value
        self._heard_s = self._asked_s = now
        if not self._missing:
            self.state = "done"

    def _due(self, now: float) -> None:
        if now - self._heard_s > SILENT_S:
            what = "no parameter came" if self.count is None else f"{len(self._missing)} of {self.count} are missing"
            self.state, self.detail = "failed", what
        elif now - self._asked_s > GAP_S:
            self._asked_s = now
            if self.count is None:
                self._request()
            for index in sorted(self._missing)[:WINDOW]:
                self._ask("", index)


class Set(_Job):
    """Sets one parameter and reads it back: done only when the autopilot says that value. `value` is as a float32."""

    def __init__(self, to: tuple[int, int], name: str, value: float, now: float) -> None:
        super().__init__(to)
        self.name, self.value = name, float32(value)
        self._aboard: float | None = None
        self._tries, self._due_s = 0, now
        self._asks = False
        self._due(now)

    def _heed(self, message: Message, _now: float) -> None:
        if message.param_id != self.name:
            return
        self._aboard = message.param_value
        if message.param_value == self.value:
            self.state = "done"

    def _due(self, now: float) -> None:
        if now < self._due_s:
            return
        if self._asks:
            self._asks, self._due_s = False, now + RESEND_S
            self._ask(self.name)
            return
        if self._tries == TRIES:
            kept = f"stays {self._aboard:g}, {self.value:g} was sent" if self._aboard is not None else "is not known"
            self.state, self.detail = "failed", f"{self.name} {kept}"
            return
        self._tries += 1
        self._asks, self._due_s = True, now + CONFIRM_S
        self._out.append(
            mavlink.MAVLink_param_set_message(*self._to, self.name.encode(), self.value, mavlink.MAV_PARAM_TYPE_REAL32)
        )


Job = Read | ReadAll | Set
