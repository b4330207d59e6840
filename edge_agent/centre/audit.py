"""Whether all is here that a device reported: missing places, gaps that it gave a reason for, its hash chain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
from msgspec import UNSET, Struct

from edge_agent.centre.store import BUSY_MS
from edge_agent.chain import PREFIX, link
from edge_agent.ranges import ranges
from edge_agent.runtime import DriverError
from edge_agent.topics import Envelope, Gap, Status, unix_s


class Missing(Struct, frozen=True, kw_only=True):
    """Places from `first` to `last` that no event fills; without a reason nobody has said why."""

    first: int
    last: int
    reason: str | None = None


class Epoch(Struct, frozen=True, kw_only=True):
    """One life of a device's stream. Places up to `settled` were confirmed to an earlier file of the centre.

    `linked` pairs of neighbours were compared by the chain; `broken` are the places whose event is not the one that the
    next one was chained to: it was changed, or slipped in.
    """

    epoch: int
    settled: int
    last: int
    gaps: tuple[Missing, ...]
    missing: tuple[Missing, ...]
    linked: int = 0
    broken: tuple[int, ...] = ()


class Verdict(Struct, frozen=True, kw_only=True):
    """What the file holds of one device; `whole` where every place is held or accounted for and no link is broken."""

    device: str
    events: int
    kinds: dict[str, int]
    thumbs: int
    epochs: tuple[Epoch, ...]
    whole: bool


class Device(Struct, frozen=True, kw_only=True):
    """How a device stands; ages are those of its own clock's words, seen from ours."""

    device: str
    state: str
    since: str | None
    sw: str | None
    contract: str | None
    tele_age_s: float | None
    depth: int | None
    oldest_s: float | None
    events: int
    last_event: str | None


def verify(path: Path, device: str | None = None) -> list[Verdict]:
    """Every device in the file, or one; the centre may be running."""
    db = _open(path)
    try:
        kinds: dict[str, dict[str, int]] = defaultdict(dict)
        for name, kind, count in db.execute("SELECT device, kind, count(*) FROM event GROUP BY device, kind"):
            kinds[str(name)][str(kind)] = _int(count)
        thumbs = {str(name): _int(n) for name, n in db.execute("SELECT device, count(*) FROM thumb GROUP BY device")}
        epochs = _epochs(db)
    except apsw.Error as error:
        raise DriverError(f"{path}: {error}") from error
    finally:
        db.close()
    names = sorted({*kinds, *thumbs, *epochs} if device is None else {device})
    return [_verdict(name, kinds[name], thumbs.get(name, 0), epochs.get(name, ())) for name in names]


def devices(path: Path, now_s: float) -> list[Device]:
    """Every device that the file knows, by name; the centre may be running."""
    db = _open(path)
    try:
        rows = db.execute(_DEVICES).fetchall()
    except apsw.Error as error:
        raise DriverError(f"{path}: {error}") from error
    finally:
        db.close()
    return [_device(*row, now_s=now_s) for row in rows]


_DEVICES = """
SELECT name, status.body, (SELECT max(time) FROM tele WHERE device = name),
  (SELECT count(*) FROM event WHERE device = name), (SELECT max(time) FROM event WHERE device = name)
FROM (SELECT device AS name FROM status UNION SELECT device FROM tele UNION SELECT DISTINCT device FROM event)
LEFT JOIN status ON status.device = name ORDER BY name
"""
_HELD = """
SELECT device, epoch, min(seq), max(seq) FROM
  (SELECT device, epoch, seq, seq - row_number() OVER (PARTITION BY device, epoch ORDER BY seq) AS run FROM place)
GROUP BY device, epoch, run ORDER BY device, epoch, min(seq)
"""


_CHAIN = """
SELECT device, epoch, seq, event || '/thumb', body FROM thumb WHERE seq IS NOT NULL
UNION ALL SELECT device, epoch, seq, NULL, body FROM event ORDER BY device, epoch, seq
"""


class Walk:
    """Follows the chain of one epoch by its places in order; what follows a place that is not here is not compared."""

    def __init__(self) -> None:
        self.linked = 0
        self.broken: list[int] = []
        self._seq, self._tip = 0, b""

    def event(self, seq: int, body: bytes) -> None:
        """An event as it came."""
        made = msgspec.json.decode(body, type=Envelope)
        tip = self._tip_before(seq)
        self._seq, self._tip = seq, b""
        if made.prev is UNSET:
            return
        prev = _prev(made.prev)
        if tip:
            self.linked += 1
            if tip != prev:
                self.broken.append(seq - 1)
        kind, data = made.type.removeprefix("ev."), bytes(made.data)
        self._tip = link(prev=prev, seq=seq, id=made.id, kind=kind, time=made.time, boot=made.boot, data=data)

    def thumb(self, seq: int, id: str, body: bytes) -> None:
        """A thumb says nothing of its neighbours, but the event after it does."""
        tip = self._tip_before(seq)
        self._seq = seq
        self._tip = tip and link(prev=tip, seq=seq, id=id, kind="thumb", time="", boot="", data=body)

    def _tip_before(self, seq: int) -> bytes:
        """The link of the place before, empty where that is not known."""
        return self._tip if self._seq == seq - 1 else b""


def _prev(text: str) -> bytes:
    """The link that an event names; one that is none matches nothing."""
    try:
        return bytes.fromhex(text.removeprefix(PREFIX))
    except ValueError:
        return b""


def _walks(db: apsw.Connection) -> dict[tuple[str, int], Walk]:
    walks: dict[tuple[str, int], Walk] = defaultdict(Walk)
    for device, epoch, seq, thumb, body in _rows(db, _CHAIN):
        if thumb is None:
            walks[device, epoch].event(seq, body)
        else:
            walks[device, epoch].thumb(seq, thumb, body)
    return walks


class _GapEvent(Struct, frozen=True):
    data: Gap


def _epochs(db: apsw.Connection) -> dict[str, list[Epoch]]:
    runs: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for device, epoch, first, last in db.execute(_HELD):
        runs[str(device), _int(epoch)].append((_int(first), _int(last)))
    settled = {(str(d), _int(e)): _int(upto) for d, e, upto in db.execute("SELECT device, epoch, upto FROM settled")}
    gaps: dict[tuple[str, int], list[Missing]] = defaultdict(list)
    for device, body in _rows(db, "SELECT device, body FROM event WHERE kind = 'gap' ORDER BY epoch, seq"):
        gap = msgspec.json.decode(body, type=_GapEvent).data
        if gap.first:
            gaps[str(device), gap.epoch].append(Missing(first=gap.first, last=gap.last, reason=gap.reason))
    epochs: dict[str, list[Epoch]] = defaultdict(list)
    walks = _walks(db)
    for key in sorted({*runs, *settled}):
        found, walk = _epoch(key[1], settled.get(key, 0), runs[key], gaps[key]), walks[key]
        epochs[key[0]].append(msgspec.structs.replace(found, linked=walk.linked, broken=tuple(walk.broken)))
    return epochs


def _epoch(epoch: int, settled: int, runs: list[tuple[int, int]], gaps: list[Missing]) -> Epoch:
    cum, rest = ranges([(1, settled), *runs, *((gap.first, gap.last) for gap in gaps)]).split()
    ends = [cum, *(last for _, last in rest)]
    missing = tuple(
        Missing(first=end + 1, last=first - 1) for end, (first, _) in zip(ends, rest, strict=False) if first > end + 1
    )
    return Epoch(epoch=epoch, settled=settled, last=ends[-1], gaps=tuple(gaps), missing=missing)


def _verdict(device: str, kinds: dict[str, int], thumbs: int, epochs: list[Epoch] | tuple[()]) -> Verdict:
    whole = not any(epoch.missing or epoch.broken for epoch in epochs)
    return Verdict(
        device=device, events=sum(kinds.values()), kinds=kinds, thumbs=thumbs, epochs=tuple(epochs), whole=whole
    )


def _device(name: Any, body: Any, tele: Any, events: Any, last_event: Any, *, now_s: float) -> Device:
    status = msgspec.json.decode(body, type=Status) if body is not None else None
    stream = status.streams.get("ev") if status else None
    return Device(
        device=name,
        state=status.state if status else "unknown",
        since=status.time if status else None,
        sw=status.sw if status else None,
        contract=status.contract if status else None,
        tele_age_s=round(max(0.0, now_s - unix_s(tele)), 1) if tele else None,
        depth=stream.depth if stream else None,
        oldest_s=stream.oldest_s if stream else None,
        events=events,
        last_event=last_event,
    )


def _open(path: Path) -> apsw.Connection:
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        db.set_busy_timeout(BUSY_MS)
    except apsw.Error as error:
        raise DriverError(f"{path}: {error}") from error
    return db


def _int(value: Any) -> int:
    return int(value)


def _rows(db: apsw.Connection, query: str) -> Iterator[Any]:
    yield from db.execute(query)
