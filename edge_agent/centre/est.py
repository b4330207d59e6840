"""Enrolment over Secure Transport: RFC 7030 as RFC 8951 clarifies it, over HTTPS, for the small CA.

`cacerts` for anybody; `simpleenroll` with HTTP Basic (user: the device's id or empty, password: the claim's code);
`simplereenroll` with the certificate that is to be renewed. Beside it, for who shows a certificate:
`/.well-known/edge-agent/site` with the brokers and the configuration of that device.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from cryptography import x509

from edge_agent import certificates, claim
from edge_agent.centre.authority import Authority
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError

log = logging.getLogger(__name__)

EST = "/.well-known/est/"
SITE = "/.well-known/edge-agent/site"
MAX_BODY = 16 * 1024
LOOK_EVERY_S = 3600.0  # whether the server's own certificate is to be renewed


class EstServer:
    """The CA on the network; `brokers` is what devices are told to report to, as HOST:PORT."""

    def __init__(
        self,
        authority: Authority,
        address: tuple[str, int],
        names: list[x509.GeneralName],
        *,
        brokers: tuple[str, ...] = (),
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_ready: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._authority, self._address, self._names = authority, address, names
        self._brokers, self._wall, self._on_ready = brokers, wall, on_ready

    async def run(self) -> None:
        """Serve until cancelled; DriverError where the port cannot be had."""
        tls = _tls(self._authority.folder / "ca.crt")
        self._load_certificate(tls)
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        host, port = self._address
        try:
            site = web.TCPSite(runner, host, port, ssl_context=tls)
            await site.start()
            self._on_ready(runner.addresses[0][1])
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                try:
                    self._load_certificate(tls)
                except DriverError as error:  # it goes on with the one that it has, and tries again
                    log.error("%s", error)
        except OSError as error:
            raise DriverError(f"centre ca: {host}:{port}: {error.strerror}") from None
        finally:
            await runner.cleanup()

    def _load_certificate(self, tls: ssl.SSLContext) -> None:
        """The server's own certificate, renewed where that is due; connections from now on are served with it."""
        tls.load_cert_chain(*self._authority.server(self._names, self._wall()))

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_unavailable])
        app.add_routes(
            [
                web.get(EST + "cacerts", self._cacerts),
                web.get(EST + "csrattrs", _nothing),
                web.post(EST + "simpleenroll", self._enrol),
                web.post(EST + "simplereenroll", self._renew),
                web.get(SITE, self._site),
                web.get("/crl.pem", self._crl),
            ]
        )
        return app

    async def _cacerts(self, _: web.Request) -> web.Response:
        return _pkcs7(self._authority.chain)

    async def _crl(self, _: web.Request) -> web.Response:
        return web.Response(body=self._authority.crl(self._wall()), content_type="application/x-pem-file")

    async def _enrol(self, request: web.Request) -> web.Response:
        shown = _basic(request.headers.get("Authorization", ""))
        if shown is None:
            return _no(401, "claim: HTTP Basic is wanted: the device's id and the claim's code")
        device, code = shown
        csr = await _csr(request)
        try:
            found = self._authority.enrol(device, claim.code(code), csr, self._wall())
        except ValueError as error:
            return _no(400, f"request: {error}")
        return _no(403, str(found)) if isinstance(found, Refusal) else _pkcs7([found])

    async def _renew(self, request: web.Request) -> web.Response:
        shown = _peer(request)
        if shown is None:
            return _no(401, "certificate: none was shown; renewal wants the one that is to be renewed")
        csr = await _csr(request)
        try:
            found = self._authority.renew(shown, csr, self._wall())
        except ValueError as error:
            return _no(400, f"request: {error}")
        return _no(403, str(found)) if isinstance(found, Refusal) else _pkcs7([found])

    async def _site(self, request: web.Request) -> web.Response:
        shown = _peer(request)
        if shown is None:
            return _no(401, "certificate: none was shown")
        if refusal := self._authority.refuses(shown):
            return _no(403, str(refusal))
        device, _ = certificates.name(shown.subject)
        return web.json_response({"brokers": self._brokers, "config": self._authority.config(device)})


def _tls(ca_file: Path) -> ssl.SSLContext:
    """Who shows a certificate of ours is known by it; who shows none may still enrol."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _peer(request: web.Request) -> x509.Certificate | None:
    """The certificate that the handshake has verified."""
    sock: Any = request.transport.get_extra_info("ssl_object") if request.transport else None
    der = sock.getpeercert(binary_form=True) if sock else None
    return None if der is None else x509.load_der_x509_certificate(der)


async def _csr(request: web.Request) -> bytes:
    """A base64 body (RFC 8951 section 3.1: whatever Content-Transfer-Encoding says)."""
    try:
        return base64.b64decode(b"".join((await request.read()).split()), validate=True)
    except binascii.Error as error:
        raise web.HTTPBadRequest(text=f"request: no base64: {error}\n") from None


def _basic(header: str) -> tuple[str, str] | None:
    """User and password of RFC 7617."""
    scheme, _, value = header.partition(" ")
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if scheme.lower() == "basic" and colon else None


def _pkcs7(found: list[x509.Certificate]) -> web.Response:
    response = web.Response(body=certificates.to_pkcs7(found), content_type="application/pkcs7-mime")
    response.headers["Content-Type"] = "application/pkcs7-mime; smime-type=certs-only"
    response.headers["Content-Transfer-Encoding"] = "base64"
    return response


def _no(status: int, text: str) -> web.Response:
    headers = {"WWW-Authenticate": 'Basic realm="edge-agent claim"'} if status == 401 else None
    return web.Response(status=status, text=text + "\n", headers=headers)


@web.middleware
async def _unavailable(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A disk that is full is the CA's trouble, and passes: the device asks again later."""
    try:
        return await handler(request)
    except DriverError as error:
        log.error("%s", error)
        return _no(503, str(error))


async def _nothing(_: web.Request) -> web.Response:
    """csrattrs: no attribute is asked for (RFC 7030 section 4.5.2)."""
    return web.Response(status=204)
