"""The keys of a CA on its disk, and the change from one to the next: RFC 4210 section 4.4, as EST carries it.

The new key gets a certificate of its own (for ever), and one by the old key ("new with old") under the same name: who
trusts the old one believes it. From then on all is issued by the new key; each device takes the new certificate in at
its renewal, and once all have, the old one goes. `ca.crt` holds the CA's certificates, the one that issues first; it
is written as a whole, and it alone decides: a kill before it leaves the old CA, one after it the new.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509

from edge_agent import certificates
from edge_agent.files import write_durably
from edge_agent.runtime import DriverError

ROOT_DAYS = 3650
ROOTS, KEY, NEXT_KEY, OLD_KEY, CROSS = "ca.crt", "ca.key", "ca.key.next", "ca.key.old", "cross.crt"


class Ring(NamedTuple):
    """What a CA signs with; the newest first. `cross` vouches for it to whom knows only the one before."""

    pairs: list[tuple[x509.Certificate, certificates.Key]]
    cross: list[x509.Certificate]

    @property
    def roots(self) -> list[x509.Certificate]:
        return [root for root, _ in self.pairs]


def make(folder: Path, common_name: str, now: datetime) -> None:
    """A new CA in this directory, never over another; the certificate is written last and says that it is whole."""
    if (folder / ROOTS).exists():
        raise DriverError(f"{folder}: holds a CA already; a CA is never overwritten: give another directory")
    key = certificates.new_key()
    root = certificates.self_signed(key, common_name, now, ROOT_DAYS)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(folder / KEY, certificates.key_pem(key))
        write_durably(folder / ROOTS, certificates.pem([root]), mode=0o644)
    except OSError as error:
        raise DriverError(f"{folder}: the CA cannot be written: {error.strerror}") from None


def ring(folder: Path) -> Ring:
    """The keys of the CA in this directory; raises OSError, ValueError. A change that was cut off is finished."""
    roots = certificates.load((folder / ROOTS).read_bytes())
    if (folder / NEXT_KEY).exists() and _fits(folder / NEXT_KEY, roots[0]):
        (folder / NEXT_KEY).replace(folder / KEY)
    keys = [certificates.load_key((folder / name).read_bytes()) for name, _ in zip((KEY, OLD_KEY), roots, strict=False)]
    if [certificates.key_id(key.public_key()) for key in keys] != [certificates.key_id(root) for root in roots]:
        raise ValueError(f"{folder / ROOTS} and {folder / KEY} are not of one CA")
    cross = certificates.load((folder / CROSS).read_bytes()) if len(roots) > 1 else []
    return Ring(list(zip(roots, keys, strict=True)), cross)


def roll(folder: Path, now: datetime) -> None:
    """Change to a new key; DriverError where a change is under way already, or the disk fails."""
    try:
        with _alone(folder):
            old = ring(folder)
            if len(old.pairs) > 1:
                raise DriverError(f"{folder}: changes its key already; `edge-agent centre ca roll --finish` ends that")
            (root, old_key), key = old.pairs[0], certificates.new_key()
            new = certificates.self_signed(key, certificates.name(root.subject)[0], now, ROOT_DAYS)
            cross = certificates.cross_signed((root, old_key), new, now)
            write_durably(folder / OLD_KEY, certificates.key_pem(old_key))
            write_durably(folder / NEXT_KEY, certificates.key_pem(key))
            write_durably(folder / CROSS, certificates.pem([cross]), mode=0o644)
            write_durably(folder / ROOTS, certificates.pem([new, root]), mode=0o644)
            ring(folder)
    except (OSError, ValueError) as error:
        raise DriverError(f"{folder}: the CA's key cannot be changed: {error}; it stays as it is") from None


def finish(folder: Path) -> bool:
    """Give up the old key; whether there was one. DriverError."""
    try:
        with _alone(folder):
            found = ring(folder)
            write_durably(folder / ROOTS, certificates.pem(found.roots[:1]), mode=0o644)
            for name in (CROSS, OLD_KEY, NEXT_KEY):
                (folder / name).unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise DriverError(f"{folder}: the old key cannot be given up: {error}") from None
    return len(found.pairs) > 1


@contextmanager
def _alone(folder: Path) -> Generator[None, None, None]:
    """One person at a time changes the key: two at once would leave the certificate of one and the key of the other."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DriverError(f"{folder}: somebody else changes its key at this moment; wait for that") from None
    finally:
        os.close(fd)


def _fits(key_file: Path, root: x509.Certificate) -> bool:
    return certificates.key_id(certificates.load_key(key_file.read_bytes()).public_key()) == certificates.key_id(root)
