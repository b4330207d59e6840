"""A broker comes back, and every device wants in at once: when are all there? For docs/FLEET.md; nothing is connected.

`python bench/stampede.py` prints a line for each number of devices and rate that the broker takes; what it cannot take
in its tenth of a second it refuses at once, and the device waits again.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable

LEAST_S, MOST_S, REFUSED_S, SLOT_S = 0.5, 60.0, 0.05, 0.1


def half_to_all(rng: random.Random, tries: int) -> float:
    """As `runtime.supervise` waits."""
    return min(MOST_S, LEAST_S * 2.0**tries) * rng.uniform(0.5, 1)


def full_jitter(rng: random.Random, tries: int) -> float:
    return rng.uniform(0, min(MOST_S, LEAST_S * 2.0**tries))


def play(devices: int, per_s: int, wait_s: Callable[[random.Random, int], float]) -> dict[str, float]:
    """When the last device is in, how many attempts it took, and their highest rate."""
    rng = random.Random(1)
    attempts: dict[int, int] = {}
    taken: dict[int, int] = {}
    queue = [(wait_s(rng, 0), 0) for _ in range(devices)]
    heapq.heapify(queue)
    last_s = 0.0
    while queue:
        at_s, tries = heapq.heappop(queue)
        slot = int(at_s / SLOT_S)
        attempts[slot] = attempts.get(slot, 0) + 1
        if taken.get(slot, 0) < per_s * SLOT_S:
            taken[slot], last_s = taken.get(slot, 0) + 1, at_s
        else:
            heapq.heappush(queue, (at_s + REFUSED_S + wait_s(rng, tries + 1), tries + 1))
    highest = round(max(attempts.values()) / SLOT_S)
    return {"all_back_s": round(last_s, 1), "attempts": sum(attempts.values()), "highest_per_s": highest}


def main() -> None:
    for devices, per_s in ((100, 500), (1000, 500), (10_000, 500), (10_000, 1500)):
        for wait_s in (half_to_all, full_jitter):
            found = play(devices, per_s, wait_s)
            print(json.dumps({"devices": devices, "taken_per_s": per_s, "wait": wait_s.__name__, **found}))


if __name__ == "__main__":
    main()
