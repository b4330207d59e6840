"""Commands that come faster than any centre sends them are no longer listened to for a while. Pure."""

from __future__ import annotations

from typing import Literal

from edge_agent.uplink.commands import Sparing

BURST, PER_S = 1000, 50.0  # a broker may hand over 1000 that waited for us (mosquitto's max_queued_messages)
SHUT_S = 10.0


class Floodgate:
    """`let` each command; `turn` says when to leave and to rejoin their topics. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._tokens = Sparing(BURST, 1 / PER_S)
        self._shut_until_s: float | None = None
        self._listening = True
        self.dropped = 0

    def let(self, now: float) -> bool:
        """Whether a command is read at all. While the gate is shut those still on their way are dropped unread."""
        if self._shut_until_s is None and self._tokens.let(now):
            return True
        if self._shut_until_s is None:
            self._shut_until_s = now + SHUT_S
        self.dropped += 1
        return False

    def turn(self, now: float) -> Literal["leave", "rejoin"] | None:
        """What is to be done with the subscriptions, told once."""
        if self._shut_until_s is not None and now >= self._shut_until_s:
            self._shut_until_s = None
        listening = self._shut_until_s is None
        if listening == self._listening:
            return None
        self._listening = listening
        return "rejoin" if listening else "leave"

    def connected(self) -> None:
        """A new connection has subscribed to everything."""
        self._shut_until_s, self._listening = None, True

    def due_s(self) -> float | None:
        """When `turn` has something to say without another command."""
        return self._shut_until_s
