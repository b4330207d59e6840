"""The way from the outbox to the centre's disk over real brokers: whatever is killed, nothing is lost."""

import asyncio
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from contract_check import check
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.centre.consumer import Consumer
from edge_agent.centre.store import Store, events
from edge_agent.config import Mqtt
from edge_agent.messages import Fly, Land, Recall, Reply, Request, Telemetry
from edge_agent.runtime import DriverError, Health, SystemClock, supervise
from edge_agent.topics import Fault
from edge_agent.uplink import floodgate
from edge_agent.uplink.mqtt import Uplink
from edge_agent.uplink.outbox import Outbox

pytestmark = pytest.mark.integration
CLOCK = SystemClock()


def seen(n: int) -> Fault:
    """An event that is quick to make; of the kind "fault", as far as the contract is concerned."""
    return Fault(part="test", reason=str(n))


def at(n: int) -> Telemetry:
    return Telemetry(at_s=float(n), armed=False, mode="STABILIZE")


class Device:
    """An outbox and its uplink, as the agent runs them."""

    def __init__(self, directory: Path, mqtt: Mqtt) -> None:
        self.health = Health(CLOCK)
        self.obeyed: list[tuple[Request, str]] = []
        self.outbox = Outbox(directory / "events.db", device="D-1", max_mib=16, clock=CLOCK)
        self.uplink = Uplink(
            mqtt, "D-1", self.outbox, clock=CLOCK, health=self.health, on_command=self.obey, will_delay_s=1
        )

    async def obey(self, request: Request, by: str) -> Reply:
        self.obeyed.append((request, by))
        return Reply(state="accepted", run="run-1")

    async def depth(self) -> int:
        return (await self.outbox.measure()).depth


@asynccontextmanager
async def device(directory: Path, port: int, **options: Any) -> AsyncIterator[Device]:
    made = Device(directory, Mqtt(port=port, **({"plain": True, "unsigned_commands": True} | options)))
    task = asyncio.create_task(supervise("uplink", made.uplink.run, health=made.health, clock=CLOCK))
    try:
        yield made
    finally:
        await cancel(task)
        await made.outbox.close()


@asynccontextmanager
async def centre(directory: Path, port: int) -> AsyncIterator[Path]:
    store = Store(directory / "centre.db", directory / "pictures")
    consumer = Consumer(Mqtt(port=port, plain=True), store, clock=CLOCK, on_ready=lambda: None)
    task = asyncio.create_task(supervise("centre", consumer.run, health=Health(CLOCK), clock=CLOCK))
    try:
        yield directory / "centre.db"
    finally:
        await cancel(task)
        store.close()


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def until(condition: Callable[[], Any], deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        found = condition()
        if await found if asyncio.iscoroutine(found) else found:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"not so in {deadline_s:g} s")


async def put(where: Device, first: int, last: int) -> None:
    for n in range(first, last):
        await where.outbox.event("fault", seen(n), id=f"e{n}")


def stored(directory: Path) -> set[str]:
    return {event["id"] for event in events(directory / "centre.db", kind="fault", limit=100_000)}


async def drained(where: Device) -> None:
    async def empty() -> bool:
        return await where.depth() == 0

    await until(empty, 20.0)


def names(first: int, last: int) -> set[str]:
    return {f"e{n}" for n in range(first, last)}


# --- nothing is lost ------------------------------------------------------------------------------------------------


async def test_events_from_before_the_broker_was_there_arrive(broker: Any, tmp_path: Path) -> None:
    async with device(tmp_path, broker.port) as sender, centre(tmp_path, broker.port):
        await put(sender, 0, 50)
        assert not sender.uplink.connected
        broker.start()
        await drained(sender)
    assert stored(tmp_path) == names(0, 50)


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(broker: Any, tmp_path: Path) -> None:
    broker.start()
    async with device(tmp_path, broker.port) as sender, centre(tmp_path, broker.port):
        await put(sender, 0, 100)
        broker.kill()
        await put(sender, 100, 200)
        broker.start()
        await drained(sender)
    assert stored(tmp_path) == names(0, 200)


async def test_a_centre_that_was_away_misses_nothing_and_is_soon_up_to_date(broker: Any, tmp_path: Path) -> None:
    broker.start()
    async with device(tmp_path, broker.port) as sender:
        async with centre(tmp_path, broker.port):
            await put(sender, 0, 20)
            await drained(sender)
        await put(sender, 20, 220)
        assert await sender.depth() == 200
        async with centre(tmp_path, broker.port):
            await drained(sender)
    assert stored(tmp_path) == names(0, 220)


AGENT = """
import asyncio, sys
from pathlib import Path
import msgspec
from edge_agent.config import Mqtt
from edge_agent.messages import Reply
from edge_agent.runtime import Health, SystemClock, supervise
from edge_agent.uplink.mqtt import Uplink
from edge_agent.uplink import floodgate
from edge_agent.uplink.outbox import Outbox
from edge_agent.topics import Fault

async def obey(request, by):
    print("obeying", flush=True)
    await asyncio.sleep(3600)
    return Reply(state="done")

async def main(file, port, version, first, last):
    clock = SystemClock()
    health = Health(clock)
    outbox = Outbox(Path(file), device="D-1", max_mib=16, clock=clock)
    mqtt = Mqtt(port=int(port), plain=True, unsigned_commands=True, version=version)
    uplink = Uplink(mqtt, "D-1", outbox, clock=clock, health=health, on_command=obey, will_delay_s=1)
    async with asyncio.TaskGroup() as group:
        group.create_task(supervise("uplink", uplink.run, health=health, clock=clock))
        for n in range(int(first), int(last)):
            await outbox.event("fault", Fault(part="test", reason=str(n)), id=f"e{n}")
            print(f"e{n}", flush=True)
            await asyncio.sleep(0.002)

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def agent(directory: Path, port: int, version: str = "auto", first: int = 0, last: int = 0) -> Iterator[Any]:
    """An agent of its own process, for the test to kill."""
    command = [sys.executable, "-c", AGENT, str(directory / "events.db"), str(port), version, str(first), str(last)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        assert child.stdout
        child.stdout.close()


async def test_an_agent_that_is_killed_loses_nothing_that_it_wrote_down(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    told: set[str] = set()
    async with centre(tmp_path, broker.port):
        for life in range(3):
            with agent(tmp_path, broker.port, first=life * 1000, last=life * 1000 + 1000) as child:
                for _ in range(120):
                    told.add((await asyncio.to_thread(child.stdout.readline)).strip())
        async with device(tmp_path, broker.port) as sender:
            await drained(sender)
    assert len(told) == 360
    assert told <= stored(tmp_path)


async def test_with_ack_broker_events_go_once_the_broker_has_them(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    async with device(tmp_path, broker.port, ack="broker") as sender:
        await put(sender, 0, 50)
        await drained(sender)


async def test_with_ack_centre_a_puback_deletes_nothing(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    async with device(tmp_path, broker.port) as sender, peer(broker.port, "ea/1/D-1/up/ev/#") as other:
        await put(sender, 0, 10)
        for _ in range(10):
            await asyncio.to_thread(other.get)
        assert await sender.depth() == 10


async def test_a_picture_arrives_beside_its_event(broker: Any, tmp_path: Path) -> None:
    broker.start()
    async with device(tmp_path, broker.port) as sender, centre(tmp_path, broker.port):
        await sender.outbox.event("fault", seen(1), id="01JD8Z5C2Q", thumb=b"\xff\xd8\x00jpeg\xff\xd9")
        await drained(sender)
    assert (tmp_path / "pictures" / "D-1-01JD8Z5C2Q.jpg").read_bytes() == b"\xff\xd8\x00jpeg\xff\xd9"


# --- brokers that refuse --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_packet_size 4000", "message_size_limit 4000"])
async def test_one_event_too_large_for_the_broker_does_not_stop_the_others(
    mosquitto: Any, tmp_path: Path, limit: str
) -> None:
    broker = mosquitto(limit)
    broker.start()
    async with device(tmp_path, broker.port) as sender, centre(tmp_path, broker.port):
        await put(sender, 0, 5)
        await sender.outbox.put("fault", json.dumps({"part": "test", "reason": "x" * 5000}).encode(), id="poison")
        await put(sender, 5, 10)
        await drained(sender)
        assert (await sender.outbox.measure()).quarantined == 1
    assert stored(tmp_path) == names(0, 10)
    [gap] = events(tmp_path / "centre.db", kind="gap")
    assert (gap["data"]["first"], gap["data"]["last"]) == (6, 6)


async def test_an_event_that_the_access_list_forbids_is_a_fault_and_stays(mosquitto: Any, tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text(
        "topic write ea/1/D-1/up/status\ntopic write ea/1/D-1/up/ev/fault\n"
        "topic read ea/1/#\ntopic write ea/1/D-1/down/ack\n"
    )
    broker = mosquitto(f"acl_file {acl}")
    broker.start()
    async with device(tmp_path, broker.port) as sender, centre(tmp_path, broker.port):
        await sender.outbox.put("gap", b'{"reason":"test"}', id="forbidden")
        await until(lambda: "(0x87)" in sender.health.state.get("uplink.access", ""))
        await put(sender, 0, 5)
        await until(lambda: stored(tmp_path) == names(0, 5))

        async def nothing_to_send() -> bool:
            return [row.id for row in await sender.outbox.take(10)] == []

        await until(nothing_to_send)  # the forbidden one is put off
        assert (await sender.outbox.measure()).depth >= 1


async def test_a_wrong_password_is_a_clear_error(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto("allow_anonymous false")
    broker.start()
    async with device(tmp_path, broker.port) as sender:
        await until(lambda: "Not authorized" in sender.health.state.get("uplink", ""))


# --- status ---------------------------------------------------------------------------------------------------------


class Peer:
    """Whoever else is on the broker; knows nothing of edge-agent."""

    def __init__(self, client: paho.Client, inbox: queue.Queue[paho.MQTTMessage], five: bool) -> None:
        self.client, self._inbox, self.five = client, inbox, five

    def get(self, deadline_s: float = 30.0) -> paho.MQTTMessage:
        message = self._inbox.get(timeout=deadline_s)
        if message.topic.startswith("ea/"):
            check(message.topic, message.payload)
        return message

    def json(self, deadline_s: float = 30.0) -> Any:
        return json.loads(self.get(deadline_s).payload)

    def empty(self) -> bool:
        return self._inbox.empty()

    def ask(self, name: str, *, properties: Properties | None = None, retain: bool = False, **fields: Any) -> None:
        soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
        wanted = {"name": name, "by": "op", "not_after": soon, "args": {}} | fields
        self.publish(f"ea/1/D-1/down/cmd/{name}", json.dumps(wanted), retain, properties)

    def publish(
        self, topic: str, body: str | bytes, retain: bool = False, properties: Properties | None = None
    ) -> None:
        """With the expiry that a command by MQTT 5 must have."""
        if self.five:
            properties = properties or Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = 60
        self.client.publish(topic, body, 1, retain, properties if self.five else None)


@asynccontextmanager
async def peer(port: int, *topics: str, version: int = paho.MQTTv5) -> AsyncIterator[Peer]:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=version)
    inbox: queue.Queue[paho.MQTTMessage] = queue.Queue()
    ready: queue.Queue[None] = queue.Queue()
    client.on_message = lambda _, __, message: inbox.put(message)
    client.on_connect = lambda *_: client.subscribe([(topic, 1) for topic in topics])
    client.on_subscribe = lambda *_: ready.put(None)
    client.connect("127.0.0.1", port)
    client.loop_start()
    await asyncio.to_thread(ready.get, timeout=30)
    try:
        yield Peer(client, inbox, version == paho.MQTTv5)
    finally:
        client.disconnect()
        await asyncio.to_thread(client.loop_stop)


async def status(port: int) -> Any:
    """What a newcomer is told: the retained status. Who came before it was published hears it as it is published."""
    for _ in range(10):
        async with peer(port, "ea/1/D-1/up/status") as newcomer:
            message = await asyncio.to_thread(newcomer.get)
        if message.retain:
            return json.loads(message.payload)
    raise AssertionError("the status is not retained")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_the_retained_status_tells_birth_clean_stop_and_loss(
    mosquitto: Any, tmp_path: Path, version: str
) -> None:
    broker = mosquitto()
    broker.start()
    async with device(tmp_path, broker.port, version=version) as sender:
        await until(lambda: sender.uplink.connected)
        birth = await status(broker.port)
        assert (birth["state"], birth["contract"]) == ("online", "1")
        assert birth["streams"]["ev"] == {
            "epoch": sender.outbox.epoch,
            "next": 1,
            "acked": 0,
            "depth": 0,
            "oldest_s": 0.0,
        }
    goodbye = await status(broker.port)
    assert (goodbye["state"], goodbye["reason"], goodbye["sess"]) == ("offline", "stopped", birth["sess"])
    async with peer(broker.port, "ea/1/D-1/up/status") as other:
        await asyncio.to_thread(other.get)  # the retained one
        with agent(tmp_path, broker.port, version) as child:
            birth = await asyncio.to_thread(other.json)
            child.send_signal(signal.SIGKILL)
            will = await asyncio.to_thread(other.json)
    assert (will["state"], will["reason"], will["sess"]) == ("offline", "lost", birth["sess"])
    assert await status(broker.port) == will


async def test_telemetry_is_paced_and_never_queued(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    async with device(tmp_path, broker.port, telemetry_period_s=0.2) as sender:
        sender.uplink.telemetry("pos", at(0))
        broker.start()
        await until(lambda: sender.uplink.connected)
        async with peer(broker.port, "ea/1/D-1/up/tele/pos") as other:
            began, n = time.monotonic(), 0
            while time.monotonic() - began < 1.0:
                n += 1
                sender.uplink.telemetry("pos", at(n))
                await asyncio.sleep(0.005)
            first = await asyncio.to_thread(other.json)
            assert first["data"]["at_s"] >= 1
            count = 1
            while not other.empty():
                other.get()
                count += 1
            assert 3 <= count <= 6


# --- commands -------------------------------------------------------------------------------------------------------


async def test_a_command_is_obeyed_once_and_a_repeat_gets_the_recorded_answer(broker: Any, tmp_path: Path) -> None:
    broker.start()
    version = paho.MQTTv311 if "--embedded" in broker.command else paho.MQTTv5
    async with device(tmp_path, broker.port) as sender, peer(broker.port, "ea/1/D-1/up/res", version=version) as other:
        await until(lambda: sender.uplink.connected)
        other.ask("fly", id="c1", args={"route": "r"})
        answer = await asyncio.to_thread(other.json)
        assert (answer["id"], answer["state"], answer["run"]) == ("c1", "accepted", "run-1")
        other.ask("fly", id="c1", args={"route": "r"})
        answer = await asyncio.to_thread(other.json)
        assert (answer["id"], answer["state"], answer["recorded"]["state"]) == ("c1", "duplicate", "accepted")
        assert answer["recorded"]["run"] == "run-1"
        assert sender.obeyed == [(Fly(route="r"), "unsigned:op")]
        audits = [row.body for row in await sender.outbox.take(10) if row.kind == "audit"]
        assert [b'"duplicate"' in body for body in audits] == [False, True]


async def test_a_disk_that_fails_refuses_a_flight_but_never_the_way_home(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> bool:
        raise DriverError("events.db: disk I/O error")

    broker = mosquitto()
    broker.start()
    async with device(tmp_path, broker.port) as sender, peer(broker.port, "ea/1/D-1/up/res") as other:
        await until(lambda: sender.uplink.connected)
        monkeypatch.setattr(sender.outbox, "claim", fail)
        other.ask("fly", id="c1", args={"route": "r"})
        answer = await asyncio.to_thread(other.json)
        assert (answer["state"], sender.obeyed) == ("failed", [])
        assert "disk I/O error" in answer["reason"]
        for name, request in (("recall", Recall()), ("land", Land())):
            other.ask(name, id=name)
            assert (await asyncio.to_thread(other.json))["state"] == "accepted"
            assert sender.obeyed.pop() == (request, "unsigned:op")


async def test_a_command_that_is_late_or_wrong_is_refused(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    async with device(tmp_path, broker.port) as sender, peer(broker.port, "ea/1/D-1/up/res") as other:
        await until(lambda: sender.uplink.connected)
        for fields, state, word in (
            ({"id": "c1", "not_after": "2020-01-01T00:00:00Z"}, "expired", "ago"),
            ({"id": "c2", "not_after": None}, "rejected", "not_after"),
            ({"id": "c3", "args": {"route": 7}}, "rejected", "route"),
            ({"id": None}, "rejected", "`id`"),
        ):
            other.ask("fly", **fields)
            answer = await asyncio.to_thread(other.json)
            assert (answer["id"], answer["state"]) == (fields["id"], state)
            assert word in answer["reason"]
        other.publish("ea/1/D-1/down/cmd/fly", os.urandom(200))
        assert (await asyncio.to_thread(other.json))["state"] == "rejected"


async def test_under_a_flood_of_commands_only_the_way_home_is_heard_for_a_while(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floodgate, "BURST", 50)
    monkeypatch.setattr(floodgate, "SHUT_S", 3.0)
    broker = mosquitto()
    broker.start()
    async with device(tmp_path, broker.port) as sender, peer(broker.port, "ea/1/D-1/up/res") as other:
        reached: queue.Queue[int] = queue.Queue()
        other.client.on_publish = lambda _, __, ___, reason, ____: reached.put(reason.value)
        await until(lambda: sender.uplink.connected)
        for _ in range(100):
            other.publish("ea/1/D-1/down/cmd/say", b"garbage")
        nobody_listens = 0x10  # MQTT 5, 3.4.2.1: "No matching subscribers"
        await until(lambda: reached.get(timeout=10) == nobody_listens or other.publish("ea/1/D-1/down/cmd/say", b"x"))
        assert "deaf" in sender.health.state["uplink.commands"]
        other.ask("recall", id="home")
        await until(lambda: (Recall(), "unsigned:op") in sender.obeyed)
        await until(lambda: sender.health.state["uplink.commands"] == "running")
        assert sender.health.counts["commands.dropped"] > 0
        for _ in range(50):  # until the broker has taken the subscription
            other.ask("fly", id="c1", args={"route": "r"})
            await asyncio.sleep(0.2)
            if (Fly(route="r"), "unsigned:op") in sender.obeyed:
                break
        assert sender.obeyed.count((Fly(route="r"), "unsigned:op")) == 1
        audits = [json.loads(row.body) for row in await sender.outbox.tail(500) if row.kind == "audit"]
        assert [audit["name"] for audit in audits if "commands a second" in str(audit.get("reason"))] == ["+"]


async def test_a_command_that_was_left_lying_at_the_broker_is_refused(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    async with peer(broker.port, "ea/1/D-1/up/res") as other:
        other.ask("fly", id="c1", args={"route": "r"}, retain=True)
        async with device(tmp_path, broker.port) as sender:
            answer = await asyncio.to_thread(other.json)
            assert (answer["id"], answer["state"]) == ("c1", "rejected")
            assert "retained" in answer["reason"]
            assert sender.obeyed == []


async def test_mqtt_5_answers_go_where_they_were_asked_for(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    async with device(tmp_path, broker.port) as sender, peer(broker.port, "desk/7", version=paho.MQTTv5) as other:
        await until(lambda: sender.uplink.connected)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData = "desk/7", b"\x00\x01corr"
        other.ask("recall", id="c1", properties=properties)
        message = await asyncio.to_thread(other.get)
        assert message.properties.CorrelationData == b"\x00\x01corr"
        assert json.loads(message.payload)["state"] == "accepted"


async def test_a_command_that_a_kill_interrupted_is_never_run_again(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    async with peer(broker.port, "ea/1/D-1/up/#") as other:
        with agent(tmp_path, broker.port) as child:
            assert (await asyncio.to_thread(other.json))["state"] == "online"
            other.ask("recall", id="c1")
            assert await asyncio.to_thread(child.stdout.readline) == "obeying\n"
            child.send_signal(signal.SIGKILL)
        async with device(tmp_path, broker.port) as sender:
            await until(lambda: sender.uplink.connected)
            async with peer(broker.port, "ea/1/D-1/up/res") as asker:
                asker.ask("recall", id="c1")
                answer = await asyncio.to_thread(asker.json)
            assert (answer["state"], answer["recorded"]["state"]) == ("duplicate", "failed")
            assert "interrupted" in answer["recorded"]["reason"]
            assert sender.obeyed == []


# --- TLS ------------------------------------------------------------------------------------------------------------


async def test_tls_lets_in_who_has_a_certificate_and_trusts_only_its_ca(mosquitto: Any, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, cwd=tmp_path, capture_output=True)

    for ca in ("ca", "other"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}"),
        )
    (tmp_path / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("localhost", "D-1"):
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "san", "-out", f"{name}.pem"),
        )
    broker = mosquitto(
        *(f"cafile {tmp_path}/ca.pem", f"certfile {tmp_path}/localhost.pem", f"keyfile {tmp_path}/localhost.key"),
        *("require_certificate true", "use_identity_as_username true", "allow_anonymous false"),
    )
    broker.start()
    ours = {"cert_file": tmp_path / "D-1.pem", "key_file": tmp_path / "D-1.key", "plain": False}
    async with device(tmp_path, broker.port, ca_file=tmp_path / "ca.pem", ack="broker", **ours) as sender:
        await put(sender, 0, 5)
        await drained(sender)
    async with device(tmp_path, broker.port, ca_file=tmp_path / "other.pem", **ours) as sender:
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in sender.health.state.get("uplink", ""))


# --- the broker's helper --------------------------------------------------------------------------------------------


def test_the_broker_says_when_it_is_ready_and_ends_with_its_process(broker: Any) -> None:
    with subprocess.Popen(broker.command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        taken = subprocess.run(broker.command, capture_output=True, text=True, timeout=20, check=False)
        assert (taken.returncode, "is taken" in taken.stderr) == (1, True)
        child.kill()
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", broker.port)) != 0


# --- the command line -----------------------------------------------------------------------------------------------


async def test_the_centre_of_the_command_line_stores_lists_and_sends(broker: Any, tmp_path: Path) -> None:
    broker.start()

    async def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "edge_agent", "centre", *arguments]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout

    port, db = ("--port", str(broker.port)), ("--db", str(tmp_path / "centre.db"))
    command = [sys.executable, "-m", "edge_agent", "centre", "run", *port, *db]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout
        try:
            assert await asyncio.to_thread(child.stdout.readline) == "ready\n"
            async with device(tmp_path, broker.port) as sender:
                await put(sender, 0, 3)
                await drained(sender)
                fly = ("send", *port, "--device", "D-1", "--by", "op", "fly", "--arg", "route=r")
                assert await run(*fly, "--id", "c1") == (0, "accepted (run run-1)\n")
                code, told = await run(*fly, "--id", "c1", "--json")
                assert (code, json.loads(told)["state"]) == (1, "duplicate")
                assert sender.obeyed == [(Fly(route="r"), "unsigned:op")]
            assert await run("send", *port, "--device", "D-2", "land", "--expires-s", "0.5") == (75, "")
        finally:
            child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    code, told = await run("list", *db)
    assert code == 0
    assert re.findall(r"D-1  ev\.fault    (e\d)", told) == ["e0", "e1", "e2"]
    code, told = await run("list", *db, "--json", "--kind", "audit")
    assert [json.loads(line)["data"]["command"] for line in told.splitlines()] == ["c1", "c1"]
