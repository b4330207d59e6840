"""The key of MAVLink signing from its file, and the clock of signing on disk, which must not go back."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from edge_agent import config
from edge_agent.files import write_durably
from edge_agent.flight.signing import KEY_BYTES, Signing, timestamp_of
from edge_agent.runtime import Clock, DriverError

SHORTEST = 8  # letters of a passphrase


class KeptSigning:
    """Signing whose clock outlives us."""

    def __init__(self, signing: Signing, file: Path) -> None:
        self.signing, self._file = signing, file

    def save(self) -> None:
        """Keep the clock; raises DriverError."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._file, str(self.signing.timestamp).encode())
        except OSError as error:
            raise DriverError(f"{self._file}: {error.strerror}; is the disk full or read-only?") from None


def open_signing(vehicle: config.Vehicle, file: Path, clock: Clock) -> KeptSigning | None:
    """Signing as configured, its clock the later of ours and of `file`; raises DriverError, never with the key."""
    if not isinstance(vehicle, config.MavlinkVehicle) or vehicle.signing is None:
        return None
    section = vehicle.signing
    try:
        secret = config.read_secret(section.key)
    except (OSError, UnicodeDecodeError) as error:
        raise DriverError(f"vehicle.signing.key: {_reason(error)}; name the file that holds the key") from None
    try:
        kept = int(file.read_text(encoding="ascii"))
    except FileNotFoundError:
        kept = 0
    except (OSError, ValueError) as error:
        raise DriverError(f"{file}: {_reason(error)}; with the vehicle on the ground, move the file away") from None
    signing = Signing(
        key_of(secret),
        max(kept, timestamp_of(clock.wall())),
        now=clock.monotonic(),
        link_id=section.link_id,
        accept_unsigned=section.accept_unsigned,
    )
    return KeptSigning(signing, file)


def key_of(secret: str) -> bytes:
    """64 hex digits as they are, a passphrase as its SHA-256, as Mission Planner and MAVProxy make a key of it."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", secret):
        return bytes.fromhex(secret)
    if len(secret) < SHORTEST:
        raise DriverError(f"vehicle.signing.key: want {2 * KEY_BYTES} hex digits, or at least {SHORTEST} letters")
    return hashlib.sha256(secret.encode()).digest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
