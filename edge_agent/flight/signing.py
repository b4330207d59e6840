"""MAVLink 2 signing (https://mavlink.io/en/guide/message_signing.html), sans-I/O.

The signature is verified first, and only then is the packet's timestamp looked at and stored: where a timestamp is
stored before, one forged packet from the far future silences the link.
"""

from __future__ import annotations

import hashlib
import hmac

from fastcrc.crc16 import mcrf4xx

SIGNED = 0x01  # the only incompatibility flag there is
SIGNATURE_BYTES = 13  # link id, timestamp (6), signature (6)
KEY_BYTES = 32
EPOCH_S = 1_420_070_400  # 2015-01-01, in Unix time
PER_SECOND = 100_000  # timestamps count 10 µs
NEW_STREAM = 60 * PER_SECOND  # a sender not heard before may be so far behind
STREAMS = 256  # senders remembered; each had to know the key
_LAST = (1 << 48) - 1


def timestamp_of(wall_s: float) -> int:
    """A Unix time as signing counts it."""
    return min(max(0, int((wall_s - EPOCH_S) * PER_SECOND)), _LAST)


class Signing:
    """One link's key, clock, and what every sender signed last. `refused` counts by reason what was not admitted.

    The clock is the latest of ours and of any packet that was verified, so that a computer whose clock stands in the
    past is heard again as soon as it has heard the autopilot.
    """

    def __init__(
        self, key: bytes, timestamp: int, *, now: float, link_id: int = 0, accept_unsigned: bool = False
    ) -> None:
        assert len(key) == KEY_BYTES
        self._key = key
        self._link_id, self._accept_unsigned = link_id, accept_unsigned
        self._base, self._base_s = timestamp, now
        self.timestamp = timestamp
        self._streams: dict[bytes, int] = {}
        self.refused = {"unsigned": 0, "forged": 0, "replayed": 0}

    def __repr__(self) -> str:
        return f"Signing(link_id={self._link_id}, timestamp={self.timestamp}, refused={self.refused})"

    def tick(self, now: float) -> None:
        """Time passes for the clock that we sign with; it never goes back."""
        self.timestamp = max(self.timestamp, self._base + int((now - self._base_s) * PER_SECOND))

    def admits(self, frame: bytes) -> bool:
        """Whether a whole frame with a good CRC may be heeded."""
        if frame[0] != 0xFD or not frame[2] & SIGNED:
            return self._accept_unsigned or self._refuse("unsigned")
        if not hmac.compare_digest(frame[-6:], self._signature(frame[:-6])):
            return self._refuse("forged")
        timestamp = int.from_bytes(frame[-12:-6], "little")
        stream = bytes((frame[5], frame[6], frame[-13]))
        before = self._streams.get(stream)
        if timestamp <= before if before is not None else timestamp + NEW_STREAM < self.timestamp:
            return self._refuse("replayed")
        if before is None and len(self._streams) >= STREAMS:
            return self._refuse("replayed")
        self._streams[stream] = timestamp
        self.timestamp = max(self.timestamp, timestamp)
        return True

    def sign(self, frame: bytes, crc_extra: bytes) -> bytes:
        """An unsigned MAVLink 2 frame, signed."""
        self.timestamp = min(self.timestamp + 1, _LAST)
        head = bytes((frame[1], frame[2] | SIGNED)) + frame[3:-2]
        crc = mcrf4xx(head + crc_extra)
        signed = frame[:1] + head + crc.to_bytes(2, "little") + bytes((self._link_id,))
        signed += self.timestamp.to_bytes(6, "little")
        return signed + self._signature(signed)

    def _signature(self, signed: bytes) -> bytes:
        return hashlib.sha256(self._key + signed).digest()[:6]

    def _refuse(self, reason: str) -> bool:
        self.refused[reason] += 1
        return False
