"""What is left unsaid: hours of quiet by class, and so many warnings an hour on each speaker. Pure."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from edge_agent import config
from edge_agent.messages import AnnouncementClass, Refusal

HOUR_S = 3600.0
LIMITED: frozenset[AnnouncementClass] = frozenset({"rule", "scheduled", "test"})  # people and dangers are never counted


def volume_pct(section: config.AnySpeaker, most_pct: float, noise_dbfs: float | None) -> float:
    """How loud a speaker is now: less where it is quiet around it, never above its own limit and the site's.

    Where no noise is known it is as loud as it may be: a warning that is not heard is none.
    """
    limit = min(section.volume_pct, most_pct)
    ambient = section.ambient
    if ambient is None or noise_dbfs is None:
        return limit
    share = min(max((noise_dbfs - ambient.quiet_dbfs) / (ambient.loud_dbfs - ambient.quiet_dbfs), 0.0), 1.0)
    least = min(ambient.least_pct, limit)
    return min(least + (limit - least) * share, limit)


class Restraint:
    """Asked before each announcement on each speaker, and told of each that was heard."""

    def __init__(self, section: config.Announcements) -> None:
        self._section = section
        self._spans = [config.quiet_span(text) for text in section.quiet]
        self._said: dict[str, deque[float]] = {}

    def refusal(self, cls: AnnouncementClass, speaker: str, now: float, local: datetime) -> Refusal | None:
        """Why this speaker must not say a thing of this class now; `local` is the site's civil time."""
        if cls in self._section.quiet_classes and (span := self._quiet(local)) is not None:
            return Refusal(
                gate="quiet hours",
                reason=f"nothing of class {cls} is said now",
                value=f"{local:%H:%M}",
                limit=span,
                remedy=f"change announcements.quiet or quiet_classes (now {', '.join(self._section.quiet_classes)})",
            )
        said = self._said.get(speaker, deque())
        while said and now - said[0] >= HOUR_S:
            said.popleft()
        if cls in LIMITED and len(said) >= self._section.per_hour:
            return Refusal(
                gate="hourly limit",
                reason="this speaker has said enough",
                value=f"{len(said)} in the last hour",
                limit=f"{self._section.per_hour} an hour",
                remedy=f"wait {HOUR_S - (now - said[0]):.0f} s" if said else "raise announcements.per_hour",
            )
        return None

    def said(self, cls: AnnouncementClass, speaker: str, now: float) -> None:
        """This was heard on this speaker."""
        if cls in LIMITED:
            self._said.setdefault(speaker, deque()).append(now)

    def _quiet(self, local: datetime) -> str | None:
        minute = local.hour * 60 + local.minute
        for text, (begins, ends) in zip(self._section.quiet, self._spans, strict=True):
            inside = begins <= minute < ends if begins <= ends else minute >= begins or minute < ends
            if inside:
                return text
        return None
