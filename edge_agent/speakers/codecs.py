"""What RTP carries: 20 ms of sound as the bytes of one packet, for each codec (RFC 3551; Opus, RFC 7587); and AAC."""

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


class Adts:
    """AAC-LC at 8 kHz, each frame of 1024 samples (128 ms) behind a header of its own (ISO/IEC 13818-7, 6.2)."""

    RATE_HZ, FRAME = 8000, 1024
    _RATE_INDEX, _LC, _MONO = 11, 1, 1

    def __init__(self) -> None:
        import av

        self._context: Any = av.CodecContext.create("aac", "w")
        self._context.sample_rate, self._context.layout, self._context.format = self.RATE_HZ, "mono", "fltp"
        self._context.bit_rate = 32_000
        self._frame = av.AudioFrame
        self._waiting: Pcm = np.zeros(0, np.int16)
        self._at = 0

    def encode(self, step: Pcm) -> list[bytes]:
        """The frames that have become whole."""
        waiting = np.concatenate([self._waiting, step])
        whole = len(waiting) // self.FRAME * self.FRAME
        self._waiting = waiting[whole:]
        return [found for frame in waiting[:whole].reshape(-1, self.FRAME) for found in self._encoded(frame)]

    def rest(self) -> list[bytes]:
        """What the encoder still holds, filled up with silence."""
        silence = np.zeros(-len(self._waiting) % self.FRAME, np.int16)
        return [*self.encode(silence), *(self._headed(bytes(packet)) for packet in self._context.encode(None))]

    def _encoded(self, samples: Pcm) -> list[bytes]:
        frame = self._frame.from_ndarray((samples / 32768).astype(np.float32)[None, :], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = self.RATE_HZ, self._at
        self._at += len(samples)
        return [self._headed(bytes(packet)) for packet in self._context.encode(frame)]

    def _headed(self, data: bytes) -> bytes:
        size = len(data) + 7
        head = 0xFFF1 << 40 | self._LC << 38 | self._RATE_INDEX << 34 | self._MONO << 30 | size << 13 | 0x7FF << 2
        return head.to_bytes(7, "big") + data


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
