"""Who this device is, on its disk: key, certificate, CA, and where it enrolled.

The directory is there as a whole or is finished by the next run: the key is written first and kept for ever, the
certificate last, each file durably. So a kill between any two of them leaves a state that says what is still to do.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from msgspec import Struct

from edge_agent import certificates
from edge_agent.files import write_durably
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError

FOLDER = "identity"  # below data_dir
WIPING = ".wipe.json"  # in data_dir, while that is wiped


class Home(Struct, frozen=True, kw_only=True):
    """Where this device enrolled, and what it was told there (`told` once it was); kept for the renewal."""

    host: str
    port: int
    ca_sha256: str
    told: bool = False
    brokers: tuple[str, ...] = ()
    config: str | None = None


class Identity:
    """The files of one identity; nothing is read before it is asked for. DriverError where the disk fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_file, self.cert_file = folder / "device.key", folder / "device.crt"
        self.ca_file, self.home_file = folder / "ca.crt", folder / "home.json"

    @contextmanager
    def locked(self, *, wiping: bool = False) -> Generator[None, None, None]:
        """One technician at a time, and none while all is wiped; the kernel lets go of the lock whatever happens."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DriverError(f"{self.folder}: cannot be written: {error.strerror}; free or mount the disk") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not wiping and (self.folder.parent / WIPING).exists():
                raise DriverError(f"{self.folder.parent}: is being wiped; `edge-agent wipe` finishes that")
            yield
        except BlockingIOError:
            raise DriverError(f"{self.folder}: somebody else is enrolling this device now; wait for them") from None
        finally:
            os.close(fd)

    def key(self) -> certificates.Key:
        """The device's key, made where there is none; one that cannot be used is never replaced."""
        if not self.key_file.exists():
            self.write(self.key_file, certificates.key_pem(certificates.new_key()))
        try:
            return certificates.load_key(self.key_file.read_bytes())
        except (OSError, ValueError) as error:
            raise DriverError(f"{self.key_file}: is no key: {error}; `edge-agent enrol --wipe` starts anew") from None

    def certificate(self) -> x509.Certificate | None:
        """What was issued for this device, if anything."""
        return next(iter(self._load(self.cert_file)), None)

    def roots(self) -> list[x509.Certificate]:
        """The CA that this device trusts."""
        return self._load(self.ca_file)

    def home(self) -> Home | None:
        """Where it enrolled, if it did."""
        try:
            return msgspec.json.decode(self.home_file.read_bytes(), type=Home)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise DriverError(f"{self.home_file}: cannot be used: {error}; enrol anew with a claim") from None

    def write(self, file: Path, data: bytes) -> None:
        """Durably; DriverError where the disk fails."""
        try:
            write_durably(file, data)
        except OSError as error:
            raise DriverError(f"{file}: cannot be written: {error.strerror}; nothing is lost, free the disk") from None

    def fault(self, board: str, now: datetime) -> str | Refusal | None:
        """Why this identity is no good here and now; None where it is. A Refusal says that it is a clone's."""
        certificate = self.certificate()
        if certificate is None:
            return "there is no certificate yet"
        if refusal := copied(self.cert_file, board):
            return refusal
        try:
            key = certificates.load_key(self.key_file.read_bytes())
        except (OSError, ValueError) as error:
            return f"the key cannot be used: {error}"
        if certificates.key_id(key.public_key()) != certificates.key_id(certificate):
            return "the certificate is for another key"
        return certificates.chain_fault(certificate, self.roots(), now)

    def _load(self, file: Path) -> list[x509.Certificate]:
        try:
            return certificates.load(file.read_bytes())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DriverError(f"{file}: cannot be read: {error.strerror}; as root: sudo edge-agent enrol …") from None
        except ValueError as error:
            raise DriverError(f"{file}: is no certificate: {error}; enrol anew with a claim") from None


def copied(cert_file: Path | None, board: str) -> Refusal | None:
    """Whether this certificate is of another board; a file that cannot be read is for TLS to complain of."""
    try:
        held = None if cert_file is None else certificates.load(cert_file.read_bytes())[0]
    except (OSError, ValueError):
        return None
    device, enrolled_on = certificates.name(held.subject) if held is not None else ("", "")
    return clone(device, enrolled_on, board) if enrolled_on and board and enrolled_on != board else None


def clone(device: str, enrolled_on: str, board: str) -> Refusal:
    """The same identity on another board: one of the two is a copy."""
    return Refusal(
        gate="clone",
        reason=f"{device} was enrolled on another board; its card was copied or moved",
        value=board,
        limit=enrolled_on,
        remedy="edge-agent enrol --wipe, then enrol this board with a claim of its own",
    )
