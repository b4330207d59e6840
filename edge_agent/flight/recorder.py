"""Records on disk: `DIRECTORY/RUN.jsonl` and its plot `RUN.png`, the oldest going first. One file a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from edge_agent.flight.record import Chain, verify
from edge_agent.runtime import DriverError

KEEP = 500  # runs
REFUSED = "-refused"  # ends the id of a run that never was: such records go before those of flights
TAIL = 65_536  # bytes that hold the last line of a record


class Note(NamedTuple):
    """One entry on its way to the disk."""

    run: str
    kind: str
    data: Any
    wall_s: float


class Recorder:
    """Appends entries; a run that goes on after a restart goes on in its file. Blocking: called from a thread."""

    def __init__(self, directory: Path, keep: int = KEEP) -> None:
        self.directory, self._keep = directory, keep
        self._run, self._chain = "", Chain()

    def file(self, run: str) -> Path:
        return self.directory / f"{run}.jsonl"

    def plot(self, run: str) -> Path:
        return self.directory / f"{run}.png"

    def write(self, notes: Iterable[Note]) -> None:
        """Append, and draw the plot of a run that has ended; raises DriverError."""
        try:
            for note in notes:
                self._append(note)
        except OSError as error:
            raise DriverError(f"{self.directory}: {error.strerror}; is the disk full or read-only?") from None

    def _append(self, note: Note) -> None:
        file = self.file(note.run)
        if note.run != self._run:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._run, self._chain = note.run, _continue(file)
            self._shed()
        with file.open("ab") as out:
            out.write(self._chain.line(note.kind, note.data, note.wall_s))
        if note.kind == "end" and note.data.get("flew"):
            from edge_agent.flight.plot import draw

            draw(file, self.plot(note.run))

    def _shed(self) -> None:
        records = sorted(self.directory.glob("*.jsonl"), key=lambda file: (not file.stem.endswith(REFUSED), file.name))
        for file in records[: -self._keep] if self._keep else []:  # ULIDs: by age
            file.with_suffix(".png").unlink(missing_ok=True)
            file.unlink(missing_ok=True)


def _continue(file: Path) -> Chain:
    """Where the chain of a file stands; half a line at its end, from a power cut, is cut off."""
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return Chain()
    with file.open("r+b") as stream:
        stream.seek(max(0, size - TAIL))
        tail = stream.read()
        whole = tail.rfind(b"\n") + 1
        stream.truncate(size - len(tail) + whole)
    lines = tail[:whole].splitlines()
    if not lines:
        return Chain()
    try:
        last = json.loads(lines[-1])
        return Chain(last["n"] + 1, last["hash"])
    except (ValueError, KeyError, TypeError):
        return Chain()


def check(file: Path) -> str | None:
    """What is wrong with a record, or None; raises OSError."""
    with file.open("rb") as lines:
        return verify(lines).fault
