"""The record of one run: entries chained by hash, so that none can be changed, left out or moved unseen. Pure.

A record is JSON lines. Each is `{"n", "wall_s", "kind", "data", "prev", "hash"}`: `hash` is the SHA-256 of RFC 8785's
form of the entry without it, `prev` the hash of the entry before (64 zeros for the first). Kinds, in order of a run:
`run` (route, plan, limits), `gates`, `transition`, `command`, `telemetry` (once a second), `end` (how it went).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from edge_agent.canonical import canonical_json

START = "0" * 64


class Chain:
    """The end of a record, to go on from."""

    def __init__(self, n: int = 0, prev: str = START) -> None:
        self.n, self.prev = n, prev

    def line(self, kind: str, data: Any, wall_s: float) -> bytes:
        """The next entry as a line."""
        entry = {"n": self.n, "wall_s": round(wall_s, 3), "kind": kind, "data": _plain(data), "prev": self.prev}
        self.n, self.prev = self.n + 1, digest(entry)
        return json.dumps({**entry, "hash": self.prev}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class Verdict(NamedTuple):
    """What a record is worth: `fault` names the first line that does not hold; `ended` whether its last entry is."""

    entries: int
    ended: bool
    fault: str | None


def digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(entry)).hexdigest()


def verify(lines: Iterable[bytes]) -> Verdict:
    """Check every link of the chain."""
    n, prev, kind = 0, START, ""
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            claimed = entry.pop("hash")
            kind = entry["kind"]
            found = digest(entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return Verdict(n, False, f"line {number}: is not an entry")
        if found != claimed:
            return Verdict(n, False, f"line {number}: was changed: its hash is {found[:12]}…, it says {claimed!s:.12}…")
        if entry["n"] != n or entry["prev"] != prev:
            return Verdict(n, False, f"line {number}: does not follow the one before: an entry was moved or left out")
        n, prev = n + 1, claimed
    return Verdict(n, kind == "end", None)


def entries(lines: Iterable[bytes], kind: str) -> list[dict[str, Any]]:
    """The data of all entries of one kind; lines that are none are skipped (a power cut leaves half a line)."""
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("kind") == kind:
            found.append({"wall_s": entry["wall_s"], **entry["data"]})
    return found


def _plain(data: Any) -> Any:
    """Builtins that RFC 8785 has a form for: a number that is none becomes nothing."""
    match msgspec.to_builtins(data, enc_hook=str):
        case dict() as table:
            return {key: _plain(value) for key, value in table.items()}
        case list() | tuple() as items:
            return [_plain(item) for item in items]
        case float() as number if not math.isfinite(number):
            return None
        case float() as number:
            return round(number, 7)
        case value:
            return value
