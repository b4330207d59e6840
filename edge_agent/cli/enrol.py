"""`edge-agent enrol`: a bare device becomes one of ours by a claim; renewal; the state of its identity; wiping it."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.messages import Refusal
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.claim import Claim
    from edge_agent.device.enrol import Enrolled
    from edge_agent.device.identity import Identity

CONFIG, DATA_DIR = Path("/etc/edge-agent/agent.toml"), Path("/var/lib/edge-agent")
EX_REFUSED, EX_USAGE, EX_UNAVAILABLE = 1, 2, 69

EPILOG = """\
The key is made here and never leaves; the CA is known by the hash in the claim. What may be interrupted may be run
again: the same key asks, and gets the same certificate.

  edge-agent enrol --claim EA1:ca.example.org:8470:5f3a…:7F3K-…      the line of the label
  edge-agent enrol --qr label.jpg                                     a picture of the label
  edge-agent enrol --claim 7F3K-… --server ca.example.org:8470 --ca-sha256 5f3a…
  edge-agent enrol --renew                                            what the timer runs every day

exit codes:
   0  enrolled, or renewed, or nothing is due
   1  refused: the claim expired, was used, or is another device's; another CA; a cloned card
   2  wrong command line, or a claim that is mistyped
  69  the CA cannot be reached, the disk is full, the certificate is no good
  78  the configuration is wrong
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--claim", metavar="CODE", help="the line of the label, or its code with --server, --ca-sha256")
    what.add_argument("--qr", metavar="TEXT|FILE", help="what was scanned from the label, or a picture of it")
    what.add_argument("--renew", action="store_true", help="renew when two thirds of the certificate's life are over")
    what.add_argument("--status", action="store_true", help="say how the identity stands")
    what.add_argument("--wipe", action="store_true", help="the same as `edge-agent wipe`")
    parser.add_argument("--server", metavar="HOST:PORT", help="the CA, with a bare code")
    parser.add_argument("--ca-sha256", metavar="HEX", help="its certificate's hash, with a bare code")
    parser.add_argument("--device", default="", metavar="ID", help="only as this device (default: as the claim says)")
    parser.add_argument("--force", action="store_true", help="with --renew: now")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, ask nobody, write nothing")
    add_places(parser)
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="with --wipe: where the certificate goes")
    parser.add_argument("--yes", action="store_true", help="with --wipe: do not ask")


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where the device's things are."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"the agent's (default: {CONFIG})")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help=f"default: the configuration's, or {DATA_DIR}")
    parser.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    if args.wipe:
        from edge_agent.cli import wipe

        return wipe.main(args)
    try:
        return _main(args)
    except config.ConfigError as error:
        return _fail(args, str(error), config.EX_CONFIG)
    except ValueError as error:
        return _fail(args, str(error), EX_USAGE)
    except DriverError as error:
        return _fail(args, str(error), EX_UNAVAILABLE)


def _main(args: argparse.Namespace) -> int:
    from edge_agent.device import board, clocks, enrol
    from edge_agent.device.identity import FOLDER, Identity
    from edge_agent.files import left_to_owner_of

    file, data_dir, device = places(args)
    identity, serial = Identity(data_dir / FOLDER), board.serial(args.root)
    if args.status:
        return _status(args, identity, serial, clocks.now(data_dir))
    claim = None if args.renew else _claim(args)
    if args.dry_run:
        return _would(args, claim, identity, serial, device)

    def now() -> datetime:
        return clocks.now(data_dir)

    with left_to_owner_of(data_dir):  # root enrols, and the agent's account is to renew
        if claim is None:
            found = enrol.renew(identity, board=serial, now=now, force=args.force)
        else:
            found = enrol.enrol(claim, identity, device=device, board=serial, now=now)
        if isinstance(found, Refusal):
            _witness(data_dir, found)
            return _fail(args, f"refused: {found}", EX_REFUSED)
        held = identity.certificate()
        clocks.save(data_dir, held.not_valid_before_utc.timestamp() if held is not None else 0.0)  # it is later
    _tell(args, found, identity, _place_config(found, file))
    return 0


def places(args: argparse.Namespace) -> tuple[Path, Path, str]:
    """Configuration, data directory, and what the configuration calls this device (empty: it does not).

    A configuration that names a certificate which is not there yet is wrong as a whole, so it is read as a table only.
    """
    import tomllib

    file: Path = args.config or CONFIG
    data_dir, device = args.data_dir, getattr(args, "device", "")
    if file.is_file():
        try:
            table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
            data_dir = data_dir or file.resolve().parent / str(table["data_dir"])
            device = device or str(table["site"]["device"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise config.ConfigError(file, [f"cannot be used: {error}; edge-agent check -c {file}"]) from None
    elif args.config is not None and (args.renew or args.status or args.wipe):
        raise config.ConfigError(file, ["cannot be read: no such file"])
    return file, data_dir or DATA_DIR, device


def _claim(args: argparse.Namespace) -> Claim:
    """The claim of the command line; ValueError where it is none."""
    from edge_agent import claim

    text: str = args.claim if args.claim is not None else args.qr
    if args.qr is not None and not text.upper().startswith(claim.SCHEME + ":"):
        from edge_agent.device.label import read_qr

        text = read_qr(Path(text))
    if text.upper().startswith(claim.SCHEME + ":"):
        return claim.parse(text)
    if args.server is None or args.ca_sha256 is None:
        raise ValueError(
            "a bare code wants --server HOST:PORT and --ca-sha256 HEX; or give the whole line of the label"
        )
    return claim.parse(f"{claim.SCHEME}:{args.server}:{claim.sha256_hex(args.ca_sha256)}:{text}")


def _place_config(found: Enrolled, file: Path) -> str:
    """Write the configuration that the site wants where there is none; never over one."""
    from edge_agent.files import write_durably

    if found.config is None:
        return ""
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(file, found.config.encode(), mode=0o644)
            return f"the site's configuration is in {file}"
        if file.read_text(encoding="utf-8") == found.config:
            return ""
        other = file.with_suffix(".site.toml")
        write_durably(other, found.config.encode(), mode=0o644)
    except (OSError, UnicodeDecodeError) as error:
        raise DriverError(f"{file}: cannot be written: {error}; the identity is whole, run it again") from None
    return f"{file} stays as it is; what the site wants is in {other}"


def _tell(args: argparse.Namespace, found: Enrolled, identity: Identity, note: str) -> None:
    import msgspec

    files = {"ca_file": identity.ca_file, "cert_file": identity.cert_file, "key_file": identity.key_file}
    if args.json:
        told = msgspec.to_builtins(found)
        del told["config"]
        print_json({**told, **{name: str(path) for name, path in files.items()}, "note": note})
        return
    print(f"{found.state}: {found.device} on board {found.board or 'without a serial'}")
    print(f"certificate {found.serial}, good until {found.not_after}, to be renewed from {found.renew_at}")
    if note:
        print(note)
    if found.state != "enrolled":
        return
    for broker in found.brokers:
        host, _, port = broker.rpartition(":")
        print(f'\n[mqtt]\nhost = "{host.strip("[]")}"\nport = {port}')
        print("\n".join(f'{name} = "{path}"' for name, path in files.items()))


def _status(args: argparse.Namespace, identity: Identity, serial: str, now: datetime) -> int:
    from edge_agent import certificates

    held = identity.certificate()
    fault = identity.fault(serial, now)
    told: dict[str, Any] = {"ok": fault is None, "fault": None if fault is None else str(fault), "board": serial}
    if held is not None:
        told["device"], told["enrolled_on"] = certificates.name(held.subject)
        told["not_after"] = f"{held.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
        told["days_left"] = round((held.not_valid_after_utc - now).total_seconds() / 86400, 1)
        told["renew_at"] = f"{certificates.renew_at(held):%Y-%m-%dT%H:%M:%SZ}"
    if args.json:
        print_json(told)
    else:
        for name, value in told.items():
            print(f"{name}: {'-' if value in (None, '') else value}")
    return 0 if fault is None else EX_REFUSED


def _would(args: argparse.Namespace, claim: Claim | None, identity: Identity, serial: str, device: str) -> int:
    """What a run would do."""
    steps = [f"{'keep' if identity.key_file.exists() else 'make'} the key {identity.key_file}"]
    if claim is None:
        steps.append(
            "ask the CA where this device enrolled for a new certificate, if two thirds of the old one's life are over"
        )
    else:
        steps.append(f"ask {claim.host}:{claim.port} for its CA and go on only if its SHA-256 is {claim.ca_sha256}")
        steps.append(
            f"ask for a certificate for {device or 'whom the claim names'} on board {serial or 'without a serial'}"
        )
        steps.append(f"write {identity.ca_file}, {identity.home_file}, {identity.cert_file}")
    if args.json:
        print_json({"dry_run": True, "steps": steps})
    else:
        print("\n".join(steps))
    return 0


def _witness(data_dir: Path, refusal: Refusal) -> None:
    """A clone is written down in the device's own audit log; a disk that fails costs only that."""
    from edge_agent.audit import Audit

    if refusal.gate != "clone":
        return
    try:
        facts = {"board": refusal.value, "enrolled_on": refusal.limit}
        Audit(data_dir).append([("clone", "enrol", facts)])
    except DriverError as error:
        print(error, file=sys.stderr)


def _fail(args: argparse.Namespace, text: str, code: int) -> int:
    if args.json:
        print_json({"state": "refused" if code == EX_REFUSED else "failed", "reason": text})
    print(f"edge-agent enrol: {text}", file=sys.stderr)
    return code
