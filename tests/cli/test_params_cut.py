"""`params apply` cut off before and after every change to disk and vehicle: the next one finishes it, or undoes it."""

import asyncio
import os
from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_agent import config
from edge_agent.cli import tuning
from edge_agent.flight import param_shelf

BEFORE = {"BATT_CAPACITY": 3300.0, "FS_OPTIONS": 16.0, "MNT1_TYPE": 0.0, "MNT1_YAW_MAX": 180.0, "RTL_ALT": 1500.0}
AFTER = {"BATT_CAPACITY": 3300.0, "FS_OPTIONS": 2.0, "MNT1_TYPE": 1.0, "MNT1_YAW_MAX": 90.0, "RTL_ALT": 3000.0}
SET = "MNT1_TYPE 1\nMNT1_YAW_MAX 90\nRTL_ALT 3000\nFS_OPTIONS 2\n"


class Killed(BaseException):
    """As good as kill -9: nothing that tidies up on errors sees it as one of its own."""


class Autopilot:
    """What it keeps and what it acts by: a mount's type acts from the next start on, and at 0 hides its group."""

    link = SimpleNamespace(copter=True, system_id=1)
    number = "a1"

    def __init__(self, step: Callable[[], None]) -> None:
        self.kept, self.acts_by, self._step = dict(BEFORE), dict(BEFORE), step
        self.restarts = 0

    async def hear(self) -> None:
        """It is there."""

    def refusal(self, *_: object) -> None:
        """It stands on the ground."""

    async def serial(self) -> str:
        return self.number

    async def firmware(self) -> tuple[int, int, int]:
        return 4, 6, 0

    async def read_all(self, _: object) -> dict[str, float]:
        hidden = self.acts_by["MNT1_TYPE"] == 0
        return {name: value for name, value in self.kept.items() if not (hidden and name == "MNT1_YAW_MAX")}

    async def set(self, name: str, value: float) -> None:
        self._step()
        self.kept[name] = value
        if name != "MNT1_TYPE":
            self.acts_by[name] = value
        self._step()

    async def reboot(self) -> None:
        self._step()
        self.acts_by, self.restarts = dict(self.kept), self.restarts + 1
        self._step()


class Bench:
    """A technician's table: one autopilot, one data directory, and a power that may go at any step."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps_left: int | None = None
        self.json = True
        self.autopilot = Autopilot(self.step)
        self.settings = config.Agent(site=config.Site(device="d"), data_dir=folder / "data")
        (folder / "data").mkdir(parents=True)
        self.file = folder / "set.param"
        self.file.write_text(SET)

        @asynccontextmanager
        async def workbench(*_: object) -> AsyncGenerator[Autopilot, None]:
            yield self.autopilot

        monkeypatch.setattr(tuning, "workbench", workbench)

    def step(self) -> None:
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise Killed
            self.steps_left -= 1

    def params(self, verb: str, file: Path) -> int:
        args = Namespace(
            verb=verb, files=[file], backup=None, accept=[], dry_run=False, no_reboot=False, json=self.json
        )
        return asyncio.run(tuning.run(args, self.settings, tuning.read(args)))

    def killed_after(self, steps: int) -> bool:
        self.steps_left = steps
        try:
            return self.params("apply", self.file) != 0
        except Killed:
            return True
        finally:
            self.steps_left = None


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bench]:
    """Makes one whose power goes between changes to the disk as well."""
    now: list[Bench] = []

    def stepping(real: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **more: object) -> object:
            if now:
                now[-1].step()
            return real(*args, **more)

        return change

    for name in ("replace", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, stepping(getattr(Path, name)))
    monkeypatch.setattr(os, "fsync", lambda _: None)

    def make(name: str) -> Bench:
        now.append(Bench(tmp_path / name, monkeypatch))
        return now[-1]

    return make


def test_cut_off_at_any_step_the_next_apply_finishes_it_restart_and_report_included(
    bench: Callable[[str], Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = 0
    while (one := bench(f"{steps}")).killed_after(steps):
        assert one.params("apply", one.file) == 0, f"killed after {steps} steps"
        assert (one.autopilot.kept, one.autopilot.acts_by) == (AFTER, AFTER), f"killed after {steps} steps"
        assert param_shelf.unfinished(one.settings.data_dir) is None
        wanted = {name: value for name, value in AFTER.items() if name in SET}
        assert param_shelf.applied(one.settings.data_dir).wanted == wanted
        assert one.params("diff", one.file) == 0
        steps += 1
    assert steps > 20
    assert not list(one.settings.data_dir.rglob("*.part"))
    capsys.readouterr()


def test_cut_off_at_any_step_the_backup_of_before_undoes_it(
    bench: Callable[[str], Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    steps = 0
    while (one := bench(f"{steps}")).killed_after(steps):
        begun = param_shelf.unfinished(one.settings.data_dir)
        if begun is not None:
            assert one.params("apply", Path(begun.backup)) == 0, f"killed after {steps} steps"
            assert param_shelf.unfinished(one.settings.data_dir) is None
        listed = {name: value for name, value in BEFORE.items() if name != "MNT1_YAW_MAX"}  # the others were hidden
        assert one.autopilot.kept | listed == one.autopilot.kept, f"killed after {steps} steps"
        assert one.autopilot.acts_by == one.autopilot.kept
        steps += 1
    capsys.readouterr()


def test_what_another_autopilot_was_left_with_is_told_and_nothing_of_it_is_done_here(
    bench: Callable[[str], Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    one = bench("first")
    under_way = param_shelf.UnderWay("2026-11-22T00:00:00Z", "first.param", ("MNT1_TYPE",), "a1")
    param_shelf.begin(one.settings.data_dir, under_way)
    one.autopilot.number = "b2"
    one.file.write_text("RTL_ALT 3000\n")
    one.json = False
    assert one.params("apply", one.file) == 0
    said = capsys.readouterr().out
    assert one.autopilot.restarts == 0 and "on another autopilot (a1)" in said and "first.param" not in said


def test_a_restart_that_is_left_to_a_person_is_not_forgotten_by_a_later_pass(
    bench: Callable[[str], Bench], capsys: pytest.CaptureFixture[str]
) -> None:
    one = bench("later")
    param_shelf.begin(one.settings.data_dir, param_shelf.UnderWay("2026-11-22T00:00:00Z", "x", ("SERIAL1_BAUD",)))
    one.file.write_text("RTL_ALT 3000\n")
    one.steps_left = 10  # cut off while it is set
    with pytest.raises(Killed):
        one.params("apply", one.file)
    begun = param_shelf.unfinished(one.settings.data_dir)
    assert begun is not None and begun.backup != "x", "it was written anew"
    assert begun.restart == ("SERIAL1_BAUD",)
    capsys.readouterr()


def test_a_disk_that_takes_nothing_lets_nothing_be_set(
    bench: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench("full")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for module in (param_shelf.keys, tuning.files, param_shelf):
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_durably", full)
            with pytest.raises(tuning.DriverError, match=r"No space left on device|cannot be written"):
                one.params("apply", one.file)
        assert one.autopilot.kept == BEFORE
