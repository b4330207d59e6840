"""The wide codecs, decoded by FFmpeg: the tone is there, and RTP's clock is what the RFCs say."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import av
import numpy as np
import pytest

from edge_agent import config
from edge_agent.runtime import SystemClock
from edge_agent.speakers.codecs import open_encoder, rate_hz
from edge_agent.speakers.rtpstream import RtpStream


@pytest.mark.parametrize(
    ("codec", "decoder", "payload_type", "clock_step"), [("g722", "g722", 9, 160), ("opus", "opus", 111, 960)]
)
def test_the_tone_survives(codec: config.RtpCodec, decoder: str, payload_type: int, clock_step: int) -> None:
    rate = rate_hz(codec)
    assert rate == 16000
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)).astype(np.int16)
    stream = RtpStream(open_encoder(codec), SystemClock(), random.Random(1))
    packets = [stream.packet(tone[n : n + 320]) for n in range(0, rate, 320)]
    heads = [struct.unpack("!BBHII", packet[:12]) for packet in packets]
    assert {head[1] & 0x7F for head in heads} == {payload_type}
    assert {(b[3] - a[3]) % 2**32 for a, b in pairwise(heads)} == {clock_step}
    if codec == "g722":
        assert {len(packet) for packet in packets} == {172}

    context = av.CodecContext.create(decoder, "r")
    context.sample_rate, context.layout = (16000, "mono") if codec == "g722" else (48000, "mono")
    frames = [frame for packet in packets for frame in context.decode(av.Packet(packet[12:]))]
    heard = np.concatenate([frame.to_ndarray()[0].astype(float) for frame in frames])
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert spectrum.argmax() * frames[0].sample_rate / len(heard) == pytest.approx(1000, rel=0.01)
    assert len(heard) / frames[0].sample_rate == pytest.approx(1, abs=0.05)
