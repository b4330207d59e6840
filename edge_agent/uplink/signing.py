"""Who asks, and may they: operators' signatures, roles and terms. Pure; `wall_s` is Unix time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time
from typing import Any

from edge_agent.canonical import signed_bytes
from edge_agent.config import Operator
from edge_agent.keys import verify
from edge_agent.messages import Refusal
from edge_agent.topics import Auth

# What a role may ask for, beyond what the role before it may. `desired` is the document of `down/desired`.
ROLES: dict[str, frozenset[str]] = {
    "viewer": frozenset({"snapshot", "clip"}),
    "operator": frozenset({"say", "talk", "hush", "acknowledge", "handled", "recall", "pause", "land"}),
    "pilot": frozenset({"fly", "dispatch", "resume", "extend", "level", "skip", "clear_lockout"}),
    "admin": frozenset({"config", "zones", "hot_list", "desired"}),
}
# What the broker's access list alone may let through: it moves nothing, says nothing and changes no setting.
UNSIGNED = frozenset({"snapshot", "clip", "acknowledge", "handled", "config"})


def may(role: str, name: str) -> bool:
    """Whether a role may ask for a command: its own, and those of the roles before it."""
    order = list(ROLES)
    return any(name in ROLES[lower] for lower in order[: order.index(role) + 1])


class Signatures:
    """The operators of a device; `unsigned` lets everything through without a signature, for development."""

    def __init__(self, device: str, operators: Iterable[Operator], *, unsigned: bool = False) -> None:
        self._device, self._unsigned = device, unsigned
        self._operators = {operator.id: operator for operator in operators}

    def of(self, group: str) -> Signatures:
        """The same operators, for what is signed to a group (`grp/NAME`) in place of the device."""
        return Signatures(group, self._operators.values(), unsigned=self._unsigned)

    def author(
        self, *, id: str, name: str, not_after: str, by: str, args: Any, auth: Auth | None, wall_s: float
    ) -> str | Refusal:
        """Who asks, as it is recorded (`operator:ID` where it is proven, `unsigned:BY` where not), or why they may not.

        A signature that is there must hold, also where none is needed.
        """
        if auth is None:
            if self._unsigned or name in UNSIGNED:
                return f"unsigned:{by}"
            way_out = "sign it (auth: {kid, sig})" if self._operators else "name who may in [[operator]] of agent.toml"
            return _no(f"unsigned: `{name}` wants the signature of an operator: {way_out}")
        operator = self._operators.get(auth.kid)
        if operator is None:
            return _no(f"unknown kid {auth.kid!r}: no [[operator]] of agent.toml has this id")
        try:
            message = signed_bytes(self._device, id=id, name=name, not_after=not_after, by=by, args=args)
        except (ValueError, RecursionError) as error:
            return _no(f"cannot be signed: {error}")
        if not verify(operator.public_key, auth.sig, message):
            return _no(f"wrong signature: it is not that of {operator.id} over this very command")
        if wall_s > _end_s(operator.not_after):
            return _no(f"the key of {operator.id} was good until {operator.not_after}")
        if not may(operator.role, name):
            return _no(f"role: {operator.id} is {operator.role}, which may not ask for `{name}`")
        return f"operator:{operator.id}" + (f" ({by})" if by not in (operator.id, operator.name) else "")


def _no(reason: str) -> Refusal:
    return Refusal(gate="signature", reason=reason)


def _end_s(day: str) -> float:
    """The last moment of a day in UTC."""
    return datetime.combine(datetime.fromisoformat(day), time.max, UTC).timestamp()
