"""What commands about one device's data have in common: where it is, JSON or words, and how failures are told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from edge_agent import config
from edge_agent.cli.ask import EX_UNAVAILABLE, PLACES, find_data_dir
from edge_agent.runtime import DriverError


def add_options(parsers: Iterable[argparse.ArgumentParser]) -> None:
    """`-c FILE` or `--data-dir DIR`, and `--json`."""
    for parser in parsers:
        where = parser.add_mutually_exclusive_group()
        where.add_argument("-c", "--config", type=Path, metavar="FILE", help="the agent's configuration")
        where.add_argument("--data-dir", type=Path, metavar="DIR", help="or its data directory")
        parser.add_argument("--json", action="store_true", help="print JSON")


def add_key(parser: argparse.ArgumentParser) -> None:
    """`--public-key KEY`: by which the signatures of a device are judged."""
    told = "of the device, in base64 (default: its own key file)"
    parser.add_argument("--public-key", type=_public_key, metavar="KEY", help=told)


def call(act: Callable[[Path], int], args: argparse.Namespace) -> int:
    """`act` on the data directory that was meant; 69 where it cannot be read, 78 on a bad configuration."""
    return told(lambda: act(find_data_dir(args)))


def told(act: Callable[[], int]) -> int:
    """The exit code of `act`, its failures told in their words."""
    try:
        return act()
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


def config_file(args: argparse.Namespace) -> Path | None:
    """The configuration that was meant, if any is there."""
    return args.config or next((place for place in PLACES if place.is_file()), None)


def _public_key(text: str) -> str:
    from edge_agent import keys

    if keys.is_public(text):
        return text
    raise argparse.ArgumentTypeError(f"the 32 bytes of an Ed25519 key in base64 are wanted, got {text!r}")
