"""Whatever comes down, on whichever topic: never an exception, and nothing changes that should not."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from contract_check import check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import config, keys
from edge_agent.canonical import signed_bytes
from edge_agent.config import Mqtt, Operator
from edge_agent.desired import Wishes
from edge_agent.messages import Reply
from edge_agent.pipe import Message
from edge_agent.runtime import Health
from edge_agent.topics import Command
from edge_agent.twin import GpsState
from edge_agent.uplink.mqtt import Uplink
from edge_agent.uplink.window import Window

KEY = keys.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ADMIN = Operator(id="li", name="li", role="admin", public_key=keys.public_text(KEY), not_after="2026-12-31")
DOWN = ("ack", "desired", "res", "cmd/fly", "cmd/say", "cmd/config", "cmd/dance", "cmd", "grant", "x/y")
BASE = config.parse(
    """data_dir = "s"
[site]
device = "D-1"
lat = 1
lon = 2
[vehicle]
type = "simulated"
[[route]]
id = "r"
waypoints = [{lat = 1.0001, lon = 2}]
[[schedule]]
id = "dusk"
route = "r"
cron = "0 20 * * *"
[mqtt]
plain = true
""",
    Path("agent.toml"),
)


class Line:
    """An uplink on a line that the test holds the other end of."""

    def __init__(self, outbox: Any, clock: Any, directory: Path) -> None:
        self.obeyed: list[Any] = []
        self.sent: list[tuple[str, dict[str, Any], bool]] = []
        self.facts: list[dict[str, Any]] = []
        self.qos: list[int] = []
        self.wishes = Wishes(directory / "desired.json", BASE)
        self.uplink = Uplink(
            Mqtt(plain=True),
            "D-1",
            outbox,
            clock=clock,
            health=Health(clock),
            on_command=self.obey,
            operators=[ADMIN],
            wishes=self.wishes,
            key="k",
        )
        self.pipe: Any = SimpleNamespace(five=True, publish=self.publish, ended=None, room=100, receive_maximum=100)
        self.uplink._pipe = self.pipe

    async def obey(self, request: Any, by: str) -> Reply:
        self.obeyed.append((request, by))
        return Reply(state="done")

    def publish(self, topic: str, body: bytes, facts: Any, *, qos: int = 1, retain: bool = False) -> int:
        check(topic, body)
        self.sent.append((topic, json.loads(body), retain))
        self.facts.append(facts)
        self.qos.append(qos)
        return len(self.sent)

    async def hear(self, topic: str, payload: bytes, retained: bool = False) -> None:
        await self.uplink._receive(
            self.pipe, Message(topic=topic, payload=payload, retained=retained, expiry_s=30, correlation=b"c")
        )
        while self.uplink._obey._running:
            self.uplink._obey.reap()
            await asyncio.sleep(0)

    async def desire(self, version: int, wanted: Any, /, **fields: Any) -> dict[str, Any]:
        sig = keys.sign(KEY, signed_bytes("D-1", id=str(version), name="desired", not_after="", by="li", args=wanted))
        document = {"version": version, "by": "li", "settings": wanted, "auth": {"kid": "li", "sig": sig}} | fields
        await self.hear("ea/1/D-1/down/desired", json.dumps(document).encode(), retained=True)
        return self.told("ea/1/D-1/up/reported")

    def told(self, topic: str) -> dict[str, Any]:
        return [body for there, body, _ in self.sent if there == topic][-1]


@pytest.fixture
def line(opened: Any, clock: Any, tmp_path: Path) -> Any:
    @asynccontextmanager
    async def open_and_close() -> AsyncIterator[Line]:
        async with opened() as outbox:
            yield Line(outbox, clock, tmp_path)

    return open_and_close


# --- commands -------------------------------------------------------------------------------------------------------


async def test_a_signed_command_is_obeyed_in_its_operators_name(line: Any, clock: Any) -> None:
    async with line() as it:
        command = Command(id="c1", name="fly", not_after="2026-11-22T01:18:33Z", by="li", args={"route": "r"})
        facts = {"id": "c1", "name": "fly", "not_after": command.not_after, "by": "li"}
        sig = keys.sign(KEY, signed_bytes("D-1", **facts, args={"route": "r"}))
        await it.hear("ea/1/D-1/down/cmd/fly", json.dumps(facts | {"args": {"route": "r"}}).encode())
        assert it.told("ea/1/D-1/up/res")["state"] == "rejected"
        signed = facts | {"args": {"route": "r"}, "auth": {"kid": "li", "sig": sig}}
        await it.hear("ea/1/D-1/down/cmd/fly", json.dumps(signed).encode())
        assert it.told("ea/1/D-1/up/res")["state"] == "done"
        assert [by for _, by in it.obeyed] == ["operator:li"]
        assert it.facts[-1]["CorrelationData"] == b"c"
        assert it.facts[-1]["UserProperty"] == [("schema", "res/1.1")]


# --- desired and reported -------------------------------------------------------------------------------------------


async def test_a_good_document_takes_effect_and_is_reported(line: Any) -> None:
    async with line() as it:
        applied: list[Any] = []
        it.wishes.apply = applied.append
        reported = await it.desire(3, {"schedules": {"dusk": {"enabled": False}}})
        assert (reported["desired_version"], reported["rejected"], reported["key"]) == (3, [], "k")
        assert reported["settings"]["schedules"] == {"dusk": {"enabled": False}}
        assert [agent.schedules[0].enabled for agent in applied] == [False]
        await it.desire(3, {"schedules": {"dusk": {"enabled": False}}})
        assert len(applied) == 1, "a retained document that comes again changes nothing"


async def test_a_bad_document_is_refused_with_path_and_reason_and_the_last_good_stays(line: Any) -> None:
    async with line() as it:
        await it.desire(3, {"mqtt": {"telemetry_period_s": 5}})
        reported = await it.desire(4, {"mqtt": {"telemetry_period_s": -5}})
        assert (reported["desired_version"], reported["rejected_version"]) == (3, 4)
        assert [one["path"] for one in reported["rejected"]] == ["mqtt.telemetry_period_s"]
        assert reported["settings"]["mqtt"] == {"telemetry_period_s": 5.0}
        assert (await it.desire(5, {}))["rejected"] == []


@pytest.mark.parametrize("changes", [{"auth": None}, {"settings": {"mqtt": {}}}, {"by": "wu"}, {"version": 9}])
async def test_a_document_that_its_signature_does_not_cover_is_refused(line: Any, changes: dict[str, Any]) -> None:
    async with line() as it:
        reported = await it.desire(3, {"mqtt": {"telemetry_period_s": 5}}, **changes)
        assert (reported["desired_version"], reported["rejected"][0]["path"]) == (0, "auth")


async def test_what_is_no_document_is_refused_and_told(line: Any) -> None:
    async with line() as it:
        for payload in (
            b"x",
            b"{}",
            b"[]",
            b"\xff",
            b"[" * 5000,
            b'{"version":0,"by":"x"}',
            b'{"version":1.5,"by":""}',
        ):
            await it.hear("ea/1/D-1/down/desired", payload)
            assert "is no desired document" in it.told("ea/1/D-1/up/reported")["rejected"][0]["why"]
        assert it.wishes.version == 0


# --- the centre -----------------------------------------------------------------------------------------------------


async def test_an_answer_reaches_who_asked_and_no_other(line: Any) -> None:
    async with line() as it:
        asking = asyncio.create_task(it.uplink.ask("time", timeout_s=5))
        await asyncio.sleep(0)
        id = it.told("ea/1/D-1/up/req/time")["id"]
        assert it.facts[-1]["ResponseTopic"] == "ea/1/D-1/down/res"
        for payload in (b"x", b'{"id":"other","state":"ok"}'):
            await it.hear("ea/1/D-1/down/res", payload)
        for _ in range(2):
            await it.hear("ea/1/D-1/down/res", json.dumps({"id": id, "state": "ok", "data": 7}).encode())
        answer = await asking
        assert (answer.state, answer.data) == ("ok", 7)
        assert await it.uplink.ask("time", timeout_s=0.01) is None


async def test_a_centre_that_wants_a_thousand_million_in_flight_gets_what_is_sensible(
    line: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with line() as it:
        said = {"state": "online", "sess": "s", "time": "t", "max_in_flight": 10**9}
        with caplog.at_level(logging.WARNING):
            await it.hear("ea/1/host/main/state", json.dumps(said).encode())
        assert "wants 1000000000 events in flight" in caplog.text
        assert it.uplink._hosts.limit() == 10_000


async def test_while_all_centres_are_offline_events_wait_but_for_one(line: Any) -> None:
    async with line() as it:
        it.pipe.max_packet_bytes = 10**6
        assert isinstance(it.uplink._window, Window)
        for n in range(5):
            await it.uplink._outbox.put("gap", b'{"reason":"x"}', id=f"e{n}")
        await it.hear("ea/1/host/main/state", b'{"state":"offline","sess":"s","time":"t"}', retained=True)
        await it.uplink._send(it.pipe)
        assert sum("/ev/" in topic for topic, _, _ in it.sent) == 1
        await it.hear("ea/1/host/main/state", b'{"state":"online","sess":"s2","time":"t"}')
        await it.uplink._send(it.pipe)
        assert sum("/ev/" in topic for topic, _, _ in it.sent) == 5


# --- states ---------------------------------------------------------------------------------------------------------


async def test_a_state_is_told_when_it_changes_and_again_to_a_new_broker(line: Any) -> None:
    async with line() as it:
        for fix in (3, 3, 0):
            it.uplink.state("gps", GpsState(fix=fix))
        assert [(body["data"], retain) for _, body, retain in it.sent] == [({"fix": 3}, True), ({"fix": 0}, True)]
        it.sent.clear()
        it.uplink._introduce(True)
        assert {topic.rsplit("/", 1)[1] for topic, _, _ in it.sent} == {"gps", "link", "reported"}


async def test_a_new_event_says_how_good_the_clock_was_and_an_old_one_that_it_is_history(line: Any, clock: Any) -> None:
    async with line() as it:
        it.pipe.max_packet_bytes = 10**6
        await it.uplink._outbox.put("gap", b'{"reason":"x"}', id="new")
        await it.uplink._send(it.pipe)
        await it.uplink._outbox.put("gap", b'{"reason":"x"}', id="old", wall_s=clock.wall() - 600)
        clock.now_s += 600
        await it.uplink._send(it.pipe)
        (_, new, _), *_, (_, old, _) = it.sent
        assert new["tq"]["src"] in ("ntp", "unsynchronised")
        assert "tq" not in old
        assert old["prev"].startswith("sha256:")
        assert [("hist", "1") in facts["UserProperty"] for facts in (it.facts[0], it.facts[-1])] == [False, True]


# --- hostile --------------------------------------------------------------------------------------------------------

NUMBERS = st.integers(-(2**70), 2**70) | st.floats()
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            *(
                "stream",
                "epoch",
                "cum",
                "sel",
                "nack",
                "all",
                "version",
                "by",
                "settings",
                "auth",
                "id",
                "name",
                "args",
            ),
            *("state", "sess", "time", "contract", "max_in_flight", "not_after", "data", "reason", "kid", "sig"),
        ]
    ),
    st.recursive(
        st.none() | st.booleans() | NUMBERS | st.text(max_size=20) | st.sampled_from(["ev", "online", "offline", "ok"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    ),
)
PAYLOADS = st.binary(max_size=120) | FIELDS.map(lambda fields: json.dumps(fields).encode())
TOPICS = st.sampled_from([*(f"ea/1/D-1/down/{name}" for name in DOWN), "ea/1/host/main/state", "ea/1/D-2/down/ack"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TOPICS, PAYLOADS), max_size=12))
async def test_hostile_bytes_on_every_down_topic_change_nothing(line: Any, said: list[tuple[str, bytes]]) -> None:
    async with line() as it:
        await it.uplink._outbox.put("gap", b'{"reason":"x"}', id="e")
        for topic, payload in said:
            await it.hear(topic, payload)
        assert it.obeyed == []
        assert it.wishes.version == 0
        assert "e" in {row.id for row in await it.uplink._outbox.tail(1000)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40))
async def test_any_topic_is_read_or_left_alone(line: Any, topic: str) -> None:
    async with line() as it:
        for text in (topic, f"ea/1/D-1/down/{topic}", f"ea/1/host/{topic}/state", f"ea/1/D-1/down/cmd/{topic}"):
            await it.hear(text, b"{}")
        assert it.obeyed == []


@pytest.mark.parametrize("asked", ["ea/1/D-1/up/status", "ea/1/D-1/down/cmd/fly", "a/+", "a/#", "", None])
async def test_no_asker_turns_an_answer_into_another_message(line: Any, asked: str | None) -> None:
    async with line() as it:
        message = Message(topic="ea/1/D-1/down/cmd/fly", payload=b"x", retained=False, expiry_s=9, response_topic=asked)
        await it.uplink._receive(it.pipe, message)
        while it.uplink._obey._running:
            it.uplink._obey.reap()
            await asyncio.sleep(0)
        assert [topic for topic, _, _ in it.sent] == ["ea/1/D-1/up/res"]


@pytest.mark.parametrize(("room", "qos"), [(100, 1), (51, 1), (50, 0), (0, 0)])
async def test_answers_leave_half_of_the_brokers_room_to_events(line: Any, room: int, qos: int) -> None:
    async with line() as it:
        it.pipe.room = room
        await it.uplink._receive(
            it.pipe, Message(topic="ea/1/D-1/down/cmd/fly", payload=b"x", retained=False, expiry_s=9)
        )
        while it.uplink._obey._running:
            it.uplink._obey.reap()
            await asyncio.sleep(0)
        assert it.qos == [qos]
