"""How the vehicle and its gimbal stood at each moment, from what the autopilot says: for whoever must know it. Pure."""

from __future__ import annotations

import math

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message
from edge_agent.messages import Attitude, GimbalAttitude, Posed, Position

# Asked for only where somebody locates by them, in seconds: interpolated over 50 ms a turn of 90°/s is off by 0.1°.
STREAMS: dict[int, float] = {
    mavlink.MAVLINK_MSG_ID_ATTITUDE: 0.05,
    mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT: 0.1,
    mavlink.MAVLINK_MSG_ID_GIMBAL_DEVICE_ATTITUDE_STATUS: 0.1,
}
_EARTH = mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME


def posed(message: Message, heard_s: float) -> Posed | None:
    """What a message says of it, None for any other message."""
    number = message.get_msgId()
    if number not in STREAMS:
        return None
    boot_s = message.time_boot_ms / 1000
    match number:
        case mavlink.MAVLINK_MSG_ID_ATTITUDE:
            roll, pitch, yaw = message.roll, message.pitch, message.yaw
            rates = (message.rollspeed, message.pitchspeed, message.yawspeed)
            if not all(map(math.isfinite, (roll, pitch, yaw, *rates))):
                return None  # a filter that diverged: it points nowhere
            return Attitude(heard_s=heard_s, boot_s=boot_s, roll=roll, pitch=pitch, yaw=yaw, rates=rates)
        case mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT if (message.lat, message.lon) != (0, 0):
            return Position(
                heard_s=heard_s,
                boot_s=boot_s,
                lat=message.lat / 1e7,
                lon=message.lon / 1e7,
                alt_m=message.relative_alt / 1000,
                north_mps=message.vx / 100,
                east_mps=message.vy / 100,
                up_mps=-message.vz / 100,
            )
        case mavlink.MAVLINK_MSG_ID_GIMBAL_DEVICE_ATTITUDE_STATUS:
            return _gimbal(message, heard_s, boot_s)
        case _:
            return None


def _gimbal(message: Message, heard_s: float, boot_s: float) -> GimbalAttitude | None:
    """The yaw is from the heading unless a flag says otherwise: so ArduPilot has it, also while its yaw is locked.

    (AP_Mount_Backend.cpp, get_gimbal_device_flags; those before 4.5 do not name the frame. Seen on 4.6.)
    """
    size = math.hypot(*message.q)
    if not 0.5 < size < 2.0:  # also where it is not a number: the gimbal does not know
        return None
    w, x, y, z = (value / size for value in message.q)
    return GimbalAttitude(heard_s=heard_s, boot_s=boot_s, q=(w, x, y, z), earth=bool(message.flags & _EARTH))
