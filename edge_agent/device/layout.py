"""What an installation consists of, in the order in which it is made. Pure: a description, nothing is touched here."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

BASE = "/opt/edge-agent"
MANIFEST = f"{BASE}/manifest.json"
CURRENT, TRIAL, RELEASES = f"{BASE}/current", f"{BASE}/trial", f"{BASE}/releases"
UNITS = "/etc/systemd/system"
CONFIG = "/etc/edge-agent/agent.toml"
STATE = "/var/lib/edge-agent"
BOOT = "/boot/firmware"
ENABLED = {
    "edge-agent.service": "multi-user.target.wants",
    "edge-agent-settled.service": "edge-agent.service.wants",
    "edge-agent-retention.timer": "timers.target.wants",
    "edge-agent-drift.timer": "timers.target.wants",
    "edge-agent-renew.timer": "timers.target.wants",
    "edge-agent-time.service": "sysinit.target.wants",
}
DETECTOR = ("edge-agent-detector@.socket", "edge-agent-detector@.service")
TIMERS = tuple(unit for unit in ENABLED if unit.endswith(".timer"))
# The console on the UART and the getty behind it would talk into the autopilot. ttyAMA10 is the Pi 5's debug port.
CONSOLES = (r"console=(serial0|ttyAMA0|ttyS0)(,\d+\w*)?",)
MASKED = ("serial-getty@ttyAMA0.service", "serial-getty@ttyS0.service", "serial-getty@serial0.service")


class File(NamedTuple):
    """A file of ours, as a whole."""

    path: str
    text: str
    mode: int = 0o644


class Link(NamedTuple):
    """A symbolic link of ours."""

    path: str
    to: str


class Block(NamedTuple):
    """Lines of ours in a file of others."""

    path: str
    lines: tuple[str, ...]


class Words(NamedTuple):
    """Words that we take out of a line of others; each matches one of the patterns."""

    path: str
    drop: tuple[str, ...]


class Command(NamedTuple):
    """A command that may be run any number of times; `live` ones make sense only on a machine that runs systemd."""

    argv: tuple[str, ...]
    why: str
    live: bool = True


Step = File | Link | Block | Words


class Machine(NamedTuple):
    """What is known of the machine, or the foreign root, that is installed to."""

    os: str  # PRETTY_NAME of os-release
    known: bool  # Debian 12, or Raspberry Pi OS of bookworm or trixie
    pi: bool  # has the Pi's boot partition
    chrony: bool
    network_manager: bool


def machine(os_release: str, exists: Callable[[str], bool]) -> Machine:
    """From the text of os-release, and whether a path is there."""
    fields = {
        key: value.strip("\"'") for key, eq, value in (line.partition("=") for line in os_release.splitlines()) if eq
    }
    version = fields.get("VERSION_ID", "")
    raspberry = fields.get("ID") == "raspbian" or (fields.get("ID") == "debian" and exists("/etc/rpi-issue"))
    known = (fields.get("ID") == "debian" and version == "12") or (raspberry and version in ("12", "13"))
    return Machine(
        os=fields.get("PRETTY_NAME") or "an operating system that does not say what it is",
        known=known,
        pi=exists(f"{BOOT}/config.txt"),
        chrony=exists("/etc/chrony/conf.d"),
        network_manager=exists("/etc/NetworkManager"),
    )


def steps(found: Machine, shipped: Callable[[str], str], detectors: Sequence[str] = ()) -> list[Step]:
    """All but the release and the link to it; `shipped` reads a file that came with the agent.

    `detectors` are those that the configuration wants in processes of their own.
    """
    made: list[Step] = [
        File("/etc/sysusers.d/edge-agent.conf", shipped("systemd/sysusers.d/edge-agent.conf")),
        File("/etc/tmpfiles.d/edge-agent.conf", shipped("systemd/tmpfiles.d/edge-agent.conf")),
        File("/etc/udev/rules.d/70-edge-agent.rules", shipped("firmware_config/pi/udev.rules")),
        File("/etc/systemd/journald.conf.d/edge-agent.conf", shipped("systemd/journald.conf.d/edge-agent.conf")),
        File("/etc/systemd/system.conf.d/edge-agent.conf", shipped("systemd/system.conf.d/edge-agent.conf")),
    ]
    if found.network_manager:
        text = shipped("systemd/NetworkManager/edge-agent.conf")
        made.append(File("/etc/NetworkManager/conf.d/edge-agent.conf", text))
    if found.chrony:
        made.append(File("/etc/chrony/conf.d/edge-agent.conf", shipped("firmware_config/pi/chrony.conf")))
    if found.pi:
        lines = tuple(shipped("firmware_config/pi/config.txt").splitlines())
        made += [Block(f"{BOOT}/config.txt", lines), Words(f"{BOOT}/cmdline.txt", CONSOLES)]
        made += [Link(f"{UNITS}/{unit}", "/dev/null") for unit in MASKED]
        made.append(Link(f"{UNITS}/hciuart.service", "/dev/null"))
    made.append(File(f"{BASE}/guard", shipped("systemd/guard"), 0o755))
    units = (*ENABLED, *(unit.replace(".timer", ".service") for unit in TIMERS))
    made += [File(f"{UNITS}/{unit}", shipped(f"systemd/{unit}")) for unit in sorted(units)]
    made += [Link(f"{UNITS}/{wants}/{unit}", f"{UNITS}/{unit}") for unit, wants in ENABLED.items()]
    made += [File(f"{UNITS}/{unit}", shipped(f"systemd/{unit}")) for unit in DETECTOR]
    for name in detectors:
        link = f"{UNITS}/sockets.target.wants/{DETECTOR[0].replace('@', f'@{name}')}"
        made.append(Link(link, f"{UNITS}/{DETECTOR[0]}"))
    made.append(Link("/usr/local/bin/edge-agent", f"{CURRENT}/bin/edge-agent"))
    return made


def accounts(root: str) -> list[Command]:
    """The user and its directories."""
    at = () if root == "/" else (f"--root={root}",)
    return [
        Command(("systemd-sysusers", *at, "edge-agent.conf"), "the account edge-agent", live=False),
        Command(("systemd-tmpfiles", *at, "--create", "edge-agent.conf"), "its directories", live=False),
    ]


def wake(found: Machine) -> list[Command]:
    """What makes a running system take note."""
    made = [
        Command(("systemctl", "daemon-reload"), "systemd reads the units"),
        Command(("udevadm", "control", "--reload"), "udev reads the rules"),
        Command(("udevadm", "trigger", "--subsystem-match=tty"), "names for what is plugged in"),
        Command(("systemctl", "try-restart", "systemd-journald.service"), "the journal in memory"),
        Command(("systemctl", "start", *TIMERS), "the daily timers"),
    ]
    if found.network_manager:
        made.append(Command(("systemctl", "try-reload-or-restart", "NetworkManager.service"), "Wi-Fi without sleep"))
    if found.chrony:
        made.append(Command(("systemctl", "try-restart", "chrony.service"), "authenticated time"))
    return made


def hints(found: Machine) -> list[str]:
    """What the installation leaves to people, and how it is done."""
    told = []
    if not found.chrony:
        told.append("time: apt-get install chrony, then install again: NTS keeps anybody from shifting the clock")
    if found.network_manager:
        told.append(
            "a mobile modem: nmcli connection add type gsm con-name lte apn YOUR.APN "
            "(Ethernet goes before Wi-Fi before LTE by itself, and NetworkManager says which is metered)"
        )
    if found.pi:
        told.append(f"the UART and the watchdog of {BOOT}/config.txt act from the next boot")
    return told


def is_release(name: str) -> bool:
    """Whether a name below `releases` is one that we gave."""
    return re.fullmatch(r"[0-9][0-9A-Za-z.+-]*-[0-9a-f]{10}", name) is not None
