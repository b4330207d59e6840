"""A file that is there as a whole or not at all, also after a power cut; one that is read as far as is sane."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

MAX_TEXT_BYTES = 4 << 20  # of files that people write


def read_text(file: Path, most: int = MAX_TEXT_BYTES) -> str:
    """What a person wrote, UTF-8 with or without its mark; raises OSError, or ValueError where it is no such text."""
    with file.open("rb") as opened:
        data = opened.read(most + 1)  # a device would go on for ever
    if len(data) > most:
        raise ValueError(f"is larger than {most >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}") from None


def write_durably(file: Path, data: bytes, mode: int = 0o600) -> None:
    """Temp, fsync, rename, fsync of the directory; raises OSError and leaves the old file as it was."""
    temporary = file.with_name(f".{file.name}.part")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(fd, "wb") as out:  # noqa: PTH123  # a descriptor, so that no other mode is ever seen
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    except OSError:  # a disk that is full gets its room back
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def left_to_owner_of(folder: Path) -> Generator[None, None, None]:
    """Root works in a service's directory: whatever it leaves there is the service's, to read and to replace.

    For anybody else, and in root's own directories, nothing changes. Links are not followed, and what has another name
    elsewhere is not given: the service could have put either there.
    """
    try:
        yield
    finally:
        if (owner := owner_but_root(folder)) is not None:
            _give(folder, owner)


def owner_but_root(folder: Path) -> os.stat_result | None:
    """Whose directory root would work in; None for anybody but root, and for root's own."""
    found = folder.stat() if os.geteuid() == 0 and folder.is_dir() else None
    return found if found is not None and found.st_uid != 0 else None


def _give(folder: Path, owner: os.stat_result) -> None:
    for _, folders, names, fd in os.fwalk(folder):
        for name in (*folders, *names):
            with suppress(FileNotFoundError):  # the service itself is at work as well
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if found.st_uid == 0 and (found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)):
                    os.chown(name, owner.st_uid, owner.st_gid, dir_fd=fd, follow_symlinks=False)
