"""Commands from arrival to their last answer: checked, claimed on disk, carried out once, and followed to the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from edge_agent import topics
from edge_agent.messages import Reply, Request
from edge_agent.pipe import Message
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.uplink import commands
from edge_agent.uplink.outbox import Outbox
from edge_agent.uplink.signing import Signatures

log = logging.getLogger(__name__)

MAX_RUNNING = 32  # at a time; more are refused, but those that bring the drone home
REFUSALS, REFUSAL_EVERY_S = 20, 3.0  # of a flood of refusals so many are written down and answered
FINAL = ("done", "failed")

Publish = Callable[["Asker", bytes], None]


@dataclass(frozen=True)
class Asker:
    """Where answers go."""

    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass
class _Under:
    """A command that was accepted and is under way; `held` keeps what happened before its acceptance was published."""

    id: str
    name: str
    by: str
    asker: Asker
    held: list[Reply] | None = field(default_factory=list)


class Obey:
    """`take` a message of `down/cmd/+`; `tell` what becomes of a run that a command began."""

    def __init__(
        self,
        outbox: Outbox,
        signatures: Signatures,
        *,
        clock: Clock,
        health: Health,
        on_command: Callable[[Request, str], Awaitable[Reply]],
        publish: Publish,
    ) -> None:
        self._outbox, self._signatures = outbox, signatures
        self._clock, self._health, self._on_command, self._publish = clock, health, on_command, publish
        self._refusals = commands.Sparing(REFUSALS, REFUSAL_EVERY_S)
        self._running: set[asyncio.Task[None]] = set()
        self._under: dict[str, list[_Under]] = {}  # run: the commands that wait for its end

    # --- taken ----------------------------------------------------------------------------------------------------

    def take(
        self, name: str, message: Message, *, five: bool, wake: Callable[[], None], group: str | None = None
    ) -> None:
        """Answer one command in a task of its own, which outlives the connection that brought it.

        One to a `group` is signed for the group, and answered on this device's own topic.
        """
        order = commands.read(
            name,
            message.payload,
            signatures=self._signatures if group is None else self._signatures.of(f"{topics.GROUP}/{group}"),
            retained=message.retained,
            expires=not five or message.expiry_s is not None,
            wall_s=self._clock.wall(),
        )
        if len(self._running) >= MAX_RUNNING and not isinstance(order, commands.Refused):
            order = _busy(order)
        asker = Asker(message.response_topic if group is None else None, message.correlation)
        if isinstance(order, commands.Refused):
            self._health.counts["commands.refused"] += 1
            if not self._refusals.let(self._clock.monotonic()):
                return
            work = self._refuse(name, order, asker)
        else:
            work = self._obey(name, order, asker)
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(lambda _: wake())

    def reap(self) -> None:
        """Let the exception of a command's task escape: it is a bug."""
        for task in [task for task in self._running if task.done()]:
            self._running.discard(task)
            if not task.cancelled():
                task.result()

    def cancel(self) -> None:
        """The agent stops. It is on disk that they were begun: the next start answers them as interrupted."""
        for task in self._running:
            task.cancel()

    async def deny(self, name: str, id: str | None, by: str, reply: Reply) -> None:
        """Write a refusal down, sparing the disk a flood of them."""
        more = self._refusals.told()
        log.warning(
            "%s %s by %s: %s: %s%s", name, id, by or "?", reply.state, reply.reason, f" ({more} more)" if more else ""
        )
        denied = topics.Denied(
            command=id, name=name[:64], by=by, state=reply.state, reason=reply.reason or "", more=more
        )
        try:
            await self._outbox.event("audit", denied, lane=0)
        except DriverError as error:
            log.error("the refusal of %s %s cannot be recorded: %s", name, id, error)

    async def flooded(self, per_s: float, deaf_s: float) -> None:
        """Commands come too fast, and their topics were left for a while."""
        why = f"more than {per_s:g} commands a second: only recall and land are heard for {deaf_s:g} s"
        await self.deny("+", None, "", Reply(state="rejected", reason=why))

    async def _refuse(self, name: str, order: commands.Refused, asker: Asker) -> None:
        await self.deny(name, order.id, order.by, order.reply)
        self._publish(asker, topics.encode_result(order.id, order.reply, self._clock.wall()))

    # --- carried out ----------------------------------------------------------------------------------------------

    async def _obey(self, name: str, order: commands.Order, asker: Asker) -> None:
        under = _Under(order.id, name, order.by, asker)
        try:
            reply, recorded = await self._decide(under, order)
        except DriverError as error:  # what cannot be written down is not carried out
            reply, recorded = Reply(state="failed", reason=f"not carried out: {error}"), None
        log.info("command %s %s by %s: %s %s", name, order.id, order.by, reply.state, reply.reason or "")
        self._publish(asker, topics.encode_result(order.id, reply, self._clock.wall(), recorded))
        held, under.held = under.held or [], None
        for later in held:
            self._pass_on(under, later)

    async def _decide(self, under: _Under, order: commands.Order) -> tuple[Reply, Reply | None]:
        """Carry out a command that was never seen; returns its answer, and for a repeat the newest one as well."""
        try:
            fresh = await self._outbox.claim(under.id, under.name, under.by)
        except DriverError as error:
            if isinstance(order.request, commands.HOMEWARD):
                log.error("command %s %s is obeyed though it cannot be recorded: %s", under.name, under.id, error)
                return await self._on_command(order.request, under.by), None
            raise
        if not fresh:
            reply = Reply(state="duplicate", reason="this id was used before")
            if self._refusals.let(self._clock.monotonic()):
                await self.deny(under.name, under.id, under.by, reply)
            return reply, await self._outbox.answered(under.id) or commands.RUNNING
        try:
            reply = await self._on_command(order.request, under.by)
        except DriverError as error:
            reply = Reply(state="failed", reason=str(error))
        if reply.state == "accepted" and reply.run is not None:  # nothing was awaited since: no news of it was missed
            self._under.setdefault(reply.run, []).append(under)
        await self._record(under, reply)
        return reply, None

    async def tell(self, run: str, reply: Reply) -> None:
        """A run that a command may have begun came so far; its last state is recorded, and a repeat gets it."""
        waiting = self._under.pop(run, []) if reply.state in FINAL else self._under.get(run, [])
        for under in list(waiting):
            if reply.state in FINAL:
                await self._record(under, reply)
            if under.held is not None:
                under.held.append(reply)
            else:
                self._pass_on(under, reply)

    def resume(self, id: str, name: str, by: str, run: str) -> None:
        """A command of an earlier life is still under way: its flight goes on."""
        self._under.setdefault(run, []).append(_Under(id, name, by, Asker(), None))

    def _pass_on(self, under: _Under, reply: Reply) -> None:
        self._publish(under.asker, topics.encode_result(under.id, reply, self._clock.wall()))

    async def _record(self, under: _Under, reply: Reply) -> None:
        try:
            await self._outbox.answer(under.id, under.name, under.by, reply)
        except DriverError as error:  # it was carried out, and a repeat will find that it was seen
            log.error("the answer to command %s %s cannot be recorded: %s", under.name, under.id, error)


def _busy(order: commands.Order) -> commands.Order | commands.Refused:
    if isinstance(order.request, commands.HOMEWARD):
        return order
    reply = Reply(state="rejected", reason=f"busy: {MAX_RUNNING} commands are being carried out; ask again")
    return commands.Refused(id=order.id, by=order.by, reply=reply)
