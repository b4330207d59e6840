"""The simulated autopilot behaves as ArduCopter was seen to: through the wire, with a client made of pymavlink."""

from __future__ import annotations

import math

import msgspec
import pytest
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight import route
from edge_agent.flight.sim_messages import State
from edge_agent.flight.simulator import Autopilot
from tests.flight.conftest import LAT, LON, PATROL

ACCEPTED, FAILED, UNSUPPORTED = 0, 4, 3
ARM, MODE, START = 400, 176, 300


class Client:
    """A ground station of some lines."""

    def __init__(self, autopilot: Autopilot) -> None:
        self.autopilot, self.now = autopilot, 0.0
        autopilot.step(0.0)
        self.mav = mavlink.MAVLink(None, srcSystem=255, srcComponent=190)
        self.parser = mavlink.MAVLink(None)

    def send(self, message) -> list:
        self.autopilot.receive(message.pack(self.mav), self.now)
        return self.heard()

    def heard(self) -> list:
        return self.parser.parse_buffer(self.autopilot.data_to_send()) or []

    def command(self, number: int, *params: float) -> int:
        params = (*params, *([0.0] * (7 - len(params))))
        heard = self.send(mavlink.MAVLink_command_long_message(1, 1, number, 0, *params))
        return next(m.result for m in heard if m.get_type() == "COMMAND_ACK")

    def wait(self, seconds: float) -> list:
        self.now += seconds
        self.autopilot.step(self.now)
        return self.heard()

    def load(self) -> None:
        self.autopilot.state.items[:] = route.mission(PATROL)


@pytest.fixture
def client() -> Client:
    client = Client(Autopilot(LAT, LON))
    client.wait(5)
    return client


def events(client: Client) -> list[str]:
    return [h["event"] for h in client.autopilot.happenings if h["event"] != "position"]


def fly(client: Client) -> None:
    client.load()
    for number, *params in ((MODE, 1, 4), (ARM, 1), (MODE, 1, 3), (START,)):
        assert client.command(number, *params) == ACCEPTED


def test_armed_and_left_on_the_ground_it_disarms_itself_after_ten_seconds(client):
    client.command(MODE, 1, 4)
    assert client.command(ARM, 1) == ACCEPTED
    client.wait(9.5)
    assert client.autopilot.state.armed
    client.wait(1.0)
    assert not client.autopilot.state.armed


def test_auto_without_mission_start_stays_on_the_ground(client):
    client.load()
    for number, *params in ((MODE, 1, 4), (ARM, 1), (MODE, 1, 3)):
        client.command(number, *params)
    client.wait(30)
    assert events(client)[-1] == "disarmed"
    assert client.autopilot.state.body.up_m == 0
    assert client.command(START) == ACCEPTED  # and nothing happens
    client.wait(30)
    assert not client.autopilot.state.armed


def test_arming_in_auto_fails_and_says_why(client):
    client.load()
    client.command(MODE, 1, 3)
    heard = client.send(mavlink.MAVLink_command_long_message(1, 1, ARM, 0, 1, 0, 0, 0, 0, 0, 0))
    assert (
        next(m.text for m in heard if m.get_type() == "STATUSTEXT"),
        next(m.result for m in heard if m.get_type() == "COMMAND_ACK"),
    ) == ("Arm: Mode not armable", FAILED)


def test_without_a_position_it_does_not_arm():
    client = Client(Autopilot(LAT, LON))
    client.wait(1)
    assert client.command(ARM, 1) == FAILED


def test_auto_is_refused_without_a_mission(client):
    assert client.command(MODE, 1, 3) == FAILED


def test_it_is_not_disarmed_in_the_air_but_by_force_and_then_it_falls(client):
    fly(client)
    client.wait(15)
    assert client.command(ARM, 0) == FAILED
    assert client.command(ARM, 0, 21196) == ACCEPTED
    client.wait(10)
    assert events(client)[-2:] == ["disarmed", "crashed"]


def test_the_missions_return_item_stays_in_auto_until_it_is_down(client):
    fly(client)
    client.wait(60)
    modes = {m.custom_mode for m in client.heard() if m.get_type() == "HEARTBEAT"}
    client.wait(40)
    assert modes <= {3}
    assert events(client)[-2:] == ["landed", "disarmed"]
    assert client.autopilot.state.mode == "AUTO"


def test_pause_and_continue_hold_and_go_on(client):
    fly(client)
    client.wait(15)
    assert client.command(193, 0) == ACCEPTED
    client.wait(5)
    place = client.autopilot.state.body.north_m
    client.wait(20)
    assert abs(client.autopilot.state.body.north_m - place) < 0.5
    assert client.command(193, 1) == ACCEPTED
    client.wait(80)
    assert events(client)[-1] == "disarmed"


def test_a_command_it_does_not_know_is_unsupported(client):
    assert client.command(31000) == UNSUPPORTED


def test_streams_come_as_often_as_asked_and_stop_when_told(client):
    assert client.command(511, mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT, 200_000) == ACCEPTED
    count = sum(m.get_type() == "GLOBAL_POSITION_INT" for m in client.wait(10))
    assert 48 <= count <= 52
    client.command(511, mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT, -1)
    assert not any(m.get_type() == "GLOBAL_POSITION_INT" for m in client.wait(10))
    assert client.command(511, 105, 200_000) == FAILED


def test_a_message_can_be_asked_for_once(client):
    heard = client.send(mavlink.MAVLink_command_long_message(1, 1, 512, 0, 242, 0, 0, 0, 0, 0, 0))
    assert [m.latitude for m in heard if m.get_type() == "HOME_POSITION"] == [round(LAT * 1e7)]


def test_a_low_battery_returns_and_a_critical_one_lands(client):
    fly(client)
    client.wait(20)
    client.autopilot.state.body.battery_pct = 19.9
    heard = client.wait(1)
    assert client.autopilot.state.mode == "RTL"
    assert "Battery Failsafe" in [m.text for m in heard if m.get_type() == "STATUSTEXT"]
    client.autopilot.state.body.battery_pct = 9.9
    client.wait(1)
    assert client.autopilot.state.mode == "LAND"


def test_wind_beyond_its_airspeed_takes_it_away():
    client = Client(Autopilot(LAT, LON, wind_mps=20, wind_from_deg=270))
    client.wait(5)
    fly(client)
    client.wait(20)
    assert client.autopilot.state.body.east_m > 30


def test_wind_it_can_fly_against_costs_battery_and_no_accuracy():
    left = []
    for wind_mps in (0, 10):
        client = Client(Autopilot(LAT, LON, wind_mps=wind_mps, wind_from_deg=90))
        client.wait(5)
        fly(client)
        client.wait(120)
        body = client.autopilot.state.body
        assert not client.autopilot.state.armed
        assert math.hypot(body.north_m, body.east_m) < 1
        left.append(body.battery_pct)
    assert left[1] < left[0] - 0.5


def test_the_same_world_flies_the_same_path_bit_for_bit():
    ends = []
    for _ in range(2):
        client = Client(Autopilot(LAT, LON, wind_mps=3, wind_from_deg=200))
        client.wait(5)
        fly(client)
        client.wait(40)
        ends.append(msgspec.json.encode(client.autopilot.state))
    assert ends[0] == ends[1]


def test_a_world_that_was_killed_goes_on_where_it_stood():
    straight, cut = Client(Autopilot(LAT, LON)), Client(Autopilot(LAT, LON))
    for client in (straight, cut):
        client.wait(5)
        fly(client)
        client.wait(25)
    saved = msgspec.json.decode(msgspec.json.encode(cut.autopilot.state), type=State)
    cut = Client(Autopilot(LAT, LON, state=saved))
    for client in (straight, cut):
        client.wait(30)
    assert straight.autopilot.state == cut.autopilot.state


def test_the_climb_and_the_descent_have_the_rates_that_were_promised(client):
    fly(client)
    ups = []
    for _ in range(1200):
        client.wait(0.1)
        ups.append(client.autopilot.state.body.up_mps)
    assert max(ups) == pytest.approx(3.0, abs=0.1)
    assert min(ups) == pytest.approx(-3.0, abs=0.1)
