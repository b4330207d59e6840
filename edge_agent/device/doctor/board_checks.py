"""Judgements on the computer: power, storage, watchdog, clock, serial port. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from edge_agent.device.doctor.facts import Board, Verdict, fail, ok, unknown, warn

UNDER_VOLTAGE, CAPPED, THROTTLED, HOT = 0x1, 0x2, 0x4, 0x8  # vcgencmd get_throttled; since boot: 16 bits higher
SINCE_BOOT = 16
BOOKWORM_ON = ("bookworm", "trixie")
PI_WATCHDOG_MAX_S = 15  # what the chip of a Pi up to 4 counts to; more is no watchdog at all (systemd issue 27427)
CARD_WORN, CARD_DEAD = 9, 11  # JEDEC eMMC 5.0: 0x09 is 80 to 90 % used, 0x0B is beyond its life


def power(b: Board) -> Verdict:
    if b.throttled is None:
        return unknown("this board does not tell its supply's voltage")
    fix = "a supply of 5 V 5 A (Pi 5) or 5 V 3 A, a short thick cable, and nothing else on it"
    if b.throttled & UNDER_VOLTAGE:
        return fail("the supply is below 4.63 V now", fix)
    if b.throttled >> SINCE_BOOT & UNDER_VOLTAGE:
        return warn("the supply was below 4.63 V since this boot", fix)
    return ok("the supply held since this boot")


def throttling(b: Board) -> Verdict:
    if b.throttled is None:
        return unknown("this board does not tell whether it slows down")
    slow = CAPPED | THROTTLED | HOT
    if b.throttled & slow:
        return fail(f"the processor is slowed down now (0x{b.throttled:x})", "cool it: heat sink, fan, shade")
    if b.throttled >> SINCE_BOOT & slow:
        return warn(
            f"the processor was slowed down since this boot (0x{b.throttled:x})", "cool it: heat sink, fan, shade"
        )
    return ok("the processor ran at full speed since this boot")


def temperature(b: Board) -> Verdict:
    if b.temperature_c is None:
        return unknown("no thermal zone is there")
    shown = f"{b.temperature_c:.0f} °C"
    if b.temperature_c >= 85:
        return fail(shown, "cool it now: at 85 °C a Pi slows down, beyond it stops")
    return warn(shown, "heat sink, fan, shade") if b.temperature_c >= 75 else ok(shown)


def memory(b: Board) -> Verdict:
    if b.memory_free_mib is None:
        return unknown("memory is not told")
    shown = f"{b.memory_free_mib} MiB of {b.memory_total_mib} MiB are free"
    if b.memory_free_mib < 128:
        return fail(shown, "a smaller model, fewer cameras, or a board with more memory")
    return warn(shown, "end what else runs here: systemd-cgtop") if b.memory_free_mib < 300 else ok(shown)


def machine(b: Board) -> Verdict:
    if b.machine in ("aarch64", "x86_64"):
        return ok(f"{b.model or 'a computer'} ({b.machine})")
    return fail(
        f"{b.model or 'a computer'} ({b.machine})", "install a 64-bit system: ONNX Runtime has no 32-bit wheels"
    )


def serial(b: Board) -> Verdict:
    if b.serial:
        return ok(f"board {b.serial}")
    return warn(
        "the board tells no serial number", "a copied card cannot be told from its original here: guard the card"
    )


def system(b: Board) -> Verdict:
    shown = f"{b.system or '?'} {b.release or '?'}, Python {b.python[0]}.{b.python[1]}"
    if b.python < (3, 11):
        return fail(shown, "Python 3.11 or newer: Debian 12, Raspberry Pi OS bookworm")
    if b.system in ("debian", "raspbian") and b.release in BOOKWORM_ON:
        return ok(shown)
    return warn(shown, "tested on Debian 12 and Raspberry Pi OS (bookworm, trixie) only")


def machine_id(b: Board) -> Verdict:
    if b.machine_id is None:
        return unknown("there is no /etc/machine-id")
    if b.machine_id in ("", "uninitialized"):
        return warn("the machine id is not set yet", "systemd-machine-id-setup")
    return ok(f"machine {b.machine_id[:8]}…")


def card_life(b: Board) -> Verdict:
    if b.card_life is None:
        return unknown("the storage does not tell its wear", "an industrial card, eMMC or NVMe does")
    worst = max(b.card_life)
    shown = f"{max(0, worst - 1) * 10} to {worst * 10} % of its life are used"
    if worst >= CARD_DEAD:
        return fail("the storage is beyond its life", "replace the card today; edge-agent evidence list first")
    return warn(shown, "plan its replacement") if worst >= CARD_WORN else ok(shown)


def card_writes(b: Board) -> Verdict:
    if b.root_options is None:
        return unknown("the root file system is not told")
    if b.on_card and "noatime" not in b.root_options and "ro" not in b.root_options:
        return warn("every read of a file writes to the card", "add noatime to / in /etc/fstab")
    return ok("reading does not write to the card" if b.on_card else "the root file system is not on an SD card")


def root_mount(b: Board) -> Verdict:
    if b.root_options is None:
        return unknown("the root file system is not told")
    if "ro" in b.root_options:
        return warn("/ is read-only", "if nobody made it so: dmesg | grep -i ext4, then fsck at the next boot")
    return ok("/ can be written")


def disk_errors(b: Board) -> Verdict:
    if b.disk_errors is None:
        return unknown("no ext4 file system tells its errors")
    if b.disk_errors:
        return fail(
            f"ext4 has met {b.disk_errors} errors", "back up, then fsck -f at boot (fsck.mode=force); replace the card"
        )
    return ok("ext4 has met no error")


def watchdog_there(b: Board) -> Verdict:
    if b.watchdog_state is None and b.watchdog_timeout_s is None:
        return warn("there is no hardware watchdog", "dtparam=watchdog=on in config.txt")
    return ok("there is a hardware watchdog")


def watchdog_armed(b: Board) -> Verdict:
    if b.watchdog_state is None:
        return unknown("there is no watchdog to arm")
    if b.watchdog_state != "active":
        return fail(
            "nobody feeds the watchdog: it is not armed", "RuntimeWatchdogSec=10 in /etc/systemd/system.conf.d/, reboot"
        )
    return ok("the watchdog is armed")


def watchdog_timeout(b: Board) -> Verdict:
    if b.watchdog_timeout_s is None:
        return unknown("there is no watchdog to time")
    if b.watchdog_timeout_s > PI_WATCHDOG_MAX_S and "Raspberry" in b.model:
        return fail(f"{b.watchdog_timeout_s} s: on this chip that is none at all", "RuntimeWatchdogSec=10")
    return ok(f"it fires after {b.watchdog_timeout_s} s")


def clock(b: Board) -> Verdict:
    shown = datetime.fromtimestamp(b.now_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if b.clock_step_s:
        return fail(
            f"{shown} is off by {-b.clock_step_s:+.0f} s, says {b.clock_source}", "edge-agent time --set", "clock"
        )
    return ok(shown)


def synchronised(b: Board) -> Verdict:
    if b.clock_source in ("ntp", "nts", "gps"):
        return ok(f"the clock is set by {b.clock_source.upper()}")
    return warn("nothing steers the clock", "apt install chrony; without network: edge-agent time --set --connection …")


def rtc(b: Board) -> Verdict:
    if b.has_rtc is None:
        return unknown("the kernel is not asked for a real-time clock")
    if not b.has_rtc:
        return warn(
            "there is no real-time clock",
            "a Pi 5 has one (fit its battery); else a DS3231 and dtoverlay=i2c-rtc,ds3231",
        )
    if b.rtc_s is not None and abs(b.rtc_s - b.now_s) > 86_400:
        return warn("the real-time clock is off by more than a day", "hwclock --systohc; is its battery fitted?")
    return ok("the real-time clock runs")


def serial_console(b: Board) -> Verdict:
    if b.kernel_line is None:
        return unknown("the kernel's command line is not told")
    words = [
        word
        for word in b.kernel_line.split()
        if word.startswith(("console=serial0", "console=ttyAMA0", "console=ttyS0"))
    ]
    if words and "Raspberry" in b.model:
        return fail(f"the kernel talks on the autopilot's port: {words[0]}", "take it out of cmdline.txt, reboot")
    return ok("the kernel leaves the serial port alone")


def serial_login(b: Board) -> Verdict:
    if b.getty_on:
        port = b.getty_on[0]
        return fail(f"a login waits on {port}", f"systemctl mask --now serial-getty@{port}.service")
    return ok("no login waits on a serial port")


def uart(b: Board) -> Verdict:
    if b.boot_config is None:
        return unknown("there is no config.txt here")
    lines = {line.split("#")[0].strip().replace(" ", "") for line in b.boot_config.splitlines()}
    wanted = "dtparam=uart0=on" if "Pi 5" in b.model else "enable_uart=1"
    if wanted not in lines and "enable_uart=1" not in lines:
        return warn(
            "the UART is not switched on in config.txt", f"{wanted} in config.txt, or edge-agent install; reboot"
        )
    return ok("the UART is switched on")


def udev(b: Board) -> Verdict:
    if b.udev_rules is None:
        return unknown("udev is not told")
    if not b.udev_rules:
        return warn(
            "there are no udev rules for the autopilot", "edge-agent install; or name the port in /dev/serial/by-id"
        )
    return ok("udev gives the autopilot a name that stays")


def modem_manager(b: Board) -> Verdict:
    if b.modem_manager is None:
        return unknown("services are not told")
    if b.modem_manager and not b.udev_rules:
        return warn(
            "ModemManager probes the autopilot's port at each start", "edge-agent install, or: apt purge modemmanager"
        )
    return ok("ModemManager leaves the autopilot alone")
