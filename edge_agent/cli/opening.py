"""`edge-agent centre seal-key new|show FILE`, `centre open`: the key that originals are sealed to, and opening them."""

from __future__ import annotations

import argparse
import hashlib
import stat
import sys
from pathlib import Path
from typing import Any

from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

MAX_BYTES = 1 << 30


def configure(commands: Any) -> None:
    """Add both commands and their arguments."""
    key = commands.add_parser("seal-key", help="make or show the key that devices seal originals to")
    key.add_argument("what", choices=("new", "show"), help="new: make FILE (never over another); show: its public part")
    key.add_argument("file", type=Path, metavar="FILE", help="a secret key of age, readable by its owner alone")
    key.add_argument("--json", action="store_true", help="print file and recipient as JSON")
    opening = commands.add_parser("open", help="open originals that were sealed to our key (age -d does so too)")
    opening.add_argument("sealed", nargs="+", type=Path, metavar="FILE", help="*.age files, or directories of them")
    opening.add_argument("--key", type=Path, required=True, metavar="FILE", help="the secret key of `seal-key new`")
    opening.add_argument("-o", "--out", type=Path, metavar="DIR", help="where to write (default: beside each)")
    opening.add_argument("--json", action="store_true", help="print one JSON object a file")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where all was done, 1 where a file cannot be opened; raises DriverError where there is no key."""
    return _key(args) if args.action == "seal-key" else _open(args)


def _key(args: argparse.Namespace) -> int:
    from edge_agent.files import write_durably
    from edge_agent.sealing import new_key, recipient_of

    if args.what == "new":
        if args.file.exists():
            raise DriverError(f"{args.file}: is there already; a key is never overwritten: give another name")
        secret, recipient = new_key()
        text = f"# opens what was sealed to: {recipient}\n{secret}\n"
        try:
            write_durably(args.file, text.encode())
        except OSError as error:
            raise DriverError(f"{args.file}: the key cannot be written: {error.strerror}") from None
    recipient = recipient_of(_secret(args.file))
    if args.json:
        print_json({"file": str(args.file), "recipient": recipient})
    else:
        print(f"# for agent.toml of each device; without {args.file} nobody opens what they seal: keep a copy of it")
        print(f'[privacy]\nseal_to = "{recipient}"')
    return 0


def _open(args: argparse.Namespace) -> int:
    from edge_agent.files import write_durably
    from edge_agent.sealing import SUFFIX, SealError, unseal

    secret, failed = _secret(args.key), 0
    files = [
        found for given in args.sealed for found in (sorted(given.glob(f"*{SUFFIX}")) if given.is_dir() else [given])
    ]
    for file in files:
        target = (args.out or file.parent) / file.name.removesuffix(SUFFIX)
        try:
            if target == file or target.exists():
                raise SealError(f"{target} is there already" if target != file else f"is not called *{SUFFIX}")
            if file.stat().st_size > MAX_BYTES:
                raise SealError(f"is larger than {MAX_BYTES >> 30} GiB")
            plain = unseal(file.read_bytes(), secret)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_durably(target, plain)
        except (SealError, OSError) as error:
            failed += 1
            why = error.strerror if isinstance(error, OSError) else str(error)
            print(f"{file}: {why}", file=sys.stderr)
        else:
            facts = {"opened": str(target), "bytes": len(plain), "sha256": hashlib.sha256(plain).hexdigest()}
            print_json({"file": str(file)} | facts) if args.json else print(target)
    return 1 if failed else 0


def _secret(file: Path) -> str:
    from edge_agent.sealing import SealError, recipient_of

    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8")
    except OSError as error:
        raise DriverError(f"{file}: the key cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DriverError(f"{file}: is no key of age") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DriverError(f"{file}: is open to others (mode {stat.S_IMODE(mode):04o}); chmod 600 it")
    secret = next((line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    try:
        recipient_of(secret)
    except SealError as error:
        raise DriverError(f"{file}: {error}") from None
    return secret
