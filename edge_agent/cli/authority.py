"""`edge-agent centre ca`: a small CA for a site without one: init, claim, run, list, revoke, crl, import, roll."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from cryptography import x509

    from edge_agent.centre.authority import Authority

PORT = 8470
NEXT = """\
now, in this order:
  1. give the broker ca.crt (it holds both certificates), a new `ca server` certificate and a new `ca crl`
  2. restart `centre ca run`: from here on all is issued by the new key
  3. devices take it in at their renewal, within 40 days; at once: edge-agent enrol --renew --force
  4. edge-agent centre ca roll --finish, then 1 and 2 once more: until then the old key is still believed"""
ANY = "0.0.0.0"  # noqa: S104  # devices come from outside


def configure(commands: Any) -> None:
    """Add the command and its verbs."""
    ca = commands.add_parser("ca", help="a small CA: devices enrol by a claim (EST, RFC 7030)")
    verbs = ca.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    init = verbs.add_parser("init", help="make the CA's key and certificate, once")
    init.add_argument("--name", default="edge-agent CA", help="its common name (default: %(default)s)")
    run = verbs.add_parser("run", help="serve EST over HTTPS")
    run.add_argument("--listen", type=_address, default=(ANY, PORT), metavar="HOST:PORT", help=f"default: {ANY}:{PORT}")
    run.add_argument("--name", action="append", default=[], metavar="HOST", help="what devices call this server")
    run.add_argument("--broker", action="append", default=[], metavar="HOST:PORT", help="what devices report to")
    claim = verbs.add_parser("claim", help="issue a claim: one device, once")
    claim.add_argument("device", type=_id, metavar="ID", help="what the device is to be called")
    claim.add_argument(
        "--server", type=_server, required=True, metavar="HOST[:PORT]", help="how the device reaches this CA"
    )
    claim.add_argument("--board", default="", metavar="SERIAL", help="only for the board with this serial number")
    claim.add_argument(
        "--hours", type=_hours, default=24.0, metavar="H", help="good for so long (default: %(default)g)"
    )
    claim.add_argument("--site-config", type=Path, metavar="FILE", help="the agent.toml that this device is to get")
    claim.add_argument("--label", type=Path, metavar="FILE", help="write the label there, as PNG")
    take = verbs.add_parser("import", help="take in the claims that `edge-agent fleet new` made")
    take.add_argument("file", type=Path, metavar="claims.jsonl")
    verbs.add_parser("list", help="the devices, and who was sent away and why")
    revoke = verbs.add_parser("revoke", help="take back a device's certificate")
    revoke.add_argument("device", metavar="ID")
    crl = verbs.add_parser("crl", help="write the list of revoked certificates, for the broker")
    crl.add_argument("-o", "--out", type=Path, required=True, metavar="FILE")
    server = verbs.add_parser("server", help="certificate and key for a server under this CA, as the broker")
    server.add_argument("names", nargs="+", metavar="HOST", help="what devices call it")
    server.add_argument(
        "-o", "--out", type=Path, required=True, metavar="DIR", help="server.crt and server.key go there"
    )
    roll = verbs.add_parser("roll", help="change the CA's key: old and new are trusted until every device has followed")
    roll.add_argument("--finish", action="store_true", help="give up the old key, once no device needs it")
    roll.add_argument("--force", action="store_true", help="with --finish: also where devices are left behind")
    for verb in verbs.choices.values():
        verb.add_argument("--dir", type=Path, required=True, metavar="DIR", help="the CA's directory")
        verb.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where done, 1 where there is nothing to revoke; raises DriverError."""
    from edge_agent.centre import authority, rollover

    now = datetime.now(UTC)
    if args.verb == "init":
        rollover.make(args.dir, args.name, now)
    ca = authority.Authority(args.dir)
    try:
        match args.verb:
            case "init":
                told: dict[str, Any] = {"ca_file": str(args.dir / "ca.crt"), "sha256": ca.sha256}
            case "run":
                return asyncio.run(_run(args, ca))
            case "claim":
                told = _claim(args, ca, now)
            case "import":
                told = {"claims": ca.import_claims(args.file)}
            case "revoke":
                told = {"device": args.device, "revoked": ca.revoke(args.device, now)}
            case "crl":
                told = _write({args.out: ca.crl(now)})
            case "roll":
                return _roll(args, ca, now)
            case "server":
                told = _write(ca.issue_server(_names(args.names), now, args.out))
            case _:
                return _list(args, ca)
    finally:
        ca.close()
    if args.json:
        print_json(told)
    else:
        print("\n".join(f"{name}: {value}" for name, value in told.items()))
    return 1 if told.get("revoked") == 0 else 0


async def _run(args: argparse.Namespace, ca: Authority) -> int:
    from edge_agent.centre.est import EstServer

    host, port = args.listen
    names = args.name or [socket.gethostname() if host in (ANY, "::") else host, "localhost", "127.0.0.1"]

    def ready(at: int) -> None:
        print(f"ready: port {at}, CA {ca.sha256}", flush=True)

    server = EstServer(ca, (host, port), _names(names), brokers=tuple(args.broker), on_ready=ready)
    ours = asyncio.current_task()
    assert ours is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ours.cancel)
    try:
        await server.run()
    except asyncio.CancelledError:
        pass
    return 0


def _claim(args: argparse.Namespace, ca: Authority, now: datetime) -> dict[str, Any]:
    from edge_agent.claim import Claim

    host, port = args.server
    if args.site_config is not None:
        try:
            ca.set_config(args.device, args.site_config.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise DriverError(f"{args.site_config}: cannot be read: {error}") from None
    code = ca.new_claim(args.device, args.board, now, args.hours)
    text = str(Claim(host=host, port=port, ca_sha256=ca.sha256, code=code))
    told: dict[str, Any] = {"device": args.device, "claim": text, "hours": args.hours}
    if args.label is not None:
        from edge_agent.device.label import label_png

        told |= _write({args.label: label_png(text, (args.device,))}, private=True)  # whoever reads it may enrol
    return told


def _roll(args: argparse.Namespace, ca: Authority, now: datetime) -> int:
    """Begin to change the key, or end it."""
    from edge_agent.centre import authority, rollover

    behind, unused = ca.left_behind(now), ca.open_claims(now)
    labels = f"{len(unused)} claims are not used yet ({', '.join(unused)}): labels from before the new key are"
    if args.finish and behind and not args.force:
        lines = [f"not yet: these hold certificates by the old key alone, and renew by themselves: {', '.join(behind)}"]
        told: dict[str, Any] = {"state": "refused", "left_behind": behind}
    elif args.finish:
        state = "finished" if rollover.finish(args.dir) else "nothing was to finish"
        told, lines = {"state": state, "left_behind": behind}, [state, *(f"left behind: {one}" for one in behind)]
        if told["state"] == "finished":
            lines += [f"{labels} good for nothing now: issue those anew"] if unused else []
            lines.append("now: restart `centre ca run`; give the broker ca.crt, a new `ca server`, a new `ca crl`")
    else:
        rollover.roll(args.dir, now)
        new = authority.Authority(args.dir)
        try:
            told = {"state": "begun", "sha256": new.sha256, "left_behind": new.left_behind(now)}
        finally:
            new.close()
        lines = [
            f"the CA's new SHA-256 is {told['sha256']}; {len(told['left_behind'])} devices follow by renewing",
            NEXT,
        ]
        lines += [f"{labels} good until --finish"] if unused else []
    if args.json:
        print_json({**told, "open_claims": unused})
    else:
        print("\n".join(lines))
    return 1 if told["state"] == "refused" else 0


def _list(args: argparse.Namespace, ca: Authority) -> int:
    devices, refused = ca.devices(), ca.refusals()
    if args.json:
        print_json({"sha256": ca.sha256, "devices": devices, "refused": refused})
        return 0
    print(f"CA {ca.sha256}")
    for one in devices:
        print(f"{one['device']}  board {one['board'] or '-'}  until {one['not_after']}  {one['serial']}")
    for one in refused:
        print(f"refused {one['at']}  {one['device'] or '?'}  {one['why']}", file=sys.stderr)
    return 0


def _write(files: dict[Path, bytes], *, private: bool = False) -> dict[str, Any]:
    from edge_agent.files import write_durably

    for file, data in files.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(file, data, mode=0o600 if private or file.suffix == ".key" else 0o644)
        except OSError as error:
            raise DriverError(f"{file}: cannot be written: {error.strerror}") from None
    return {"written": ", ".join(map(str, files))}


def _names(names: list[str]) -> list[x509.GeneralName]:
    """What a server is called: addresses and DNS names."""
    from cryptography import x509

    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name.strip("[]"))))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _address(text: str, default: int | None = None) -> tuple[str, int]:
    """HOST:PORT, or HOST where there is a default; [::1]:8470 as well."""
    host, colon, port = text.rpartition(":")
    if default is not None and (not colon or text.endswith("]")):
        host, port = text, str(default)
    if not host or not port.isdecimal() or not 0 <= int(port) < 65536:
        raise argparse.ArgumentTypeError(f"HOST:PORT is wanted, as 0.0.0.0:{PORT}; got {text!r}")
    return host.strip("[]"), int(port)


def _server(text: str) -> tuple[str, int]:
    return _address(text, default=PORT)


def _id(text: str) -> str:
    """What a configuration may call a device: brokers take it for a user name and a topic."""
    import msgspec

    from edge_agent.config import Id

    try:
        return msgspec.convert(text, Id)
    except msgspec.ValidationError:
        raise argparse.ArgumentTypeError(f"up to 64 of A-Z, a-z, 0-9, _ and - are wanted, got {text!r}") from None


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 < hours <= 24 * 90:
        raise argparse.ArgumentTypeError(f"hours from 0 to {24 * 90} are wanted, got {text!r}")
    return hours
