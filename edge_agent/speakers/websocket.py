"""WebSocket frames and the handshake's proof (RFC 6455), for either end. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MAX_MESSAGE = 2**20
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # 1.3


class ProtocolError(ValueError):
    """The other end does not keep to the standard."""


class Message(NamedTuple):
    """A whole message, or a control frame."""

    opcode: int
    data: bytes


def accept(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


def frame(opcode: int, data: bytes, mask: bytes = b"") -> bytes:
    """One final frame; a client masks with four random bytes (5.2, 5.3)."""
    size = len(data)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes([0x80 | opcode, bit | size])
    elif size < 2**16:
        head = bytes([0x80 | opcode, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, bit | 127]) + size.to_bytes(8, "big")
    return head + mask + (masked(data, mask) if mask else data)


def masked(data: bytes, mask: bytes) -> bytes:
    """The same function masks and unmasks."""
    whole = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(data), "big")


class Reader:
    """Bytes in, messages out; fragments are put together (5.4)."""

    def __init__(self, *, wants_mask: bool) -> None:
        self._wants_mask = wants_mask  # servers want it, clients refuse it (5.1)
        self._bytes = bytearray()
        self._kind, self._parts = 0, bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """What has become whole; raises `ProtocolError`."""
        self._bytes += data
        found: list[Message] = []
        while (one := self._frame()) is not None:
            final, opcode, payload = one
            if opcode >= CLOSE:
                found.append(Message(opcode, payload))
                continue
            if bool(opcode) == bool(self._kind):
                raise ProtocolError("a fragment without its beginning, or a beginning in the middle")
            self._kind = opcode or self._kind
            self._parts += payload
            if len(self._parts) > MAX_MESSAGE:
                raise ProtocolError("a message is too long")
            if final:
                found.append(Message(self._kind, bytes(self._parts)))
                self._kind, self._parts = 0, bytearray()
        return found

    def _frame(self) -> tuple[bool, int, bytes] | None:
        data = self._bytes
        if len(data) < 2:
            return None
        if data[0] & 0x70:
            raise ProtocolError("an extension that was not agreed on")
        if bool(data[1] & 0x80) != self._wants_mask:
            raise ProtocolError("a frame is masked by the wrong end")
        size, at = data[1] & 0x7F, 2
        if size >= 126:
            at = 4 if size == 126 else 10
            if len(data) < at:
                return None
            size = int.from_bytes(data[2:at], "big")
        if size > MAX_MESSAGE:
            raise ProtocolError("a frame is too long")
        mask = bytes(data[at : at + 4]) if self._wants_mask else b""
        at += len(mask)
        if (self._wants_mask and len(mask) < 4) or len(data) < at + size:
            return None
        payload = bytes(data[at : at + size])
        final, opcode = bool(data[0] & 0x80), data[0] & 0x0F
        del data[: at + size]
        return final, opcode, masked(payload, mask) if mask else payload
