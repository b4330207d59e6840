"""Models by name: those of others that are known, with address, hash, size and licence; pure but for its own file."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

FILE = Path(str(resources.files(__package__))) / "catalogue.toml"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_COPYLEFT = re.compile(r"\b(AGPL|GPL|Affero)", re.IGNORECASE)


class Known(Struct, frozen=True, forbid_unknown_fields=True):
    """A model of the catalogue; without `url` it can only be installed from a file."""

    task: str
    about: str
    licence: str
    url: str = ""
    sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    bytes: Annotated[int, Meta(ge=0)] = 0

    @property
    def file(self) -> str:
        """The name that its publisher gives to the file."""
        return self.url.rpartition("/")[2]


@cache
def known() -> dict[str, Known]:
    """All of them, by name."""
    return msgspec.convert(tomllib.loads(FILE.read_text(encoding="utf-8")), dict[str, Known])


def by_hash(sha256: str) -> str | None:
    """The name of the known model whose file this is."""
    return next((name for name, model in known().items() if model.sha256 == sha256), None)


def by_file(file: str) -> str | None:
    """The name of the known model that a file of this name claims to be."""
    return next((name for name, model in known().items() if file in (model.file, f"{name}.onnx")), None)


def copyleft(licence: str) -> str | None:
    """`AGPL` or `GPL` where a licence is one of them; None elsewhere. What stands in brackets is a remark."""
    found = _COPYLEFT.search(licence.partition("(")[0])
    return None if found is None else "GPL" if found[1].upper() == "GPL" else "AGPL"
