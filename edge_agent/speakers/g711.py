"""G.711 mu-law and A-law by table, as in the reference code of ITU-T G.191 (module g711); 16-bit linear samples."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Codec = Literal["pcmu", "pcma"]
PAYLOAD_TYPES: dict[Codec, int] = {"pcmu": 0, "pcma": 8}  # RFC 3551, table 4
RATE_HZ = 8000


def encode(samples: NDArray[np.int16], codec: Codec) -> bytes:
    """One byte a sample."""
    codes: NDArray[np.uint8] = _ENCODE[codec][samples.astype(np.int32) + 32768]
    return codes.tobytes()


def decode(data: bytes, codec: Codec) -> NDArray[np.int16]:
    """The 16-bit samples that the bytes stand for."""
    samples: NDArray[np.int16] = _DECODE[codec][np.frombuffer(data, np.uint8)]
    return samples


def _exponent(size: NDArray[np.int32]) -> NDArray[np.int32]:
    """The place of the highest set bit (0 for 0 and 1)."""
    return np.floor(np.log2(np.maximum(size, 1))).astype(np.int32)


def _encode_ulaw() -> NDArray[np.uint8]:
    x = np.arange(-32768, 32768, dtype=np.int32)
    size = np.minimum((np.where(x < 0, ~x, x) >> 2) + 33, 0x1FFF)  # 14 bits and the bias of 33
    segment = _exponent(size) - 5
    code = ((7 - segment) << 4) | (0xF - ((size >> (segment + 1)) & 0xF))
    codes: NDArray[np.uint8] = np.where(x >= 0, code | 0x80, code).astype(np.uint8)
    return codes


def _decode_ulaw() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32)
    segment, step = (~code >> 4) & 7, ~code & 0xF
    size = (((step << 1) + 33) << segment) - 33  # 14 bits
    return np.where(code >= 0x80, size << 2, -(size << 2)).astype(np.int16)


def _encode_alaw() -> NDArray[np.uint8]:
    x = np.arange(-32768, 32768, dtype=np.int32)
    size = np.where(x < 0, ~x, x) >> 4  # 12 bits
    segment = np.maximum(_exponent(size) - 3, 0)
    code = np.where(segment == 0, size, (segment << 4) | ((size >> np.maximum(segment - 1, 0)) & 0xF))
    return (np.where(x >= 0, code | 0x80, code) ^ 0x55).astype(np.uint8)


def _decode_alaw() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = (code >> 4) & 7, code & 0xF
    size = np.where(segment == 0, (step << 4) + 8, ((step << 4) + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code >= 0x80, size, -size).astype(np.int16)


_ENCODE: dict[Codec, NDArray[np.uint8]] = {"pcmu": _encode_ulaw(), "pcma": _encode_alaw()}
_DECODE: dict[Codec, NDArray[np.int16]] = {"pcmu": _decode_ulaw(), "pcma": _decode_alaw()}
