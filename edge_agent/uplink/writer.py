"""One thread that does what it is asked, a batch at a time; whoever asks waits for the outcome, in a loop."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

BATCH = 256

Act = Callable[[], Any]
Serve = Callable[[list[Act]], list[Any]]


@dataclass
class _Job:
    act: Callable[[], Any]
    done: asyncio.Future[Any]
    reads: bool


class Writer:
    """What is asked while a batch is done goes into the next one; of a batch, what only reads is done first.

    `read` and `commit` do a batch and return an outcome for each act, an exception for one that failed; what they raise
    is a bug, and ends the thread. `now_and_then` is called about every `every_s`, busy or idle.
    """

    def __init__(
        self, name: str, *, read: Serve, commit: Serve, now_and_then: Callable[[], None], every_s: float, close: Act
    ) -> None:
        self._read, self._commit, self._close = read, commit, close
        self._now_and_then, self._every_s = now_and_then, every_s
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        return self._thread.is_alive()

    async def do(self, act: Callable[[], T], *, reads: bool = False) -> T:
        """Have this done, and return or raise what comes of it."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(act, done, reads))
        return await done

    async def close(self) -> None:
        """Do what is asked already, then end."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    # --- in the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        measured_s = float("-inf")
        while True:
            jobs, closing = self._gather()
            jobs = [job for job in jobs if not job.done.cancelled()]
            try:
                self._serve([job for job in jobs if job.reads], self._read)
                self._serve([job for job in jobs if not job.reads], self._commit)
                if time.monotonic() - measured_s >= self._every_s:
                    self._now_and_then()
                    measured_s = time.monotonic()
            except BaseException as bug:
                _hand_over([(job, bug) for job in jobs])
                raise
            if closing:
                self._close()
                return

    def _serve(self, jobs: list[_Job], how: Serve) -> None:
        if jobs:
            _hand_over(list(zip(jobs, how([job.act for job in jobs]), strict=True)))

    def _gather(self) -> tuple[list[_Job], bool]:
        """What was asked since the last commit, and whether it is the last; nothing after an idle second."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=self._every_s)
            while job is not None and len(jobs) < BATCH - 1:
                jobs.append(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        if job is not None:
            jobs.append(job)
        return jobs, job is None


def _hand_over(outcomes: list[tuple[_Job, Any]]) -> None:
    """Give a batch of outcomes to those who wait, by one call into their loop."""
    if outcomes:
        try:
            outcomes[0][0].done.get_loop().call_soon_threadsafe(_settle, outcomes)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more


def _settle(outcomes: list[tuple[_Job, Any]]) -> None:
    for job, outcome in outcomes:
        if job.done.done():
            continue
        if isinstance(outcome, BaseException):
            job.done.set_exception(outcome)
        else:
            job.done.set_result(outcome)
