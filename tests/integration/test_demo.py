"""The demo as a newcomer runs it: every link works, each one broken is named, and kills of the agent lose nothing."""

import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from edge_agent.demo import FOLLOWS, LINKS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

AT_ONCE = 2
Done = subprocess.CompletedProcess[str]


def demo(directory: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "edge_agent", "demo", "--headless", "--dir", str(directory), *options]


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Path, Done]]]:
    """All the demos of this file, a few at a time: each is mostly waiting."""
    plays = {"plain": [], "embedded": ["--embedded"]} | {link: ["--break", link, "--speedup", "4"] for link in LINKS}
    directories = {name: tmp_path_factory.mktemp(name) for name in plays}

    def play(name: str) -> Done:
        return subprocess.run(demo(directories[name], *plays[name]), capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures: dict[str, Future[Done]] = {name: pool.submit(play, name) for name in plays}
        yield lambda name: (directories[name], futures[name].result())
        for future in futures.values():
            future.cancel()


@pytest.mark.parametrize("name", ["plain", "embedded"])
def test_every_link_works(name: str, demos: Callable[[str], tuple[Path, Done]]) -> None:
    directory, done = demos(name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every link worked" in done.stdout
    assert "BROKEN" not in done.stdout
    assert str(directory) in done.stdout
    for kind in ("pictures", "speaker"):
        paths = re.findall(rf"^{kind}: (.+)$", done.stdout, re.MULTILINE)
        assert paths
        assert all(Path(path).is_file() for path in paths)
    assert not list((directory / "logs").glob("*")) or "Traceback" not in (directory / "logs/agent.log").read_text()


@pytest.mark.parametrize("link", LINKS)
def test_a_broken_link_is_named_and_the_demo_fails(link: str, demos: Callable[[str], tuple[Path, Done]]) -> None:
    _, done = demos(link)
    assert done.returncode == 1, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("broken: ")
    named = last.removeprefix("broken: ").split(", ")
    assert link in named
    assert len(set(named)) == len(named)
    assert set(named) <= {link} | FOLLOWS.get(link, set())


def test_two_demos_do_not_play_in_one_directory(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as taken:
        fcntl.flock(taken, fcntl.LOCK_EX)
        (tmp_path / "demo.json").write_text("{}")
        done = subprocess.run(demo(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "another demo plays here" in done.stderr


@pytest.mark.parametrize("options", [["--speedup", "0"], ["--dir", "/proc/demo"]])
def test_options_that_make_no_sense_are_named(options: list[str], tmp_path: Path) -> None:
    done = subprocess.run(demo(tmp_path / "d", *options), capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert options[0] in done.stderr


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(demo(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "holds something else than a demo" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_twenty_kills_of_the_agent_lose_no_incident_and_the_flight_ends_at_home(tmp_path: Path) -> None:
    rng = random.Random(20)
    directory = tmp_path / "demo"
    play = subprocess.Popen(
        demo(directory, "--speedup", "2"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    committed: set[str] = set()
    try:
        for _ in range(20):
            time.sleep(rng.uniform(1.0, 5.0))
            pid = agent_of(directory)
            os.kill(pid, signal.SIGKILL)
            committed |= incidents_kept(directory)
        shown, _ = play.communicate(timeout=400)
    finally:
        play.kill()
    assert play.returncode == 0, shown
    # a kill may hit an agent that was just being stopped, to plan its take-off anew
    assert shown.count("agent: died, and is started again") >= 18
    assert committed <= incidents_delivered(directory)
    last = json.loads((directory / "world/vehicle.jsonl").read_text().splitlines()[-1])
    assert not last["armed"]
    assert last["distance_home_m"] < 5


def test_a_demo_that_was_killed_whole_goes_on_in_its_directory(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    first = subprocess.Popen(demo(directory, "--speedup", "2"), stdout=subprocess.PIPE, text=True)
    assert first.stdout
    for line in first.stdout:
        if "flight: climb" in line:
            break
    time.sleep(4)
    first.kill()
    first.stdout.close()
    first.wait()
    committed = incidents_kept(directory) | incidents_delivered(directory)
    second = subprocess.run(demo(directory, "--speedup", "2"), capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "going on where it was cut off" in second.stdout
    assert committed <= incidents_delivered(directory)
    again = subprocess.run(demo(directory), capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "played to its end before" in again.stdout


def agent_of(directory: Path) -> int:
    """The pid of the demo's agent, once it runs."""
    wanted = f"--config={directory / 'agent.toml'}".encode()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                if wanted in words and b"run" in words:
                    return int(entry.name)
        time.sleep(0.05)
    raise TimeoutError("the demo has no agent")


def incidents_kept(directory: Path) -> set[str]:
    """Ids that the agent's outbox holds on disk."""
    return _ids(directory / "agent/events.db", "SELECT id FROM event WHERE kind = 'det'")


def incidents_delivered(directory: Path) -> set[str]:
    """Ids that the centre holds."""
    return _ids(directory / "centre/centre.db", "SELECT id FROM event WHERE kind = 'det'")


def _ids(database: Path, query: str) -> set[str]:
    if not database.exists():
        return set()
    db = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(5000)
    try:
        return {str(id) for (id,) in db.execute(query)}
    except apsw.SQLError:
        return set()
    finally:
        db.close()
