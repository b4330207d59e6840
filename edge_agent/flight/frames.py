"""MAVLink frames: bytes to checked messages and back (https://mavlink.io/en/guide/serialization.html), sans-I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from pymavlink.dialects.v20 import ardupilotmega as mavlink

Message = Any  # the dialect is generated and untyped: a message's fields are its attributes

MAGIC_V1, MAGIC_V2 = 0xFE, 0xFD
HEADER_V1, HEADER_V2 = 6, 10
SIGNED = 0x01  # the only incompatibility flag there is
SIGNATURE_BYTES = 13


class Frame(NamedTuple):
    """A message and who sent it."""

    system: int
    component: int
    message: Message


class Framer:
    """Cuts a byte stream into frames; decodes only the message ids that somebody uses.

    Garbage is skipped to the next magic byte; a frame with a bad CRC costs one byte, not the frames behind it.
    """

    def __init__(self, wanted: Collection[int]) -> None:
        self._wanted = frozenset(wanted)
        self._buffer = bytearray()
        self._decoder = mavlink.MAVLink(None)
        self.bad_crc = 0
        self.skipped_bytes = 0

    def receive(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes."""
        self._buffer += data
        while (frame := self._cut()) is not None:
            if frame and (found := self._decode(frame)) is not None:
                yield found

    def _cut(self) -> bytes | None:
        """The next frame with a good CRC, b"" where a byte was skipped, None where more data is needed."""
        buffer = self._buffer
        start = min((i for i in (buffer.find(MAGIC_V2), buffer.find(MAGIC_V1)) if i >= 0), default=len(buffer))
        if start:
            self.skipped_bytes += start
            del buffer[:start]
        if len(buffer) < HEADER_V1:
            return None
        if buffer[0] == MAGIC_V1:
            head, tail, message_id = HEADER_V1, 0, buffer[5]
        elif len(buffer) < HEADER_V2:
            return None
        else:
            head, tail = HEADER_V2, SIGNATURE_BYTES if buffer[2] & SIGNED else 0
            message_id = int.from_bytes(buffer[7:10], "little")
        end = head + buffer[1] + 2
        known = mavlink.mavlink_map.get(message_id)
        if known is None:
            # Its CRC seed is unknown: it cannot be checked, so its length cannot be trusted either.
            return self._skip()
        if len(buffer) < end + tail:
            return None
        body = bytes(buffer[1 : end - 2])
        if mavlink.x25crc(body + bytes((known.crc_extra,))).crc != int.from_bytes(buffer[end - 2 : end], "little"):
            self.bad_crc += 1
            return self._skip()
        frame = bytes(buffer[: end + tail])
        del buffer[: end + tail]
        return frame if message_id in self._wanted else b""

    def _skip(self) -> bytes:
        self.skipped_bytes += 1
        del self._buffer[0]
        return b""

    def _decode(self, frame: bytes) -> Frame | None:
        try:
            message = self._decoder.decode(bytearray(frame))
        except mavlink.MAVError:  # a CRC that happens to fit a payload of the wrong shape
            self.bad_crc += 1
            return None
        return Frame(message.get_srcSystem(), message.get_srcComponent(), message)


class Sender:
    """Turns our messages into MAVLink 2 bytes under one identity, numbered 0..255 as the receiver expects."""

    def __init__(self, system: int, component: int) -> None:
        self._mav = mavlink.MAVLink(None, srcSystem=system, srcComponent=component)

    def encode(self, message: Message) -> bytes:
        data: bytes = message.pack(self._mav)
        self._mav.seq = (self._mav.seq + 1) % 256
        return data
