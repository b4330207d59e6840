"""What can be read of a computer without touching anything: files of the kernel, of systemd, of the agent."""

from __future__ import annotations

import os
import platform
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_agent import __version__, config
from edge_agent.audit import Audit
from edge_agent.device import board, clocks, moment
from edge_agent.device.doctor.facts import Board, Software
from edge_agent.runtime import DriverError

UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
UNIT = "edge-agent.service"
CONFIG_TXT = ("boot/firmware/config.txt", "boot/config.txt")
THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
ASK_S = 20.0
SECRET_KEYS = ("password", "credentials", "microphone_credentials", "token", "key", "key_file")
KNOWN_PASSWORDS = {
    *("admin", "password", "12345", "123456", "1234", "888888", "666666", "root", "pass", "raspberry", "default"),
    *("admin123", "12345678", "guest", "user", "system", "ubnt", "hikvision", "dahua", "axis", ""),
}
SSH_PORT = 22
LISTEN = "0A"  # state of a socket in /proc/net/tcp


def gather_board(root: Path, data_dir: Path | None) -> Board:
    """The computer below `root`; what is not there stays unknown."""
    system = _shell_file(root / "etc/os-release")
    mounts = next((line.split() for line in _lines(root / "proc/self/mounts") if line.split()[1:2] == ["/"]), [])
    memory = {line.split(":")[0]: line.split()[1] for line in _lines(root / "proc/meminfo") if len(line.split()) > 1}
    judged = moment.judge(time.time(), clocks.sources(data_dir, root))
    watchdog, rtc = root / "sys/class/watchdog/watchdog0", root / "sys/class/rtc"
    life = re.findall(r"0x([0-9a-fA-F]+)", board.read(root / "sys/block/mmcblk0/device/life_time"))
    return Board(
        model=board.model(root),
        serial=board.serial(root),
        machine=platform.machine(),
        system=system.get("ID", ""),
        release=system.get("VERSION_CODENAME", ""),
        python=sys.version_info[:2],
        throttled=_throttled(root),
        temperature_c=_number(root / "sys/class/thermal/thermal_zone0/temp", 0.001),
        memory_total_mib=_kib(memory.get("MemTotal")),
        memory_free_mib=_kib(memory.get("MemAvailable")),
        card_life=(int(life[0], 16), int(life[1], 16)) if len(life) == 2 else None,
        on_card=mounts[0].startswith("/dev/mmcblk") if mounts else None,
        root_options=tuple(mounts[3].split(",")) if len(mounts) > 3 else None,
        disk_errors=_disk_errors(root),
        watchdog_state=board.read(watchdog / "state") or None,
        watchdog_timeout_s=_integer(watchdog / "timeout"),
        boot_config=next((text for name in CONFIG_TXT if (text := board.read(root / name))), None),
        kernel_line=board.read(root / "proc/cmdline") or None,
        getty_on=_gettys(root),
        udev_rules=_has_udev(root),
        modem_manager=any((root / folder / "ModemManager.service").exists() for folder in UNITS[1:]),
        has_rtc=any(rtc.glob("rtc*")) if rtc.is_dir() else None,
        rtc_s=_number(rtc / "rtc0" / "since_epoch", 1.0),
        clock_source=judged.source,
        clock_step_s=judged.step_s,
        now_s=time.time(),
        machine_id=board.read(root / "etc/machine-id") if (root / "etc/machine-id").exists() else None,
    )


def gather_software(
    root: Path, file: Path | None, settings: config.Agent | None, faults: tuple[str, ...] | None
) -> Software:
    """The agent's own things; `faults` of its configuration, None where there is none."""
    found = Software(config_file=None if file is None else str(file), config_faults=faults, version=__version__)
    _service(found, root)
    found.open_ports = _open_ports(root)
    found.ssh_passwords = _ssh_passwords(root)
    files = [root / "etc/systemd/journald.conf", *(root / "etc/systemd/journald.conf.d").glob("*.conf")]
    journal = [line for file in files for line in _lines(file)]
    found.journal_volatile = "Storage=volatile" in journal if journal else None
    if settings is not None:
        _configured(found, settings)
        _data_dir(found, settings)
    return found


def _configured(found: Software, settings: config.Agent) -> None:
    sections: list[tuple[str, object]] = [("vehicle", settings.vehicle)]
    for named in (settings.cameras, settings.detectors, settings.speakers):
        sections += [(one.name, one) for one in named]
    found.simulated = tuple(name for name, one in sections if one is not None and "Simulated" in type(one).__name__)
    found.secrets_open, found.default_logins = _secrets(settings)
    section = settings.evidence
    kinds = (section.keep_days, section.keep_clips_days, section.keep_manifests_days, section.keep_originals_days)
    days = [one for one in kinds if one is not None]
    found.keep_days, found.keep_days_longest, found.hold = min(days), max(days), section.hold
    found.keep_days_least, found.keep_days_most = settings.site.keep_days_min, settings.site.keep_days_max
    today = datetime.now(UTC).date().isoformat()
    found.operators = len(settings.operators)
    found.operators_expired = tuple(one.id for one in settings.operators if one.not_after < today)


def _secrets(settings: config.Agent) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files of secrets that others may read, and whose password is a maker's default."""
    opened: list[str] = []
    known: list[str] = []
    for name, section in _sections(settings):
        for key in SECRET_KEYS:
            secret = getattr(section, key, None)
            if not isinstance(secret, str | Path):
                continue
            path = config.secret_path(str(secret))
            try:
                mode, text = path.stat().st_mode, path.read_text(encoding="utf-8", errors="replace").strip("\r\n")
            except OSError:
                continue
            if mode & (stat.S_IRWXG | stat.S_IRWXO) and not str(secret).startswith("credential:"):
                opened.append(str(path))
            if key.endswith(("password", "credentials")) and text.rpartition(":")[2].lower() in KNOWN_PASSWORDS:
                known.append(name)
    return tuple(opened), tuple(known)


def _sections(settings: config.Agent) -> Iterator[tuple[str, object]]:
    yield from ((f"camera {one.name}", one) for one in settings.cameras)
    yield from ((f"speaker {one.name}", one) for one in settings.speakers)
    yield from (("mqtt", settings.mqtt), ("evidence", settings.evidence))
    yield "vehicle.signing", getattr(settings.vehicle, "signing", None)


def _data_dir(found: Software, settings: config.Agent) -> None:
    folder = settings.data_dir
    found.data_dir, found.ballast_mib = str(folder), settings.outbox.ballast_mib
    if not folder.is_dir():
        return
    found.data_dir_mode = stat.S_IMODE(folder.stat().st_mode)
    found.data_dir_writable = os.access(folder, os.W_OK)
    disk = os.statvfs(folder)
    found.free_mib = disk.f_bavail * disk.f_frsize >> 20
    found.free_inodes_pct = 100 * disk.f_favail / disk.f_files if disk.f_files else None
    found.leftovers = tuple(str(path) for path in leftovers(folder))
    if (folder / "events.db").exists():
        found.ballast_there = (folder / "ballast").exists()
    if (folder / "audit.jsonl").exists():
        try:
            found.audit_faults = Audit(folder).verify().faults
        except DriverError as error:
            found.audit_faults = (str(error),)


def leftovers(folder: Path) -> list[Path]:
    """Halves of writes that a power cut left, older than an hour: nobody is writing them now."""
    hour_ago = time.time() - 3600
    return [path for path in sorted(folder.rglob(".*.part")) if path.is_file() and path.stat().st_mtime < hour_ago]


def ask_agent(found: Software, told: dict[str, Any] | None) -> None:
    """What the running agent says of itself (`edge-agent status`); None where none answers."""
    found.running = told is not None
    if told is None:
        return
    found.running_version = str(told.get("version"))
    found.parts_failed = {name: how for name, how in told.get("parts", {}).items() if how.startswith("failed")}
    found.loop_lag_ms = told.get("loop_lag_p99_ms")
    outbox = told.get("outbox") or {}
    found.outbox_depth, found.outbox_oldest_s = outbox.get("depth"), outbox.get("oldest_s")
    found.outbox_quarantined = outbox.get("quarantined")


def _service(found: Software, root: Path) -> None:
    if not (root / "etc/systemd").is_dir():
        return
    file = next((root / folder / UNIT for folder in UNITS if (root / folder / UNIT).exists()), None)
    found.unit_there = file is not None
    if file is None:
        return
    found.unit_watchdog = any(line.startswith("WatchdogSec=") for line in _lines(file))
    found.unit_enabled = (root / "etc/systemd/system/multi-user.target.wants" / UNIT).is_symlink()
    found.unit_score = _score(file)
    restarts = _ask("systemctl", "show", UNIT, "--property=NRestarts", "--value") if root == Path("/") else ""
    found.unit_restarts = int(restarts) if restarts.strip().isdigit() else None


def _score(file: Path) -> float | None:
    """What systemd-analyze gives the unit as a whole: the last line of its answer."""
    told = _ask("systemd-analyze", "security", "--no-pager", "--offline=true", "--json=off", str(file))
    score = re.search(r"exposure level for \S+: (\d+\.\d+)", told)
    return float(score[1]) if score else None


def _open_ports(root: Path) -> tuple[str, ...] | None:
    """TCP ports that listen beyond this machine, ssh left out; proc_net_tcp(5): addresses are in host byte order."""
    found: set[int] = set()
    seen = False
    for name in ("tcp", "tcp6"):
        for line in _lines(root / "proc/net" / name)[1:]:
            seen = True
            fields = line.split()
            address, _, port = fields[1].partition(":")
            own = address.endswith("7F") or address == "0" * 24 + "01000000"
            if fields[3] == LISTEN and not own and int(port, 16) != SSH_PORT:
                found.add(int(port, 16))
    return tuple(f"tcp/{port}" for port in sorted(found)) if seen else None


def _ssh_passwords(root: Path) -> bool | None:
    """The first word counts (sshd_config(5)), files of sshd_config.d before the main one; without a word: yes."""
    main = root / "etc/ssh/sshd_config"
    if not main.exists():
        return None
    for file in [*sorted((root / "etc/ssh/sshd_config.d").glob("*.conf")), main]:
        for line in _lines(file):
            words = line.lower().split()
            if words[:1] == ["passwordauthentication"] and len(words) > 1:
                return words[1] == "yes"
    return True


def _throttled(root: Path) -> int | None:
    text = board.read(root / THROTTLED)
    if not text and root == Path("/"):
        text = _ask("vcgencmd", "get_throttled").strip().partition("=")[2]
    try:
        return int(text, 16)
    except ValueError:
        return None


def _disk_errors(root: Path) -> int | None:
    counts = [_integer(path) for path in (root / "sys/fs/ext4").glob("*/errors_count")]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _gettys(root: Path) -> tuple[str, ...]:
    wants = (root / "etc/systemd/system/getty.target.wants").glob("serial-getty@*.service")
    ports = (path.name.removeprefix("serial-getty@").removesuffix(".service") for path in wants)
    return tuple(sorted(port for port in ports if port.startswith(("ttyAMA", "ttyS", "serial"))))


def _has_udev(root: Path) -> bool | None:
    folders = [root / "etc/udev/rules.d", root / "usr/lib/udev/rules.d"]
    if not any(folder.is_dir() for folder in folders):
        return None
    return any("edge-agent" in path.name for folder in folders if folder.is_dir() for path in folder.iterdir())


def _shell_file(file: Path) -> dict[str, str]:
    """os-release(5): NAME=value, quoted or not."""
    pairs = (line.partition("=") for line in _lines(file))
    return {name: value.strip("\"'") for name, equals, value in pairs if equals}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _number(file: Path, factor: float) -> float | None:
    text = board.read(file)
    return float(text) * factor if text.lstrip("-").isdigit() else None


def _integer(file: Path) -> int | None:
    text = board.read(file)
    return int(text) if text.isdigit() else None


def _kib(text: str | None) -> int | None:
    return int(text) >> 10 if text and text.isdigit() else None


def _ask(*command: str) -> str:
    """What a program prints; nothing where it is not there or does not end."""
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=ASK_S).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
