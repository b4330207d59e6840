"""`edge-agent wipe`: a device leaves the fleet: what identifies it and what it recorded goes, and that is certified."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from edge_agent import config
from edge_agent.cli import enrol
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

EX_NO, EX_UNAVAILABLE = 1, 69


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    enrol.add_places(parser)
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="the certificate of deletion (default: here)")
    parser.add_argument("--dry-run", action="store_true", help="list what would go, delete nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(renew=False, status=False, wipe=True)


def main(args: argparse.Namespace) -> int:
    """Exit 0 where all is gone, 1 where nobody agreed, 69 where an agent runs or a disk fails, 78 on a bad config."""
    from edge_agent.device import board, wipe

    try:
        file, data_dir, device = enrol.places(args)
        found = wipe.plan(data_dir)
        if args.dry_run or not (found or wipe.is_unfinished(data_dir)):
            return _list(args, data_dir, found)
        if not args.yes and not _agreed(data_dir, len(found)):
            print("nothing was deleted", file=sys.stderr)
            return EX_NO
        now, device = datetime.now(UTC), device or _named(data_dir)
        out = args.out or Path(f"edge-agent-wipe-{device or 'device'}-{now:%Y%m%dT%H%M%SZ}.json")
        told = wipe.wipe(data_dir, out, device=device, board=board.serial(args.root), now=now)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(f"edge-agent wipe: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    stays = _secrets(args.root, file)
    if args.json:
        found_all = {"certificate": str(out), "files": told["count"], "bytes": told["bytes"]}
        print_json({**found_all, "stays": [str(path) for path in stays]})
    else:
        print(f"{told['count']} files, {told['bytes']} bytes are deleted; the certificate of deletion is {out}")
        if file.is_file():
            print(f"{file} stays: it holds no secret")
        for path in stays:
            print(f"{path} stays: a secret of the site, not of this device; remove it where the device leaves the site")
        if device:
            print(f"revoke the device at the CA: edge-agent centre ca revoke {device}")
    return 0


def _list(args: argparse.Namespace, data_dir: Path, found: list[Path]) -> int:
    if args.json:
        print_json({"dry_run": args.dry_run, "data_dir": str(data_dir), "files": [str(path) for path in found]})
    else:
        print("\n".join(map(str, found)) or f"{data_dir}: there is nothing to delete")
    return 0


def _secrets(root: Path, file: Path) -> list[Path]:
    """What lies closed to others beside the configuration, or is handed over by the unit: passwords of cameras."""
    there = [*file.parent.glob("*"), *(root / "etc").glob("credstore*/edge-agent.*")]
    return sorted(path for path in there if path.is_file() and path != file and not path.stat().st_mode & 0o077)


def _named(data_dir: Path) -> str:
    """What the certificate calls this device."""
    from edge_agent import certificates
    from edge_agent.device.identity import FOLDER, Identity

    held = Identity(data_dir / FOLDER).certificate()
    return "" if held is None else certificates.name(held.subject)[0]


def _agreed(data_dir: Path, count: int) -> bool:
    if not sys.stdin.isatty():
        print("edge-agent wipe: nobody is there to ask; say --yes", file=sys.stderr)
        return False
    return input(f"delete {count} files in {data_dir}, for good? type `wipe`: ").strip() == "wipe"
