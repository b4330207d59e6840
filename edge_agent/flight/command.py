"""Commands on their way to the autopilot (https://mavlink.io/en/services/command.html), sans-I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent.flight.frames import Message

RESEND_S = 1.0
TRIES = 10


class Command:
    """One COMMAND_LONG on its way. `accepted` means only that it was heard: look at the vehicle for the rest.

    It is sent again while nothing answers and `wanted` still says so, which for what must not happen twice (arm,
    start) looks at the vehicle's state first.
    """

    def __init__(self, number: int, params: Sequence[float], wanted: Callable[[], bool]) -> None:
        self.number, self.params, self.wanted = number, tuple(params), wanted
        self.state: Literal["waiting", "accepted", "refused", "silent"] = "waiting"
        self.detail = ""
        self.tries = 0
        self.due_s = 0.0

    @property
    def name(self) -> str:
        return str(mavlink.enums["MAV_CMD"][self.number].name).removeprefix("MAV_CMD_")


class Commands:
    """Those that wait for an answer: one of each number, as ArduPilot's answers name only that."""

    def __init__(self, to: tuple[int, int], ours: tuple[int, int]) -> None:
        self._to, self._ours = to, ours
        self._waiting: dict[int, Command] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def forget(self) -> None:
        """Nobody will answer any more."""
        self._waiting.clear()

    def withdraw(self) -> None:
        """Nobody wants them any more: what is unanswered is not sent again."""
        for command in self._waiting.values():
            command.state, command.detail = "silent", "withdrawn"
        self._waiting.clear()

    def send(self, number: int, params: Sequence[float], wanted: Callable[[], bool], now: float) -> Command:
        """Send until it is answered; a newer one of the same number takes its place."""
        command = self._waiting[number] = Command(number, (*params, *([0.0] * (7 - len(params)))), wanted)
        command.due_s = now
        return command

    def answered(self, ack: Message, said: Callable[[], Sequence[str]], now: float) -> None:
        """A COMMAND_ACK; `said` are the texts that came with a refusal."""
        command = self._waiting.get(ack.command)
        # Target 0/0 is an autopilot that does not say whom it answers (MAVLink 1, old firmware).
        if command is None or ack.target_system not in (0, self._ours[0]):
            return
        if ack.target_component not in (0, self._ours[1]):
            return
        match ack.result:
            case mavlink.MAV_RESULT_ACCEPTED:
                command.state = "accepted"
            case mavlink.MAV_RESULT_IN_PROGRESS | mavlink.MAV_RESULT_TEMPORARILY_REJECTED:
                command.due_s = now + RESEND_S
                return
            case result:
                entry = mavlink.enums["MAV_RESULT"].get(result)
                command.state = "refused"
                command.detail = "; ".join([entry.name.removeprefix("MAV_RESULT_") if entry else str(result), *said()])
        del self._waiting[ack.command]

    def due(self, now: float) -> list[Message]:
        """What is to be sent (again) now."""
        found: list[Message] = []
        for command in list(self._waiting.values()):
            if now < command.due_s:
                continue
            if command.tries == TRIES or (command.tries and not command.wanted()):
                command.state, command.detail = "silent", "no answer"
                del self._waiting[command.number]
                continue
            found.append(
                mavlink.MAVLink_command_long_message(*self._to, command.number, command.tries, *command.params)
            )
            command.tries += 1
            command.due_s = now + RESEND_S
        return found
