"""The faults, one function each: what happens while the events flow. What must hold in all of them is in the runner."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from wire import Wire, publish_packet
from world import DEVICE, Act, Setup, World

Judge = Callable[[World], str | None]


@dataclass(frozen=True)
class Scenario:
    """A fault by name; `check` says what else is wrong at the end, if anything."""

    name: str
    act: Act
    setup: Setup
    check: Judge
    extra_s: float  # beyond the time that the drain itself may take
    refuses: bool  # whether `put` may say no for a while


ALL: dict[str, Scenario] = {}


def scenario(
    name: str, *, check: Judge = lambda world: None, extra_s: float = 0.0, refuses: bool = False, **setup: Any
) -> Callable[[Act], Act]:
    def add(act: Act) -> Act:
        ALL[name] = Scenario(name, act, Setup(**setup), check, extra_s, refuses)
        return act

    return add


# --- processes and links --------------------------------------------------------------------------------------------


@scenario("no fault")
async def _(world: World) -> None:
    await world.put_all()


@scenario("agent kill -9 x5")
async def _(world: World) -> None:
    for share in (0.1, 0.25, 0.4, 0.6, 0.8):
        await world.reached(share)
        await world.agent.kill()


@scenario("broker kill -9 x3")
async def _(world: World) -> None:
    for share in (0.2, 0.4, 0.7):
        await world.reached(share)
        await world.broker.kill()
        await asyncio.sleep(1.0)
        await world.broker.start()


@scenario("broker session lost")
async def _(world: World) -> None:
    for share in (0.3, 0.6):
        await world.reached(share)
        await world.broker.kill(signal.SIGTERM)
        world.broker.forget()
        await world.broker.start()


@scenario("link cut 30 s, agent kill -9", proxy=True, extra_s=60)
async def _(world: World) -> None:
    assert world.proxy
    await world.reached(0.3)
    world.proxy.refuse = True
    await world.proxy.cut()
    await world.reached(0.6)
    await world.agent.kill()
    await asyncio.sleep(30 - 0.3 * world.events / world.rate)
    world.proxy.refuse = False


@scenario("link delayed, half-open, cut", proxy=True, extra_s=60)
async def _(world: World) -> None:
    """150 ms each way; then what is sent goes nowhere and nobody says so; then a cut, twice."""
    assert world.proxy
    world.proxy.delay_s = 0.15
    await world.reached(0.3)
    world.proxy.swallow = True
    await world.put_all()
    await asyncio.sleep(8.0)
    world.proxy.swallow = False
    await world.connected(False)
    await world.connected()
    for _ in range(2):
        await asyncio.sleep(1.0)
        await world.proxy.cut()
    world.proxy.delay_s = 0.0  # a broker that takes 20 in flight is slow enough without


@scenario("broker queue of 1", broker=("persistence true", "max_queued_messages 1"))
async def _(world: World) -> None:
    await world.put_all()


@scenario("centre offline, then back", centre=False)
async def _(world: World) -> None:
    await world.put_all()
    await asyncio.sleep(1.0)
    world.centre.start()


@scenario("centre kill -9 x3")
async def _(world: World) -> None:
    for share in (0.2, 0.5, 0.9):
        await world.reached(share)
        await world.centre.kill()


# --- disks ----------------------------------------------------------------------------------------------------------


@scenario("disk full", disk_mib=256, refuses=True)
async def _(world: World) -> None:
    """Not a block free, and again none once the ballast was given up; then somebody makes room."""
    assert world.disk
    await world.reached(0.2)
    world.disk.fill(world.agent.pid)
    await world.reached(0.4)
    world.disk.fill(world.agent.pid)
    await world.reached(0.5)
    world.disk.empty(world.agent.pid)


@scenario("quota reached, centre offline", centre=False, agent=("--max-mib", "{a_third_mib}"), refuses=True)
async def _(world: World) -> None:
    await world.put_all()
    world.centre.start()


@scenario("disk turns read-only", disk_mib=64, refuses=True)
async def _(world: World) -> None:
    """ext4 meets an error and goes read-only; then the machine is started again, with a file system check."""
    assert world.disk
    await world.reached(0.3)
    world.disk.break_()
    await world.reached(0.6)
    await world.agent.stop(signal.SIGKILL)
    world.disk.repair()
    world.agent.start()


@scenario("fsync takes 2 s", shim=True)
async def _(world: World) -> None:
    assert world.shim
    await world.reached(0.1)
    world.shim.set(sync_s=2.0, sync_one_in=20)
    await world.reached(0.9)
    world.shim.set()


@scenario("fsync gives EIO", shim=True, refuses=True)
async def _(world: World) -> None:
    assert world.shim
    for share in (0.2, 0.5):
        await world.reached(share)
        world.shim.set(sync_fails=True)
        await asyncio.sleep(0.05 * world.events / world.rate)
        world.shim.set()
    await world.reached(0.7)
    world.shim.set(sync_fails=True)
    await asyncio.sleep(0.05 * world.events / world.rate)
    await world.agent.kill()
    world.shim.set()


@scenario("write gives EIO", shim=True, refuses=True)
async def _(world: World) -> None:
    assert world.shim
    for share in (0.2, 0.5):
        await world.reached(share)
        world.shim.set(write_fails=True)
        await asyncio.sleep(0.05 * world.events / world.rate)
        world.shim.set()
    await world.reached(0.7)
    world.shim.set(write_fails=True)
    await asyncio.sleep(0.05 * world.events / world.rate)
    await world.agent.kill()
    world.shim.set()


def _database(world: World) -> tuple[Path, Path]:
    return world.data / "events.db", world.data / "events.db-wal"


@scenario("bits flip in the database", centre=False)
async def _(world: World) -> None:
    """Twenty bits anywhere in the file and five in its log, while the agent is down with all events in it."""
    await world.put_all()
    await world.agent.stop(signal.SIGKILL)
    rng = random.Random(7)
    for file, flips in zip(_database(world), (20, 5), strict=True):
        if not file.exists() or file.stat().st_size == 0:
            continue
        with file.open("r+b") as raw:
            for _ in range(flips):
                at = rng.randrange(file.stat().st_size)
                raw.seek(at)
                [byte] = raw.read(1)
                raw.seek(at)
                raw.write(bytes([byte ^ 1 << rng.randrange(8)]))
    world.centre.start()
    world.agent.start()


def _valid_frames(log: bytes) -> tuple[int, int]:
    """How many frames of a SQLite log count, and the bytes of one: those after a restart keep the older salts."""
    size = 24 + int.from_bytes(log[8:12], "big")
    frames = (log[at : at + 24] for at in range(32, len(log) - size + 1, size))
    return sum(1 for _ in itertools.takewhile(lambda frame: frame[8:16] == log[16:24], frames)), size


@scenario("write-ahead log truncated", centre=False)
async def _(world: World) -> None:
    """The log loses its end while the agent is down; new events follow, and must not take the places of the lost."""
    await world.reached(0.7)
    await world.agent.stop(signal.SIGKILL)
    log = _database(world)[1]
    valid, size = _valid_frames(log.read_bytes())
    os.truncate(log, 32 + valid // 2 * size)
    world.notes.append(f"the log was cut from {valid} to {valid // 2} pages")
    world.centre.start()
    world.agent.start()


@scenario("database deleted, empty, garbage")
async def _(world: World) -> None:
    """What was not at the centre is gone for good, so the agent is left to drain first; places must not come twice."""
    shares = (0.25, 0.5, 0.75)
    damage: tuple[Callable[[Path], Any], ...] = (
        lambda file: [each.unlink() for each in file.parent.glob("events.db*")],
        lambda file: [os.truncate(each, 0) for each in file.parent.glob("events.db*")],
        lambda file: file.write_bytes(os.urandom(65536)),
    )
    for share, harm in zip(shares, damage, strict=True):
        await world.reached(share)
        await world.paused()
        await world.agent.stop(signal.SIGKILL)
        harm(_database(world)[0])
        world.resume()
        world.agent.start()


# --- clocks ---------------------------------------------------------------------------------------------------------


@scenario("clock steps +2 h, -2 h", shim=True)
async def _(world: World) -> None:
    assert world.shim
    for share, clock_s in ((0.2, 7200.0), (0.4, -7200.0), (0.6, 7200.0), (0.8, 0.0)):
        await world.reached(share)
        world.shim.set(clock_s=clock_s)
        if share == 0.6:
            await world.agent.kill()


# --- what the broker or the centre refuses ----------------------------------------------------------------------------


def _says_gaps(world: World) -> str | None:
    return None if world.listed("gap") else "no gap record names what was set aside"


@scenario(
    "oversize message",
    broker=("persistence true", "max_packet_size 4000"),
    agent=("--big-every", "500", "--big-bytes", "8000"),
    check=_says_gaps,
)
async def _(world: World) -> None:
    await world.put_all()


@scenario("nack by the centre", agent=("--bad-every", "500"), check=_says_gaps)
async def _(world: World) -> None:
    await world.put_all()


_MAY_READ = "topic readwrite #\npattern read ea/1/host/#\npattern read ea/1/%u/down/#\n"
_MAY_WRITE = _MAY_READ + "pattern write ea/1/%u/up/#\n"


@scenario(
    "ACL removed, restored",
    broker=("persistence true", "acl_file {dir}/acl"),
    files={"acl": _MAY_WRITE},
    agent=("--user", DEVICE),
    extra_s=150,
)
async def _(world: World) -> None:
    """The broker answers PUBACK "not authorised" for 5 s."""
    acl = world.directory / "acl"
    await world.reached(0.3)
    acl.write_text(_MAY_READ)
    world.broker.reload()
    await world.reached(0.6)
    await asyncio.sleep(2.0)
    told = world.agent.told.get("state", {})
    world.notes.append(f"the agent says: {told.get('uplink.access', told.get('uplink'))}")
    acl.write_text(_MAY_WRITE)
    world.broker.reload()


@scenario("certificate expired, renewed", tls=True, proxy=True, extra_s=90)
async def _(world: World) -> None:
    """Mutual TLS; the device's certificate runs out, then a new one is put in its place while the agent runs."""
    assert world.pki and world.proxy
    await world.reached(0.3)
    world.pki.issue("late", DEVICE, from_s=-7200, for_s=3600)
    world.pki.install("late")
    await world.proxy.cut()
    await world.connected(False)
    await world.put_all()
    await asyncio.sleep(2.0)
    world.notes.append(f"the agent says: {world.agent.told['state'].get('uplink')}")
    world.pki.issue("new", DEVICE)
    world.pki.install("new")
    await world.connected()


# --- who speaks to the agent ------------------------------------------------------------------------------------------


_KEY = Ed25519PrivateKey.generate()
_BY_OP = ("--operator", base64.b64encode(_KEY.public_key().public_bytes_raw()).decode())


def _signed(name: str, id: str, not_after: str, args: dict[str, Any]) -> dict[str, str]:
    """RFC 8785 of what a signature covers; plain ASCII needs no more than this."""
    text = json.dumps(["ea/1", DEVICE, id, name, not_after, "op", args], sort_keys=True, separators=(",", ":"))
    return {"kid": "op", "sig": base64.b64encode(_KEY.sign(text.encode())).decode()}


def _command(name: str, id: str, **args: object) -> dict[str, Any]:
    not_after = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    auth = _signed(name, id, not_after, args)
    return {"id": id, "name": name, "args": args, "by": "op", "not_after": not_after, "auth": auth}


def _order(body: dict[str, Any], *, expiry_s: int | None = 60) -> bytes:
    """The packet of a command."""
    topic = f"ea/1/{DEVICE}/down/cmd/{body['name']}"
    return publish_packet(topic.encode(), json.dumps(body).encode(), expiry_s=expiry_s)


def _urgent_p99_s(world: World) -> float:
    """From the call of `put` to the broker's other side, for events of lane 0."""
    late = sorted(
        world.tap.first_s[id] - float(facts[3])
        for id, facts in world.kept().items()
        if facts[2] == "0" and id in world.tap.first_s
    )
    return late[int(len(late) * 0.99)] if late else float("nan")


def _obeyed_at_most_once(world: World) -> str | None:
    p99_s = _urgent_p99_s(world)
    world.notes.append(f"lane 0 from put to the broker's far side: p99 {p99_s:.2f} s")
    effects = world.effects()
    twice = [effect for effect, count in effects.items() if count > 1]
    if twice:
        return f"{len(twice)} commands were carried out more than once: {twice[0]}"
    if wrong := [effect for effect in effects if "said once" not in effect]:
        return f"{len(wrong)} forged commands were carried out: {wrong[0]}"
    if not effects:
        return "no command was carried out, the genuine ones neither"
    return None if p99_s <= 5.0 else f"urgent events took {p99_s:.1f} s (p99) during the flood; 5 s are allowed"


@scenario(
    "command replay and flood",
    agent=("--urgent-every", "100", *_BY_OP),
    check=_obeyed_at_most_once,
    extra_s=60,
)
async def _(world: World) -> None:
    """10,000 a second while events flow: twenty genuine commands again and again, forged and unsigned ones, garbage."""
    await world.connected()
    wire = await Wire.open(world.broker.port)
    genuine = [_command("say", f"once-{n}", text=f"said once {n}", speakers=[]) for n in range(20)]
    forged = [each | {"id": f"forged-{n}"} for n, each in enumerate(genuine)]
    changed = [each | {"args": {"text": "forged", "speakers": []}} for each in genuine]
    unsigned = [{k: v for k, v in each.items() if k != "auth"} | {"id": f"u-{n}"} for n, each in enumerate(genuine)]
    packets = [_order(each) for each in (*genuine, *forged, *changed, *unsigned)]
    packets += [_order(each, expiry_s=None) for each in genuine]
    packets += [publish_packet(f"ea/1/{DEVICE}/down/cmd/{name}".encode(), os.urandom(64), expiry_s=60)
                for name in ("fly", "say", "nothing", "recall") for _ in range(25)]  # fmt: skip
    sent, began_s = 0, time.monotonic()
    try:
        while time.monotonic() - began_s < 5 or (not world.agent.told.get("done") and time.monotonic() - began_s < 30):
            due = int((time.monotonic() - began_s) * 10_000)
            while sent < due:
                wire.writer.write(b"".join(packets[(sent + i) % len(packets)] for i in range(50)))
                sent += 50
            await wire.writer.drain()
            await asyncio.sleep(0.005)
    finally:
        wire.close()
    world.notes.append(f"{sent} commands in {time.monotonic() - began_s:.0f} s, {len(world.effects())} carried out")


_HOSTILE = (
    b"",
    b"\x00",
    b"null",
    b"[]",
    b"{",
    b'"\xff\xfe"',
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b'{"id":"' + b"A" * 100_000 + b'"}',
    b'{"stream":"ev","epoch":1e400,"cum":-1}',
    b'{"stream":"ev","epoch":99999999999999999999,"cum":99999999999999999999}',
    b'{"epoch":1,"cum":1,"sel":[[9,1],[null,2]],"nack":[{"seq":1}]}',
    b'{"version":"x","desired":[1,2,{"__proto__":1}]}',
    b'{"state":"online","max_in_flight":-5}',
    json.dumps({"id": "\x00\ud800", "name": "fly", "args": {"route": "\u202e"}}).encode("utf-8", "surrogatepass"),
    b'{"id":"nan","name":"say","args":{"text":NaN},"by":"x","not_after":"2999-01-01T00:00:00Z"}',
    os.urandom(250_000),
)
_DOWN = ("ack", "cmd/fly", "cmd/say", "cmd/config", "cmd", "cmd/a/b/c", "desired", "res", "grant", "time", "zones", "x")


def _obeyed_nothing(world: World) -> str | None:
    effects = world.effects()
    return f"{len(effects)} commands were carried out: {next(iter(effects))}" if effects else None


@scenario("hostile bytes on every down topic", check=_obeyed_nothing)
async def _(world: World) -> None:
    await world.connected()
    wire = await Wire.open(world.broker.port)
    topics = [f"ea/1/{DEVICE}/down/{each}" for each in _DOWN] + ["ea/1/host/centre/state", "ea/1/host/x/state"]
    try:
        for round_ in range(8):
            for topic in topics:
                for payload in (*_HOSTILE, os.urandom(random.Random(round_).randrange(1, 2000))):
                    await wire.publish(topic, payload, retain=round_ == 0 and topic.endswith("desired"))
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.5)
    finally:
        wire.close()


@scenario("acks for what was never sent", extra_s=30)
async def _(world: World) -> None:
    """Places beyond the last, of another epoch, the largest number, empty and backward ranges; a nack of each."""
    await world.connected()
    wire = await Wire.open(world.broker.port)
    topic = f"ea/1/{DEVICE}/down/ack"
    try:
        for share in (0.1, 0.3, 0.5, 0.7):
            await world.reached(share)
            epoch = world.agent.told["epoch"]
            for told in (
                {"epoch": epoch, "cum": 10**9},
                {"epoch": epoch + 1, "cum": world.events},
                {"epoch": 0, "cum": world.events},
                {"epoch": epoch, "cum": 0, "sel": [[2**53, 2**53]]},
                {"epoch": epoch, "cum": 0, "sel": [[world.events * 2, world.events * 3]]},
                {"epoch": epoch, "cum": 0, "sel": [[500, 1]]},
                {"epoch": epoch, "cum": 0, "nack": [[10**9, "no"]]},
                {"epoch": epoch, "cum": 0, "nack": [{"seq": 10**9, "why": "no"}]},
            ):
                await wire.publish(topic, json.dumps({"stream": "ev"} | told).encode())
    finally:
        wire.close()


@scenario("acks for what still waits", centre=False, extra_s=30)
async def _(world: World) -> None:
    """With the window full of events that nobody confirms, a liar confirms places that were kept and never sent."""
    await world.put_all()
    await asyncio.sleep(1.0)
    epoch = world.agent.told["epoch"]
    waiting = [seq for seq in range(world.events // 3, world.events // 2) if (epoch, seq) not in world.tap.places]
    wire = await Wire.open(world.broker.port)
    try:
        for seq in waiting:
            told = {"stream": "ev", "epoch": epoch, "cum": 0, "sel": [[seq, seq]]}
            await wire.publish(f"ea/1/{DEVICE}/down/ack", json.dumps(told).encode())
        await asyncio.sleep(1.0)
    finally:
        wire.close()
    world.notes.append(f"{len(waiting)} places confirmed that were never sent")
    world.centre.start()


@scenario("host asks for 10^9 in flight", centre=False, extra_s=30)
async def _(world: World) -> None:
    """The retained state of a centre, in every form that a number can take; then the real centre comes."""
    wire = await Wire.open(world.broker.port)
    try:
        for told in (10**9, -1, 0, 2**63, 1.5, "many", None):
            body = {"state": "online", "time": "2026-01-01T00:00:00.000Z", "contract": [1, 1], "sess": "x"}
            told_ = json.dumps(body | {"max_in_flight": told}).encode()
            await wire.publish("ea/1/host/evil/state", told_, retain=True)
            await asyncio.sleep(0.05)
        body["max_in_flight"] = 10**9
        await wire.publish("ea/1/host/evil/state", json.dumps(body).encode(), retain=True)
        await world.reached(0.5)
    finally:
        wire.close()
    world.centre.start()


def _refused_with_path_and_reason(world: World) -> str | None:
    reported = [json.loads(line) for line in (world.directory / "reported").read_text().splitlines()]
    paths = {one["path"] for each in reported for one in each.get("rejected", ()) if one["why"]}
    world.notes.append(f"refused: {', '.join(sorted(paths))}; in effect: {reported[-1]['settings']['mqtt']}")
    if missing := {"mqtt.telemetry_period_s", "mqtt.port", "site", "no_such"} - paths:
        return f"not refused with path and reason: {', '.join(sorted(missing))}"
    good = reported[-1]["desired_version"] == 1 and reported[-1]["settings"]["mqtt"]["telemetry_period_s"] == 0.5
    return None if good else f"the last good document is not in effect: {reported[-1]}"


@scenario("desired config invalid", agent=_BY_OP, check=_refused_with_path_and_reason)
async def _(world: World) -> None:
    """A good document, signed; then bad ones, also signed; then one that nobody signed."""
    wire = await Wire.open(world.broker.port)
    heard: list[bytes] = []
    listener = await Wire.open(world.broker.port)
    reported = asyncio.create_task(
        listener.listen([f"ea/1/{DEVICE}/up/reported"], lambda topic, payload, at_s: heard.append(payload))
    )
    bad: list[dict[str, Any]] = [
        {"mqtt": {"telemetry_period_s": 0.5}},  # the good one
        {"mqtt": {"telemetry_period_s": -1}},
        {"mqtt": {"port": "x"}},
        {"site": {"device": "#"}},
        {"mqtt": {"telemetry_period_s": 2}, "no_such": {"key": 1}},
    ]
    try:
        await world.connected()
        for version, settings in enumerate((*bad, {"mqtt": {"telemetry_period_s": 3}}), 1):
            body = {"version": version, "by": "op", "settings": settings}
            if version <= len(bad):
                body["auth"] = _signed("desired", str(version), "", settings)
            await wire.publish(f"ea/1/{DEVICE}/down/desired", json.dumps(body).encode(), retain=True)
            await asyncio.sleep(0.5)
    finally:
        wire.close()
        listener.close()
        await asyncio.gather(reported, return_exceptions=True)
        (world.directory / "reported").write_bytes(b"\n".join(heard))


SHORT = (
    "no fault",
    "agent kill -9 x5",
    "broker kill -9 x3",
    "centre offline, then back",
    "broker queue of 1",
    "bits flip in the database",
)
