"""The switch of a remote control with which a pilot takes the agent's hands off. Pure."""

from __future__ import annotations

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message
from edge_agent.flight.mavlink import Link

OVER_US = 1500
NOT_HEARD = (0, 0xFFFF)


def pulse_us(message: Message | None, channel: int) -> int | None:
    """What RC_CHANNELS says of a channel; None where the remote control is not heard."""
    found = getattr(message, f"chan{channel}_raw") if message is not None else 0
    return None if found in NOT_HEARD else int(found)


def is_off(link: Link, channel: int | None) -> bool:
    """Whether the pilot is seen to want the agent's hands off; a remote control that falls silent wants nothing."""
    if channel is None:
        return False
    pulse = pulse_us(link.fact(mavlink.MAVLINK_MSG_ID_RC_CHANNELS), channel)
    return pulse is not None and pulse < OVER_US
