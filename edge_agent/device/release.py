"""A release: the agent and all that it imports, copied out of the environment that runs this, under a name of its own.

Nothing is downloaded or built: what was tested here is what runs there, byte for byte. The name holds a digest of the
content, so that the same content is the same release, and a broken copy is seen.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import edge_agent
from edge_agent.device import shipped
from edge_agent.runtime import DriverError

OWN = "edge-agent"
PROGRAM = """#!{python} -sP
import sys

from edge_agent.cli import main

sys.exit(main())
"""


class Item(NamedTuple):
    """One file: where it is, and where it goes below site-packages."""

    source: Path
    place: str
    size: int


class Release(NamedTuple):
    """What is to be copied; `name` is version and digest."""

    name: str
    items: tuple[Item, ...]
    distributions: tuple[str, ...]
    size: int
    system_packages: bool  # the environment also sees the distribution's own packages, as a Pi's camera stack needs


def collect() -> Release:
    """The release that this environment makes; raises DriverError where a file of it is missing."""
    found: dict[str, Item] = {}
    named: list[str] = []
    for distribution in _needed(OWN):
        named.append(f"{distribution.metadata['Name']} {distribution.version}")
        for item in _files(distribution):
            found[item.place] = item
    items = tuple(found[place] for place in sorted(found))
    digest = hashlib.blake2b(digest_size=5)
    for item in items:
        with item.source.open("rb") as stream:
            digest.update(item.place.encode() + b"\0" + hashlib.file_digest(stream, "blake2b").digest())
    version = re.sub(r"[^0-9A-Za-z.+]", ".", edge_agent.__version__)
    size = sum(item.size for item in items)
    return Release(f"{version}-{digest.hexdigest()}", items, tuple(sorted(named)), size, _sees_system())


def _needed(name: str) -> list[metadata.Distribution]:
    """A distribution and what it requires, as far as it is installed here; extras only where required."""
    found: dict[str, metadata.Distribution] = {}
    todo = [(name, frozenset[str]())]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        if (asked := todo.pop()) in seen:
            continue
        seen.add(asked)
        try:
            distribution = metadata.distribution(asked[0])
        except metadata.PackageNotFoundError:
            continue  # not for this platform or Python, else this environment would not run either
        if not _inside(Path(str(distribution.locate_file("")))):
            continue  # of the system: it is there without us
        found[_plain(asked[0])] = distribution
        for line in distribution.requires or ():
            requirement, _, marker = line.partition(";")
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
            match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", requirement)
            if match and (extra is None or extra[1] in asked[1]):
                extras = frozenset(word.strip() for word in (match[2] or "").split(",") if word.strip())
                todo.append((match[1], extras))
    if not found:
        raise DriverError(f"{name} is not installed in {sys.prefix}: install its wheel into a venv first")
    return list(found.values())


def _files(distribution: metadata.Distribution) -> Iterator[Item]:
    """What belongs below site-packages; of ourselves the package as it is imported, also from a checkout."""
    own = _plain(distribution.metadata["Name"]) == _plain(OWN)
    for file in distribution.files or ():
        place = file.as_posix()
        if place.startswith("..") or place.endswith((".pyc", ".pth")) or (own and place.startswith("edge_agent/")):
            continue
        source = Path(str(distribution.locate_file(file)))
        if not source.is_file():
            raise DriverError(f"{source}: is missing from this environment; set it up anew")
        yield Item(source, place, source.stat().st_size)
    if own:
        package = Path(edge_agent.__file__).parent
        files = package / "device" / "files"
        yield from _tree(package, "edge_agent", leave_out=files)
        for name in ("systemd", "firmware_config"):
            yield from _tree(shipped.folder(name), f"edge_agent/device/files/{name}")


def _tree(folder: Path, place: str, leave_out: Path | None = None) -> Iterator[Item]:
    for source in sorted(folder.rglob("*")):
        if source.suffix == ".pyc" or not source.is_file() or (leave_out and leave_out in source.parents):
            continue
        yield Item(source, f"{place}/{source.relative_to(folder).as_posix()}", source.stat().st_size)


def copy(release: Release, target: Path, python: Path, show: Callable[[int, int], None]) -> None:
    """The release into `target`, which is there as a whole or not at all; `python` is named as the target sees it."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was cut off
    try:
        _fill(part, release, _as_seen(target), python, show)
        os.sync()
        part.rename(target)
    except OSError:  # a disk that is full gets its room back: the release that runs needs it
        shutil.rmtree(part, ignore_errors=True)
        raise


def _fill(part: Path, release: Release, seen: str, python: Path, show: Callable[[int, int], None]) -> None:
    site = part / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    done = 0
    for item in release.items:
        place = site / item.place
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.source, place)
        shutil.copystat(item.source, place)
        place.chmod(0o755 if os.access(item.source, os.X_OK) else 0o644)
        done += item.size
        show(done, release.size)
    (part / "bin").mkdir()
    (part / "bin" / "python").symlink_to(python)
    # With this file and `-sP` Python looks into the release's own site-packages first, and nowhere in anybody's home.
    sees = "true" if release.system_packages else "false"
    (part / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = {sees}\n")
    (part / "pyvenv.cfg").chmod(0o644)  # whatever root's umask is, the agent's account is to read it
    program = part / "bin" / "edge-agent"
    program.write_text(PROGRAM.format(python=f"{seen}/bin/python"))
    program.chmod(0o755)
    # Compiled here, once: where the agent runs, it may not write beside its code.
    line = [sys.executable, "-m", "compileall", "-q", "-j0", "-s", str(part), "-p", seen, str(site)]
    # a file for another Python does not compile: nothing lost
    subprocess.run(line, check=False, capture_output=True, umask=0o022)
    for folder, _, _ in os.walk(part):
        Path(folder).chmod(0o755)


def _as_seen(target: Path) -> str:
    """The path as it is once the root of the target is the root."""
    from edge_agent.device.layout import RELEASES

    return f"{RELEASES}/{target.name}"


def find_python(root: Path) -> Path:
    """The target's own interpreter of our version and architecture, as the target sees it; raises DriverError."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    named = Path(f"/usr/bin/{version}")
    there = root / named.relative_to("/")
    if not there.exists():
        raise DriverError(
            f"{there}: not there; the release needs {version}: apt-get install {version}, or make the environment "
            "that runs this with the Python of that system (python3 -m venv)"
        )
    ours, theirs = _elf_machine(Path(sys.executable)), _elf_machine(there)
    if ours != theirs:
        raise DriverError(f"{there}: is for another processor (ELF machine {theirs}, ours is {ours}): install there")
    return named


def _elf_machine(file: Path) -> int:
    with file.open("rb") as stream:
        head = stream.read(20)
    return int(struct.unpack_from("<H", head, 18)[0]) if head[:4] == b"\x7fELF" and len(head) == 20 else 0


def _sees_system() -> bool:
    try:
        text = (Path(sys.prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return re.search(r"(?m)^include-system-site-packages\s*=\s*true\s*$", text) is not None


def _inside(place: Path) -> bool:
    return place.resolve().is_relative_to(Path(sys.prefix).resolve())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
