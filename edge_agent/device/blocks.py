"""Edits of files that belong to others: a marked block, or words of a line. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

BEGIN = "# >>> edge-agent: made by `edge-agent install`, taken out by `edge-agent uninstall` >>>"
END = "# <<< edge-agent <<<"
_BLOCK = re.compile(rf"^{re.escape(BEGIN)}\n(?:.*\n)*?{re.escape(END)}(?:\n|\Z)", re.MULTILINE)


def with_block(text: str, lines: Sequence[str]) -> str:
    """The text with our lines in one block at its end; a block that is there already is replaced where it stands."""
    block = "\n".join([BEGIN, *lines, END, ""])
    if _BLOCK.search(text):
        kept = iter([block])  # a second block, from whomever, goes
        return _BLOCK.sub(lambda _: next(kept, ""), text)
    return text + ("" if text.endswith("\n") or not text else "\n") + block


def without_block(text: str) -> str:
    """The text as others wrote it."""
    return _BLOCK.sub("", text)


def has_block(text: str) -> bool:
    """Whether our block stands in it."""
    return _BLOCK.search(text) is not None


def without_words(text: str, patterns: Sequence[str]) -> str:
    """A kernel's command line, which is one line and takes no comment, without the words that match a pattern."""
    return " ".join(word for word in text.split(" ") if not any(re.fullmatch(p, word.strip()) for p in patterns))


def lost_words(before: str, after: str) -> list[str]:
    """The words of `before` that `after` lacks, in their order."""
    return [word for word in before.split() if word not in after.split()]


def with_words(text: str, words: Sequence[str]) -> str:
    """Words put back at the front of a command line, those that it lacks."""
    return " ".join([*(word for word in words if word not in text.split()), text]) if text.strip() else text
