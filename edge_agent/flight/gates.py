"""Go or no go: what must hold before the motors start, each with its value, limit, age, source and remedy. Pure.

A gate is a row of `GATES`: what is asked, of which message, and whether waiting may mend it. `checks` asks them all;
`refusals` is what stands in the way. What is `unknown` stands in the way as well, except where the gate only advises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec import Struct, structs
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight import gate_rules as rules
from edge_agent.flight import gate_settings as settings
from edge_agent.flight.facts import Facts
from edge_agent.flight.verdict import Verdict
from edge_agent.messages import Refusal

FRESH_S = 2.0


class Check(Struct, frozen=True, kw_only=True):
    """How one gate stands. `advice`: it is shown, and stops nothing. `heals`: waiting may mend it."""

    gate: str
    state: Literal["pass", "fail", "unknown"]
    reason: str
    value: str | None = None
    limit: str | None = None
    age_s: float | None = None
    source: str
    remedy: str | None = None
    advice: bool = False
    heals: bool = False

    @property
    def blocks(self) -> bool:
        return self.state != "pass" and not self.advice

    def refusal(self) -> Refusal:
        """This check as the reason why there is no flight."""
        return Refusal(
            gate=f"gate.{self.gate}", reason=self.reason, value=self.value, limit=self.limit, age_s=self.age_s,
            remedy=self.remedy,
        )  # fmt: skip


class Gate(NamedTuple):
    """One question; `source` is the message that answers it, or in words who does. `heals`: waiting may mend it."""

    name: str
    ask: Callable[[Facts], Verdict]
    source: int | str
    heals: bool = False


GATES: tuple[Gate, ...] = (
    Gate("vehicle", rules.vehicle, mavlink.MAVLINK_MSG_ID_HEARTBEAT),
    Gate("firmware", settings.firmware, mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION),
    Gate("alone", rules.alone, mavlink.MAVLINK_MSG_ID_HEARTBEAT),
    Gate("lockout", settings.lockout, "the last run"),
    Gate("ground", rules.on_ground, mavlink.MAVLINK_MSG_ID_EXTENDED_SYS_STATE),
    Gate("level", rules.level, mavlink.MAVLINK_MSG_ID_ATTITUDE),
    Gate("gps", rules.gps, mavlink.MAVLINK_MSG_ID_GPS_RAW_INT, heals=True),
    Gate("ekf", rules.ekf, mavlink.MAVLINK_MSG_ID_EKF_STATUS_REPORT, heals=True),
    Gate("home", rules.home, mavlink.MAVLINK_MSG_ID_HOME_POSITION),
    Gate("sensors", rules.sensors, mavlink.MAVLINK_MSG_ID_SYS_STATUS, heals=True),
    Gate("prearm", rules.prearm, mavlink.MAVLINK_MSG_ID_SYS_STATUS, heals=True),
    Gate("battery", rules.battery, mavlink.MAVLINK_MSG_ID_BATTERY_STATUS),
    Gate("voltage", rules.voltage, mavlink.MAVLINK_MSG_ID_SYS_STATUS),
    Gate("health", rules.battery_health, mavlink.MAVLINK_MSG_ID_BATTERY_STATUS),
    Gate("route", rules.route, "the route"),
    Gate("energy", rules.energy, mavlink.MAVLINK_MSG_ID_BATTERY_STATUS),
    Gate("mission", settings.mission, mavlink.MAVLINK_MSG_ID_MISSION_CURRENT),
    Gate("fence", settings.fence, mavlink.MAVLINK_MSG_ID_SYS_STATUS),
    Gate("failsafes", settings.failsafes, mavlink.MAVLINK_MSG_ID_PARAM_VALUE),
    Gate("return", settings.way_home, mavlink.MAVLINK_MSG_ID_PARAM_VALUE),
    Gate("remote", settings.remote, mavlink.MAVLINK_MSG_ID_RC_CHANNELS, heals=True),
    Gate("remote_id", settings.remote_id, mavlink.MAVLINK_MSG_ID_OPEN_DRONE_ID_ARM_STATUS, heals=True),
    Gate("weather", settings.weather, "the weather source"),
    Gate("night", settings.night, "the sun"),
    Gate("no_fly", settings.window, "the configuration"),
    Gate("storage", settings.storage, "the disk"),
    Gate("clock", settings.clock, mavlink.MAVLINK_MSG_ID_SYSTEM_TIME),
)


def checks(facts: Facts) -> list[Check]:
    """Every gate, in order; before anything was heard, the link alone."""
    if facts.telemetry is None:
        return [_link(facts)]
    return [_link(facts), *(_check(gate, facts) for gate in GATES)]


def refusals(facts: Facts) -> list[Refusal]:
    """Every gate that stands in the way, the one to mend first in front; empty means go."""
    return [check.refusal() for check in checks(facts) if check.blocks]


def _link(facts: Facts) -> Check:
    t = facts.telemetry
    if t is None:
        return Check(
            gate="link", state="fail", reason="the autopilot was not heard yet", source="HEARTBEAT",
            remedy="check power, cable and baud rate", heals=True,
        )  # fmt: skip
    age_s = facts.now - t.at_s
    found = Check(
        gate="link", state="pass", reason="telemetry is fresh", value=f"{age_s:.1f} s", limit=f"{FRESH_S:g} s",
        age_s=round(age_s, 2), source="HEARTBEAT, GLOBAL_POSITION_INT", heals=True,
    )  # fmt: skip
    return found if age_s <= FRESH_S else _stale(found)


def _stale(check: Check) -> Check:
    return structs.replace(check, state="fail", reason="telemetry is old", remedy="wait for the link")


def _check(gate: Gate, facts: Facts) -> Check:
    verdict = gate.ask(facts)
    message = gate.source if isinstance(gate.source, int) else None
    age_s = facts.age_s(message) if message is not None else None
    return Check(
        gate=gate.name, state=verdict.state, reason=verdict.reason, value=verdict.value, limit=verdict.limit,
        age_s=None if age_s is None else round(age_s, 2),
        source=str(gate.source) if message is None else str(mavlink.mavlink_map[message].msgname),
        remedy=verdict.remedy, advice=verdict.advice, heals=gate.heals or verdict.state == "unknown",
    )  # fmt: skip
