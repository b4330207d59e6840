"""`speakers list|test|discover` without an agent, and the messages of discovery."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.cli import main
from edge_agent.speakers.discovery import Device, discover, probe, question, read_answer, read_match

SITE = 'data_dir = "state"\n[site]\ndevice = "EA-1"\n[[detector]]\nname = "d"\ntype = "simulated"\n'
SITE += '[[camera]]\nname = "c"\ntype = "simulated"\ndetector = "d"\n'
SPEAKERS = '[[speaker]]\nname = "horn"\ntype = "simulated"\ngroups = ["street"]\n'
SPEAKERS += '[[speaker]]\nname = "gone"\ntype = "axis"\nurl = "http://127.0.0.1:9"\n'

MATCH = b"""<SOAP-ENV:Envelope><SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch>
<d:Types>dn:NetworkVideoTransmitter</d:Types>
<d:Scopes>onvif://www.onvif.org/name/AXIS%20C1310 onvif://www.onvif.org/hardware/C1310</d:Scopes>
<d:XAddrs>http://192.0.2.7/onvif/device_service http://[fe80::1]/onvif/device_service</d:XAddrs>
</d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "agent.toml").write_text(SITE + SPEAKERS)
    return str(tmp_path / "agent.toml")


def test_list_says_what_each_can_prove(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speakers", "list", "-c", file, "--json"]) == 0
    horn, gone = json.loads(capsys.readouterr().out)
    assert (horn["name"], horn["type"], horn["best_proof"], horn["groups"]) == (
        "horn",
        "simulated",
        "delivered",
        ["street"],
    )
    assert (gone["address"], gone["health"]) == ("http://127.0.0.1:9", "the agent does not run")


def test_test_plays_the_tone_and_names_what_fails(
    file: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["speakers", "test", "-c", file, "--json"]) == 1
    horn, gone = json.loads(capsys.readouterr().out)
    assert (horn["ok"], horn["proof"]) == (True, "delivered")
    assert (tmp_path / "state/speakers/horn/speakers-test.wav").stat().st_size == 44 + 8000
    assert (gone["ok"], "refused" in gone["reason"].lower()) == (False, True)
    assert main(["speakers", "test", "horn", "--silent", "-c", file]) == 0
    assert "horn (simulated)" in capsys.readouterr().out
    assert main(["speakers", "test", "nobody", "-c", file]) == 69
    assert "there is: horn, gone" in capsys.readouterr().err


def dns(name: str) -> bytes:
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\0"


def answer() -> bytes:
    """RFC 6762: one PTR whose name points back into the packet, and its SRV."""
    service = dns("_axis-video._tcp.local")
    head = struct.pack("!HHHHHH", 0, 0x8400, 0, 1, 0, 1)
    pointer = b"\x09C1310-gate"[:1] + b"C1310gate" + b"\xc0\x0c"
    ptr = service + struct.pack("!HHIH", 12, 1, 60, len(pointer)) + pointer
    where = struct.pack("!HHH", 0, 0, 80) + dns("axis.local")
    srv = b"\x09C1310gate\xc0\x0c" + struct.pack("!HHIH", 33, 1, 60, len(where)) + where
    return head + ptr + srv


def test_the_messages_of_discovery() -> None:
    assert b"dn:NetworkVideoTransmitter" in probe()
    asked = bytes.fromhex("0000 0000 0001 0000 0000 0000") + b"\x04_sip\x04_udp\x05local\0" + bytes.fromhex("000c 8001")
    assert question(("_sip._udp.local",)) == asked
    device = Device(
        host="192.0.2.7", name="AXIS C1310", found_by="onvif", address="http://192.0.2.7/onvif/device_service"
    )
    assert read_match(MATCH, "192.0.2.7") == device
    assert read_answer(answer(), "192.0.2.8") == [
        Device(host="192.0.2.8", name="C1310gate", found_by="_axis-video._tcp", address="192.0.2.8:80")
    ]


@given(st.binary(max_size=100), st.sampled_from([b"", answer()[:20], b"\0\0\x84\0\0\0\0\x09\0\0\0\0"]))
def test_hostile_answers_are_nothing(data: bytes, start: bytes) -> None:
    assert isinstance(read_answer(start + data, "h"), list)
    assert read_match(data, "h") is None


async def test_what_answers_is_found() -> None:
    class Responder(asyncio.DatagramProtocol):
        def connection_made(self, transport) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(MATCH if b"Probe" in data else answer(), addr)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Responder, local_addr=("127.0.0.1", 0), family=socket.AF_INET
    )
    here = transport.get_extra_info("sockname")
    found = await discover(0.4, ws=here, mdns=here)
    transport.close()
    assert [device.found_by for device in found] == ["onvif", "_axis-video._tcp"]


async def test_where_nothing_can_be_sent_it_is_an_error_and_not_an_empty_network() -> None:
    nowhere = ("255.255.255.255", 9)  # a broadcast, which this socket may not send
    with pytest.raises(PermissionError):
        await discover(0.02, ws=nowhere, mdns=nowhere)
