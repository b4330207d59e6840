"""`edge-agent support-bundle`: what whoever helps needs, in one tar.gz, without secrets; it says what is in it."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent import __version__, config
from edge_agent.cli.ask import PLACES
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from collections.abc import Iterator

EX_UNAVAILABLE = 69
ASK_S = 20.0
FLIGHTS, FAULTS, LOG_LINES = 5, 200, 20_000
LEFT_OUT = "pictures, clips, events, keys, hot lists, plates"
MOST_BYTES = 8 * 1024 * 1024  # of one file
KINDS_OF_FAULT = ("fault", "gap")
PROGRAMS = (
    ("system/uname.txt", ("uname", "-a")),
    ("system/disks.txt", ("df", "-h")),
    ("system/memory.txt", ("free", "-m")),
    ("system/addresses.txt", ("ip", "-brief", "address")),
    ("system/unit.txt", ("systemctl", "status", "--no-pager", "--lines=0", "edge-agent")),
    ("system/timers.txt", ("systemctl", "list-timers", "--no-pager", "--all", "edge-agent*")),
    ("system/clock.txt", ("timedatectl", "status")),
    ("system/chrony.txt", ("chronyc", "-n", "sources")),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"default: {' or '.join(map(str, PLACES))}")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="default: edge-agent-support-DEVICE-TIME.tar.gz")
    parser.add_argument("--flights", type=int, default=FLIGHTS, metavar="N", help="the newest N records (%(default)s)")
    parser.add_argument(
        "--since", default="-3d", metavar="WHEN", help="of the journal, as for journalctl (%(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would be in it, write nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object: file, contents, redacted")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where it is written, 69 where it cannot be; a part that cannot be read says so in its own place."""
    from edge_agent.device.bundle import redact, redact_json

    file = args.config or next((place for place in PLACES if place.is_file()), None)
    settings, faults = None, ""
    try:
        settings = None if file is None else config.load(file)
    except config.ConfigError as error:
        faults = str(error)
    now = datetime.now(UTC)
    device = settings.site.device if settings is not None else "device"
    out = args.out or Path(f"edge-agent-support-{device}-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    taken, known = Counter[str](), _known(settings)
    files: dict[str, bytes] = {}
    for name, text in _parts(args, file, settings, faults):
        print(f"reading {name} …", file=sys.stderr) if sys.stderr.isatty() and not args.json else None
        clean = redact_json if name.endswith((".json", ".jsonl")) else redact
        files[name] = clean(text, known, taken).encode()[-MOST_BYTES:]
    contents = [{"name": name, "bytes": len(data)} for name, data in files.items()]
    redacted = {kind: number for kind, number in sorted(taken.items()) if number}
    told = {"version": __version__, "device": device, "made": f"{now:%Y-%m-%dT%H:%M:%SZ}", "contents": contents,
            "redacted": redacted, "left_out": LEFT_OUT}  # fmt: skip
    files = {"MANIFEST.json": json.dumps(told, indent=1).encode() + b"\n", **files}
    if not args.dry_run:
        try:
            _write(out, files, now.timestamp())
        except OSError as error:
            print(f"{out}: cannot be written: {error.strerror}; give -o a place with room", file=sys.stderr)
            return EX_UNAVAILABLE
    if args.json:
        print_json({**told, "file": None if args.dry_run else str(out), "dry_run": args.dry_run})
        return 0
    for one in contents:
        print(f"{one['bytes']:9} {one['name']}")
    print(f"taken out: {', '.join(f'{number} of {kind}' for kind, number in redacted.items()) or 'nothing'}")
    print(f"left out: {told['left_out']}")
    print("nothing was written" if args.dry_run else f"{out}: look through it before you send it")
    return 0


def _parts(
    args: argparse.Namespace, file: Path | None, settings: config.Agent | None, faults: str
) -> Iterator[tuple[str, str]]:
    """Name and text of each file of the bundle."""
    yield "versions.txt", _versions()
    yield "config/agent.toml", _config(file, settings)
    if faults:
        yield "config/faults.txt", faults
    for name, command in PROGRAMS:
        yield name, _ask(*command)
    yield (
        "logs/journal.txt",
        _ask(
            "journalctl",
            "-u",
            "edge-agent*",
            "--since",
            args.since,
            "--no-pager",
            "-o",
            "short-iso",
            "-n",
            str(LOG_LINES),
        ),
    )
    yield "logs/kernel.txt", _ask("dmesg", "--level=warn,err,crit,alert,emerg")
    yield "doctor.json", _doctor(args)
    if settings is None:
        return
    data_dir = settings.data_dir
    yield "status.json", _status(settings)
    yield "faults.jsonl", _faults(settings)
    for record in _newest(data_dir / "runs", "*.jsonl", args.flights):
        yield f"flights/{_shown(record.name)}", _text(record)
    for name in ("audit.jsonl", "desired.json", "cases.json"):
        if (data_dir / name).is_file() and not (data_dir / name).is_symlink():
            yield f"records/{name}", _text(data_dir / name)
    yield "records/files.txt", _listing(data_dir)


def _versions() -> str:
    names = sorted({dist.metadata["Name"] or "?": dist.version for dist in metadata.distributions()}.items())
    head = f"edge-agent {__version__}\nPython {platform.python_version()} on {platform.platform()}\n"
    return head + "".join(f"{name} {version}\n" for name, version in names)


def _config(file: Path | None, settings: config.Agent | None) -> str:
    """What is in effect; of one that is wrong the text, redacted by its looks."""
    import tomllib

    import tomli_w

    from edge_agent.device.bundle import redact_table

    if settings is None:
        return "no configuration was found\n" if file is None else _text(file)
    return tomli_w.dumps(redact_table(tomllib.loads(config.dump(settings)), frozenset(), Counter()))


def _known(settings: config.Agent | None) -> frozenset[str]:
    """The secrets of this device, so that they are found wherever they turn up."""
    if settings is None:
        return frozenset()
    found: set[str] = set()
    sections: list[object] = [settings.mqtt, settings.evidence, getattr(settings.vehicle, "signing", None)]
    for section in (*sections, *settings.cameras, *settings.speakers):
        for key in ("password", "credentials", "microphone_credentials", "token", "key"):
            secret = getattr(section, key, None)
            if isinstance(secret, str):
                try:
                    text = config.read_secret(secret)
                except (OSError, UnicodeDecodeError):
                    continue
                found |= {text, text.partition(":")[2]} - {""}
    return frozenset(found)


def _status(settings: config.Agent) -> str:
    from edge_agent import control

    try:
        return json.dumps(control.ask(settings.data_dir, control.Status(), timeout_s=5.0), indent=1)
    except (DriverError, OSError) as error:
        return str(error)


def _doctor(args: argparse.Namespace) -> str:
    """What the doctor sees without opening anything."""
    import msgspec

    from edge_agent.cli import doctor
    from edge_agent.device.doctor import table

    facts, _ = doctor.gather(argparse.Namespace(config=args.config, root=Path("/"), quick=True, json=True))
    return json.dumps({"findings": msgspec.to_builtins(table.examine(facts))}, indent=1)


def _faults(settings: config.Agent) -> str:
    """The newest faults and gaps that the outbox still holds."""
    lines = []
    where = ("--data-dir", str(settings.data_dir))
    for line in _ask(sys.executable, "-m", "edge_agent", "outbox", "export", "-", *where).splitlines():
        if any(f'"ev.{kind}"' in line for kind in KINDS_OF_FAULT):
            lines.append(line)
    return "\n".join(lines[-FAULTS:]) + "\n"


def _newest(folder: Path, pattern: str, count: int) -> list[Path]:
    """Of the service's own; root follows no link that the service has put there."""
    there = (path for path in folder.glob(pattern) if path.is_file() and not path.is_symlink())
    found = sorted(there, key=lambda path: path.stat().st_mtime)
    return found[-count:] if count > 0 else []


def _listing(folder: Path) -> str:
    """What lies in the data directory: mode, size, time, name; not what is in it."""
    lines = []
    for path in sorted(folder.rglob("*")):
        try:
            info = path.lstat()
        except OSError:
            continue
        when = datetime.fromtimestamp(info.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(f"{info.st_mode:06o} {info.st_size:12} {when} {_shown(str(path.relative_to(folder)))}")
    return "\n".join(lines) + "\n"


def _shown(name: str) -> str:
    """In one line, and in Unicode: a card that rots has names of any bytes, and so has whoever is no friend."""
    return repr(name)[1:-1]


def _text(file: Path) -> str:
    """The end of a file."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - MOST_BYTES))
            return stream.read(MOST_BYTES).decode(errors="replace")
    except OSError as error:
        return f"{file}: cannot be read: {error.strerror}\n"


def _ask(*command: str) -> str:
    """What a program prints; why not, where it does not."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, timeout=ASK_S, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
    except FileNotFoundError:
        return f"{command[0]}: not installed\n"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}\n"
    return (done.stdout + done.stderr).decode(errors="replace")


def _write(out: Path, files: dict[str, bytes], now_s: float) -> None:
    """A tar.gz that is there as a whole or not at all, for its owner alone."""
    from edge_agent.files import write_durably

    stream = io.BytesIO()
    folder = out.name.removesuffix(".tar.gz")
    with (
        gzip.GzipFile(fileobj=stream, mode="wb", mtime=int(now_s)) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mtime, info.mode = len(data), int(now_s), 0o600
            tar.addfile(info, io.BytesIO(data))
    write_durably(out, stream.getvalue())
