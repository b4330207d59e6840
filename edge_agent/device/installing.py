"""`install` and `uninstall`, from what is there to what is wanted, under one lock."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_agent.device import layout, release, shipped
from edge_agent.device.ground import BACKUP, Ground, Manifest
from edge_agent.device.layout import BASE, CURRENT, RELEASES, TRIAL, Command, Machine, Step
from edge_agent.device.release import Release
from edge_agent.runtime import DriverError

SPARE = 64 << 20  # bytes that stay free for the agent's own events
MARKS = ("starts", "rolled-back", ".starts.part", ".rolled-back.part", ".current.back")  # of systemd/guard
Run = Callable[[Sequence[str]], None]
Say = Callable[[str], None]


class BusyError(DriverError):
    """Somebody else installs here, or the vehicle is armed."""


def machine(ground: Ground) -> Machine:
    """What is known of the target."""
    for place in ("/etc/os-release", "/usr/lib/os-release"):
        file = ground.at(place)
        if file.is_file():  # /etc/os-release is a link, relative, on every Debian
            return layout.machine(file.read_text(encoding="utf-8", errors="replace"), ground.exists)
    return layout.machine("", ground.exists)


@contextmanager
def lock(ground: Ground) -> Generator[None, None, None]:
    """One technician at a time: the kernel's lock on the target's /etc, which leaves nothing behind."""
    try:
        fd = os.open(ground.at("/etc"), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise DriverError(f"{ground.at('/etc')}: {error.strerror}; is {ground.root} the root of a system?") from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(f"somebody else installs to {ground.root} at this moment; wait for that") from None
        yield
    finally:
        os.close(fd)


def refuse_if_unfit(ground: Ground, wanted: Release | None) -> None:
    """Raises DriverError before anything is written: a root that forgets, cannot be written, or is too full."""
    cmdline = Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace").split()
    if ground.root == Path("/") and any(word.startswith(("boot=overlay", "overlayroot=")) for word in cmdline):
        raise DriverError(
            "/: is an overlay, and forgets everything at the next boot; sudo raspi-config nonint disable_overlayfs, "
            "restart, install, then enable_overlayfs again"
        )
    for folder in ("/opt", "/etc"):
        place = next(p for p in (ground.at(folder), *ground.at(folder).parents) if p.exists())
        if os.statvfs(place).f_flag & os.ST_RDONLY or not os.access(place, os.W_OK):
            raise DriverError(f"{place}: is read-only, nothing was changed; sudo mount -o remount,rw {ground.root}")
    if wanted is not None and not ground.exists(f"{RELEASES}/{wanted.name}"):
        place = next(p for p in (ground.at(BASE), *ground.at(BASE).parents) if p.exists())
        need, free = wanted.size + wanted.size // 4 + SPARE, shutil.disk_usage(place).free
        if free < need:
            raise DriverError(
                f"{place}: {free >> 20} MiB are free, {need >> 20} MiB are needed; nothing was changed: make room "
                "(journalctl --vacuum-size=16M, apt-get clean), or use a larger card"
            )


def steps(ground: Ground) -> list[Step]:
    """Those that have something to do with this machine."""
    wanted = layout.steps(machine(ground), shipped.text, detectors(ground))
    return [step for step in wanted if ground.look(step) is not None]


def detectors(ground: Ground) -> list[str]:
    """The detectors of the target's configuration that are to run in processes of their own, if it has one yet."""
    try:
        sections = tomllib.loads(ground.read(layout.CONFIG) or "").get("detector", [])
        wanted = [one["name"] for one in sections if str(one.get("socket", "")).startswith("/run/edge-agent-detector/")]
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError):
        return []  # `edge-agent check` says what is wrong with it
    return [name for name in wanted if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", str(name))]


def install(
    ground: Ground, wanted: Release, python: Path, *, accept: Callable[[Path], None], say: Say, run: Run
) -> tuple[list[str], str | None]:
    """Make everything but what wakes the system; the paths that changed, and the release that is replaced, if any.

    `accept` looks at the release before anything leads to it, and raises DriverError where it is no good.
    """
    old = ground.manifest() or Manifest()
    todo = steps(ground)
    records = {step.path: ground.record(step, old.records.get(step.path)) for step in todo}
    folders = list(dict.fromkeys([BASE, *old.folders, *ground.missing_folders([layout.MANIFEST, *records])]))
    for folder in ground.missing_folders([layout.MANIFEST]):
        ground.make_folder(folder)
    before = ground.target(CURRENT)
    intent = Manifest(
        state="installing", release=wanted.name, records={**old.records, **records}, folders=tuple(folders)
    )
    if (old.state, old.release) != ("installed", wanted.name) or {*old.records} != {*records} or _stale(ground, todo):
        ground.save(intent)
    changed: list[str] = []
    place = f"{RELEASES}/{wanted.name}"
    if not ground.exists(place):
        for folder in ground.missing_folders([place]):
            ground.make_folder(folder)
        release.copy(wanted, ground.at(place), python, _progress(say, wanted))
        changed.append(place)
    accept(ground.at(place))
    for folder in ground.missing_folders(records):
        ground.make_folder(folder)
    for step in todo:
        if ground.make(step, old.records.get(step.path)) != "same":
            changed.append(step.path)
    for command in layout.accounts(str(ground.root)) if changed or old.state != "installed" else []:
        run(command.argv)
    link = f"releases/{wanted.name}"
    replaced = None
    if before != link:
        if before is not None and ground.exists(f"{BASE}/{before}"):
            replaced = before.removeprefix("releases/")
            ground.link(TRIAL, before)
        for mark in MARKS:
            ground.remove(f"{BASE}/{mark}")
        ground.link(CURRENT, link)
        changed.append(CURRENT)
    for path in old.records.keys() - records.keys():  # of an older version: no longer wanted
        ground.unmake(path, old.records[path])
        changed.append(path)
    _drop_old_releases(ground, {link, before})
    if changed or old.state != "installed":
        ground.settle(msgspec.structs.replace(intent, records=records))
    return changed, replaced


def _stale(ground: Ground, todo: Sequence[Step]) -> bool:
    return any(ground.look(step) != "same" for step in todo)


def _progress(say: Say, wanted: Release) -> Callable[[int, int], None]:
    told = -1

    def show(done: int, of: int) -> None:
        nonlocal told
        tenth = 10 * done // max(of, 1)
        if tenth > told:
            told = tenth
            say(f"copying release {wanted.name}: {10 * tenth} % of {of >> 20} MiB")

    return show


def releases(ground: Ground) -> list[str]:
    """The names of the whole releases that are there."""
    folder = ground.at(RELEASES)
    return sorted(entry.name for entry in folder.iterdir() if layout.is_release(entry.name)) if folder.is_dir() else []


def _drop_old_releases(ground: Ground, keep: set[str | None]) -> None:
    """All but the one that runs and the one before it; and what a cut left half copied."""
    folder = ground.at(RELEASES)
    for entry in list(folder.iterdir()):
        name = entry.name.removeprefix(".").removesuffix(".part")
        if not layout.is_release(name) or f"releases/{entry.name}" in keep | {ground.target(TRIAL)}:
            continue
        if entry.name == name:
            ground.remove_tree(f"{RELEASES}/{name}")
        else:
            shutil.rmtree(entry)


def uninstall(ground: Ground, say: Say) -> list[str]:
    """Unmake what the manifest names, releases included; what stays and why. Configuration and data are not ours."""
    old = ground.manifest()
    stays: list[str] = []
    if old is not None:
        ground.save(msgspec.structs.replace(old, state="removing"))
        for path in reversed(list(old.records)):
            if (word := ground.unmake(path, old.records[path])) is not None:
                stays.append(word)
        for name in ("current", "trial", *MARKS):
            ground.remove(f"{BASE}/{name}")
        for name in releases(ground):
            say(f"removing release {name}")
            ground.remove_tree(f"{RELEASES}/{name}")
        shutil.rmtree(ground.at(RELEASES), ignore_errors=True)
        for stamp in ground.at("/var/lib/systemd/timers").glob("stamp-edge-agent-*.timer"):
            stamp.unlink(missing_ok=True)
        for folder in reversed(old.folders):
            ground.remove_folder(folder)
        ground.remove(layout.MANIFEST)  # the last, so that whatever was cut off is finished
    ground.remove_folder(BASE)
    return stays


def data_places(ground: Ground) -> list[str]:
    """The folders of configuration and data that hold something, and the secrets that the unit hands over."""
    folders = [
        path
        for path in ("/etc/edge-agent", layout.STATE)
        if any(entry.is_file() or entry.is_symlink() for entry in ground.at(path).rglob("*"))
    ]
    secrets = sorted(ground.at("/etc").glob("credstore*/edge-agent.*"))
    return [*folders, *(f"/{file.relative_to(ground.root)}" for file in secrets)]


def forget(ground: Ground, purge: bool) -> list[str]:
    """The empty folders, with `purge` the full ones; then the account, unless its files stay. What stays."""
    there = data_places(ground)
    stays = [] if purge else there
    for path in {"/etc/edge-agent", layout.STATE, *there} - {*stays}:
        if ground.at(path).is_dir():
            shutil.rmtree(ground.at(path), ignore_errors=True)
        else:
            ground.remove(path)
    return stays


def plan_of_account(root: str) -> Command:
    """The account goes last."""
    at = () if root == "/" else ("--prefix", root)
    return Command(("userdel", *at, "edge-agent"), "the account edge-agent", live=False)


def has_account(ground: Ground) -> bool:
    return any(line.startswith("edge-agent:") for line in (ground.read("/etc/passwd") or "").splitlines())


def run(argv: Sequence[str]) -> None:
    """A command to its end; DriverError with what it said where it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        raise DriverError(f"{argv[0]}: not there; apt-get install systemd udev passwd") from None
    except subprocess.TimeoutExpired:
        raise DriverError(f"{' '.join(argv)}: did not end within 120 s") from None
    if done.returncode:
        raise DriverError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip() or f'exit {done.returncode}'}")


__all__ = ["BACKUP", "BusyError", "Ground", "forget", "install", "lock", "machine", "run", "steps", "uninstall"]
