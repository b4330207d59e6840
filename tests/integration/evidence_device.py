"""A device as far as originals go, and the reference centre that takes them; shared by the tests of evidence."""

import asyncio
import contextlib
import hashlib
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import evidence_peers as peers
import msgspec

from edge_agent import topics
from edge_agent.audit import Audit
from edge_agent.centre.evidence import EvidenceServer
from edge_agent.config import Evidence as Section
from edge_agent.runtime import Health, SystemClock, supervise
from edge_agent.uplink.evidence import Evidence
from edge_agent.uplink.evidence_upload import Grants, StaticGrants, Uploader
from edge_agent.uplink.outbox import Outbox

CLOCK = SystemClock()


class Device:
    """Evidence, its uploader and the outbox, as the agent runs them."""

    def __init__(
        self, directory: Path, section: Section, grants: Grants | None = None, *, sealed: bool = False
    ) -> None:
        self.directory, self.health = directory, Health(CLOCK)
        (directory / "incidents").mkdir(parents=True, exist_ok=True)
        self.outbox = Outbox(directory / "events.db", device="D-1", max_mib=16, clock=CLOCK)
        self.told: list[tuple[str, Any]] = []
        common: dict[str, Any] = {"clock": CLOCK, "health": self.health, "sealed": sealed}
        self.evidence = Evidence(directory, section, report=self.report, audit=Audit(directory), **common)
        self.uploader = Uploader(
            self.evidence,
            grants or StaticGrants(section),
            section,
            None,
            device="D-1",
            clock=CLOCK,
            health=self.health,
        )

    async def report(self, kind: str, data: msgspec.Struct, *, id: str) -> int:
        self.told.append((kind, data))
        return await self.outbox.event(kind, data, id=id)

    async def picture(self, name: str, data: bytes, wall_s: float | None = None) -> Path:
        path = self.directory / "incidents" / name
        path.write_bytes(data)
        await self.evidence.keep(
            path,
            kind="picture",
            incident=name[:26],
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            wall_s=time.time() if wall_s is None else wall_s,
        )
        return path

    def states(self, state: str) -> list[str]:
        return [data.id for kind, data in self.told if kind == "evidence" and data.state == state]

    def gaps(self) -> list[topics.Gap]:
        return [data for kind, data in self.told if kind == "gap"]


@asynccontextmanager
async def device(
    directory: Path, section: Section, grants: Grants | None = None, *, sealed: bool = False
) -> AsyncIterator[Device]:
    made = Device(directory, section, grants, sealed=sealed)
    parts = [
        asyncio.create_task(supervise(name, part, health=made.health, clock=CLOCK))
        for name, part in (("evidence", made.evidence.run), ("evidence.upload", made.uploader.run))
    ]
    try:
        yield made
    finally:
        for part in parts:
            part.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await part
        await made.evidence.close()
        await made.outbox.close()


async def until(condition: Callable[[], Any], deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError(f"not so in {deadline_s:g} s")


def section(port: int, **options: Any) -> Section:
    return Section(**({"upload": "static", "url": f"http://127.0.0.1:{port}/files", "plain": True} | options))


def some(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def another_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def centre(directory: Path, port: int, **options: Any) -> AsyncIterator[EvidenceServer]:
    server = EvidenceServer(directory, "127.0.0.1", port, clock=CLOCK, **options)
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def secret(directory: Path, token: str) -> str:
    path = directory / "token"
    path.write_text(token + "\n")
    path.chmod(0o600)
    return str(path)


def stored_hashes(directory: Path) -> set[str]:
    whole = [path for path in (directory / "D-1").iterdir() if path.suffix == ".jpg"]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in whole}


SERVER = """
import asyncio, sys
from pathlib import Path
from edge_agent.centre.evidence import EvidenceServer
from edge_agent.runtime import SystemClock
directory, port, url, token = sys.argv[1:]
server = EvidenceServer(Path(directory), "127.0.0.1", int(port), url=url, token=Path(token).read_text().strip(),
                        clock=SystemClock())
asyncio.run(server.run())
"""


def reference_server(directory: Path, port: int, url: str, token: str) -> peers.Process:
    return peers.Process([sys.executable, "-c", SERVER, str(directory), str(port), url, token], port)
