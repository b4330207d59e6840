"""What the doctor knows of a device; None (or an absent name) is what could not be found out. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct, field

State = Literal["ok", "warning", "failure", "unknown"]


class Verdict(NamedTuple):
    """What was found, and what mends it: the exact command or edit; `mend` names what `--fix` would do."""

    state: State
    what: str
    fix: str = ""
    mend: str = ""


def ok(what: str) -> Verdict:
    """As it should be."""
    return Verdict("ok", what)


def unknown(what: str, fix: str = "") -> Verdict:
    """Nobody can tell here."""
    return Verdict("unknown", what, fix)


def warn(what: str, fix: str, mend: str = "") -> Verdict:
    """It works, and will not for ever, or not as it should."""
    return Verdict("warning", what, fix, mend)


def fail(what: str, fix: str, mend: str = "") -> Verdict:
    """It does not work, or must not be left like this."""
    return Verdict("failure", what, fix, mend)


class Board(Struct, kw_only=True):
    """The computer, its storage and its kernel."""

    model: str = ""
    serial: str = ""
    machine: str = ""  # uname -m
    system: str = ""  # ID of os-release
    release: str = ""  # VERSION_CODENAME of os-release
    python: tuple[int, int] = (0, 0)
    throttled: int | None = None  # bits of vcgencmd get_throttled
    temperature_c: float | None = None
    memory_total_mib: int | None = None
    memory_free_mib: int | None = None
    card_life: tuple[int, int] | None = None  # life_time of an eMMC or SD: A and B, tenths used plus one
    on_card: bool | None = None  # the root file system is on an SD card
    root_options: tuple[str, ...] | None = None
    disk_errors: int | None = None  # of ext4
    watchdog_state: str | None = None
    watchdog_timeout_s: int | None = None
    boot_config: str | None = None  # config.txt
    kernel_line: str | None = None  # /proc/cmdline
    getty_on: tuple[str, ...] = ()  # serial ports with a login on them
    udev_rules: bool | None = None
    modem_manager: bool | None = None
    has_rtc: bool | None = None
    rtc_s: float | None = None
    unsynced: bool | None = None
    clock_source: str = ""
    clock_step_s: float = 0.0
    now_s: float = 0.0
    machine_id: str | None = None
    entropy_seeded: bool | None = None


class Software(Struct, kw_only=True):
    """The agent's configuration, files, unit, and what else runs here."""

    config_file: str | None = None
    config_faults: tuple[str, ...] | None = None
    simulated: tuple[str, ...] | None = None
    data_dir: str = ""
    data_dir_mode: int | None = None
    data_dir_writable: bool | None = None
    free_mib: int | None = None
    free_inodes_pct: float | None = None
    ballast_mib: int | None = None
    ballast_there: bool | None = None
    leftovers: tuple[str, ...] | None = None  # *.part of writes that were cut off
    secrets_open: tuple[str, ...] | None = None  # secret files that others may read, with their modes
    default_logins: tuple[str, ...] | None = None  # what has a password that everybody knows
    keep_days: float | None = None  # of what goes first
    keep_days_longest: float | None = None  # of what goes last, where kinds differ
    keep_days_least: float | None = None
    keep_days_most: float | None = None
    hold: bool = False
    running: bool | None = None
    version: str = ""
    running_version: str | None = None
    parts_failed: dict[str, str] = field(default_factory=dict)
    loop_lag_ms: float | None = None
    unit_there: bool | None = None
    unit_enabled: bool | None = None
    unit_watchdog: bool | None = None
    unit_score: float | None = None
    unit_restarts: int | None = None
    journal_volatile: bool | None = None
    open_ports: tuple[str, ...] | None = None
    ssh_passwords: bool | None = None
    audit_faults: tuple[str, ...] | None = None
    operators_expired: tuple[str, ...] = ()
    operators: int = 0
    outbox_depth: int | None = None
    outbox_oldest_s: float | None = None
    outbox_quarantined: int | None = None


class Gate(Struct, kw_only=True):
    """One gate before a flight, as `edge-agent preflight` tells it."""

    gate: str
    state: str
    reason: str = ""
    value: str | None = None
    remedy: str | None = None


class Params(Struct, kw_only=True):
    """The autopilot's settings against what `params apply` left; times of reports."""

    unfinished: str | None = None
    applied: str | None = None
    drift: tuple[str, ...] | None = None
    fault: str | None = None


class Senses(Struct, kw_only=True):
    """Autopilot, cameras, models, speakers: each by its name, with why it fails or None where it works."""

    vehicle: str | None = None  # its url, "simulated", or None without one
    serial_port: str | None = None
    serial_port_there: bool | None = None
    serial_port_ours: bool | None = None
    gates: dict[str, Gate] | None = None
    vehicle_fault: str | None = None
    params: Params = field(default_factory=Params)
    cameras: dict[str, str | None] | None = None
    cameras_open: tuple[str, ...] = ()  # RTSP cameras without a login
    speakers: dict[str, str | None] | None = None
    models: dict[str, str | None] | None = None
    model_ms: dict[str, float] = field(default_factory=dict)
    wanted_ms: dict[str, float] = field(default_factory=dict)  # what the frame rate leaves for a model


class Link(Struct, kw_only=True):
    """The identity, and the way to the centre, a step at a time: each None where it works, else why not."""

    configured: bool = False
    plain: bool = False
    unsigned: bool = False
    ack: str = "centre"
    enrolled: bool | None = None
    days_left: float | None = None
    life_days: float | None = None
    identity_fault: str | None = None
    clone: str | None = None
    asked: bool = False
    dns: str | None = None
    tcp: str | None = None
    tls: str | None = None
    mqtt: str | None = None
    acked: str | None = None
    round_trip_s: float | None = None
    acl_open: bool | None = None
    routed: bool | None = None
    upload: str = "off"
    upload_fault: str | None = None
    upload_resumes: bool | None = None


class Facts(Struct, kw_only=True):
    """All of it."""

    board: Board = field(default_factory=Board)
    software: Software = field(default_factory=Software)
    senses: Senses = field(default_factory=Senses)
    link: Link = field(default_factory=Link)
