"""A hundred items over a link that loses 30 % each way: on a simulated clock, and on ArduCopter beside MAVSDK.

`flight_upload.py [--seeds N] [--runs N]`; the second part wants ARDUCOPTER=/path/to/arducopter and root, for a network
namespace, because ArduCopter listens on all addresses. MAVSDK-Python 4.1 comes from `make bench-flight`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "bench" / "mavsdk")]

from edge_agent.flight.frames import Frame  # noqa: E402  # after the path to it
from edge_agent.flight.mavlink import Link  # noqa: E402
from edge_agent.flight.mission import Item, compare  # noqa: E402
from edge_agent.flight.mission_server import MissionServer  # noqa: E402
from edge_agent.flight.transfer import Download, Ends, Upload  # noqa: E402
from edge_agent.flight.vehicle import Tcp  # noqa: E402
from edge_agent.runtime import DriverError  # noqa: E402
from sitl.air import Air, cut  # noqa: E402

LOSS = 0.3
TRIES = 3  # uploads, as the pilot has them
AGAIN_S = 4.5
LONGEST_S = 180.0
DELAY_S = 0.04  # each way, simulated
LAT, LON = 302461000, 1201552000

ITEMS = [
    Item(seq=0, frame=0, command=16),
    Item(seq=1, frame=6, command=22, z=20.0),
    *(Item(seq=n, frame=6, command=16, x=LAT + 37 * n, y=LON - 53 * n, z=20 + n / 8) for n in range(2, 99)),
    Item(seq=99, frame=6, command=20),
]
DECOY = [*ITEMS[:2], Item(seq=2, frame=6, command=16, x=LAT, y=LON, z=99.0), Item(seq=3, frame=6, command=20)]


def simulated(seeds: int) -> dict[str, Any]:
    """How many were verified, how many of these were right, and how long it took on the vehicle's clock."""
    verified, false, took = 0, 0, []
    for seed in range(seeds):
        wire = SimulatedWire(seed)
        done = wire.put_aboard()
        right = compare(ITEMS, wire.server.items) is None
        verified += done and right
        false += done and not right
        took.append(wire.now)
    return {"seeds": seeds, "verified": verified, "false": false, **_spread(took)}


class SimulatedWire:
    """Client and ArduPilot's end of the protocol, on a clock that jumps."""

    def __init__(self, seed: int) -> None:
        self._rng, self.now = random.Random(seed), 0.0
        self._up: list[tuple[float, Any]] = []
        self._down: list[tuple[float, Any]] = []
        self.server = MissionServer(list(DECOY), lambda: ITEMS[0], lambda m: self._put(self._down, m))

    def put_aboard(self) -> bool:
        """Upload, read back, compare, as the pilot does."""
        ends = Ends(1, 1, 1, 191)
        for _ in range(TRIES):
            if self._run(Upload(ends, ITEMS, self.now)).state == "failed":
                self.now += AGAIN_S
                continue
            down = self._run(Download(ends, self.now))
            if down.state == "done" and compare(ITEMS, down.items) is None:
                return True
        return False

    def _run(self, transfer: Any) -> Any:
        while transfer.state == "running":
            self.now += 0.01
            transfer.tick(self.now)
            for message in transfer.messages():
                self._put(self._up, message)
            for message in self._due(self._up):
                self.server.receive(Frame(1, 191, message), self.now, locked=False)
            self.server.tick(self.now)
            for message in self._due(self._down):
                transfer.receive(message, self.now)
        return transfer

    def _put(self, queue: list[tuple[float, Any]], message: Any) -> None:
        if self._rng.random() >= LOSS:
            queue.append((self.now + DELAY_S, message))

    def _due(self, queue: list[tuple[float, Any]]) -> list[Any]:
        found = [message for at_s, message in queue if at_s <= self.now]
        del queue[: len(found)]
        return found


async def on_arducopter(runs: int) -> dict[str, Any]:
    """Ours and MAVSDK in turn, each through the same proxy with the same seed; a clean link says what is aboard."""
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "mavsdk": []}
    async with arducopter() as (station, port):
        clean = Client(station)
        await clean.open()
        for seed in range(runs):
            for name, upload in (("ours", _ours), ("mavsdk", _mavsdk)):
                await clean.put(DECOY)
                async with lossy(port, seed) as proxied:
                    result = await upload(proxied)
                result["aboard"] = await clean.holds(ITEMS)
                found[name].append(result)
                print(seed, name, result, file=sys.stderr, flush=True)
                await clean.idle(9.0 if not result["aboard"] else 1.0)  # ArduPilot gives an upload up after 8 s
        await clean.close()
    return {name: _summary(results) for name, results in found.items()}


class Client:
    """Our link over TCP, turned until a job is done."""

    def __init__(self, port: int) -> None:
        self.link, self._wire = Link(1), Tcp("127.0.0.1", port, 1)

    async def open(self) -> None:
        for _ in range(100):
            with contextlib.suppress(DriverError):
                await self._wire.open()
                break
            await asyncio.sleep(0.1)
        await self.until(lambda: self.link.alive(time.monotonic()))

    async def close(self) -> None:
        await self._wire.close()

    async def until(self, done: Callable[[], bool], within_s: float = LONGEST_S) -> bool:
        end = time.monotonic() + within_s
        while not done() and time.monotonic() < end:
            self.link.receive(await self._wire.receive(0.02), time.monotonic())
            self.link.tick(time.monotonic())
            if out := self.link.data_to_send():
                await self._wire.send(out)
        return done()

    async def idle(self, seconds: float) -> None:
        await self.until(lambda: False, seconds)

    async def put(self, items: list[Item]) -> bool:
        """As the pilot does: upload, read back, compare, three times at most."""
        for _ in range(TRIES):
            up = self.link.upload(items, time.monotonic())
            await self.until(lambda up=up: up.state != "running")
            if up.state == "failed":
                await self.idle(AGAIN_S)
            elif await self.holds(items):
                return True
        return False

    async def holds(self, items: list[Item]) -> bool:
        """Whether this is aboard."""
        down = self.link.download(time.monotonic())
        await self.until(lambda: down.state != "running")
        return down.state == "done" and compare(items, down.items) is None


async def _ours(port: int) -> dict[str, Any]:
    client = Client(port)
    await client.open()
    began = time.monotonic()
    claimed = await client.put(ITEMS)
    result = {"claimed": claimed, "s": round(time.monotonic() - began, 2)}
    await client.close()
    return result


async def _mavsdk(port: int) -> dict[str, Any]:
    """MAVSDK is a process of its own: what it holds of a link ends with it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--mavsdk", str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(LONGEST_S + 30):
            out, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        return {"claimed": False, "s": LONGEST_S, "why": "it did not end"}
    return dict(json.loads(out.decode().splitlines()[-1]))


def _mavsdk_child(port: int) -> None:
    """`upload_mission` of MissionRaw, the plugin that takes ArduPilot's items as they are."""
    from mavsdk import ComponentType, Configuration, Mavsdk
    from mavsdk.plugins.mission_raw import MissionItem, MissionRaw, MissionRawError

    items = [
        MissionItem(i.seq, i.frame, i.command, int(i.seq == 0), 1, i.p1, i.p2, i.p3, i.p4, i.x, i.y, i.z, 0)
        for i in ITEMS
    ]
    drone = Mavsdk(Configuration.create_with_component_type(ComponentType.COMPANION_COMPUTER))
    drone.add_any_connection(f"tcpout://127.0.0.1:{port}")
    system = drone.first_autopilot(30.0)
    began, why = time.monotonic(), ""
    if system is None:
        why = "no autopilot was found"
    else:
        try:
            MissionRaw(system).upload_mission(items)
        except MissionRawError as error:
            why = str(error).split(";")[0]
    print(json.dumps({"claimed": not why, "s": round(time.monotonic() - began, 2), "why": why}), flush=True)
    os._exit(0)  # what it does at exit is not measured


@contextlib.asynccontextmanager
async def arducopter() -> AsyncIterator[tuple[int, int]]:
    """ArduCopter at its own pace: the ports of a clean link and of the one that a proxy spoils."""
    with tempfile.TemporaryDirectory() as folder:
        child = await asyncio.create_subprocess_exec(
            os.environ["ARDUCOPTER"], "--model", "quad", "--speedup", "1", "--home", "30.2461,120.1552,10,0",
            "--defaults", str(ROOT / "sitl" / "copter.parm"), "--serial0", "tcp:0", "--serial1", "tcp:2",
            "--serial2", "none:x", cwd=folder, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield 5760, 5762
        finally:
            child.kill()
            await child.wait()


@contextlib.asynccontextmanager
async def lossy(port: int, seed: int) -> AsyncIterator[int]:
    """A TCP proxy that loses whole frames, in both directions."""
    up, down = Air(random.Random(seed), drop=LOSS), Air(random.Random(seed + 1), drop=LOSS)
    ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, air: Air) -> None:
        buffer = bytearray()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                buffer += data
                writer.write(b"".join(out for frame in cut(buffer) for _, out in air.pass_on(frame)))
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, far_writer))
        pumps = [asyncio.create_task(pump(reader, far_writer, up)), asyncio.create_task(pump(far_reader, writer, down))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for end in ends:
            end.close()
        await asyncio.sleep(0.2)


def _summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    right = [result for result in results if result["claimed"] and result["aboard"]]
    return {
        "runs": len(results),
        "right": len(right),
        "false": sum(result["claimed"] and not result["aboard"] for result in results),
        "why": sorted({result["why"] for result in results if result.get("why")}),
        **_spread([result["s"] for result in right]),
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    if not values:
        return {"median_s": None, "p95_s": None}
    ordered = sorted(values)
    return {"median_s": round(statistics.median(ordered), 1), "p95_s": round(ordered[int(0.95 * len(ordered))], 1)}


def measure(seeds: int, runs: int) -> dict[str, Any]:
    """Both parts; the second only where there is an ArduCopter and a namespace to put it into."""
    found: dict[str, Any] = {"simulated": simulated(seeds)}
    if not (os.environ.get("ARDUCOPTER") and os.geteuid() == 0 and runs):
        return found
    line = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, __file__]
    done = subprocess.run([*line, "--arducopter", str(runs)], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return {**found, "arducopter": json.loads(done.stdout)}


def main() -> None:
    """The command line, and the two children."""
    options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    if "--mavsdk" in options:
        _mavsdk_child(int(options["--mavsdk"]))
    elif "--arducopter" in options:
        print(json.dumps(asyncio.run(on_arducopter(int(options["--arducopter"])))))
    else:
        print(json.dumps(measure(int(options.get("--seeds", 200)), int(options.get("--runs", 20))), indent=1))


if __name__ == "__main__":
    main()
