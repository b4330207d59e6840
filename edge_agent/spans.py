"""Stretches of local time: every day from 22:00 to 05:00, every year from 12-24 to 01-02, or once: pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.config import Span

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_DAILY = re.compile(r"\d\d:\d\d\Z")
_YEARLY = re.compile(r"\d\d-\d\d(T\d\d:\d\d)?\Z")
_ONCE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d)?\Z")
_LEAP = "2024-"  # a year that has every day


def fault(span: Span) -> str | None:
    """Why this is no stretch of time."""
    forms = [_form(end) for end in (span.start, span.end)]
    if forms[0] != forms[1] or forms[0] is None:
        return (
            "`from` and `to` are both HH:MM (every day), MM-DD or MM-DDTHH:MM (every year), or YYYY-MM-DD with or"
            f" without THH:MM (once), got {span.start!r} and {span.end!r}"
        )
    try:
        start, end = _parse(span.start), _parse(span.end)
    except ValueError as error:
        return f"{error}, got {span.start!r} and {span.end!r}"
    if forms[0] is _ONCE and _end(span.end, end) <= start:
        return f"it ends at {span.end!r}, before it begins at {span.start!r}"
    if forms[0] is _DAILY and start == end:
        return f"from {span.start!r} to {span.end!r} is no time; leave it out for the whole day"
    return None


def holds(span: Span, local: datetime) -> bool:
    """Whether a naive local time lies within; `to` itself does not, but a bare date is meant to its end.

    With `days`, only what began on one of them: from 22:00 to 05:00 on FR includes Saturday at 04:00.
    """
    start, end = _parse(span.start), _end(span.end, _parse(span.end))
    form, began = _form(span.start), local
    if form is _DAILY:
        now, first, last = local.time(), start.time(), end.time()
        if first < last:
            inside = first <= now < last
        else:
            inside = now >= first or now < last
            began = local if now >= first else local - timedelta(days=1)
    elif form is _YEARLY:
        now_, first_, last_ = (_in_year(at) for at in (local, start, end))
        last_ = last_ if end.year == start.year else (13, *last_[1:])
        inside = first_ <= now_ < last_ if first_ < last_ else (now_ >= first_ or now_ < last_)
    else:
        inside = start <= local < end
    return inside and (not span.days or DAYS[began.weekday()] in span.days)


def _form(text: str) -> re.Pattern[str] | None:
    return next((form for form in (_DAILY, _YEARLY, _ONCE) if form.match(text)), None)


def _parse(text: str) -> datetime:
    form = _form(text)
    prefix = f"{_LEAP}01-01T" if form is _DAILY else _LEAP if form is _YEARLY else ""
    return datetime.fromisoformat(prefix + text)


def _end(text: str, at: datetime) -> datetime:
    return at if ":" in text else at + timedelta(days=1)


def _in_year(at: datetime) -> tuple[int, int, int, int, int]:
    return at.month, at.day, at.hour, at.minute, at.second
