"""`edge-agent contract`: the documents of the contract, written or compared."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the documents are, as docs/contract")
    parser.add_argument("--examples", type=Path, metavar="DIR", help="NAME.json of messages, shown on the page")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a document is out of date")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where the documents are as generated, 1 where --check finds others or they cannot be written."""
    wanted = documents(args.examples)
    there = {str(file.relative_to(args.directory)) for file in (args.directory / "schema").glob("*.json")}
    strange = sorted(there - wanted.keys())
    if args.check:
        stale = sorted(name for name, text in wanted.items() if not _same(args.directory / name, text))
        for name in (*stale, *strange):
            print(f"{args.directory / name}: is out of date; run: make contract", file=sys.stderr)
        return 1 if stale or strange else 0
    try:
        for name, text in wanted.items():
            file = args.directory / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for name in strange:
            (args.directory / name).unlink()
    except OSError as error:
        print(f"{error.filename}: cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{args.directory}: {len(wanted)} documents")
    return 0


def documents(examples: Path | None) -> dict[str, str]:
    """All generated documents by their place."""
    from edge_agent.contract.asyncapi import document
    from edge_agent.contract.page import page
    from edge_agent.contract.schema import schemas

    shown = (
        {file.stem: file.read_text(encoding="utf-8") for file in sorted(examples.glob("*.json"))} if examples else {}
    )
    found = {f"schema/{name}.json": _json(schema) for name, schema in schemas().items()}
    return found | {"asyncapi.json": _json(document()), "index.html": page(shown)}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _same(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text
