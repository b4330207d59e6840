"""What the harness calls a fault: each check is seen to find one."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sitl import verdict
from sitl.station import Point
from sitl.wire import Passed


def command(number: int, *params: float) -> bytes:
    filled = (*params, *([0.0] * (7 - len(params))))
    mav = mavlink.MAVLink(None, srcSystem=1, srcComponent=191)
    return mavlink.MAVLink_command_long_message(1, 1, number, 0, *filled).pack(mav)


def event(seq: int, phase: str, previous: str, wall_s: float = 0.0) -> dict:
    return {"run": "R", "seq": seq, "phase": phase, "previous": previous, "wall_s": wall_s, "cause": ""}


def test_what_only_asks_is_no_act():
    sent = [Passed(1.0, command(511, 33, 1e5)), Passed(2.0, command(400, 1))]
    assert verdict.commands(sent) == [(2.0, "COMPONENT_ARM_DISARM(1, 0)", 0)]


def test_a_command_while_yielded_is_found_and_one_after_a_persons_resume_is_not():
    events = [event(1, "route", "climb", 0.0), event(2, "yielded", "route", 10.0), event(3, "landed", "yielded", 50.0)]
    world = SimpleNamespace(
        clock=SimpleNamespace(wall_offset_s=0.0),
        resumed_s=[],
        wire=SimpleNamespace(sent=[Passed(20.0, command(176, 1, 3))]),
    )
    assert "while the agent was yielded" in verdict._acts(world, events)[0]
    world.resumed_s.append(15.0)
    assert verdict._acts(world, events) == []


@pytest.mark.parametrize(
    ("events", "what"),
    [
        ([event(1, "gating", "ground"), event(3, "failed", "gating")], "numbered"),
        ([event(1, "gating", "ground"), event(2, "failed", "route")], "followed by"),
        ([event(1, "gating", "ground"), event(2, "route", "gating")], "never ended"),
    ],
)
def test_a_hole_in_the_log_is_found(events, what):
    assert what in verdict._log(events)[0]


def test_a_whole_log_has_no_fault():
    assert verdict._log([event(1, "gating", "ground"), event(2, "failed", "gating")]) == []


def test_a_path_on_the_control_line_does_not_deviate_and_one_beside_it_does():
    control = [Point(t, t * 1.0, 0.0, 20.0) for t in range(100)]
    assert verdict.deviation_m([Point(t, t * 1.0 + 0.3, 0.0, 20.0) for t in range(90)], control) < 0.01
    assert math.isclose(verdict.deviation_m([Point(t, t * 1.0, 3.0, 20.0) for t in range(90)], control), 3.0)
