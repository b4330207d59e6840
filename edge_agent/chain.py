"""The hash chain over a device's events, which device and centre compute alike: pure.

The link of an event is the SHA-256 of these UTF-8 lines, each ended by a line feed, and then of its data:

    the link of the event before it (64 hex digits; 64 zeros before the first of all)
    seq
    id
    kind (the envelope's `type` without "ev."; "thumb" for a thumb)
    time (as in the envelope; empty for a thumb)
    boot (as in the envelope; empty for a thumb)

The data of an event are the bytes of the envelope's `data` as they stand in the payload; those of a thumb are the
JPEG, and its id is that of its event followed by "/thumb". The epoch is not hashed: when a stream is numbered anew,
its chain goes on. The envelope's `prev` is "sha256:" and the link of the event whose place is one before, so whoever
holds two events in a row can check the first by the second.
"""

from __future__ import annotations

import hashlib

NO_LINK = bytes(32)
PREFIX = "sha256:"


def link(*, prev: bytes, seq: int, id: str, kind: str, time: str, boot: str, data: bytes) -> bytes:
    """The link of an event: 32 bytes."""
    if kind == "thumb":
        time = boot = ""
    digest = hashlib.sha256(f"{prev.hex()}\n{seq}\n{id}\n{kind}\n{time}\n{boot}\n".encode())
    digest.update(data)
    return digest.digest()
