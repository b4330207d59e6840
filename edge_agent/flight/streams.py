"""Which messages the autopilot is asked to send, how often, and whether they come. Sans-I/O.

Rates are forgotten when the autopilot restarts, and changed by whoever else asks on the same link: so what counts is
what arrives, not what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping

from pymavlink.dialects.v20 import ardupilotmega as mavlink

# What telemetry and gates need, and how often, in seconds.
STREAMS: dict[int, float] = {
    mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 0.2,
    mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE: 0.5,
    mavlink.MAVLINK_MSG_ID_MISSION_CURRENT: 0.5,
    mavlink.MAVLINK_MSG_ID_SYS_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_BATTERY_STATUS: 1.0,
    mavlink.MAVLINK_MSG_ID_GPS_RAW_INT: 1.0,
    mavlink.MAVLINK_MSG_ID_EKF_STATUS_REPORT: 1.0,
    mavlink.MAVLINK_MSG_ID_HOME_POSITION: 0.5,
    mavlink.MAVLINK_MSG_ID_ATTITUDE: 1.0,
    mavlink.MAVLINK_MSG_ID_RC_CHANNELS: 1.0,
    mavlink.MAVLINK_MSG_ID_SYSTEM_TIME: 2.0,
    mavlink.MAVLINK_MSG_ID_WIND: 2.0,
    mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION: 10.0,
}

ENOUGH = 0.5  # of what was asked for: a slow radio may thin it out, another's request may not
LOOK_S = 2.0  # beside three intervals: how long a rate is watched before it is judged
MOST_S = 60.0  # between two requests for what never comes


class _Watched:
    """One message: how many came since when, and how long the next look lasts."""

    def __init__(self, interval_s: float) -> None:
        self.look_s = self.first_s = 3 * interval_s + LOOK_S
        self.since_s: float | None = None
        self.count = 0


class Rates:
    """Counts what arrives, and says what must be asked for (again)."""

    def __init__(self, wanted: Mapping[int, float]) -> None:
        self._wanted = wanted
        self.forget()

    def forget(self) -> None:
        """The link is a new one, or the autopilot restarted: everything is asked for."""
        self._watched = {number: _Watched(interval_s) for number, interval_s in self._wanted.items()}

    def heard(self, number: int) -> None:
        if (watched := self._watched.get(number)) is not None:
            watched.count += 1

    def due(self, now: float) -> list[tuple[int, float]]:
        """Messages to be asked for now, each with its interval in seconds."""
        found: list[tuple[int, float]] = []
        for number, interval_s in self._wanted.items():
            watched = self._watched[number]
            if watched.since_s is not None and now - watched.since_s < watched.look_s:
                continue
            if watched.since_s is None:
                found.append((number, interval_s))
            elif watched.count >= ENOUGH * (now - watched.since_s) / interval_s:
                watched.look_s = watched.first_s
            else:
                found.append((number, interval_s))
                watched.look_s = min(2 * watched.look_s, MOST_S)
            watched.since_s, watched.count = now, 0
        return found
