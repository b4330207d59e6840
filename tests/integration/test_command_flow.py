"""Every command of the contract, as its golden bytes, over a real broker: obeyed once, answered, repeated, audited."""

from __future__ import annotations

import asyncio
import json
import queue
from pathlib import Path
from typing import Any, get_args

import msgspec
import paho.mqtt.client as paho
import pytest
from contract_check import check
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_agent.config import Mqtt, Operator
from edge_agent.messages import Reply, Request
from edge_agent.runtime import Health, SystemClock
from edge_agent.uplink.mqtt import Uplink
from edge_agent.uplink.outbox import Outbox

pytestmark = pytest.mark.integration
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"
DEVICE = "EA-000123"
COMMANDS = {file.stem.removeprefix("cmd."): file.read_bytes() for file in sorted(GOLDEN.glob("cmd.*.json"))}


class Then(SystemClock):
    """The moment at which the golden commands were given."""

    def wall(self) -> float:
        return 1_795_310_290.0  # 2026-11-22T01:18:10Z


class Operators:
    """Whoever sends, and hears every answer."""

    def __init__(self, port: int) -> None:
        self.heard: queue.Queue[Any] = queue.Queue()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_message = lambda _, __, message: self.heard.put(message)
        self.client.connect("127.0.0.1", port)
        self.client.subscribe(f"ea/1/{DEVICE}/up/#", 1)
        self.client.loop_start()

    def send(self, name: str, payload: bytes) -> None:
        facts = Properties(PacketTypes.PUBLISH)
        facts.MessageExpiryInterval = 30
        self.client.publish(f"ea/1/{DEVICE}/down/cmd/{name}", payload, 1, properties=facts).wait_for_publish(10)

    def answers(self, count: int) -> dict[str, dict[str, Any]]:
        """By the command's id; each is held to the contract."""
        found: dict[str, dict[str, Any]] = {}
        while len(found) < count:
            message = self.heard.get(timeout=30)
            if message.topic.endswith("up/res"):
                check(message.topic, message.payload)
                answer = json.loads(message.payload)
                found[answer["id"]] = answer
        return found

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def test_every_command_is_obeyed_once_answered_and_recorded(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.start()
    obeyed: list[tuple[Request, str]] = []

    async def obey(request: Request, by: str) -> Reply:
        obeyed.append((request, by))
        return Reply(state="done", reason=type(request).__name__)

    clock = Then()
    outbox = Outbox(tmp_path / "events.db", device=DEVICE, max_mib=16, clock=clock)
    key = json.loads((GOLDEN / "status.json").read_text())["key"]
    wang = Operator(id="wang", name="Wang", role="admin", public_key=key, not_after="2027-01-01")
    section = Mqtt(port=broker.port, plain=True)
    facts: dict[str, Any] = {"clock": clock, "health": Health(clock), "on_command": obey, "operators": [wang]}
    uplink = Uplink(section, DEVICE, outbox, **facts)
    part = asyncio.create_task(uplink.run())
    sender = await asyncio.to_thread(Operators, broker.port)
    try:
        async with asyncio.timeout(60):
            while not uplink.connected:
                await asyncio.sleep(0.02)
            ids = {name: json.loads(payload)["id"] for name, payload in COMMANDS.items()}
            for turn in ("done", "duplicate"):
                for name, payload in COMMANDS.items():
                    await asyncio.to_thread(sender.send, name, payload)
                    told = await asyncio.to_thread(sender.answers, 1)
                    assert told[ids[name]]["state"] == turn, (name, told)
        assert [msgspec.to_builtins(request)["name"] for request, _ in obeyed] == list(COMMANDS)
        assert {type(request) for request, _ in obeyed} == set(get_args(Request))
        assert {by for _, by in obeyed} == {"operator:wang"}
        audited = [json.loads(row.body) for row in await outbox.tail(500) if row.kind == "audit"]
        assert {one["command"] for one in audited if "reply" in one} == set(ids.values())
    finally:
        sender.close()
        part.cancel()
        await asyncio.gather(part, return_exceptions=True)
        await outbox.close()
