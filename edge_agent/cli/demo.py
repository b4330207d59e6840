"""`edge-agent demo`: the whole chain on this machine alone, judged at its far ends."""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from pathlib import Path

EX_USAGE = 64


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    from edge_agent.demo import LINKS

    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where its files go; one that was cut off goes on there"
    )
    parser.add_argument("--break", dest="broken", choices=LINKS, help="break one link, to see that it is noticed")
    parser.add_argument(
        "--embedded", action="store_true", help="use the embedded broker even where mosquitto is installed"
    )
    parser.add_argument("--headless", action="store_true", help="one line for each happening, also on a terminal")
    parser.add_argument("--speedup", type=float, default=1.0, metavar="N", help="of the simulated vehicle (default: 1)")
    parser.add_argument(
        "--svg", type=Path, metavar="FILE", help="save what the terminal showed at the end as a picture"
    )


def main(args: argparse.Namespace) -> int:
    """Exit 0 where every link worked, 1 where one did not, 64 where the demo cannot be set up."""
    try:
        from rich.console import Console
    except ImportError:
        print("the demo needs the extra `demo`: pip install 'edge-agent[demo]'", file=sys.stderr)
        return EX_USAGE
    from edge_agent.demo.judge import headline, verdicts
    from edge_agent.demo.play import Play
    from edge_agent.demo.screen import Screen
    from edge_agent.demo.stage import NotReadyError

    directory = (args.dir or Path(time.strftime("demo-out-%Y%m%d-%H%M%S"))).resolve()
    others = [entry for entry in directory.iterdir() if entry.name != "lock"] if directory.is_dir() else []
    strange = bool(others) and not (directory / "demo.json").exists()
    if strange or (directory.exists() and not directory.is_dir()):
        print(f"{directory}: holds something else than a demo; give --dir an empty or new directory", file=sys.stderr)
        return EX_USAGE
    if not 0 < args.speedup <= 100:
        print(f"--speedup: {args.speedup:g} is outside 0..100", file=sys.stderr)
        return EX_USAGE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{directory}: another demo plays here; give --dir another directory", file=sys.stderr)
        return EX_USAGE
    except OSError as error:
        print(f"--dir: {directory}: {error.strerror}", file=sys.stderr)
        return EX_USAGE
    console = Console(record=args.svg is not None)
    live = console.is_terminal and not args.headless and not args.svg  # a live table would be recorded at each refresh
    try:
        with lock, Screen(console, live) as screen:
            play = Play(directory, screen, broken=args.broken, embedded=args.embedded, speedup=args.speedup)
            far = play.run()
    except NotReadyError as error:
        print(f"broken: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; `edge-agent demo --dir {directory}` goes on", file=sys.stderr)
        return 130
    judged = verdicts(far)
    screen.summary(headline(far), judged, str(directory))
    if args.svg:
        console.save_svg(str(args.svg), title="edge-agent demo")
    return 0 if all(verdict.ok for verdict in judged) else 1
