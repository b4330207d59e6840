"""RTP on the wire, heard by a listener of our own that shares no code with the sender."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from edge_agent import config
from edge_agent.messages import Phrase
from edge_agent.runtime import DriverError, SystemClock
from edge_agent.speakers.codecs import open_encoder
from edge_agent.speakers.rtp import RtpSpeaker
from edge_agent.speakers.rtpstream import RtpStream
from edge_agent.speakers.sound import TONE_HZ, TONE_S, Clip
from edge_agent.speakers.voice import Voice


def _ulaw(code: int) -> int:
    """G.711, table 2: the bits inverted are sign, 3 of segment, 4 of step; 14 bits with a bias of 33."""
    code ^= 0xFF
    value = (((code & 0xF) * 2 + 33) << ((code >> 4) & 7)) - 33
    return 4 * (-value if code & 0x80 else value)


def _alaw(code: int) -> int:
    """G.711, table 1: even bits inverted, then sign, 3 of segment, 4 of step; 13 bits."""
    code ^= 0x55
    segment, step = (code >> 4) & 7, code & 0xF
    value = step * 2 + 1 if segment == 0 else (step * 2 + 33) << (segment - 1)
    return 8 * (value if code & 0x80 else -value)


IP_RECVTTL = 12  # linux/in.h; the socket module of Python 3.11 has no name for it
TABLES = {0: np.array([_ulaw(c) for c in range(256)]), 8: np.array([_alaw(c) for c in range(256)])}


@dataclass
class Heard:
    """One packet as it came."""

    at_s: float
    marker: bool
    payload_type: int
    seq: int
    timestamp: int
    ssrc: int
    payload: bytes
    tos: int
    ttl: int


@dataclass
class Listener:
    """A loudspeaker of the test: a thread that notes each packet and its time."""

    group: str | None = None
    heard: list[Heard] = field(default_factory=list)

    def __enter__(self) -> Listener:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        self.sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        self.sock.settimeout(0.05)
        self.sock.bind((self.group or "127.0.0.1", 0))
        if self.group:
            member = socket.inet_aton(self.group) + socket.inet_aton("127.0.0.1")
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        self.port = self.sock.getsockname()[1]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.sock.close()

    def _listen(self) -> None:
        while not self.over.is_set():
            try:
                data, control, _, _ = self.sock.recvmsg(2048, 256)
            except TimeoutError:
                continue
            first, second, seq, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
            assert first == 0x80
            header = {kind: value[0] for _, kind, value in control}
            tos, ttl = header[socket.IP_TOS], header[socket.IP_TTL]
            self.heard.append(
                Heard(time.monotonic(), second >> 7 == 1, second & 0x7F, seq, timestamp, ssrc, data[12:], tos, ttl)
            )

    def samples(self) -> np.ndarray:
        return np.concatenate([TABLES[p.payload_type][np.frombuffer(p.payload, np.uint8)] for p in self.heard])


def speaker(port: int, host: str = "127.0.0.1", **facts: object) -> RtpSpeaker:
    return RtpSpeaker(config.RtpSpeaker(name="horn", host=host, port=port, **facts), SystemClock(), random.Random(1))


def tone(seconds: float) -> Clip:
    samples = (8000 * np.sin(2 * np.pi * 1000 * np.arange(int(8000 * seconds)) / 8000)).astype(np.int16)
    return Clip(samples=samples, rate_hz=8000, text="tone")


def envelope(samples: np.ndarray) -> np.ndarray:
    samples = samples[: len(samples) // 160 * 160].astype(float)
    return np.sqrt((samples.reshape(-1, 160) ** 2).mean(axis=1))


# --- the packets --------------------------------------------------------------------------------------------------


class Fixed(random.Random):
    """The SSRC, the first sequence number and the first timestamp, as a test wants them."""

    def __init__(self, *values: int) -> None:
        super().__init__()
        self.values = list(values)

    def getrandbits(self, _bits: int) -> int:
        return self.values.pop(0)


def test_the_bytes_of_the_first_packets() -> None:
    """RFC 3550, section 5.1, and RFC 3551: payload type 0 and 8, 20 ms; silence is 0xFF and 0xD5."""
    stream = RtpStream(open_encoder("pcmu"), SystemClock(), Fixed(0x01020304, 0xFFFF, 0xFFFFFFFF))
    assert stream.packet(np.zeros(160, np.int16)) == bytes.fromhex("80 80 ffff ffffffff 01020304") + b"\xff" * 160
    assert stream.packet(np.zeros(1, np.int16)) == bytes.fromhex("80 00 0000 0000009f 01020304") + b"\xff" * 160
    stream = RtpStream(open_encoder("pcma"), SystemClock(), Fixed(0, 1, 2))
    assert stream.packet(np.zeros(160, np.int16)) == bytes.fromhex("80 88 0001 00000002 00000000") + b"\xd5" * 160


# --- on the wire --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "codec", "payload_type"), [(None, "pcmu", 0), ("239.192.7.7", "pcma", 8)])
async def test_a_rendered_warning_arrives_whole_in_order_and_sounding_the_same(
    group: str | None, codec: str, payload_type: int
) -> None:
    phrase = Phrase(text="危险。") if payload_type else Phrase(text="Danger.", lang="en")
    clip = await Voice(config.Voice(speed_wpm=250)).render((phrase,))
    with Listener(group) as listener:
        facts = {"interface": "127.0.0.1", "ttl": 3} if group else {"ttl": 3}
        delivery = await speaker(listener.port, group or "127.0.0.1", codec=codec, **facts).play(clip, "A")
        await asyncio.sleep(0.1)
    heard = listener.heard
    assert delivery.finished
    assert delivery.proof == "none"  # nothing on the wire says more
    assert delivery.played_s == pytest.approx(clip.duration_s, abs=0.02)

    assert len(heard) == -(-len(clip.samples) // 160)
    assert {p.payload_type for p in heard} == {payload_type}
    assert {len(p.payload) for p in heard} == {160}
    assert {p.tos for p in heard} == {0xB8}
    assert {p.ttl == 3 for p in heard} == {group is not None}  # `ttl` keeps multicast near; a unicast speaker is routed
    assert len({p.ssrc for p in heard}) == 1
    assert [p.marker for p in heard] == [True] + [False] * (len(heard) - 1)
    assert {(b.seq - a.seq) & 0xFFFF for a, b in pairwise(heard)} == {1}
    assert {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in pairwise(heard)} == {160}
    steps = np.diff([p.at_s for p in heard])
    assert np.median(steps) == pytest.approx(0.020, abs=0.010)
    assert heard[-1].at_s - heard[0].at_s == pytest.approx(0.020 * (len(heard) - 1), rel=0.3)  # no burst, no drift

    sound = listener.samples()
    found = np.abs(np.fft.rfft(sound[: round(TONE_S * 8000)], 80_000)).argmax() / 10
    assert found == pytest.approx(TONE_HZ, rel=0.01)
    assert np.corrcoef(envelope(sound)[: len(envelope(clip.samples))], envelope(clip.samples))[0, 1] >= 0.95
    error = sound[: len(clip.samples)] - clip.samples
    assert 10 * np.log10((clip.samples.astype(float) ** 2).mean() / (error.astype(float) ** 2).mean()) > 30


async def test_every_play_is_a_stream_of_its_own() -> None:
    with Listener() as listener:
        horn = speaker(listener.port)
        await horn.play(tone(0.04), "A")
        await horn.play(tone(0.04), "B")
        await asyncio.sleep(0.1)
    a, _, b, _ = listener.heard
    assert len({a.ssrc, b.ssrc}) == len({a.seq, b.seq}) == len({a.timestamp, b.timestamp}) == 2
    assert a.marker
    assert b.marker


async def test_stop_fades_it_out_within_50_ms() -> None:
    with Listener() as listener:
        horn = speaker(listener.port)
        playing = asyncio.create_task(horn.play(tone(5), "A"))
        while len(listener.heard) < 10:
            await asyncio.sleep(0.005)
        stopped_s = time.monotonic()
        await horn.stop()
        delivery = await playing
        assert time.monotonic() - stopped_s < 2  # of five
        await asyncio.sleep(0.1)
    assert not delivery.finished
    assert delivery.played_s == pytest.approx(0.020 * len(listener.heard))
    assert listener.heard[-1].at_s <= stopped_s + 2
    sizes = listener.samples().reshape(-1, 160).astype(float).std(axis=1).round()
    assert (np.diff(sizes[-4:]) < 0).all()  # each step quieter than the one before
    assert not listener.samples()[-80:].any()


class Stalls(SystemClock):
    """A loop that hangs once, in its tenth sleep."""

    def __init__(self) -> None:
        self.sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await asyncio.sleep(seconds)
        if self.sleeps == 10:
            time.sleep(0.5)


async def test_after_a_stall_it_goes_on_at_its_pace_and_tells() -> None:
    with Listener() as listener:
        horn = RtpSpeaker(config.RtpSpeaker(name="horn", host="127.0.0.1", port=listener.port), Stalls())
        delivery = await horn.play(tone(0.5), "A")
        await asyncio.sleep(0.1)
    steps = np.diff([p.at_s for p in listener.heard])
    assert len(listener.heard) == 25
    assert (steps < 0.001).sum() < 10  # no burst of all 25 at once
    assert delivery.late_ms > 400


@pytest.mark.parametrize(
    ("host", "facts", "reason"),
    [
        ("127.0.0.1", {}, "refused"),
        ("a..b", {}, "label empty"),
        ("239.1.1.1", {"interface": "192.0.2.77"}, "rtp to 239.1.1.1:"),
        ("239.1.1.1", {"interface": "eth9"}, "rtp to 239.1.1.1:"),
        ("127.0.0.1", {"interface": "192.0.2.77"}, "assign"),
    ],
)
async def test_a_failing_network_is_named(host: str, facts: dict[str, str], reason: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(DriverError, match=reason) as raised:
        await speaker(port, host, **facts).play(tone(0.2), "A")
    assert str(raised.value).startswith(f"speaker horn: rtp to {host}:{port}: ")


async def test_a_clip_of_another_rate_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="8000 samples"):
        await speaker(5004).play(Clip(samples=np.zeros(160, np.int16), rate_hz=16000, text=""), "A")
