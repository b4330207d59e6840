"""GB/T 28181 broadcast: the texts against literals, and a device that registers late, calls wrongly, or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from speakers import fake_gb28181 as fake
from speakers.fake_devices import PASSWORD

from edge_agent import config
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers import gb28181, gbplatform, gbwire, open_speaker, sipmessage
from edge_agent.speakers.gb28181 import Gb28181Speaker
from edge_agent.speakers.sound import Clip

SOUND = Clip(samples=np.full(800, 4000, np.int16), rate_hz=8000, text="x")
# An INVITE's body as in GB/T 28181-2016, J.22 (voice broadcast), with UDP and with TCP (active).
OFFER = """v=0
o=64010600002020000001 0 0 IN IP4 172.20.16.3
s=Play
c=IN IP4 172.20.16.3
t=0 0
m=audio 8000 RTP/AVP 8
a=recvonly
a=rtpmap:8 PCMA/8000
y=0100000001
f=v/////a/1/8/1
"""


@pytest.fixture
async def device() -> AsyncIterator[fake.Gb28181]:
    async with fake.Gb28181() as device:
        yield device
        assert not device.wrong, device.wrong


def made(device: fake.Gb28181, tmp_path: Path, **facts: object) -> Gb28181Speaker:
    (tmp_path / "password").write_text(PASSWORD)
    section = config.Gb28181Speaker(
        name="pole",
        device=fake.DEVICE,
        channel=fake.CHANNEL,
        platform=fake.PLATFORM,
        listen="{}:{}".format(*device.platform),
        password=str(tmp_path / "password"),
        **facts,
    )
    speaker = open_speaker(section, tmp_path, SystemClock())
    assert isinstance(speaker, Gb28181Speaker)
    return speaker


def test_the_offer_of_a_device_is_read_as_it_stands() -> None:
    assert gbwire.wanted(OFFER) == gbwire.Wanted("172.20.16.3", 8000, False, False, "pcma", 8, 100000001)
    tcp = OFFER.replace("RTP/AVP 8", "TCP/RTP/AVP 8").replace("a=recvonly", "a=setup:active")
    assert gbwire.wanted(tcp).connects
    assert not gbwire.wanted(tcp.replace("active", "passive")).connects
    assert gbwire.wanted(OFFER.replace("y=0100000001\n", "")).ssrc is None
    assert gbwire.wanted(OFFER.replace("AVP 8", "AVP 96 0")).codec == "pcmu"  # PS (96) is not ours
    with pytest.raises(sipmessage.MalformedError, match=r"G\.711"):
        gbwire.wanted(OFFER.replace("AVP 8", "AVP 96"))


def test_the_announcement_and_our_answer_are_those_of_the_standard() -> None:
    xml = gbwire.broadcast(11, "34020000002000000001", "34020000001370000001")
    assert xml.replace("\r\n", "") == (
        '<?xml version="1.0" encoding="GB2312"?><Notify><CmdType>Broadcast</CmdType><SN>11</SN>'
        "<SourceID>34020000002000000001</SourceID><TargetID>34020000001370000001</TargetID></Notify>"
    )
    sdp = gbwire.agreed("34020000002000000001", "192.0.2.1", 30000, gbwire.wanted(OFFER), 100000001)
    assert "m=audio 30000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendonly\r\ny=0100000001\r\n" in sdp


def test_a_stranger_does_not_register_and_a_nonce_is_good_once() -> None:
    registrar = gbwire.Registrar("3402000000")
    head = f"REGISTER sip:x@y SIP/2.0\r\nFrom: <sip:{fake.DEVICE}@y>;tag=1\r\nCSeq: 1 REGISTER\r\nExpires: 60"
    asked = sipmessage.parse(head.encode())
    at = ("192.0.2.9", 5060)
    assert registrar.register(asked, at, 0.0) == (403, ())
    registrar.expected[fake.DEVICE] = None
    assert registrar.register(asked, at, 0.0)[0] == 200
    assert registrar.address(fake.DEVICE, 59.0) == at
    assert registrar.address(fake.DEVICE, 60.0) is None
    registrar.expected[fake.DEVICE] = lambda: "secret"
    status, headers = registrar.register(asked, at, 61.0)
    assert status == 401
    from edge_agent.speakers import digest

    challenge = digest.challenge([headers[0][1]])
    assert challenge is not None
    answer = challenge.authorize(fake.DEVICE, "secret", "REGISTER", "sip:x@y", "c")
    again = sipmessage.parse(f"{head}\r\nAuthorization: {answer}".encode())
    assert registrar.register(again, at, 62.0)[0] == 200
    assert registrar.register(again, at, 63.0)[0] == 401  # a replay


def test_whoever_speaks_in_a_devices_name_from_elsewhere_gets_none_of_its_sound() -> None:
    registrar = gbwire.Registrar("3402000000")
    registrar.expected[fake.DEVICE] = None
    head = f"REGISTER sip:x@y SIP/2.0\r\nFrom: <sip:{fake.DEVICE}@y>;tag=1\r\nCSeq: 1 REGISTER\r\nExpires: 60"
    registrar.register(sipmessage.parse(head.encode()), ("192.0.2.9", 5060), 0.0)
    registrar.heard(fake.DEVICE, ("192.0.2.66", 5060))
    assert registrar.address(fake.DEVICE, 1.0) == ("192.0.2.9", 5060)
    registrar.heard(fake.DEVICE, ("192.0.2.9", 40000))  # a NAT that took another port
    assert registrar.address(fake.DEVICE, 1.0) == ("192.0.2.9", 40000)


@pytest.mark.parametrize("number", ["\u00b2", "9" * 5000, "-1", ""])
def test_no_number_that_a_stranger_writes_ends_the_agent(number: str) -> None:
    platform = gbplatform.Platform(fake.PLATFORM, "127.0.0.1:0", SystemClock())
    platform.registrar.expected[fake.DEVICE] = None
    head = f"From: <sip:{fake.DEVICE}@y>;tag=1\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK"
    xml = f"<Notify><CmdType>Broadcast</CmdType><SN>{number}</SN></Notify>"
    for text in (
        f"MESSAGE sip:x@y SIP/2.0\r\n{head}1\r\n\r\n{xml}",
        f"REGISTER sip:x@y SIP/2.0\r\n{head}2\r\nExpires: {number}\r\n\r\n",
    ):
        platform.datagram_received(text.encode("gb18030"), ("192.0.2.9", 5060))  # what escapes here is a bug of ours
    assert platform.address(fake.DEVICE) == ("192.0.2.9", 5060)


def test_an_answer_to_a_challenge_that_is_no_hash_is_wrong_and_no_more() -> None:
    from edge_agent.speakers import digest

    asked = digest.Digest("r", "n")
    assert not digest.answers('Digest username="u", nonce="n", response="\u00e9"', "u", "p", "REGISTER", asked)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("audio 8000", "audio 99999"),
        ("audio 8000", "audio \u00b2"),
        ("IP4 172.20.16.3\nt=0", "IP4 some.name\nt=0"),  # a look-up blocks the loop
    ],
)
def test_an_offer_that_no_socket_takes_is_refused(line: str, changed: str) -> None:
    with pytest.raises(sipmessage.MalformedError, match="asks for no audio"):
        gbwire.wanted(OFFER.replace(line, changed))


@pytest.mark.parametrize("media", ["active", "passive"])
async def test_a_device_that_wants_tcp_gets_framed_packets(device: fake.Gb28181, tmp_path: Path, media: str) -> None:
    device.media = media
    delivery = await made(device, tmp_path).play(SOUND, "A")
    assert delivery.finished
    deadline = time.monotonic() + 10
    while len(device.heard) < 800:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert len(device.samples()) == 800


async def test_each_way_a_broadcast_fails_is_told_and_leaves_it_free(
    device: fake.Gb28181, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = made(device, tmp_path)
    monkeypatch.setattr(gbplatform, "BYE_S", 0.1)
    for fault, told, patience in (
        ("silent", "did not call for the sound", "INVITE_S"),
        ("ps", r"another codec than G\.711", "ACK_S"),
        ("no ack", "did not acknowledge", "ACK_S"),
    ):
        device.fault = fault
        with monkeypatch.context() as patch:
            patch.setattr(gb28181, patience, 0.3)
            with pytest.raises(DriverError, match=told):
                await speaker.play(SOUND, "A")
    device.fault, device.in_call = "", False
    assert (await speaker.play(SOUND, "A")).finished


async def test_a_device_that_never_registers_is_told_what_it_must_be_set_to(
    device: fake.Gb28181, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gb28181, "REGISTER_S", 0.1)
    device.password = ""
    for task in device.tasks:
        task.cancel()
    with pytest.raises(DriverError, match=f"its platform must be {fake.PLATFORM} at 127.0.0.1"):
        await made(device, tmp_path).health()


async def test_the_registration_outlives_a_sound_while_the_part_runs(device: fake.Gb28181, tmp_path: Path) -> None:
    speaker = made(device, tmp_path)
    running = asyncio.create_task(speaker.run())
    assert (await speaker.play(SOUND, "A")).finished
    registered = device.registered
    assert registered
    assert (await speaker.play(SOUND, "B")).finished
    device.hang_up()  # a call that is over: answered, and nothing more
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not gb28181._PLATFORMS
