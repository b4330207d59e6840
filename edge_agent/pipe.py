"""MQTT as a pipe: one connection to a broker from CONNECT to its end; paho-mqtt encodes and decodes, in our loop.

paho is driven from outside (`loop_read`, `loop_write`, `loop_misc`): a thread of its own costs as much again as the
rest of a message. A connection is never revived: what paho still held in memory must die with it, since the outbox
will send it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import ssl
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from cryptography.x509 import load_pem_x509_certificate
from msgspec import Struct
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from ulid import ULID

from edge_agent.config import Mqtt, read_secret
from edge_agent.reasons import hung_up, refused
from edge_agent.runtime import DriverError

log = logging.getLogger(__name__)

UNSUPPORTED_VERSION = 0x84
PUBACK = PacketTypes.PUBACK

HANDSHAKE_S = 10.0
GOODBYE_S = 2.0
SESSION_S = 86_400  # the broker keeps a device's commands that long; each has an expiry of its own
MAX_PACKET_BYTES = 262_144
INBOX = 2000
MAX_IN_FLIGHT = 1000
READS = 64  # packets at a time, then others want the loop too
MISC_S = 1.0  # how often paho is asked to keep the connection alive


class Message(Struct, frozen=True, kw_only=True):
    """What came in."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None  # what is left of MQTT 5's Message Expiry Interval


class Will(Struct, frozen=True, kw_only=True):
    """What the broker says in our name, retained, once we are gone without a word."""

    topic: str
    payload: bytes
    delay_s: int


class Broker:
    """Where a broker is and how it is spoken to; learns once which version of MQTT it understands."""

    def __init__(self, section: Mqtt) -> None:
        self.section = section
        self.name = f"broker {section.host}:{section.port}"
        self._version = section.version
        if section.plain:
            log.warning("%s: plain = true: everything, the password too, crosses the network in the clear", self.name)

    async def connect(
        self,
        client_id: str,
        subscriptions: Sequence[str],
        wake: asyncio.Event,
        *,
        will: Will | None = None,
        keep_session: bool = False,
        first: Collection[str] = (),
    ) -> Pipe:
        """Connect and subscribe; `wake` is set whenever the pipe has news. Raises `DriverError`.

        What comes on the topics of `first` goes into an inbox of its own, which a flood on another does not fill.
        """
        if self._version == "auto":
            self._version = await self._probe()
        five = self._version == "5"
        options: dict[str, Any] = {}
        if five:
            facts = {"SessionExpiryInterval": SESSION_S if keep_session else 0, "MaximumPacketSize": MAX_PACKET_BYTES}
            options = {"clean_start": not keep_session, "properties": _properties(PacketTypes.CONNECT, facts)}
        client = self._client(client_id, five, None if five else not keep_session)
        if will is not None:
            delay = _properties(PacketTypes.WILLMESSAGE, {"WillDelayInterval": will.delay_s}) if five else None
            client.will_set(will.topic, will.payload, qos=1, retain=True, properties=delay)
        self._identify(client)
        pipe = await self._open(client, five, wake, options)
        pipe.first_topics = frozenset(first)
        try:
            await pipe.greeted()
            await pipe.subscribed(subscriptions)
        except BaseException:
            await pipe.close()
            raise
        return pipe

    async def _probe(self) -> Literal["5", "3.1.1"]:
        """Ask with a bare MQTT 5 CONNECT: amqtt would misread the properties of a real one and fall silent."""
        client = self._client(f"probe-{ULID()}", True, None)
        pipe = await self._open(client, True, asyncio.Event(), {"clean_start": True})
        try:
            if await pipe.connack() != UNSUPPORTED_VERSION:
                return "5"
        finally:
            await pipe.close()
        log.warning("%s does not speak MQTT 5: it is 3.1.1 from now on, which hides refusals and expiries", self.name)
        return "3.1.1"

    async def _open(self, client: Client, five: bool, wake: asyncio.Event, options: dict[str, Any]) -> Pipe:
        pipe = Pipe(client, self.name, five, wake)
        section = self.section
        try:
            await asyncio.to_thread(client.connect, section.host, section.port, section.keep_alive_s, **options)
        except (OSError, ValueError) as error:  # ValueError: a host that cannot be a name
            raise DriverError(f"{self.name}: {error}") from error
        pipe.attach()
        return pipe

    def _client(self, client_id: str, five: bool, clean_session: bool | None) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            clean_session=clean_session,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(0)  # no queue in there: `Pipe.room` is ours to keep
        if self.section.ca_file is not None:
            client.tls_set_context(self._tls(self.section.ca_file))
        return client

    def _tls(self, ca_file: Path) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(ca_file))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if (cert_file := self.section.cert_file) is not None:
                if fault := certificate_fault(cert_file.read_bytes(), datetime.now(UTC)):
                    raise DriverError(f"{self.name}: {cert_file}: {fault}")
                context.load_cert_chain(cert_file, self.section.key_file)
        except OSError as error:  # an ssl.SSLError is one as well
            raise DriverError(f"{self.name}: its TLS files cannot be used: {error}") from error
        return context

    def _identify(self, client: Client) -> None:
        section = self.section
        if section.username is None:
            return
        try:
            client.username_pw_set(section.username, read_secret(section.password) if section.password else None)
        except OSError as error:
            raise DriverError(f"{self.name}: the password cannot be read: {error}") from error


class Pipe:
    """An open connection; `ended` says why it is over.

    It owns `messages`, `first` (those on `first_topics`) and `pubacks` until they are taken.
    """

    def __init__(self, client: Client, name: str, five: bool, wake: asyncio.Event) -> None:
        self.five = five
        self.max_packet_bytes = MAX_PACKET_BYTES
        self.first_topics: frozenset[str] = frozenset()
        self.first: deque[Message] = deque()
        self.messages: deque[Message] = deque()
        self.pubacks: deque[tuple[int, int]] = deque()  # (message id, reason code)
        self.ended: DriverError | None = None
        self.ended_code = 0
        self.dropped = 0
        self.receive_maximum = MAX_IN_FLIGHT
        self._in_flight: set[int] = set()
        self._client, self._name, self._wake = client, name, wake
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[list[int]] = asyncio.Queue()  # reason codes of CONNACK, then of the SUBACK
        self._over = asyncio.Event()
        self._subscribed = False
        self._heard = 0  # packets
        self._misc: asyncio.TimerHandle | None = None
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    def attach(self) -> None:
        """Drive the client from this loop; it has its socket."""
        client, link = self._client, self._client.socket()
        assert link is not None
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_written
        client.on_socket_close = self._on_close
        self._loop.add_reader(link, self._guarded, self._read)
        if client.want_write():
            self._on_want_write(client, None, link)
        self._misc = self._loop.call_later(MISC_S, self._guarded, self._look_after)

    async def connack(self) -> int:
        """The broker's answer to our CONNECT."""
        [code] = await self._step("CONNACK")
        return code

    async def greeted(self) -> None:
        """Wait until the broker lets us in."""
        if code := await self.connack():
            raise DriverError(f"{self._name} refuses us: {said(PacketTypes.CONNACK, code)}; {refused(code)}")

    async def subscribed(self, topics: Sequence[str]) -> None:
        """Subscribe at QoS 1, and wait until the broker agrees."""
        self._client.subscribe([(topic, 1) for topic in topics])
        for topic, code in zip(topics, await self._step("SUBACK"), strict=False):
            if code >= 0x80:
                raise DriverError(f"{self._name} does not let us subscribe to {topic}: check its access list")
        self._subscribed = True

    def swap(self, left: Sequence[str], joined: Sequence[str]) -> None:
        """Subscribe to other topics instead, without waiting for the broker; one that refuses ends the connection."""
        self._client.subscribe([(topic, 1) for topic in joined])
        self._client.unsubscribe(list(left))

    @property
    def room(self) -> int:
        """How many more QoS 1 messages the broker takes before it confirms one."""
        return self.receive_maximum - len(self._in_flight)

    def check(self) -> None:
        """Raise `DriverError` once the connection is over."""
        if self.ended is not None:
            raise self.ended

    def publish(
        self, topic: str, payload: bytes, facts: Mapping[str, object], *, qos: int = 1, retain: bool = False
    ) -> int | None:
        """Send; returns the message id, or None when the connection is down. `facts` are MQTT 5's properties."""
        if self.ended is not None or not self._client.is_connected():
            return None
        properties = _packed(facts) if self.five and facts else None
        info = self._client.publish(topic, payload, qos, retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        if qos:
            self._in_flight.add(info.mid)
        return info.mid

    async def close(self) -> None:
        """Say goodbye if there is someone to say it to; one that is frozen is not waited for."""
        self._client.disconnect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._over.wait()
        self._detach()
        self._client.drop_out_messages()

    async def _step(self, what: str) -> list[int]:
        wanted = asyncio.ensure_future(self._steps.get())
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({wanted, over}, timeout=HANDSHAKE_S, return_when=asyncio.FIRST_COMPLETED)
            if wanted.done():
                return wanted.result()
            self.check()
            raise DriverError(f"{self._name} sent no {what} in {HANDSHAKE_S:g} s")
        finally:
            wanted.cancel()
            over.cancel()

    # --- driving paho ---------------------------------------------------------------------------------------------

    def _guarded(self, step: Callable[[], object]) -> None:
        """What paho trips over in a broker's bytes ends the connection, and nothing else."""
        try:
            step()
        except Exception as error:  # noqa: BLE001  # its parsers raise whatever the bytes make them raise
            self._finished(0, f"it sent what cannot be read: {error!r}")
            self._detach()

    def _read(self) -> None:
        begun = self._heard
        while self._heard < begun + READS:  # one `loop_read` may take as many packets as messages are in flight
            before = self._heard
            self._client.loop_read()
            if self._heard == before:
                return
        if isinstance(link := self._client.socket(), ssl.SSLSocket) and link.pending():
            self._loop.call_soon(self._guarded, self._read)  # the system's socket has nothing more to announce

    def _write(self) -> None:
        self._client.loop_write()

    def _look_after(self) -> None:
        self._client.loop_misc()
        if self.ended is None:
            self._misc = self._loop.call_later(MISC_S, self._guarded, self._look_after)

    def _detach(self) -> None:
        if self._misc is not None:
            self._misc.cancel()
        if (link := self._client.socket()) is not None:
            self._loop.remove_reader(link)
            self._loop.remove_writer(link)
            link.close()

    # --- what paho calls --------------------------------------------------------------------------------------------

    def _on_want_write(self, _: Client, __: Any, link: Any) -> None:
        self._loop.add_writer(link, self._guarded, self._write)

    def _on_written(self, _: Client, __: Any, link: Any) -> None:
        self._loop.remove_writer(link)

    def _on_close(self, _: Client, __: Any, link: Any) -> None:
        self._loop.remove_reader(link)

    def _on_connect(self, _: Client, __: Any, ___: ConnectFlags, reason: ReasonCode, facts: Properties | None) -> None:
        self._heard += 1
        self.max_packet_bytes = min(MAX_PACKET_BYTES, getattr(facts, "MaximumPacketSize", MAX_PACKET_BYTES))
        self.receive_maximum = min(MAX_IN_FLIGHT, getattr(facts, "ReceiveMaximum", MAX_IN_FLIGHT))
        self._steps.put_nowait([reason.value])

    def _on_subscribe(self, _: Client, __: Any, ___: int, reasons: list[ReasonCode], ____: Properties | None) -> None:
        self._heard += 1
        codes = [reason.value for reason in reasons]
        if not self._subscribed:
            self._steps.put_nowait(codes)
        elif max(codes) >= 0x80:
            self._finished(0, "it does not let us subscribe anew: check its access list")

    def _on_disconnect(
        self, _: Client, __: Any, ___: DisconnectFlags, reason: ReasonCode, ____: Properties | None
    ) -> None:
        self._finished(reason.value, str(reason))

    def _on_publish(self, _: Client, __: Any, mid: int, reason: ReasonCode, ___: Properties) -> None:
        self._heard += 1
        if mid in self._in_flight:
            self._in_flight.discard(mid)
            self.pubacks.append((mid, reason.value))
        self._wake.set()

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:
        self._heard += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        inbox = self.first if topic in self.first_topics else self.messages
        if len(inbox) < INBOX:
            facts = message.properties
            inbox.append(
                Message(
                    topic=topic,
                    payload=bytes(message.payload),
                    retained=message.retain,
                    response_topic=getattr(facts, "ResponseTopic", None),
                    correlation=getattr(facts, "CorrelationData", None),
                    expiry_s=getattr(facts, "MessageExpiryInterval", None),
                )
            )
        else:
            self.dropped += 1
        self._wake.set()

    def _finished(self, code: int, why: str) -> None:
        if self.ended is None:
            hint = f"; {hung_up(code)}" if code >= 0x80 else ""
            self.ended, self.ended_code = DriverError(f"{self._name}: connection lost: {why}{hint}"), code
        self._over.set()
        self._wake.set()


def certificate_fault(pem: bytes, now: datetime) -> str | None:
    """Why a broker would refuse this certificate today, and the way out: over TLS 1.3 it only hangs up. Pure."""
    try:
        cert = load_pem_x509_certificate(pem)
    except ValueError as error:
        return f"is no certificate in PEM: {error}"
    first, last = cert.not_valid_before_utc, cert.not_valid_after_utc
    if now > last:
        way_out = "renew it and put it in its place; the next attempt takes it, without a restart"
        return f"the certificate expired on {last:%Y-%m-%d at %H:%M} UTC, {_long(now - last)} ago: {way_out}"
    if now < first:
        return (
            f"the certificate is good from {first:%Y-%m-%d at %H:%M} UTC on, and it is {now:%Y-%m-%d %H:%M} here:"
            " set the clock"
        )
    return None


def _long(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} h"


def _properties(packet: int, facts: Mapping[str, object]) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho has no types here
    for name, fact in facts.items():
        setattr(properties, name, fact)
    return properties


def _packed(facts: Mapping[str, object]) -> Properties:
    return _cached(tuple((name, tuple(fact) if isinstance(fact, list) else fact) for name, fact in facts.items()))


@functools.lru_cache(maxsize=256)
def _cached(facts: tuple[tuple[str, object], ...]) -> Properties:
    """Properties that are packed once: it takes paho longer than all the rest of a PUBLISH, and they recur."""
    properties = _properties(
        PacketTypes.PUBLISH, {name: list(fact) if isinstance(fact, tuple) else fact for name, fact in facts}
    )
    packed = properties.pack()  # type: ignore[no-untyped-call]
    object.__setattr__(properties, "pack", lambda: packed)  # its own __setattr__ takes names of properties alone
    return properties


def said(packet: int, code: int) -> str:
    """A reason code in the words of the standard."""
    try:
        return f"{ReasonCode(packet, identifier=code)} (0x{code:02x})"
    except KeyError:
        return f"reason 0x{code:02x}"
