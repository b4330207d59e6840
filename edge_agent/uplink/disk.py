"""The disk under the outbox: how full it is, and a ballast file that makes room when it is full after all."""

from __future__ import annotations

import contextlib
import os
from enum import IntEnum
from pathlib import Path

MIB = 1024 * 1024


class Pressure(IntEnum):
    """What must go, or not come, so that events find room: each level includes those before it."""

    NONE = 0
    SHED_UPLOADED = 70  # evidence that the centre has
    NO_CLIPS = 80  # a picture only
    URGENT_ONLY = 90  # pictures of lanes 0 and 1 only
    COMPACT = 95  # lane 3 goes


def pressure(*, used_bytes: int, quota_bytes: int, disk_used: float) -> Pressure:
    """The level for a store that uses so much of its quota, on a disk of which that share (0..1) is used: pure."""
    percent = 100 * max(disk_used, used_bytes / quota_bytes if quota_bytes else 0.0)
    return max(level for level in Pressure if percent >= level)


def disk_used(directory: Path) -> float:
    """The share of the disk that is used, of what this user may use; 0 where it cannot be said."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0.0
    used = disk.f_blocks - disk.f_bfree
    return used / (used + disk.f_bavail) if used + disk.f_bavail else 1.0


def free_bytes(directory: Path) -> int:
    """What this user may still use of the disk; a lot where it cannot be said."""
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 2**63
    return disk.f_bavail * disk.f_frsize


class Ballast:
    """A file of nothing: on a full disk SQLite cannot even delete, so this one is deleted first."""

    def __init__(self, path: Path, mib: int) -> None:
        self._path, self._bytes = path, mib * MIB
        self.wanted = mib > 0

    @property
    def held(self) -> bool:
        return self._path.exists()

    def make(self) -> bool:
        """Take the room, where as much again stays free; False where it does not."""
        if not self.wanted:
            self.drop()
            return False
        with contextlib.suppress(OSError):
            if self.held and self._path.stat().st_size == self._bytes:
                return True
            if free_bytes(self._path.parent) < 2 * self._bytes:
                return False
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._bytes)
                os.ftruncate(fd, self._bytes)
            finally:
                os.close(fd)
            return True
        self.drop()
        return False

    def drop(self) -> bool:
        """Give the room back; False where there was none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
