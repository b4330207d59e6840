"""Fly scenarios: each in a process, and where the kernel lets us in a network namespace, of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sitl import centre, contract_run, report, stranger, time_phrases
from sitl.language import Scenario, play, scenarios
from sitl.phrases import phrase
from sitl.report import Result
from sitl.verdict import faults
from sitl.world import World

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "scenarios"
SENTENCES = (centre, stranger, time_phrases)  # imported for the sentences that they teach
SETTLE_S = 0.5  # of wall time, for the last event to reach the outbox
PATIENCE_S = 300.0  # of wall time for one scenario, whatever the vehicle's clock says
INSIDE = ("sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def known() -> list[Scenario]:
    """Every scenario there is, and the contract suite, which ArduCopter alone can answer."""
    contract = Scenario(contract_run.NAME, contract_run.TITLE, {"Flown on": "ArduCopter", "Covers": "2,5,6"}, ())
    return [*scenarios(FOLDER), contract]


def cage() -> tuple[str, ...]:
    """The command that gives a process a network of its own; () where that cannot be had."""
    for way in (("unshare", "-n"), ("unshare", "-r", "-n")):
        if (
            shutil.which("unshare")
            and subprocess.run([*way, *INSIDE, "true"], capture_output=True, check=False).returncode == 0
        ):
            return (*way, *INSIDE)
    return ()


async def one(scenario: Scenario, folder: Path, *, vehicle: str, speedup: float, seed: int, slot: int) -> Result:
    """Fly one scenario in this process, and judge it."""
    if scenario.name == contract_run.NAME:
        return await contract_run.fly(folder, speedup=speedup, slot=slot)
    began_s = time.monotonic()
    speedup = float(scenario.heads.get("Speed-up", speedup))
    world = World(folder, vehicle=vehicle, speedup=speedup, seed=seed, slot=slot)
    world.home_radius_m = float(scenario.heads.get("Home within", world.home_radius_m))
    try:
        found = await _flown(scenario, world)
    finally:
        await world.close()
    result = Result(
        scenario.name, scenario.title, "\n".join(found), scenario.known_failing, round(world.clock.now(), 1),
        round(time.monotonic() - began_s, 1),
    )  # fmt: skip
    report.leave(world, result.why)
    return result


async def _flown(scenario: Scenario, world: World) -> list[str]:
    """What was wrong with it."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await play(scenario, phrase, world)
    except AssertionError as error:
        return [str(error)]
    except TimeoutError:
        return [f"not over after {PATIENCE_S:g} s of wall time; {world.station.in_words()}"]
    await asyncio.sleep(SETTLE_S)
    return faults(world, await world.agent.stop())


async def many(
    chosen: Sequence[Scenario], out: Path, *, vehicle: str, speedup: float, seed: int, jobs: int
) -> list[Result]:
    """Fly them `jobs` at a time; says how each went as soon as it is known."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    way = cage()
    if vehicle == "arducopter" and not way:
        print(
            "warning: no network namespace can be made here (not root), so ArduCopter listens on every address of"
            " this machine while it flies",
            file=sys.stderr,
        )
    free = list(range(jobs))
    limit = asyncio.Semaphore(jobs)

    async def fly(scenario: Scenario) -> Result:
        async with limit:
            slot = free.pop(0)
            try:
                result = await _child(scenario, out / scenario.name, way, slot)
            finally:
                free.append(slot)
        say(result, out / scenario.name)
        return result

    async def _child(scenario: Scenario, folder: Path, way: Sequence[str], slot: int) -> Result:
        folder.mkdir()
        line = [
            *way, sys.executable, "-m", "sitl", "one", scenario.name, "--out", str(folder), "--vehicle", vehicle,
            "--speedup", f"{speedup:g}", "--seed", str(seed), "--slot", str(0 if way else slot),
        ]  # fmt: skip
        with (folder / "harness.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *line, cwd=HERE.parent, stdout=log, stderr=log, start_new_session=True
            )
            try:
                async with asyncio.timeout(PATIENCE_S + 60):
                    await process.wait()
            except TimeoutError:
                pass
            finally:  # whatever it left behind goes with it
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        file = folder / "result.json"
        if file.exists():
            return msgspec.json.decode(file.read_bytes(), type=Result)
        told = (folder / "harness.log").read_text(errors="replace").strip().splitlines()
        return Result(scenario.name, scenario.title, f"the harness failed: {told[-1] if told else 'it was killed'}")

    results = await asyncio.gather(*(fly(scenario) for scenario in chosen))
    report.junit(results, out / "junit.xml")
    return results


def say(result: Result, folder: Path) -> None:
    """One line for each scenario, and the reason with its place where it failed; a good flight's big logs go."""
    print(f"{result.word:13} {result.name:40} {result.vehicle_s:6.0f} s flown in {result.wall_s:5.1f} s")
    if result.known:
        print(f"{'':14}known: {result.known}")
    if result.why:
        print("\n".join(f"{'':14}{line}" for line in result.why.splitlines()))
        print(
            f"{'':14}look into {os.path.relpath(folder)}: story.txt, path.svg, height.svg, agent/, link.tlog",
            flush=True,
        )
    else:
        shutil.rmtree(folder / "vehicle", ignore_errors=True)
    sys.stdout.flush()
