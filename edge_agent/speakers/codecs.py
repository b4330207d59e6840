"""What RTP carries: 20 ms of sound as the bytes of one packet, for each codec (RFC 3551; Opus, RFC 7587)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, assert_never

import numpy as np

from edge_agent.config import RtpCodec
from edge_agent.runtime import DriverError
from edge_agent.speakers.g711 import PAYLOAD_TYPES, Codec, encode
from edge_agent.speakers.sound import Pcm

OPUS_PAYLOAD_TYPE = 111  # dynamic: what WebRTC's peers use for it


class Encoder(Protocol):
    """One stream's encoder; `clock_step` is by how much 20 ms moves the RTP timestamp."""

    @property
    def payload_type(self) -> int: ...
    @property
    def clock_step(self) -> int: ...
    @property
    def rate_hz(self) -> int: ...
    def encode(self, step: Pcm) -> bytes: ...


@dataclass(frozen=True)
class G711:
    """One byte a sample, 8 kHz."""

    codec: Codec
    payload_type: int
    clock_step: int = 160
    rate_hz: int = 8000

    def encode(self, step: Pcm) -> bytes:
        return encode(np.pad(step, (0, 160 - len(step))), self.codec)


class Libav:
    """G.722 (16 kHz; its RTP clock is 8 kHz by an old mistake: RFC 3551, 4.5.2) and Opus (clock 48 kHz), by FFmpeg."""

    rate_hz = 16000

    def __init__(self, codec: str, payload_type: int, clock_step: int) -> None:
        import av

        self.payload_type, self.clock_step = payload_type, clock_step
        self._context: Any
        try:
            self._context = av.CodecContext.create(codec, "w")
        except av.FFmpegError as error:
            raise DriverError(f"this build of PyAV has no {codec} ({error}); use codec = 'pcmu'") from None
        self._context.sample_rate, self._context.layout, self._context.format = self.rate_hz, "mono", "s16"
        if codec == "libopus":
            self._context.bit_rate = 32_000
            self._context.options = {"application": "voip", "frame_duration": "20"}
        self._frame = av.AudioFrame
        self._at = 0

    def encode(self, step: Pcm) -> bytes:
        frame = self._frame.from_ndarray(np.pad(step, (0, 320 - len(step)))[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = self.rate_hz, self._at
        self._at += 320
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


def rate_hz(codec: RtpCodec) -> int:
    """Samples a second that a codec takes."""
    return 8000 if codec in ("pcmu", "pcma") else Libav.rate_hz


def open_encoder(codec: RtpCodec, payload_type: int | None = None) -> Encoder:
    """A fresh encoder: one for each stream; the far end may have asked for another payload type."""
    match codec:
        case "pcmu" | "pcma":
            return G711(codec, PAYLOAD_TYPES[codec] if payload_type is None else payload_type)
        case "g722":
            return Libav("g722", payload_type or 9, 160)
        case "opus":
            return Libav("libopus", payload_type or OPUS_PAYLOAD_TYPE, 960)
        case _:
            assert_never(codec)
