"""Files that only one key opens: the age format, version 1 (https://age-encryption.org/v1), with X25519 recipients.

Whatever is sealed here opens with `age -d -i KEY` as well, and the other way round. Pure over bytes; only the making of
a key asks the system for randomness.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import struct
from collections.abc import Sequence
from itertools import pairwise

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = b"age-encryption.org/v1"
SUFFIX = ".age"
PUBLIC, SECRET = "age", "age-secret-key-"  # what keys begin with, in Bech32 (BIP 173)
CHUNK, TAG = 64 * 1024, 16
_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


class SealError(ValueError):
    """A key that is none, a file that is none, one that was changed, or one that is sealed to somebody else."""


def new_key() -> tuple[str, str]:
    """A secret key and its recipient, as text."""
    key = X25519PrivateKey.generate()
    return _bech32(SECRET, key.private_bytes_raw()).upper(), _bech32(PUBLIC, key.public_key().public_bytes_raw())


def recipient_of(secret: str) -> str:
    """The recipient (public key) of a secret key; raises SealError."""
    return _bech32(PUBLIC, _secret(secret).public_key().public_bytes_raw())


def check_recipient(text: str) -> None:
    """Raises SealError for what is no recipient."""
    _unbech32(PUBLIC, text)


def seal(data: bytes, recipient: str, *, random: bytes | None = None) -> bytes:
    """The data as nobody but the recipient can read them; `random` (64 bytes) is for tests alone."""
    theirs = _unbech32(PUBLIC, recipient)
    given = random or os.urandom(64)
    file_key, nonce, mine = given[:16], given[16:32], X25519PrivateKey.from_private_bytes(given[32:64])
    share = mine.public_key().public_bytes_raw()
    wrapping = _derive(mine.exchange(X25519PublicKey.from_public_bytes(theirs)), share + theirs, VERSION + b"/X25519")
    wrapped = ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None)
    head = b"\n".join([VERSION, b"-> X25519 " + _text(share), _text(wrapped), b"---"])
    mac = hmac.digest(_derive(file_key, b"", b"header"), head, "sha256")
    return head + b" " + _text(mac) + b"\n" + nonce + _pour(data, _derive(file_key, nonce, b"payload"))


def unseal(sealed: bytes, secret: str) -> bytes:
    """What was sealed to this key; raises SealError, and never returns a part of it."""
    key = _secret(secret)
    head, mark, rest = sealed.partition(b"\n---")
    mac, line, payload = rest.partition(b"\n")
    lines = head.split(b"\n")
    if not mark or not line or lines[0] != VERSION:
        raise SealError("is no age file of version 1")
    file_key = _file_key(lines[1:], key)
    wanted = hmac.digest(_derive(file_key, b"", b"header"), head + b"\n---", "sha256")
    if not hmac.compare_digest(_untext(mac.strip()), wanted):
        raise SealError("its header was changed")
    if len(payload) < 16:
        raise SealError("was cut short")
    return _drain(payload[16:], _derive(file_key, payload[:16], b"payload"))


def _file_key(lines: Sequence[bytes], key: X25519PrivateKey) -> bytes:
    mine = key.public_key().public_bytes_raw()
    for stanza, body in pairwise(lines):
        words = stanza.split(b" ")
        if words[:2] != [b"->", b"X25519"] or len(words) != 3:
            continue
        share = _untext(words[2])
        try:
            wrapping = _derive(
                key.exchange(X25519PublicKey.from_public_bytes(share)), share + mine, VERSION + b"/X25519"
            )
            return ChaCha20Poly1305(wrapping).decrypt(bytes(12), _untext(body), None)
        except (ValueError, InvalidTag):
            continue  # another's
    raise SealError("is sealed to another key")


def _pour(data: bytes, key: bytes) -> bytes:
    """STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, 2015): chunks that can neither be swapped nor left out."""
    cipher, count = ChaCha20Poly1305(key), max(1, -(-len(data) // CHUNK))
    return b"".join(
        cipher.encrypt(_nonce(n, last=n == count - 1), data[n * CHUNK : (n + 1) * CHUNK], None) for n in range(count)
    )


def _drain(payload: bytes, key: bytes) -> bytes:
    cipher, size = ChaCha20Poly1305(key), CHUNK + TAG
    count = max(1, -(-len(payload) // size))
    try:
        return b"".join(
            cipher.decrypt(_nonce(n, last=n == count - 1), payload[n * size : (n + 1) * size], None)
            for n in range(count)
        )
    except InvalidTag:
        raise SealError("was changed, or cut short") from None


def _nonce(number: int, *, last: bool) -> bytes:
    return bytes(3) + struct.pack(">Q", number) + (b"\1" if last else b"\0")


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def _secret(text: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_unbech32(SECRET, text))


def _text(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _untext(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise SealError("is no age file: its header is damaged") from None


def _bech32(kind: str, data: bytes) -> str:
    values = _regroup(data, 8, 5)
    check = _polymod([*_expanded(kind), *values, *[0] * 6]) ^ 1
    values += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return kind + "1" + "".join(_LETTERS[value] for value in values)


def _unbech32(kind: str, text: str) -> bytes:
    """The 32 bytes of a key; SealError without the text, which may be a secret."""
    what = "recipient (age1…)" if kind == PUBLIC else "secret key (AGE-SECRET-KEY-1…)"
    text = text.strip()
    lower = text.lower()
    if text not in (lower, text.upper()) or not lower.startswith(kind + "1"):
        raise SealError(f"is no {what}")
    letters = lower[len(kind) + 1 :]
    if set(letters) - set(_LETTERS) or len(letters) != 58:
        raise SealError(f"is no {what}: it is cut short, or has a letter that no key has")
    values = [_LETTERS.index(letter) for letter in letters]
    if _polymod([*_expanded(kind), *values]) != 1:
        raise SealError(f"is no {what}: it was mistyped")
    return bytes(_regroup(bytes(values[:-6]), 5, 8)[:32])


def _expanded(kind: str) -> list[int]:
    return [ord(c) >> 5 for c in kind] + [0] + [ord(c) & 31 for c in kind]


def _polymod(values: Sequence[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= factor if top >> i & 1 else 0
    return check


def _regroup(data: bytes, wide: int, narrow: int) -> list[int]:
    """Groups of `wide` bits as groups of `narrow` bits, the last filled with zeros where bits are left."""
    held = bits = 0
    found: list[int] = []
    for value in data:
        held, bits = held << wide | value, bits + wide
        while bits >= narrow:
            bits -= narrow
            found.append(held >> bits & (1 << narrow) - 1)
    if bits and narrow == 5:
        found.append(held << narrow - bits & 31)
    return found
