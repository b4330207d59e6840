"""A small tus 1.0 server for the originals of incidents: it grants, takes up where it was cut, and gives receipts.

`DIR/DEVICE/SHA256.info` is what an upload promised, `.part` what came of it, `.jpg` (or `.mp4`, …) the whole file, and
`.json` its receipt: written once the hash was computed here and the file is safe on the disk. The name of an upload is
the hash it promised, so a file that is sent twice is stored once.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct

from edge_agent.files import write_durably
from edge_agent.runtime import Clock, DriverError
from edge_agent.sealing import SUFFIX as SEALED
from edge_agent.topics import EvidenceFile, Grant, GrantRequest, Receipt, TusGrant, Unwanted, rfc3339

T = TypeVar("T")

VERSION = "1.0.0"
MAX_BYTES = 4 * 1024**3
MAX_CHUNK = 8 * 1024**2  # of a request with a checksum: it is kept in memory until the checksum is known to be right
SLICE = 256 * 1024
GRANT_S = 3600.0
EXPIRE_S = 7 * 86_400.0
SUFFIXES = (".jpg", ".jpeg", ".png", ".mp4", ".mkv")  # and these with SEALED
DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Ticket(Struct, frozen=True):
    """What a grant's token says: this device may upload this file until then."""

    device: str
    sha256: str
    bytes: int
    exp: float


class EvidenceServer:
    """Call `run` under `supervise`; `grant` answers what devices ask over MQTT."""

    def __init__(
        self,
        directory: Path,
        host: str,
        port: int,
        *,
        url: str | None = None,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Clock,
    ) -> None:
        """`url` is how devices reach us; `token` is one that lets any file in, for devices that ask for no grants."""
        self._dir, self._host, self._port, self._token, self._tls = directory, host, port, token, tls
        self._url = (url or f"{'http' if tls is None else 'https'}://{host}:{port}").rstrip("/") + "/files"
        self._clock = clock
        self._disk = ThreadPoolExecutor(1, "evidence")  # one thread: what it looks at does not change under its hands
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = _key(directory / "grant.key")

    async def run(self) -> None:
        """Serve until cancelled; raises `DriverError` where the port is taken."""
        await self._on_disk(self._sweep)
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
            await asyncio.Event().wait()
        except OSError as error:
            raise DriverError(f"evidence server {self._host}:{self._port}: {error.strerror}") from None
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The requests that are answered, for whoever serves them otherwise than `run`."""
        app = web.Application(client_max_size=MAX_CHUNK, middlewares=[_say_full])
        app.router.add_route("OPTIONS", "/files", self._options)
        app.router.add_post("/files", self._create)
        app.router.add_route("HEAD", "/files/{device}/{sha256}", self._head)
        app.router.add_patch("/files/{device}/{sha256}", self._patch)
        app.router.add_get("/files/{device}/{sha256}", self._receipt, allow_head=False)
        app.on_response_prepare.append(_sign)
        return app

    async def grant(self, device: str, ask: GrantRequest) -> Grant:
        """Where a device may put a file; the receipt at once where the file is here already."""
        if not DEVICE.fullmatch(device) or not SHA256.fullmatch(ask.sha256):
            return Unwanted(reason="`sha256` must be 64 hexadecimal digits in lower case")
        if ask.bytes > MAX_BYTES:
            return Unwanted(reason=f"{ask.bytes} bytes are more than the {MAX_BYTES} that are taken")
        if found := await self._on_disk(lambda: self._find_receipt(device, ask.sha256)):
            return found
        exp = self._clock.wall() + GRANT_S
        ticket = msgspec.json.encode(Ticket(device, ask.sha256, ask.bytes, exp))
        token = base64.urlsafe_b64encode(self._mac(ticket) + ticket).decode()
        return TusGrant(url=self._url, token=token, exp=rfc3339(exp))

    # --- requests -------------------------------------------------------------------------------------------------

    async def _options(self, _: web.Request) -> web.Response:
        can = {"Tus-Version": VERSION, "Tus-Extension": "creation,checksum,expiration"}
        limits = {"Tus-Max-Size": str(MAX_BYTES), "Tus-Checksum-Algorithm": "sha256"}
        return web.Response(status=204, headers=can | limits)

    async def _create(self, request: web.Request) -> web.Response:
        facts = _metadata(request.headers.get("Upload-Metadata", ""))
        device, sha256, name = (facts.get(key, "") for key in ("device", "sha256", "filename"))
        length = request.headers.get("Upload-Length", "")
        if not (DEVICE.fullmatch(device) and SHA256.fullmatch(sha256) and name and length.isdigit()):
            raise web.HTTPBadRequest(text="Upload-Length and the metadata device, sha256 and filename are required")
        if int(length) > MAX_BYTES:
            raise web.HTTPRequestEntityTooLarge(MAX_BYTES, int(length))
        self._permit(request, device, sha256, int(length))
        incident, kind = facts.get("incident", ""), facts.get("kind", "")
        file = EvidenceFile(id=name, incident=incident, kind=kind, sha256=sha256, bytes=int(length))
        await self._on_disk(lambda: self._begin(device, file))
        headers = {"Location": f"{self._url}/{device}/{sha256}", "Upload-Expires": self._expires()}
        if file.bytes == 0:
            return web.json_response(body=await self._finish(device, file), status=201, headers=headers)
        return web.Response(status=201, headers=headers)

    async def _head(self, request: web.Request) -> web.Response:
        _, file, offset = await self._upload(request)
        headers = {"Upload-Offset": str(offset), "Upload-Length": str(file.bytes), "Cache-Control": "no-store"}
        return web.Response(headers=headers)

    async def _patch(self, request: web.Request) -> web.Response:
        device, file, offset = await self._upload(request)
        if request.content_type != "application/offset+octet-stream":
            raise web.HTTPUnsupportedMediaType
        if request.headers.get("Upload-Offset") != str(offset):
            raise web.HTTPConflict(text=f"the offset is {offset}")
        if (checksum := request.headers.get("Upload-Checksum")) is not None:
            body = await request.read()
            _verify(checksum, body)
            offset = await self._append(device, file, offset, body)
        else:  # keep whatever comes before a cut
            async for piece in request.content.iter_chunked(SLICE):
                offset = await self._append(device, file, offset, piece)
        headers = {"Upload-Offset": str(offset), "Upload-Expires": self._expires()}
        if offset == file.bytes:
            return web.json_response(body=await self._finish(device, file), headers=headers)
        return web.Response(status=204, headers=headers)

    async def _receipt(self, request: web.Request) -> web.Response:
        """Not of tus: the receipt of a whole upload, for a device that missed it."""
        device, file, offset = await self._upload(request)
        if offset < file.bytes:
            raise web.HTTPNotFound
        return web.json_response(body=await self._finish(device, file))

    async def _upload(self, request: web.Request) -> tuple[str, EvidenceFile, int]:
        """The upload of a request, and how much of it is here; 404 where there is none."""
        device, sha256 = request.match_info["device"], request.match_info["sha256"]
        if not (DEVICE.fullmatch(device) and SHA256.fullmatch(sha256)):
            raise web.HTTPNotFound
        self._permit(request, device, sha256, None)
        found = await self._on_disk(lambda: self._look(device, sha256))
        if found is None:
            raise web.HTTPNotFound
        return device, *found

    def _permit(self, request: web.Request, device: str, sha256: str, length: int | None) -> None:
        """401 for a token that is no good (any more), 403 for one of another file or device."""
        certificate = request.get_extra_info("peercert")
        if certificate:
            names = [value for rdn in certificate["subject"] for key, value in rdn if key == "commonName"]
            if names != [device]:
                raise web.HTTPForbidden(text=f"the certificate is of {', '.join(names)}, not of {device}")
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._token is not None and hmac.compare_digest(given.encode(), self._token.encode()):
            return
        try:
            raw = base64.urlsafe_b64decode(given)
            ticket = msgspec.json.decode(raw[32:], type=Ticket)
        except (binascii.Error, msgspec.DecodeError, ValueError):
            raise web.HTTPUnauthorized(text="no grant") from None
        if not hmac.compare_digest(raw[:32], self._mac(raw[32:])) or ticket.exp < self._clock.wall():
            raise web.HTTPUnauthorized(text="the grant is not ours, or has expired")
        if (ticket.device, ticket.sha256) != (device, sha256) or length not in (None, ticket.bytes):
            raise web.HTTPForbidden(text="the grant is for another file")

    def _mac(self, ticket: bytes) -> bytes:
        return hmac.digest(self._key, ticket, "sha256")

    def _expires(self) -> str:
        return formatdate(self._clock.wall() + EXPIRE_S, usegmt=True)

    # --- the disk -------------------------------------------------------------------------------------------------

    async def _on_disk(self, act: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, act)
        except OSError as error:
            raise DriverError(f"{self._dir}: {error.strerror}") from None

    async def _append(self, device: str, file: EvidenceFile, offset: int, body: bytes) -> int:
        """Add bytes at an offset, on disk when this returns; 409 where someone else was quicker."""

        def act() -> bool:
            with self._path(device, file.sha256, ".part").open("ab") as part:
                if part.tell() != offset:
                    return False
                part.write(body)
                part.flush()
                os.fsync(part.fileno())
            return True

        if offset + len(body) > file.bytes:
            raise web.HTTPRequestEntityTooLarge(file.bytes, offset + len(body))
        if not await self._on_disk(act):
            raise web.HTTPConflict(text="another request wrote there")
        return offset + len(body)

    async def _finish(self, device: str, file: EvidenceFile) -> bytes:
        """Compare the hash, name the file, write the receipt; 460 where the hash is wrong, and the upload is gone."""

        def act() -> Receipt | None:
            if found := self._find_receipt(device, file.sha256):
                return found
            whole = self._path(device, file.sha256, _suffix(file))
            part, info = (self._path(device, file.sha256, end) for end in (".part", ".info"))
            if part.exists():
                with part.open("rb") as data:
                    right = hashlib.file_digest(data, "sha256").hexdigest() == file.sha256
                if not right:
                    part.unlink()
                    info.unlink()
                    return None
                part.rename(whole)
            stored_at, url = rfc3339(self._clock.wall()), f"{self._url}/{device}/{file.sha256}"
            receipt = Receipt(id=file.id, sha256=file.sha256, bytes=file.bytes, stored_at=stored_at, url=url)
            write_durably(self._path(device, file.sha256, ".json"), msgspec.json.encode(receipt))
            return receipt

        receipt = await self._on_disk(act)
        if receipt is None:
            raise _WrongChecksum(text="the whole file has another sha256: send it again")
        return msgspec.json.encode(receipt)

    def _begin(self, device: str, file: EvidenceFile) -> None:
        info, part = (self._path(device, file.sha256, end) for end in (".info", ".part"))
        info.parent.mkdir(exist_ok=True, mode=0o700)
        if not info.exists():
            part.touch(mode=0o600)
            write_durably(info, msgspec.json.encode(file))

    def _look(self, device: str, sha256: str) -> tuple[EvidenceFile, int] | None:
        try:
            file = msgspec.json.decode(self._path(device, sha256, ".info").read_bytes(), type=EvidenceFile)
        except FileNotFoundError:
            return None
        part = self._path(device, sha256, ".part")
        return file, part.stat().st_size if part.exists() else file.bytes  # without it, it was whole and has its name

    def _find_receipt(self, device: str, sha256: str) -> Receipt | None:
        path = self._path(device, sha256, ".json")
        return msgspec.json.decode(path.read_bytes(), type=Receipt) if path.exists() else None

    def _sweep(self) -> None:
        """Forget uploads that nobody went on with."""
        for part in self._dir.glob("*/*.part"):
            if self._clock.wall() - part.stat().st_mtime > EXPIRE_S:
                part.with_suffix(".info").unlink(missing_ok=True)
                part.unlink()

    def _path(self, device: str, sha256: str, suffix: str) -> Path:
        return self._dir / device / f"{sha256}{suffix}"


def _suffix(file: EvidenceFile) -> str:
    """What a file's name ends with here: as at the device, for the kinds that are known."""
    if file.kind == "manifest":
        return ".manifest"
    *_, before, last = ["", *(one.lower() for one in Path(file.id).suffixes[-2:] or [""])]
    if last == SEALED and before in SUFFIXES:
        return before + last
    return last if last in SUFFIXES else ".bin"


class _WrongChecksum(web.HTTPClientError):
    """The status that tus adds to HTTP."""

    status_code = 460


@web.middleware
async def _say_full(request: web.Request, handler: Handler) -> web.StreamResponse:
    """507 where our own disk fails: the device waits and comes again."""
    try:
        return await handler(request)
    except DriverError as error:
        return web.Response(status=507, text=str(error))


async def _sign(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Tus-Resumable"] = VERSION


def _verify(checksum: str, body: bytes) -> None:
    algorithm, _, value = checksum.partition(" ")
    if algorithm != "sha256":
        raise web.HTTPBadRequest(text=f"the checksum {algorithm} is not known, sha256 is")
    if base64.b64encode(hashlib.sha256(body).digest()).decode() != value.strip():
        raise _WrongChecksum(text="the chunk was damaged on the way")


def _metadata(header: str) -> dict[str, str]:
    """Upload-Metadata: `key base64, key base64`; 400 where it cannot be read."""
    try:
        pairs = (pair.split() for pair in header.split(",") if pair.strip())
        return {pair[0]: base64.b64decode("".join(pair[1:2]), validate=True).decode() for pair in pairs}
    except ValueError:
        raise web.HTTPBadRequest(text="Upload-Metadata cannot be read") from None


def _key(path: Path) -> bytes:
    """The key of our grants, made once."""
    if not path.exists():
        write_durably(path, secrets.token_bytes(32))
    return path.read_bytes()
