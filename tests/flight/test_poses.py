"""What the autopilot says of how it stands, from its bytes; it is asked for more often only where somebody wants it."""

import math

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.mavlink import Link
from edge_agent.flight.poses import STREAMS, posed
from edge_agent.messages import Attitude, GimbalAttitude, Posed, Position

# MAVLink 2 frames of system 1, component 1, packed by pymavlink 2.4 (another codec than the one that reads them).
SENDER = mavlink.MAVLink(None, srcSystem=1, srcComponent=1)


def said(*messages: mavlink.MAVLink_message) -> list[Posed]:
    found: list[Posed] = []
    link = Link(1, on_posed=found.append)
    for message in messages:
        link.receive(message.pack(SENDER), 50.0)
    return found


def test_attitude_and_position_in_our_units() -> None:
    attitude = mavlink.MAVLink_attitude_message(12_345, 0.1, -0.2, 3.0, 0.01, 0.02, 0.03)
    place = mavlink.MAVLink_global_position_int_message(
        12_400, 302_461_000, 1_201_552_000, 61_500, 41_500, 300, -400, -50, 9000
    )
    first, second = said(attitude, place)
    assert isinstance(first, Attitude)
    assert (first.heard_s, first.boot_s) == (50.0, 12.345)
    assert (first.roll, first.pitch, first.yaw) == pytest.approx((0.1, -0.2, 3.0), abs=1e-6)
    assert first.rates == pytest.approx((0.01, 0.02, 0.03), abs=1e-6)
    assert second == Position(
        heard_s=50.0, boot_s=12.4, lat=30.2461, lon=120.1552, alt_m=41.5, north_mps=3.0, east_mps=-4.0, up_mps=0.5
    )


@pytest.mark.parametrize(
    ("flags", "earth"),
    [
        (mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_EARTH_FRAME, True),
        (mavlink.GIMBAL_DEVICE_FLAGS_YAW_IN_VEHICLE_FRAME | mavlink.GIMBAL_DEVICE_FLAGS_YAW_LOCK, False),
        (mavlink.GIMBAL_DEVICE_FLAGS_YAW_LOCK, False),  # ArduPilot before 4.5
        (0, False),
    ],
)
def test_a_gimbal_names_the_frame_of_its_yaw(flags: int, earth: bool) -> None:
    half = math.sqrt(0.5)
    [found] = said(
        mavlink.MAVLink_gimbal_device_attitude_status_message(0, 0, 9000, flags, [half, 0.0, -half, 0.0], 0, 0, 0, 0)
    )
    assert isinstance(found, GimbalAttitude)
    assert found.earth is earth
    assert found.q == pytest.approx((half, 0.0, -half, 0.0), abs=1e-6)


@pytest.mark.parametrize("q", [[math.nan] * 4, [0.0] * 4])
def test_a_gimbal_that_does_not_know_says_nothing(q: list[float]) -> None:
    assert said(mavlink.MAVLink_gimbal_device_attitude_status_message(0, 0, 9000, 0, q, 0, 0, 0, 0)) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", range(6))
def test_a_filter_that_diverged_points_nowhere(bad: float, at: int) -> None:
    angles = [0.1, -0.2, 3.0, 0.0, 0.0, 0.0]
    angles[at] = bad
    assert said(mavlink.MAVLink_attitude_message(12_345, *angles)) == []


def test_a_place_that_is_not_known_is_none_and_other_messages_are_no_pose() -> None:
    nowhere = mavlink.MAVLink_global_position_int_message(1, 0, 0, 0, 0, 0, 0, 0, 0)
    assert said(nowhere) == []
    assert posed(mavlink.MAVLink_vfr_hud_message(0, 0, 0, 0, 0, 0), 1.0) is None


def test_poses_are_asked_for_ten_times_a_second_only_where_somebody_listens() -> None:
    def asked(link: Link) -> dict[int, float]:
        link.receive(
            mavlink.MAVLink_heartbeat_message(
                mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_AUTOPILOT_ARDUPILOTMEGA, 0, 0, 3, 3
            ).pack(SENDER),
            1.0,
        )
        return dict(link._rates.due(1.0))

    assert asked(Link(1)).get(mavlink.MAVLINK_MSG_ID_ATTITUDE) == 1.0
    assert mavlink.MAVLINK_MSG_ID_GIMBAL_DEVICE_ATTITUDE_STATUS not in asked(Link(1))
    wanted = asked(Link(1, on_posed=lambda _: None))
    assert {number: wanted[number] for number in STREAMS} == STREAMS
