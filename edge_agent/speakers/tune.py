"""The vehicle's own buzzer: a tune in place of words, where a drone carries no loudspeaker.

The tune goes by the vehicle's one gate, which may refuse it; nothing on the link ever confirms it. The language is
QBasic's PLAY as ArduPilot's `MMLPlayer.cpp` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from edge_agent import config
from edge_agent.messages import Proof, Refusal
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import Delivery, Ready
from edge_agent.speakers.live import Live
from edge_agent.speakers.sound import Clip

SILENCE = "P64"
TURN_S = 0.02
_WORD = re.compile(r"([A-GPRN])([#+-]?)(\d*)(\.*)|([LOTV])(\d+)|M[NLSFB]|[<>]")

Sound = Callable[[str], Refusal | None]


class TuneSpeaker:
    """Its proof is `none`: PLAY_TUNE has no answer."""

    rate_hz = 8000
    best: Proof = "none"

    def __init__(self, section: config.TuneSpeaker, clock: Clock) -> None:
        self.name, self._tune, self._clock = section.name, section.tune, clock
        self._percent, self._stopped = 100.0, False
        self.sound: Sound | None = None  # the way to the vehicle; whoever makes the agent joins it

    async def play(self, clip: Clip, _announcement: str, /, ready: Ready | None = None) -> Delivery:
        """The tune, once, whatever the words are; `DriverError` where the vehicle's gate refuses it."""
        if clip.rate_hz != self.rate_hz:
            raise ValueError(f"speaker {self.name} takes {self.rate_hz} samples a second, not {clip.rate_hz}")
        self._stopped = False
        if ready is not None:
            await ready()
        began_s = self._clock.monotonic()
        if not clip.duration_s or not self._percent:
            return Delivery(finished=True, played_s=0.0, proof="none")
        self._send(f"V{round(255 * self._percent / 100)}{self._tune}")
        lasts_s, played_s = tune_s(self._tune), 0.0
        whole = False
        try:
            while played_s < lasts_s and not self._stopped:
                await self._clock.sleep(min(TURN_S, lasts_s - played_s))
                played_s = self._clock.monotonic() - began_s
            whole = not self._stopped
        finally:
            if not whole:
                self._send(SILENCE)
        return Delivery(finished=whole, played_s=min(played_s, lasts_s), proof="none", first_s=began_s)

    async def live(self, _voice: Live, _announcement: str, /, ready: Ready | None = None) -> Delivery:  # noqa: ARG002
        """A buzzer has no voice."""
        raise DriverError(f"speaker {self.name}: a buzzer takes no live voice; talk through another speaker")

    async def stop(self) -> None:
        """A rest takes the tune's place."""
        self._stopped = True

    async def volume(self, percent: float) -> None:
        """Of what NTF_BUZZ_VOLUME allows."""
        self._percent = min(max(percent, 0.0), 100.0)

    async def health(self) -> None:
        """Whether there is a vehicle; the pilot's own health says whether it is heard."""
        self._vehicle()

    def _vehicle(self) -> Sound:
        if self.sound is None:
            raise DriverError(f"speaker {self.name}: there is no vehicle here: it sounds from a running agent alone")
        return self.sound

    def _send(self, tune: str) -> None:
        if (refusal := self._vehicle()(tune)) is not None:
            raise DriverError(f"speaker {self.name}: the vehicle's gate refuses: {refusal}")


def tune_s(tune: str) -> float:
    """How long a tune lasts, seconds; raises ValueError naming the first word that is none."""
    tempo, length, at, total_s = 120, 4, 0, 0.0
    while at < len(tune):
        found = _WORD.match(tune, at)
        if found is None:
            raise ValueError(f"{tune[at : at + 8]!r} at character {at + 1} is no note")
        note, _, number, dots, setting, value = found.groups()
        if setting == "T":
            tempo = max(int(value), 1)
        elif setting == "L":
            length = max(int(value), 1)
        elif note is not None:
            parts = length if note == "N" or not number else max(int(number), 1)
            total_s += 240 / tempo / parts * (2 - 0.5 ** len(dots))
        at = found.end()
    return total_s
