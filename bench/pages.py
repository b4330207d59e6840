"""docs/PERFORMANCE.md: every bench writes its own part of it and leaves the others as they are."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "PERFORMANCE.md"
_PART = re.compile(r"^<!-- part: (\w+) -->\n", re.MULTILINE)


def write_part(name: str, text: str, page: Path = PAGE) -> str:
    """Put `text` in the place of the part of this name, or at the end; the part before the first name is `uplink`."""
    found = _PART.split(page.read_text(encoding="utf-8") if page.exists() else "")
    parts = {"uplink": found[0], **dict(zip(found[1::2], found[2::2], strict=True))}
    parts[name] = text.strip() + "\n\n"
    whole = "".join(part if key == "uplink" else f"<!-- part: {key} -->\n{part}" for key, part in parts.items())
    page.write_text(whole.rstrip() + "\n", encoding="utf-8")
    return text
