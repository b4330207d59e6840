"""A flight mode that somebody wants: permitted, pressed until it is seen, dropped where it is not obeyed. Sans-I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge_agent import config
from edge_agent.flight import helm, phases, safety
from edge_agent.flight.command import Command
from edge_agent.flight.mavlink import Link
from edge_agent.flight.phases import Phase, Seen
from edge_agent.flight.refusals import in_words
from edge_agent.messages import Refusal

MODES = {"pause": "BRAKE", "resume": "AUTO", "recall": "RTL", "land": "LAND"}
ORDER_S = 10.0  # an order that is not obeyed by then is dropped, unless it leads to the ground
FAILSAFE_S = 3.0  # a text of the autopilot this long before a mode change explains it
TEXT_S = 0.6  # ArduCopter may say the new mode before the reason: wait so long for the text


class Order(NamedTuple):
    """A mode that is wanted: whose wish, and why."""

    mode: str
    by: str
    why: str
    at_s: float


class Orders:
    """At most one order at a time; a newer one takes its place."""

    def __init__(self, link: Link, limits: config.Limits, warn: Callable[[str], None]) -> None:
        self._link, self._limits, self._warn = link, limits, warn
        self.current: Order | None = None
        self._pressed: helm.Job | None = None

    def drop(self) -> None:
        """Nothing is wanted any more."""
        self.current, self._pressed = None, None

    def want(self, asked: str, by: str, why: str, now: float) -> Refusal | None:
        """Order the mode that is `asked` for; it is pressed until it is seen."""
        mode = MODES[asked]
        refusal = safety.permit(safety.SetMode(mode), self._link.telemetry(), self._limits, now)
        if refusal is None and self._link.landed is True:  # what AUTO does on the ground is a launch's to begin
            refusal = Refusal(gate="safety.mode", reason="on the ground", value=mode)
        if refusal is not None:
            return in_words(refusal, asked, self._link.mode, landed=self._link.landed is True)
        self.current, self._pressed = Order(mode, by, why, now), None
        return None

    def press(self, phase: Phase, now: float) -> bool:
        """Send what is owed; True where an order was not obeyed and is dropped."""
        order = self.current
        if order is None:
            return False
        if self._link.mode == order.mode or phase not in phases.IN_FLIGHT:
            self.current = None
            return False
        if now - order.at_s > ORDER_S and order.mode not in ("RTL", "LAND"):
            self._warn(f"flight: mode {order.mode} was ordered and not seen within {ORDER_S:g} s")
            self.current = None
            return True
        if self._link.landed is True and order.mode == "AUTO":  # it touched down meanwhile
            self.drop()
            return True
        pressed = self._pressed
        if pressed is None or (isinstance(pressed, Command) and pressed.state in ("refused", "silent")):
            self._pressed = helm.order(self._link, safety.SetMode(order.mode), self._limits, now)
        elif isinstance(pressed, Refusal):  # something stronger runs by now
            self.drop()
        return False

    def puzzling(self, seen: Seen, now: float) -> bool:
        """Whether the mode is so new that the autopilot may still say why it took it."""
        link = self._link
        ordered = self.current is not None and self.current.mode == seen.mode
        if ordered or seen.mode == "AUTO" or now - link.mode_s >= TEXT_S:
            return False
        return not link.said_since(link.mode_s - FAILSAFE_S)

    def why(self, seen: Seen, now: float) -> str:
        """Who or what put the vehicle into the mode that it is seen in."""
        if self.current is not None and self.current.mode == seen.mode:
            return self.current.why
        if seen.mode == "AUTO":
            return phases.LEADS_HOME if seen.homing else "the mission aboard is not the one verified"
        said = self._link.said_since(now - FAILSAFE_S)
        return f"mode {seen.mode}: autopilot: {said[-1]}" if said else f"mode {seen.mode}, set by another controller"
