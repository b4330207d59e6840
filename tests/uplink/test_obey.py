"""A command is carried out once and followed to its end; what is refused uses up nothing, and is written down."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from contract_check import check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.messages import Reply, Request
from edge_agent.pipe import Message
from edge_agent.runtime import DriverError, Health
from edge_agent.topics import rfc3339
from edge_agent.uplink import commands, obey
from edge_agent.uplink.obey import Asker, Obey
from edge_agent.uplink.outbox import Outbox
from edge_agent.uplink.signing import Signatures


class Desk:
    """Whoever carries commands out, and what was answered to whom."""

    def __init__(self, outbox: Outbox, clock: Any, unsigned: bool = True) -> None:
        self.outbox, self.clock = outbox, clock
        self.carried_out: list[Request] = []
        self.reply = Reply(state="accepted", run="run-1")
        self.wait: asyncio.Event | None = None
        self.answers: list[dict[str, Any]] = []
        self.askers: list[Asker] = []
        self.health = Health(clock)
        signatures = Signatures("D-1", (), unsigned=unsigned)
        self.obey = Obey(
            outbox, signatures, clock=clock, health=self.health, on_command=self.carry_out, publish=self.publish
        )

    async def carry_out(self, request: Request, by: str) -> Reply:
        self.carried_out.append(request)
        if self.wait is not None:
            await self.wait.wait()
        return self.reply

    def publish(self, asker: Asker, body: bytes) -> None:
        check("ea/1/D-1/up/res", body)
        self.answers.append(json.loads(body))
        self.askers.append(asker)

    def send(self, id: str = "c1", name: str = "recall", expiry_s: int | None = 30, **fields: Any) -> None:
        body = {"id": id, "name": name, "by": "op", "args": {}, "not_after": rfc3339(self.clock.wall() + 30)} | fields
        self.take(name, json.dumps(body).encode(), expiry_s)

    def take(self, name: str, body: bytes, expiry_s: int | None = 30) -> None:
        message = Message(topic="t", payload=body, retained=False, expiry_s=expiry_s, correlation=b"c")
        self.obey.take(name, message, five=True, wake=lambda: None)

    async def settled(self) -> None:
        end = time.monotonic() + 10
        while self.obey._running:
            assert time.monotonic() < end
            self.obey.reap()
            await asyncio.sleep(0.001)

    def states(self, id: str | None = "c1") -> list[str]:
        return [answer["state"] for answer in self.answers if answer["id"] == id]

    async def audits(self) -> list[dict[str, Any]]:
        return [json.loads(row.body) for row in await self.outbox.tail(1000) if row.kind == "audit"]


@pytest.fixture
def desk(opened: Any, clock: Any) -> Any:
    @asynccontextmanager
    async def open_and_close(**options: Any) -> AsyncIterator[Desk]:
        async with opened() as outbox:
            yield Desk(outbox, clock, **options)

    return open_and_close


# --- the life of a command --------------------------------------------------------------------------------------------


async def test_accepted_then_progress_then_done_under_one_id_and_to_one_asker(desk: Any) -> None:
    async with desk() as d:
        d.send()
        await d.settled()
        await d.obey.tell("run-1", Reply(state="progress", phase="climb", run="run-1"))
        await d.obey.tell("run-1", Reply(state="done", reason="landed", run="run-1"))
        await d.obey.tell("run-1", Reply(state="failed", reason="too late"))
        assert d.states() == ["accepted", "progress", "done"]
        assert set(d.askers) == {Asker(None, b"c")}


async def test_a_repeat_gets_the_newest_recorded_answer_and_nothing_is_carried_out_again(desk: Any) -> None:
    async with desk() as d:
        d.send()
        await d.settled()
        d.send()
        await d.settled()
        assert d.answers[-1]["recorded"]["state"] == "accepted"
        await d.obey.tell("run-1", Reply(state="failed", reason="the battery", run="run-1"))
        d.send()
        await d.settled()
        assert (d.answers[-1]["state"], d.answers[-1]["recorded"]["reason"]) == ("duplicate", "the battery")
        assert len(d.carried_out) == 1


async def test_what_happens_before_the_answer_is_published_is_told_after_it(desk: Any) -> None:
    async with desk() as d:

        async def carry_out(request: Request, by: str) -> Reply:
            asyncio.get_running_loop().call_soon(lambda: told.append(asyncio.ensure_future(d.obey.tell("r", last))))
            return Reply(state="accepted", run="r")

        told: list[Any] = []
        last = Reply(state="done", run="r")
        d.obey._on_command = carry_out
        d.send()
        await d.settled()
        await asyncio.gather(*told)
        assert d.states() == ["accepted", "done"]
        assert (await d.outbox.answered("c1")).state == "done"


async def test_fly_and_recall_wait_for_the_same_run(desk: Any) -> None:
    async with desk() as d:
        d.send("c1", "fly", args={"route": "r"})
        d.send("c2", "recall")
        await d.settled()
        await d.obey.tell("run-1", Reply(state="done", run="run-1"))
        assert d.states("c1") == d.states("c2") == ["accepted", "done"]


async def test_a_flight_goes_on_over_a_restart_and_a_text_does_not(opened: Any, clock: Any) -> None:
    async with opened() as outbox:
        d = Desk(outbox, clock)
        d.send("c1", "fly", args={"route": "r"})
        await d.settled()
        d.reply = Reply(state="accepted", run="announcement-1")
        d.send("c2", "say", args={"text": "x"})
        await d.settled()
    async with opened() as outbox:
        assert outbox.under_way == [("c1", "fly", "unsigned:op", "run-1")]
        assert (await outbox.answered("c2")) == commands.INTERRUPTED
        d = Desk(outbox, clock)
        d.obey.resume(*outbox.under_way[0])
        await d.obey.tell("run-1", Reply(state="done", reason="landed", run="run-1"))
        assert d.states("c1") == ["done"]
    async with opened() as outbox:
        assert outbox.under_way == []
        assert (await outbox.answered("c1")).reason == "landed"


async def test_commands_beyond_the_cap_are_forgotten_oldest_first(opened: Any, clock: Any) -> None:
    async with opened() as outbox:
        for n in range(10):
            await outbox.claim(f"c{n}", "say", "op")
            clock.wall_s += 1
        await outbox._do(lambda: outbox._store.forget(clock.wall(), most=3))
        fresh = [await outbox.claim(f"c{n}", "say", "op") for n in range(10)]
        assert fresh == [True] * 7 + [False] * 3


# --- refused ----------------------------------------------------------------------------------------------------------


async def test_a_command_without_expiry_is_refused_where_mqtt_could_have_carried_one(desk: Any) -> None:
    async with desk() as d:
        d.send(expiry_s=None)
        await d.settled()
        assert d.states() == ["rejected"]
        assert "Message Expiry Interval" in d.answers[0]["reason"]
        assert d.carried_out == []


async def test_a_refused_command_is_audited_and_its_id_is_still_good(desk: Any) -> None:
    async with desk(unsigned=False) as d:
        d.send("c1", "fly", args={"route": "r"})
        await d.settled()
        [audit] = await d.audits()
        assert (audit["command"], audit["name"], audit["by"], audit["state"]) == ("c1", "fly", "op", "rejected")
        assert "unsigned" in audit["reason"]
        assert await d.outbox.claim("c1", "fly", "op")


async def test_an_expiry_beyond_what_is_remembered_is_refused(desk: Any, clock: Any) -> None:
    async with desk() as d:
        d.send(not_after=rfc3339(clock.wall() + commands.MAX_AHEAD_S + 60))
        await d.settled()
        assert "24 h" in d.answers[0]["reason"]


async def test_a_replayed_command_is_audited(desk: Any) -> None:
    async with desk() as d:
        for _ in range(2):
            d.send()
            await d.settled()
        assert [audit.get("state", "answered") for audit in await d.audits()] == ["answered", "duplicate"]


async def test_a_flood_of_refusals_is_counted_and_costs_few_events(desk: Any, clock: Any) -> None:
    async with desk() as d:
        for n in range(5000):
            d.take("fly", b"garbage %d" % n)
        await d.settled()
        assert len(await d.audits()) == len(d.answers) == obey.REFUSALS
        assert d.health.counts["commands.refused"] == 5000
        clock.now_s += 60
        d.take("fly", b"once more")
        await d.settled()
        assert sum(audit["more"] for audit in await d.audits()) == 5000 - obey.REFUSALS


async def test_while_too_many_run_only_the_way_home_is_open(desk: Any) -> None:
    async with desk() as d:
        d.wait = asyncio.Event()
        for n in range(obey.MAX_RUNNING):
            d.send(f"c{n}", "say", args={"text": "x"})
        while len(d.carried_out) < obey.MAX_RUNNING:
            await asyncio.sleep(0.001)
        d.send("more", "fly", args={"route": "r"})
        d.send("home", "recall")
        while len(d.carried_out) < obey.MAX_RUNNING + 1:
            await asyncio.sleep(0.001)
        d.wait.set()
        await d.settled()
        assert (d.states("more"), d.states("home")) == (["rejected"], ["accepted"])


async def test_a_disk_that_fails_refuses_all_but_the_way_home(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise DriverError("events.db: disk I/O error")

    async with desk() as d:
        for name in ("claim", "answer", "event"):
            monkeypatch.setattr(d.outbox, name, fail)
        d.send("c1", "fly", args={"route": "r"})
        d.send("c2", "recall")
        d.take("fly", b"garbage")
        await d.settled()
        assert (d.states("c1"), d.states("c2"), d.states(None)) == (["failed"], ["accepted"], ["rejected"])
        assert [type(request).__name__ for request in d.carried_out] == ["Recall"]


# --- hostile ----------------------------------------------------------------------------------------------------------

FIELDS = st.dictionaries(
    st.sampled_from(["id", "name", "args", "not_after", "by", "auth", "x"]),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=30)
        | st.sampled_from(["fly", "say"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=200) | FIELDS.map(lambda fields: json.dumps(fields).encode()), max_size=8))
async def test_whatever_comes_is_answered_or_counted_and_nothing_is_carried_out(
    desk: Any, clock: Any, payloads: list[bytes]
) -> None:
    clock.now_s += 3600  # refusals are written down again
    async with desk() as d:
        for payload in payloads:
            d.take("fly", payload)
        await d.settled()
        assert len(d.answers) == len(payloads)
        assert d.carried_out == []
