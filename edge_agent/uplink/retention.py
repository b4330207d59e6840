"""Which evidence leaves this disk, and why: pure.

Age alone never takes what the centre has not confirmed, unless a limit for it is set, and nothing takes what is held.
When space is short, what the centre has goes first, then clips, then pictures, the oldest of each first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

DAY_S = 86_400.0


class Kept(Struct, frozen=True, kw_only=True):
    """An evidence file as the rules see it; `received` means that the centre's receipt was verified."""

    id: str
    kind: str  # "picture", "clip", ...
    bytes: int
    wall_s: float
    received: bool
    hold: bool = False


class Drop(Struct, frozen=True, kw_only=True):
    """A file that goes; `lost` where the centre never confirmed it: that must leave a gap record."""

    id: str
    why: str
    lost: bool


def due(
    files: Sequence[Kept],
    *,
    wall_s: float,
    keep_days: Callable[[str], float],
    quota_bytes: int,
    unsent_days: float | None = None,
    short_bytes: int = 0,
) -> list[Drop]:
    """What to delete now, so that the files fit the quota and `short_bytes` more of the disk become free.

    `keep_days` says how long a kind of files stays after its receipt, `unsent_days` how long one without a receipt.
    """
    free_to_go = [file for file in files if not file.hold]
    drops: dict[str, Drop] = {}
    for file in free_to_go:
        days, limit = (keep_days(file.kind), "keep_days") if file.received else (unsent_days, "unsent_days")
        if days is not None and wall_s - file.wall_s > days * DAY_S:
            why = f"{file.kind} older than {limit} = {days:g}"
            drops[file.id] = Drop(id=file.id, why=why, lost=not file.received)
    gone = sum(file.bytes for file in free_to_go if file.id in drops)
    over_quota = sum(file.bytes for file in files) - quota_bytes
    why = "over max_mib" if over_quota >= short_bytes else "the disk is short of space"
    for file in sorted(free_to_go, key=_order):
        if gone >= max(over_quota, short_bytes):
            break
        if file.id not in drops:
            drops[file.id] = Drop(id=file.id, why=why, lost=not file.received)
            gone += file.bytes
    return list(drops.values())


def _order(file: Kept) -> tuple[bool, bool, float]:
    """Received before not, clips (and whatever else is large) before pictures and manifests, oldest first."""
    return (not file.received, file.kind in ("picture", "manifest"), file.wall_s)
