"""Digest authentication for HTTP, RTSP and SIP: MD5 and SHA-256, qop "auth" or none (RFC 7616, RFC 2617). Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field

_PARAMETER = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}  # strongest last


@dataclass
class Digest:
    """One device's challenge, and the count of the answers to it: the nonce is used again, so nothing is sent twice."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: bool = False
    opaque: str | None = None
    stale: bool = False
    count: int = field(default=0, compare=False)

    def authorize(self, user: str, password: str, method: str, uri: str, cnonce: str) -> str:
        """The value of the `Authorization` header for one request."""
        self.count += 1
        nc = f"{self.count:08x}"
        secret = self._hash(f"{user}:{self.realm}:{password}")
        what = self._hash(f"{method}:{uri}")
        middle = f"{self.nonce}:{nc}:{cnonce}:auth" if self.qop else self.nonce
        parts = {
            "username": _quoted(user),
            "realm": _quoted(self.realm),
            "nonce": _quoted(self.nonce),
            "uri": _quoted(uri),
            "response": f'"{self._hash(f"{secret}:{middle}:{what}")}"',
            "algorithm": self.algorithm,
        }
        if self.qop:
            parts |= {"qop": "auth", "nc": nc, "cnonce": _quoted(cnonce)}
        if self.opaque is not None:
            parts["opaque"] = _quoted(self.opaque)
        return "Digest " + ", ".join(f"{key}={value}" for key, value in parts.items())

    def _hash(self, text: str) -> str:
        return _HASHES[self.algorithm](text.encode()).hexdigest()


def challenge(headers: list[str]) -> Digest | None:
    """The strongest digest challenge among the values of `WWW-Authenticate`; None where there is none that we know."""
    found: list[Digest] = []
    for header in headers:
        scheme, _, rest = header.strip().partition(" ")
        values = {key.lower(): (quoted or bare).replace("\\", "") for key, quoted, bare in _PARAMETER.findall(rest)}
        algorithm = values.get("algorithm", "MD5").upper()
        offered = [one.strip() for one in values.get("qop", "").split(",")]
        if scheme.lower() != "digest" or algorithm not in _HASHES or "nonce" not in values:
            continue
        if offered != [""] and "auth" not in offered:  # auth-int alone
            continue
        found.append(
            Digest(
                realm=values.get("realm", ""),
                nonce=values["nonce"],
                algorithm=algorithm,
                qop="auth" in offered,
                opaque=values.get("opaque"),
                stale=values.get("stale", "").lower() == "true",
            )
        )
    return max(found, key=lambda one: list(_HASHES).index(one.algorithm), default=None)


def answers(header: str, user: str, password: str, method: str, asked: Digest) -> bool:
    """Whether an `Authorization` answers our challenge: the server's side, for a device that registers here."""
    scheme, _, rest = header.strip().partition(" ")
    said = {key.lower(): (quoted or bare).replace("\\", "") for key, quoted, bare in _PARAMETER.findall(rest)}
    if scheme.lower() != "digest" or (said.get("username"), said.get("nonce")) != (user, asked.nonce):
        return False

    def hashed(text: str) -> str:
        return _HASHES[asked.algorithm](text.encode()).hexdigest()

    secret, what = hashed(f"{user}:{asked.realm}:{password}"), hashed(f"{method}:{said.get('uri', '')}")
    middle = asked.nonce
    if "qop" in said:
        middle = f"{asked.nonce}:{said.get('nc', '')}:{said.get('cnonce', '')}:{said['qop']}"
    response = said.get("response", "").lower().encode()  # `compare_digest` takes no text that is not ASCII
    return hmac.compare_digest(hashed(f"{secret}:{middle}:{what}").encode(), response)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
