"""Framing against bytes made by pymavlink's own generator, and against noise."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Framer, Sender

# MAVLink(None, srcSystem=1, srcComponent=1), seq 0, HEARTBEAT(QUADROTOR, ARDUPILOTMEGA, 81, 4, STANDBY, 3).pack(),
# made with pymavlink 2.4.50; the layout is https://mavlink.io/en/guide/serialization.html.
V2_HEARTBEAT = bytes.fromhex("fd0900000001010000000400000002035103037e22")
V1_HEARTBEAT = bytes.fromhex("fe0900010100040000000203510303e4e1")
HEARTBEAT = mavlink.MAVLINK_MSG_ID_HEARTBEAT


def heartbeat(mode: int = 4):
    return mavlink.MAVLink_heartbeat_message(2, 3, 81, mode, 3, 3)


def test_a_heartbeat_is_read_from_its_golden_bytes():
    (frame,) = Framer({HEARTBEAT}).receive(V2_HEARTBEAT)
    assert (frame.system, frame.component) == (1, 1)
    assert (frame.message.custom_mode, frame.message.base_mode, frame.message.autopilot) == (4, 81, 3)


def test_a_mavlink_1_heartbeat_is_read_too():
    (frame,) = Framer({HEARTBEAT}).receive(V1_HEARTBEAT)
    assert frame.message.custom_mode == 4


def test_a_heartbeat_is_written_as_the_golden_bytes():
    assert Sender(1, 1).encode(heartbeat()) == V2_HEARTBEAT


def test_frames_are_numbered_and_the_number_wraps():
    sender = Sender(1, 191)
    assert [sender.encode(heartbeat())[4] for _ in range(258)][-3:] == [255, 0, 1]


def test_a_stream_cut_anywhere_gives_the_same_frames():
    stream = V2_HEARTBEAT * 3
    for size in range(1, len(stream)):
        framer = Framer({HEARTBEAT})
        found = [f for i in range(0, len(stream), size) for f in framer.receive(stream[i : i + size])]
        assert len(found) == 3


def test_a_frame_behind_a_broken_one_is_not_lost():
    broken = bytearray(V2_HEARTBEAT)
    broken[12] ^= 0x40
    framer = Framer({HEARTBEAT})
    assert len(list(framer.receive(bytes(broken) + V2_HEARTBEAT))) == 1
    assert framer.bad_crc == 1


def test_a_frame_behind_garbage_with_magic_bytes_in_it_is_not_lost():
    framer = Framer({HEARTBEAT})
    assert len(list(framer.receive(b"\xfd\x00\xfe\x01abc" + V2_HEARTBEAT * 20))) == 20


def test_a_message_nobody_wants_is_skipped_but_its_frame_is_checked():
    sender = Sender(1, 1)
    unwanted = sender.encode(mavlink.MAVLink_attitude_message(1, 0, 0, 0, 0, 0, 0))
    framer = Framer({HEARTBEAT})
    assert len(list(framer.receive(unwanted + V2_HEARTBEAT))) == 1
    assert (framer.bad_crc, framer.skipped_bytes) == (0, 0)


def test_a_signed_frame_is_read_whole():
    signer = mavlink.MAVLink(None, srcSystem=1, srcComponent=1)
    signer.signing.secret_key = b"k" * 32
    signer.signing.sign_outgoing = True
    signer.signing.timestamp = 1
    framer = Framer({HEARTBEAT})
    assert len(list(framer.receive(heartbeat().pack(signer) + V2_HEARTBEAT))) == 2


@given(st.binary(max_size=600), st.data())
def test_noise_never_raises_and_never_eats_what_follows_for_long(noise, data):
    framer = Framer(set(mavlink.mavlink_map))
    at = 0
    while at < len(noise):
        size = data.draw(st.integers(1, 64))
        list(framer.receive(noise[at : at + size]))
        at += size
    found = [f for f in framer.receive(V2_HEARTBEAT * 30) if f.message.get_msgId() == HEARTBEAT]
    assert len(found) >= 15  # a false header may swallow one frame's length, 280 bytes


@given(st.sampled_from(sorted(mavlink.mavlink_map)), st.binary(min_size=1, max_size=255))
def test_any_payload_of_any_known_message_decodes_or_is_counted(number, payload):
    """A frame with a good CRC and a payload that no autopilot would send."""
    head = bytes([0xFD, len(payload), 0, 0, 0, 1, 1]) + number.to_bytes(3, "little")
    crc = mavlink.x25crc(head[1:] + payload + bytes((mavlink.mavlink_map[number].crc_extra,))).crc
    framer = Framer({number})
    assert len(list(framer.receive(head + payload + crc.to_bytes(2, "little")))) + framer.bad_crc == 1


@pytest.mark.parametrize("number", [HEARTBEAT, mavlink.MAVLINK_MSG_ID_GLOBAL_POSITION_INT])
def test_zeros_that_mavlink_2_cuts_off_come_back(number):
    kind = mavlink.mavlink_map[number]
    message = kind(*[0] * len(kind.fieldnames))
    (frame,) = Framer({number}).receive(Sender(1, 1).encode(message))
    assert all(getattr(frame.message, name) == 0 for name in kind.fieldnames)


# --- decoding, message for message as pymavlink does ----------------------------------------------------------------


def value(kind: str, rng: random.Random) -> float:
    if kind in ("float", "double"):
        return rng.randrange(-1000, 1000) / 8  # as exact as a 32-bit float
    bits = int(kind.split("_")[0].lstrip("uint")) - 1
    return rng.randrange(1, 2 ** min(bits, 52))


def filled(number: int):
    """A message of this kind with a value in every field."""
    known, rng = mavlink.mavlink_map[number], random.Random(number)
    values = []
    for kind, length in zip(known.fieldtypes, (known.array_lengths[i] for i in known.orders), strict=True):
        if kind == "char":
            values.append(bytes(rng.choices(b"abcXYZ019_", k=rng.randrange(1, max(length, 2)))))
        elif length:
            values.append([value(kind, rng) for _ in range(length)])
        else:
            values.append(value(kind, rng))
    return known(*values)


@pytest.mark.parametrize("number", sorted(n for n in mavlink.mavlink_map if n >= 0))
def test_every_message_is_decoded_as_pymavlink_decodes_it(number):
    frame = Sender(1, 1).encode(filled(number))
    (ours,) = Framer({number}).receive(frame)
    theirs = mavlink.MAVLink(None).decode(bytearray(frame))
    assert (ours.message.get_msgId(), ours.message.get_type()) == (theirs.get_msgId(), theirs.get_type())
    for name in theirs.fieldnames:
        assert getattr(ours.message, name) == getattr(theirs, name), name


@given(st.lists(st.one_of(st.binary(max_size=60), st.integers(0, 255)), max_size=20), st.integers(1, 40))
def test_frames_in_any_noise_are_found_or_counted_and_nothing_escapes(pieces, size):
    """Every frame that is whole and stands behind no open magic byte is found, in chunks of any size."""
    stream = b"".join(V2_HEARTBEAT if isinstance(piece, int) else piece for piece in pieces) + bytes(300)
    framer = Framer({HEARTBEAT})
    found = [frame for at in range(0, len(stream), size) for frame in framer.receive(stream[at : at + size])]
    whole = Framer({HEARTBEAT})
    assert len(whole.receive(stream)) == len(found)
    assert framer.frames == whole.frames


@given(st.binary(max_size=400))
def test_no_bytes_break_the_framer(noise):
    framer = Framer(set(mavlink.mavlink_map))
    framer.receive(noise)
    assert framer.frames >= 0


@given(st.integers(2, len(V2_HEARTBEAT) - 1), st.integers(1, 255))
def test_a_heartbeat_changed_anywhere_is_never_taken(at, change):
    frame = bytearray(V2_HEARTBEAT)
    frame[at] ^= change
    assert Framer({HEARTBEAT}).receive(bytes(frame) + bytes(300)) == []


def test_an_unknown_incompatibility_flag_is_not_understood():
    frame = bytearray(V2_HEARTBEAT)
    frame[2] = 0x02
    crc = mavlink.x25crc(bytes(frame[1:-2]) + bytes((50,))).crc  # HEARTBEAT's CRC_EXTRA
    frame[-2:] = crc.to_bytes(2, "little")
    assert Framer({HEARTBEAT}).receive(bytes(frame) + bytes(300)) == []


def test_the_tap_sees_every_frame_wanted_or_not_as_it_came():
    seen = []
    Framer(set(), tap=seen.append).receive(b"\x00" + V2_HEARTBEAT + V1_HEARTBEAT)
    assert seen == [V2_HEARTBEAT, V1_HEARTBEAT]
