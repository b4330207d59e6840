"""The one place where a wish becomes a command to the vehicle: permitted by `safety` first, or refused."""

from __future__ import annotations

from typing import assert_never

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.config import Limits
from edge_agent.flight import mavlink as link_core
from edge_agent.flight import mission, params, safety, transfer
from edge_agent.flight.command import Command
from edge_agent.messages import Refusal

Job = Command | transfer.Upload | transfer.Download | params.Set | Refusal


def order(link: link_core.Link, command: safety.Command, limits: Limits, now: float) -> Job:
    """Start what `command` says; the answer is a job to watch. What must not happen twice is resent only while the
    vehicle is seen not to have done it.
    """
    refusal = safety.permit(command, link.telemetry(), limits, now)
    link.orders.append((command, refusal))
    if refusal is not None:
        return refusal
    match command:
        case safety.Arm():
            return link.command(
                mavlink.MAV_CMD_COMPONENT_ARM_DISARM,
                1,
                now=now,
                wanted=lambda: not link.armed and link.mode == "GUIDED",
            )
        case safety.Disarm():
            return link.command(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, 0, now=now, wanted=lambda: link.armed)
        case safety.SetMode(mode=mode):
            number = link_core.MODE_NUMBERS[mode]
            custom = mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED
            # Repeated only where it was permitted: not on the ground what was meant for the air, not in a newer mode.
            landed, before = link.landed, link.mode
            return link.command(
                mavlink.MAV_CMD_DO_SET_MODE, custom, number, now=now,
                wanted=lambda: link.mode == before != mode and link.landed == landed,
            )  # fmt: skip
        case safety.UploadMission(items=items):
            return link.upload(items, now)
        case safety.UploadFence(items=items):
            return link.upload(items, now, mission.FENCE)
        case safety.UploadRally(items=items):
            return link.upload(items, now, mission.RALLY)
        case safety.EnableFence():
            return link.command(mavlink.MAV_CMD_DO_FENCE_ENABLE, 1, now=now)
        case safety.SetParam(name=name, value=value):
            return link.set_param(name, value, now)
        case safety.Reboot():
            return link.command(mavlink.MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN, 1, now=now)
        case safety.SetCurrent(seq=seq):
            return link.command(mavlink.MAV_CMD_DO_SET_MISSION_CURRENT, seq, now=now)
        case safety.WriteSlots(items=items):
            return link.upload(items, now)
        case safety.Jump(seq=seq):
            flown = link.mode
            return link.command(mavlink.MAV_CMD_DO_SET_MISSION_CURRENT, seq, now=now, wanted=lambda: link.mode == flown)
        case safety.StartMission():
            return link.command(mavlink.MAV_CMD_MISSION_START, now=now, wanted=lambda: link.landed is True)
        case _:  # pragma: no cover
            assert_never(command)


def sound(link: link_core.Link, tune: safety.PlayTune, limits: Limits, now: float) -> Refusal | None:
    """Play a tune: nothing ever answers one, so there is no job to watch."""
    refusal = safety.permit(tune, link.telemetry(), limits, now)
    link.orders.append((tune, refusal))
    if refusal is None:
        link.play_tune(tune.tune)
    return refusal
