"""Far ends for originals: a faulty tus server, a TCP link that can be cut, and @tus/server. Nothing of edge_agent."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

ROOT = Path(__file__).resolve().parents[2]
NODE = shutil.which("node")
TUS_MODULES = ROOT / "build" / "npm" / "node_modules" / "@tus"
MOTO = ROOT / "build" / "moto" / "bin" / "python"


class FaultyTus:
    """A tus server in memory, by the protocol's text; `fault(method, offset, id)` may answer instead of it."""

    def __init__(self) -> None:
        self.uploads: dict[str, bytearray] = {}
        self.lengths: dict[str, int] = {}
        self.hashes: dict[str, str] = {}
        self.seen: list[tuple[str, int | None]] = []  # (method, offset)
        self.received = 0  # body bytes, also those that were thrown away
        self.tokens: set[str] = set()  # empty: any
        self.extensions = "creation,checksum"
        self.max_size = 0
        self.fault: Callable[[str, int | None, str | None], web.Response | None] = lambda *_: None
        self.damage = False  # flip a bit of what is stored
        self.receipts = True

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[None]:
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/files", self._any)
        app.router.add_route("*", "/files/{id}", self._any)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _any(self, request: web.Request) -> web.Response:
        given = request.headers.get("Upload-Offset")
        offset = int(given) if given else None
        self.seen.append((request.method, offset))
        body = await request.read()
        self.received += len(body)
        id = request.match_info.get("id")
        if answer := self.fault(request.method, offset, id):
            return answer
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens and token not in self.tokens:
            return web.Response(status=401)
        if request.method == "OPTIONS":
            said = {"Tus-Version": "1.0.0", "Tus-Extension": self.extensions, "Tus-Checksum-Algorithm": "sha256"}
            return web.Response(
                status=204, headers=said | ({"Tus-Max-Size": str(self.max_size)} if self.max_size else {})
            )
        if request.method == "POST":
            facts = dict(pair.split() for pair in request.headers["Upload-Metadata"].split(","))
            id = f"u{len(self.uploads)}"
            self.uploads[id], self.lengths[id] = bytearray(), int(request.headers["Upload-Length"])
            self.hashes[id] = base64.b64decode(facts["sha256"]).decode()
            return self._done(id, 201, {"Location": f"/files/{id}"})
        if id not in self.uploads:
            return web.Response(status=404)
        if request.method == "HEAD":
            there = {"Upload-Offset": str(len(self.uploads[id])), "Upload-Length": str(self.lengths[id])}
            return web.Response(headers=there)
        if request.method == "GET":
            return self._done(id, 404, {})
        return self._patch(request, id, offset, body)

    def _patch(self, request: web.Request, id: str, offset: int | None, body: bytes) -> web.Response:
        if offset != len(self.uploads[id]):
            return web.Response(status=409)
        if "checksum" in self.extensions:
            algorithm, value = request.headers["Upload-Checksum"].split()
            assert algorithm == "sha256"
            if base64.b64encode(hashlib.sha256(body).digest()).decode() != value:
                return web.Response(status=460)
        if self.damage and body:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.uploads[id] += body
        return self._done(id, 204, {"Upload-Offset": str(len(self.uploads[id]))})

    def _done(self, id: str, status: int, headers: dict[str, str]) -> web.Response:
        if len(self.uploads[id]) < self.lengths[id] or not self.receipts:
            return web.Response(status=status, headers=headers)
        whole = bytes(self.uploads[id])
        receipt = {
            "type": "receipt",
            "id": id,
            "sha256": hashlib.sha256(whole).hexdigest(),
            "bytes": len(whole),
            "stored_at": "2026-11-22T05:00:00.000Z",
        }
        return web.json_response(receipt, status=201 if status == 201 else 200, headers=headers)

    def counts(self) -> Counter[str]:
        return Counter(method for method, _ in self.seen)


class Wire:
    """A TCP forwarder that counts what goes up, and can cut every connection once after so many bytes."""

    def __init__(self, target: int) -> None:
        self.target, self.up = target, 0
        self.cut_at: list[int] = []  # bytes gone up: at each of them everything is cut, once
        self.cuts = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        try:
            yield
        finally:
            server.close()
            self.cut()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, far_writer}
        down = asyncio.create_task(self._pump(far_reader, writer))
        try:
            await self._pump(reader, far_writer, count=True)
            await down
        finally:
            down.cancel()
            self._writers -= {writer, far_writer}
            writer.close()
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: bool = False) -> None:
        try:
            while data := await reader.read(8192):
                if count:
                    self.up += len(data)
                    if self.cut_at and self.up >= self.cut_at[0]:
                        del self.cut_at[0]
                        self.cuts += 1
                        self.cut()
                        return
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:  # one side was reset: so is the other
            writer.transport.abort()


class Process:
    """A server of its own process: started, killed, started again."""

    def __init__(self, command: list[str], port: int, **environment: str) -> None:
        self.command, self.port, self.environment = command, port, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | self.environment
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, f"{self.command} ended with {self._process.returncode}"
            time.sleep(0.02)
        raise TimeoutError(f"nothing listens on {self.port}")

    def kill(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None


# @tus/server as an integrator would run it: the hook of a finished upload answers with the receipt.
TUS_SERVER = """
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { Server } from '@tus/server'
import { FileStore } from '@tus/file-store'
const [port, directory] = process.argv.slice(2)
const server = new Server({
  path: '/files',
  datastore: new FileStore({ directory }),
  async onUploadFinish(req, upload) {
    const hash = createHash('sha256')
    for await (const piece of createReadStream(`${directory}/${upload.id}`)) hash.update(piece)
    const receipt = { type: 'receipt', id: upload.id, sha256: hash.digest('hex'), bytes: upload.size,
                      stored_at: new Date().toISOString() }
    return { status_code: 200, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(receipt) }
  },
})
server.listen({ host: '127.0.0.1', port: Number(port) })
"""


def tus_server(directory: Path, port: int) -> Process:
    """@tus/server over @tus/file-store, not yet started."""
    assert NODE is not None
    script = TUS_MODULES.parent.parent / "tus_server.mjs"
    script.write_text(TUS_SERVER)
    directory.mkdir(exist_ok=True)
    return Process([NODE, str(script), str(port), str(directory)], port)


def stored_by_tus_server(directory: Path) -> list[str]:
    """The hashes of what @tus/server holds."""
    files = [path for path in directory.iterdir() if path.suffix != ".json"]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def info_of(path: Path) -> dict[str, object]:
    return dict(json.loads(path.read_text()))
