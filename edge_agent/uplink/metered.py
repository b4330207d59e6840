"""Whether the link that carries the default route is paid by volume: a hint file, else NetworkManager, else no."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

ROUTES = Path("/proc/net/route")
NMCLI_S = 5.0


async def is_metered(hint: Path | None) -> bool:
    """What `hint` says (`yes` or `no`), else what NetworkManager knows of the default route's interface."""
    if hint is not None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if (said := yes_or_no(hint.read_text(encoding="utf-8"))) is not None:
                return said
    nmcli = shutil.which("nmcli")
    if nmcli is None:
        return False
    try:
        interface = default_interface(ROUTES.read_text(encoding="ascii"))
    except OSError:
        return False
    return interface is not None and bool(yes_or_no(await _ask(nmcli, interface)))


def default_interface(table: str) -> str | None:
    """The interface of the default route with the lowest metric, from the text of /proc/net/route."""
    routes = [line.split() for line in table.splitlines()[1:]]
    defaults = [(int(r[6]), r[0]) for r in routes if len(r) > 7 and r[1] == r[7] == "00000000"]
    return min(defaults)[1] if defaults else None


def yes_or_no(text: str) -> bool | None:
    """`GENERAL.METERED:yes (guessed)`, `no`, `1`, `0`…; None for `unknown` and anything else."""
    words = text.strip().rpartition(":")[2].lower().split()
    match words[:1]:
        case ["yes" | "1" | "true"]:
            return True
        case ["no" | "0" | "false"]:
            return False
        case _:
            return None


async def _ask(nmcli: str, interface: str) -> str:
    words = ("-t", "-f", "GENERAL.METERED", "device", "show", interface)
    try:
        asked = await asyncio.create_subprocess_exec(
            nmcli, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(NMCLI_S):
            return (await asked.communicate())[0].decode(errors="replace")
    except TimeoutError:
        asked.kill()
        await asked.wait()
        return ""
