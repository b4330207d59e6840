"""`edge-agent schedule`: what flies when, why it is so, and how one flight is left out."""

from __future__ import annotations

import argparse
import heapq
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.flight.schedule import Ledger, LedgerState
    from edge_agent.flight.timetable import Entry

EX_UNAVAILABLE = 69
YEARS = (1970, 9000)
PLACES = (Path("agent.toml"), Path("/etc/edge-agent/agent.toml"))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's verbs and arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    following = verbs.add_parser("next", help="the next flights of all schedules, or of one")
    following.add_argument("schedule", nargs="?", help="the id of a [[schedule]] (default: all)")
    following.add_argument("-n", type=int, default=20, metavar="N", help="how many (default: 20)")
    following.add_argument("--all", action="store_true", help="also those that do not fly, with the reason")
    explain = verbs.add_parser("explain", help="why the next times of a schedule are what they are")
    explain.add_argument("schedule", help="the id of a [[schedule]]")
    explain.add_argument("-n", type=int, default=10, metavar="N", help="how many (default: 10)")
    skip = verbs.add_parser("skip", help="leave out one flight; a running agent does it, else its state is changed")
    skip.add_argument("schedule", help="the id of a [[schedule]]")
    skip.add_argument(
        "when", nargs="?", help="its planned time, local or as RFC 3339; `next` (the default) for the next"
    )
    for verb in (following, explain):
        verb.add_argument("--from", dest="start", metavar="TIME", help="look from this time on (default: now)")
    for verb in (following, explain, skip):
        verb.add_argument("-c", "--config", type=Path, metavar="FILE", help="the agent's configuration")
        verb.add_argument("--json", action="store_true", help="print JSON, one object a line")


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 where there is no such schedule or flight; 69 where no agent answers; 78 on a bad config."""
    try:
        file = args.config or next((place for place in PLACES if place.is_file()), None)
        if file is None:
            raise DriverError(f"which agent? give -c FILE (there is no {' and no '.join(map(str, PLACES))})")
        settings = config.load(file)
        if fault := _fault(args, settings):
            print(fault, file=sys.stderr)
            return 1
        if args.verb == "skip":
            return _skip(args, settings)
        return _next(args, settings) if args.verb == "next" else _explain(args, settings)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE


def _fault(args: argparse.Namespace, settings: config.Agent) -> str | None:
    known = [schedule.id for schedule in settings.schedules]
    if args.schedule is not None and args.schedule not in known:
        return f"no schedule is called `{args.schedule}` (there is: {', '.join(known) or 'none'})"
    if args.verb != "skip" and not 1 <= args.n <= 10_000:
        return f"-n: {args.n} is not within 1 to 10000"
    text = args.when if args.verb == "skip" else args.start
    try:
        _when(text, ZoneInfo(settings.site.time_zone))
    except (ValueError, OverflowError) as error:
        return f"{text!r} is no time ({error}); as 2026-11-22T21:30 or 2026-11-22T21:30:00+08:00"
    return None


def _when(text: str | None, zone: ZoneInfo) -> float | None:
    """A time as Unix time, local where it names no offset; None for `next` and for nothing."""
    if text in (None, "next"):
        return None
    from edge_agent.calendar import localise

    assert text is not None
    when = datetime.fromisoformat(text)
    if not YEARS[0] <= when.year <= YEARS[1]:
        raise ValueError(f"the years {YEARS[0]} to {YEARS[1]} are known")
    return (localise(when, zone) if when.tzinfo is None else when).timestamp()


def _ledger(settings: config.Agent, state: LedgerState | None = None) -> Ledger:
    """As the agent sees it: what it has flown, what was left out, and the level that was set."""
    from edge_agent.desired import Wishes
    from edge_agent.flight.schedule import Ledger
    from edge_agent.flight.store import Store
    from edge_agent.flight.timetable import Timetable

    effective = Wishes(settings.data_dir / "desired.json", settings).effective
    timetable = Timetable(effective.site, effective.blackouts, effective.levels)
    return Ledger(effective.schedules, timetable, state or Store(settings.data_dir / "flight").load().ledger)


def _next(args: argparse.Namespace, settings: config.Agent) -> int:
    ledger, zone = _ledger(settings), ZoneInfo(settings.site.time_zone)
    after_s = _when(args.start, zone) or time.time()
    among = [one for one in ledger.schedules if args.schedule in (None, one.id)]
    ahead: Iterator[Entry] = heapq.merge(
        *(ledger.entries(schedule, after_s) for schedule in among), key=lambda entry: entry.planned_s
    )
    rows = [_row(entry, ledger, zone) for entry in islice((e for e in ahead if args.all or not e.dropped), args.n)]
    for row in rows:
        print_json(row) if args.json else print(_line(row))
    if not rows and not args.json:
        level = ledger.level_at(after_s)
        why = f" at patrol level {level}; `--all` says why" if among else ": no schedule is enabled"
        print(f"nothing is planned{why}")
    return 0


def _explain(args: argparse.Namespace, settings: config.Agent) -> int:
    ledger, zone = _ledger(settings), ZoneInfo(settings.site.time_zone)
    now_s = _when(args.start, zone) or time.time()
    schedule = next(one for one in settings.schedules if one.id == args.schedule)
    switch = ledger.switched(now_s)
    level = {"level": ledger.level_at(now_s), "by": switch.by if switch else "calendar"}
    if switch and switch.until_s is not None:
        level["until"] = _local(switch.until_s, zone)
    rows = [_row(entry, ledger, zone) for entry in islice(ledger.entries(schedule, now_s), args.n)]
    if args.json:
        print_json({"schedule": schedule, "enabled": schedule in ledger.schedules, "level": level, "next": rows})
        return 0
    print(f"{schedule.id}: flies {schedule.route}" + ("" if schedule in ledger.schedules else "; it is switched off"))
    for name, value in _rule(schedule, settings):
        print(f"  {name + ':':13}{value}")
    print(f"  {'level now:':13}{', '.join(f'{name} {value}' for name, value in level.items())}")
    for row in rows:
        print(_line(row))
    return 0


def _rule(schedule: config.Schedule, settings: config.Agent) -> Iterator[tuple[str, str]]:
    if schedule.cron:
        from cronsim import CronSim

        yield "cron", f"{schedule.cron} ({CronSim(schedule.cron, datetime.now(UTC)).explain()})"
    if schedule.sun:
        clamps = [
            f"{what} {at}"
            for what, at in (("not before", schedule.not_before), ("not after", schedule.not_after))
            if at
        ]
        yield "sun", ", ".join([f"{schedule.sun} {schedule.offset_min:+g} min", *clamps])
    if schedule.rrule:
        yield "rrule", f"{schedule.rrule} from {schedule.dtstart}"
    yield "time zone", schedule.time_zone or settings.site.time_zone
    for name, spans in (("windows", schedule.windows), ("blackouts", _blackouts(schedule, settings))):
        if spans:
            yield name, ", ".join(f"{one.start} to {one.end} {' '.join(one.days)}".strip() for one in spans)
    if schedule.jitter_s:
        yield "jitter", f"up to {schedule.jitter_s:g} s earlier or later"
    yield "levels", ", ".join(schedule.levels)
    late = {"skip": "not flown", "grace": f"flown within {schedule.grace_s:g} s", "catch_up": "the last flown once"}
    yield "if missed", late[schedule.missed]


def _blackouts(schedule: config.Schedule, settings: config.Agent) -> list[config.Blackout]:
    return [one for one in settings.blackouts if not one.schedules or schedule.id in one.schedules]


def _row(entry: Entry, ledger: Ledger, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "schedule": entry.schedule.id,
        "route": entry.schedule.route,
        "planned": _local(entry.planned_s, zone),
        "utc": datetime.fromtimestamp(entry.planned_s, UTC).isoformat(),
        "wall_s": entry.planned_s,
        "named": _local(entry.named_s, zone),
        "level": ledger.level_at(entry.planned_s),
        "flies": entry.dropped is None,
        "reason": entry.dropped,
        "notes": list(entry.notes),
    }


def _line(row: dict[str, Any]) -> str:
    why = [f"not flown: {row['reason']}"] if row["reason"] else []
    return f"{row['planned']}  {row['schedule']:16} {row['route']:16} {'; '.join([*why, *row['notes']])}".rstrip()


def _local(at_s: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at_s, zone).isoformat(timespec="seconds")


def _skip(args: argparse.Namespace, settings: config.Agent) -> int:
    from edge_agent import control, messages

    when_s = _when(args.when, ZoneInfo(settings.site.time_zone))
    when = None if when_s is None else datetime.fromtimestamp(when_s, UTC).isoformat()
    try:
        answer = control.ask(settings.data_dir, messages.Skip(schedule=args.schedule, when=when))
    except DriverError:
        answer = _skip_alone(args.schedule, when_s, settings)
    if args.json:
        print_json(answer)
    else:
        print(answer["state"] + (f": {answer['reason']}" if answer.get("reason") else ""))
    return 0 if answer["state"] == "done" else 1


def _skip_alone(schedule: str, when_s: float | None, settings: config.Agent) -> dict[str, Any]:
    """No agent runs: change its state with our own hands, under its lock."""
    from edge_agent.agent import take
    from edge_agent.files import left_to_owner_of
    from edge_agent.flight.store import Store

    lock = take(settings.data_dir)
    try:
        store = Store(settings.data_dir / "flight")
        state = store.load()
        ledger = _ledger(settings, state.ledger)
        planned = ledger.find(schedule, when_s, time.time())
        if planned is None:
            what = "no flight of this schedule is planned" + ("" if when_s is None else " at this time, or still ahead")
            return {"state": "rejected", "reason": f"{what}; see `edge-agent schedule next {schedule}`"}
        ledger.skip(planned)
        with left_to_owner_of(settings.data_dir):
            store.save(state)
    finally:
        os.close(lock)
    return {"state": "done", "reason": _local(planned.planned_s, ZoneInfo(settings.site.time_zone)) + " does not fly"}
