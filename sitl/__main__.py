"""`python -m sitl`: fly all scenarios, or one by name; list them; say what scenarios can say."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import msgspec

from sitl import runner
from sitl.language import LanguageError
from sitl.phrases import phrase
from sitl.vehicles import arducopter

NO_BINARY = """\
ARDUCOPTER is not set, so there is no real autopilot to fly. Name ArduCopter's SITL program:
    make sitl ARDUCOPTER=/path/to/arducopter
    sitl/get-arducopter build/arducopter      (fetches ArduPilot's own build)
Without it `make test` flies the scenarios that need no physics on the simulated autopilot."""


def main() -> int:
    """Exit 0 where all went as it should, 1 where a scenario failed, 2 on a wrong command line."""
    parser = argparse.ArgumentParser(prog="python -m sitl", description="Flights on a real or a simulated autopilot.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run, one = verbs.add_parser("run", help="fly scenarios"), verbs.add_parser("one", help="one, in this process")
    verbs.add_parser("list", help="name the scenarios")
    verbs.add_parser("phrases", help="what a scenario can say")
    run.add_argument("names", nargs="*", metavar="NAME", help="which (default: all); 09 means all that begin so")
    run.add_argument("--jobs", "-j", type=int, default=4, help="so many at a time")
    one.add_argument("name")
    one.add_argument("--slot", type=int, default=0)
    for verb in (run, one):
        verb.add_argument("--vehicle", choices=("arducopter", "simulated"), default="arducopter")
        verb.add_argument("--speedup", type=float, default=8.0)
        verb.add_argument("--seed", type=int, default=1)
        verb.add_argument("--out", type=Path, default=Path("build/sitl"))
    args = parser.parse_args()
    try:
        return _do(args)
    except LanguageError as error:
        print(error, file=sys.stderr)
        return 2


def _do(args: argparse.Namespace) -> int:
    every = runner.known()
    match args.verb:
        case "list":
            print("\n".join(f"{s.name:40} {s.title}" for s in every))
            return 0
        case "phrases":
            print("\n".join(phrase.patterns()))
            return 0
        case "one":
            scenario = next(s for s in every if s.name == args.name)
            result = asyncio.run(
                runner.one(
                    scenario, args.out, vehicle=args.vehicle, speedup=args.speedup, seed=args.seed, slot=args.slot
                )
            )
            (args.out / "result.json").write_bytes(msgspec.json.encode(result))
            return int(result.bad)
    if args.vehicle == "arducopter" and arducopter() is None:
        print(NO_BINARY, file=sys.stderr)
        return 2
    chosen = [s for s in every if not args.names or any(s.name.startswith(name) for name in args.names)]
    if args.vehicle == "simulated":
        chosen = [s for s in chosen if s.simulated]
    if not chosen:
        print(f"no scenario begins with {' or '.join(args.names)}; `python -m sitl list` names them", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    results = asyncio.run(
        runner.many(
            chosen, args.out, vehicle=args.vehicle, speedup=args.speedup, seed=args.seed, jobs=max(1, args.jobs)
        )
    )
    bad, known = sum(r.bad for r in results), sum(bool(r.known) for r in results)
    took_s = time.monotonic() - began_s
    print(f"{len(results)} flown in {took_s:.0f} s: {bad} failed, {known} known to fail; {args.out}/junit.xml")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
