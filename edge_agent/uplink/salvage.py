"""What can still be read of a damaged events.db: through SQLite, and where that ends, page by page without it.

SQLite gives up a table whose inner page is damaged and, without a word, all of a log from its first damaged frame on;
the rows are still there. Every row carries a checksum, so one that is found anywhere may be trusted.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import Struct

from edge_agent.uplink.reader import ALL, read_mark, read_only
from edge_agent.uplink.rows import PAGE_BYTES, Row, Tip

LEAF = 0x0D  # https://www.sqlite.org/fileformat2.html#b_tree_pages
WAL_HEAD, FRAME_HEAD = 32, 24
LOCAL_MAX = PAGE_BYTES - 35
LOCAL_MIN = (PAGE_BYTES - 12) * 32 // 255 - 23
WIDTHS = (13, 15)  # of a row of `event`: schema 1 and 2
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}

UNREADABLE = (apsw.Error, UnicodeDecodeError)  # the latter where a bit made text of what is none

Pages = Callable[[int], bytes]


class Salvaged(Struct, frozen=True, kw_only=True):
    """The intact events, the commands that were seen, and where the stream ended by its best witness, if by any."""

    rows: list[Row]
    commands: list[tuple[Any, ...]]
    tip: Tip | None
    epoch: int

    def missing(self) -> list[tuple[int, int]]:
        """The places, as runs, that were given and perhaps not confirmed, and that nothing was found of."""
        if self.tip is None:
            return []
        places = [row.seq for row in self.rows if row.seq >= self.tip.low]
        edges = zip([self.tip.low - 1, *places], [*places, self.tip.next], strict=True)
        return [(before + 1, after - 1) for before, after in edges if before + 1 < after]


def salvage(path: Path) -> Salvaged:
    """Read what there is; a file that was never one of ours yields nothing. Raises `OSError` alone."""
    rows: dict[int, Row] = {}
    commands: list[tuple[Any, ...]] = []
    tip, epoch = None, 0
    with contextlib.suppress(apsw.Error):
        db = read_only(path)
        try:
            tip, epoch = _tip(db), _epoch(db)
            rows = _rows(db)
            commands = _commands(db)
        finally:
            db.close()
    witnesses = [found for found in (tip, read_mark(path)) if found is not None]
    tip = max(witnesses, key=lambda found: (found.epoch, found.next), default=None)
    if tip is None or tip.kept > len(rows):
        for row in carve(path):
            rows.setdefault(row.seq, row)
    found = [rows[seq] for seq in sorted(rows)]
    return Salvaged(rows=found, commands=commands, tip=tip, epoch=max(epoch, tip.epoch if tip else 0))


def _rows(db: apsw.Connection) -> dict[int, Row]:
    """From both ends of the table until a damaged page; of a row only what its checksum confirms."""
    rows: dict[int, Row] = {}
    for sql in (ALL, f"{ALL} DESC"):
        with contextlib.suppress(*UNREADABLE):
            for found in db.execute(sql):
                if found[0] in rows:
                    break
                if (row := _row(found)) is not None:
                    rows[row.seq] = row
    return rows


def _tip(db: apsw.Connection) -> Tip | None:
    with contextlib.suppress(*UNREADABLE):
        for (value,) in db.execute("SELECT value FROM meta WHERE key = 'tip'"):
            return Tip.decode(value) if isinstance(value, bytes) else None
    return None


def _epoch(db: apsw.Connection) -> int:
    with contextlib.suppress(*UNREADABLE):
        for (value,) in db.execute("SELECT value FROM meta WHERE key = 'epoch'"):
            return value if isinstance(value, int) else 0
    return 0


def _commands(db: apsw.Connection) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    with contextlib.suppress(*UNREADABLE):
        for id, name, by, wall_s, reply in db.execute("SELECT id, name, by, wall_s, reply FROM command"):
            if all(isinstance(text, str) for text in (id, name, by)) and isinstance(wall_s, float):
                found.append((id, name, by, wall_s, reply))
    return found


def _row(found: Any) -> Row | None:
    """A row that its checksum confirms; whether it was set aside is not worth its loss."""
    try:
        row = msgspec.convert(found, Row)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return None
    if row.state not in (0, 1) or (row.state and row.why is None):
        row = msgspec.structs.replace(row, state=0)
    return row if row.intact() else None


# --- without SQLite -----------------------------------------------------------------------------------------------


def carve(path: Path) -> Iterator[Row]:
    """Every intact event on any page of a file and of its log; also some that were deleted since."""
    file = path.read_bytes()
    log_file = Path(f"{path}-wal")
    log = log_file.read_bytes() if log_file.exists() else b""
    newer: dict[int, bytes] = {}

    def page(number: int) -> bytes:
        return newer.get(number) or file[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]

    for number in range(1, len(file) // PAGE_BYTES + 1):
        yield from _leaf(page(number), page)
    for at in range(WAL_HEAD, len(log) - PAGE_BYTES - FRAME_HEAD + 1, PAGE_BYTES + FRAME_HEAD):
        (number,) = struct.unpack_from(">I", log, at)
        newer[number] = log[at + FRAME_HEAD : at + FRAME_HEAD + PAGE_BYTES]
        yield from _leaf(newer[number], page)


def _leaf(leaf: bytes, page: Pages) -> Iterator[Row]:
    if not leaf or leaf[0] != LEAF:
        return
    (count,) = struct.unpack_from(">H", leaf, 3)
    for cell in range(min(count, PAGE_BYTES // 8)):
        try:
            (at,) = struct.unpack_from(">H", leaf, 8 + 2 * cell)
            row = _cell(leaf, at, page)
        except (struct.error, IndexError, ValueError):
            continue
        if row is not None:
            yield row


def _cell(leaf: bytes, at: int, page: Pages) -> Row | None:
    size, at = _varint(leaf, at)
    seq, at = _varint(leaf, at)
    values = _record(_payload(leaf, at, size, page))
    if len(values) not in WIDTHS:
        return None
    _, id, lane, kind, content_type, wall_s, boot, body, crc, state, _, _, why, *later = values
    wall_s = float(wall_s) if isinstance(wall_s, int) else wall_s  # SQLite keeps a whole REAL as an integer
    return _row((seq, id, lane, kind, content_type, wall_s, boot, body, crc, state, why, *later))


def _payload(leaf: bytes, at: int, size: int, page: Pages) -> bytes:
    """The bytes of a cell, those on overflow pages too."""
    if size <= LOCAL_MAX:
        return leaf[at : at + size]
    wanted = LOCAL_MIN + (size - LOCAL_MIN) % (PAGE_BYTES - 4)
    local = wanted if wanted <= LOCAL_MAX else LOCAL_MIN
    parts, left = [leaf[at : at + local]], size - local
    (number,) = struct.unpack_from(">I", leaf, at + local)
    while left > 0:
        overflow = page(number)
        (number,) = struct.unpack_from(">I", overflow, 0)
        parts.append(overflow[4 : 4 + left])
        left -= PAGE_BYTES - 4
    return b"".join(parts)


def _record(payload: bytes) -> list[Any]:
    """https://www.sqlite.org/fileformat2.html#record_format"""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if len(kinds) not in WIDTHS:
        return []
    values: list[Any] = []
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    return values


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    match kind:
        case 0:
            return None, at
        case 8 | 9:
            return kind - 8, at
        case 7:
            return struct.unpack_from(">d", payload, at)[0], at + 8
        case _ if kind in INTEGERS:
            return int.from_bytes(payload[at : at + INTEGERS[kind]], "big", signed=True), at + INTEGERS[kind]
        case _ if kind < 12:
            raise ValueError("no such serial type")
    size = (kind - 12) // 2
    content = payload[at : at + size]
    return (content if kind % 2 == 0 else content.decode()), at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    return value << 8 | data[at + 8], at + 9
