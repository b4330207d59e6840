"""`edge-agent centre key new|show FILE`: an operator's key, and what of it stands in agent.toml."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

GOOD_FOR = timedelta(days=365)


def configure(commands: Any) -> None:
    """Add the command and its arguments."""
    key = commands.add_parser("key", help="make or show an operator's key, which signs commands")
    key.add_argument("what", choices=("new", "show"), help="new: make FILE (never over another); show: its public part")
    key.add_argument("file", type=Path, metavar="FILE", help="a PEM file, readable by its owner alone")
    key.add_argument("--role", choices=("viewer", "operator", "pilot", "admin"), default="pilot", help="in the example")
    key.add_argument("--json", action="store_true", help="print id and public key as JSON")


def main(args: argparse.Namespace) -> int:
    """Exit 0 where there is a key; raises DriverError."""
    from edge_agent import keys

    key = keys.make(args.file) if args.what == "new" else keys.load(args.file)
    public = keys.public_text(key)
    if args.json:
        print(json.dumps({"file": str(args.file), "id": args.file.stem, "public_key": public}))
        return 0
    print(f"# for agent.toml of each device that {args.file.stem} may command; {args.file} itself goes nowhere")
    print(toml(args.file.stem, public, args.role))
    return 0


def toml(id: str, public: str, role: str) -> str:
    """The `[[operator]]` section for a public key, good for a year."""
    until = datetime.now(UTC).date() + GOOD_FOR
    lines = {"id": id, "name": id, "role": role, "public_key": public, "not_after": until.isoformat()}
    return "[[operator]]\n" + "\n".join(f'{name} = "{value}"' for name, value in lines.items())
