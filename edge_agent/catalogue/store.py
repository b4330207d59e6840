"""Models on this machine: those that came along, and those that were installed; found by name, verified when used."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from edge_agent import weights
from edge_agent.catalogue import NAME
from edge_agent.files import write_durably
from edge_agent.runtime import DriverError

SYSTEM = Path("/var/lib/edge-agent/models")
READABLE = 0o644
_CHUNK = 1 << 20


class Installed(Struct, frozen=True, kw_only=True):
    """What was installed, written beside it as NAME.json."""

    name: str
    sha256: str
    bytes: int
    licence: str
    source: str  # an address or a file
    file: Path = Path()


def folders() -> list[Path]:
    """Where installed models are looked for: EDGE_AGENT_MODELS alone, else the device's folder and the user's."""
    if told := os.environ.get("EDGE_AGENT_MODELS"):
        return [Path(told)]
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return [SYSTEM, home / "edge-agent/models"]


def target() -> Path:
    """Where models are installed to: the first folder, or on a machine where that cannot be, the user's."""
    first, *others = folders()
    return first if os.geteuid() == 0 or not others else others[-1]


def installed() -> Iterator[Installed]:
    """All that is installed, in the order of the folders; what is not whole is left out."""
    seen: set[str] = set()
    for folder in folders():
        for told in sorted(folder.glob("*.json")):
            model = _told(told)
            if model is not None and model.name not in seen:
                seen.add(model.name)
                yield model


def find(name: str) -> Path:
    """The file of a model by name, as it was installed or came along; raises DriverError where there is none."""
    for model in installed():
        if model.name == name:
            if digest(model.file) != model.sha256:
                raise DriverError(
                    f"{model.file}: differs from what was installed; run `edge-agent models install {name}` again"
                )
            return model.file
    if name in weights.names():
        return weights.path(name)
    there = ", ".join([*weights.names(), *(model.name for model in installed())]) or "none"
    raise DriverError(
        f"no model is called {name} here (there is: {there}); `edge-agent models list` shows what is known"
    )


def resolve(model: Path | str) -> Path:
    """The file that `--model` or a configuration names: a path, or the name of a model that is here."""
    path = Path(model)
    if path.suffix or not NAME.fullmatch(path.name) or path.exists():
        return path
    return find(path.name)


def put(part: Path, model: Installed, sidecar: bytes | None = None) -> Path:
    """Move a verified file to its place: there as a whole or not at all. Raises OSError."""
    file = part.with_name(f"{model.name}.onnx")
    _forget(file.parent, model.name)
    with part.open("rb+") as whole:
        os.fsync(whole.fileno())
    part.chmod(READABLE)
    part.replace(file)
    if sidecar is not None:
        write_durably(file.with_name(f"{file.name}.toml"), sidecar, READABLE)
    write_durably(
        file.with_name(f"{model.name}.json"),
        msgspec.json.format(msgspec.json.encode(model, enc_hook=str)) + b"\n",
        READABLE,
    )
    return file


def remove(name: str) -> Path:
    """Take an installed model away; raises DriverError where there is none, or it came along."""
    for model in installed():
        if model.name == name:
            _forget(model.file.parent, name)
            return model.file
    why = "came with this installation and stays" if name in weights.names() else "is not installed"
    raise DriverError(f"{name} {why}")


def digest(file: Path) -> str:
    """The SHA-256 of a file; raises DriverError."""
    found = hashlib.sha256()
    try:
        with file.open("rb") as data:
            while chunk := data.read(_CHUNK):
                found.update(chunk)
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    return found.hexdigest()


def copy(source: Path, part: Path) -> None:
    """Copy a file for `put`; raises DriverError."""
    try:
        shutil.copyfile(source, part)
    except OSError as error:
        raise DriverError(f"{part}: cannot be written: {error.strerror}") from None


def _forget(folder: Path, name: str) -> None:
    """The record first: what has none is not installed."""
    for file in (f"{name}.json", f"{name}.onnx.toml", f"{name}.onnx"):
        (folder / file).unlink(missing_ok=True)


def _told(record: Path) -> Installed | None:
    file = record.with_suffix(".onnx")
    try:
        model = msgspec.json.decode(record.read_bytes(), type=Installed, dec_hook=lambda kind, value: kind(value))
    except (OSError, msgspec.DecodeError):
        return None
    return msgspec.structs.replace(model, file=file) if file.is_file() and model.name == record.stem else None
