"""What the pilot must still know after a crash: the run, the schedule ledger, events not handed over yet. On disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import msgspec

from edge_agent.flight.logbook import State
from edge_agent.runtime import DriverError


class Keeper(Protocol):
    """Where the state is kept."""

    def load(self) -> State: ...
    def save(self, state: State) -> None: ...


class Store:
    """A JSON file in `directory`, replaced as a whole and synced: after a power cut it holds the old or the new."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "state.json"

    def load(self) -> State:
        """The state as last saved; a file that is there and cannot be read is a fault, never an empty state."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.MsgspecError) as error:
            raise DriverError(
                f"{self._file}: {error}; with the vehicle on the ground, move the file away to start afresh"
            ) from None

    def save(self, state: State) -> None:
        """Write, sync, rename, sync the directory; raises DriverError."""
        temporary = self._file.with_suffix(".tmp")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(state))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._file)
            directory = os.open(self._file.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise DriverError(f"{self._file}: {error.strerror}; is the disk full or read-only?") from None
