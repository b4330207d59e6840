"""The mission transfer: over a wire that loses, doubles and reorders, and against single faults."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight import route, transfer
from edge_agent.flight.frames import Frame
from edge_agent.flight.mission import Item, compare, digest
from edge_agent.flight.mission_server import MissionServer
from edge_agent.flight.transfer import Download, Ends, Upload
from tests.flight.conftest import PATROL

ENDS = Ends(1, 1, 1, 191)
ITEMS = route.mission(PATROL)
OLD = [Item(seq=n, frame=3, command=16, x=n, y=n, z=99.0) for n in range(12)]
HOME = Item(seq=0, frame=0, command=16, x=1, y=2, z=50.0)


class Wire:
    """Client and server joined by two queues; every message may be lost, doubled or overtaken."""

    def __init__(self, seed: int, loss: float, *, chaos: bool = True) -> None:
        self.rng, self.loss, self.chaos = random.Random(seed), loss, chaos
        self.now = 0.0
        self.up: list[tuple[float, object]] = []
        self.down: list[tuple[float, object]] = []
        self.server = MissionServer(list(OLD), lambda: HOME, lambda m: self.put(self.down, m))

    def put(self, queue: list, message: object) -> None:
        for _ in range(2 if self.chaos and self.rng.random() < 0.1 else 1):
            if self.rng.random() >= self.loss:
                queue.append((self.now + (self.rng.uniform(0.01, 0.4) if self.chaos else 0.02), message))

    def run(self, transfer: Upload | Download, limit_s: float = 400.0) -> str:
        while transfer.state == "running":
            assert self.now < limit_s
            self.now += 0.05
            transfer.tick(self.now)
            self._flush(transfer)
            for message in self._due(self.up):
                self.server.receive(Frame(1, 191, message), self.now, locked=False)
            self.server.tick(self.now)
            for message in self._due(self.down):
                transfer.receive(message, self.now)
        self._flush(transfer)
        return transfer.state

    def _flush(self, transfer: Upload | Download) -> None:
        for message in transfer.messages():
            self.put(self.up, message)

    def _due(self, queue: list) -> list:
        due = sorted((item for item in queue if item[0] <= self.now), key=lambda item: item[0])
        queue[:] = [item for item in queue if item[0] > self.now]
        return [message for _, message in due]


def transferred(wire: Wire) -> bool:
    """Upload, read back, compare, three times at most: what the pilot does."""
    for _ in range(3):
        wire.now += 3
        if wire.run(Upload(ENDS, ITEMS, wire.now)) == "failed":
            continue
        download = Download(ENDS, wire.now)
        if wire.run(download) == "done" and compare(ITEMS, download.items) is None:
            return True
    return False


def aboard_is_ours(wire: Wire) -> bool:
    return digest(wire.server.items) == digest(ITEMS) and len(wire.server.items) == len(ITEMS)


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_over_a_lossy_link_no_transfer_claims_a_mission_that_is_not_aboard(loss):
    good = 0
    for seed in range(100):
        wire = Wire(seed, loss)
        if transferred(wire):
            good += 1
            assert aboard_is_ours(wire), f"seed {seed}"
    assert good >= (100 if loss < 0.2 else 95)


def test_a_lost_final_ack_is_settled_by_download():
    wire = Wire(0, 0.0, chaos=False)
    put = wire.put
    ack = mavlink.MAVLINK_MSG_ID_MISSION_ACK
    wire.put = lambda queue, m: None if m.get_msgId() == ack and queue is wire.down else put(queue, m)
    upload = Upload(ENDS, ITEMS, 0.0)
    assert wire.run(upload) == "unsettled"
    download = Download(ENDS, wire.now)
    assert wire.run(download) == "done"
    assert compare(ITEMS, download.items) is None


def ack(result: int, *, system: int = 1, component: int = 191, kind: int = 0):
    return mavlink.MAVLink_mission_ack_message(system, component, result, kind)


def request(seq: int):
    return mavlink.MAVLink_mission_request_message(1, 191, seq, 0)


def test_invalid_sequence_does_not_end_an_upload():
    upload = Upload(ENDS, ITEMS, 0.0)
    upload.receive(request(0), 0.1)
    upload.receive(ack(mavlink.MAV_MISSION_INVALID_SEQUENCE), 0.2)
    assert upload.state == "running"


def test_an_ack_before_the_last_item_was_asked_for_is_no_success():
    upload = Upload(ENDS, ITEMS, 0.0)
    for seq in range(len(ITEMS) - 1):
        upload.receive(request(seq), 0.1)
    upload.receive(ack(mavlink.MAV_MISSION_ACCEPTED), 0.2)
    assert upload.state == "running"
    upload.receive(request(len(ITEMS) - 1), 0.3)
    upload.receive(ack(mavlink.MAV_MISSION_ACCEPTED), 0.4)
    assert upload.state == "done"


@pytest.mark.parametrize("stray", [{"component": 190}, {"system": 255}, {"kind": 1}])
def test_an_ack_for_somebody_else_or_for_a_fence_is_not_ours(stray):
    upload = Upload(ENDS, ITEMS, 0.0)
    for seq in range(len(ITEMS)):
        upload.receive(request(seq), 0.1)
    upload.receive(ack(mavlink.MAV_MISSION_ACCEPTED, **stray), 0.2)
    assert upload.state == "running"


def test_a_refusal_ends_an_upload_and_is_named():
    upload = Upload(ENDS, ITEMS, 0.0)
    upload.receive(ack(mavlink.MAV_MISSION_DENIED), 0.1)
    assert (upload.state, upload.detail) == ("failed", "MAV_MISSION_DENIED: another ground station is uploading")


def test_a_slot_that_was_announced_twice_is_written_though_the_second_announcement_is_denied():
    """MissionItemProtocol::handle_mission_write_partial_list denies whoever asks while items are received."""
    upload = Upload(ENDS, ITEMS[1:2], 0.0)
    upload.messages()
    upload.tick(10.0)
    assert [message.get_type() for message in upload.messages()] == ["MISSION_WRITE_PARTIAL_LIST"]
    upload.receive(request(1), 10.1)
    upload.receive(ack(mavlink.MAV_MISSION_DENIED), 10.2)
    assert upload.state == "running"
    upload.receive(ack(mavlink.MAV_MISSION_ACCEPTED), 10.3)
    assert upload.state == "done"


def test_items_are_answered_as_int_items_whichever_way_they_are_asked_for():
    upload = Upload(ENDS, ITEMS, 0.0)
    upload.messages()
    upload.receive(request(3), 0.1)
    upload.receive(mavlink.MAVLink_mission_request_int_message(1, 191, 4, 0), 0.1)
    assert [(m.get_type(), m.seq) for m in upload.messages()] == [("MISSION_ITEM_INT", 3), ("MISSION_ITEM_INT", 4)]


def test_an_autopilot_that_asks_for_nothing_fails_the_upload():
    upload = Upload(ENDS, ITEMS, 0.0)
    for tick in range(200):
        upload.tick(tick * 0.1)
    assert upload.state == "failed"


def test_an_autopilot_that_stops_asking_fails_the_upload():
    upload = Upload(ENDS, ITEMS, 0.0)
    upload.receive(request(0), 1.0)
    upload.tick(9.0)
    assert upload.state == "running"  # it asks again for 8 s
    upload.tick(10.5)
    assert upload.state == "failed"


def test_an_interrupted_upload_leaves_a_mix_that_the_comparison_finds():
    wire = Wire(0, 0.0, chaos=False)
    upload = Upload(ENDS, ITEMS, 0.0)
    while len(wire.server.items) != len(ITEMS) or wire.server.items[2].z == 99.0:
        wire.now += 0.05
        upload.tick(wire.now)
        wire._flush(upload)
        for message in wire._due(wire.up):
            wire.server.receive(Frame(1, 191, message), wire.now, locked=False)
        for message in wire._due(wire.down):
            upload.receive(message, wire.now)
    wire.now += 20
    wire.server.tick(wire.now)
    wire.down.clear()
    download = Download(ENDS, wire.now)
    assert wire.run(download) == "done"
    assert "aboard" in str(compare(ITEMS, download.items))


def test_an_empty_autopilot_downloads_as_empty():
    wire = Wire(0, 0.0)
    wire.server.items.clear()
    download = Download(ENDS, 0.0)
    assert wire.run(download) == "done"
    assert download.items == []


def test_a_silent_autopilot_fails_the_download():
    wire = Wire(0, 1.0)
    download = Download(ENDS, 0.0)
    assert wire.run(download) == "failed"
    assert "length" in download.detail


# --- normalising: what AP_Mission keeps of an item ------------------------------------------------------------------


def test_what_arducopter_drops_makes_no_difference():
    sent = Item(seq=1, frame=6, command=16, p1=3.9, p2=5.0, p3=1.0, p4=90.0, x=10, y=20, z=20.004)
    held = Item(seq=1, frame=3, command=16, p1=3.0, x=10, y=20, z=20.0)
    assert compare([HOME, sent], [HOME, held]) is None
    assert digest([HOME, sent]) == digest([HOME, held])


def test_home_is_no_part_of_the_digest():
    assert digest([HOME, *ITEMS[1:]]) == digest(ITEMS)


@given(
    st.integers(3, len(ITEMS) - 2),
    st.sampled_from([("x", 1), ("y", -1), ("z", 0.05), ("command", 1), ("frame", -2), ("p1", 1.0)]),
)
def test_every_difference_that_matters_is_found(number, change):
    name, by = change
    other = list(ITEMS)
    other[number] = structs.replace(other[number], **{name: getattr(other[number], name) + by})
    assert compare(ITEMS, other) is not None
    assert digest(ITEMS) != digest(other)


def test_another_speed_and_another_length_are_found():
    other = [*ITEMS[:2], structs.replace(ITEMS[2], p2=9.0), *ITEMS[3:]]
    assert compare(ITEMS, other) is not None
    assert compare(ITEMS, ITEMS[:-1]) is not None


def test_a_second_uploader_is_denied_until_the_first_gives_up():
    answers: list = []
    server = MissionServer([], lambda: HOME, answers.append)
    count = mavlink.MAVLink_mission_count_message(1, 1, 5, 0)
    server.receive(Frame(1, 191, count), 0.0, locked=False)
    server.receive(Frame(255, 190, count), 1.0, locked=False)
    assert answers[-1].type == mavlink.MAV_MISSION_DENIED
    server.tick(8.5)
    assert answers[-1].type == mavlink.MAV_MISSION_OPERATION_CANCELLED
    server.receive(Frame(255, 190, count), 9.0, locked=False)
    assert answers[-1].get_type() == "MISSION_REQUEST"


def test_a_count_beyond_the_capacity_has_no_space():
    answers: list = []
    server = MissionServer([], lambda: HOME, answers.append)
    server.receive(Frame(1, 191, mavlink.MAVLink_mission_count_message(1, 1, 800, 0)), 0.0, locked=False)
    assert answers[-1].type == mavlink.MAV_MISSION_NO_SPACE


def test_an_upload_is_given_up_only_after_arducopter_has_given_it_up():
    assert transfer.UPLOAD_GIVE_UP_S > 8.0  # longer than ArduPilot's own patience
