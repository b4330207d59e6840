"""A thread for calls that block, one after the other; one that hangs keeps neither the loop nor the process."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

BEHIND = 5  # the nice value of long computation: a loop that has to send a packet or a command goes first
LAST = 15  # and this of what nobody waits for: the clips
EXIT_GRACE_S = 2.0  # for a call that is nearly done: ending the interpreter under native code may crash it


class Worker:
    """Like a ThreadPoolExecutor of one thread, but of a daemon thread: nobody joins it without limit at the exit."""

    def __init__(self, name: str, *, nice: int = 0) -> None:
        """`nice` is by how much its thread gives way to the loop, and every thread that is started from it."""
        self._nice = nice
        self._calls = SimpleQueue[Callable[[], object] | None]()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        _workers.add(self)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs; some time after `close` it does not, unless a call hangs."""
        return self._thread.is_alive()

    def call(self, function: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """What the function will return or raise; cancelled before its turn has come, it is not called."""
        promise = Future[T]()
        self._calls.put(lambda: _keep(promise, function, args))
        return asyncio.wrap_future(promise)

    def close(self, last: Callable[[], object] | None = None) -> None:
        """The thread ends when what was called is done, and `last` after it; does not wait for it."""
        if last:
            self._calls.put(last)
        self._calls.put(None)

    def _work(self) -> None:
        if self._nice:  # of a thread: Linux schedules each by itself, and lets anyone be nicer
            with suppress(PermissionError):  # but not the filter of systemd/edge-agent.service
                os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + self._nice)
        try:
            while call := self._calls.get():
                call()
        finally:
            _workers.discard(self)


def _keep(promise: Future[T], function: Callable[..., T], args: tuple[object, ...]) -> None:
    if not promise.set_running_or_notify_cancel():
        return
    try:
        promise.set_result(function(*args))
    except BaseException as error:  # noqa: BLE001  whatever it is, it is raised where the call is awaited
        promise.set_exception(error)


_workers: set[Worker] = set()


@atexit.register
def _let_end() -> None:
    until_s, left = time.monotonic() + EXIT_GRACE_S, list(_workers)
    for worker in left:
        worker.close()  # one that idles ends at once
    for worker in left:
        worker._thread.join(max(0.0, until_s - time.monotonic()))
