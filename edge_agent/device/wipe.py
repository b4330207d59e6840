"""Wiping a device: everything in its data directory goes, the key last, and a signed certificate says what went.

The list with every hash is on disk before the first file goes, so that a wipe which a power cut interrupts is finished
by the next and certifies all of it. What deletion means on flash is said in the certificate: cells may keep old copies
until they are erased; only the device's key, once gone from the file system, makes the identity useless in that it is
revoked at the CA as well.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent import keys
from edge_agent.canonical import canonical_json
from edge_agent.device.identity import FOLDER, WIPING, Identity
from edge_agent.files import write_durably
from edge_agent.runtime import DriverError

MARKS = ("events.db", "identity", "device.key", "audit.jsonl", WIPING, "lock")
KEY, LOCK = "device.key", "lock"
METHOD = (
    "unlinked, directory synced; flash storage may keep unreferenced copies until its cells are erased:"
    " where that matters, destroy the card or issue blkdiscard --secure"
)


def plan(data_dir: Path) -> list[Path]:
    """Every file below the data directory, links not followed; the device's key last. DriverError for a stranger's."""
    if data_dir.is_dir() and any(data_dir.iterdir()) and not any((data_dir / mark).exists() for mark in MARKS):
        raise DriverError(f"{data_dir}: is no agent's data directory: none of {', '.join(MARKS)} is in it; look again")
    last = {data_dir / KEY}
    skip = {data_dir / WIPING, data_dir / LOCK}
    found = [path for path in sorted(data_dir.rglob("*")) if path.is_symlink() or not path.is_dir()]
    return [path for path in found if path not in last | skip] + [path for path in last if path.exists()]


def wipe(data_dir: Path, out: Path, *, device: str, board: str, now: datetime) -> dict[str, Any]:
    """Delete all and write the certificate of deletion to `out`; DriverError, and the next run goes on from there."""
    if data_dir.resolve() in out.resolve().parents:
        raise DriverError(f"{out}: lies in what is wiped; give --out a place outside {data_dir}")
    lock = _alone(data_dir)
    try:
        with Identity(data_dir / FOLDER).locked(wiping=True):
            files = plan(data_dir)
            begun = _begun(data_dir, files, device, board, now)
            key = keys.device_key(data_dir)
            for path in files:
                if path != data_dir / KEY:
                    path.unlink(missing_ok=True)
            for folder in sorted((path for path in data_dir.iterdir() if path.is_dir()), reverse=True):
                shutil.rmtree(folder)
            _sync(data_dir)
            told = _certificate(begun, now, key)
            write_durably(out, json.dumps(told, indent=1).encode() + b"\n", mode=0o644)
            for path in (data_dir / WIPING, data_dir / KEY, data_dir / LOCK):
                path.unlink(missing_ok=True)
            _sync(data_dir)
    except (OSError, ValueError, KeyError) as error:
        raise DriverError(f"{data_dir}: the wipe is not finished: {error}; run it again") from None
    finally:
        os.close(lock)
    return told


def _begun(data_dir: Path, files: list[Path], device: str, board: str, now: datetime) -> dict[str, Any]:
    """The journal of this wipe, on the disk; of one that was cut off, with what came since (an agent that started)."""
    journal = data_dir / WIPING
    begun: dict[str, Any] = {"device": device, "board": board, "begun": f"{now:%Y-%m-%dT%H:%M:%SZ}", "files": []}
    if journal.exists():
        begun = json.loads(journal.read_bytes())
    listed = {(one["name"], one["sha256"]) for one in begun["files"]}
    new = [one for one in (_entry(data_dir, path) for path in files) if (one["name"], one["sha256"]) not in listed]
    if new or not journal.exists():
        begun["files"] += new
        write_durably(journal, json.dumps(begun).encode())
    return begun


def is_unfinished(data_dir: Path) -> bool:
    """Whether a wipe was begun here and is to be finished."""
    return (data_dir / WIPING).exists()


def verify(told: dict[str, Any]) -> bool:
    """Whether a certificate of deletion is as the device signed it (with the key that it names)."""
    signed = {name: value for name, value in told.items() if name != "signature"}
    return keys.verify(str(told.get("public_key")), str(told.get("signature")), canonical_json(signed))


def _certificate(begun: dict[str, Any], now: datetime, key: keys.Ed25519PrivateKey) -> dict[str, Any]:
    files = begun["files"]
    told = {
        "certificate": "deletion",
        "device": begun["device"],
        "board": begun["board"],
        "begun": begun["begun"],
        "finished": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "method": METHOD,
        "count": len(files),
        "bytes": sum(one["bytes"] for one in files),
        "files": files,
        "public_key": keys.public_text(key),
    }
    return {**told, "signature": keys.sign(key, canonical_json(told))}


def _entry(data_dir: Path, path: Path) -> dict[str, Any]:
    """Name, size and hash of a file; of what is no regular file (a socket, a link) the name alone."""
    digest, size = "", 0
    if path.is_file() and not path.is_symlink():
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
    return {"name": str(path.relative_to(data_dir)), "bytes": size, "sha256": digest}


def _alone(data_dir: Path) -> int:
    """The agent's own lock: nothing is deleted under a running agent."""
    try:
        fd = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DriverError(f"{data_dir}: {error.strerror}") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise DriverError(f"{data_dir}: an agent runs here; stop it first: systemctl stop edge-agent") from None
    return fd


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
