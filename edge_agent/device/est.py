"""EST (RFC 7030, RFC 8951) as a client: the CA's certificate by its hash, enrolment by a claim, renewal.

The hash pins the CA before anything is sent (section 4.1.1: bootstrap distribution, authenticated out of band); from
then on TLS verifies chain and name, and dates are judged by the best time that is known, which may not be the kernel's:
a board without a battery starts in 1970.
"""

from __future__ import annotations

import base64
import http.client
import re
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography import x509

from edge_agent import certificates
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError

EST = "/.well-known/est/"
SITE = "/.well-known/edge-agent/site"
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of <openssl/x509_vfy.h>: `now` judges the dates
TIMEOUT_S = 20.0
MAX_ANSWER = 256 * 1024
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # what a stranger answers does not drive the technician's terminal
REFUSED = (400, 401, 403, 404)


class Site(msgspec.Struct, frozen=True):
    """What the CA's site tells an enrolled device; ours, not EST's."""

    brokers: tuple[str, ...] = ()
    config: str | None = None


class Trust(NamedTuple):
    """Whose server is believed, and by what time."""

    roots: list[x509.Certificate]
    now: Callable[[], datetime]


def pinned_roots(host: str, port: int, sha256: str) -> list[x509.Certificate] | Refusal:
    """The CA whose certificate has this hash, first, and what it vouches for; whatever else is shown is not trusted."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the hash decides, and no secret is sent
    found = _certificates(_ask((host, port), None, context, EST + "cacerts"), host, port)
    if isinstance(found, Refusal):
        return found
    for one in found:
        if certificates.sha256(one) == sha256:
            return [one, *(next_one for next_one in certificates.vouched(found, [one]) if next_one != one)]
    return Refusal(
        gate="ca",
        reason=f"{host}:{port} is not the CA of this claim, or the CA has changed",
        value=", ".join(certificates.sha256(one) for one in found) or "no certificate",
        limit=sha256,
        remedy="check network and address; if the CA was made anew, ask for a claim of the new one",
    )


def known_roots(where: tuple[str, int], trust: Trust) -> list[x509.Certificate]:
    """The CA as it is now, as far as whom is trusted vouches for it; as it was where the server tells nothing of it."""
    found = _certificates(_ask(where, trust, _context(trust), EST + "cacerts"), *where)
    return [] if isinstance(found, Refusal) else certificates.vouched(found, trust.roots)


def enrol(where: tuple[str, int], trust: Trust, user: tuple[str, str], csr: bytes) -> x509.Certificate | Refusal:
    """simpleenroll: a certificate for this request, by device id and claim."""
    basic = base64.b64encode(":".join(user).encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    return _first(_ask(where, trust, _context(trust), EST + "simpleenroll", csr, headers=headers), *where)


def renew(where: tuple[str, int], trust: Trust, identity: tuple[Path, Path], csr: bytes) -> x509.Certificate | Refusal:
    """simplereenroll: a new certificate for the holder of the one in `identity` (certificate, key)."""
    return _first(_ask(where, trust, _context(trust, identity), EST + "simplereenroll", csr), *where)


def site(where: tuple[str, int], trust: Trust, identity: tuple[Path, Path]) -> Site:
    """Brokers and configuration; nothing where the server is another EST server and knows of none."""
    answer = _ask(where, trust, _context(trust, identity), SITE)
    if isinstance(answer, Refusal):
        return Site()
    try:
        return msgspec.json.decode(answer, type=Site)
    except msgspec.DecodeError as error:
        raise DriverError(f"{where[0]}:{where[1]}: its answer is not understood: {error}") from None


def _context(trust: Trust, identity: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=certificates.pem(trust.roots).decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= NO_CHECK_TIME
    if identity is not None:
        try:
            context.load_cert_chain(*identity)
        except OSError as error:  # an ssl.SSLError is one as well
            raise DriverError(f"{identity[0]}: cannot be used: {error}; enrol anew with a claim") from None
    return context


def _ask(
    where: tuple[str, int],
    trust: Trust | None,
    context: ssl.SSLContext,
    path: str,
    csr: bytes | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> bytes | Refusal:
    """GET, or POST a request; a Refusal where the server says no, DriverError where it is not reached or trusted."""
    host, port = where
    body = None if csr is None else base64.encodebytes(csr)
    kind = {} if csr is None else {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.connect()
        if trust is not None:
            _judge_dates(connection.sock, trust, host, port)
        connection.request("GET" if body is None else "POST", path, body, kind | (headers or {}))
        response = connection.getresponse()
        answer = response.read(MAX_ANSWER)
    except ssl.SSLCertVerificationError as error:
        raise DriverError(
            f"{host}:{port}: its certificate is not of the CA that this device trusts, or for another name:"
            f" {error.verify_message}; if the CA was made anew, enrol with a claim of the new one"
        ) from None
    except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: of a name that can be none
        raise DriverError(f"{host}:{port}: the CA cannot be reached: {error}; check network and address") from None
    finally:
        connection.close()
    if response.status == 200:
        return answer
    said = CONTROLS.sub("\N{REPLACEMENT CHARACTER}", " ".join(answer[:2000].decode(errors="replace").split()))
    text = said[:500] or str(response.status)
    if response.status in REFUSED:
        return Refusal(gate="ca", reason=text)
    raise DriverError(f"{host}:{port}: the CA fails: {response.status} {text}; try again later")


def _judge_dates(sock: ssl.SSLSocket, trust: Trust, host: str, port: int) -> None:
    """Whether it has expired. One not valid yet says that our clock is behind: its CA, whom we trust, made it."""
    der = sock.getpeercert(binary_form=True)
    assert der is not None
    shown = x509.load_der_x509_certificate(der)
    if fault := certificates.lifetime_fault(shown, max(trust.now(), shown.not_valid_before_utc)):
        raise DriverError(
            f"{host}:{port}: its certificate is no good: {fault}; `edge-agent time` says who set the clock"
        )


def _certificates(answer: bytes | Refusal, host: str, port: int) -> list[x509.Certificate] | Refusal:
    if isinstance(answer, Refusal):
        return answer
    try:
        return certificates.from_pkcs7(answer)
    except ValueError as error:
        raise DriverError(f"{host}:{port}: is no EST server: {error}") from None


def _first(answer: bytes | Refusal, host: str, port: int) -> x509.Certificate | Refusal:
    found = _certificates(answer, host, port)
    if isinstance(found, Refusal):
        return found
    if not found:
        raise DriverError(f"{host}:{port}: answered without a certificate; try again later")
    return found[0]
