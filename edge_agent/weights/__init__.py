"""The project's own models, as package data: `NAME.onnx` beside this file, each with a card in docs/models/.

The ONNX metadata of each says what it is: `name`, `version`, `labels` (a JSON list), `layout` (the family of the
head), `licence`, and `training_config_sha256`, which names the run that `training/` repeats.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from edge_agent.runtime import DriverError


def names() -> tuple[str, ...]:
    """The models that came with this installation, by name."""
    return tuple(sorted(file.name.removesuffix(".onnx") for file in _folder().iterdir() if file.suffix == ".onnx"))


def path(name: str) -> Path:
    """The ONNX file of a model by its name; raises DriverError where this installation has none of it."""
    file = _folder() / f"{name}.onnx"
    if "/" in name or not file.is_file():
        raise DriverError(f"no model {name} came with this installation (there is: {', '.join(names()) or 'none'})")
    return file


def _folder() -> Path:
    return Path(str(resources.files(__package__)))  # unpacked always: ONNX Runtime and installers want real files
