"""What the agent takes for granted of an autopilot, as one list of cases for the simulated one and for ArduCopter.

`tests/flight/test_contract_cases.py` runs it in `make check` on the simulated autopilot, `make sitl` on ArduCopter. A
case that only the simulated one passes stands in `DIFFERENCES` with the reason.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from pymavlink.dialects.v20 import ardupilotmega as mavlink

Message = Any
ACCEPTED = mavlink.MAV_RESULT_ACCEPTED
ARM, MODE, START = mavlink.MAV_CMD_COMPONENT_ARM_DISARM, mavlink.MAV_CMD_DO_SET_MODE, mavlink.MAV_CMD_MISSION_START
STABILIZE, AUTO, GUIDED, RTL = 0, 3, 4, 6
FRAME = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT
OTHER = (255, 195)  # a second ground station
WAIT_S = 5.0
FLIGHT_S = 200.0
ALT_M = 12.0

DIFFERENCES = {
    "auto_without_a_mission_is_refused": "ArduCopter takes any mode while disarmed; the simulated one says no at once"
}


class Wire(Protocol):
    """Bytes to and from an autopilot, and its time in seconds."""

    def send(self, data: bytes, source: int, /) -> None: ...
    def turn(self) -> bytes:
        """Let a little time pass; what came in it."""
        ...


class Item(NamedTuple):
    """A mission item in the fields that matter here."""

    command: int
    north_m: float = 0.0
    east_m: float = 0.0
    alt_m: float = 0.0


PATROL = (
    Item(mavlink.MAV_CMD_NAV_WAYPOINT), Item(mavlink.MAV_CMD_NAV_TAKEOFF, alt_m=ALT_M),
    Item(mavlink.MAV_CMD_NAV_WAYPOINT, 40, 0, ALT_M), Item(mavlink.MAV_CMD_NAV_WAYPOINT, 40, 40, ALT_M),
    Item(mavlink.MAV_CMD_NAV_RETURN_TO_LAUNCH),
)  # fmt: skip


class Peer:
    """A ground station that keeps what it hears; all waits are in the vehicle's time."""

    def __init__(self, wire: Wire, lat: float, lon: float) -> None:
        self._wire, self.lat, self.lon = wire, lat, lon
        self._mavs = {255: mavlink.MAVLink(None, 255, 190), OTHER[1]: mavlink.MAVLink(None, *OTHER)}
        self._parser = mavlink.MAVLink(None)
        self._parser.robust_parsing = True
        self.now_s = 0.0
        self.heard: list[Message] = []
        self.armed, self.mode, self.up_m, self.landed_state = False, STABILIZE, 0.0, 0
        self.north_m = self.east_m = 0.0

    # --- time and messages ----------------------------------------------------------------------------------------

    def turn(self) -> None:
        for m in self._parser.parse_buffer(self._wire.turn()) or ():
            if m.get_type() == "BAD_DATA" or m.get_srcComponent() != 1:
                continue
            self.heard.append(m)
            match m.get_type():
                case "HEARTBEAT":
                    self.armed, self.mode = bool(m.base_mode & 128), m.custom_mode
                case "GLOBAL_POSITION_INT":
                    self.now_s, self.up_m = m.time_boot_ms / 1000, m.relative_alt / 1000
                    self.north_m = (m.lat / 1e7 - self.lat) * 111_319.5
                    self.east_m = (m.lon / 1e7 - self.lon) * 111_319.5 * math.cos(math.radians(self.lat))
                case "SYSTEM_TIME":
                    self.now_s = m.time_boot_ms / 1000
                case "EXTENDED_SYS_STATE":
                    self.landed_state = m.landed_state

    def wait(self, seconds: float) -> list[Message]:
        """What is said in so many seconds."""
        self.heard.clear()
        end = self.now_s + seconds
        while self.now_s < end:
            self.turn()
        return list(self.heard)

    def until(self, what: Callable[[], object], within_s: float, why: str) -> None:
        end = self.now_s + within_s
        while not what():
            assert self.now_s < end, f"not within {within_s:g} s: {why}"
            self.turn()

    def send(self, message: Message, component: int = 255) -> None:
        mav = self._mavs[component]
        self._wire.send(message.pack(mav), component)
        mav.seq = (mav.seq + 1) % 256

    def ask(self, message: Message, *names: str, component: int = 255, within_s: float = WAIT_S) -> Message:
        """Send; the first message of one of these names."""
        self.heard.clear()
        self.send(message, component)
        return self.next(*names, within_s=within_s)

    def next(self, *names: str, within_s: float = WAIT_S) -> Message:
        """The next message of one of these names, taken out of what was heard."""
        found: list[Message] = []

        def look() -> bool:
            found[:] = [m for m in self.heard if m.get_type() in names]
            return bool(found)

        self.until(look, within_s, " or ".join(names))
        del self.heard[: self.heard.index(found[0]) + 1]
        return found[0]

    # --- asked ----------------------------------------------------------------------------------------------------

    def command(self, number: int, *params: float) -> int:
        filled = (*params, *([0.0] * (7 - len(params))))
        self.heard.clear()
        self.send(mavlink.MAVLink_command_long_message(1, 1, number, 0, *filled))
        while (ack := self.next("COMMAND_ACK")).command != number:
            pass
        return int(ack.result)

    def set_mode(self, mode: int) -> int:
        return self.command(MODE, 1, mode)

    def item(self, seq: int, item: Item) -> Message:
        x = round((self.lat + item.north_m / 111_319.5) * 1e7)
        y = round((self.lon + item.east_m / 111_319.5 / math.cos(math.radians(self.lat))) * 1e7)
        if item.command != mavlink.MAV_CMD_NAV_WAYPOINT:
            x = y = 0
        return mavlink.MAVLink_mission_item_int_message(
            1, 1, seq, FRAME, item.command, 0, 1, 0, 0, 0, 0, x, y, item.alt_m, 0
        )

    def begin(self, count: int, component: int = 255) -> Message:
        """Offer `count` items; the request or the answer."""
        return self.ask(
            mavlink.MAVLink_mission_count_message(1, 1, count, 0), "MISSION_REQUEST", "MISSION_REQUEST_INT",
            "MISSION_ACK", component=component,
        )  # fmt: skip

    def upload(self, items: Sequence[Item] = PATROL) -> int:
        """By the book; the MAV_MISSION_RESULT."""
        reply = self.begin(len(items))
        while reply.get_type() != "MISSION_ACK":
            reply = self.ask(
                self.item(reply.seq, items[reply.seq]), "MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ACK"
            )
        return int(reply.type)

    def count(self) -> int:
        return int(self.ask(mavlink.MAVLink_mission_request_list_message(1, 1, 0), "MISSION_COUNT").count)

    def read(self, seq: int) -> Message:
        return self.ask(mavlink.MAVLink_mission_request_int_message(1, 1, seq, 0), "MISSION_ITEM_INT", "MISSION_ACK")

    def fly(self) -> None:
        """Upload, arm, start, and be well in the air."""
        assert self.upload() == mavlink.MAV_MISSION_ACCEPTED
        self.take_off()

    def take_off(self) -> None:
        assert self.set_mode(GUIDED) == ACCEPTED
        assert self.command(ARM, 1) == ACCEPTED
        assert self.set_mode(AUTO) == ACCEPTED
        assert self.command(START) == ACCEPTED
        self.until(lambda: self.up_m > ALT_M - 1, 60, "at height")

    def down(self) -> None:
        """Wait for the end of a flight."""
        self.until(lambda: not self.armed, FLIGHT_S, "disarmed")

    def reset(self) -> None:
        """On the ground, disarmed, in a mode for the hand, nothing aboard; and nobody in the middle of an upload."""
        if self.armed:
            self.set_mode(RTL)
            self.down()
        self.set_mode(STABILIZE)
        self.until(lambda: self.mode == STABILIZE, WAIT_S, "mode STABILIZE")
        for _ in range(3):
            ack = self.ask(mavlink.MAVLink_mission_clear_all_message(1, 1, 0), "MISSION_ACK")
            if ack.type == mavlink.MAV_MISSION_ACCEPTED:
                return
            self.wait(9)
        raise AssertionError("the mission cannot be cleared")


Case = Callable[[Peer], None]
CASES: list[Case] = []


def case(do: Case) -> Case:
    CASES.append(do)
    return do


# --- arming and modes -------------------------------------------------------------------------------------------------


@case
def armed_and_left_alone_it_disarms_itself_after_ten_seconds(peer: Peer) -> None:
    assert peer.set_mode(GUIDED) == ACCEPTED
    assert peer.command(ARM, 1) == ACCEPTED
    peer.until(lambda: peer.armed, 3, "armed")
    peer.wait(8)
    assert peer.armed
    peer.until(lambda: not peer.armed, 5, "disarmed")


@case
def auto_without_a_start_stays_on_the_ground(peer: Peer) -> None:
    peer.upload()
    for number, *params in ((MODE, 1, GUIDED), (ARM, 1), (MODE, 1, AUTO)):
        assert peer.command(number, *params) == ACCEPTED
    peer.until(lambda: peer.armed, 3, "armed")
    peer.until(lambda: not peer.armed, 20, "disarmed")
    assert peer.up_m < 0.5


@case
def a_start_while_disarmed_is_accepted_and_nothing_moves(peer: Peer) -> None:
    peer.upload()
    assert peer.set_mode(GUIDED) == ACCEPTED
    assert peer.command(START) == ACCEPTED
    peer.wait(5)
    assert not peer.armed
    assert peer.up_m < 0.5


@case
def arming_in_auto_is_refused(peer: Peer) -> None:
    peer.upload()
    peer.set_mode(AUTO)
    assert peer.command(ARM, 1) != ACCEPTED
    peer.wait(2)
    assert not peer.armed


@case
def auto_without_a_mission_is_refused(peer: Peer) -> None:
    assert peer.set_mode(AUTO) != ACCEPTED


@case
def a_mode_that_does_not_exist_is_refused(peer: Peer) -> None:
    assert peer.set_mode(99) != ACCEPTED


@case
def a_command_that_it_does_not_know_is_unsupported(peer: Peer) -> None:
    assert peer.command(31000) == mavlink.MAV_RESULT_UNSUPPORTED


# --- in the air -------------------------------------------------------------------------------------------------------


@case
def it_is_not_disarmed_in_the_air(peer: Peer) -> None:
    peer.fly()
    assert peer.command(ARM, 0) != ACCEPTED
    peer.wait(2)
    assert peer.armed
    assert peer.up_m > ALT_M - 3


@case
def the_missions_return_stays_in_auto_until_it_stands_at_home(peer: Peer) -> None:
    peer.fly()
    modes = set()

    def done() -> bool:
        modes.add(peer.mode)
        return not peer.armed

    peer.until(done, FLIGHT_S, "disarmed")
    assert modes == {AUTO}
    assert math.hypot(peer.north_m, peer.east_m) < 2


@case
def pause_holds_and_continue_goes_on(peer: Peer) -> None:
    peer.fly()
    peer.wait(2)
    assert peer.command(mavlink.MAV_CMD_DO_PAUSE_CONTINUE, 0) == ACCEPTED
    peer.wait(8)
    place = (peer.north_m, peer.east_m)
    peer.wait(8)
    assert math.dist(place, (peer.north_m, peer.east_m)) < 1
    assert peer.command(mavlink.MAV_CMD_DO_PAUSE_CONTINUE, 1) == ACCEPTED
    peer.down()
    assert math.hypot(peer.north_m, peer.east_m) < 2


@case
def a_running_mission_is_not_cleared(peer: Peer) -> None:
    peer.fly()
    ack = peer.ask(mavlink.MAVLink_mission_clear_all_message(1, 1, 0), "MISSION_ACK")
    assert ack.type != mavlink.MAV_MISSION_ACCEPTED
    assert peer.count() == len(PATROL)


@case
def a_mission_that_is_replaced_in_the_air_is_flown_on_from_the_same_item(peer: Peer) -> None:
    peer.fly()
    assert peer.upload() == mavlink.MAV_MISSION_ACCEPTED
    peer.down()
    assert math.hypot(peer.north_m, peer.east_m) < 2


@case
def an_item_rewritten_in_the_air_is_where_it_flies_next(peer: Peer) -> None:
    peer.fly()
    moved = (*PATROL[:3], Item(mavlink.MAV_CMD_NAV_WAYPOINT, 40, -40, ALT_M), PATROL[4])
    assert peer.upload(moved) == mavlink.MAV_MISSION_ACCEPTED
    west_m = 0.0

    def done() -> bool:
        nonlocal west_m
        west_m = min(west_m, peer.east_m)
        return not peer.armed

    peer.until(done, FLIGHT_S, "disarmed")
    assert west_m < -37


# --- missions ---------------------------------------------------------------------------------------------------------


@case
def it_asks_for_each_item_in_order_and_says_when_it_has_all(peer: Peer) -> None:
    reply, asked = peer.begin(len(PATROL)), []
    while reply.get_type() != "MISSION_ACK":
        asked.append(reply.seq)
        reply = peer.ask(
            peer.item(reply.seq, PATROL[reply.seq]), "MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ACK"
        )
    assert (asked, reply.type) == (list(range(len(PATROL))), mavlink.MAV_MISSION_ACCEPTED)
    assert peer.count() == len(PATROL)


@case
def what_is_aboard_is_what_was_sent_but_for_home_in_item_0(peer: Peer) -> None:
    peer.upload()
    for seq in range(1, len(PATROL)):
        sent, kept = peer.item(seq, PATROL[seq]), peer.read(seq)
        assert (kept.command, kept.x, kept.y) == (sent.command, sent.x, sent.y)
        assert abs(kept.z - sent.z) < 0.011
    home = peer.read(0)
    assert abs(home.x / 1e7 - peer.lat) < 1e-5


@case
def an_item_that_comes_twice_is_called_out_of_sequence_and_the_upload_goes_on(peer: Peer) -> None:
    first = peer.begin(len(PATROL))
    peer.ask(peer.item(0, PATROL[first.seq]), "MISSION_REQUEST", "MISSION_REQUEST_INT")
    ack = peer.ask(peer.item(0, PATROL[0]), "MISSION_ACK")
    assert ack.type == mavlink.MAV_MISSION_INVALID_SEQUENCE
    seq = 1
    while seq < len(PATROL):
        reply = peer.ask(peer.item(seq, PATROL[seq]), "MISSION_REQUEST", "MISSION_REQUEST_INT", "MISSION_ACK")
        seq += 1
    assert reply.type == mavlink.MAV_MISSION_ACCEPTED


@case
def it_asks_again_and_gives_up_after_eight_seconds(peer: Peer) -> None:
    peer.begin(len(PATROL))
    heard = peer.wait(6)
    asked = [m for m in heard if m.get_type() in ("MISSION_REQUEST", "MISSION_REQUEST_INT")]
    assert 3 <= len(asked) <= 7
    ack = peer.next("MISSION_ACK", within_s=5)
    assert ack.type == mavlink.MAV_MISSION_OPERATION_CANCELLED


@case
def a_second_uploader_is_denied(peer: Peer) -> None:
    peer.begin(len(PATROL))
    peer.heard.clear()
    peer.send(mavlink.MAVLink_mission_count_message(1, 1, 3, 0), OTHER[1])
    while (ack := peer.next("MISSION_ACK")).target_component != OTHER[1]:
        pass
    assert ack.type == mavlink.MAV_MISSION_DENIED
    peer.next("MISSION_ACK", within_s=12)


@case
def more_items_than_there_is_room_for_are_refused(peer: Peer) -> None:
    assert peer.begin(5000).type == mavlink.MAV_MISSION_NO_SPACE


@case
def an_item_that_it_cannot_fly_ends_the_upload(peer: Peer) -> None:
    reply = peer.upload((*PATROL[:3], Item(31010), PATROL[4]))
    assert reply == mavlink.MAV_MISSION_UNSUPPORTED


@case
def an_upload_that_breaks_off_leaves_a_mixture(peer: Peer) -> None:
    peer.upload()
    short = (*PATROL[:2], Item(mavlink.MAV_CMD_NAV_WAYPOINT, -40, 0, ALT_M), PATROL[4])
    peer.begin(len(short))
    for seq in range(3):
        peer.ask(peer.item(seq, short[seq]), "MISSION_REQUEST", "MISSION_REQUEST_INT")
    peer.next("MISSION_ACK", within_s=15)
    assert peer.count() == len(short)
    assert peer.read(2).x == peer.item(2, short[2]).x
    assert peer.read(3).command == PATROL[3].command


@case
def an_item_behind_the_end_cannot_be_read(peer: Peer) -> None:
    peer.upload()
    assert peer.read(len(PATROL)).get_type() == "MISSION_ACK"


@case
def a_current_item_behind_the_end_is_refused(peer: Peer) -> None:
    peer.upload()
    assert peer.command(mavlink.MAV_CMD_DO_SET_MISSION_CURRENT, 77) != ACCEPTED


@case
def a_cleared_mission_is_empty(peer: Peer) -> None:
    peer.upload()
    ack = peer.ask(mavlink.MAVLink_mission_clear_all_message(1, 1, 0), "MISSION_ACK")
    assert ack.type == mavlink.MAV_MISSION_ACCEPTED
    assert peer.count() == 0


# --- what it says -----------------------------------------------------------------------------------------------------


@case
def a_message_comes_as_often_as_asked_and_stops_when_told(peer: Peer) -> None:
    wanted = mavlink.MAVLINK_MSG_ID_MISSION_CURRENT
    assert peer.command(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, wanted, 200_000) == ACCEPTED
    count = sum(m.get_type() == "MISSION_CURRENT" for m in peer.wait(10))
    assert 40 <= count <= 60
    assert peer.command(mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, wanted, -1) == ACCEPTED
    peer.wait(1)
    assert not any(m.get_type() == "MISSION_CURRENT" for m in peer.wait(5))


@case
def a_message_can_be_asked_for_once(peer: Peer) -> None:
    filled = (mavlink.MAVLINK_MSG_ID_HOME_POSITION, 0, 0, 0, 0, 0, 0)
    home = peer.ask(mavlink.MAVLink_command_long_message(1, 1, 512, 0, *filled), "HOME_POSITION")
    assert abs(home.latitude / 1e7 - peer.lat) < 1e-4


# --- ArduCopter -------------------------------------------------------------------------------------------------------


class Tcp:
    """ArduCopter's TCP port; two connections would be two links, and one is enough for both stations."""

    def __init__(self, host: str, port: int) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                self._socket = socket.create_connection((host, port), timeout=5)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        self._socket.settimeout(0.02)

    def send(self, data: bytes, _source: int) -> None:
        self._socket.sendall(data)

    def turn(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except TimeoutError:
            return b""

    def close(self) -> None:
        self._socket.close()


def ready(peer: Peer) -> None:
    """Streams on, and the position estimate good enough to arm."""
    streams = (
        mavlink.MAVLINK_MSG_ID_SYSTEM_TIME, mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT,
        mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE, mavlink.MAVLINK_MSG_ID_SYS_STATUS,
        mavlink.MAVLINK_MSG_ID_EKF_STATUS_REPORT,
    )  # fmt: skip

    def armable() -> bool:
        said = {m.get_type(): m for m in peer.heard}
        status, ekf = said.get("SYS_STATUS"), said.get("EKF_STATUS_REPORT")
        healthy = status and status.onboard_control_sensors_health & mavlink.MAV_SYS_STATUS_PREARM_CHECK
        return bool(healthy and ekf and ekf.flags & mavlink.EKF_POS_HORIZ_ABS)

    for _ in range(200):
        for number in streams:
            peer.send(mavlink.MAVLink_command_long_message(1, 1, 511, 0, number, 100_000, 0, 0, 0, 0, 0))
        began_s = time.monotonic()
        while time.monotonic() - began_s < 0.2:
            peer.turn()
        if armable():
            return
        del peer.heard[:-500]
    raise AssertionError("the vehicle is never ready to arm")


def run(peer: Peer) -> list[tuple[str, str]]:
    """Every case with what was wrong with it, "" where nothing was."""
    found = []
    for do in CASES:
        try:
            peer.reset()
            do(peer)
            found.append((do.__name__, ""))
        except AssertionError as error:
            found.append((do.__name__, str(error) or "an assertion does not hold"))
    return found
