"""All concurrency lives here: supervised parts, newest-wins channels, the clock, the watchdog."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 60.0
SETTLE_S = 3.0


class Backoff(NamedTuple):
    """How long to wait before a part is started again: doubling from `min_s` to `max_s`, of each at least that share.

    A share of 0 is full jitter: parts of many devices that failed at the same instant do not come back at the same.
    """

    min_s: float = BACKOFF_MIN_S
    max_s: float = BACKOFF_MAX_S
    share: float = 0.5


PATIENCE = Backoff()


class DriverError(Exception):
    """The world failed (a cable, a broker, a file): the part that met it is restarted later."""


class Clock(Protocol):
    """Time as the agent sees it; tests and lock-step runs give another one."""

    def monotonic(self) -> float: ...
    def wall(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Latest(Generic[T]):
    """A channel of size one: the newest value wins; what nobody took in time is counted in `dropped`."""

    def __init__(self) -> None:
        self._value: T | None = None
        self._fresh = asyncio.Event()
        self.dropped = 0

    def put(self, value: T) -> None:
        if self._fresh.is_set():
            self.dropped += 1
        self._value = value
        self._fresh.set()

    @property
    def fresh(self) -> bool:
        """Whether there is a value that has not been taken."""
        return self._fresh.is_set()

    def peek(self) -> T | None:
        """The newest value ever put, taken or not."""
        return self._value

    async def take(self) -> T:
        """Wait for a value that has not been taken."""
        await self._fresh.wait()
        self._fresh.clear()
        assert self._value is not None
        return self._value

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            yield await self.take()


class Health:
    """The last-value table of the agent's parts, and the beats that feed the watchdog."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.state: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self._beats: dict[str, tuple[float, float]] = {}
        self._trying: dict[str, float] = {}

    def set(self, part: str, state: str) -> None:
        """Record a part's state; a change is logged once, on the edge."""
        previous = self.state.get(part)
        if previous == state:
            return
        self.state[part] = state
        good = state in ("running", "stopped")
        log.log(logging.INFO if good else logging.WARNING, "%s: %s", part, state)

    def trying(self, part: str) -> None:
        """A part that failed was started again; whether it runs is for `settle` to say."""
        self._trying[part] = self._clock.monotonic()

    def failed(self, part: str, error: Exception) -> None:
        """A part failed; the same failure again is not a new edge, and is not logged again."""
        self._trying.pop(part, None)
        self.set(part, f"failed: {error}")

    def settle(self) -> None:
        """Call this now and then: what was started again `SETTLE_S` ago and has not failed since, runs."""
        now = self._clock.monotonic()
        for part, since_s in list(self._trying.items()):
            if now - since_s >= SETTLE_S:
                del self._trying[part]
                self.set(part, "running")

    def beat(self, loop: str, deadline_s: float) -> None:
        """A loop says that it turned, and that it will turn again within `deadline_s`."""
        now = self._clock.monotonic()
        self._beats[loop] = (now, now + deadline_s)

    def rest(self, loop: str) -> None:
        """A loop says that it owes no beat (it stopped, or waits for something without limit)."""
        self._beats.pop(loop, None)

    def stuck(self) -> list[str]:
        """Loops whose deadline has passed."""
        now = self._clock.monotonic()
        return [loop for loop, (_, due) in self._beats.items() if due < now]


async def supervise(
    name: str,
    part: Callable[[], Awaitable[None]],
    *,
    health: Health,
    clock: Clock,
    rng: random.Random | None = None,
    backoff: Backoff = PATIENCE,
) -> None:
    """Run a part for ever: `DriverError` restarts it after a pause (0.5 s doubling to 60 s), all else escapes.

    The pause falls back to its minimum once a run lasted longer than the pause before it. A part that returns is done.
    """
    rng = rng or random.Random()
    pause_s = backoff.min_s
    health.set(name, "running")
    while True:
        started = clock.monotonic()
        try:
            await part()
        except DriverError as error:
            if clock.monotonic() - started > pause_s:
                pause_s = backoff.min_s
            health.failed(name, error)
            health.counts[f"{name}.restarts"] += 1
            health.rest(name)
            await clock.sleep(pause_s * rng.uniform(backoff.share, 1.0))
            health.trying(name)
            pause_s = min(pause_s * 2, backoff.max_s)
        else:
            health.set(name, "stopped")
            health.rest(name)
            return


def notify(message: str, address: str | None = None) -> bool:
    """Tell systemd (sd_notify protocol: one datagram to $NOTIFY_SOCKET, `@` first means an abstract socket).

    Returns False where there is no systemd to tell.
    """
    address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(message.encode(), address)
        except OSError:
            return False
    return True


async def watchdog(health: Health, clock: Clock, period_s: float, send: Callable[[str], bool] = notify) -> None:
    """Send WATCHDOG=1 every `period_s`, but only while no loop is stuck: a hung loop lets systemd restart us."""
    said: list[str] = []
    while True:
        stuck = health.stuck()
        if not stuck:
            send("WATCHDOG=1")
        elif stuck != said:
            log.error("stuck: %s; the watchdog is not fed", ", ".join(stuck))
        said = stuck
        await clock.sleep(period_s)


def watchdog_period_s() -> float | None:
    """Half of what systemd asks for in $WATCHDOG_USEC, or None where it does not watch this process."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdigit() or pid != str(os.getpid()):
        return None
    return int(usec) / 2e6


class LoopLag:
    """How late the event loop wakes a sleeper: the number to watch in the field (p99, ms)."""

    def __init__(self, clock: Clock, period_s: float = 0.1, keep: int = 600) -> None:
        self._clock, self._period_s, self._keep = clock, period_s, keep
        self._lags_ms: list[float] = []

    async def run(self) -> None:
        while True:
            due = self._clock.monotonic() + self._period_s
            await self._clock.sleep(self._period_s)
            self._lags_ms.append(max(0.0, (self._clock.monotonic() - due) * 1000))
            del self._lags_ms[: -self._keep]

    def p99_ms(self) -> float:
        lags = sorted(self._lags_ms)
        return lags[int(len(lags) * 0.99)] if lags else 0.0
