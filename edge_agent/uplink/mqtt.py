"""The part that joins the outbox to a broker: sends events until the centre confirms them, obeys commands.

A command's answer is published once, directly, and not through the outbox: it is of worth only to an asker who still
waits, and an asker who missed it asks again with the same id and gets the recorded one. That a command was answered,
and how, is an audit event in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct
from ulid import ULID

from edge_agent import __version__, topics
from edge_agent.config import Mqtt
from edge_agent.messages import Reply, Request
from edge_agent.pipe import NOT_AUTHORISED, QUOTA_EXCEEDED, TOO_LARGE, Broker, Message, Pipe, Will
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.uplink import commands
from edge_agent.uplink.outbox import Outbox, Row
from edge_agent.uplink.window import Window

log = logging.getLogger(__name__)

IDLE_S = 20.0
PUT_OFF_S = 60.0
WILL_DELAY_S = 30
OVERHEAD_BYTES = 256  # of a PUBLISH beyond topic and payload, generously
TELE_EXPIRY_S = 30
RESULT_EXPIRY_S = 3600
OVER_A_MESSAGE = (0x81, 0x82, TOO_LARGE)  # malformed; protocol error, which is paho's word for a PUBACK of too large
JSON: dict[str, object] = {"ContentType": topics.JSON, "PayloadFormatIndicator": 1}


class Uplink:
    """Call `run` under `supervise`; all else may be called at any time, connected or not."""

    def __init__(
        self,
        section: Mqtt,
        device: str,
        outbox: Outbox,
        *,
        clock: Clock,
        health: Health,
        on_command: Callable[[Request, str], Awaitable[Reply]],
        window: int = 200,
        will_delay_s: int = WILL_DELAY_S,
    ) -> None:
        self._section, self._device, self._outbox = section, device, outbox
        self._clock, self._health, self._on_command = clock, health, on_command
        self._will_delay_s = will_delay_s
        self._broker = Broker(section)
        self._window = Window(window, random.Random())
        self._wake = asyncio.Event()
        self._pipe: Pipe | None = None
        self._session = ""
        self._unconfirmed: dict[int, int] = {}  # message id -> seq, until its PUBACK
        self._one_by_one = 0  # while positive, one at a time: the broker hung up over a message and we look which
        self._told_s: dict[str, float] = {}
        self._running: set[asyncio.Task[None]] = set()
        outbox.on_fresh = self._wake.set
        if section.ack == "broker":
            log.warning('mqtt.ack = "broker": events are deleted once the broker has them; no centre confirms any')

    @property
    def connected(self) -> bool:
        return self._pipe is not None and self._pipe.ended is None

    def telemetry(self, group: str, data: Struct) -> None:
        """Publish the newest values, at most every `telemetry_period_s`; dropped while the link is down."""
        now = self._clock.monotonic()
        if self._pipe is None or now - self._told_s.get(group, float("-inf")) < self._section.telemetry_period_s:
            return
        self._told_s[group] = now
        sample = topics.Sample(time=topics.rfc3339(self._clock.wall()), boot=self._outbox.boot, data=data)
        topic, body = topics.tele(self._device, group), msgspec.json.encode(sample)
        self._pipe.publish(topic, body, JSON | {"MessageExpiryInterval": TELE_EXPIRY_S}, qos=0)

    async def run(self) -> None:
        """One connection, from birth to end; `DriverError` when the broker is absent, refuses us or goes."""
        self._reap()
        self._session = str(ULID())
        pipe = await self._broker.connect(
            self._device,
            [topics.ack(self._device), topics.command(self._device, "+")],
            self._wake,
            will=Will(topic=topics.status(self._device), payload=self._offline("lost"), delay_s=self._will_delay_s),
            keep_session=True,
        )
        self._health.counts["uplink.connects"] += 1
        self._pipe = pipe
        try:
            await self._be_born(pipe)
            await self._work(pipe)
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()  # it is on disk that they were begun: the next start answers them as interrupted
            pipe.publish(topics.status(self._device), self._offline("stopped"), JSON, qos=0, retain=True)
            raise
        finally:
            self._pipe = None
            self._window.lost()
            await self._suspect(pipe)
            self._unconfirmed.clear()
            await pipe.close()

    async def _work(self, pipe: Pipe) -> None:
        while True:
            self._wake.clear()
            self._health.beat("uplink", 3 * IDLE_S)
            self._reap()
            while pipe.messages:
                await self._receive(pipe, pipe.messages.popleft())
            await self._take_pubacks(pipe)
            pipe.check()
            await self._send(pipe)
            await self._rest()

    async def _rest(self) -> None:
        due_s = self._window.next_due_s()
        rest_s = IDLE_S if due_s is None else min(IDLE_S, max(0.0, due_s - self._clock.monotonic()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest_s):  # not wait_for: in Python 3.11 it can swallow a cancellation
                await self._wake.wait()

    # --- up -------------------------------------------------------------------------------------------------------

    async def _be_born(self, pipe: Pipe) -> None:
        """Say that we are there and how the stream stands; the centre answers with what it holds."""
        stats = await self._outbox.measure()
        stream = topics.Stream(
            epoch=stats.epoch, next=stats.next, acked=stats.acked, depth=stats.depth, oldest_s=round(stats.oldest_s, 1)
        )
        birth = topics.Status(
            state="online",
            sess=self._session,
            time=topics.rfc3339(self._clock.wall()),
            boot=self._outbox.boot,
            sw=__version__,
            contract="1",
            streams={"ev": stream},
        )
        pipe.publish(topics.status(self._device), msgspec.json.encode(birth), JSON, retain=True)

    async def _send(self, pipe: Pipe) -> None:
        now = self._clock.monotonic()
        if lapsed := self._window.lapse(now):
            self._health.counts["uplink.repeated"] += len(lapsed)
        room = min(self._window.room, pipe.room)
        if self._one_by_one:
            room = min(room, 1 - len(self._unconfirmed))
        if room <= 0:
            return
        for row in await self._outbox.take(room, skip=self._window.in_flight):
            topic, body = self._encode(row)
            size = len(topic) + len(body) + OVERHEAD_BYTES
            if size > pipe.max_packet_bytes:
                why = f"{size} bytes are more than the {pipe.max_packet_bytes} that {self._broker.name} takes"
                await self._outbox.nacked(row.seq, why)
                continue
            facts = {"ContentType": row.content_type, "UserProperty": [("lane", str(row.lane))]}
            mid = pipe.publish(topic, body, facts)
            if mid is None:
                return
            self._unconfirmed[mid] = row.seq
            self._window.sent(row.seq, now)
            self._health.counts["uplink.published"] += 1

    def _encode(self, row: Row) -> tuple[str, bytes]:
        if row.kind == "thumb":
            return topics.thumb(self._device, row.id.removesuffix("/thumb"), self._outbox.epoch, row.seq), row.body
        body = topics.encode_event(
            device=self._device,
            kind=row.kind,
            id=row.id,
            wall_s=row.wall_s,
            boot=row.boot,
            epoch=self._outbox.epoch,
            seq=row.seq,
            data=row.body,
        )
        return topics.event(self._device, row.kind), body

    async def _take_pubacks(self, pipe: Pipe) -> None:
        """A PUBACK is not a delivery: a good one counts only with `ack = "broker"`, a bad one says what to do."""
        while pipe.pubacks:
            mid, code = pipe.pubacks.popleft()
            seq = self._unconfirmed.pop(mid, None)
            if seq is None:
                continue
            self._one_by_one = max(0, self._one_by_one - 1)
            await self._judge(seq, code)

    async def _judge(self, seq: int, code: int) -> None:
        if code < 0x80:
            if "uplink.access" in self._health.state:
                self._health.set("uplink.access", "running")
            if self._section.ack == "broker":
                self._window.settled([seq])
                await self._outbox.acked(self._outbox.epoch, 0, [(seq, seq)])
        elif code == TOO_LARGE:
            self._window.settled([seq])
            await self._outbox.nacked(seq, f"{self._broker.name} says that it is too large")
        elif code in (NOT_AUTHORISED, QUOTA_EXCEEDED):
            self._window.settled([seq])
            why = "not authorised: check the broker's access list" if code == NOT_AUTHORISED else "over its quota"
            self._health.set("uplink.access", f"failed: {self._broker.name} refuses events: {why}")
            await self._outbox.put_off(seq, PUT_OFF_S, why)

    async def _suspect(self, pipe: Pipe) -> None:
        """The broker hung up over a message: find which by sending one at a time, then set it aside."""
        if pipe.ended_code not in OVER_A_MESSAGE:
            return
        if self._one_by_one and len(self._unconfirmed) == 1:
            [seq] = self._unconfirmed.values()
            await self._outbox.nacked(seq, f"{self._broker.name} hangs up over it ({pipe.ended})")
            return
        self._one_by_one = max(1, len(self._unconfirmed))

    # --- down -----------------------------------------------------------------------------------------------------

    async def _receive(self, pipe: Pipe, message: Message) -> None:
        match topics.split(message.topic):
            case (self._device, ["down", "ack"]):
                await self._take_ack(pipe, message.payload)
            case (self._device, ["down", "cmd", name]):
                task = asyncio.create_task(self._obey(name, message))
                self._running.add(task)
                task.add_done_callback(lambda _: self._wake.set())

    async def _take_ack(self, pipe: Pipe, payload: bytes) -> None:
        try:
            ack = msgspec.json.decode(payload, type=topics.Ack)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("uplink: an acknowledgement cannot be read: %s", error)
            return
        if ack.epoch != self._outbox.epoch:
            return
        for nack in ack.nack:
            await self._outbox.nacked(nack.seq, f"the centre cannot take it: {nack.why}")
        self._window.settled(nack.seq for nack in ack.nack)
        self._window.heard(ack.cum, ack.sel)
        if ack.all:
            self._window.missing()
        if not await self._outbox.acked(ack.epoch, ack.cum, ack.sel):
            self._window.lost()
            await self._be_born(pipe)

    async def _obey(self, name: str, message: Message) -> None:
        """Answer one command; its task outlives the connection that brought it."""
        order = commands.read(name, message.payload, retained=message.retained, wall_s=self._clock.wall())
        try:
            reply, recorded = await self._decide(name, order)
        except DriverError as error:  # what cannot be written down is not carried out
            reply, recorded = Reply(state="failed", reason=f"not carried out: {error}"), None
        log.info("command %s %s by %s: %s %s", name, order.id, order.by or "?", reply.state, reply.reason or "")
        if self._pipe is None:
            return
        asked = message.response_topic
        topic = asked if asked and not set("+#\0") & set(asked) else topics.result(self._device)
        facts: dict[str, object] = JSON | {"MessageExpiryInterval": RESULT_EXPIRY_S}
        if message.correlation is not None:
            facts["CorrelationData"] = message.correlation
        body = topics.encode_result(order.id, reply, self._clock.wall(), recorded)
        self._pipe.publish(topic, body, facts)

    async def _decide(self, name: str, order: commands.Order | commands.Refused) -> tuple[Reply, Reply | None]:
        """Carry out a command that was never seen; returns its answer, and for a repeat the recorded one as well."""
        if order.id is None:
            return order.reply, None
        try:
            fresh = await self._outbox.claim(order.id, name, order.by)
        except DriverError as error:
            if isinstance(order, commands.Order) and isinstance(order.request, commands.HOMEWARD):
                log.error("command %s %s is obeyed though it cannot be recorded: %s", name, order.id, error)
                return await self._on_command(order.request, order.by), None
            raise
        if not fresh:
            recorded = await self._outbox.answered(order.id)
            return Reply(state="duplicate", reason="this id was used before"), recorded or commands.RUNNING
        match order:
            case commands.Refused(reply=reply):
                pass
            case commands.Order(request=request, by=by):
                try:
                    reply = await self._on_command(request, by)
                except DriverError as error:
                    reply = Reply(state="failed", reason=str(error))
        try:
            await self._outbox.answer(order.id, name, order.by, reply)
        except DriverError as error:  # it was carried out, and a repeat will find that it was seen
            log.error("the answer to command %s %s cannot be recorded: %s", name, order.id, error)
        return reply, None

    def _reap(self) -> None:
        """Let the exception of a command's task escape: it is a bug."""
        for task in [task for task in self._running if task.done()]:
            self._running.discard(task)
            if not task.cancelled():
                task.result()

    def _offline(self, reason: str) -> bytes:
        time = topics.rfc3339(self._clock.wall())
        return msgspec.json.encode(topics.Status(state="offline", sess=self._session, time=time, reason=reason))
