"""A file that is there as a whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(file: Path, data: bytes, mode: int = 0o600) -> None:
    """Temp, fsync, rename, fsync of the directory; raises OSError and leaves the old file as it was."""
    temporary = file.with_name(f".{file.name}.part")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(fd, "wb") as out:  # noqa: PTH123  # a descriptor, so that no other mode is ever seen
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
