"""The terminal's side of a flight without a daemon: what is shown, what is asked, and what its end is worth."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Container
from datetime import datetime
from pathlib import Path

import msgspec

from edge_agent import config, control
from edge_agent.cli.check import print_json
from edge_agent.cli.fly import (
    EX_INTERRUPTED,
    EX_LEFT,
    EX_OTHERWISE,
    EX_REFUSED,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
)
from edge_agent.flight.claim import TakenError
from edge_agent.flight.gates import Check
from edge_agent.flight.phases import RUN_ENDS, Phase
from edge_agent.flight.recorder import Recorder
from edge_agent.flight.route import errand
from edge_agent.flight.solo import Ended, Solo, Wish
from edge_agent.messages import Dispatch, FlightEvent, Refusal, Telemetry
from edge_agent.runtime import SystemClock

SPARSE_S = 10.0
ATTACH_S = 30.0
CODES = {"flew": 0, "failed": EX_REFUSED, "ended": EX_OTHERWISE, "left": EX_LEFT}


async def run(
    args: argparse.Namespace, settings: config.Agent, route: config.Route | None, order: Dispatch | None
) -> int:
    """One of the commands, to its end; the exit code."""
    if order is not None:
        route = errand(order, settings.limits)
    screen = Screen(args.json)
    records = settings.data_dir / "runs"
    solo = Solo(settings, route=route, records=records, clock=SystemClock(), on_event=screen.event)
    screen.watch(solo)
    link, weather = asyncio.create_task(solo.link()), asyncio.create_task(solo.weather())
    work = asyncio.create_task(_work(args, order, solo, screen))
    await asyncio.wait([link, work], return_when=asyncio.FIRST_COMPLETED)
    weather.cancel()
    if link.done():  # it never returns by itself
        work.cancel()
        screen.say(str(link.exception()))
        if isinstance(link.exception(), TakenError):
            return EX_TEMPFAIL
        link.result()
    link.cancel()
    await asyncio.wait([link])
    code = work.result()
    screen.close(solo.recorder, code, solo.left)
    return code


async def _work(args: argparse.Namespace, order: Dispatch | None, solo: Solo, screen: Screen) -> int:
    if not await solo.attach(min(args.wait, ATTACH_S) if args.wait else ATTACH_S, screen.waiting):
        if solo.wish is not None:
            return EX_INTERRUPTED
        screen.say(solo.fault or f"no autopilot was heard: {solo.pilot.status()['link']}")
        return EX_UNAVAILABLE
    by = f"cli:{os.getuid()}"
    match args.command:
        case "preflight":
            return await _preflight(args, solo, screen)
        case "recall":
            return await _recall(solo, screen, by)
        case _:
            return await _fly(args, order, solo, screen, by)


async def _preflight(args: argparse.Namespace, solo: Solo, screen: Screen) -> int:
    blocking = await solo.ready(args.wait, screen.waiting)
    checks = solo.pilot.checks(solo.route)
    screen.table(checks)
    return EX_REFUSED if blocking else 0


async def _fly(args: argparse.Namespace, order: Dispatch | None, solo: Solo, screen: Screen, by: str) -> int:
    if solo.pilot.phase == Phase.LOCKOUT:
        if not args.clear_lockout:
            locked = [check.refusal() for check in solo.pilot.checks(solo.route) if check.gate == "lockout"]
            return screen.refused(solo, locked, by)
        solo.pilot.clear()
        await solo.attach(ATTACH_S, screen.waiting)
    if solo.pilot.run_id is None:
        blocking = await solo.ready(args.wait, screen.waiting)
        if blocking:
            if solo.wish is not None:
                return EX_INTERRUPTED
            code = screen.refused(solo, [check.refusal() for check in blocking], by)
            return EX_TEMPFAIL if any(check.gate == "alone" for check in blocking) else code
    asked: str | None = None
    if _goes_on(order, solo):
        screen.say(f"the flight {solo.pilot.run_id} goes on: it is {solo.pilot.phase}; following it")
    elif isinstance(answer := _begin(args, order, solo, by), Refusal):
        return screen.refused(solo, [answer], by)
    else:
        asked = answer
    return screen.ended(await solo.follow(by, screen.flying, asked))


def _goes_on(order: Dispatch | None, solo: Solo) -> bool:
    """Whether what is asked for is the flight that is under way: it was left flying, or its command was killed."""
    assert solo.route is not None
    return solo.pilot.order == order and solo.pilot.route_id == solo.route.id


def _begin(args: argparse.Namespace, order: Dispatch | None, solo: Solo, by: str) -> str | Refusal:
    if order is not None:
        return solo.pilot.dispatch(order, by, rehearse=args.dry_run)
    assert solo.route is not None  # `fly` has one
    return solo.pilot.fly(solo.route.id, by, from_breakpoint=args.from_breakpoint, rehearse=args.dry_run)


async def _recall(solo: Solo, screen: Screen, by: str) -> int:
    if solo.pilot.phase == Phase.FOREIGN:
        others = [check.refusal() for check in solo.pilot.checks() if check.gate == "alone" and check.blocks]
        if others:  # it can be asked; one that hangs is not heard
            screen.tell(others, solo.pilot.phase)
            return EX_TEMPFAIL
        solo.pilot.adopt(by)
        await solo.attach(ATTACH_S, screen.waiting)
    if solo.pilot.run_id is None:
        screen.say("nothing flies: the vehicle is on the ground")
        return EX_REFUSED
    solo.wish = Wish.RETURN
    ended = await solo.follow(by, screen.flying)
    landed = bool(solo.events) and solo.events[-1].phase == Phase.LANDED
    return screen.ended(ended._replace(how="flew") if landed else ended)


class Figures(msgspec.Struct, frozen=True):
    """Of a running agent's status, what is shown of a flight."""

    alt_m: float | None = None
    to_go_m: float | None = None
    speed_mps: float | None = None
    battery_pct: float | None = None
    margin_pct: float | None = None


class Screen:
    """What a person sees, or with `--json` a program; results go to stdout, the way there to stderr."""

    def __init__(self, json: bool, ends: Container[str] = RUN_ENDS) -> None:
        self._json, self._ends = json, ends
        self.live = sys.stderr.isatty()
        self._told_s = float("-inf")
        self._asking = False
        self.run: str | None = None  # what was refused
        self._last: FlightEvent | None = None  # the event that ended the run: told with what is known only then

    # --- asked --------------------------------------------------------------------------------------------------

    def watch(self, solo: Solo) -> None:
        """Signals: Ctrl-C asks where there is somebody to ask."""
        loop = asyncio.get_running_loop()

        def wish(kind: Wish) -> None:
            solo.wish = kind
            if solo.pilot.run_id is None:
                self.say("interrupted")
                return
            self.say({Wish.RETURN: "returning home", Wish.LEAVE: "leaving it to the autopilot's plan"}[kind])

        def interrupted() -> None:
            if self._asking or not (sys.stdin.isatty() and self.live) or solo.pilot.run_id is None:
                self._answered(loop)
                wish(Wish.RETURN)
                return
            self._asking = True
            print(
                "\n[c]ontinue, [r]eturn home, [l]eave it flying? (again Ctrl-C: return) ",
                end="",
                file=sys.stderr,
                flush=True,
            )
            loop.add_reader(sys.stdin, answer)

        def answer() -> None:
            line = sys.stdin.readline()
            self._answered(loop)
            match line.strip().lower()[:1]:
                case "l":
                    wish(Wish.LEAVE)
                case "r":
                    wish(Wish.RETURN)
                case "c":
                    self.say("going on")
                case _:
                    if line:
                        interrupted()
                    else:
                        wish(Wish.RETURN)

        loop.add_signal_handler(signal.SIGINT, interrupted)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, wish, Wish.LEAVE)

    def _answered(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._asking:
            loop.remove_reader(sys.stdin)
        self._asking = False

    # --- shown --------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        self._clear()
        print(text, file=sys.stderr, flush=True)

    def waiting(self, checks: list[Check]) -> None:
        """What is still missing before a flight."""
        missing = [check for check in checks if check.blocks]
        if missing:
            self._line("waiting: " + "; ".join(f"{check.gate}: {check.reason}" for check in missing[:3]))

    def flying(self, t: Telemetry | Figures | None) -> None:
        """Phase, height, distance to go, battery and margin."""
        if t is None or self._phase is None:
            return
        facts = [
            f"{self._phase:10}",
            _number("height", t.alt_m, "m"),
            _number("to go", t.to_go_m, "m"),
            _number("speed", t.speed_mps, "m/s"),
            _number("battery", t.battery_pct, "%"),
            _number("margin", t.margin_pct, "%"),
        ]
        self._line("  ".join(facts))

    def event(self, event: FlightEvent) -> None:
        """A transition; the last waits for the record to be closed."""
        self._phase = event.phase
        if event.phase in self._ends:
            self._last = event
        elif self._json:
            print_json(event)
        else:
            self._clear()
            print(_readable(event), flush=True)

    def tell(self, refusals: list[Refusal], phase: str) -> None:
        """Why not."""
        if self._json:
            print_json({"phase": "refused", "previous": phase, "refusals": refusals})
        for refusal in refusals:
            self.say(f"refused: {refusal}")

    def refused(self, solo: Solo, refusals: list[Refusal], by: str) -> int:
        """Why nothing flies; it is written down."""
        self.tell(refusals, solo.pilot.phase)
        assert solo.route is not None  # what takes off has one
        self.run = solo.pilot.refuse(solo.route.id, by, str(refusals[0]), solo.route)
        return EX_REFUSED

    def table(self, checks: list[Check]) -> None:
        self._clear()
        print_checks(checks, self._json)

    def ended(self, ended: Ended) -> int:
        self._clear()
        self._why = ended.cause
        return CODES[ended.how]

    def close(self, recorder: Recorder, code: int, left: str | None = None) -> None:
        """The last transition, and where record and plot are."""
        event = self._last
        run = event.run if event else left or self.run
        files = {
            name: str(file) if run and file.is_file() else None
            for name, file in (("record", recorder.file(run or "-")), ("plot", recorder.plot(run or "-")))
        }
        if event is not None and self._json:
            print_json({**msgspec.to_builtins(event), "exit": code, **files})
        elif event is not None:
            print(_readable(event), flush=True)
        for name, file in files.items():
            if file:
                self.say(f"{name}: {file}")

    _phase: str | None = None
    _why = ""

    def _line(self, text: str) -> None:
        """One updating line on a terminal, a line now and then elsewhere."""
        if self._asking:
            return
        now = time.monotonic()
        if self.live:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns
            print(f"\r\033[K{text[: columns - 1]}", end="", file=sys.stderr, flush=True)
        elif now - self._told_s >= SPARSE_S:
            self._told_s = now
            print(text, file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self.live and not self._asking:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def print_checks(checks: list[Check], as_json: bool) -> None:
    """All gates, one a line."""
    for check in checks:
        if as_json:
            print_json(check)
            continue
        state = "advice" if check.advice and check.state != "pass" else check.state
        facts = [check.value, f"limit {check.limit}" if check.limit else None]
        facts += [f"{check.age_s:.1f} s old" if check.age_s is not None else None, check.source]
        print(f"{state:8}{check.gate:12}{check.reason} ({', '.join(fact for fact in facts if fact)})")
        if check.state != "pass" and check.remedy:
            print(f"{'':20}-> {check.remedy}")


def preflight(data_dir: Path, route: str | None, as_json: bool) -> int:
    """Through a running agent: 0 where every gate passes, 1 where one does not; raises DriverError."""
    answer = control.ask(data_dir, control.Preflight(route=route))
    if "checks" not in answer:
        print(answer.get("reason"), file=sys.stderr)
        return EX_REFUSED
    checks = msgspec.convert(answer["checks"], list[Check])
    print_checks(checks, as_json)
    return EX_REFUSED if any(check.blocks for check in checks) else 0


def _number(name: str, value: float | None, unit: str) -> str:
    return f"{name} {'?' if value is None else f'{value:.0f}'} {unit}"


def _readable(event: FlightEvent) -> str:
    when = datetime.fromtimestamp(event.wall_s).astimezone().strftime("%H:%M:%S")
    where = [f"{event.alt_m:.0f} m" if event.alt_m is not None else None]
    where += [f"{event.battery_pct:.0f} %" if event.battery_pct is not None else None]
    return f"{when} {event.phase}: {event.cause} ({', '.join(fact for fact in where if fact)})"
