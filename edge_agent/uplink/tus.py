"""tus 1.0: a file goes on from the byte that the server has (core, creation, checksum; https://tus.io/protocols)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from enum import Enum, auto
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec import Struct

from edge_agent.runtime import Clock, DriverError
from edge_agent.topics import Receipt, TusGrant, Unwanted
from edge_agent.uplink.evidence_store import Item
from edge_agent.uplink.pace import Chunk
from edge_agent.uplink.transfer import Answer, Denied, Http, Note, Outcome, Read, ServerError, Stored, Yielded

VERSION = "1.0.0"
RETRIES = 5  # in a row, of one chunk
RESTARTS = 3  # of one file, before it waits


class Next(Enum):
    """What an answer asks for."""

    GO = auto()
    DENIED = auto()  # another grant
    ANEW = auto()  # the upload is no longer there: create it again
    SYNC = auto()  # ask for the offset, go on from there
    REPEAT = auto()  # the chunk was damaged on the way
    UNWANTED = auto()
    WAIT = auto()


def judge(method: str, status: int) -> Next:
    """What a status means, by the protocol; nothing but the three good ones is success."""
    match method, status:
        case ("POST", 201) | ("HEAD", 200 | 204) | ("PATCH", 200 | 204):
            return Next.GO
        case (_, 401 | 403):
            return Next.DENIED
        case (_, 413):
            return Next.UNWANTED
        case ("HEAD" | "PATCH", 404 | 410):
            return Next.ANEW
        case ("GET", 404 | 410 | 460):  # all was there, and the server threw it away: its hash was wrong
            return Next.ANEW
        case ("GET", _):
            return Next.GO
        case ("PATCH", 409):
            return Next.SYNC
        case ("PATCH", 460):
            return Next.REPEAT
        case _:
            return Next.WAIT


class Server(Struct, frozen=True):
    """What a server said that it can do."""

    max_bytes: int | None = None
    checksum: bool = False


def server_of(answer: Answer, url: str) -> Server:
    """Read the answer to OPTIONS; one that says nothing is taken as the core protocol. Raises `DriverError`."""
    said = answer.headers
    versions = _words(said.get("tus-version", VERSION))
    if VERSION not in versions:
        raise DriverError(f"{url}: speaks tus {', '.join(versions)}, not {VERSION}")
    extensions = _words(said.get("tus-extension", "creation"))
    if "creation" not in extensions:
        raise DriverError(f"{url}: cannot create uploads (its extensions: {', '.join(extensions)})")
    largest = said.get("tus-max-size", "")
    return Server(
        max_bytes=int(largest) if largest.isdigit() and int(largest) > 0 else None,
        checksum="checksum" in extensions and "sha256" in _words(said.get("tus-checksum-algorithm", "")),
    )


def metadata(item: Item, device: str) -> str:
    """The Upload-Metadata header: what the centre needs to file the upload."""
    facts = {
        "filename": item.id,
        "incident": item.incident,
        "kind": item.kind,
        "sha256": item.sha256,
        "device": device,
    }
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in facts.items())


def receipt_in(answer: Answer) -> Receipt | None:
    """The receipt that an answer carries, if it does."""
    if answer.content_type != "application/json":
        return None
    try:
        return msgspec.json.decode(answer.body, type=Receipt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Tus:
    """Sends files to tus servers, one at a time."""

    def __init__(self, http: Http, device: str, clock: Clock) -> None:
        self._http, self._device, self._clock = http, device, clock
        self._servers: dict[str, Server] = {}
        self._chunk = Chunk()

    async def send(self, item: Item, grant: TusGrant, *, read: Read, note: Note, go_on: Callable[[], bool]) -> Outcome:
        """From the byte that the server has to the last one; raises `DriverError` when the link or the server fails."""
        server = await self._server(grant)
        if server.max_bytes is not None and item.bytes > server.max_bytes:
            return Unwanted(reason=f"{item.bytes} bytes are more than the {server.max_bytes} that the server takes")
        url = item.url if item.url is not None and _origin(item.url) == _origin(grant.url) else None
        offset: int | None = None
        retries = restarts = 0
        while True:
            if url is None:
                method, answer = "POST", await self._create(item, grant)
            elif offset is None:
                method, answer = "HEAD", await self._ask("HEAD", url, grant)
            elif offset < item.bytes:
                if not go_on():
                    return Yielded()
                method, answer = "PATCH", await self._patch(url, offset, grant, server, read)
            else:
                method, answer = "GET", await self._ask("GET", url, grant, {"Accept": "application/json"})
            verdict = judge(method, answer.status)
            if verdict is Next.GO:
                if method == "GET":
                    return receipt_in(answer) or Stored()
                if method == "POST":
                    url, offset = _location(grant.url, answer), 0
                elif (found := _offset(answer, item, url)) != offset:
                    retries, offset = (0 if method == "PATCH" else retries), found
                else:
                    verdict = Next.SYNC  # it took nothing of the chunk
                await note(url, offset or 0)
                if offset == item.bytes and (receipt := receipt_in(answer)):
                    return receipt
            why = f"{_host(grant.url)}: {method} answered {answer.status} {_text(answer)}".rstrip()
            match verdict:
                case Next.DENIED:
                    return Denied(why)
                case Next.UNWANTED:
                    return Unwanted(reason=why)
                case Next.ANEW:
                    url, offset, restarts = None, None, restarts + 1
                    await note(None, 0)
                case Next.SYNC:
                    offset, retries = None, retries + 1
                case Next.REPEAT:
                    retries += 1
                case Next.WAIT:
                    raise ServerError(why)
            if retries > RETRIES or restarts > RESTARTS:
                raise ServerError(f"{why}; again and again")

    async def _server(self, grant: TusGrant) -> Server:
        if grant.url not in self._servers:
            self._servers[grant.url] = server_of(await self._ask("OPTIONS", grant.url, grant), grant.url)
        return self._servers[grant.url]

    async def _create(self, item: Item, grant: TusGrant) -> Answer:
        facts = {"Upload-Length": str(item.bytes), "Upload-Metadata": metadata(item, self._device)}
        return await self._ask("POST", grant.url, grant, facts)

    async def _patch(self, url: str, offset: int, grant: TusGrant, server: Server, read: Read) -> Answer:
        body = await read(offset, self._chunk.size)
        facts = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        if server.checksum:
            facts["Upload-Checksum"] = f"sha256 {base64.b64encode(hashlib.sha256(body).digest()).decode()}"
        began = self._clock.monotonic()
        try:
            answer = await self._ask("PATCH", url, grant, facts, body)
        except DriverError:
            self._chunk.cut()
            raise
        self._chunk.sent(len(body), self._clock.monotonic() - began)
        return answer

    async def _ask(
        self, method: str, url: str, grant: TusGrant, facts: dict[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        headers = {"Tus-Resumable": VERSION, **(facts or {})}
        if grant.token is not None:
            headers["Authorization"] = f"Bearer {grant.token}"
        return await self._http.ask(method, url, headers, body)


def _location(endpoint: str, answer: Answer) -> str:
    """Where the upload was created; it must be at the same server, or the token would go to a stranger."""
    url = urljoin(endpoint, answer.headers.get("location", ""))
    if "location" not in answer.headers or _origin(url) != _origin(endpoint):
        raise ServerError(
            f"{_host(endpoint)}: created the upload at {answer.headers.get('location')!r}, which is not at {endpoint};"
            " behind a proxy, have the server trust its X-Forwarded headers"
        )
    return url


def _offset(answer: Answer, item: Item, url: str | None) -> int:
    text = answer.headers.get("upload-offset", "")
    if (length := answer.headers.get("upload-length", str(item.bytes))) != str(item.bytes):
        raise ServerError(f"{url}: is an upload of {length} bytes, the file has {item.bytes}")
    if not text.isdigit() or int(text) > item.bytes:
        raise ServerError(f"{url}: says Upload-Offset {text!r} of a file of {item.bytes} bytes")
    return int(text)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _text(answer: Answer) -> str:
    """The first words of an answer, for a person."""
    return " ".join(answer.body[:200].decode(errors="replace").split())


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
