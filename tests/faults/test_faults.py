"""What was kept arrives, or a record names it: whatever fails on the way, whoever lies, whoever is killed.

`make faults` plays all of it with 20,000 events at 2,000 a second; `make test` plays the six in `SHORT` with 2,000.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from scenarios import ALL, SHORT, Scenario
from world import CannotRunError, Outcome, World

EVENTS = int(os.environ.get("FAULTS_EVENTS", "20000"))
AT_ONCE = int(os.environ.get("FAULTS_AT_ONCE", "2"))
RATE = 2000.0
SLOWEST_RATE = 150.0  # events per second at which a drain must at least go on this machine, two scenarios at a time

Play = Callable[[str, int], "Future[Outcome]"]


async def play(scenario: Scenario, directory: Path, events: int, outcome: Outcome) -> None:
    world = World(directory, scenario.setup, events, RATE)
    began_s = time.monotonic()
    async with world.running():
        try:
            await scenario.act(world)
            await world.put_all()
            await world.drained(45 + events / SLOWEST_RATE + scenario.extra_s)
        except TimeoutError as error:
            outcome.failed = str(error)
            world.notes.append(f"undelivered, not lost: {world.agent.told.get('depth')} are still in the outbox")
        outcome.seconds = time.monotonic() - began_s
        await world.agent.stop()
        await world.centre.stop()
    late = outcome.failed
    await asyncio.to_thread(world.judge, outcome)
    outcome.failed = late or outcome.failed or await asyncio.to_thread(scenario.check, world)
    outcome.notes = world.notes
    if not outcome.failed and outcome.duplicated:
        outcome.failed = f"{outcome.duplicated} events are at the centre twice"
    if not outcome.failed and outcome.refused and not scenario.refuses:
        outcome.failed = f"{outcome.refused} events were refused by a disk that works"
    if not outcome.failed and outcome.refused + outcome.events < events:
        outcome.failed = f"only {outcome.events} of {events} events were ever put"


def run(name: str, directory: Path, events: int) -> Outcome:
    """Play one scenario to its end; never raises."""
    outcome = Outcome(name)
    directory.mkdir(parents=True)
    try:
        asyncio.run(play(ALL[name], directory, events, outcome))
    except CannotRunError as reason:
        outcome.skipped = str(reason)
    except Exception:  # noqa: BLE001  # whatever it is, it is told as this scenario's failure
        outcome.failed = traceback.format_exc(limit=-6)
    return outcome


@pytest.fixture(scope="module")
def playing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Begins every scenario that was selected, two at a time; each test then waits for its own."""
    root = tmp_path_factory.mktemp("faults")
    wanted = [item.callspec.params["name"] for item in request.session.items
              if item.module is request.module and hasattr(item, "callspec")]  # fmt: skip
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun: dict[tuple[str, int], Future[Outcome]] = {}

        def begin(name: str, events: int) -> Future[Outcome]:
            for each in [name, *wanted]:
                if (each, events) not in begun:
                    place = root / f"{list(ALL).index(each):02}-{events}"
                    begun[each, events] = pool.submit(run, each, place, events)
            return begun[name, events]

        yield begin
        pool.shutdown(cancel_futures=True)


def settle(request: pytest.FixtureRequest, future: Future[Outcome]) -> None:
    outcome = future.result()
    request.config.outcomes.append(outcome)
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        reporter.write(f"\n{outcome.line()}\n")
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert not outcome.failed, outcome.failed


@pytest.mark.faults
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", ALL)
def test_nothing_is_lost_without_a_record(request: pytest.FixtureRequest, playing: Play, name: str) -> None:
    settle(request, playing(name, EVENTS))


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_of_the_first_two_thousand(request: pytest.FixtureRequest, playing: Play, name: str) -> None:
    settle(request, playing(name, 2000))
