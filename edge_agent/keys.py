"""Ed25519 keys on disk: the device's own, made at its first start, and those of operators."""

from __future__ import annotations

import base64
import binascii
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from edge_agent.files import write_durably
from edge_agent.runtime import DriverError

__all__ = ["Ed25519PrivateKey", "device_key", "is_public", "load", "make", "public_text", "sign", "verify"]


def device_key(data_dir: Path) -> Ed25519PrivateKey:
    """The device's key in `data_dir/device.key`, made where there is none; raises DriverError.

    A key that is there and cannot be used is never replaced: the centre knows the device by it.
    """
    file = data_dir / "device.key"
    return load(file) if file.exists() else make(file)


def make(file: Path) -> Ed25519PrivateKey:
    """A new key in a PEM file (PKCS #8) for its owner alone; never over an existing file."""
    if file.exists():
        raise DriverError(f"{file}: is there already; a key is never overwritten: move it away or give another name")
    key = Ed25519PrivateKey.generate()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except OSError as error:
        raise DriverError(f"{file}: the key cannot be written: {error.strerror}") from None
    return key


def load(file: Path) -> Ed25519PrivateKey:
    """The key in a PEM file that nobody else may read; raises DriverError."""
    try:
        mode, pem = file.stat().st_mode, file.read_bytes()
    except OSError as error:
        raise DriverError(f"{file}: the key cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DriverError(f"{file}: is open to others (mode {stat.S_IMODE(mode):04o}); chmod 600 it")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DriverError(f"{file}: is no private key in PEM: {error}; restore it from a backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DriverError(f"{file}: holds a {type(key).__name__}, Ed25519 is wanted")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key as it stands in a config or a message: 32 bytes in base64."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def is_public(text: str) -> bool:
    """Whether a text is a public key as `public_text` gives it."""
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        return False


def sign(key: Ed25519PrivateKey, message: bytes) -> str:
    """The signature, 64 bytes in base64."""
    return base64.b64encode(key.sign(message)).decode()


def verify(public: str, signature: str, message: bytes) -> bool:
    """Whether a signature is of this key over this message; False as well for what is no key or no signature."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(signature, validate=True), message)
    except (ValueError, binascii.Error, InvalidSignature):
        return False
    return True
