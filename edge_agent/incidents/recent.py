"""What fired lately, on disk: whoever still stands there after a restart of the agent is not told of anew.

It is a hint: written without waiting for the disk, and lost with it at worst to one incident that is told twice.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
from msgspec import Struct

from edge_agent.messages import Incident

log = logging.getLogger(__name__)

MOST = 1000


class _Fired(Struct, frozen=True):
    incident: Incident
    until_s: float  # Unix time


class Recent:
    """The incidents whose cool-down is not over; blocks for one small file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._fired = self._load()

    def incidents(self) -> tuple[Incident, ...]:
        """The oldest first."""
        return tuple(one.incident for one in self._fired)

    def add(self, incident: Incident, cool_down_s: float) -> None:
        """Keep one in mind, and forget those whose time is over by its clock."""
        now = incident.wall_s
        held = [one for one in self._fired if one.until_s > now]
        self._fired = [*held, _Fired(incident, now + cool_down_s)][-MOST:]
        temporary = self._file.with_name(f".{self._file.name}.part")
        try:
            temporary.touch(mode=0o600)  # plates and places
            temporary.write_bytes(msgspec.json.encode(self._fired))
            temporary.replace(self._file)
        except OSError as error:
            log.warning("%s: %s; after a restart what still stands there is told anew", self._file, error.strerror)

    def _load(self) -> list[_Fired]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[_Fired])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s: %s; what still stands there is told anew", self._file, error)
            return []
