"""Which board this is: the serial number that a card moved to another board does not take along."""

from __future__ import annotations

import stat
from pathlib import Path

SERIALS = (
    Path("sys/firmware/devicetree/base/serial-number"),  # Raspberry Pi and other device-tree boards
    Path("sys/class/dmi/id/product_serial"),  # PCs, where an administrator has opened it
    Path("sys/class/dmi/id/board_serial"),
)
NOBODY = {"", "0", "None", "Default string", "To be filled by O.E.M.", "System Serial Number", "Not Specified"}


def serial(root: Path = Path("/")) -> str:
    """The board's serial number; empty where it tells none (a virtual machine), so that nothing is bound to it.

    What root alone may read is none: root enrols, and to the agent's account it would be another board's.
    """
    for place in SERIALS:
        text = read(root / place) if _is_everybodys(root / place) else ""
        if text not in NOBODY and text.strip("0"):
            return text[:64]
    return ""


def _is_everybodys(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def model(root: Path = Path("/")) -> str:
    """What the board is called, as `Raspberry Pi 5 Model B Rev 1.0`."""
    for place in ("sys/firmware/devicetree/base/model", "sys/class/dmi/id/product_name"):
        if text := read(root / place):
            return text
    return ""


def read(file: Path) -> str:
    """The text of a small file of the kernel, without its NUL or newline; empty where it cannot be read."""
    try:
        return file.read_bytes()[:65_536].decode(errors="replace").strip("\0\r\n\t ")
    except OSError:
        return ""
