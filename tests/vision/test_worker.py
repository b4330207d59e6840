"""The thread of a driver: its calls come one by one, their errors go where they are awaited, and it holds up nobody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest

from edge_agent.vision.worker import BEHIND, EXIT_GRACE_S, Worker

HUNG_DEVICE = """
import asyncio, logging, threading
from pathlib import Path
from collections import Counter
import numpy as np
from edge_agent import config
from edge_agent.runtime import Health, SystemClock
from edge_agent.vision.camera import Frame, video
from edge_agent.vision.pipeline import Vision

hung = {"camera": threading.Event(), "detector": threading.Event()}

def hang(what):
    hung[what].set()
    threading.Event().wait()

def read_frames(*args, **more):
    yield hang("camera")

video.read_frames = read_frames

class Good:
    name, every_frame, drops = "good", True, Counter()
    async def frames(self):
        yield Frame("good", 0, 0.0, 0.0, np.zeros((4, 4, 3), np.uint8))

class Detector:
    name, labels, score = "d", (), 0.5
    share: float | None = None
    def detect(self, frame):
        hang("detector")

async def main():
    clock, tracks = SystemClock(), None
    bad = video.VideoCamera(config.VideoCamera(name="bad", path=Path("x"), detector="d"), clock)
    sections = {name: config.SimulatedCamera(name=name, detector="d") for name in ("good", "bad")}
    vision = Vision(
        [Good(), bad], {"d": Detector}, sections, config.Plates(), {}, health=Health(clock), on_tracks=tracks
    )
    tasks = [asyncio.ensure_future(part()) for _, part in vision.parts()]
    while not all(event.is_set() for event in hung.values()):
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

asyncio.run(main())
print("stopped")
"""


def test_a_hung_camera_and_a_hung_detector_do_not_keep_the_process_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", HUNG_DEVICE], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


def test_a_call_that_is_nearly_done_is_waited_for_at_the_exit() -> None:
    code = (
        "import asyncio, time; from edge_agent.vision.worker import BEHIND, Worker\n"
        "def work(): time.sleep(0.3); print('done', flush=True)\n"
        "async def main(): w = Worker('w'); w.call(work); w.close()\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


async def test_calls_are_done_in_order_by_one_thread_which_ends_when_closed() -> None:
    worker, done = Worker("w"), []
    calls = [worker.call(done.append, n) for n in range(50)]
    await asyncio.gather(*calls)
    assert done == list(range(50))
    thread = await worker.call(threading.get_ident)
    assert thread == await worker.call(threading.get_ident) != threading.get_ident()
    worker.close(lambda: done.append("last"))
    async with asyncio.timeout(30):
        while worker.alive:
            await asyncio.sleep(0.01)
    assert done[-1] == "last"


async def test_an_error_is_raised_where_the_call_is_awaited_and_the_thread_goes_on() -> None:
    worker = Worker("w")
    with pytest.raises(ZeroDivisionError):
        await worker.call(divmod, 1, 0)
    assert await worker.call(divmod, 7, 2) == (3, 1)
    worker.close()


async def test_a_call_that_was_given_up_before_it_began_is_not_made() -> None:
    worker, gate, made = Worker("w"), threading.Event(), []
    first, second = worker.call(gate.wait, 10), worker.call(made.append, 2)
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    await first
    await worker.call(made.append, 3)
    assert made == [3]
    worker.close()


async def test_who_gives_up_waiting_is_free_at_once() -> None:
    worker, gate = Worker("w"), threading.Event()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await worker.call(gate.wait, 20)
    worker.close()
    assert time.monotonic() - began < 5 and worker.alive
    gate.set()


async def test_long_work_gives_way_to_the_loop_and_so_do_the_threads_that_it_starts() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)  # of the calling thread

    def of_a_thread_of_its_own() -> int:
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(niceness()))
        thread.start()
        thread.join()
        return found[0]

    ours, worker = niceness(), Worker("long", nice=BEHIND)
    try:
        assert await worker.call(niceness) == min(ours + BEHIND, 19)
        assert await worker.call(of_a_thread_of_its_own) == min(ours + BEHIND, 19)
        assert niceness() == ours
    finally:
        worker.close()


async def test_where_the_service_s_filter_lets_nobody_be_nicer_the_thread_works_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)
    worker = Worker("long", nice=BEHIND)
    try:
        async with asyncio.timeout(60):
            assert await worker.call(lambda: "done") == "done"
    finally:
        worker.close()


def test_a_thread_that_idles_does_not_keep_the_process() -> None:
    code = (
        "import asyncio, atexit, time; began = time.monotonic()\n"
        "atexit.register(lambda: print(time.monotonic() - began))\n"  # called last: registered before the worker's
        "from edge_agent.vision.worker import Worker\n"
        "async def main(): await Worker('idle').call(len, '')\n"
        "asyncio.run(main()); began = time.monotonic()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) < EXIT_GRACE_S
