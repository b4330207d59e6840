"""What a person may do with originals: hold them, let them go by the rules again, delete them; all of it is audited.

The audit event is durable before anything changes, so nothing is ever deleted that no record tells of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ulid import ULID

from edge_agent.messages import Originals, Reply
from edge_agent.topics import Answered
from edge_agent.uplink.evidence import Evidence
from edge_agent.uplink.evidence_store import Item

NAMED = 20  # ids that a record spells out


class Custody:
    """`execute` what somebody asks of the originals of this device."""

    def __init__(self, evidence: Evidence, report: Callable[..., Awaitable[Any]]) -> None:
        self._evidence, self._report = evidence, report

    async def execute(self, asked: Originals, by: str) -> Reply:
        """`done` with what was done to how many, or `rejected` with the reason, and then nothing was. DriverError."""
        items = await self._evidence.items()
        if unknown := [id for id in asked.ids if not any(id in (item.id, item.incident) for item in items)]:
            return _no(f"no original and no incident is called {unknown[0]!r}; see: edge-agent evidence list")
        chosen = [item for item in items if item.id in asked.ids or item.incident in asked.ids]
        if asked.verb == "delete" and (why := self._keeps(chosen, asked.unconfirmed)):
            return _no(why)
        told = f"{asked.verb}: {len(chosen)} originals: {_names(chosen)}" + (
            f": {asked.reason}" if asked.reason else ""
        )
        done = Reply(state="done", reason=told)
        if asked.dry_run:
            return done
        record = Answered(command=str(ULID()), name=f"evidence.{asked.verb}", by=by, reply=done)
        await self._report("audit", record)
        if asked.verb == "delete":
            why = f"{by} asked for it" + (f": {asked.reason}" if asked.reason else "")
            await self._evidence.delete(chosen, by, why)
            return done
        await self._evidence.hold([item.id for item in chosen], asked.verb == "hold", by, asked.reason)
        return done

    def _keeps(self, chosen: Sequence[Item], unconfirmed: bool) -> str | None:
        """Why these may not be deleted, if they may not."""
        if self._evidence.holds_all:
            return "evidence.hold = true of the configuration keeps everything"
        if held := [item for item in chosen if item.hold]:
            return f"held: {_names(held)}; release it first (edge-agent evidence release)"
        waiting = [item for item in chosen if item.state != "received"]
        if waiting and not unconfirmed:
            return f"the centre has not confirmed {_names(waiting)}; --unconfirmed deletes it and leaves a gap record"
        return None


def _names(items: Sequence[Item]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(item.id for item in items[:NAMED]) + more


def _no(reason: str) -> Reply:
    return Reply(state="rejected", reason=reason)
