"""Files onto a card: a mounted boot partition, or the FAT partition within an image or a device (by mtools)."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import tempfile
from pathlib import Path

from edge_agent.device.fleet import kernel_line
from edge_agent.files import write_durably
from edge_agent.runtime import DriverError

SECTOR = 512
FAT_TYPES = (0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF)  # MBR partition types that hold FAT
CMDLINE = "cmdline.txt"
COPY_S = 120.0


def write(card: Path, files: dict[str, bytes]) -> list[str]:
    """Put these files onto the card and make firstrun.sh run where there is a cmdline.txt; what was written."""
    if card.is_dir():
        return _into_directory(card, files)
    return _into_image(card, files)


def _into_directory(folder: Path, files: dict[str, bytes]) -> list[str]:
    line = folder / CMDLINE
    try:
        if line.exists():
            files = {**files, CMDLINE: kernel_line(line.read_text(encoding="utf-8")).encode()}
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_durably(folder / name, data, mode=0o644)
    except OSError as error:
        raise DriverError(f"{folder}: cannot be written: {error.strerror}; nothing else was changed") from None
    return list(files)


def _into_image(card: Path, files: dict[str, bytes]) -> list[str]:
    at = f"{card}@@{fat_offset(card)}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        line = folder / "line"
        if _mtools("mcopy", "-n", "-i", at, f"::{CMDLINE}", str(line), must=False):
            files = {**files, CMDLINE: kernel_line(line.read_text(encoding="utf-8")).encode()}
        for name in {str(Path(name).parent) for name in files} - {"."}:
            if not _mtools("mdir", "-i", at, f"::{name}", must=False):
                _mtools("mmd", "-i", at, f"::{name}")
        for number, (name, data) in enumerate(files.items()):
            source = folder / str(number)
            source.write_bytes(data)
            _mtools("mcopy", "-o", "-i", at, str(source), f"::{name}")
    with card.open("rb") as stream:
        os.fsync(stream.fileno())
    return list(files)


def fat_offset(card: Path) -> int:
    """Where the first FAT partition begins, in bytes: from the MBR, or 0 where the file is a FAT file system itself."""
    try:
        mode = card.stat().st_mode
        if stat.S_ISBLK(mode) and _is_mounted(card):
            raise DriverError(f"{card}: is mounted; unmount its partitions first, or give the mounted boot directory")
        with card.open("rb") as stream:
            sector = stream.read(SECTOR)
    except OSError as error:
        raise DriverError(f"{card}: cannot be read: {error.strerror}") from None
    if len(sector) < SECTOR or sector[510:] != b"\x55\xaa":
        raise DriverError(f"{card}: is no card: no boot signature in its first sector; write the system's image first")
    if sector[54:57] == b"FAT" or sector[82:85] == b"FAT":  # FAT12/16 and FAT32: BS_FilSysType
        return 0
    for entry in range(446, 510, 16):
        kind, start = sector[entry + 4], struct.unpack_from("<I", sector, entry + 8)[0]
        if kind in FAT_TYPES and start:
            return int(start) * SECTOR
    raise DriverError(f"{card}: has no FAT partition; is it an image of Raspberry Pi OS?")


def _is_mounted(card: Path) -> bool:
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    return any(line.startswith(str(card.resolve())) for line in mounts.splitlines())


def _mtools(*command: str, must: bool = True) -> bool:
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=COPY_S,
            env={**os.environ, "MTOOLS_SKIP_CHECK": "1"},
        )
    except FileNotFoundError:
        raise DriverError(
            f"{command[0]} is not installed: apt install mtools; or mount the card and name its boot directory"
        ) from None
    except subprocess.TimeoutExpired:
        raise DriverError(f"{command[0]}: no end after {COPY_S:g} s: is the card failing?") from None
    if done.returncode and must:
        raise DriverError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.returncode == 0
