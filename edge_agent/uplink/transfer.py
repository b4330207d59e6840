"""What moves a file to the far end: one HTTPS session for tus and S3, and the ways in which a transfer may end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from msgspec import Struct
from yarl import URL

from edge_agent.config import Evidence, Mqtt
from edge_agent.runtime import Clock, DriverError
from edge_agent.topics import Receipt, Unwanted
from edge_agent.uplink.pace import Bucket

DSCP_CS1 = 0x20  # RFC 4594 "low-priority data", as the TOS byte: what routers drop first
SLICE = 16 * 1024
ANSWER_BYTES = 1024 * 1024
ANSWER_S = 30.0  # for the answer, beyond the time that the body takes
SLOWEST_PER_S = 4 * 1024  # a body that is slower than this counts as stalled
READABLE = ("application/json", "application/xml", "text/xml", "text/plain")

Read = Callable[[int, int], Awaitable[bytes]]  # (offset, count): so many bytes of the file, never fewer but at its end
Note = Callable[[str | None, int], Awaitable[None]]  # (upload, offset): the far end has this much; on disk on return


class ServerError(DriverError):
    """The server was reached and cannot do it now: this file waits, others may go."""


class Stored(Struct, frozen=True):
    """All bytes are at the far end, which has not said yet that their hash is right."""


class Denied(Struct, frozen=True):
    """The far end does not accept the grant (any longer)."""

    why: str


class Yielded(Struct, frozen=True):
    """Stopped between two requests, since something else goes first."""


Outcome = Receipt | Stored | Denied | Unwanted | Yielded


class Answer(Struct, frozen=True):
    """What came back; `body` is empty where it is neither JSON, XML nor text. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Http:
    """Requests one after another, marked as low priority and paced; every fault of the link is a `DriverError`."""

    def __init__(self, tls: ssl.SSLContext, *, plain: bool, max_bytes_per_s: float | None, clock: Clock) -> None:
        self._tls, self._plain, self._clock = tls, plain, clock
        self._rate = max_bytes_per_s
        self._bucket = Bucket(max_bytes_per_s, clock.monotonic())
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """One request; redirects are answers like any other."""
        where = urlsplit(url)
        if where.scheme != "https" and not (self._plain and where.scheme == "http"):
            raise DriverError(f"{url}: not https://; `evidence.plain = true` allows http://, in development only")
        if self._session is None:
            self._session = self._open()
        facts = {"User-Agent": "edge-agent", **headers}
        if body or method in ("POST", "PUT", "PATCH"):
            facts["Content-Length"] = str(len(body))
        deadline_s = ANSWER_S + len(body) / min(SLOWEST_PER_S, (self._rate or SLOWEST_PER_S) / 2)
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._session.request(
                    method,
                    URL(url, encoded=True),
                    headers=facts,
                    data=self._paced(body) if body else None,
                    allow_redirects=False,
                ) as answer,
            ):
                got = {name.lower(): value for name, value in answer.headers.items()}
                readable = got.get("content-type", "").partition(";")[0].strip().lower() in READABLE
                if not readable:
                    answer.close()  # whatever it is, it is not for us: some servers send the file back
                text = await answer.content.read(ANSWER_BYTES) if readable else b""
                return Answer(answer.status, got, text)
        except TimeoutError:
            raise DriverError(f"{where.hostname}: {method} took more than {deadline_s:.0f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DriverError(f"{where.hostname}: {method}: {error or type(error).__name__}") from None

    async def _paced(self, body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), SLICE):
            piece = body[start : start + SLICE]
            if wait_s := self._bucket.take(len(piece), self._clock.monotonic()):
                await self._clock.sleep(wait_s)
            yield piece

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=1, socket_factory=_low_priority)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)


def tls_context(section: Evidence, mqtt: Mqtt | None) -> ssl.SSLContext:
    """TLS with the device's own certificate, the one of [mqtt] where [evidence] names none; raises `DriverError`."""
    own = section if section.cert_file is not None or mqtt is None else mqtt
    ca_file = section.ca_file or (mqtt.ca_file if mqtt is not None else None)
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        if own.cert_file is not None and own.key_file is not None:
            context.load_cert_chain(own.cert_file, own.key_file)
    except (OSError, ssl.SSLError) as error:
        raise DriverError(f"evidence: certificates: {error}; look at ca_file, cert_file and key_file") from None
    return context


def _low_priority(address: tuple[int, int, int, str, Any]) -> socket.socket:
    """A socket whose packets carry DSCP CS1, and that a dead link ends; `address` is one row of getaddrinfo."""
    sock = socket.socket(address[0], address[1], address[2])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(ANSWER_S * 1000))
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_CS1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_CS1)
    return sock
