"""The bad link of the harness: what it does to frames is what it says, and a seed repeats it."""

from __future__ import annotations

import random

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from sitl.air import Air, cut, message_id


def frames(count: int) -> list[bytes]:
    mav = mavlink.MAVLink(None, srcSystem=1, srcComponent=1)
    found = []
    for n in range(count):
        found.append(mavlink.MAVLink_system_time_message(0, n).pack(mav))
        mav.seq = (mav.seq + 1) % 256
    return found


def test_a_stream_is_cut_into_its_frames_however_it_arrives():
    wanted, buffer, found = frames(20), bytearray(), []
    stream = b"".join(wanted)
    for start in range(0, len(stream), 7):
        buffer += stream[start : start + 7]
        found += cut(buffer)
    assert found == wanted
    assert {message_id(frame) for frame in found} == {mavlink.MAVLINK_MSG_ID_SYSTEM_TIME}


def test_bytes_that_begin_no_frame_pass_as_they_are():
    assert list(cut(bytearray(b"\x00\x01"))) == [b"\x00", b"\x01"]


def test_the_share_that_is_lost_is_the_one_asked_for_and_a_seed_repeats_it():
    def left(seed: int) -> list[bytes]:
        air = Air(random.Random(seed), drop=0.3)
        return [out for frame in frames(1000) for _, out in air.pass_on(frame)]

    assert 650 < len(left(1)) < 750
    assert left(1) == left(1) != left(2)


def test_a_damaged_frame_differs_in_one_bit():
    frame = frames(1)[0]
    ((_, out),) = Air(random.Random(1), flip=1.0).pass_on(frame)
    assert sum((a ^ b).bit_count() for a, b in zip(frame, out, strict=True)) == 1


def test_a_partition_lets_nothing_pass_and_healing_ends_it():
    air = Air(random.Random(1), partition=True, drop=1.0)
    assert air.pass_on(frames(1)[0]) == []
    air.heal()
    assert air.pass_on(frames(1)[0]) == [(0.0, frames(1)[0])]


def test_the_next_two_of_a_kind_are_lost_and_the_third_comes():
    air = Air(random.Random(1), lose_next={mavlink.MAVLINK_MSG_ID_SYSTEM_TIME: 2})
    assert [len(air.pass_on(frame)) for frame in frames(3)] == [0, 0, 1]
