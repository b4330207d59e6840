"""What a gate found, in a word, with what it saw and what would make it pass. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Verdict(NamedTuple):
    """`advice`: it is shown, and stops nothing."""

    state: Literal["pass", "fail", "unknown"]
    reason: str
    value: str | None = None
    limit: str | None = None
    remedy: str | None = None
    advice: bool = False


def yes(reason: str, value: str | None = None, limit: str | None = None) -> Verdict:
    return Verdict("pass", reason, value, limit)


def no(
    reason: str, value: str | None = None, limit: str | None = None, remedy: str | None = None, *, advice: bool = False
) -> Verdict:
    return Verdict("fail", reason, value, limit, remedy, advice)


def unknown(reason: str, remedy: str | None = None, limit: str | None = None, *, advice: bool = False) -> Verdict:
    return Verdict("unknown", reason, None, limit, remedy, advice)
