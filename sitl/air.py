"""What a bad link does to MAVLink frames: lose, delay, double, swap, damage, or nothing passes. Pure and seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEADS = {0xFD: 10, 0xFE: 6}
SIGNED, SIGNATURE_BYTES = 0x01, 13
SWAP_S = 0.3  # a frame that is swapped comes so much later, behind those that follow it


def cut(buffer: bytearray) -> Iterator[bytes]:
    """Take the whole frames off the front of `buffer`; bytes that begin no frame are passed on as they are."""
    while buffer:
        head = _HEADS.get(buffer[0])
        if head is None:
            yield bytes((buffer.pop(0),))
            continue
        if len(buffer) < head:
            return
        signature = SIGNATURE_BYTES if buffer[0] == 0xFD and buffer[2] & SIGNED else 0
        end = head + buffer[1] + 2 + signature
        if len(buffer) < end:
            return
        yield bytes(buffer[:end])
        del buffer[:end]


def message_id(frame: bytes) -> int | None:
    """The frame's message id; None where it is no frame."""
    if len(frame) < 8:
        return None
    return int.from_bytes(frame[7:10], "little") if frame[0] == 0xFD else frame[5]


@dataclass
class Air:
    """One direction. Shares are 0..1 of all frames, times are the vehicle's seconds."""

    rng: random.Random
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    flip: float = 0.0
    delay_s: float = 0.0
    partition: bool = False  # connected, and nothing passes
    lose_next: dict[int, int] = field(default_factory=dict)  # message id: how many of the next ones are lost

    def pass_on(self, frame: bytes) -> list[tuple[float, bytes]]:
        """What comes out at the other end, each with its delay in seconds."""
        number = message_id(frame)
        if self.partition:
            return []
        if number is not None and self.lose_next.get(number, 0) > 0:
            self.lose_next[number] -= 1
            return []
        if self.drop and self.rng.random() < self.drop:
            return []
        if self.flip and self.rng.random() < self.flip:
            frame = self._damaged(frame)
        late_s = self.delay_s + (SWAP_S if self.reorder and self.rng.random() < self.reorder else 0.0)
        out = [(late_s, frame)]
        if self.duplicate and self.rng.random() < self.duplicate:
            out.append((late_s + self.rng.random() * SWAP_S, frame))
        return out

    def heal(self) -> None:
        """A good link again."""
        self.drop = self.duplicate = self.reorder = self.flip = self.delay_s = 0.0
        self.partition = False
        self.lose_next.clear()

    def _damaged(self, frame: bytes) -> bytes:
        place = self.rng.randrange(len(frame))
        return frame[:place] + bytes((frame[place] ^ 1 << self.rng.randrange(8),)) + frame[place + 1 :]
