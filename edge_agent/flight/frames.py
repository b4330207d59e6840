"""MAVLink frames: bytes to checked messages and back (https://mavlink.io/en/guide/serialization.html), sans-I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from fastcrc.crc16 import mcrf4xx
from msgspec import defstruct
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.signing import SIGNATURE_BYTES, SIGNED, Signing

Message = Any  # the dialect is generated and untyped: a message's fields are its attributes

MAGIC_V1, MAGIC_V2 = 0xFE, 0xFD
HEADER_V1, HEADER_V2 = 6, 10
CRC_BYTES = 2
CRC_EXTRA = {number: bytes((known.crc_extra,)) for number, known in mavlink.mavlink_map.items()}


class Frame(NamedTuple):
    """A message and who sent it."""

    system: int
    component: int
    message: Message


class Framer:
    """Cuts a byte stream into frames; decodes only the message ids that somebody uses.

    Garbage is skipped to the next magic byte; a frame with a bad CRC costs one byte, not the frames behind it. A frame
    that `signing` does not admit is dropped. `tap` is shown every whole frame, wanted or not, as it came.
    """

    def __init__(
        self,
        wanted: Collection[int],
        *,
        signing: Signing | None = None,
        tap: Callable[[bytes], None] | None = None,
    ) -> None:
        self._decoders = {number: _decoder(number) for number in wanted}
        self._signing = signing
        self.tap = tap
        self._rest = b""
        self.frames = 0
        self.bad_crc = 0
        self.skipped_bytes = 0

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        found: list[Frame] = []
        buffer = self._rest + data
        at, size = 0, len(buffer)
        while size - at >= HEADER_V1:
            if buffer[at] == MAGIC_V2:
                if size - at < HEADER_V2:
                    break
                number = buffer[at + 7] | buffer[at + 8] << 8 | buffer[at + 9] << 16
                body, flags, sender = at + HEADER_V2, buffer[at + 2], at + 5
            elif buffer[at] == MAGIC_V1:
                body, flags, sender, number = at + HEADER_V1, 0, at + 3, buffer[at + 5]
            else:
                at = self._seek(buffer, at)
                continue
            extra = CRC_EXTRA.get(number)
            if extra is None or flags > SIGNED:
                # Without its CRC seed it cannot be checked, so its length cannot be trusted either.
                at = self._seek(buffer, at + 1, 1)
                continue
            crc = body + buffer[at + 1]
            end = crc + CRC_BYTES + (SIGNATURE_BYTES if flags else 0)
            if size < end:
                break
            if mcrf4xx(buffer[at + 1 : crc] + extra) != buffer[crc] | buffer[crc + 1] << 8:
                self.bad_crc += 1
                at = self._seek(buffer, at + 1, 1)
                continue
            self.frames += 1
            if self.tap is not None:
                self.tap(buffer[at:end])
            decode = self._decoders.get(number)
            if decode is not None and (self._signing is None or self._signing.admits(buffer[at:end])):
                found.append(Frame(buffer[sender], buffer[sender + 1], decode(buffer[body:crc])))
            at = end
        self._rest = buffer[at:]
        return found

    def _seek(self, buffer: bytes, start: int, skipped: int = 0) -> int:
        """Where the next magic byte stands, from `start` on."""
        found = min((i for i in (buffer.find(MAGIC_V2, start), buffer.find(MAGIC_V1, start)) if i >= 0), default=-1)
        at = found if found >= 0 else len(buffer)
        self.skipped_bytes += at - start + skipped
        return at


class Sender:
    """Turns our messages into MAVLink 2 bytes under one identity, numbered 0..255 as the receiver expects."""

    def __init__(self, system: int, component: int, signing: Signing | None = None) -> None:
        self._mav = mavlink.MAVLink(None, srcSystem=system, srcComponent=component)
        self._signing = signing

    def encode(self, message: Message) -> bytes:
        data: bytes = message.pack(self._mav)
        self._mav.seq = (self._mav.seq + 1) % 256
        if self._signing is None:
            return data
        return self._signing.sign(data, CRC_EXTRA[message.get_msgId()])


@cache
def _decoder(number: int) -> Callable[[bytes], Message]:
    """Payload to message; a tenth of what pymavlink's decoder costs, and the same attributes.

    Fields are packed in wire order, trailing zeros are cut off by the sender, strings end at their first zero byte.
    """
    known = mavlink.mavlink_map[number]
    unpack, size = known.unpacker.unpack, known.unpacker.size
    padding = bytes(size)
    kind = defstruct(
        known.msgname,
        [(name, Any) for name in known.ordered_fieldnames],
        namespace={"get_msgId": lambda _: number, "get_type": lambda _: known.msgname},
        gc=False,
    )
    if sum(known.lengths) == len(known.lengths) and "s" not in known.unpacker.format:
        return lambda payload: kind(*unpack((payload + padding)[:size]))
    starts = [0, *accumulate(max(length, 1) for length in known.lengths)]
    spans = [slice(a, b) if b - a > 1 else a for a, b in pairwise(starts)]

    def decode(payload: bytes) -> Message:
        values = unpack((payload + padding)[:size])
        return kind(*(_plain(values[span]) for span in spans))

    return decode


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.split(b"\0", 1)[0].decode("utf-8", "replace")
    return list(value) if isinstance(value, tuple) else value
