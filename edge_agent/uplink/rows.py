"""The rows of the outbox and what holds them together, checksum and chain: pure."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable

from msgspec import Struct

from edge_agent import chain, topics
from edge_agent.chain import NO_LINK

PAGE_BYTES = 4096
ROW_BYTES = 400  # of an event beyond its body, with its share of the indexes
WAITS, SET_ASIDE = 0, 1
LANES = 4


class Event(Struct, frozen=True, kw_only=True):
    """An event to be kept; `body` is the data of a JSON event, or a JPEG."""

    id: str
    lane: int
    kind: str
    content_type: str
    wall_s: float
    boot: str
    body: bytes
    mono_us: int | None = None


class Row(Struct, frozen=True, array_like=True):
    """An event as it is kept, with its place in the stream; `prev` is None where a schema without a chain kept it."""

    seq: int
    id: str
    lane: int
    kind: str
    content_type: str
    wall_s: float
    boot: str
    body: bytes
    crc: int
    state: int = WAITS
    why: str | None = None
    prev: bytes | None = None
    mono_us: int | None = None

    def link(self) -> bytes:
        """The hash of this row, which the next one holds."""
        return chain.link(
            prev=self.prev or NO_LINK,
            seq=self.seq,
            id=self.id,
            kind=self.kind,
            time=topics.rfc3339(self.wall_s),
            boot=self.boot,
            data=self.body,
        )

    def intact(self) -> bool:
        """Whether this is what was put; a flipped bit may also have changed the type of a column."""
        try:
            return self._intact()
        except (TypeError, ValueError, AttributeError):
            return False

    def _intact(self) -> bool:
        settled = self.state == WAITS or (self.state == SET_ASIDE and self.why is not None)
        return settled and 0 <= self.lane < LANES and self.crc == self.checksum()

    def checksum(self) -> int:
        """CRC-32 of all that is sent: SQLite itself does not notice a flipped bit."""
        facts = [self.id, self.kind, self.content_type, repr(self.wall_s), self.boot]
        if self.prev is not None:
            facts += [str(self.seq), str(self.lane), self.prev.hex(), str(self.mono_us)]
        return zlib.crc32("\0".join([*facts, ""]).encode() + self.body)


class Tip(Struct, frozen=True, kw_only=True):
    """Where the stream ends: the next place, how many rows are kept, from which place on, and the last one's hash."""

    epoch: int
    next: int
    kept: int
    low: int
    head: bytes

    def encode(self) -> bytes:
        text = f"{self.epoch} {self.next} {self.kept} {self.low} {self.head.hex()}".encode()
        return b"%s %08x\n" % (text, zlib.crc32(text))

    @staticmethod
    def decode(text: bytes) -> Tip | None:
        """None for anything that is not a whole tip."""
        match text.split():
            case [epoch, next_, kept, low, head, crc]:
                with contextlib.suppress(ValueError):
                    numbers = {"epoch": int(epoch), "next": int(next_), "kept": int(kept), "low": int(low)}
                    tip = Tip(**numbers, head=bytes.fromhex(head.decode()))
                    return tip if tip.encode().split()[-1] == crc else None
        return None


class Stats(Struct, frozen=True, kw_only=True):
    """How the outbox stands; all places up to `acked` are settled."""

    epoch: int
    next: int
    acked: int
    depth: int
    oldest_s: float
    quarantined: int
    bytes: int
    quota_bytes: int = 0
    lanes: tuple[int, ...] = (0, 0, 0, 0)


def event_of(row: Row) -> Event:
    """What was put, without its place."""
    return Event(**{name: getattr(row, name) for name in Event.__struct_fields__})


def check_rows(rows: Iterable[Row], tip: Tip) -> str | None:
    """Where the checksums or the chain of these rows, which are all that is kept, break first; None where nowhere."""
    bad, kept, last = [], 0, None
    for row in rows:
        kept += 1
        if not row.intact():
            bad.append(row.seq)
        elif last is not None and last.seq + 1 == row.seq and not _joined(last, row.prev):
            return f"the chain breaks between seq {last.seq} and seq {row.seq}"
        last = row if row.seq not in bad[-1:] else None
    if bad:
        return f"{len(bad)} events fail their checksum, the first is seq {bad[0]}"
    if last is not None and last.seq == tip.next - 1 and not _joined(last, tip.head):
        return f"the chain breaks after seq {last.seq}"
    return None if kept == tip.kept else f"{tip.kept} events were kept, {kept} are there"


def _joined(row: Row, link: bytes | None) -> bool:
    """Whether this is the row's link; schema 1 kept rows without one."""
    return row.prev is None or link is None or row.link() == link


def cost(body_bytes: int) -> int:
    """What an event takes of the file, in bytes; a large one by whole pages."""
    if body_bytes <= PAGE_BYTES // 2:
        return body_bytes + ROW_BYTES
    return (body_bytes // PAGE_BYTES + 1) * PAGE_BYTES + ROW_BYTES
