"""The command line: one file a noun, imported only when its command is called."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from edge_agent import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "run the agent"),
    "check": ("check", "check a configuration, or dump what is in effect"),
    "doctor": ("doctor", "look the whole device over: what is wrong, why it matters, and the fix"),
    "enrol": ("enrol", "become a device of the fleet by a claim; renew the certificate; say how it stands"),
    "fleet": ("fleet", "new devices on the bench: configuration, claim, card, label"),
    "support-bundle": ("bundle", "logs, configuration and records for whoever helps, without secrets"),
    "wipe": ("wipe", "delete what identifies this device and what it recorded, with a certificate of deletion"),
    "time": ("clock", "what time it is and who says so; set the clock before anything speaks TLS"),
    "demo": ("demo", "a patrol, seen, spoken and reported, in about a minute, on this machine alone"),
    "status": ("ask", "ask a running agent how it does"),
    "fly": ("fly", "fly a route now: ask the agent, or fly it from here over a link"),
    "dispatch": ("fly", "fly to a place, hover there, say something, come home"),
    "extend": ("ask", "hover longer over the place of a dispatch"),
    "recall": ("fly", "return home"),
    "preflight": ("fly", "how every gate stands before a flight"),
    "install": ("install", "make this environment a service of this machine, or of a root: --dry-run, --root"),
    "uninstall": ("install", "take back what install made; configuration and data stay, unless --purge"),
    "retention": ("retention", "what has been kept long enough goes, also where no agent runs"),
    "params": ("params", "the autopilot's parameters from layered files: plan, diff, backup, apply"),
    "runs": ("runs", "the records of what was flown: list, show, verify, plot"),
    "pause": ("ask", "hold position on the route"),
    "resume": ("ask", "go on after a pause"),
    "land": ("ask", "land where the vehicle is"),
    "skip": ("ask", "leave out one occurrence of a schedule"),
    "route": ("route", "routes of other programs: import, check, show, export, list"),
    "schedule": ("schedule", "what flies when and why: next, explain, skip"),
    "level": ("ask", "set the patrol level: normal, raised or top"),
    "clear-lockout": ("ask", "allow flights again after somebody has looked at the vehicle"),
    "say": ("voice", "speak a text, or play a clip"),
    "talk": ("voice", "speak live, from a microphone or a recording"),
    "speakers": ("speakers", "the loudspeakers: list, test, discover"),
    "hush": ("ask", "silence: interrupt what plays, drop what waits"),
    "snapshot": ("ask", "report a camera's newest picture"),
    "clip": ("ask", "report the last seconds of a camera as a video"),
    "detect": ("detect", "run a detector over pictures"),
    "detector": ("detector", "serve one detector in a process of its own, without network"),
    "models": ("models", "the detectors: list, install, check, bench, remove"),
    "plates": ("plates", "read the licence plates of pictures"),
    "watch": ("watch", "run the whole pipeline over a video, frame by frame"),
    "simulate": ("simulate", "the simulated autopilot as a process of its own"),
    "outbox": ("outbox", "what waits for the centre: look, export, verify, and send again what was refused"),
    "camera": ("camera", "test a camera, or calibrate its lens"),
    "zones": ("zones", "draw the zones of a configuration over a frame"),
    "hotlist": ("hotlist", "the plates to look out for: import, list, expire, check"),
    "audit": ("auditing", "who looked up or changed what on this device: look, and verify the chain"),
    "evidence": ("evidence", "the originals on this device: list, show, verify, hold, release, delete, purge"),
    "contract": ("contract", "write the contract's documents: JSON Schema, AsyncAPI 3, HTML"),
    "centre": ("centre", "a small centre: stores what devices report, then acknowledges"),
}

EX_NOPERM = 77


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    Of all commands: 2: wrong command line, 77: not for this user, 78: wrong configuration, 130: interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Flies scheduled patrols, sees on the device, speaks through loudspeakers, reports over MQTT.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:14} {text}" for name, (_, text) in COMMANDS.items()),
        usage="edge-agent COMMAND [-h] ...",
    )
    parser.add_argument("--version", action="version", version=f"edge-agent {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    args = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: no name of a file ends a command
    name = parser.parse_args(args[:1]).command
    module_name, text = COMMANDS[name]
    module = importlib.import_module(f"edge_agent.cli.{module_name}")
    command = argparse.ArgumentParser(prog=f"edge-agent {name}", description=f"{text[0].upper()}{text[1:]}.")
    command.set_defaults(command=name)
    module.configure(command)
    try:
        code: int = module.main(command.parse_args(args[1:]))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our pipe went away: that is its business, not a fault
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:  # Ctrl-C is no fault either; the shell's prompt gets a line of its own
        print(file=sys.stderr)
        return 130
    except PermissionError as error:  # what a device keeps is its service's alone, or root's
        if error.filename is None:
            raise
        print(f"{error.filename}: permission denied; as its owner or root: sudo edge-agent {name} …", file=sys.stderr)
        return EX_NOPERM
    return code
