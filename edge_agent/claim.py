"""What lets a bare device become one of ours, once: a code, the CA's address, and the CA's hash. Pure.

As one line, also in a QR code: `EA1:HOST:PORT:SHA256:CODE`, where SHA256 is of the CA's certificate (DER, 64 hex
digits) and CODE is twenty symbols of Crockford's base 32 (https://www.crockford.com/base32.html), the last of them a
check symbol.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from msgspec import Struct

SCHEME = "EA1"
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
SYMBOLS = 20  # 19 of chance (95 bits) and one that sees a mistyped or swapped symbol
CHECK_PRIME = 31
_FORM = re.compile(
    r"^EA1:(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s]+):(?P<port>\d{1,5}):(?P<hash>[^:]*):(?P<code>[^:]*)$", re.I
)


class Claim(Struct, frozen=True, kw_only=True):
    """Where to enrol, whom to trust there, and by what right."""

    host: str
    port: int
    ca_sha256: str  # 64 lower-case hex digits
    code: str  # normalised: 20 symbols

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}:{host}:{self.port}:{self.ca_sha256}:{grouped(self.code)}"


def parse(text: str) -> Claim:
    """The claim in this line; ValueError says which part of it is wrong."""
    found = _FORM.match("".join(text.split()))
    if found is None:
        raise ValueError(f"a claim reads {SCHEME}:HOST:PORT:SHA256:CODE, as on the label; got {len(text)} characters")
    port = int(found["port"])
    if not 1 <= port <= 65535:
        raise ValueError(f"the claim's port {port} is not within 1 to 65535")
    return Claim(
        host=found["host"].strip("[]"), port=port, ca_sha256=sha256_hex(found["hash"]), code=code(found["code"])
    )


def sha256_hex(text: str) -> str:
    """A fingerprint as 64 lower-case hex digits, from whatever way it is written in; ValueError."""
    digits = text.replace(":", "").replace(" ", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(f"the CA's SHA-256 has 64 hex digits, this has {len(digits)}: {text[:16]!r}…")
    return digits


def code(text: str) -> str:
    """A typed code, normalised: case, spaces, dashes, and O for 0, I or L for 1; ValueError where it is mistyped."""
    symbols = re.sub(r"[\s-]", "", text.upper())
    if len(symbols) > SYMBOLS:  # a code may begin with these letters itself
        symbols = symbols.removeprefix(SCHEME)
    symbols = symbols.translate(str.maketrans("OIL", "011"))
    if len(symbols) != SYMBOLS or set(symbols) - set(ALPHABET):
        raise ValueError(f"a claim's code has {SYMBOLS} letters and digits, this has {len(symbols)}; type it anew")
    if symbols[-1] != _check(symbols[:-1]):
        raise ValueError("the claim's code is mistyped: its last symbol does not fit the others; type it anew")
    return symbols


def new_code() -> str:
    """A code that nobody guesses: 95 bits."""
    symbols = "".join(secrets.choice(ALPHABET) for _ in range(SYMBOLS - 1))
    return symbols + _check(symbols)


def grouped(symbols: str) -> str:
    """For people: `7F3K-…`, five groups of four."""
    return "-".join(symbols[at : at + 4] for at in range(0, len(symbols), 4))


def digest(symbols: str) -> str:
    """What the CA keeps of a code: its SHA-256, so that its database lets nobody in."""
    return hashlib.sha256(symbols.encode()).hexdigest()


def _check(symbols: str) -> str:
    """Weighted sum modulo a prime above every weight: sees any one wrong symbol (but 0 for Z) and any two swapped."""
    return ALPHABET[sum(place * ALPHABET.index(one) for place, one in enumerate(symbols, 1)) % CHECK_PRIME]
