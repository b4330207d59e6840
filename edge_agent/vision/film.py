"""What is filmed of somebody who stays for longer than the ring reaches back. Pure.

Every picture around the entry and around the end; between them one key picture every second, fewer the longer it takes.
They are the encoder's own, so that nothing is encoded anew, and each can be shown after those before it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from edge_agent.vision.ring import BLUR_AROUND_S, Coded, Ring

EVERY_S = 1.0  # at first, between key pictures
MOST = 120  # of them: beyond, every other one goes


class Film:
    """One stay that began at `entered_s` of the frames' time; `before_s` and `after_s` are around its entry and end."""

    def __init__(self, entered_s: float, before_s: float, after_s: float) -> None:
        self.from_s, self._entered_until_s = entered_s - before_s, entered_s + after_s
        self._around_s = before_s + after_s
        self._entry: list[Coded] = []
        self._between: list[Coded] = []
        self._every_s = EVERY_S

    @property
    def pictures(self) -> list[Coded]:
        """What it holds."""
        return [*self._entry, *self._between]

    def see(self, ring: Ring) -> None:
        """A picture came into the ring: keep what is due of it."""
        newest = ring.newest
        if newest is None or newest.at_s < self._entered_until_s:
            return
        if not self._entry:
            self._entry = ring.cut(self.from_s, self._entered_until_s)
        last_s = max((one.at_s for one in (*self._entry[-1:], *self._between[-1:])), default=self.from_s)
        if newest.key and newest.at_s - last_s >= self._every_s:
            before = ring.cut(newest.at_s - BLUR_AROUND_S, newest.at_s)
            self._between.append(_with(newest, [one for one in before if one.at_s >= newest.at_s - BLUR_AROUND_S]))
        elif self._between and newest.at_s - self._between[-1].at_s <= BLUR_AROUND_S:
            self._between[-1] = _with(self._between[-1], [newest])
        if len(self._between) > MOST:
            self._between, self._every_s = self._between[1::2], self._every_s * 2

    def cut(self, ring: Ring, from_s: float, to_s: float) -> list[Coded]:
        """All of it, in order and of one size; its end is from `from_s` to `to_s`, or where the ring is before that."""
        kept, newest = self.pictures, ring.newest
        if not self._entry:
            kept = ring.cut(self.from_s, min(self._entered_until_s, to_s)) + kept
        if newest is not None and (not kept or newest.at_s >= kept[-1].at_s):  # else a video began again
            until_s = min(to_s, newest.at_s)
            kept += ring.cut(max(self.from_s, min(from_s, until_s - self._around_s)), until_s)
        return _in_order(kept)


def _with(picture: Coded, near: Iterable[Coded]) -> Coded:
    """A picture that stands alone, with what is private in those around it: a tracker loses somebody now and then."""
    private = dict.fromkeys((*picture.private, *(region for one in near for region in one.private)))
    return structs.replace(picture, private=tuple(private))


def _in_order(pictures: Iterable[Coded]) -> list[Coded]:
    """Each once, by time; of those whose size is that of the first."""
    found = [one for _, one in sorted({one.at_s: one for one in pictures}.items())]
    return [one for one in found if (one.width, one.height) == (found[0].width, found[0].height)]
