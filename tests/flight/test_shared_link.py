"""One vehicle, two clients, as behind mavlink-router or mavp2p: everything that the autopilot says reaches both.

The other one is a ground station made of pymavlink alone: heartbeats, parameter lists, downloads, commands, uploads.
"""

from __future__ import annotations

import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from tests.flight.conftest import LAT, LON, PATROL, World

ARM, MESSAGE = mavlink.MAV_CMD_COMPONENT_ARM_DISARM, mavlink.MAV_CMD_REQUEST_MESSAGE


class Station:
    """QGroundControl's identity and habits."""

    def __init__(self) -> None:
        self.mav = mavlink.MAVLink(None, srcSystem=255, srcComponent=190)
        self.mav.robust_parsing = True
        self.out: list[bytes] = []
        self.got: list = []
        self.mission: list = []  # what it uploads
        self.uploaded: int | None = None
        self.downloaded: dict[int, int] = {}
        self.params: set[str] = set()
        self._next_s = 0.0

    def send(self, message) -> None:
        self.out.append(message.pack(self.mav))
        self.mav.seq = (self.mav.seq + 1) % 256

    def upload(self, places: list[tuple[float, float]]) -> None:
        home = mavlink.MAVLink_mission_item_int_message(1, 1, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0)
        takeoff = mavlink.MAVLink_mission_item_int_message(1, 1, 1, 6, 22, 0, 1, 0, 0, 0, 0, 0, 0, 15)
        self.mission = [home, takeoff] + [
            mavlink.MAVLink_mission_item_int_message(
                1, 1, seq, 6, 16, 0, 1, 0, 0, 0, 0, round(lat * 1e7), round(lon * 1e7), 15
            )
            for seq, (lat, lon) in enumerate(places, start=2)
        ]
        self.uploaded = None
        self.send(mavlink.MAVLink_mission_count_message(1, 1, len(self.mission), 0))

    def hear(self, data: bytes) -> None:
        for message in self.mav.parse_buffer(data) or []:
            self.got.append(message)
            match message.get_type():
                case "MISSION_REQUEST" if message.target_system == 255:
                    self.send(self.mission[message.seq])
                case "MISSION_ACK" if message.target_system == 255:
                    self.uploaded = message.type
                case "MISSION_COUNT" if message.target_system == 255:
                    for seq in range(message.count):
                        self.send(mavlink.MAVLink_mission_request_int_message(1, 1, seq, 0))
                case "MISSION_ITEM_INT" if message.target_system == 255:
                    self.downloaded[message.seq] = message.command
                case "PARAM_VALUE":
                    self.params.add(message.param_id)

    def chatter(self, now: float) -> None:
        """Once a second: a heartbeat, the mission, the parameters, a command that fails and one that does not."""
        if now < self._next_s:
            return
        self._next_s = now + 1.0
        self.send(mavlink.MAVLink_heartbeat_message(6, 8, 0, 0, 4, 3))
        self.send(mavlink.MAVLink_mission_request_list_message(1, 1, 0))
        self.send(mavlink.MAVLink_param_request_list_message(1, 1))
        self.send(mavlink.MAVLink_param_request_read_message(1, 1, b"RTL_ALT", -1))
        self.send(mavlink.MAVLink_command_long_message(1, 1, MESSAGE, 0, 99_999, 0, 0, 0, 0, 0, 0))
        self.send(mavlink.MAVLink_command_long_message(1, 1, MESSAGE, 0, 30, 0, 0, 0, 0, 0, 0))


class Shared(World):
    """The router between them copies everything to everybody."""

    def start(self) -> None:
        super().start()
        self.station = Station()
        self.busy = True

    def turn(self) -> None:
        super().turn()
        if self.busy:
            self.station.chatter(self.now)
        out, self.station.out = self.station.out, []
        for frame in out:
            self.autopilot.receive(frame, self.now, source=1)

    def _air(self, data: bytes) -> bytes:
        self.station.hear(data)  # ours too: a router that copies everything does not ask whose it is
        return super()._air(data)


@pytest.fixture
def shared() -> Shared:
    return Shared()


def test_a_patrol_is_flown_beside_a_busy_ground_station(shared):
    shared.fly()
    shared.until(lambda: "landed" in shared.phases())
    assert shared.is_home()
    assert "yielded" not in shared.phases()
    assert shared.station.downloaded[1] == mavlink.MAV_CMD_NAV_TAKEOFF
    assert "RTL_ALT" in shared.station.params
    acks = [m for m in shared.station.got if m.get_type() == "COMMAND_ACK" and m.target_system == 255]
    assert {m.command for m in acks} == {MESSAGE}


def test_a_refusal_meant_for_the_ground_station_is_not_taken_for_ours(shared):
    shared.until("ground")
    ours = shared.commander.link.command(mavlink.MAV_CMD_DO_SET_MODE, 1, 4, now=shared.now)
    shared.station.send(mavlink.MAVLink_command_long_message(1, 1, 176, 0, 1, 99, 0, 0, 0, 0, 0))  # no such mode
    shared.until(lambda: ours.state != "waiting", 10)
    assert ours.state == "accepted"
    refused = [m for m in shared.station.got if m.get_type() == "COMMAND_ACK" and m.command == 176 and m.result]
    assert [m.target_system for m in refused] == [255]


def test_a_rival_upload_is_waited_for_and_then_replaced_by_what_is_verified(shared):
    shared.until("ground")
    shared.until(lambda: not shared.commander.blocked(PATROL, shared.now))
    shared.busy = False
    shared.station.upload([(LAT, LON)] * 5)
    for frame in shared.station.out:
        shared.autopilot.receive(frame, shared.now, source=1)
    shared.station.out.clear()
    shared.fly()
    shared.until(lambda: "landed" in shared.phases())
    assert shared.station.uploaded == mavlink.MAV_MISSION_ACCEPTED
    assert shared.is_home()
    assert len(shared.autopilot.state.items) == len(PATROL.waypoints) + 4  # ours at the end


def test_an_upload_in_flight_is_noticed_and_the_agent_lets_go(shared):
    shared.fly()
    shared.until("route")
    shared.station.upload([(LAT, LON)] * 9)
    shared.until("yielded", 30)
    assert shared.commander.link.rival_s > 0
    assert shared.station.uploaded == mavlink.MAV_MISSION_ACCEPTED
