"""What `edge-agent centre run` needs to take originals in: `--evidence-dir` and what goes with it."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

from edge_agent.config import Mqtt
from edge_agent.runtime import Clock, DriverError


def configure(run: argparse.ArgumentParser) -> None:
    """Add the arguments to those of `run`."""
    group = run.add_argument_group("originals", "pictures and clips, by tus 1.0; off without --evidence-dir")
    group.add_argument("--evidence-dir", type=Path, metavar="DIR", help="where they are stored")
    group.add_argument(
        "--evidence-listen",
        type=_address,
        default=("127.0.0.1", 8470),
        metavar="HOST:PORT",
        help="default: %(default)s",
    )
    group.add_argument(
        "--evidence-url", metavar="URL", help="how devices reach it, where that is not --evidence-listen"
    )
    group.add_argument("--evidence-cert-file", type=Path, metavar="FILE", help="speak TLS, with --evidence-key-file")
    group.add_argument("--evidence-key-file", type=Path, metavar="FILE")
    group.add_argument("--evidence-client-ca", type=Path, metavar="FILE", help="let in certificates of this CA alone")
    group.add_argument(
        "--evidence-token-file", type=Path, metavar="FILE", help="a token for devices that ask for no grants"
    )


def parts(args: argparse.Namespace, section: Mqtt, clock: Clock) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
    """The server and its grants over MQTT; nothing without `--evidence-dir`. Raises `DriverError`."""
    if args.evidence_dir is None:
        return []
    from edge_agent.centre.evidence import EvidenceServer
    from edge_agent.centre.grants import Grants

    host, port = args.evidence_listen
    try:
        token = args.evidence_token_file and args.evidence_token_file.read_text(encoding="utf-8").strip()
        tls = _tls(args)
        server = EvidenceServer(
            args.evidence_dir, host, port, url=args.evidence_url, token=token or None, tls=tls, clock=clock
        )
    except OSError as error:
        raise DriverError(f"evidence: {error}") from None
    return [("evidence", server.run), ("grants", Grants(section, server).run)]


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    cert, key, ca = args.evidence_cert_file, args.evidence_key_file, args.evidence_client_ca
    if (cert is None) != (key is None) or (ca is not None and cert is None):
        raise DriverError(
            "--evidence-cert-file and --evidence-key-file go together, and --evidence-client-ca needs both"
        )
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=None if ca is None else str(ca))
    context.load_cert_chain(cert, key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_NONE if ca is None else ssl.CERT_REQUIRED
    return context


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"HOST:PORT is wanted, as 0.0.0.0:8470; got {text!r}")
    return host.strip("[]"), int(port)
