"""Every reason code has an answer: the tables against those of the standard, as paho holds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.reasons import CONNACK, DISCONNECT, OVER_A_MESSAGE, PUBACK, Verdict, hung_up, refused, verdict


def standard(packet: int) -> set[int]:
    """The codes that MQTT 5 knows for a packet."""
    first = "Normal disconnection" if packet == PacketTypes.DISCONNECT else "Success"
    names = ReasonCode(packet, first).names
    return {code for code, meanings in names.items() for packets in meanings.values() if packet in packets}


@pytest.mark.parametrize(
    ("packet", "table", "ours"),
    [
        (PacketTypes.PUBACK, PUBACK, {0x95}),
        (PacketTypes.CONNACK, CONNACK | {0: ""}, {0x99}),  # of a will; paho has forgotten it
        (PacketTypes.DISCONNECT, DISCONNECT, set()),
    ],
)
def test_each_table_holds_every_code_of_the_standard(packet: int, table: dict[int, object], ours: set[int]) -> None:
    assert set(table) - ours == standard(packet)


@given(st.integers(0, 255))
def test_any_byte_is_judged_and_none_that_the_broker_refuses_counts_as_taken(code: int) -> None:
    assert (verdict(code) is Verdict.TAKEN) == (code < 0x80)
    assert refused(code)
    assert hung_up(code)


def test_what_may_work_later_is_never_set_aside_at_once() -> None:
    for code in (0x87, 0x89, 0x97, 0x80, 0x83, 0xFF):
        assert verdict(code) in (Verdict.LATER, Verdict.STRANGE)


def test_only_what_one_message_is_makes_us_look_for_it() -> None:
    assert {0x81, 0x82, 0x95} <= OVER_A_MESSAGE
    assert not OVER_A_MESSAGE & {0x00, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x93, 0x96, 0x97}
