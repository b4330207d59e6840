"""Which centres are there, and how much they take at once: pure."""

from __future__ import annotations

from edge_agent.twin import Host

CONTRACT = 1
MOST = 10_000  # in flight; a centre that asks for more is wrong, and is given this
PROBE = 1  # while no centre is online one event at a time is sent, to learn of a centre that says nothing of itself
MAX_HOSTS = 64


class Hosts:
    """The last word of each centre; those that say nothing of themselves are not known here, and limit nothing."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}

    def heard(self, centre: str, host: Host) -> str | None:
        """A centre said how it is; returns what is wrong with that, if anything. The will of an older life is void."""
        known = self._hosts.get(centre)
        if host.state == "offline" and known is not None and known.state == "online" and known.sess != host.sess:
            return None
        if known is None and len(self._hosts) >= MAX_HOSTS:
            return f"more than {MAX_HOSTS} centres: it is not heeded"
        self._hosts[centre] = host
        low, high = host.contract
        if host.state == "online" and not low <= CONTRACT <= high:
            return f"understands contract {low} to {high}, and this device speaks {CONTRACT}: it may refuse our events"
        if host.max_in_flight is not None and not 1 <= host.max_in_flight <= MOST:
            return f"wants {host.max_in_flight} events in flight, which is not within 1 to {MOST}: clamped"
        return None

    def gone(self, centre: str) -> None:
        """A centre took its state back."""
        self._hosts.pop(centre, None)

    @property
    def waiting(self) -> bool:
        """Whether all known centres are offline."""
        return bool(self._hosts) and not self._online()

    def limit(self) -> int:
        """How many events may be unconfirmed: what the most modest of the centres that are online takes."""
        if self.waiting:
            return PROBE
        asked = [host.max_in_flight for host in self._online() if host.max_in_flight is not None]
        return min((max(1, min(MOST, number)) for number in asked), default=MOST)

    def _online(self) -> list[Host]:
        return [host for host in self._hosts.values() if host.state == "online"]
