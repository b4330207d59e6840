"""What was set on an autopilot, and whether that still stands: a signed report, and the drift from it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from edge_agent.canonical import canonical_json
from edge_agent.flight.param_file import Plan, Wish, shown
from edge_agent.flight.params import float32

APPLIED = "applied.json"  # in `params` below the data directory: the newest report of an apply that was done
FORM = "edge-agent-params-1"


class Source(Struct, frozen=True, kw_only=True):
    """A parameter file that took part."""

    file: str
    sha256: str


class Report(Struct, frozen=True, kw_only=True):
    """One `params apply`; `wanted` holds every name of the files, as this firmware has it, with its value."""

    form: str = FORM
    time: str
    device: str
    vehicle: str
    system_id: int
    firmware: str
    files: tuple[Source, ...]
    state: Literal["done", "failed"]
    set: dict[str, tuple[float, float]]  # from, to
    failed: dict[str, str]
    wanted: dict[str, float]
    backup: str | None


class Drift(NamedTuple):
    """A setting that is not what was applied; `aboard` is None where the autopilot has it no more."""

    name: str
    wanted: float
    aboard: float | None

    def __str__(self) -> str:
        return (
            f"{self.name} is {'gone' if self.aboard is None else shown(self.aboard)}, {shown(self.wanted)} was applied"
        )


def wanted(wishes: list[Wish], plan: Plan, as_aboard: Callable[[Wish], tuple[str, float]]) -> dict[str, float]:
    """Every name as this firmware has it with its value, without those that the autopilot keeps itself."""
    return {name: value for name, value in map(as_aboard, wishes) if name not in plan.left_out}


def drifted(applied: Mapping[str, float], aboard: Mapping[str, float]) -> list[Drift]:
    """What differs as a 32-bit float; what was not read counts as gone."""
    return [
        Drift(name, value, aboard.get(name))
        for name, value in sorted(applied.items())
        if name not in aboard or float32(aboard[name]) != float32(value)
    ]


def sealed(report: Report, public_key: str, sign: Callable[[bytes], str]) -> bytes:
    """The report with its signature (Ed25519 over RFC 8785 of the report) as a file."""
    body = msgspec.to_builtins(report)
    seal = {"report": body, "public_key": public_key, "signature": sign(canonical_json(body))}
    return json.dumps(seal, indent=2).encode() + b"\n"


def unsealed(data: bytes, verify: Callable[[str, str, bytes], bool], public_key: str | None = None) -> Report:
    """The report of such a file; ValueError where it is none, was changed, or is not of `public_key`."""
    try:
        seal: dict[str, Any] = json.loads(data)
        body, key, signature = seal["report"], str(seal["public_key"]), str(seal["signature"])
        report = msgspec.convert(body, Report, strict=False)
        message = canonical_json(body)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError, RecursionError):
        raise ValueError("is no report of `params apply`") from None
    if report.form != FORM:
        raise ValueError(f"is a report of the form {report.form}, not {FORM}")
    if not verify(key, signature, message):
        raise ValueError("was changed since it was signed")
    if public_key is not None and key != public_key:
        raise ValueError("was signed by another device")
    return report
