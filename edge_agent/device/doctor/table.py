"""Every check: its name, why it matters, and its judgement. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from msgspec import Struct

from edge_agent.device.doctor import board_checks as board
from edge_agent.device.doctor import link_checks as link
from edge_agent.device.doctor import senses_checks as senses
from edge_agent.device.doctor import software_checks as software
from edge_agent.device.doctor.facts import Facts, State, Verdict


class Check(NamedTuple):
    """One question about one area of the facts."""

    id: str  # AREA.NAME
    why: str
    judge: Callable[[Any], Verdict]


class Finding(Struct, kw_only=True):
    """One line of the doctor: what was found, why it matters, what mends it (and what `--fix` would do)."""

    id: str
    state: State
    what: str
    why: str
    fix: str = ""
    mend: str = ""


CHECKS: tuple[Check, ...] = (
    Check("board.power", "a weak supply corrupts cards and resets the board in flight", board.power),
    Check("board.throttling", "a processor that slows down sees late", board.throttling),
    Check("board.temperature", "heat slows the board down and ages it", board.temperature),
    Check("board.memory", "what runs out of memory is killed", board.memory),
    Check("board.machine", "the models need a 64-bit processor", board.machine),
    Check("board.serial", "by it a copied card is told from its original", board.serial),
    Check("board.system", "on other systems nobody has tried this", board.system),
    Check("board.machine_id", "images that were copied share it, and logs get mixed", board.machine_id),
    Check("board.card_life", "a worn card loses what was recorded", board.card_life),
    Check("board.card_writes", "needless writes wear the card", board.card_writes),
    Check("board.root_mount", "the kernel makes a damaged file system read-only", board.root_mount),
    Check("board.disk_errors", "errors of the file system mean a dying card", board.disk_errors),
    Check("board.watchdog", "a kernel that hangs must restart", board.watchdog_there),
    Check("board.watchdog_armed", "a watchdog that nobody arms does nothing", board.watchdog_armed),
    Check("board.watchdog_timeout", "beyond what the chip counts to it is silently off", board.watchdog_timeout),
    Check("board.clock", "a wrong clock breaks TLS, schedules and evidence", board.clock),
    Check("board.synchronised", "evidence is worth what its time is worth", board.synchronised),
    Check("board.rtc", "after a power cut without network it alone knows the time", board.rtc),
    Check("board.serial_console", "the kernel's words on the autopilot's port are garbage to it", board.serial_console),
    Check("board.serial_login", "a login prompt answers the autopilot", board.serial_login),
    Check("board.uart", "without the UART no autopilot is heard", board.uart),
    Check("board.udev", "ttyACM0 may be another device after the next boot", board.udev),
    Check("board.modem_manager", "it writes modem commands to the autopilot", board.modem_manager),
    Check("software.config", "with a wrong configuration nothing starts", software.configuration),
    Check("software.simulated", "what is simulated does not protect anybody", software.simulated),
    Check("software.data_dir", "what cannot be written is not recorded", software.data_dir),
    Check("software.data_dir_mode", "pictures of people are nobody else's business", software.data_dir_mode),
    Check("software.space", "on a full disk nothing is recorded", software.space),
    Check("software.inodes", "without inodes no file can be made", software.inodes),
    Check("software.ballast", "on a full disk even deleting needs room", software.ballast),
    Check("software.leftovers", "they take room, and tell of power cuts", software.leftovers),
    Check("software.secrets", "who reads a key is the device", software.secrets),
    Check("software.default_passwords", "they are the first that is tried", software.default_logins),
    Check("software.retention", "the law says how long, at least and at most", software.retention),
    Check("software.running", "an agent that does not run guards nothing", software.running),
    Check("software.version", "an update that does not run mends nothing", software.version),
    Check("software.parts", "what has failed is not done", software.parts),
    Check("software.loop", "a late loop reacts late", software.loop),
    Check("software.unit", "after a power cut nobody is there to start it", software.unit),
    Check("software.unit_watchdog", "a hung agent must restart by itself", software.unit_watchdog),
    Check("software.unit_score", "what breaks in finds a closed room", software.unit_score),
    Check("software.restarts", "what restarts often is broken", software.restarts),
    Check("software.journal", "logs on the card wear it", software.journal),
    Check("software.ports", "what listens can be attacked", software.ports),
    Check("software.ssh", "passwords are guessed", software.ssh),
    Check("software.audit", "a log that was changed proves nothing", software.audit),
    Check("software.operators", "an operator who has expired is refused when it counts", software.operators),
    Check("software.outbox", "what waits is not known at the centre", software.outbox),
    Check("software.quarantine", "what the centre refused it does not know", software.quarantine),
    Check("vehicle.port", "without its port no autopilot is heard", senses.serial_port),
    Check("vehicle.heartbeat", "without it nothing flies", senses.heartbeat),
    Check("vehicle.firmware", "the gates know ArduCopter 4.3 to 4.7", senses.gate("firmware")),
    Check("vehicle.failsafes", "they bring the drone home when nobody else can", senses.gate("failsafes")),
    Check("vehicle.fence", "the last wall", senses.gate("fence")),
    Check("vehicle.return", "the way home must lie above what stands there", senses.gate("return")),
    Check("vehicle.prearm", "what the autopilot itself complains of", senses.gate("prearm")),
    Check("vehicle.parameters", "a setting that somebody changed is found out in the air", senses.parameters),
    Check("vehicle.gps", "without a place there is no route", senses.gate("gps")),
    Check("vehicle.battery", "a flight begins with what it needs", senses.gate("battery")),
    Check("camera.picture", "without a picture nothing is seen", senses.cameras),
    Check("camera.login", "anybody may look through an open camera", senses.camera_logins),
    Check("model.usable", "without a model nothing is seen", senses.models),
    Check("model.speed", "what takes longer than a frame sees late", senses.model_speed),
    Check("speaker.answers", "a warning that nobody hears is none", senses.speakers),
    Check("link.enrolled", "without an identity the broker lets nobody in", link.enrolled),
    Check("link.certificate_days", "an expired certificate cuts the device off", link.certificate_days),
    Check("link.board", "the same identity on two boards: each throws the other out", link.clone),
    Check("link.route", "without a way out nothing is reported", link.routed),
    Check("link.dns", "without its address the broker is not found", link.dns),
    Check("link.tcp", "without its port nothing is reported", link.tcp),
    Check("link.tls", "who stands between reads and writes", link.tls),
    Check("link.mqtt", "who is not let in reports nothing", link.mqtt),
    Check("link.acl", "a device that may speak as another can frame it", link.acl),
    Check("link.round_trip", "only what the centre has confirmed is known there", link.acked),
    Check("link.signed", "whoever holds the broker must not hold the drone", link.unsigned),
    Check("evidence.upload", "an original that stays here may be stolen with the device", link.upload),
    Check("evidence.resume", "over a bad link an upload that begins anew never ends", link.resume),
)

AREA = {"board": "board", "software": "software", "vehicle": "senses", "camera": "senses", "model": "senses",
        "speaker": "senses", "link": "link", "evidence": "link"}  # fmt: skip
SEVERITY: dict[State, int] = {"ok": 0, "unknown": 0, "warning": 1, "failure": 2}  # as monitoring plug-ins exit


def examine(facts: Facts) -> list[Finding]:
    """Every check, in order."""
    findings = []
    for check in CHECKS:
        verdict = check.judge(getattr(facts, AREA[check.id.partition(".")[0]]))
        findings.append(
            Finding(
                id=check.id, state=verdict.state, what=verdict.what, why=check.why, fix=verdict.fix, mend=verdict.mend
            )
        )
    return findings


def exit_code(findings: list[Finding]) -> int:
    """0 where nothing is wrong, 1 with a warning, 2 with a failure (the convention of monitoring plug-ins)."""
    return max((SEVERITY[finding.state] for finding in findings), default=0)
