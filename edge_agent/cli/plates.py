"""`edge-agent plates`: read the licence plates of pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.cli.catalogue import shown
from edge_agent.cli.check import print_json
from edge_agent.cli.detect import is_directory
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.messages import Plate

EX_USAGE = 64


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("image", nargs="+", type=Path, metavar="IMAGE", help="a picture file, or a directory")
    parser.add_argument("--crop", action="store_true", help="each picture shows one plate and nothing else")
    parser.add_argument("--country", default="CN", metavar="CC[,CC]", help="whose plates, ISO 3166 (default: CN)")
    parser.add_argument(
        "--types", action="append", default=[], type=Path, metavar="FILE", help="your own kinds of plates (TOML)"
    )
    parser.add_argument(
        "--reader",
        choices=("built-in", "rapidocr"),
        help="(default: built-in for CN; for other countries rapidocr, which is installed apart)",
    )
    parser.add_argument("--min-confidence", type=_unit, default=0.5, metavar="X", help="0..1 (default: 0.5)")
    parser.add_argument("--threads", type=int, default=2, choices=range(1, 65), metavar="N", help="(default: 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line and picture")


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 where a picture or the reader failed; 64 for a country that is not known, or a bad file of kinds."""
    from edge_agent import plate_types
    from edge_agent.vision.plates import open_plate_reader

    countries, types = tuple(part.strip() for part in args.country.upper().split(",")), tuple(args.types)
    try:
        known = sorted({one.country for one in plate_types.known_types(types)})
    except ValueError as error:
        print("\n".join(f"edge-agent plates: {fault}" for fault in str(error).splitlines()), file=sys.stderr)
        return EX_USAGE
    if unknown := set(countries) - set(known):
        names = ", ".join(sorted(name or "''" for name in unknown))
        print(
            f"edge-agent plates: no plates of {names} are known (there is: {', '.join(known)}); "
            "describe them in a file, and give it with --types",
            file=sys.stderr,
        )
        return EX_USAGE
    try:
        reader = open_plate_reader(
            args.reader or ("built-in" if set(countries) == {"CN"} else "rapidocr"), args.threads, countries, types
        )
    except DriverError as error:
        print(f"edge-agent plates: {error}", file=sys.stderr)
        return 1
    failed = False
    for file, unreadable in _files(args.image):
        try:
            if unreadable is not None:
                raise unreadable
            found = _read(reader, file, args.crop, args.min_confidence)
        except DriverError as fault:
            failed = True
            print(f"edge-agent plates: {shown(str(fault))}", file=sys.stderr)
            if args.json:
                print_json({"file": shown(file), "error": shown(str(fault))})
            continue
        if args.json:
            print_json({"file": shown(file), "plates": [_told(plate) for plate in found]})
        else:
            what = ", ".join(f"{p.text} ({p.confidence:.2f}, {p.country} {p.type}, {p.color})" for p in found)
            print(f"{shown(file)}: {what or 'no plate'}", flush=True)
    _progress("")
    return int(failed)


def _unit(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1 is wanted, got {text!r}")
    return value


def _read(reader: Any, file: Path, crop: bool, least: float) -> list[Plate]:
    from edge_agent.vision.picture import read_picture

    _progress(shown(file))
    pixels = read_picture(file)
    one = reader.read_crop(pixels) if crop else None
    found = ([one.plate] if one else []) if crop else reader.find(pixels)
    _progress("")
    return [plate for plate in found if plate.confidence >= least]


def _told(plate: Plate) -> dict[str, Any]:
    return {
        "text": plate.text,
        "confidence": round(plate.confidence, 4),
        "country": plate.country,
        "type": plate.type,
        "color": plate.color,
        "box": [round(side, 1) for side in plate.box],
        "corners": [[round(x, 1), round(y, 1)] for x, y in plate.corners],
    }


def _files(given: list[Path]) -> Iterator[tuple[Path, DriverError | None]]:
    from edge_agent.vision.picture import find_pictures

    for path in given:
        try:
            for file in find_pictures(path) if is_directory(path) else [path]:
                yield file, None
        except DriverError as error:
            yield path, error


def _progress(name: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{name}", end="", file=sys.stderr, flush=True)
