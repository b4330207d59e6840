"""`edge-agent fleet new`: a device, or forty of a CSV, on the bench: configuration, claim, card, label."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.centre.authority import Authority
    from edge_agent.device.fleet import Bench, Device

EX_THERE, EX_USAGE, EX_UNAVAILABLE = 1, 2, 69
OWN_FILES = ("no such file", "No such file")  # what is on the device, and not on the bench

EPILOG = """\
  edge-agent fleet new EA-7 --site examples/sites/drone.toml --out bench
  edge-agent fleet new EA-7 --site river.toml --ca ca --card 2026-06-raspios.img    or /dev/sdX, or the mounted boot
  edge-agent fleet new --csv devices.csv --site river.toml --out bench

A site file is an agent.toml without its device, and [fleet] beside it. A CSV has a column `id`, perhaps `board`, and
one for each key that differs from device to device, as `site.lat`. Without --ca the claims wait in claims.jsonl for
`edge-agent centre ca import`. A device that is there already is left as it is: its label may be printed.

exit codes:
   0  made
   1  it was there already (--force makes it anew, with a new claim); of a CSV those are left out, and it is 0
   2  wrong command line
  69  a file, the CA or the card cannot be read or written
  78  the site file, the template or a line of the CSV is wrong; nothing was made
"""


class UsageError(Exception):
    """The command line asks for what does not go together."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb and its arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    new = verbs.add_parser(
        "new", help="configuration, claim, card files and label of new devices", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    new.add_argument("id", nargs="?", metavar="ID", help="what the device is to be called")
    new.add_argument("--csv", type=Path, metavar="FILE", help="or many: a line each")
    new.add_argument("--site", type=Path, required=True, metavar="FILE", help="the site file (TOML)")
    where = new.add_mutually_exclusive_group()
    where.add_argument("--card", type=Path, metavar="IMAGE", help="an image, a device, or a mounted boot partition")
    where.add_argument("--out", type=Path, metavar="DIR", help="a directory a device (default: .)")
    new.add_argument(
        "--ca", type=Path, metavar="DIR", help="the directory of `edge-agent centre ca`: register claims there"
    )
    new.add_argument("--board", default="", metavar="SERIAL", help="only for the board with this serial number")
    new.add_argument("--force", action="store_true", help="make anew what is there already")
    new.add_argument("--dry-run", action="store_true", help="check all of it, write nothing")
    new.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    try:
        return _new(args)
    except UsageError as error:
        print(f"edge-agent fleet: {error}", file=sys.stderr)
        return EX_USAGE
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(f"edge-agent fleet: {error}", file=sys.stderr)
        return EX_UNAVAILABLE


def _new(args: argparse.Namespace) -> int:
    from edge_agent.device import fleet

    if (args.id is None) == (args.csv is None):
        raise UsageError("give either ID, or --csv FILE")
    if args.csv is not None and args.card is not None:
        raise UsageError("one card is for one device: give --out DIR with --csv")
    site = _toml(args.site)
    try:
        bench = fleet.parse_bench(site.get("fleet", {}))
    except ValueError as error:
        raise config.ConfigError(args.site, [str(error)]) from None
    template = _toml(args.site.parent / bench.template) if bench.template is not None else {}
    devices = _devices(args)
    configs = _configs(args, template, site, devices)
    _ready(args, bench)
    if args.dry_run:
        rows = [{"device": one.id, "state": "would", "board": one.board} for one in devices]
        return _tell(args, rows)
    authority = _authority(args)
    try:
        rows = [_make(args, bench, one, configs[one.id], authority) for one in devices]
    finally:
        if authority is not None:
            authority.close()
    return _tell(args, rows)


def _configs(
    args: argparse.Namespace, template: dict[str, Any], site: dict[str, Any], devices: list[Device]
) -> dict[str, str]:
    """The text of every device's agent.toml; ConfigError with the faults of all of them."""
    texts: dict[str, str] = {}
    faults: list[str] = []
    for one in devices:
        try:
            texts[one.id] = _config(args, template, site, one)
        except config.ConfigError as error:
            faults += error.faults
    if faults:
        raise config.ConfigError(args.csv or args.site, faults)
    return texts


def _ready(args: argparse.Namespace, bench: Bench) -> None:
    """What all devices need, looked at before the first is made: the CA's hash, the Wi-Fi's password, the card."""
    from edge_agent import claim
    from edge_agent.device import card

    try:
        pin = None if bench.ca_sha256 is None else claim.sha256_hex(bench.ca_sha256)
    except ValueError as error:
        raise config.ConfigError(args.site, [f"fleet.ca_sha256: {error}"]) from None
    if args.ca is None and pin is None:
        raise config.ConfigError(
            args.site, ["fleet.ca_sha256: required without --ca DIR: by it the device knows the CA"]
        )
    if args.ca is None and pin == "0" * 64:
        print(f"{args.site}: fleet.ca_sha256 is the example's: no CA has it, and no device will enrol", file=sys.stderr)
    if bench.wifi_password_file is not None and "\n" in _read(args.site.parent / bench.wifi_password_file):
        raise config.ConfigError(args.site, [f"fleet.wifi_password_file: {bench.wifi_password_file} has several lines"])
    if args.card is not None and not args.card.is_dir():
        card.fat_offset(args.card)


def _config(args: argparse.Namespace, template: dict[str, Any], site: dict[str, Any], device: Device) -> str:
    """The text of agent.toml, checked as on the device but for files that only the device has."""
    import tomli_w

    from edge_agent.device import fleet

    file = args.site.with_name(f"{device.id}.toml")
    try:
        table = fleet.configured(template, site, device)
    except ValueError as error:
        raise config.ConfigError(args.csv or args.site, [f"{device.id}: {error}"]) from None
    text = f"# {device.id}, by edge-agent fleet new from {args.site.name}\n" + tomli_w.dumps(table)
    try:
        config.parse(text, file)
    except config.ConfigError as error:
        faults = [fault for fault in error.faults if not any(word in fault for word in OWN_FILES)]
        if faults:
            raise config.ConfigError(args.csv or args.site, [f"{device.id}: {fault}" for fault in faults]) from None
    return text


def _make(
    args: argparse.Namespace, bench: Bench, device: Device, agent_toml: str, authority: Authority | None
) -> dict[str, Any]:
    """One device; its agent.toml is written last and says that it is whole."""
    from edge_agent import claim
    from edge_agent.device import card, fleet
    from edge_agent.device.label import label_png
    from edge_agent.files import write_durably

    out: Path = (args.out or Path()) / device.id
    row: dict[str, Any] = {"device": device.id, "board": device.board, "dir": str(out)}
    if (out / "agent.toml").exists() and not args.force:
        return {**row, "state": "there", "claim": _read(out / "claim.txt")}
    pin = authority.sha256 if authority is not None else bench.ca_sha256
    assert pin is not None
    until = datetime.now(UTC) + timedelta(hours=bench.claim_hours)
    code = claim.new_code()
    made = claim.Claim(host=bench.ca_host, port=bench.ca_port, ca_sha256=claim.sha256_hex(pin), code=code)
    password = None
    if bench.wifi_password_file is not None:
        password = _read(args.site.parent / bench.wifi_password_file)
    files = fleet.card(bench, device, agent_toml, str(made), password)
    png = label_png(str(made), (device.id, f"{bench.ca_host}:{bench.ca_port}", claim.grouped(code)))
    try:
        out.mkdir(parents=True, exist_ok=True)
        _register(args, device, made.code, until, authority)
        write_durably(out / "claim.txt", f"{made}\n".encode())
        write_durably(out / "label.png", png, mode=0o600)
        for name, data in files.items():
            (out / "boot" / name).parent.mkdir(parents=True, exist_ok=True)
            write_durably(out / "boot" / name, data)
        if args.card is not None:
            row["card"] = card.write(args.card, files)
        write_durably(out / "agent.toml", agent_toml.encode(), mode=0o644)
    except OSError as error:
        raise DriverError(f"{out}: cannot be written: {error.strerror}; run it again") from None
    return {**row, "state": "made", "claim": str(made), "not_after": f"{until:%Y-%m-%dT%H:%M:%SZ}"}


def _register(
    args: argparse.Namespace, device: Device, code: str, until: datetime, authority: Authority | None
) -> None:
    """Before the claim is anywhere else: at the CA, or in the list for it. The code itself is in neither."""
    from edge_agent import claim

    if authority is not None:
        authority.admit(claim.digest(code), device.id, device.board, until.timestamp())
        return
    line = {
        "device": device.id,
        "board": device.board,
        "code_sha256": claim.digest(code),
        "not_after": until.isoformat(),
    }
    with ((args.out or Path()) / "claims.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _devices(args: argparse.Namespace) -> list[Device]:
    """Those of the command line or the CSV; ConfigError names the line."""
    import msgspec

    from edge_agent.device.fleet import Device

    rows: list[dict[str, Any]] = [{"id": args.id, "board": args.board}]
    if args.csv is not None:
        try:
            with args.csv.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream))
        except OSError as error:
            raise DriverError(f"{args.csv}: cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise config.ConfigError(args.csv, [f"is no CSV in UTF-8: {error}"]) from None
    devices: list[Device] = []
    faults: list[str] = [] if rows else ["holds no device: a line with `id,board,site.lat,…` and one for each"]
    if rows and "id" not in rows[0]:
        raise config.ConfigError(
            args.csv or args.site, [f"line 1: has no column `id`, but {', '.join(map(str, rows[0]))}"]
        )
    for number, row in enumerate(rows, 2):
        where = f"line {number}: " if args.csv is not None else ""
        values = {key: _value(text) for key, text in row.items() if key not in ("id", "board") and text}
        if None in row:
            faults.append(f"{where}more fields than the first line names")
            continue
        try:
            given = {"id": row.get("id"), "board": row.get("board") or "", "values": values}
            devices.append(msgspec.convert(given, Device))
        except msgspec.ValidationError as error:
            faults.append(f"{where}{error}, got {row.get('id')!r}")
    ids = [one.id for one in devices]
    faults += [f"the id {one} stands {ids.count(one)} times" for one in sorted(set(ids)) if ids.count(one) > 1]
    if faults:
        raise config.ConfigError(args.csv or args.site, faults)
    return devices


def _value(text: str) -> Any:
    """A TOML value (30.2, true, ["a"]), else text."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DriverError(f"{file}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise config.ConfigError(file, [f"is not TOML: {error}"]) from None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DriverError(f"{file}: cannot be read: {error}") from None


def _authority(args: argparse.Namespace) -> Authority | None:
    if args.ca is None:
        return None
    from edge_agent.centre.authority import Authority

    return Authority(args.ca)


def _tell(args: argparse.Namespace, rows: list[dict[str, Any]]) -> int:
    there = [row for row in rows if row["state"] == "there"]
    if args.json:
        print_json({"devices": rows})
    else:
        for row in rows:
            print(f"{row['device']}: {row['state']}" + (f", in {row['dir']}" if "dir" in row else ""))
        if args.ca is None and not args.dry_run and len(there) < len(rows):
            print(f"at the CA: edge-agent centre ca import {(args.out or Path()) / 'claims.jsonl'} --dir CA")
    return EX_THERE if there and args.csv is None else 0
