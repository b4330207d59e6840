"""Where FFmpeg's sound cards are found: the ALSA library in PyAV's wheels looks for its settings where it was built."""

from __future__ import annotations

import os
from pathlib import Path

SYSTEM = Path("/usr/share/alsa")  # Debian's libasound2-data, which every system with sound has


def use_system_settings() -> None:
    """Call it before a card is opened: without settings no name of a card is known, not even `default`."""
    if SYSTEM.is_dir():
        os.environ.setdefault("ALSA_CONFIG_DIR", str(SYSTEM))
