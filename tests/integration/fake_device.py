"""A device as the contract describes it, written with paho alone: sends events again until they are acknowledged."""

import json
import ssl
import threading
import time
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as paho
from contract_check import check
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

INCIDENT = {
    "kind": "dwell",
    "rule": "no-parking",
    "camera": "cam0",
    "zone": "fire lane",
    "track": 17,
    "label": "car",
    "score": 0.91,
    "box": [10.0, 20.0, 110.0, 90.0],
    "began_s": 1_795_310_000.0,
    "wall_s": 1_795_310_060.0,
    "at_s": 81_233.4,
    "lasted_s": 60.0,
    "frame": 900,
    "plate": {"text": "沪A12345", "confidence": 0.97, "box": [40.0, 70.0, 70.0, 80.0], "votes": 9},
    "picture": {"path": "/data/incidents/e1.jpg", "sha256": "ab" * 32, "bytes": 1000, "width": 640, "height": 360},
}
POSITION = {
    "at_s": 81_233.4,
    "armed": True,
    "mode": "AUTO",
    "landed": False,
    "lat": 31.2304,
    "lon": 121.4737,
    "alt_m": 55.2,
    "alt_msl_m": 59.7,
    "speed_mps": 4.5,
    "heading_deg": 270.0,
    "battery_pct": 71.0,
    "battery_v": 22.9,
    "gps_fix": 3,
    "satellites": 14,
    "home_lat": 31.23,
    "home_lon": 121.47,
    "mission_seq": 2,
    "mission_total": 7,
}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class FakeDevice:
    """Keeps an event until an acknowledgement names its place; `step` sends what is due, at most `window`.

    What it publishes and what it is sent is held to the contract; `strict = False` lets it send what a newer one would.
    """

    strict = True

    def __init__(
        self, port: int, name: str = "D-1", *, window: int = 200, context: ssl.SSLContext | None = None
    ) -> None:
        self.name, self.epoch, self.window, self.again_s = name, 7, window, 1.0
        self.next, self.sends = 1, 0
        self.acks: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self.reply: dict[str, Any] = {"state": "done"}
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[str, bytes, float]] = {}  # seq -> topic, body, due
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5, reconnect_on_failure=True
        )
        self.client.on_connect = lambda client, *_: client.subscribe([(f"ea/1/{name}/down/#", 1)])
        self._subscribed = threading.Event()
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        if context is not None:
            self.client.tls_set_context(context)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._subscribed.wait(5)

    def __enter__(self) -> "FakeDevice":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    @property
    def depth(self) -> int:
        return len(self._kept)

    def birth(self, state: str = "online", sess: str = "s1", **facts: Any) -> None:
        stream = {"epoch": self.epoch, "next": self.next, "acked": 0, "depth": self.depth, "oldest_s": 0.0}
        status = {
            "state": state,
            "sess": sess,
            "time": now(),
            "sw": "0.1.0",
            "contract": "1",
            "streams": {"ev": stream},
        }
        self._publish("up/status", {**status, **facts}, retain=True)

    def tele(self, group: str = "pos", **facts: Any) -> None:
        self._publish(f"up/tele/{group}", {"time": now(), "boot": "b", "data": {**POSITION, **facts}}, qos=0)

    def event(self, kind: str, data: Any, id: str | None = None) -> int:
        with self._lock:
            seq, self.next = self.next, self.next + 1
        envelope = {"specversion": "1.0", "id": id or f"{self.name}-e{seq}", "source": f"ea/{self.name}"}
        envelope |= {"type": f"ev.{kind}", "time": now(), "seq": seq, "epoch": self.epoch, "boot": "b", "data": data}
        self.keep(f"ea/1/{self.name}/up/ev/{kind}", seq, json.dumps(envelope, ensure_ascii=False).encode())
        return seq

    def incident(self, id: str, **facts: Any) -> int:
        return self.event("det", {"id": id, **INCIDENT, **facts}, id)

    def thumb(self, event: str, jpeg: bytes) -> int:
        with self._lock:
            seq, self.next = self.next, self.next + 1
        self.keep(f"ea/1/{self.name}/up/thumb/{event}/{self.epoch}/{seq}", seq, jpeg)
        return seq

    def keep(self, topic: str, seq: int, body: bytes) -> None:
        with self._lock:
            self._kept[seq] = (topic, body, 0.0)

    def step(self) -> None:
        """Send what is due, newest window first in, oldest first out."""
        with self._lock:
            due = [(seq, *kept) for seq, kept in list(self._kept.items())[: self.window] if kept[2] <= time.monotonic()]
            for seq, topic, body, _ in due:
                self._kept[seq] = (topic, body, time.monotonic() + self.again_s)
        for _, topic, body, _ in due:
            self.sends += 1
            if self.strict:
                check(topic, body)
            self.client.publish(topic, body, qos=1)

    def drain(self, deadline_s: float = 20.0) -> None:
        """Send until all is acknowledged."""
        deadline = time.monotonic() + deadline_s
        while self._kept:
            assert time.monotonic() < deadline, f"{self.depth} events are not acknowledged"
            self.step()
            time.sleep(0.01)

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        body = json.loads(message.payload)
        match message.topic.split("/")[4:]:
            case ["ack"]:
                check(message.topic, message.payload)
                self.acks.append(body)
                ranges = [[0, body["cum"]], *body.get("sel", [])]
                if body["epoch"] == self.epoch:
                    with self._lock:
                        for seq in [s for s in self._kept if any(first <= s <= last for first, last in ranges)]:
                            del self._kept[seq]
            case ["cmd", _]:
                check(message.topic, message.payload)
                self.commands.append(body)
                topic = getattr(message.properties, "ResponseTopic", None) or f"ea/1/{self.name}/up/res"
                facts = Properties(PacketTypes.PUBLISH)
                if correlation := getattr(message.properties, "CorrelationData", None):
                    facts.CorrelationData = correlation
                answer = json.dumps({"id": body["id"], "time": now(), **self.reply}).encode()
                check(f"ea/1/{self.name}/up/res", answer)
                self.client.publish(topic, answer, qos=1, properties=facts)

    def _publish(self, tail: str, body: dict[str, Any], *, qos: int = 1, retain: bool = False) -> None:
        topic, payload = f"ea/1/{self.name}/{tail}", json.dumps(body).encode()
        check(topic, payload)
        info = self.client.publish(topic, payload, qos=qos, retain=retain)
        info.wait_for_publish(5)
