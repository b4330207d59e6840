"""Load agent.toml, or dump what is in effect."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from edge_agent.config.agent import Agent
from edge_agent.config.base import ConfigError
from edge_agent.config.checks import cross_check
from edge_agent.config.reading import bent, convert, expand_ical, read_routes, resolve_secrets


def load(file: Path) -> Agent:
    """Read and check a file; raises `ConfigError` with all of its faults, never only the first."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(file, [f"cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(file, [f"is not UTF-8 at byte {error.start}"]) from None
    return parse(text, file)


def parse(text: str, file: Path) -> Agent:
    """Check the text of a file; relative paths resolve against the file's own directory."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(file, [f"is not TOML: {error}"]) from None
    except RecursionError:
        raise ConfigError(file, ["is not TOML: it is nested too deeply"]) from None
    base = file.resolve().parent
    resolve_secrets(table, base)
    unparsed = expand_ical(table)
    config, faults = convert(copy.deepcopy(table), base)
    faults += unparsed
    if config is not None:
        config, unread = read_routes(config, table)
        faults += unread
        told = bent(faults)
        faults += [fault for fault in cross_check(config, table) if not fault.startswith(told)]
    if faults or config is None:
        raise ConfigError(file, faults)
    return config


def dump(config: Agent) -> str:
    """The effective configuration as TOML, defaults included; it loads back to the same values."""
    import tomli_w

    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {key: plain(item) for key, item in value.items() if item is not None}
            case list() | tuple():
                return [plain(item) for item in value]
            case _:
                return value

    table = msgspec.to_builtins(config, enc_hook=str)
    for route in table["route"]:
        if route["file"] is not None:  # its waypoints are the file's
            del route["waypoints"]
    return tomli_w.dumps(plain(table))
