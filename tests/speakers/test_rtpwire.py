"""RTP and RTCP as bytes: what RFC 3550 draws, and no crash on anything else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.speakers.rtpwire import (
    MalformedError,
    Packet,
    Report,
    bye,
    is_rtcp,
    read_rtcp,
    receiver_report,
    sender_report,
    unpack,
)

WORD = st.integers(0, 2**32 - 1)


@given(st.integers(0, 127), st.integers(0, 65535), WORD, WORD, st.binary(max_size=200), st.booleans())
def test_a_packet_comes_back_as_it_was(kind: int, seq: int, at: int, ssrc: int, payload: bytes, marker: bool) -> None:
    packet = Packet(kind, seq, at, ssrc, payload, marker)
    assert unpack(packet.pack()) == packet


def test_sources_extension_and_padding_are_no_payload() -> None:
    """RFC 3550, 5.1 and 5.3.1: CC = 1, X = 1 (profile 0xBEDE, one word), P = 1 (the last octet counts itself)."""
    data = bytes.fromhex("b1 00 0001 00000002 00000003  0a0b0c0d  bede 0001 ffffffff") + b"voice" + b"\0\0\3"
    assert unpack(data) == Packet(0, 1, 2, 3, b"voice")


def test_a_sender_report_by_the_book() -> None:
    """RFC 3550, 6.4.1: NTP counts from 1900, so that Unix time 0 is 0x83AA7E80."""
    data = sender_report(0x01020304, wall_s=0.5, timestamp=160, packets=7, octets=1120)
    assert data[:28].hex(" ", 4) == "80c80006 01020304 83aa7e80 80000000 000000a0 00000007 00000460"
    assert data[28:32].hex() == "81ca0005"  # SDES, one source, six words in all
    assert data[32:].hex() == "01020304" + "010a" + b"edge-agent".hex() + "00" * 4


def test_a_report_and_a_farewell_are_read() -> None:
    """RFC 3550, 6.4.2: fraction 64/256, cumulative -1 as 24 bits, extended number with one cycle."""
    data = bytes.fromhex("81c90007 000000aa  01020304 40ffffff 0001fffe 00000000 00000000 00000000  81cb0001 000000aa")
    said = read_rtcp(data)
    assert said.reports == (Report(about=0x01020304, lost_share=0.25, lost=-1, newest=0x0001FFFE),)
    assert said.byes == (0xAA,)
    assert is_rtcp(data)
    assert not is_rtcp(Packet(0, 1, 2, 3, b"", marker=True).pack())


def test_what_we_write_we_can_read() -> None:
    report = Report(about=9, lost_share=0.5, lost=12, newest=70000)
    assert read_rtcp(receiver_report(5, (report,))).reports == (report,)
    assert read_rtcp(bye(5)).byes == (5,)


@pytest.mark.parametrize("data", ["", "80", "40" + "00" * 20, "8f00" + "00" * 20, "9000" + "00" * 10 + "bede00ff"])
def test_what_is_no_rtp_is_told(data: str) -> None:
    with pytest.raises(MalformedError):
        unpack(bytes.fromhex(data))


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x80\xc8", b"\x81\xc9\x00\x07", b"\x90\x00"]))
def test_hostile_bytes_raise_nothing_else(data: bytes, start: bytes) -> None:
    for read in (unpack, read_rtcp):
        with contextlib.suppress(MalformedError):
            read(start + data)
