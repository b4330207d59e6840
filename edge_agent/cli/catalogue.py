"""`edge-agent models list|install|remove`: models by name, from the network, a file or a USB stick."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_agent import weights
from edge_agent.catalogue import NAME, Known, by_file, by_hash, copyleft, known, store
from edge_agent.catalogue.download import Progress, download
from edge_agent.catalogue.store import Installed
from edge_agent.runtime import DriverError

DEEP = 4  # folders below a directory that are looked through
MANY = 10_000  # files
SPARE_BYTES = 64 << 20  # that stay free on the disk


def show(args: argparse.Namespace) -> int:
    """List what came along, what is installed and what is known."""
    here = {model.name: model for model in store.installed()}
    rows: list[dict[str, Any]] = [
        {"name": name, "state": "built-in", "bytes": weights.path(name).stat().st_size, "licence": "Apache-2.0",
         "sha256": store.digest(weights.path(name)), "file": str(weights.path(name))}
        for name in weights.names() if name not in here
    ]  # fmt: skip
    rows += [
        {"name": m.name, "state": "installed", "bytes": m.bytes, "licence": m.licence, "sha256": m.sha256,
         "file": str(m.file), "source": m.source}
        for m in here.values()
    ]  # fmt: skip
    rows += [
        {"name": name, "state": "known", "task": m.task, "bytes": m.bytes or None, "licence": m.licence,
         "sha256": m.sha256 or None, "url": m.url or None, "about": m.about}
        for name, m in known().items() if name not in here
    ]  # fmt: skip
    for row in rows:
        if args.json:
            print(json.dumps(row, ensure_ascii=False))
        else:
            size = f"{row['bytes'] / 1e6:6.1f} MB" if row["bytes"] else " by file "
            print(f"{row['name']:24} {row['state']:10} {size}  {plain(row['licence'])}")
            if row["state"] == "known":
                print(f"{'':24} {row['task']}: {row['about']}")
    return 0


def install(args: argparse.Namespace) -> int:
    """Install what was asked for; a directory gives every known model that lies in it."""
    path = Path(args.what)
    if args.what in known() and not path.suffix:
        _one(args.what, args)
    elif args.source or args.url:
        raise DriverError(f"{args.what}: --from and --url take the NAME of a known model ({', '.join(known())})")
    elif args.what and path.is_dir():
        found = {name: file for file in _files(path) if (name := _whose(file))}
        if not found:
            raise DriverError(f"{path}: no file in it is a model of the list; install a file of your own by its name")
        for name, file in found.items():
            _from_file(name, file, args)
    elif path.is_file():
        _file(path, args)
    elif args.what in weights.names():
        raise DriverError(f"{args.what} came with this installation: there is nothing to install")
    else:
        raise DriverError(f"{args.what}: is no known model, file or directory (known are {', '.join(known())})")
    return 0


def remove(args: argparse.Namespace) -> int:
    """Take an installed model away."""
    found = next((model for model in store.installed() if model.name == args.name), None)
    try:
        file = found.file if found and args.dry_run else store.remove(args.name)
    except OSError as error:
        raise DriverError(f"{args.name}: cannot be removed: {error.strerror}") from None
    if args.json:
        print(json.dumps({"name": args.name, "removed": not args.dry_run, "file": str(file)}))
    else:
        print(f"{args.name}: {'would remove' if args.dry_run else 'removed'} {file}")
    return 0


def shown(name: Path | str) -> str:
    """A file's name, or a text with one: bytes in it that are no text are shown as the replacement character."""
    return os.fsencode(name).decode("utf-8", "replace")


def plain(text: str, longest: int = 1000) -> str:
    """What a file or a server says of itself, in one line and without what would drive a terminal."""
    text = " ".join(text[:longest].split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _one(name: str, args: argparse.Namespace) -> None:
    """A model of the list, from where it was pinned, a mirror, or a file."""
    model = known()[name]
    if args.source is not None:
        there = _files(args.source) if args.source.is_dir() else iter([args.source])
        file = next((file for file in there if _may_be(file, model) and store.digest(file) == model.sha256), None)
        if file is None:
            raise DriverError(f"{args.source}: holds no {name}: no file has the SHA-256 {model.sha256 or 'of it'}")
        return _from_file(name, file, args)
    url = args.url or model.url
    if not model.sha256:
        raise DriverError(f"{name}: {model.about}, with `edge-agent models install FILE` ({model.licence})")
    _must_be_address(url)
    _accept(name, model.licence, args)
    if args.dry_run:
        return _tell(name, args, f"would download {model.bytes} bytes from {url} to {store.target()}")
    part = _part(f"{name}-{model.sha256[:12]}", model.bytes)
    download(url, part, model.bytes, model.sha256, _progress(name))
    _put(part, Installed(name=name, sha256=model.sha256, bytes=model.bytes, licence=model.licence, source=url), args)
    return None


def _must_be_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise DriverError(f"--url: {url}: {error}") from None
    if not good:
        raise DriverError(f"--url: {url} is no http or https address")
    if parts.username is not None:
        raise DriverError("--url: takes no user and password: they would stand in the record of what was installed")


def _file(path: Path, args: argparse.Namespace) -> None:
    """A file: a known model by its hash, or a model of the user's own."""
    sha256 = store.digest(path)
    if args.sha256 and args.sha256.lower() != sha256:
        raise DriverError(f"{path}: its SHA-256 is {sha256}, not {args.sha256}; nothing was installed")
    if (name := by_hash(sha256)) and not args.name:
        return _from_file(name, path, args)
    claimed = args.name if args.name in known() else None if args.name else by_file(path.name)
    if claimed and known()[claimed].sha256:
        raise DriverError(
            f"{path}: claims to be {claimed}, and its SHA-256 differs from the pinned one; nothing was installed"
            " (is it another model, give it a --name of its own)"
        )
    name = args.name or re.sub(r"[^a-z0-9_]+", "-", path.stem.lower()).strip("-")
    if not NAME.fullmatch(name):
        raise DriverError(f"{path}: `{name}` can be no name; give one of a-z, 0-9, _ and - with --name")
    if name in weights.names():
        raise DriverError(f"{path}: {name} is the name of a model that came along; give another with --name")
    licence = _tried(path)
    _accept(name, licence, args)
    if args.dry_run:
        return _tell(name, args, f"would install {path} to {store.target()}")
    size, sidecar = path.stat().st_size, path.with_name(f"{path.name}.toml")
    part = _part(name, size)
    store.copy(path, part)
    if store.digest(part) != sha256:
        raise DriverError(f"{path}: changed while it was copied; nothing was installed")
    model = Installed(name=name, sha256=sha256, bytes=size, licence=licence, source=str(path))
    _put(part, model, args, sidecar.read_bytes() if sidecar.is_file() else None)
    return None


def _from_file(name: str, file: Path, args: argparse.Namespace) -> None:
    """A known model from a file of its hash; what was copied is looked at once more."""
    model = known()[name]
    _accept(name, model.licence, args)
    if args.dry_run:
        return _tell(name, args, f"would install {file} to {store.target()}")
    part = _part(f"{name}-{model.sha256[:12]}", model.bytes)
    store.copy(file, part)
    if store.digest(part) != model.sha256:
        part.unlink()
        raise DriverError(f"{file}: changed while it was copied; nothing was installed")
    _put(
        part,
        Installed(name=name, sha256=model.sha256, bytes=model.bytes, licence=model.licence, source=str(file)),
        args,
    )
    return None


def _tried(path: Path) -> str:
    """A model that nobody vouches for is loaded and asked once; gives the licence that it names."""
    from edge_agent.vision.net import Net

    metadata = Net(path, 1).metadata
    return plain(metadata.get("licence") or metadata.get("license") or "not named", 200)


def _accept(name: str, licence: str, args: argparse.Namespace) -> None:
    kind = copyleft(licence)
    if kind and (args.accept_licence or "").upper().split("-")[0] != kind:
        raise DriverError(
            f"{name}: its licence is {licence}, which binds what you build with it; if you accept that, add"
            f" --accept-licence {kind}"
        )


def _part(name: str, size: int) -> Path:
    """Where a file grows, beside its place to be."""
    folder = store.target()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = os.statvfs(folder)
    except OSError as error:
        raise DriverError(f"{folder}: cannot be made: {error.strerror} (EDGE_AGENT_MODELS names another)") from None
    if (free := there.f_bavail * there.f_frsize) < size + SPARE_BYTES:
        raise DriverError(f"{folder}: {free >> 20} MiB are free there, and {(size + SPARE_BYTES) >> 20} are needed")
    return folder / f".{name}.part"


def _put(part: Path, model: Installed, args: argparse.Namespace, sidecar: bytes | None = None) -> None:
    try:
        file = store.put(part, model, sidecar)
    except OSError as error:
        raise DriverError(f"{part.parent}: cannot be written: {error.strerror}") from None
    if args.json:
        told = {"name": model.name, "file": str(file), "sha256": model.sha256, "bytes": model.bytes}
        print(json.dumps(told | {"licence": model.licence, "source": model.source}, ensure_ascii=False))
    else:
        print(f"{model.name}: installed as {file} ({model.bytes / 1e6:.1f} MB, {model.licence})")


def _tell(name: str, args: argparse.Namespace, what: str) -> None:
    print(json.dumps({"name": name, "dry_run": what}) if args.json else f"{name}: {what}")


def _files(folder: Path) -> Iterator[Path]:
    """Files in a directory, as deep as people put them; links are not followed."""
    count = 0
    for root, folders, files in os.walk(folder):
        if len(Path(root).relative_to(folder).parts) >= DEEP:
            folders.clear()
        for name in sorted(files):
            count += 1
            if count > MANY:
                raise DriverError(f"{folder}: more than {MANY} files; name the folder that the models lie in")
            yield Path(root) / name


def _whose(file: Path) -> str | None:
    """The known model that a file is; only files of a known size are read."""
    if any(_may_be(file, model) for model in known().values()):
        return by_hash(store.digest(file))
    return None


def _may_be(file: Path, model: Known) -> bool:
    return bool(model.sha256) and file.is_file() and file.stat().st_size == model.bytes


def _progress(name: str) -> Progress:
    """A line on a terminal, ten times a second at most, and nothing in a pipe."""
    told_s = 0.0

    def show(there: int, size: int) -> None:
        nonlocal told_s
        if not sys.stderr.isatty() or (time.monotonic() - told_s < 0.1 and there < size):
            return
        told_s = time.monotonic()
        text = f"{name}: {there / 1e6:.1f} of {size / 1e6:.1f} MB, {100 * there // size} %"
        print(f"\r{text}\x1b[K", end="\r\x1b[K" if there == size else "", file=sys.stderr, flush=True)

    return show
