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
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from ulid import ULID

from edge_agent import __version__, topics
from edge_agent.chain import PREFIX
from edge_agent.config import Mqtt, Operator
from edge_agent.desired import Wishes
from edge_agent.messages import Reply, Request
from edge_agent.pipe import PUBACK, Broker, Message, Pipe, Will, said
from edge_agent.reasons import OVER_A_MESSAGE, Verdict, verdict
from edge_agent.runtime import Clock, Health
from edge_agent.timequality import time_quality
from edge_agent.twin import Answer, Ask, Host, LinkState
from edge_agent.uplink.envelope import decoded, facts
from edge_agent.uplink.floodgate import PER_S, SHUT_S, Floodgate
from edge_agent.uplink.hosts import Hosts
from edge_agent.uplink.lanes import HIST_S
from edge_agent.uplink.obey import Asker, Obey
from edge_agent.uplink.outbox import Outbox, Row
from edge_agent.uplink.shadow import Shadow
from edge_agent.uplink.signing import Signatures
from edge_agent.uplink.window import Window

log = logging.getLogger(__name__)

IDLE_S = 20.0
AT_ONCE = 64
HOME = ("recall", "land")  # the way home has an inbox that other commands cannot fill
PUT_OFF_S = 60.0
WILL_DELAY_S = 30
OVERHEAD_BYTES = 256  # of a PUBLISH beyond topic and payload, generously
TELE_EXPIRY_S = 30
ASK_S = 60
TQ_HOLDS_S = 60.0
TQ_EVERY_S = 1.0
RESULT_EXPIRY_S = 3600
STRANGE_TRIES = 5
ANSWERS_LEAVE = 0.5  # of what the broker takes unconfirmed; a flood of commands must not keep events from going out
LATER_REMEDY = "check its access list and its quotas"


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
        operators: Iterable[Operator] = (),
        wishes: Wishes | None = None,
        context: topics.Context | None = None,
        key: str | None = None,
        window: int = 200,
        will_delay_s: int = WILL_DELAY_S,
    ) -> None:
        self._section, self._device, self._outbox = section, device, outbox
        self._clock, self._health = clock, health
        self._context, self._key = context, key
        self._will_delay_s = will_delay_s
        self.telemetry_period_s = section.telemetry_period_s
        self.caps: tuple[str, ...] = ()  # the commands that can be carried out here
        signatures = Signatures(device, operators, unsigned=section.unsigned_commands)
        self._obey = Obey(outbox, signatures, clock=clock, health=health, on_command=on_command, publish=self._answer)
        self._shadow = Shadow(
            *(device, outbox.boot),
            signatures=signatures,
            obey=self._obey,
            wishes=wishes,
            key=key,
            clock=clock,
            keep=self._keep,
        )
        for under_way in outbox.under_way:
            self._obey.resume(*under_way)
        self.on_untold: Callable[[str, Struct], None] = lambda *_: None
        self._hosts = Hosts()
        self._floodgate = Floodgate()
        self._all_commands = _commands(device, section.groups, "+")
        self._homeward = _commands(device, section.groups, *HOME)
        self._asked: dict[str, asyncio.Future[Answer]] = {}
        self._broker = Broker(section)
        self._window = Window(window, random.Random())
        self._wake = asyncio.Event()
        self._pipe: Pipe | None = None
        self._session = ""
        self._unconfirmed: dict[int, int] = {}  # message id -> seq, until its PUBACK
        self._acks: list[topics.Ack] = []  # of this epoch, to be carried out
        self._settling: set[int] = set()  # confirmed, and not deleted yet
        self._strange: Counter[int] = Counter()  # seq -> how often the broker refused it for no clear reason
        self._one_by_one = 0  # while positive, one at a time: the broker hung up over a message and we look which
        self._told_s: dict[str, float] = {}
        self._tq, self._tq_s = time_quality(), clock.monotonic()
        outbox.on_fresh = self._wake.set
        if section.ack == "broker":
            log.warning('mqtt.ack = "broker": events are deleted once the broker has them; no centre confirms any')
        if section.unsigned_commands:
            log.warning(
                "mqtt.unsigned_commands = true: WHOEVER REACHES THE BROKER CAN FLY THIS VEHICLE AND SPEAK;"
                " for development only"
            )

    @property
    def connected(self) -> bool:
        return self._pipe is not None and self._pipe.ended is None

    @property
    def window(self) -> Window:
        """How many events are on their way, and may be; only to be looked at."""
        return self._window

    def telemetry(self, group: str, data: Struct) -> None:
        """Publish the newest values, at most every `telemetry_period_s`; without a link `on_untold` has them."""
        now = self._clock.monotonic()
        if now - self._told_s.get(group, float("-inf")) < self.telemetry_period_s:
            return
        self._told_s[group] = now
        if self._pipe is None:
            self.on_untold(group, data)
            return
        sample = topics.Sample(time=topics.rfc3339(self._clock.wall()), boot=self._outbox.boot, data=data)
        topic, body = topics.tele(self._device, group), msgspec.json.encode(sample)
        self._pipe.publish(topic, body, facts(f"tele.{group}", expiry_s=TELE_EXPIRY_S), qos=0)

    def state(self, group: str, data: Struct) -> None:
        """Tell how a group of parts stands, if that has changed; kept for newcomers, told again at each connection."""
        self._shadow.state(group, data)

    async def tell(self, run: str, reply: Reply) -> None:
        """A flight or an announcement came so far: to whoever commanded it."""
        await self._obey.tell(run, reply)

    async def ask(self, what: str, data: Struct | None = None, timeout_s: float = ASK_S) -> Answer | None:
        """Ask the centre for one of `topics.ASKS`; None where it does not answer in time, or the link is down."""
        pipe, id = self._pipe, str(ULID())
        if pipe is None:
            return None
        question = Ask(id=id, time=topics.rfc3339(self._clock.wall()), data=data)
        self._asked[id] = asyncio.get_running_loop().create_future()
        try:
            properties = facts(f"req.{what}", expiry_s=ASK_S) | {"ResponseTopic": topics.answer(self._device)}
            pipe.publish(topics.request(self._device, what), msgspec.json.encode(question), properties)
            async with asyncio.timeout(timeout_s):
                return await self._asked[id]
        except TimeoutError:
            return None
        finally:
            del self._asked[id]

    async def run(self) -> None:
        """One connection, from birth to end; `DriverError` when the broker is absent, refuses us or goes."""
        self._obey.reap()
        self._session = str(ULID())
        pipe = await self._broker.connect(
            self._device,
            [
                topics.ack(self._device),
                *self._all_commands,
                topics.desired(self._device),
                topics.answer(self._device),
                topics.host("+"),
            ],
            self._wake,
            will=Will(topic=topics.status(self._device), payload=self._offline("lost"), delay_s=self._will_delay_s),
            keep_session=True,
            first=[topics.ack(self._device), *(topics.command(self._device, name) for name in HOME)],
        )
        self._health.counts["uplink.connects"] += 1
        self._pipe = pipe
        self._floodgate.connected()
        try:
            await self._be_born(pipe)
            self._introduce(pipe.five)
            await self._work(pipe)
        except asyncio.CancelledError:
            self._obey.cancel()
            pipe.publish(topics.status(self._device), self._offline("stopped"), facts("status"), qos=0, retain=True)
            raise
        finally:
            self._pipe = None
            self._window.lost()
            await self._suspect(pipe)
            self._unconfirmed.clear()
            await pipe.close()

    async def _work(self, pipe: Pipe) -> None:
        confirming: asyncio.Task[None] | None = None
        try:
            while True:
                self._wake.clear()
                self._health.beat("uplink", 3 * IDLE_S)
                self._obey.reap()
                await self._take_in(pipe)
                await self._turn(pipe)
                if confirming is not None and confirming.done():
                    confirming = confirming.result()
                if confirming is None and self._acks:
                    confirming = asyncio.create_task(self._confirm(pipe))
                    confirming.add_done_callback(lambda _: self._wake.set())
                await self._take_pubacks(pipe)
                pipe.check()
                await self._send(pipe)
                await self._rest()
        finally:
            if confirming is not None:
                confirming.cancel()
            self._acks.clear()
            self._settling.clear()

    async def _take_in(self, pipe: Pipe) -> None:
        """A bounded number of what came in: what confirms events and what brings the drone home go first."""
        for inbox in (pipe.first, pipe.messages):
            for _ in range(min(AT_ONCE, len(inbox))):
                await self._receive(pipe, inbox.popleft())
        if pipe.first or pipe.messages:
            self._wake.set()
            await asyncio.sleep(0)  # nothing else in a turn has to wait, and the loop has to read and write

    async def _turn(self, pipe: Pipe) -> None:
        """Under a flood leave the commands' topics, so that events have the link and the processor, and come back."""
        match self._floodgate.turn(self._clock.monotonic()):
            case "leave":
                pipe.swap(self._all_commands, self._homeward)
                self._health.set("uplink.commands", f"failed: over {PER_S:g} commands a second: deaf for {SHUT_S:g} s")
                await self._obey.flooded(PER_S, SHUT_S)
            case "rejoin":
                pipe.swap(self._homeward, self._all_commands)
                self._health.counts["commands.dropped"] = self._floodgate.dropped
                self._health.set("uplink.commands", "running")

    async def _rest(self) -> None:
        dues_s = [due_s for due_s in (self._window.next_due_s(), self._floodgate.due_s()) if due_s is not None]
        rest_s = max(0.0, min([IDLE_S, *(due_s - self._clock.monotonic() for due_s in dues_s)]))
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
            key=self._key,
            caps=self.caps,
            streams={"ev": stream},
        )
        pipe.publish(topics.status(self._device), msgspec.json.encode(birth), facts("status"), retain=True)

    async def _send(self, pipe: Pipe) -> None:
        now = self._clock.monotonic()
        if lapsed := self._window.lapse(now):
            self._health.counts["uplink.repeated"] += len(lapsed)
        room = min(self._window.room, pipe.room, self._hosts.limit() - len(self._window.in_flight))
        if self._one_by_one:
            room = min(room, 1 - len(self._unconfirmed))
        if room <= 0:
            return
        rows = await self._outbox.take(min(room, AT_ONCE), skip=[*self._window.in_flight, *self._settling])
        if len(rows) == AT_ONCE:
            self._wake.set()  # there is more, but others want the loop too
        for row in rows:
            topic, body = self._encode(row)
            size = len(topic) + len(body) + OVERHEAD_BYTES
            if size > pipe.max_packet_bytes:
                why = f"{size} bytes are more than the {pipe.max_packet_bytes} that {self._broker.name} takes"
                await self._outbox.nacked(row.seq, why)
                continue
            mid = pipe.publish(topic, body, self._facts_of(row))
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
            mono_us=UNSET if row.mono_us is None else row.mono_us,
            tq=self._time_quality(row),
            prev=UNSET if row.prev is None else PREFIX + row.prev.hex(),
            ctx=self._context or UNSET,
            data=row.body,
        )
        return topics.event(self._device, row.kind), body

    def _time_quality(self, row: Row) -> topics.TimeQuality | UnsetType:
        """How good the clock is now, for an event of now; what it was for an older one nobody knows any more."""
        now = self._clock.monotonic()
        age_s = now - (row.mono_us or 0) / 1e6
        if row.mono_us is None or row.boot != self._outbox.boot or age_s > TQ_HOLDS_S:
            return UNSET
        if now - self._tq_s >= TQ_EVERY_S:
            self._tq, self._tq_s = time_quality(), now
        return self._tq

    def _facts_of(self, row: Row) -> dict[str, Any]:
        if row.kind == "thumb":
            return {"ContentType": row.content_type, "UserProperty": [("lane", str(row.lane))]}
        return facts(f"ev.{row.kind}", lane=row.lane, hist=self._clock.wall() - row.wall_s > HIST_S)

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
        judged = verdict(code)
        if judged is Verdict.TAKEN:
            self._strange.pop(seq, None)
            if "uplink.access" in self._health.state:
                self._health.set("uplink.access", "running")
            if self._section.ack == "broker":
                self._window.settled([seq])
                await self._outbox.acked(self._outbox.epoch, 0, [(seq, seq)])
            return
        if judged is Verdict.AGAIN:
            return
        why = said(PUBACK, code)
        self._window.settled([seq])
        self._strange[seq] += judged is Verdict.STRANGE
        if judged is Verdict.NEVER or self._strange[seq] >= STRANGE_TRIES:
            self._strange.pop(seq, None)
            await self._outbox.nacked(seq, f"{self._broker.name} will never take it: {why}")
            return
        if judged is Verdict.LATER:
            self._health.set("uplink.access", f"failed: {self._broker.name} refuses events: {why}; {LATER_REMEDY}")
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
                await self._take_ack(message.payload)
            case (_, [*_, "cmd", name]) if name not in HOME and not self._floodgate.let(self._clock.monotonic()):
                pass
            case (self._device, ["down", "cmd", name]):
                self._obey.take(name, message, five=pipe.five, wake=self._wake.set)
            case (topics.GROUP, [group, "down", "cmd", name]) if group in self._section.groups:
                self._obey.take(name, message, five=pipe.five, wake=self._wake.set, group=group)
            case (self._device, ["down", "res"]):
                self._take_answer(message.payload)
            case (self._device, ["down", "desired"]):
                await self._shadow.take(message.payload)
            case ("host", [centre, "state"]):
                self._take_host(centre, message.payload)

    async def _take_ack(self, payload: bytes) -> None:
        ack = decoded(payload, topics.Ack, "an acknowledgement")
        if ack is None or ack.epoch != self._outbox.epoch:
            return
        for nack in ack.nack:
            await self._outbox.nacked(nack.seq, f"the centre cannot take it: {nack.why}")
        self._window.settled(nack.seq for nack in ack.nack)
        self._settling.update(self._window.heard(ack.cum, ack.sel, self._clock.monotonic()))
        if ack.all:
            self._window.missing()
        self._acks.append(ack)

    async def _confirm(self, pipe: Pipe) -> None:
        """Delete what the centre has, by one commit for all that it has said, while more is sent."""
        acks, settling = self._acks, self._settling
        self._acks, epoch = [], acks[0].epoch
        before = set(settling)
        sel = [run for ack in acks for run in ack.sel]
        kept = await self._outbox.acked(epoch, max(ack.cum for ack in acks), sel)
        settling -= before
        if not kept:
            self._window.lost()
            await self._be_born(pipe)

    def _answer(self, asker: Asker, body: bytes) -> None:
        """Publish an answer where it was asked for; one that finds the link down is of no worth later."""
        if self._pipe is None:
            return
        asked, ours = asker.response_topic or "", topics.result(self._device)
        elsewhere = asked and not set("+#\0") & set(asked) and not asked.startswith(f"{topics.ROOT}/")
        topic = asked if elsewhere else ours  # never into the contract's other topics, whoever asks for it
        properties = facts("res", expiry_s=RESULT_EXPIRY_S)
        if asker.correlation is not None:
            properties["CorrelationData"] = asker.correlation
        crowded = self._pipe.room <= ANSWERS_LEAVE * self._pipe.receive_maximum
        self._pipe.publish(topic, body, properties, qos=0 if crowded else 1)

    def _take_answer(self, payload: bytes) -> None:
        if (answer := decoded(payload, Answer, "an answer of the centre")) is None:
            return
        waiting = self._asked.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _take_host(self, centre: str, payload: bytes) -> None:
        if not payload:
            return self._hosts.gone(centre)
        host = decoded(payload, Host, f"the state of centre {centre}")
        if host is None:
            return None
        if fault := self._hosts.heard(centre, host):
            log.warning("uplink: centre %s %s", centre, fault)
        self._health.set("uplink.centre", "waiting: all centres are offline" if self._hosts.waiting else "running")
        return None

    def _introduce(self, five: bool) -> None:
        """After the birth, what newcomers want to know beside it."""
        section = self._section
        name = f"{section.host}:{section.port}"
        self._shadow.introduce(LinkState(broker=name, mqtt="5" if five else "3.1.1", tls=section.ca_file is not None))

    def _keep(self, topic: str, schema: str, body: bytes) -> None:
        if self._pipe is not None:
            self._pipe.publish(topic, body, facts(schema), retain=True)

    def _offline(self, reason: str) -> bytes:
        time = topics.rfc3339(self._clock.wall())
        return msgspec.json.encode(topics.Status(state="offline", sess=self._session, time=time, reason=reason))


def _commands(device: str, groups: Iterable[str], *names: str) -> list[str]:
    of_groups = [topics.group_command(group, name) for group in groups for name in names]
    return [topics.command(device, name) for name in names] + of_groups
