"""HTTP/1.1 as audio devices speak it: digest, bodies streamed as they are played, one request a connection.

General clients cannot do what these devices want: a body that goes on after `Content-Length: 0` (Hikvision), a close in
place of an answer (Dahua), an answer before the body is over.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import DriverError
from edge_agent.speakers import reason, websocket
from edge_agent.speakers.digest import Digest, challenge
from edge_agent.speakers.g711 import Codec, encode
from edge_agent.speakers.paced import Line
from edge_agent.speakers.sound import Pcm

TIMEOUT_S = 4.0  # to connect, and for an answer
ENDLESS = 9_999_999  # the length of a body that nobody knows, as the makers' own examples have it
BUFFER_BYTES = 4096  # half a second of G.711
USER_TIMEOUT_MS = 3000  # RFC 5482: what is not acknowledged for so long ends the connection
MAX_BODY = 2**20
MAX_HEADER_LINES = 100

_MEANINGS = {
    401: "wrong user name or password",
    403: "this user may not do that",
    404: "the device does not know this request; is it of this make, and is audio output on?",
    405: "the device's audio mode does not allow it; set it to receive audio (full or half duplex)",
    415: "the device does not take this codec",
    486: "busy",
    503: "busy: another client talks",
}


@dataclass(frozen=True)
class Answer:
    """What a device said."""

    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Exchange:
    """A request whose body is being sent; `answer` is done as soon as the device says anything, or hangs up (None)."""

    device: Device
    writer: asyncio.StreamWriter
    answer: asyncio.Task[Answer | None]

    async def send(self, data: bytes) -> None:
        """Send a piece of the body; raises `DriverError` where the device has refused it meanwhile."""
        await asyncio.sleep(0)  # what has arrived is read before a write can find the connection reset
        self._hear_refusal()
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError:  # who refuses may hang up at once: what it said before is the better reason
            await asyncio.wait([self.answer], timeout=TIMEOUT_S)
            self._hear_refusal()
            raise

    def _hear_refusal(self) -> None:
        if self.answer.done():
            answer = self.answer.result()
            if answer is None or answer.status >= 300:
                raise self.device.refused("the device hung up" if answer is None else answer)

    async def close(self) -> None:
        """Hang up."""
        self.answer.cancel()
        self.writer.close()
        await asyncio.wait([self.answer])


class HttpLine(Line):
    """A body of G.711 that goes on as it is played; that the device does not refuse it is all that is known."""

    def __init__(self, exchange: Exchange, codec: Codec) -> None:
        self._exchange, self._codec = exchange, codec

    async def send(self, step: Pcm) -> None:
        await self._exchange.send(encode(step, self._codec))

    async def close(self, _finished: bool, /) -> Proof:
        await self._exchange.close()
        return "accepted"


class Device:
    """One device's HTTP server."""

    def __init__(self, section: config.HttpSpeaker, *, digest: bool = True) -> None:
        self._name, self._section, self._digests = section.name, section, digest
        parts = urlsplit(section.url)
        self.host = parts.hostname or ""
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._digest: Digest | None = None

    @property
    def where(self) -> str:
        """For people; the URL of the config holds no password (that is checked)."""
        return self._section.url

    async def request(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One request and its answer, with the digest that is asked for; raises `DriverError` but for a status."""
        answer = await self._once(method, path, headers or {}, body)
        if answer.status == 401 and self._digests and self._section.username is not None:
            first = self._digest
            self._digest = self._challenged(answer)
            if first is None or self._digest.nonce != first.nonce:
                answer = await self._once(method, path, headers or {}, body)
        return answer

    async def want(self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b"") -> Answer:
        """A request that must succeed."""
        answer = await self.request(method, path, headers=headers, body=body)
        if answer.status >= 300:
            raise self.refused(answer)
        return answer

    async def begin(self, method: str, path: str, headers: dict[str, str]) -> Exchange:
        """Send the header of a request whose body follows; ask something cheap first, so that the digest is known."""
        reader, writer = await self._connect()
        writer.write(self._head(method, path, headers))
        return Exchange(self, writer, asyncio.create_task(_answer_or_none(reader)))

    async def upgrade(self, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A WebSocket to the device (RFC 6455, 4.1); ask something before, so that the digest is known."""
        key = base64.b64encode(os.urandom(16)).decode()
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await self._connect()
                try:
                    writer.write(self._head("GET", path, {**headers, "Sec-WebSocket-Key": key}))
                    answer = await read_answer(reader, upgrade=True)
                    if answer.status != 101:
                        raise self.refused(answer)
                    if answer.headers.get("sec-websocket-accept") != [websocket.accept(key)]:
                        raise self.refused("it answers, but not as a WebSocket")
                except BaseException:
                    writer.close()
                    raise
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            raise self.refused(reason(error) or f"no answer in {TIMEOUT_S:g} s") from None
        return reader, writer

    def refused(self, answer: Answer | str) -> DriverError:
        """The device said no: as an error that a person understands."""
        if isinstance(answer, Answer):
            answer = f"{_MEANINGS.get(answer.status, 'refused')} (HTTP {answer.status})"
        return DriverError(f"speaker {self._name}: {self.where}: {answer}")

    def _challenged(self, answer: Answer) -> Digest:
        found = challenge(answer.headers.get("www-authenticate", []))
        if found is None:
            raise self.refused("it asks for the password in clear (no digest); switch digest authentication on")
        return found

    async def _once(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await self._connect()
                try:
                    writer.write(self._head(method, path, {**headers, "Content-Length": str(len(body))}) + body)
                    await writer.drain()
                    return await read_answer(reader)
                finally:
                    writer.close()
        except TimeoutError:
            raise self.refused(f"no answer in {TIMEOUT_S:g} s") from None
        except (OSError, UnicodeError, EOFError, ValueError) as error:
            raise self.refused(reason(error) or "hung up without an answer") from None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=self._section.ca_file) if self._tls else None
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(self.host, self._port, ssl=context)
        short_of_breath(writer)
        return reader, writer

    def _head(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}:{self._port}"]
        if "Connection" not in headers:
            lines.append("Connection: close")
        lines += [f"{key}: {value}" for key, value in headers.items()]
        if self._digest is not None and self._section.username is not None:
            secret = config.read_secret(self._section.password) if self._section.password else ""
            user = self._section.username
            lines.append(f"Authorization: {self._digest.authorize(user, secret, method, path, secrets.token_hex(8))}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def short_of_breath(writer: asyncio.StreamWriter) -> None:
    """Make a connection notice within seconds that nobody takes what it sends.

    With the usual buffers a minute of sound vanishes in a device that has stopped reading, or is no longer there.
    """
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)


async def read_answer(reader: asyncio.StreamReader, *, upgrade: bool = False) -> Answer:
    """A status line, headers and a body; raises ValueError on anything else, EOFError where it is cut off."""
    status = 100
    headers: dict[str, list[str]] = {}
    while status == 100:  # "continue" is no answer yet
        version, _, rest = (await _line(reader)).partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ValueError("it answers, but not in HTTP")
        status, headers = int(rest[:3]), {}
        for _ in range(MAX_HEADER_LINES):
            if not (line := await _line(reader)):
                break
            key, _, value = line.partition(":")
            headers.setdefault(key.strip().lower(), []).append(value.strip())
        else:
            raise ValueError("it answers with too many headers")
    if upgrade and status == 101:  # what follows is another protocol's
        return Answer(status, headers)
    return Answer(status, headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: dict[str, list[str]]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", [""])[0].lower():
        body = b""
        while size := int((await _line(reader)).partition(";")[0], 16):
            if len(body) + size > MAX_BODY:
                raise ValueError("its answer is too long")
            body += await reader.readexactly(size)
            await _line(reader)
        return body
    if "content-length" in headers:
        size = int(headers["content-length"][0])
        if not 0 <= size <= MAX_BODY:
            raise ValueError("its answer is too long")
        return await reader.readexactly(size)
    body = b""
    while len(body) <= MAX_BODY and (more := await reader.read(65536)):
        body += more
    return body


async def _line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("it hung up in the middle of its answer" if line else "it hung up without an answer")
    return line.rstrip(b"\r\n").decode("latin-1")


async def _answer_or_none(reader: asyncio.StreamReader) -> Answer | None:
    try:
        return await read_answer(reader)
    except (OSError, EOFError, ValueError):
        return None
