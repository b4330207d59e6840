"""Every road to the vehicle, and what closes it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from msgspec import structs

import edge_agent.flight
from edge_agent import config
from edge_agent.flight import route
from edge_agent.flight.mavlink import MODES
from edge_agent.flight.safety import Arm, Disarm, PlayTune, SetCurrent, SetMode, StartMission, UploadMission, permit
from edge_agent.messages import Telemetry
from tests.flight.conftest import LAT, LON, PATROL

LIMITS = config.Limits()
NOW = 100.0
GROUND = Telemetry(
    at_s=NOW, armed=False, mode="GUIDED", landed=True, lat=LAT, lon=LON, alt_m=0.0, home_lat=LAT, home_lon=LON
)
AIR = structs.replace(GROUND, armed=True, landed=False, mode="AUTO", alt_m=20.0)
ITEMS = route.mission(PATROL)


def said(command, telemetry: Telemetry | None = GROUND, now: float = NOW) -> str | None:
    refusal = permit(command, telemetry, LIMITS, now)
    return refusal.gate if refusal else None


@pytest.mark.parametrize(
    "command",
    [
        Arm(),
        Disarm(),
        SetMode("RTL"),
        SetMode("LAND"),
        UploadMission(ITEMS),
        SetCurrent(1),
        StartMission(),
        PlayTune("C"),
    ],
)
def test_nothing_is_commanded_without_fresh_telemetry(command):
    assert said(command, None) == "safety.link"
    for telemetry in (GROUND, AIR):
        assert said(command, telemetry, NOW + 3.1) == "safety.link"


@pytest.mark.parametrize("tune", ["", "C" * 100, "C; DROP", "警", "C\0", "MFT200\n"])
def test_a_tune_that_the_autopilot_would_cut_off_or_misread_is_refused(tune):
    assert said(PlayTune(tune)) == "safety.tune"


def test_a_tune_may_hold_every_letter_that_the_autopilot_reads():
    assert said(PlayTune("ABCDEFGLMNOPRSTVabcdefglmnoprstv0123456789#+-.<>")) is None


def test_a_tune_sounds_in_the_air_as_on_the_ground():
    for telemetry in (GROUND, AIR):
        assert said(PlayTune("MFT200L8O5CEGCEG" + "C" * 83), telemetry) is None


def test_arming_wants_the_ground_disarmed_and_guided():
    assert said(Arm()) is None
    assert said(Arm(), structs.replace(GROUND, armed=True)) == "safety.arm"
    for landed in (False, None):
        assert said(Arm(), structs.replace(GROUND, landed=landed)) == "safety.arm"
    assert said(Arm(), structs.replace(GROUND, mode="AUTO")) == "safety.arm"


def test_it_is_never_disarmed_in_the_air_nor_where_nobody_knows():
    assert said(Disarm(), structs.replace(GROUND, armed=True)) is None
    for landed in (False, None):
        assert said(Disarm(), structs.replace(AIR, landed=landed)) == "safety.disarm"


def test_a_forced_arm_or_disarm_cannot_be_said():
    assert (Arm.__struct_fields__, Disarm.__struct_fields__) == ((), ())


def test_nothing_but_the_helm_and_the_link_itself_sends_commands():
    """`link.command`, `upload` and `play_tune` have one caller: what is permitted and what is sent cannot part."""
    for file in Path(edge_agent.flight.__file__).parent.glob("*.py"):
        calls = {
            node.func.attr
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and getattr(node.func.value, "attr", getattr(node.func.value, "id", "")) in ("link", "_link")
        }
        assert file.name == "helm.py" or not calls & {"command", "upload", "play_tune", "_send_command"}, file


@pytest.mark.parametrize("mode", sorted(MODES.values()))
def test_on_the_ground_only_guided_and_auto_are_set(mode):
    assert (said(SetMode(mode)) is None) == (mode in ("GUIDED", "AUTO"))


@pytest.mark.parametrize("mode", sorted(MODES.values()))
def test_in_the_air_only_modes_that_end_or_hold_the_flight_are_set(mode):
    assert (said(SetMode(mode), AIR) is None) == (mode in ("AUTO", "BRAKE", "RTL", "LAND"))


@pytest.mark.parametrize("mode", sorted(MODES.values()))  # each pair: one that chance leaves out is a mutant's life
@pytest.mark.parametrize("running", ["RTL", "LAND", "SMART_RTL", "AUTO_RTL"])
def test_once_it_returns_or_lands_only_more_safety_may_follow(running, mode):
    severity = {"RTL": 1, "SMART_RTL": 1, "AUTO_RTL": 1, "LAND": 2}
    refused = said(SetMode(mode), structs.replace(AIR, mode=running)) is not None
    assert refused == (mode not in ("RTL", "LAND") or severity[mode] < severity[running])


def test_a_mission_is_changed_only_disarmed_on_the_ground():
    for command in (UploadMission(ITEMS), SetCurrent(1)):
        assert said(command) is None
        assert said(command, structs.replace(GROUND, armed=True)) in ("safety.upload", "safety.current")
        for landed in (False, None):
            assert said(command, structs.replace(GROUND, landed=landed)) in ("safety.upload", "safety.current")


def test_a_mission_starts_armed_on_the_ground_and_in_auto():
    ready = structs.replace(GROUND, armed=True, mode="AUTO")
    assert said(StartMission(), ready) is None
    for wrong in ({"armed": False}, {"landed": False}, {"landed": None}, {"mode": "GUIDED"}):
        assert said(StartMission(), structs.replace(ready, **wrong)) == "safety.start"


def changed(number: int, **fields):
    return UploadMission((*ITEMS[:number], structs.replace(ITEMS[number], **fields), *ITEMS[number + 1 :]))


@pytest.mark.parametrize(
    "command",
    [
        UploadMission(()),
        UploadMission(ITEMS[:2]),
        UploadMission(ITEMS[:-1]),  # no way home
        UploadMission((ITEMS[0], *ITEMS[2:])),  # no take-off
        UploadMission((ITEMS[0], ITEMS[1], *ITEMS[3:])),  # a number is missing
        changed(3, z=4.9),
        changed(3, z=120.1),
        changed(3, z=float("nan")),
        changed(1, z=121.0),
        changed(3, x=ITEMS[3].x + 200_000),  # 2.2 km further north
        changed(3, frame=0),
        changed(1, frame=0),
        changed(3, command=17),  # LOITER_UNLIM
        changed(3, command=177),  # DO_JUMP
    ],
)
def test_a_mission_that_leaves_the_limits_or_does_not_come_home_is_refused(command):
    assert said(command) == "safety.mission"


def test_a_mission_is_refused_while_home_is_unknown():
    for unknown in ({"home_lat": None}, {"home_lon": None}):
        assert said(UploadMission(ITEMS), structs.replace(GROUND, **unknown)) == "safety.mission"
