"""The local socket: what the command line asks of a running agent, one JSON line each way."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edge_agent.messages import Originals, Reply, Request, Spoken
from edge_agent.runtime import DriverError

SOCKET = "control.sock"
MAX_LINE = 64 * 1024
TOO_LONG = f"a request may have {MAX_LINE} bytes"


class Status(msgspec.Struct, frozen=True, tag_field="name", tag="status"):
    """How does the agent do?"""


class RetryEvents(msgspec.Struct, frozen=True, tag_field="name", tag="retry-events"):
    """Send again what the outbox has set aside: these ids, or all of it."""

    ids: tuple[str, ...] | None = None


class Became(msgspec.Struct, frozen=True, tag_field="name", tag="became"):
    """What became of an announcement? The answer waits until it is over, at most `wait_s`."""

    run: str
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0


class Preflight(msgspec.Struct, frozen=True, tag_field="name", tag="preflight"):
    """How does every gate stand, for this route of the configuration or for none?"""

    route: str | None = None


class Drift(msgspec.Struct, frozen=True, tag_field="name", tag="drift"):
    """Are the autopilot's settings still those that were applied? A difference is reported as a fault."""


Question = Request | Status | RetryEvents | Became | Originals | Preflight | Drift


@contextmanager
def address(data_dir: Path) -> Generator[str, None, None]:
    """The socket's address by way of its open directory: a path may be longer than the 107 bytes of sockaddr_un."""
    fd = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)


class Control:
    """The agent's end: a part that answers `status` itself and hands every request to `execute`."""

    def __init__(
        self,
        data_dir: Path,
        execute: Callable[[Request, str], Awaitable[Reply]],
        status: Callable[[], dict[str, Any]],
        retry: Callable[[tuple[str, ...] | None], Awaitable[int]],
        became: Callable[[str, float], Awaitable[tuple[Spoken, ...] | None]],
    ) -> None:
        self._data_dir, self._execute, self._status, self._retry = data_dir, execute, status, retry
        self._became = became
        self.originals: Callable[[Originals, str], Awaitable[Reply]] | None = None
        self.preflight: Callable[[str | None], dict[str, Any] | Reply] | None = None
        self.drift: Callable[[], Awaitable[dict[str, Any] | Reply]] | None = None

    async def run(self) -> None:
        """Serve until cancelled; the socket is open to this user alone."""
        with address(self._data_dir) as path:
            Path(path).unlink(missing_ok=True)  # left by a killed agent: the data directory's lock says it is ours
            try:
                server = await asyncio.start_unix_server(self._serve, path, limit=MAX_LINE)
            except OSError as error:
                raise DriverError(f"control socket {self._data_dir / SOCKET}: {error.strerror}") from None
            try:
                Path(path).chmod(0o600)
                await server.serve_forever()
            finally:
                server.close()
                Path(path).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(msgspec.json.encode(await self._answer(line, _peer(writer))) + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the asker left, or we stop; asyncio 3.11 logs a traceback for a conversation that ends as cancelled
        except ValueError:  # StreamReader.readline: the line is longer than its limit
            writer.write(msgspec.json.encode(Reply(state="rejected", reason=TOO_LONG)) + b"\n")
        finally:
            writer.close()

    async def _answer(self, line: bytes, by: str) -> dict[str, Any] | Reply:
        try:
            question = msgspec.json.decode(line, type=Question)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Reply(state="rejected", reason=f"not understood: {error}")
        if isinstance(question, Status):
            return self._status()
        if isinstance(question, RetryEvents):
            try:
                return {"retried": await self._retry(question.ids)}
            except DriverError as error:
                return Reply(state="failed", reason=str(error))
        if isinstance(question, Became):
            return {"spoken": await self._became(question.run, question.wait_s)}
        if isinstance(question, Originals):
            if self.originals is None:
                return Reply(state="rejected", reason="this agent keeps no originals")
            try:
                return await self.originals(question, by)
            except DriverError as error:
                return Reply(state="failed", reason=str(error))
        if isinstance(question, Preflight):
            return self.preflight(question.route) if self.preflight else Reply(state="rejected", reason="nothing flies")
        if isinstance(question, Drift):
            return await self.drift() if self.drift else Reply(state="rejected", reason="nothing flies")
        return await self._execute(question, by)


def ask(data_dir: Path, question: Question, timeout_s: float = 10.0) -> dict[str, Any]:
    """Put one question to the agent that runs in `data_dir`; `DriverError` where none answers."""
    try:
        line = msgspec.json.encode(question) + b"\n"
    except UnicodeEncodeError:  # the shell hands over any bytes
        refused: dict[str, Any] = msgspec.to_builtins(Reply(state="rejected", reason="not understood: not UTF-8"))
        return refused
    if len(line) > MAX_LINE:
        raise DriverError(f"{TOO_LONG}, this one has {len(line)}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout_s)
        try:
            with address(data_dir) as path:
                sock.connect(path)
            sock.sendall(line)
            with sock.makefile("rb") as stream:
                reply = stream.readline()
        except OSError as error:
            raise DriverError(
                f"no agent answers at {data_dir / SOCKET}: {error.strerror or error}; is `edge-agent run` up?"
            ) from None
    if not reply:
        raise DriverError(f"the agent at {data_dir / SOCKET} hung up without an answer")
    answer: dict[str, Any] = msgspec.json.decode(reply)
    return answer


def _peer(writer: asyncio.StreamWriter) -> str:
    """Who asks, by the kernel's word (SO_PEERCRED: pid, uid, gid)."""
    sock: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"local:{uid}"
