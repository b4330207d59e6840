"""The real agent, without camera and vehicle, that puts events at a given rate; a process to be killed.

After `put` has returned, and only then, the event's id goes into FILE.kept (with its place and the times of the call),
which is not on the disk that fails; an event that `put` refused goes into FILE.refused. What stands in neither is put
again by the next life. A line of JSON on stdout says four times a second how the agent does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import msgspec

from edge_agent import config
from edge_agent.agent import Agent
from edge_agent.messages import Reply
from edge_agent.runtime import DriverError, Health, SystemClock

PERIOD_S = 0.25


class Driven(Agent):
    """The agent; what it is asked to do is written down and not done."""

    effects: int

    async def execute(self, request: Any, *_: Any, **__: Any) -> Reply:
        os.write(self.effects, f"{request!r}\n".encode())
        return Reply(state="done")


class Generator:
    """Puts events e000000 … in order and on time, whether or not the earlier ones are on disk yet."""

    def __init__(self, agent: Driven, args: argparse.Namespace) -> None:
        self.agent, self.args = agent, args
        self.tried = self.kept = self.refused = 0
        self.whys: dict[str, int] = {}
        self.done = self.paused = False
        self._kept = _append(f"{args.out}.kept")
        self._refused = _append(f"{args.out}.refused")
        self._running: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(args.at_once)

    async def run(self) -> None:
        known = _ids(f"{self.args.out}.kept") | _ids(f"{self.args.out}.refused")
        self.tried = self.kept = len(known)
        todo = [(n, id) for n in range(self.args.events) if (id := f"e{n:06d}") not in known]
        while self.args.when_connected and not (self.agent.uplink and self.agent.uplink.connected):
            await asyncio.sleep(0.05)
        began_s = time.monotonic()
        for place, (n, id) in enumerate(todo):
            if place % 50 == 0:
                began_s += await self._pause()
            if place == self.args.ahead:
                began_s = time.monotonic()
            due_s = began_s + max(0, place - self.args.ahead) / self.args.rate - time.monotonic()
            if due_s > 0.002:
                await asyncio.sleep(due_s)
            await self._free.acquire()
            self._start(n, id)
            self.tried += 1
        while self._running:
            await asyncio.wait(set(self._running))
        self.done = True

    async def _pause(self) -> float:
        """Wait while there is a FILE.pause, then until all that was begun is done; returns for how long."""
        began_s = time.monotonic()
        while Path(f"{self.args.out}.pause").exists():
            while self._running:
                await asyncio.wait(set(self._running))
            self.paused = True
            await asyncio.sleep(0.05)
        self.paused = False
        return time.monotonic() - began_s

    def _start(self, n: int, id: str) -> None:
        args = self.args
        bad = args.bad_every and n % args.bad_every == args.bad_every // 2
        big = args.big_every and n % args.big_every == args.big_every // 2
        urgent = args.urgent_every and n % args.urgent_every == args.urgent_every // 2
        size = args.big_bytes if big else args.body_bytes
        body = b'{"n": %d, "pad": "%s"}' % (n, b"x" * max(0, size - 24))
        if bad and n // args.bad_every % 2:
            body = body[:-1]  # no JSON, where the others are JSON that the centre cannot read
        task = asyncio.create_task(self._put("gap" if bad else "det", id, body, 0 if urgent else 1))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: self._free.release())

    async def _put(self, kind: str, id: str, body: bytes, lane: int) -> None:
        began_s = time.monotonic()
        try:
            seq = await self.agent.outbox.put(kind, body, id=id, lane=lane)
        except DriverError as error:
            self.refused += 1
            self.whys[str(error)] = self.whys.get(str(error), 0) + 1
            os.write(self._refused, f"{id}\n".encode())
        else:
            self.kept += 1
            now_s = time.monotonic()
            os.write(self._kept, f"{id} {self.agent.outbox.epoch} {seq} {lane} {began_s:.6f} {now_s:.6f}\n".encode())


async def main(args: argparse.Namespace) -> None:
    clock = SystemClock()
    tls = {name: args.tls / f"{name}.pem" for name in ("ca_file", "cert_file", "key_file")} if args.tls else {}
    settings = config.Agent(
        site=config.Site(device=args.device),
        data_dir=args.data,
        mqtt=config.Mqtt(
            host="localhost" if args.tls else "127.0.0.1",
            port=args.port,
            plain=args.tls is None,
            username=args.user,
            keep_alive_s=args.keep_alive_s,
            **tls,
        ),
        outbox=config.Outbox(**{k: v for k, v in (("max_mib", args.max_mib), ("window", args.window)) if v}),
    )
    args.data.mkdir(parents=True, exist_ok=True)
    if args.operator:
        operator = config.Operator(id="op", name="op", role="admin", public_key=args.operator, not_after="2999-12-31")
        settings = msgspec.structs.replace(settings, operators=(operator,))
    agent = Driven(settings, clock=clock, health=Health(clock))
    agent.effects = _append(f"{args.out}.effects")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    generator = Generator(agent, args)
    try:
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(generator.run()), group.create_task(_tell(agent, generator))]
            await agent.run(stop)
            for task in others:
                task.cancel()
    finally:
        await agent.outbox.close()


async def _tell(agent: Driven, generator: Generator) -> None:
    while True:
        try:
            stats = await agent.outbox.measure() if generator.done or generator.paused else agent.outbox.stats()
        except DriverError:
            stats = agent.outbox.stats()
        told = {
            "t": time.monotonic(),
            "tried": generator.tried,
            "kept": generator.kept,
            "refused": generator.refused,
            "whys": generator.whys,
            "done": generator.done,
            "paused": generator.paused,
            "depth": stats.depth,
            "quarantined": stats.quarantined,
            "epoch": stats.epoch,
            "connected": bool(agent.uplink and agent.uplink.connected),
            "state": agent.health.state,
            "counts": dict(agent.health.counts),
            "lag_p99_ms": round(agent.lag.p99_ms(), 1),
            "rss_mib": round(_rss_mib(), 1),
            "cpu_s": round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 2),
        }
        print(json.dumps(told), flush=True)
        await asyncio.sleep(PERIOD_S)


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _append(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _ids(path: str) -> set[str]:
    with Path(path).open() as file:
        return {line.split()[0] for line in file if line.endswith("\n")}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the agent's data_dir")
    parser.add_argument("--out", required=True, help="FILE, the start of the names of what is written down")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--device", default="D-1")
    parser.add_argument("--user")
    parser.add_argument("--operator", help="the public key of operator `op`, an admin")
    parser.add_argument("--tls", type=Path, help="directory with ca_file.pem, cert_file.pem and key_file.pem")
    parser.add_argument("--keep-alive-s", type=int, default=5)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--ahead", type=int, default=0, help="so many go as fast as they can, before the rate counts")
    parser.add_argument("--when-connected", action="store_true", help="put nothing before the broker is there")
    parser.add_argument("--at-once", type=int, default=100_000, help="calls of put at the same time, at most")
    parser.add_argument("--body-bytes", type=int, default=400)
    parser.add_argument("--urgent-every", type=int, default=0, help="one event of so many goes to lane 0")
    parser.add_argument("--bad-every", type=int, default=0, help="one of so many is what the centre cannot take")
    parser.add_argument("--big-every", type=int, default=0, help="one of so many has --big-bytes")
    parser.add_argument("--big-bytes", type=int, default=8000)
    parser.add_argument("--max-mib", type=int)
    parser.add_argument("--window", type=int)
    return parser


if __name__ == "__main__":
    asyncio.run(main(parser().parse_args()))
