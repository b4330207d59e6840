"""The link: what it makes of messages, what it resends, and what it asks for again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.command import TRIES
from edge_agent.flight.mavlink import Link
from edge_agent.flight.streams import MOST_S, STREAMS, Rates

ARM = mavlink.MAV_CMD_COMPONENT_ARM_DISARM


class Peer:
    """An autopilot made of pymavlink alone."""

    def __init__(self, link: Link, system: int = 1) -> None:
        self.link = link
        self.mav = mavlink.MAVLink(None, srcSystem=system, srcComponent=1)
        self.parser = mavlink.MAVLink(None)
        self.parser.robust_parsing = True

    def say(self, message, now: float) -> None:
        self.link.receive(message.pack(self.mav), now)

    def beat(self, now: float, mode: int = 4, *, armed: bool = False) -> None:
        self.say(mavlink.MAVLink_heartbeat_message(2, 3, 1 | (128 if armed else 0), mode, 4, 3), now)

    def place(self, now: float, boot_ms: int, lat: int = 302_500_000, relative_mm: int = 20_000) -> None:
        self.say(
            mavlink.MAVLink_global_position_int_message(
                boot_ms, lat, 1_201_500_000, 70_000, relative_mm, 300, 400, 0, 9000
            ),
            now,
        )

    def heard(self) -> list:
        return self.parser.parse_buffer(self.link.data_to_send()) or []

    def commands(self, number: int) -> list:
        return [m for m in self.heard() if m.get_type() == "COMMAND_LONG" and m.command == number]


@pytest.fixture
def peer() -> Peer:
    return Peer(Link(1))


def test_our_heartbeat_is_the_vehicles_system_component_191_and_never_an_autopilots(peer):
    beats = []
    for tenth in range(50):
        peer.link.tick(tenth / 10)
        beats += [m for m in peer.heard() if m.get_type() == "HEARTBEAT"]
    assert len(beats) == 5
    beat = beats[0]
    assert (beat.get_srcSystem(), beat.get_srcComponent()) == (1, 191)
    assert (beat.type, beat.autopilot) == (18, 8)  # MAV_TYPE_ONBOARD_CONTROLLER, MAV_AUTOPILOT_INVALID


def test_before_the_first_heartbeat_nothing_is_known_and_nothing_is_asked(peer):
    peer.place(0.0, 1)
    peer.link.tick(0.0)
    assert peer.link.telemetry() is None
    assert [m.get_type() for m in peer.heard()] == ["HEARTBEAT"]


def test_telemetry_is_put_together_from_what_was_said(peer):
    peer.beat(10.0, mode=3, armed=True)
    peer.place(9.5, 1000)
    peer.say(mavlink.MAVLink_sys_status_message(0, 0, 0, 0, 15_800, -1, 77, 0, 0, 0, 0, 0, 0), 9.0)
    peer.say(mavlink.MAVLink_gps_raw_int_message(0, 4, 0, 0, 0, 0, 0, 0, 0, 14), 9.0)
    peer.say(mavlink.MAVLink_extended_sys_state_message(0, 2), 9.0)
    peer.say(mavlink.MAVLink_mission_current_message(3, 6), 9.0)
    peer.say(mavlink.MAVLink_home_position_message(1, 2, 3, 0, 0, 0, [1, 0, 0, 0], 0, 0, 0), 9.0)
    t = peer.link.telemetry()
    assert (t.at_s, t.armed, t.mode, t.landed) == (9.5, True, "AUTO", False)
    assert (t.lat, t.lon, t.alt_m, t.alt_msl_m, t.speed_mps, t.heading_deg) == (30.25, 120.15, 20.0, 70.0, 5.0, 90.0)
    assert (t.battery_pct, t.battery_v, t.gps_fix, t.satellites) == (77.0, 15.8, 4, 14)
    assert (t.home_lat, t.home_lon, t.mission_seq, t.mission_total) == (1e-7, 2e-7, 3, 6)


def test_what_was_not_said_is_none_and_not_zero(peer):
    peer.beat(1.0)
    peer.place(1.0, 1, lat=0)
    peer.say(mavlink.MAVLink_sys_status_message(0, 0, 0, 0, 65535, -1, -1, 0, 0, 0, 0, 0, 0), 1.0)
    peer.say(mavlink.MAVLink_gps_raw_int_message(0, 0, 0, 0, 0, 0, 0, 0, 0, 255), 1.0)
    t = peer.link.telemetry()
    assert (t.battery_pct, t.battery_v, t.satellites, t.landed, t.home_lat) == (None, None, None, None, None)
    assert t.lat == 0.0 or t.lat is None


def test_another_system_is_not_our_vehicle(peer):
    Peer(peer.link, system=2).beat(1.0)
    assert not peer.link.alive(1.0)


def test_a_link_that_loses_some_heartbeats_is_up_while_positions_come_and_no_longer_than_ten_seconds(peer):
    peer.beat(1.0)
    for second in range(2, 14):
        peer.place(second, 1000 * second)
        assert peer.link.alive(second + 0.5) == (second < 11)


def test_a_link_on_which_nothing_comes_is_down_after_three_seconds(peer):
    peer.beat(1.0)
    assert peer.link.alive(3.9)
    assert not peer.link.alive(4.0)


def test_a_command_is_resent_with_its_count_until_it_is_acknowledged(peer):
    peer.beat(0.0)
    command = peer.link.command(ARM, 1, now=0.0)
    seen = []
    for tenth in range(25):
        peer.link.tick(tenth / 10)
        seen += peer.commands(ARM)
    assert [m.confirmation for m in seen] == [0, 1, 2]
    peer.say(mavlink.MAVLink_command_ack_message(ARM, 0, 0, 0, 1, 191), 2.5)
    assert command.state == "accepted"


def test_a_command_nobody_answers_ends_as_silent(peer):
    command = peer.link.command(ARM, 1, now=0.0)
    sent = 0
    for tenth in range(10 * (TRIES + 2)):
        peer.beat(tenth / 10)
        peer.link.tick(tenth / 10)
        sent += len(peer.commands(ARM))
    assert (command.state, sent) == ("silent", TRIES)


def test_a_command_is_not_resent_once_the_vehicle_is_seen_to_have_done_it(peer):
    peer.beat(0.0)
    peer.link.command(ARM, 1, now=0.0, wanted=lambda: not peer.link.armed)
    peer.link.tick(0.0)
    peer.beat(0.5, armed=True)
    peer.link.tick(1.5)
    assert len(peer.commands(ARM)) == 1


def test_an_ack_for_somebody_else_is_not_ours(peer):
    peer.beat(0.0)
    command = peer.link.command(ARM, 1, now=0.0)
    peer.say(mavlink.MAVLink_command_ack_message(ARM, 0, 0, 0, 255, 190), 0.1)
    peer.say(mavlink.MAVLink_command_ack_message(ARM, 0, 0, 0, 1, 190), 0.1)
    peer.say(mavlink.MAVLink_command_ack_message(176, 0, 0, 0, 1, 191), 0.1)
    assert command.state == "waiting"


def test_in_progress_is_waited_for(peer):
    peer.beat(0.0)
    command = peer.link.command(ARM, 1, now=0.0)
    peer.link.tick(0.0)
    peer.say(mavlink.MAVLink_command_ack_message(ARM, mavlink.MAV_RESULT_IN_PROGRESS, 0, 0, 1, 191), 0.9)
    peer.link.tick(1.5)
    assert len(peer.commands(ARM)) == 1
    assert command.state == "waiting"


def test_a_refusal_carries_what_the_autopilot_said(peer):
    peer.beat(0.0)
    command = peer.link.command(ARM, 1, now=0.0)
    peer.say(mavlink.MAVLink_statustext_message(2, b"Arm: Throttle too high"), 0.1)
    peer.say(mavlink.MAVLink_command_ack_message(ARM, mavlink.MAV_RESULT_FAILED, 0, 0, 1, 191), 0.2)
    assert (command.state, command.detail) == ("refused", "FAILED; Arm: Throttle too high")


def wanted_streams(peer: Peer) -> set[int]:
    return {int(m.param1) for m in peer.commands(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL)}


def test_streams_are_asked_for_and_again_only_when_they_stay_away(peer):
    peer.beat(0.0)
    peer.link.tick(0.0)
    assert wanted_streams(peer) == set(STREAMS)
    for tenth in range(200):
        peer.beat(tenth / 10)
        peer.place(tenth / 10, tenth * 100)
        peer.link.tick(tenth / 10)
    again = wanted_streams(peer)
    assert mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT not in again
    assert mavlink.MAVLINK_MSG_ID_HOME_POSITION in again


def test_a_reboot_voids_what_was_said_and_asks_for_the_streams_again(peer):
    peer.beat(0.0, armed=True)
    peer.place(0.0, 60_000)
    peer.link.tick(0.0)
    peer.heard()
    peer.place(1.0, 500)
    assert peer.link.reboots == 1
    assert not peer.link.alive(1.0)
    peer.beat(1.1)
    peer.link.tick(1.1)
    assert wanted_streams(peer) == set(STREAMS)


def test_a_position_that_was_overtaken_is_dropped(peer):
    peer.beat(0.0)
    peer.place(0.0, 10_000, relative_mm=30_000)
    peer.place(0.1, 9_800, relative_mm=20_000)
    assert peer.link.telemetry().alt_m == 30.0
    assert peer.link.reboots == 0


def test_a_prearm_bit_that_is_not_enabled_says_nothing(peer):
    bit = mavlink.MAV_SYS_STATUS_PREARM_CHECK
    for present, enabled, health, expected in ((bit, bit, bit, True), (bit, bit, 0, False), (bit, 0, bit, None)):
        peer.say(mavlink.MAVLink_sys_status_message(present, enabled, health, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0.0)
        assert peer.link.prearm_ok is expected


GPI, HOME = mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT, mavlink.MAVLINK_MSG_ID_HOME_POSITION


def asked(rates: Rates, rate_hz: float, seconds: float) -> list[float]:
    """When it was asked for, while so many come a second."""
    found, come = [], 0
    for tenth in range(int(seconds * 10)):
        if rates.due(tenth / 10):
            found.append(tenth / 10)
        while come < tenth / 10 * rate_hz:
            rates.heard(GPI)
            come += 1
    return found


@pytest.mark.parametrize(("rate_hz", "again"), [(5.0, False), (3.0, False), (2.0, True), (0.0, True)])
def test_a_rate_that_another_has_changed_is_asked_for_again(rate_hz, again):
    found = asked(Rates({GPI: 0.2}), rate_hz, 30)
    assert found[0] == 0.0
    assert (len(found) > 1) is again


def test_what_never_comes_is_asked_for_ever_more_rarely_and_never_given_up():
    found = asked(Rates({GPI: 0.2}), 0.0, 600)
    gaps = [b - a for a, b in pairwise(found)]
    assert all(later > gap - 0.2 for gap, later in pairwise(gaps))
    assert gaps[0] < 3
    assert gaps[-1] == pytest.approx(MOST_S, abs=0.2)


def test_an_upload_of_another_ground_station_is_noticed(peer):
    peer.beat(0.0)
    peer.say(mavlink.MAVLink_mission_request_message(1, 191, 0, 0), 1.0)
    peer.say(mavlink.MAVLink_mission_ack_message(255, 190, 0, 0), 1.0)  # of a download too
    assert peer.link.rival_s < 0
    peer.say(mavlink.MAVLink_mission_request_message(255, 190, 0, 0), 2.0)
    assert peer.link.rival_s == 2.0
