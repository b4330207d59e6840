"""What may be done to a mission in the air, and the edges of every limit: each condition by itself."""

from __future__ import annotations

import pytest
from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import config, geo
from edge_agent.flight import route, scene
from edge_agent.flight.mission import Item
from edge_agent.flight.safety import Jump, SetMode, UploadFence, UploadMission, UploadRally, WriteSlots, permit
from edge_agent.messages import Dispatch, Telemetry
from tests.flight.conftest import LAT, LON

LIMITS = config.Limits()
NOW = 100.0
PLACE = geo.from_local(200, 100, LAT, LON)
ORDER = Dispatch(lat=PLACE[0], lon=PLACE[1], alt_m=40.0, hover_s=30.0)
ABOARD = route.dispatch(ORDER, LAT, LON, LIMITS)
LAST = len(ABOARD) - 1
FLOWN, SPARE = range(3, 8), range(9, 14)  # the five slots that are flown, and the spare five (see `scene`)
GROUND = Telemetry(at_s=NOW, armed=False, mode="GUIDED", landed=True, alt_m=0.0, home_lat=LAT, home_lon=LON)
AIR = structs.replace(GROUND, armed=True, landed=False, mode="AUTO", alt_m=30.0, mission_seq=FLOWN[2])


def said(command, telemetry: Telemetry = AIR, limits: config.Limits = LIMITS, now: float = NOW) -> str | None:
    refusal = permit(command, telemetry, limits, now)
    return refusal.reason if refusal else None


def slots(numbers, **fields) -> tuple[Item, ...]:
    return tuple(structs.replace(ABOARD[number], **fields) for number in numbers)


WRITE, JUMP = WriteSlots(aboard=ABOARD, items=slots(SPARE)), Jump(aboard=ABOARD, seq=SPARE[0])


@pytest.mark.parametrize("command", [WRITE, JUMP])
def test_the_spare_slots_are_written_and_jumped_to_while_the_others_are_flown(command):
    assert said(command) is None


@pytest.mark.parametrize("command", [WRITE, JUMP])
@pytest.mark.parametrize(
    "wrong", [{"armed": False}, {"landed": True}, {"landed": None}, {"mode": "RTL"}, {"mode": "LOITER"}]
)
def test_a_mission_is_touched_in_the_air_only_while_it_is_flown(command, wrong):
    assert said(command, structs.replace(AIR, **wrong)) == "a mission is changed in the air only while it is flown"


@pytest.mark.parametrize(
    "make", [lambda aboard: WriteSlots(aboard=aboard, items=()), lambda aboard: Jump(aboard=aboard, seq=9)]
)
def test_a_mission_that_does_not_lead_home_is_not_touched(make):
    assert said(make(ABOARD[:-1])) == "the mission aboard does not lead home from where it is"


@pytest.mark.parametrize("command", [WRITE, JUMP])
def test_on_its_way_home_only_safety_follows(command):
    assert said(command, structs.replace(AIR, mission_seq=LAST)) == "it is on its way home, and only safety may follow"


def more(*numbers: int) -> tuple[Item, ...]:
    return tuple(structs.replace(ABOARD[SPARE[2]], seq=number) for number in numbers)


@pytest.mark.parametrize("items", [(), more(0), more(10, 12), more(11, 10), more(LAST + 2), more(-1)])
def test_slots_are_written_in_their_order_and_within_the_mission(items):
    assert said(WriteSlots(aboard=ABOARD, items=items)) == "the slots are not in order"


def test_a_mission_grows_by_one_item_at_a_time():
    assert said(WriteSlots(aboard=ABOARD, items=more(LAST + 1))) is None
    assert said(WriteSlots(aboard=ABOARD, items=more(LAST + 1, LAST + 2))) == "a mission grows by one item at a time"


def test_what_is_being_flown_is_not_rewritten():
    for number in (FLOWN[2], FLOWN[4], LAST):
        assert said(WriteSlots(aboard=ABOARD, items=more(number))) == "what is being flown is not rewritten"
    assert said(WriteSlots(aboard=ABOARD, items=more(FLOWN[0]))) is None  # it has come by


def test_what_is_written_stays_within_the_limits():
    assert "height out of limits" in str(said(WriteSlots(aboard=ABOARD, items=slots(SPARE, z=121.0))))


@pytest.mark.parametrize("seq", [LAST + 1, 99])
def test_a_jump_leads_home(seq):
    assert said(Jump(aboard=ABOARD, seq=seq)) == "no way home leads from there"


def test_a_jump_is_made_only_in_a_mission_that_we_fly():
    strange = (*ABOARD[:13], structs.replace(ABOARD[13], z=121.0), *ABOARD[14:])
    assert "height out of limits" in str(said(Jump(aboard=strange, seq=9)))


# --- edges ----------------------------------------------------------------------------------------------------------


def changed(number: int, **fields) -> UploadMission:
    return UploadMission((*ABOARD[:number], structs.replace(ABOARD[number], **fields), *ABOARD[number + 1 :]))


def test_a_mission_as_dispatched_is_one_that_we_fly():
    assert said(UploadMission(ABOARD), GROUND) is None


def test_heights_above_home_are_known_as_sent_and_as_read_back():
    for frame in (mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT, mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT):
        assert said(changed(5, frame=frame), GROUND) is None
    assert "heights are above home" in str(said(changed(5, frame=mavlink.MAV_FRAME_GLOBAL_INT), GROUND))


def test_it_must_take_off_first():
    assert said(changed(1, command=mavlink.MAV_CMD_DO_CHANGE_SPEED), GROUND) == (
        "a mission starts with a take-off and ends with the return home"
    )


def test_the_shortest_mission_goes_to_one_place():
    head, take_off, place, home = ABOARD[0], ABOARD[1], ABOARD[5], ABOARD[LAST]
    shortest = (head, take_off, structs.replace(place, seq=2), structs.replace(home, seq=3))
    assert said(UploadMission(shortest), GROUND) is None
    nowhere = (head, take_off, structs.replace(home, seq=2))
    assert said(UploadMission(nowhere), GROUND) == "a mission starts with a take-off and ends with the return home"


def test_what_follows_a_circle_is_looked_at_as_well():
    circle = Item(seq=0, frame=0, command=mavlink.MAV_CMD_NAV_FENCE_CIRCLE_INCLUSION, p1=100.0)
    assert said(UploadFence((circle, structs.replace(circle, seq=1))), GROUND) is None
    assert said(UploadFence((circle, structs.replace(circle, seq=1, p1=0.0))), GROUND) is not None


@pytest.mark.parametrize(("seq", "p1", "p2", "good"), [
    (8, 9, -1, True), (8, LAST, -1, True), (8, 8, -1, False), (8, 7, -1, False), (8, LAST + 1, -1, False),
    (8, LAST, 3, False),
])  # fmt: skip
def test_a_jump_in_a_mission_leads_ahead_and_for_ever(seq, p1, p2, good):
    assert ABOARD[seq].command == mavlink.MAV_CMD_DO_JUMP
    assert (said(changed(seq, p1=float(p1), p2=float(p2)), GROUND) is None) is good


def test_a_hover_has_its_limit_and_a_waypoints_pause_another():
    longest = LIMITS.max_on_scene_s
    assert ABOARD[6].command == mavlink.MAV_CMD_NAV_LOITER_TIME
    assert said(changed(6, p1=longest), GROUND) is None
    assert "it hovers too long" in str(said(changed(6, p1=longest + 1), GROUND))
    assert said(changed(5, p1=longest + 1), GROUND) is None


ORBIT = {"command": mavlink.MAV_CMD_NAV_LOITER_TURNS, "p1": 3.0, "p3": 20.0}


@pytest.mark.parametrize(("fields", "good"), [
    ({}, True), ({"p1": 1.0}, True), ({"p1": 0.9}, False), ({"p1": float("nan")}, False), ({"p1": -1.0}, False),
    ({"p3": 1.0}, True), ({"p3": 0.9}, False), ({"p3": 255.0}, True), ({"p3": 255.1}, False), ({"p3": -20.0}, False),
    ({"z": 121.0}, False), ({"frame": mavlink.MAV_FRAME_GLOBAL_INT}, False),
])  # fmt: skip
def test_an_orbit_is_a_circle_that_can_be_flown(fields, good):
    assert (said(changed(6, **(ORBIT | fields)), GROUND) is None) is good


def test_an_orbit_has_the_limit_of_a_hover_and_a_number_of_turns():
    longest = structs.replace(LIMITS, max_on_scene_s=255 * scene.lap_s(5.0))
    assert said(changed(6, **(ORBIT | {"p1": 255.0, "p3": 5.0})), GROUND, longest) is None
    assert "no circle" in str(said(changed(6, **(ORBIT | {"p1": 256.0, "p3": 5.0})), GROUND, longest))
    shorter = structs.replace(longest, max_on_scene_s=longest.max_on_scene_s - 1)
    assert "it hovers too long" in str(said(changed(6, **(ORBIT | {"p1": 255.0, "p3": 5.0})), GROUND, shorter))


def test_the_far_side_of_an_orbit_is_within_the_distance():
    away_m = geo.distance_m(LAT, LON, ABOARD[6].x / 1e7, ABOARD[6].y / 1e7)
    around = UploadMission((*ABOARD[:6], structs.replace(ABOARD[6], **ORBIT), *ABOARD[7:]))
    assert said(around, GROUND, structs.replace(LIMITS, max_distance_m=away_m + 20.0)) is None
    assert "too far from home" in str(said(around, GROUND, structs.replace(LIMITS, max_distance_m=away_m + 19.9)))


def test_the_furthest_place_is_within_its_limit():
    item = ABOARD[5]
    away_m = geo.distance_m(LAT, LON, item.x / 1e7, item.y / 1e7)
    assert said(UploadMission(ABOARD), GROUND, structs.replace(LIMITS, max_distance_m=away_m)) is None
    assert "too far from home" in str(
        said(UploadMission(ABOARD), GROUND, structs.replace(LIMITS, max_distance_m=away_m - 0.1))
    )


def test_the_furthest_rally_point_is_within_its_limit():
    rally = Item(seq=0, frame=6, command=mavlink.MAV_CMD_NAV_RALLY_POINT, x=ABOARD[5].x, y=ABOARD[5].y, z=30.0)
    away_m = geo.distance_m(LAT, LON, rally.x / 1e7, rally.y / 1e7)
    near, far = (structs.replace(LIMITS, max_distance_m=limit) for limit in (away_m - 0.1, away_m))
    assert said(UploadRally((rally,)), GROUND, far) is None
    assert "too far from home" in str(said(UploadRally((rally,)), GROUND, near))


@pytest.mark.parametrize("alt_m", [LIMITS.min_alt_m, LIMITS.max_alt_m])
def test_the_lowest_and_the_highest_place_are_within_the_limits(alt_m):
    rally = Item(seq=0, frame=6, command=mavlink.MAV_CMD_NAV_RALLY_POINT, x=ABOARD[5].x, y=ABOARD[5].y, z=alt_m)
    assert said(changed(5, z=alt_m), GROUND) is None
    assert said(UploadRally((rally,)), GROUND) is None


def test_a_circle_may_be_small():
    circle = Item(seq=0, frame=0, command=mavlink.MAV_CMD_NAV_FENCE_CIRCLE_EXCLUSION, p1=0.5)
    assert said(UploadFence((circle,)), GROUND) is None


def test_telemetry_is_fresh_for_three_seconds_and_no_more():
    assert said(SetMode("RTL"), now=NOW + 3.0) is None
    assert said(SetMode("RTL"), now=NOW + 3.001) == "telemetry is too old to command by"


def test_a_foreign_mode_that_ends_nothing_may_be_left_for_the_mission():
    assert said(SetMode("AUTO"), structs.replace(AIR, mode="LOITER")) is None
    assert said(SetMode("BRAKE"), structs.replace(AIR, mode="LOITER")) is None
