"""The uplink's figures, in one run beside its peers: `make bench` writes build/bench.json and docs/PERFORMANCE.md.

Every figure is a median of interleaved repeats: a machine that is slower for a minute is slower for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "bench")]

from pages import write_part  # noqa: E402  # beside this file, which is a script
from performance import page  # noqa: E402
from proxy import Proxy  # noqa: E402
from world import DEVICE, Broker, Setup, World  # noqa: E402

from edge_agent.topics import encode_event  # noqa: E402

SITE = ROOT / "build" / "bench" / "site"
PROFILE = ("max_inflight_messages 200", "max_queued_messages 100000", "max_packet_size 262144")
BODY_BYTES = 400
LINK_BYTES_PER_S = 500_000.0  # 4 Mbit/s, an LTE uplink on a fair day
FAST = ("--at-once", "256")  # puts at the same time, when as many as possible are wanted


@dataclass
class Plan:
    """How much of everything."""

    repeats: int = 3
    events: int = 20_000
    backlog: int = 100_000
    outage: int = 36_000
    parts: frozenset[str] = field(default_factory=frozenset)


@asynccontextmanager
async def world(setup: Setup, events: int, rate: float = 1e9) -> AsyncIterator[World]:
    """A device, a broker and a centre of their own."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as directory:
        made = World(Path(directory), setup, events, rate)
        async with made.running():
            yield made
            await made.agent.stop()
            await made.centre.stop()


async def drain(made: World, deadline_s: float = 400.0) -> None:
    await made.put_all()
    await made.drained(deadline_s)


# --- A, B: events per second, beside the peers ------------------------------------------------------------------------


async def ours(events: int, delay_s: float) -> dict[str, float]:
    """From the first `put` to the acknowledgement of the last place; each was on disk before `put` returned."""
    setup = Setup(broker=PROFILE, tap=("ea/1/+/down/ack",), proxy=bool(delay_s), agent=(*FAST, "--when-connected"))
    async with world(setup, events) as made:
        if made.proxy:
            made.proxy.delay_s = delay_s
        await drain(made)
        kept = made.kept().values()
        began_s = min(float(facts[3]) for facts in kept)
        ended_s = next((at_s for at_s, ack in made.tap.acks if ack["cum"] >= events), made.agent.told["t"])
        return {"rate": events / (ended_s - began_s), "cpu_us": made.agent.told["cpu_s"] / events * 1e6}


async def peer(name: str, window: int, events: int, delay_s: float) -> dict[str, float]:
    """From a peer's first `publish` until a paho subscriber has the last message; nothing of it is ever on disk."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        broker = Broker(Path(directory) / "broker", PROFILE)
        await broker.start()
        reader = await _peer("paho-listen", broker.port, events)
        try:
            assert reader.stdout
            await reader.stdout.readline()
            async with Proxy(broker.port, delay_s=delay_s) as proxy:
                port = proxy.port if delay_s else broker.port
                child = await _peer(name, port, events, window)
                (told, complaint), (heard, missed) = await asyncio.gather(child.communicate(), reader.communicate())
                if child.returncode or reader.returncode:
                    raise RuntimeError(f"{name}: {(complaint + missed).decode()}")
        finally:
            for process in (reader, child):
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            await broker.kill()
        sent, received = json.loads(told), json.loads(heard)
        rate = events / (received["at_s"] - sent["at_s"])
        return {"rate": rate, "cpu_us": sent["cpu_us"], "far_cpu_us": received["cpu_us"]}


async def _peer(name: str, port: int, events: int, window: int = 20) -> asyncio.subprocess.Process:
    command = [sys.executable, str(ROOT / "bench" / "peers.py"), name, "--port", str(port), "--window", str(window)]
    command += ["--events", str(events), "--body-bytes", str(_wire_bytes())]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return await asyncio.create_subprocess_exec(*command, **pipes, env=os.environ | {"PYTHONPATH": str(SITE)})


def _wire_bytes() -> int:
    """What one of our events is on the wire, envelope and all: a peer sends as much."""
    facts = {"id": "e000000", "wall_s": 0.0, "boot": "b" * 36, "epoch": 1795310000, "seq": 10_000, "mono_us": 10**10}
    return len(encode_event(device=DEVICE, kind="det", data=b"x" * BODY_BYTES, prev="sha256:" + "0" * 64, **facts))


NEAR = {  # name: (peer, window, share of the events)
    "paho, one at a time": ("paho", 1, 0.2),
    "paho, W = 20": ("paho", 20, 1.0),
    "paho, W = 100": ("paho", 100, 1.0),
    "aiomqtt 2.5, one at a time": ("aiomqtt", 1, 0.2),
    "aiomqtt 2.5, 100 tasks": ("aiomqtt", 100, 0.4),
}
FAR = {
    "paho, one at a time": ("paho", 1, 0.004),
    "paho, W = 20": ("paho", 20, 0.05),
    "paho, W = 100": ("paho", 100, 0.2),
    "aiomqtt 2.5, one at a time": ("aiomqtt", 1, 0.004),
    "aiomqtt 2.5, 100 tasks": ("aiomqtt", 100, 0.2),
}
OURS = "edge-agent, durable, acknowledged by the centre"


async def rates(plan: Plan, peers: dict[str, tuple[str, int, float]], delay_s: float, repeats: int) -> dict[str, Any]:
    """Interleaved: every repeat measures each of them once."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(repeats):
        for name, (kind, window, share) in peers.items():
            found[name].append(await peer(kind, window, max(60, int(plan.events * share)), delay_s))
            say(f"  {name}: {found[name][-1]['rate']:.0f}/s")
        found[OURS].append(await ours(plan.events, delay_s))
        say(f"  {OURS}: {found[OURS][-1]['rate']:.0f}/s")
    return {
        name: {
            "rate": median(each["rate"] for each in all_),
            "low": min(each["rate"] for each in all_),
            "high": max(each["rate"] for each in all_),
            "cpu_us": median(each["cpu_us"] for each in all_),
        }
        for name, all_ in found.items()
    }


# --- C: how long `put` takes ------------------------------------------------------------------------------------------


async def put_latency(events: int = 10_000, rate: float = 500.0) -> dict[str, float]:
    """While 500 events a second flow to the centre."""
    async with world(Setup(broker=PROFILE), events, rate) as made:
        await drain(made)
        took_ms = sorted((float(facts[4]) - float(facts[3])) * 1e3 for facts in made.kept().values())
        through_ms = sorted((made.tap.first_s[id] - float(facts[3])) * 1e3 for id, facts in made.kept().items())
        return {"p50_ms": share(took_ms, 0.5), "p99_ms": share(took_ms, 0.99), "max_ms": took_ms[-1],
                "through_p50_ms": share(through_ms, 0.5), "through_p99_ms": share(through_ms, 0.99),
                "lag_p99_ms": made.agent.told["lag_p99_ms"]}  # fmt: skip


# --- D: a long backlog ------------------------------------------------------------------------------------------------


async def backlog(events: int) -> dict[str, float]:
    """`events` are on disk; the agent is started anew, then the centre appears and all of it drains."""
    async with world(Setup(broker=PROFILE, centre=False, tap=("ea/1/+/down/ack",), agent=FAST), events) as made:
        began_s = time.monotonic()
        await made.put_all()
        put_s = time.monotonic() - began_s
        await made.agent.stop()
        began_s = time.monotonic()
        made.agent.start()
        await made.connected()
        start_s = time.monotonic() - began_s
        await asyncio.sleep(2.0)
        before = made.agent.told["rss_mib"]
        began_s = time.monotonic()
        made.centre.start()
        rss, lag = [before], [0.0]
        task = asyncio.create_task(made.drained(600))
        while not task.done():
            await asyncio.sleep(0.25)
            rss.append(made.agent.told["rss_mib"])
            lag.append(made.agent.told["lag_p99_ms"])
        await task
        return {"put_per_s": events / put_s, "start_s": start_s, "drain_per_s": events / (time.monotonic() - began_s),
                "lag_p99_ms": max(lag), "rss_before_mib": before, "rss_most_mib": max(rss),
                "rss_after_mib": rss[-1]}  # fmt: skip


# --- E: after an hour without a link ----------------------------------------------------------------------------------


async def outage(events: int, rate: float = 10.0) -> dict[str, float]:
    """`events` were kept while the link was down; it comes back with 4 Mbit/s and 100 ms, and 10 more a second."""
    taps = ("ea/1/+/up/ev/#", "ea/1/+/up/status", "ea/1/+/down/ack")
    agent = (*FAST, "--ahead", str(events))
    more = 4000
    async with world(Setup(broker=PROFILE, proxy=True, tap=taps, agent=agent), events + more, rate) as made:
        assert made.proxy
        made.proxy.refuse = True
        made.proxy.delay_s, made.proxy.bytes_per_s = 0.05, LINK_BYTES_PER_S
        await made.until(lambda: made.agent.told.get("kept", 0) >= events + 20, 120)
        made.proxy.refuse = False
        opened_s = time.monotonic()
        await made.until(lambda: made.tap.births_s, 90)
        born_s = made.tap.births_s[0]
        kept = {id: (int(facts[1]), float(facts[3]), float(facts[4])) for id, facts in made.kept().items()}
        newest = max((facts, id) for id, facts in kept.items() if facts[2] < born_s)[1]
        await made.until(lambda: made.agent.told["depth"] <= 3 * rate, 900)
        drained_s, passed = time.monotonic(), made.proxy.passed_bytes
        kept = {id: (int(facts[1]), float(facts[3]), float(facts[4])) for id, facts in made.kept().items()}
        live_s = sorted(made.tap.first_s[id] - facts[1] for id, facts in kept.items()
                        if facts[1] > born_s and id in made.tap.first_s)  # fmt: skip
        acked_s = made.tap.acked_s(kept[newest][0]) or float("nan")
        return {"reconnect_s": born_s - opened_s, "newest_s": made.tap.first_s.get(newest, float("nan")) - born_s,
                "newest_acked_s": acked_s - born_s, "live_p50_s": share(live_s, 0.5), "live_p99_s": share(live_s, 0.99),
                "drain_s": drained_s - born_s, "link_s": passed / LINK_BYTES_PER_S}  # fmt: skip


def share(values: list[float], part: float) -> float:
    """A percentile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def measure(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "near" in plan.parts:
        say("events per second on loopback")
        found["near"] = await rates(plan, NEAR, 0.0, plan.repeats)
    if "far" in plan.parts:
        say("events per second at 100 ms round trip")
        found["far"] = await rates(plan, FAR, 0.05, max(1, plan.repeats - 1))
    if "put" in plan.parts:
        say("put under 500 events a second")
        all_ = [await put_latency() for _ in range(plan.repeats)]
        found["put"] = {key: median(each[key] for each in all_) for key in all_[0]}
        say(f"  {found['put']}")
    if "backlog" in plan.parts:
        say(f"a backlog of {plan.backlog}")
        found["backlog"] = await backlog(plan.backlog)
        say(f"  {found['backlog']}")
    if "outage" in plan.parts:
        say("after an outage of an hour")
        found["outage"] = await outage(plan.outage)
        say(f"  {found['outage']}")
    return found


PARTS = ("near", "far", "put", "backlog", "outage")


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/uplink.py", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--outage", type=int, default=36_000)
    parser.add_argument("--only", choices=PARTS, action="append", help="measure only this, and write no page")
    args = parser.parse_args()
    if not SITE.is_dir():
        sys.exit("the peers are not installed: use `make bench`")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = Plan(args.repeats, args.events, args.backlog, args.outage, frozenset(args.only or PARTS))
    began_s, load = time.monotonic(), os.getloadavg()[1]
    found = asyncio.run(measure(plan))
    found["facts"] = {"command": "make bench" + (f" ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else ""),
                      "seconds": round(time.monotonic() - began_s), "repeats": plan.repeats, "events": plan.events,
                      "backlog": plan.backlog, "outage": plan.outage, "load": load}  # fmt: skip
    where = ROOT / "build" / "bench.json"
    where.parent.mkdir(exist_ok=True)
    where.write_text(json.dumps(found, indent=1) + "\n")
    if args.only:
        print(json.dumps(found, indent=1))
        return 0
    print(write_part("uplink", page(found, _faults())))
    return 0


def _faults() -> list[dict[str, Any]]:
    """The table of the last `make faults`, if there was one."""
    with contextlib.suppress(OSError, ValueError):
        return list(json.loads((ROOT / "build" / "faults.json").read_text()))
    return []


if __name__ == "__main__":
    sys.exit(main())
