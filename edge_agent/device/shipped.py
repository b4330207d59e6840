"""The files that come with the agent: units, fragments and parameter sets, in a wheel or beside a checkout."""

from __future__ import annotations

from pathlib import Path

from edge_agent.runtime import DriverError


def folder(name: str) -> Path:
    """`systemd` or `firmware_config`; raises DriverError where they did not come along."""
    package = Path(__file__).resolve().parent
    for place in (package / "files" / name, package.parents[1] / name):
        if place.is_dir():
            return place
    raise DriverError(f"{package / 'files' / name}: not there; install the agent from its wheel or a whole checkout")


def text(name: str) -> str:
    """One of them, by its path below the folder that holds both."""
    first, _, rest = name.partition("/")
    return (folder(first) / rest).read_text(encoding="utf-8")
