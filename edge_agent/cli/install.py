"""`edge-agent install` and `uninstall`: this environment becomes a service of this machine, or of a foreign root."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edge_agent import control
from edge_agent.cli.check import print_json
from edge_agent.device import installing, layout, release
from edge_agent.device.ground import Ground
from edge_agent.device.layout import Command
from edge_agent.runtime import DriverError

EX_FAILED = 1
EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
EX_NOPERM = 77
PROVEN_S = 600.0  # three starts of 120 s, and a minute of running

EPILOG = """\
Run it from the virtual environment that is to be installed; nothing is downloaded:

  python3 -m venv ea && ea/bin/pip install edge_agent-*.whl && sudo ea/bin/edge-agent install

A new release has to run for a minute; if it fails three starts, the one before it is put back by itself.
`uninstall` leaves configuration, secrets and data alone, unless --purge asks for them too.

exit codes:
   0  done, or nothing was to do
   1  not a system that this knows (what it would do is told), or the new release was rolled back
   2  wrong command line
  69  it cannot be done here: read-only, full, no fitting Python
  75  somebody else installs at this moment, or the vehicle is armed
  77  only root may
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of either command."""
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="the root of another system")
    parser.add_argument("--dry-run", action="store_true", help="show every file and command, and change nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    if parser.get_default("command") == "install":
        parser.add_argument("--no-start", action="store_true", help="do not start or restart the agent")
    else:
        parser.add_argument("--purge", action="store_true", help="also configuration, secrets, events and originals")
        parser.add_argument("--yes", action="store_true", help="do not ask before --purge")


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    ground = Ground(args.root.resolve())
    try:
        if not args.dry_run and os.geteuid() != 0:
            print(f"only root may: sudo {' '.join(sys.argv)}; --dry-run shows what it would do", file=sys.stderr)
            return EX_NOPERM
        with installing.lock(ground):
            return _install(args, ground) if args.command == "install" else _uninstall(args, ground)
    except installing.BusyError as error:
        print(error, file=sys.stderr)
        return EX_TEMPFAIL
    except DriverError as error:
        print(error, file=sys.stderr)
        return EX_UNAVAILABLE
    except OSError as error:
        print(
            f"{error.filename or ground.root}: {error.strerror}; it was cut off here. When that is mended, "
            "`edge-agent install` finishes it and `edge-agent uninstall` undoes it",
            file=sys.stderr,
        )
        return EX_UNAVAILABLE


# --- install ----------------------------------------------------------------------------------------------------------


def _install(args: argparse.Namespace, ground: Ground) -> int:
    machine = installing.machine(ground)
    if args.dry_run or not machine.known:
        return _show(args, ground, machine)
    wanted = release.collect()
    python = release.find_python(ground.root)
    installing.refuse_if_unfit(ground, wanted)
    live = _is_live(ground)
    if live and ground.target(layout.CURRENT) != f"releases/{wanted.name}":
        _refuse_if_armed()
    changed, replaced = installing.install(ground, wanted, python, accept=_accept(ground), say=_say, run=installing.run)
    for path in changed:
        _say(f"made {path}")
    state = "installed"
    if live and changed:
        for command in layout.wake(machine):
            _try(command)
        for name in installing.detectors(ground):
            _try(Command(("systemctl", "start", layout.DETECTOR[0].replace("@", f"@{name}")), "a detector's socket"))
        if not args.no_start and ground.exists(layout.CONFIG):
            state = _start(ground, wanted.name, replaced)
    lines = [f"{state}: release {wanted.name} on {machine.os}"] if changed else ["nothing was to do"]
    if not ground.exists(layout.CONFIG):
        lines.append(f"next: edge-agent enrol --claim CODE, or write {layout.CONFIG} and: systemctl start edge-agent")
    lines += layout.hints(machine) if changed else []
    _tell(args, {"state": state, "release": wanted.name, "replaced": replaced, "changed": changed}, lines)
    return EX_FAILED if state == "rolled back" else 0


def _show(args: argparse.Namespace, ground: Ground, machine: layout.Machine) -> int:
    """Every file and command; on a system that is not known this is all that happens."""
    steps = [(step, ground.look(step)) for step in installing.steps(ground)]
    wanted = release.collect()
    place = f"{layout.RELEASES}/{wanted.name}"
    lines = [f"{machine.os}, root {ground.root}"]
    for step, found in steps:
        match step:
            case layout.File():
                lines.append(f"{found:6}  {step.path}  {len(step.text.encode())} bytes, mode {step.mode:04o}")
            case layout.Link():
                lines.append(f"{found:6}  {step.path} -> {step.to}")
            case layout.Block():
                lines.append(f"{found:6}  {step.path}  a marked block of {len(step.lines)} lines, with a backup")
                lines += [f"          {line}" for line in step.lines if line and not line.startswith("#")]
            case layout.Words():
                lines.append(f"{found:6}  {step.path}  without {' and '.join(step.drop)}, with a backup")
    there = "same" if ground.exists(place) else "create"
    lines.append(f"{there:6}  {place}  {len(wanted.items)} files, {wanted.size >> 20} MiB:")
    lines += [f"          {name}" for name in wanted.distributions]
    link = "same" if ground.target(layout.CURRENT) == f"releases/{wanted.name}" else "create"
    lines.append(f"{link:6}  {layout.CURRENT} -> releases/{wanted.name}")
    book = "change" if ground.exists(layout.MANIFEST) else "create"
    lines.append(f"{book:6}  {layout.MANIFEST}  what was made and what was there before, for uninstall")
    commands = layout.accounts(str(ground.root))
    if _is_live(ground):
        restart = Command(("systemctl", "restart", "edge-agent.service"), "the agent, if it has its configuration")
        commands += [*layout.wake(machine), restart]
    lines += [f"run     {' '.join(command.argv)}  # {command.why}" for command in commands]
    known = "" if machine.known else f"{machine.os}: known are Debian 12 and Raspberry Pi OS (bookworm, trixie); "
    lines.append(f"{known}nothing was changed: this is what install would do" + ("" if machine.known else " by hand"))
    files = [{"path": step.path, "state": found} for step, found in steps] + [
        {"path": place, "state": there},
        {"path": layout.CURRENT, "state": link},
        {"path": layout.MANIFEST, "state": book},
    ]
    found_all = {
        "state": "planned" if machine.known else "unknown system",
        "os": machine.os,
        "release": wanted.name,
        "files": files,
        "commands": [list(command.argv) for command in commands],
        "release_files": [item.place for item in wanted.items],
    }
    _tell(args, found_all, lines)
    return 0 if machine.known else EX_FAILED


def _accept(ground: Ground) -> Any:
    """Asks the new release, before anything leads to it, whether it runs and takes the configuration that is there."""

    def accept(place: Path) -> None:
        if ground.root != Path("/"):
            return  # nothing of a foreign root can be run
        program = str(place / "bin" / "edge-agent")
        lines = [[program, "--version"]]
        if ground.exists(layout.CONFIG):
            lines.append([program, "check", "-c", layout.CONFIG])
        for line in lines:
            done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                why = (done.stderr or done.stdout).strip()
                raise DriverError(f"{' '.join(line)}: {why}\nthe release that runs stays; mend that and install again")

    return accept


def _refuse_if_armed() -> None:
    try:
        flight = control.ask(Path(layout.STATE), control.Status()).get("flight")
    except (DriverError, OSError):
        return  # no agent runs: there is nothing to interrupt
    if flight and flight.get("armed"):
        raise installing.BusyError("the vehicle is armed: nothing was changed; install when it has landed")


def _start(ground: Ground, name: str, replaced: str | None) -> str:
    """Start the agent, and wait until a new release has settled or was rolled back."""
    installing.run(("systemctl", "restart", "--no-block", "edge-agent.service"))
    if replaced is None:
        return "installed and started"
    _say(f"release {name} has to run for a minute; if it fails three starts, {replaced} comes back (after Ctrl-C too)")
    end = time.monotonic() + PROVEN_S
    while ground.exists(layout.TRIAL) and time.monotonic() < end:
        time.sleep(0.5)
    if ground.target(layout.CURRENT) != f"releases/{name}":
        _say(f"release {name} failed and {replaced} is back; why: journalctl -u edge-agent")
        return "rolled back"
    return "installed, not yet settled" if ground.exists(layout.TRIAL) else "installed and settled"


# --- uninstall --------------------------------------------------------------------------------------------------------


def _uninstall(args: argparse.Namespace, ground: Ground) -> int:
    data = installing.data_places(ground)
    old = ground.manifest()
    if args.dry_run:
        records = old.records if old else {}
        lines = [f"{'restore' if one.was else 'remove':8}{path}" for path, one in records.items()]
        lines += [f"remove  {layout.RELEASES}/{name}" for name in installing.releases(ground)]
        lines += [f"{'remove' if args.purge else 'keep':8}{path}" for path in data]
        _tell(args, {"state": "planned", "lines": lines}, [*lines, "nothing was changed"])
        return 0
    installing.refuse_if_unfit(ground, None)
    if args.purge and data and not args.yes and not _confirmed(data):
        print("nothing was changed", file=sys.stderr)
        return EX_FAILED
    live = _is_live(ground)
    if live:
        _refuse_if_armed()
        for words in (("stop", *layout.TIMERS), ("stop", "edge-agent.service"), ("stop", "edge-agent-detector@*")):
            _try(Command(("systemctl", *words), ""))
    stays = installing.uninstall(ground, _say)
    kept = installing.forget(ground, args.purge)
    stays += [f"{path} stays: configuration and data; --purge removes them" for path in kept]
    if not kept and installing.has_account(ground):
        installing.run(installing.plan_of_account(str(ground.root)).argv)
    if live:
        for words in (("systemctl", "daemon-reload"), ("udevadm", "control", "--reload")):
            _try(Command(words, ""))
    _tell(args, {"state": "removed", "stays": stays}, [*stays, "removed" if old else "nothing was installed here"])
    return 0


def _confirmed(data: list[str]) -> bool:
    if not sys.stdin.isatty():
        print(f"--purge removes {', '.join(data)} for good: say --yes", file=sys.stderr)
        return False
    return input(f"remove {', '.join(data)} for good, also what the centre has not confirmed? [yes/no] ") == "yes"


# --- both -------------------------------------------------------------------------------------------------------------


def _is_live(ground: Ground) -> bool:
    """Whether this is the machine that runs, under systemd."""
    return ground.root == Path("/") and Path("/run/systemd/system").is_dir()


def _try(command: Command) -> None:
    """What fails here is no reason to stop: it acts from the next boot at the latest."""
    try:
        installing.run(command.argv)
    except DriverError as error:
        _say(f"not done: {error}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell(args: argparse.Namespace, found: dict[str, Any], lines: list[str]) -> None:
    if args.json:
        print_json(found)
    else:
        print("\n".join(lines))
