"""Making and unmaking what `layout` describes, below a root: every change is one rename, and each may be the last.

Before anything is touched, the manifest says what is about to be made and what was there before; so whatever was cut
off (a kill, a power cut, a full disk), the next install finishes it and the next uninstall undoes it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from edge_agent import files
from edge_agent.device import blocks, layout
from edge_agent.device.layout import Block, File, Link, Step, Words
from edge_agent.runtime import DriverError

BACKUP = ".before-edge-agent"
Found = Literal["same", "create", "change"]


class Record(msgspec.Struct, frozen=True):
    """One path that we made or edited: what was there (nothing, "file", "link:TARGET"), and what we wrote."""

    kind: Literal["file", "link", "block", "words"]
    was: str | None = None
    sha256: tuple[str, ...] = ()  # while an upgrade is under way, also what the version before wrote
    words: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation has made; `state` other than "installed" means that it was cut off."""

    state: Literal["installing", "installed", "removing"] = "installing"
    release: str = ""
    records: dict[str, Record] = {}
    folders: tuple[str, ...] = ()


class Ground:
    """The root that is installed to, and the few ways in which it changes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, path: str) -> Path:
        """Where a path of the target is."""
        return self.root / path.lstrip("/")

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.at(path))

    def read(self, path: str) -> str | None:
        """The text, byte for byte (surrogates stand for what is no UTF-8); None where no file is."""
        place = self.at(path)
        if place.is_symlink() or not place.is_file():
            return None
        return place.read_bytes().decode("utf-8", "surrogateescape")

    def target(self, path: str) -> str | None:
        place = self.at(path)
        return str(place.readlink()) if place.is_symlink() else None

    def write(self, path: str, text: str, mode: int) -> None:
        place = self.at(path)
        files.write_durably(place, text.encode("utf-8", "surrogateescape"), mode)
        place.chmod(mode)  # past the umask

    def link(self, path: str, to: str) -> None:
        place = self.at(path)
        new = place.with_name(f".{place.name}.part")
        new.unlink(missing_ok=True)
        new.symlink_to(to)
        new.replace(place)

    def remove(self, path: str) -> None:
        self.at(path).unlink(missing_ok=True)
        self._sweep(path)

    def _sweep(self, path: str) -> None:
        """What a write that was cut off has left."""
        for place in (self.at(path), self.at(path + BACKUP)):
            place.with_name(f".{place.name}.part").unlink(missing_ok=True)

    def rename(self, path: str, to: str) -> None:
        self.at(path).rename(self.at(to))

    def make_folder(self, path: str) -> None:
        self.at(path).mkdir(exist_ok=True)
        self.at(path).chmod(0o755)

    def remove_folder(self, path: str) -> None:
        """Only if it is empty."""
        try:
            self.at(path).rmdir()
        except OSError:
            return

    def remove_tree(self, path: str) -> None:
        """A release: renamed first, so that no half of one is ever taken for a whole."""
        place = self.at(path)
        part = place.with_name(f".{place.name}.part")
        if place.exists():
            shutil.rmtree(part, ignore_errors=True)
            place.rename(part)
        shutil.rmtree(part, ignore_errors=True)

    # --- the manifest ---------------------------------------------------------------------------------------------

    def manifest(self) -> Manifest | None:
        """What was made here, None where nothing was; raises DriverError where it cannot be read."""
        text = self.read(layout.MANIFEST)
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=Manifest)
        except msgspec.DecodeError as error:
            raise DriverError(
                f"{self.at(layout.MANIFEST)}: cannot be read ({error}); remove it and install again"
            ) from None

    def settle(self, manifest: Manifest) -> None:
        """All is made: what earlier versions wrote need not be known any more."""
        records = {path: msgspec.structs.replace(one, sha256=one.sha256[:1]) for path, one in manifest.records.items()}
        self.save(msgspec.structs.replace(manifest, state="installed", records=records))

    def save(self, manifest: Manifest) -> None:
        text = msgspec.json.format(msgspec.json.encode(manifest)).decode() + "\n"
        if text != self.read(layout.MANIFEST):
            self.write(layout.MANIFEST, text, 0o644)

    def missing_folders(self, paths: Iterable[str]) -> list[str]:
        """The parents that these paths lack, outermost first."""
        found: dict[str, None] = {}
        for path in paths:
            lacking = []
            parent = os.path.dirname(path)  # noqa: PTH120  # a path of the target, not of this machine
            while parent != "/" and not self.at(parent).exists():
                lacking.append(parent)
                parent = os.path.dirname(parent)  # noqa: PTH120
            found |= dict.fromkeys(reversed(lacking))
        return list(found)

    # --- making ---------------------------------------------------------------------------------------------------

    def look(self, step: Step) -> Found | None:
        """What a step would do; None where it has nothing to do with this machine (no file to edit)."""
        match step:
            case File():
                mode = stat.S_IMODE(self.at(step.path).stat().st_mode) if self.read(step.path) is not None else None
                wanted = (step.text, step.mode)
                return _found(self.exists(step.path), (self.read(step.path), mode) == wanted)
            case Link():
                return _found(self.exists(step.path), self.target(step.path) == step.to)
            case Block() | Words():
                text = self.read(step.path)
                return None if text is None else _found(True, _edited(step, text) == text)

    def record(self, step: Step, old: Record | None) -> Record:
        """What the manifest is to say of a step before it is made; what was there before us is never forgotten."""
        was = old.was if old is not None else self._was(step.path)
        match step:
            case File():
                before = old.sha256 if old else ()
                return Record("file", was, tuple(dict.fromkeys([_sha256(step.text), *before])))
            case Link():
                return Record("link", was)
            case Block():
                return Record("block", was)
            case Words():
                text = self.read(step.path + BACKUP) or self.read(step.path) or ""
                words = tuple(blocks.lost_words(text, _edited(step, text)))
                return Record("words", was, words=words or (old.words if old else ()))

    def make(self, step: Step, old: Record | None) -> Found | None:
        """One step; what is not ours, or was changed by somebody since, is kept beside it first."""
        found = self.look(step)
        if found in (None, "same"):
            return found
        if found == "change":
            self._keep(step, old)
        match step:
            case File():
                self.write(step.path, step.text, step.mode)
            case Link():
                self.link(step.path, step.to)
            case Block() | Words():
                text = self.read(step.path)
                assert text is not None
                self.write(step.path, _edited(step, text), stat.S_IMODE(self.at(step.path).stat().st_mode))
        return found

    def _was(self, path: str) -> str | None:
        to = self.target(path)
        if to is not None:
            return f"link:{to}"
        return "file" if self.exists(path) else None

    def _keep(self, step: Step, old: Record | None) -> None:
        text = self.read(step.path)
        backup = step.path + BACKUP
        if text is None or self.exists(backup):
            return
        ours = old is not None and (_sha256(text) in old.sha256 or (old.kind == "block" and blocks.has_block(text)))
        if not ours:
            self.write(backup, text, stat.S_IMODE(self.at(step.path).stat().st_mode))

    # --- unmaking -------------------------------------------------------------------------------------------------

    def unmake(self, path: str, record: Record) -> str | None:
        """Back to what was there; a word on what stays because somebody changed it."""
        backup = path + BACKUP
        self._sweep(path)
        if record.kind in ("block", "words"):
            self._unedit(path, record, backup)
            return None
        if record.was is not None and record.was.startswith("link:"):
            self.link(path, record.was.removeprefix("link:"))
        elif record.was == "file":
            if self.exists(backup):
                self.rename(backup, path)
        elif record.kind == "link" or self.read(path) is None or _sha256(self.read(path) or "") in record.sha256:
            self.remove(path)
            if self.exists(backup):
                return f"{path}{BACKUP} stays: somebody had changed that file"
        else:
            return f"{path} stays: somebody changed it since it was installed"
        return None

    def _unedit(self, path: str, record: Record, backup: str) -> None:
        text, before = self.read(path), self.read(backup)
        if text is None:
            self.remove(backup)
            return
        if record.kind == "block":
            after = blocks.without_block(text)
            same = before is not None and after.removesuffix("\n") == before.removesuffix("\n")
        else:
            after = blocks.with_words(text, record.words)
            same = before is not None and sorted(after.split()) == sorted(before.split())
        if before is not None and same:
            after = before  # nobody else edited it meanwhile: as it was, to the byte
        if after != text:
            self.write(path, after, stat.S_IMODE(self.at(path).stat().st_mode))
        self.remove(backup)


def _edited(step: Block | Words, text: str) -> str:
    return blocks.with_block(text, step.lines) if isinstance(step, Block) else blocks.without_words(text, step.drop)


def _found(exists: bool, same: bool) -> Found:
    return "same" if same else "change" if exists else "create"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
