"""A group of speakers begins in step: once all have their connection, or the slowest has had its time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

WAIT_S = 0.3  # for the slowest; it then begins late, and the others do not wait for it


class Together:
    """As many seats as there are speakers."""

    def __init__(self, seats: int) -> None:
        self._missing = seats
        self._go = asyncio.Event()

    def seat(self) -> Seat:
        """For one of them."""
        return Seat(self)

    def here(self) -> None:
        """One more is ready, or will never be."""
        self._missing -= 1
        if self._missing <= 0:
            self._go.set()

    async def go(self) -> None:
        """Wait for the others."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                await self._go.wait()
        self._go.set()


class Seat:
    """One speaker's place: it is `ready`, or it has to `leave`; each counts once."""

    def __init__(self, together: Together) -> None:
        self._together, self._counted = together, False

    def leave(self) -> None:
        """The others need not wait for this one."""
        if not self._counted:
            self._counted = True
            self._together.here()

    async def ready(self) -> None:
        """Connected: wait for the others."""
        self.leave()
        await self._together.go()
