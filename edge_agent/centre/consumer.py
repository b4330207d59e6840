"""The reference consumer: takes what devices report, commits it, and only then acknowledges."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from typing import Literal

import msgspec
from ulid import ULID

from edge_agent import topics
from edge_agent.centre.store import Store
from edge_agent.config import Mqtt
from edge_agent.pipe import Broker, Message, Pipe, Will
from edge_agent.runtime import Clock, DriverError
from edge_agent.twin import Host

log = logging.getLogger(__name__)

BATCH = 500
BATCH_S = 0.02  # at most, as long as more arrives; a pause ends a batch
PAUSE_S = 0.01
ACK_EXPIRY_S = 3600
SHARED = ("ev", "thumb", "tele")


class Consumer:
    """Call `run` under `supervise`. `on_ready` is called each time that it has subscribed.

    It keeps no session at the broker: whatever it misses was never acknowledged, so the device sends it again. It
    answers every birth with what it holds, so that a device learns at once that the centre is back.

    Members of a `group` share the work: the broker gives each event to one of them. Births are retained, which a shared
    subscription does not bring, so every member reads them all. They are one centre by one `name`: when one of them
    goes, its will says that the centre is offline, and the others say that it is not.
    """

    def __init__(
        self,
        section: Mqtt,
        store: Store,
        *,
        clock: Clock,
        on_ready: Callable[[], None],
        group: str | None = None,
        name: str = "centre",
        max_in_flight: int | None = None,
    ) -> None:
        self._store, self._clock, self._on_ready = store, clock, on_ready
        self._broker = Broker(section)
        self._group, self._name, self._max_in_flight = group, name, max_in_flight
        self._session = ""
        self._wake = asyncio.Event()
        self._told: set[tuple[str, int]] = set()  # (device, epoch) to acknowledge after the commit
        self._born: set[tuple[str, int]] = set()
        self._nacks: dict[tuple[str, int], list[topics.Nack]] = defaultdict(list)

    async def run(self) -> None:
        """One connection, from its start to its end; raises `DriverError` when the broker or the disk fails."""
        self._forget()
        self._session = str(ULID())
        will = Will(topic=topics.host(self._name), payload=self._host("offline"), delay_s=0)
        pipe = await self._broker.connect(f"centre-{self._session}", self._subscriptions(), self._wake, will=will)
        try:
            if self._group is not None and not pipe.five:
                raise DriverError(f"{self._broker.name}: a group shares its work by MQTT 5, and this is 3.1.1")
            self._say(pipe, "online")
            self._on_ready()
            while True:
                self._wake.clear()
                await self._turn(pipe)
                pipe.check()
                await self._wake.wait()
        except asyncio.CancelledError:
            self._say(pipe, "offline")
            raise
        finally:
            await pipe.close()

    def _subscriptions(self) -> list[str]:
        up = f"{topics.ROOT}/+/up"
        ours = topics.host(self._name)
        if self._group is None:
            return [f"{up}/#", ours]
        return [*(f"$share/{self._group}/{up}/{kind}/#" for kind in SHARED), f"{up}/status", ours]

    def _host(self, state: Literal["online", "offline"]) -> bytes:
        time = topics.rfc3339(self._clock.wall())
        return msgspec.json.encode(Host(state=state, sess=self._session, time=time, max_in_flight=self._max_in_flight))

    def _say(self, pipe: Pipe, state: Literal["online", "offline"]) -> None:
        """Tell every device whether there is a centre; retained."""
        pipe.publish(topics.host(self._name), self._host(state), {"ContentType": topics.JSON}, retain=True)

    async def _turn(self, pipe: Pipe) -> None:
        """Commit everything that came, a batch at a time, and acknowledge each batch after its commit."""
        pipe.pubacks.clear()
        while pipe.messages:
            await self._gather(pipe)
            batch = [pipe.messages.popleft() for _ in islice(range(BATCH), len(pipe.messages))]
            if any(self._is_denied(message) for message in batch):
                self._say(pipe, "online")
            with self._store.commit():
                for message in batch:
                    self._take(message)
            for device, epoch in self._told:
                born = (device, epoch) in self._born
                ack = self._store.ack(device, epoch, self._nacks[device, epoch], to_birth=born)
                pipe.publish(topics.ack(device), msgspec.json.encode(ack), {"MessageExpiryInterval": ACK_EXPIRY_S})
            self._forget()

    async def _gather(self, pipe: Pipe) -> None:
        """Wait while more arrives, but not for long: a commit costs the same for one event as for hundreds."""
        until_s, there = self._clock.monotonic() + BATCH_S, 0
        while there < len(pipe.messages) < BATCH and self._clock.monotonic() < until_s:
            there = len(pipe.messages)
            await self._clock.sleep(PAUSE_S)

    def _is_denied(self, message: Message) -> bool:
        """Whether somebody says that this centre is offline: a member of the group, or the late will of a dead one."""
        if message.topic != topics.host(self._name):
            return False
        try:
            return msgspec.json.decode(message.payload, type=Host).state == "offline"
        except (msgspec.DecodeError, ValueError):
            return False

    def _forget(self) -> None:
        self._told.clear()
        self._born.clear()
        self._nacks.clear()

    def _take(self, message: Message) -> None:
        try:
            self._store_one(message)
        except (msgspec.DecodeError, ValueError) as error:
            log.warning("%s: cannot be read: %s", message.topic, error)
            self._refuse(message, str(error))

    def _store_one(self, message: Message) -> None:
        match topics.split(message.topic):
            case (device, ["up", "ev", _]):
                envelope = msgspec.json.decode(message.payload, type=topics.Envelope)
                self._store.add_event(device, envelope, message.payload)
                self._told.add((device, envelope.epoch))
            case (device, ["up", "thumb", event, epoch, seq]):
                place = msgspec.convert({"epoch": epoch, "seq": seq}, topics.Place, strict=False)
                self._store.add_thumb(device, event, place.epoch, place.seq, message.payload)
                self._told.add((device, place.epoch))
            case (device, ["up", "tele", group]):
                sample = msgspec.json.decode(message.payload, type=topics.Sample)
                self._store.set_tele(device, group, sample.time, message.payload)
            case (device, ["up", "status"]):
                status = msgspec.json.decode(message.payload, type=topics.Status)
                if self._store.set_status(device, status, message.payload):
                    self._told.add((device, status.streams["ev"].epoch))
                    self._born.add((device, status.streams["ev"].epoch))

    def _refuse(self, message: Message, why: str) -> None:
        """Tell a device that an event of its can never be taken; without a place there is nothing to tell."""
        match topics.split(message.topic):
            case (device, ["up", "ev", _]):
                if (place := place_in(message.payload)) is None:
                    return
                self._nacks[device, place.epoch].append(topics.Nack(place.seq, why))
                self._told.add((device, place.epoch))


def place_in(payload: bytes) -> topics.Place | None:
    """The place of an event that cannot be read, even where it is not JSON: both stand before its `data`."""
    try:
        return msgspec.json.decode(payload, type=topics.Place)
    except (msgspec.DecodeError, ValueError):
        found = [re.search(rb'"%s"\s*:\s*(\d{1,15})[,\s}]' % name, payload) for name in (b"seq", b"epoch")]
    seq, epoch = (int(each[1]) if each else 0 for each in found)
    return topics.Place(seq=seq, epoch=epoch) if seq and epoch else None
