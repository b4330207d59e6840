"""The audit log of this device: who looked whom up, who changed what; a chain of signed lines on disk.

A line is a JSON object with `seq`, `time`, `what`, `by`, `facts`, `prev` (the hash of the line before; 64 zeros before
the first), `hash` (SHA-256 of RFC 8785 of all before it) and `sig` (the device key's Ed25519 signature of those 64 hex
digits). So no line can be changed, left out or put between without the key. `audit.head` names the last line, so that
an end that was cut off is seen as well.

The agent and the command line write to one log: a lock on the file decides who is next. A full file is set aside as
`audit-SEQ.jsonl`; of those the oldest go, which the log itself records.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from edge_agent import keys
from edge_agent.canonical import canonical_json
from edge_agent.files import write_durably
from edge_agent.runtime import DriverError
from edge_agent.topics import rfc3339

START = "0" * 64
FILE_BYTES, KEEP_FILES = 4 * 1024 * 1024, 16
NAME, HEAD, LOCK = "audit.jsonl", "audit.head", "audit.lock"
DROPPED = "audit.dropped"

Entry = tuple[str, str, dict[str, Any]]  # what, by whom, facts (JSON; whole numbers or text rather than fractions)


class Verdict(Struct, frozen=True, kw_only=True):
    """What a look at the whole log found; `faults` is empty where it holds."""

    first: int
    last: int
    records: int
    head: str
    faults: tuple[str, ...] = ()


class Audit:
    """The log in a data directory; every method blocks and raises DriverError where the disk fails."""

    def __init__(self, data_dir: Path, wall: Callable[[], float] = time.time) -> None:
        self._dir, self._wall = data_dir, wall
        self._key: keys.Ed25519PrivateKey | None = None

    def append(self, entries: Iterable[Entry]) -> None:
        """Write these down, in order; they are on disk when it returns."""
        entries = list(entries)
        if not entries:
            return
        self._key = self._key or keys.device_key(self._dir)
        try:
            with _locked(self._dir / NAME) as file:
                self._append(file, entries)
        except OSError as error:
            raise DriverError(f"{self._dir / NAME}: cannot be written: {error.strerror}") from None

    def _append(self, file: Path, entries: list[Entry]) -> None:
        last = _last(file) or self._last_of_old()
        seq, prev = (last["seq"], last["hash"]) if last else (0, START)
        oldest: list[Path] = []
        if file.stat().st_size > FILE_BYTES:
            file.replace(file.with_name(f"audit-{seq:010d}.jsonl"))
            oldest = _old(self._dir)[:-KEEP_FILES]
            entries = [*(self._dropped(one) for one in oldest), *entries]
        lines = []
        for what, by, facts in entries:
            seq += 1
            record = {"seq": seq, "time": rfc3339(self._wall()), "what": what, "by": by, "facts": facts, "prev": prev}
            prev = _hash(record)
            assert self._key
            lines.append(json.dumps(record | {"hash": prev, "sig": keys.sign(self._key, prev.encode())}))
        fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(fd, "ab") as out:  # noqa: PTH123  # a descriptor, so that no other mode is ever seen
            out.write(b"".join(line.encode() + b"\n" for line in lines))
            out.flush()
            os.fsync(out.fileno())
        write_durably(self._dir / HEAD, json.dumps({"seq": seq, "hash": prev}).encode())
        for old in oldest:  # only now: `verify` takes no record for dropped that no record tells of
            old.unlink()

    def _last_of_old(self) -> dict[str, Any] | None:
        old = _old(self._dir)
        return _last(old[-1]) if old else None

    @staticmethod
    def _dropped(file: Path) -> Entry:
        last = _last(file)
        return DROPPED, "retention", {"up_to": last["seq"] if last else 0}

    def tail(self, count: int) -> list[dict[str, Any]]:
        """The newest records, the oldest of them first; lines that cannot be read are left out."""
        found: list[dict[str, Any]] = []
        for file in reversed([*_old(self._dir), self._dir / NAME]):
            found = [record for record in _records(file) if record is not None] + found
            if len(found) >= count:
                break
        return found[-count:] if count else []

    def find(self, *what: str, public_key: str | None = None) -> Iterator[dict[str, Any]]:
        """The records of these kinds that the device's key signed, the oldest first; `verify` names the others."""
        found = (record for file in [*_old(self._dir), self._dir / NAME] for record in _records(file))
        for record in found:
            if record is not None and record.get("what") in what:
                public_key = public_key or keys.public_text(keys.load(self._dir / "device.key"))
                if _fault(record, public_key) is None:
                    yield record

    def end_faults(self) -> list[str]:
        """Whether the log's newest records are there: what `verify` says of its end, in no time."""
        with _held(self._dir / LOCK):
            last = _last(self._dir / NAME) or self._last_of_old() or {"seq": 0, "hash": START}
            head = (self._dir / HEAD).read_bytes() if (self._dir / HEAD).exists() else None
        return _head_faults(head, last["seq"], last["hash"])

    def verify(self, public_key: str | None = None) -> Verdict:
        """Read the whole log: every link, every signature by the device's key, and whether both its ends are there.

        Whoever writes meanwhile waits only while the files are opened; what comes later is left out.
        """
        public = public_key or keys.public_text(keys.load(self._dir / "device.key"))
        try:
            with ExitStack() as opened:
                with _held(self._dir / LOCK):
                    paths = [path for path in (*_old(self._dir), self._dir / NAME) if path.exists()]
                    files = {path.name: opened.enter_context(path.open("rb")) for path in paths}
                    sizes = {name: os.fstat(file.fileno()).st_size for name, file in files.items()}
                    head = (self._dir / HEAD).read_bytes() if (self._dir / HEAD).exists() else None
                return _judged({name: _whole_lines(file, sizes[name]) for name, file in files.items()}, head, public)
        except OSError as error:
            raise DriverError(f"{error.filename or self._dir}: cannot be read: {error.strerror}") from None


def _judged(files: Mapping[str, Iterable[bytes]], head: bytes | None, public: str) -> Verdict:
    faults: list[str] = []
    first = last = records = 0
    prev, dropped = START, {0}
    for name, lines in files.items():
        for number, record in enumerate(_parsed(lines), start=1):
            where = f"{name}:{number}"
            fault = _fault(record, public)
            if record is None or fault is not None:
                faults.append(f"{where}: {fault}")
                prev = record.get("hash", "?") if record else "?"
                continue
            if records == 0:
                first, last, prev = record["seq"], record["seq"] - 1, record["prev"]
            if prev not in ("?", record["prev"]) or record["seq"] != last + 1:
                faults.append(f"{where}: does not follow the record before it: something is missing or was put in")
            records, last, prev = records + 1, record["seq"], record["hash"]
            if record["what"] == DROPPED:
                dropped.add(record["facts"]["up_to"])
    if records and first - 1 not in dropped:
        faults.insert(0, f"records 1 to {first - 1} are not there, and no record tells that retention dropped them")
    faults += _head_faults(head, last, prev)
    return Verdict(first=first, last=last, records=records, head=prev if records else START, faults=tuple(faults))


def _head_faults(data: bytes | None, last: int, hash: str) -> list[str]:
    if data is None:
        return [f"{HEAD}: is missing: nobody can tell whether the log's end is there"] if last else []
    try:
        head = json.loads(data)
        if head["seq"] > last:
            return [f"{HEAD}: records {last + 1} to {head['seq']} were written and are not there"]
        if head["seq"] == last and head["hash"] != hash:
            return [f"{HEAD}: record {last} is not the one that was written"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"{HEAD}: cannot be read: {error}"]
    return []


def _old(directory: Path) -> list[Path]:
    return sorted(directory.glob("audit-*.jsonl"))


@contextmanager
def _locked(file: Path) -> Generator[Path, None, None]:
    """Hold the log; a last line that a power cut left half is cut away: it was never reported as written."""
    lock = os.open(file.with_name(LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = os.fstat(fd).st_size
            tail = os.pread(fd, min(size, 1 << 20), max(0, size - (1 << 20)))
            if tail and not tail.endswith(b"\n"):
                os.ftruncate(fd, size - len(tail) + tail.rfind(b"\n") + 1)
        finally:
            os.close(fd)
        yield file
    finally:
        os.close(lock)


@contextmanager
def _held(lock: Path) -> Generator[None, None, None]:
    """Nobody writes meanwhile; the copy of a log has no lock, and no writers."""
    with ExitStack() as opened:
        with suppress(FileNotFoundError):
            fcntl.flock(opened.enter_context(lock.open("rb")), fcntl.LOCK_SH)
        yield


def _whole_lines(file: BinaryIO, size: int) -> Iterator[bytes]:
    """A file's lines within `size`; a last one that a power cut left half was never reported as written."""
    while size > 0 and (line := file.readline()).endswith(b"\n"):
        size -= len(line)
        yield line


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any] | None]:
    """Each line as an object, None for what is none."""
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        yield record if isinstance(record, dict) else None


def _records(file: Path) -> Iterator[dict[str, Any] | None]:
    try:
        with file.open("rb") as lines:
            yield from _parsed(lines)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None


def _last(file: Path) -> dict[str, Any] | None:
    """The last record of a file; reads its last part alone."""
    try:
        with file.open("rb") as source:
            source.seek(max(0, source.seek(0, os.SEEK_END) - (1 << 20)))
            lines = source.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            record = json.loads(line)
            return {"seq": int(record["seq"]), "hash": str(record["hash"])}
        except (ValueError, TypeError, KeyError):
            continue
    return None


def _hash(record: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(record)).hexdigest()


def _fault(record: dict[str, Any] | None, public: str) -> str | None:
    """What is wrong with one record by itself."""
    if record is None:
        return "is no JSON object"
    body = {name: value for name, value in record.items() if name not in ("hash", "sig")}
    try:
        if not isinstance(record["seq"], int) or _hash(body) != record["hash"]:
            return f"record {record['seq']} was changed"
        if not keys.verify(public, record["sig"], record["hash"].encode()):
            return f"record {record['seq']} is not signed by this device's key"
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        return f"is no record: {error}"
    return None
