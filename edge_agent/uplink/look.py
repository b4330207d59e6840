"""A look into an events.db that changes nothing, whether an agent writes it or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from edge_agent import topics
from edge_agent.runtime import DriverError
from edge_agent.uplink.reader import SCHEMA, Reader, read_only
from edge_agent.uplink.rows import SET_ASIDE, Row


class Look:
    """`with Look(file) as outbox`; raises `DriverError` where the file cannot be read."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> Look:
        try:
            self._db = read_only(self._file)
            self._reader = Reader(self._db)
            schema = self._reader.schema()
        except apsw.Error as error:
            raise self._explain(error) from None
        if schema != SCHEMA:
            self._db.close()
            raise DriverError(
                f"{self._file}: has schema {schema}, this edge-agent knows {SCHEMA};"
                " start the agent once, it brings an older file up to date"
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._db.close()
        if isinstance(error, apsw.Error):
            raise self._explain(error) from None

    def stats(self, wall_s: float) -> dict[str, Any]:
        """What waits and since when, and where the chain ends."""
        tip = self._reader.read_tip()
        stats = self._reader.count(wall_s, tip)
        return {
            "epoch": stats.epoch,
            "next": stats.next,
            "acked": stats.acked,
            "depth": stats.depth,
            "lanes": list(stats.lanes),
            "oldest_s": round(stats.oldest_s, 1),
            "quarantined": stats.quarantined,
            "bytes": stats.bytes,
            "schema": SCHEMA,
            "chain": tip.head.hex(),
        }

    def tail(self, limit: int, *, quarantined: bool) -> list[dict[str, Any]]:
        """The newest events that wait, or that were set aside, oldest of them first; without their data."""
        return [_facts(row) for row in self._reader.tail(limit, quarantined)]

    def all(self, page: int, *, quarantined_only: bool) -> Iterator[dict[str, Any]]:
        """Every event that is kept, with its data as `body`, in order; a page is read at a time."""
        epoch, seq = self._reader.read_tip().epoch, 0
        while rows := self._reader.after(seq, page):
            seq = rows[-1].seq
            for row in rows:
                if row.state == SET_ASIDE or not quarantined_only:
                    prev = row.prev.hex() if row.prev is not None else None
                    yield {"epoch": epoch} | _facts(row) | {"boot": row.boot, "prev": prev, "body": row.body}

    def verify(self) -> list[str]:
        """What is wrong with the file, or an empty list."""
        with self._db:  # one transaction: the agent may go on writing
            fault = self._reader.faults(self._file)
        return [fault] if fault else []

    def _explain(self, error: apsw.Error) -> DriverError:
        if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.AuthError):
            return DriverError(f"{self._file}: cannot be read ({error}); are you the agent's user, or root?")
        return DriverError(f"{self._file}: {error}")


def _facts(row: Row) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "id": row.id,
        "kind": row.kind,
        "lane": row.lane,
        "time": topics.rfc3339(row.wall_s),
        "content_type": row.content_type,
        "bytes": len(row.body),
        "quarantined": row.state == SET_ASIDE,
        "why": row.why,
    }
