"""An incident becomes a voice: what is said, where and when, and the drivers that send it.

`announcer` queues and records, `voice` turns text into clips, `live` carries a voice that is being spoken, and each
driver plays both on one kind of speaker.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, assert_never, get_args, runtime_checkable

from msgspec import Struct

from edge_agent import config
from edge_agent.messages import Proof, Refusal
from edge_agent.runtime import Clock

if TYPE_CHECKING:
    from edge_agent.speakers.live import Live
    from edge_agent.speakers.sound import Clip

PROOFS: tuple[Proof, ...] = get_args(Proof)  # from nothing to heard
Ready = Callable[[], Awaitable[None]]


class Delivery(Struct, frozen=True, kw_only=True):
    """How one clip or talk ended on one speaker: `played_s` of it went out; `proof` is what the far end confirmed."""

    finished: bool
    played_s: float
    proof: Proof
    late_ms: float = 0.0  # by how much the worst step missed its time
    first_s: float | None = None  # monotonic, when the first sound was sent
    doubt: str | None = None  # what the far end said, or kept to itself, that makes the proof less than it could be


class Speaker(Protocol):
    """A loudspeaker; it plays one sound at a time and keeps no connection between sounds."""

    name: str
    rate_hz: int  # of the clips that it takes
    best: Proof  # the most that it can ever prove

    async def play(self, clip: Clip, announcement: str, /, ready: Ready | None = None) -> Delivery:
        """Play to the end, or until `stop` or cancelled; `DriverError` names the speaker and its address.

        With `ready` it first makes its connection, then awaits it: so a group begins in step.
        """
        ...

    async def live(self, voice: Live, announcement: str, /, ready: Ready | None = None) -> Delivery:
        """Put a voice through until it ends; otherwise as `play`."""
        ...

    async def stop(self) -> None:
        """Fade out within 60 ms: the running `play` or `live` returns, not finished. Without one it does nothing."""
        ...

    async def volume(self, percent: float) -> None:
        """How loud from now on, 0..100; `DriverError` where the device refuses."""
        ...

    async def health(self) -> None:
        """Ask the device, silently, whether it could play now; `DriverError` says why not."""
        ...


@runtime_checkable
class Standing(Protocol):
    """A speaker that keeps something up between sounds."""

    async def run(self) -> None:
        """Until cancelled; `DriverError` where it broke."""
        ...


@runtime_checkable
class SelfTesting(Protocol):
    """A speaker whose device can test its own loudspeaker."""

    async def self_test(self) -> str:
        """Test it, aloud; "OK", or what the device says. `DriverError` where it cannot."""
        ...


@runtime_checkable
class OnVehicle(Protocol):
    """A speaker that sounds through the vehicle's link; the agent joins `sound` to its pilot."""

    sound: Callable[[str], Refusal | None] | None


def reason(error: Exception) -> str:
    """What the network said, in its own short words: asyncio's "Connect call failed" is a refused connection."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error)


def open_speaker(section: config.Speaker, data_dir: Path, clock: Clock) -> Speaker:
    """The driver for a section of the config; it touches nothing before it plays."""
    match section:
        case config.RtpSpeaker():
            from edge_agent.speakers.rtp import RtpSpeaker

            return RtpSpeaker(section, clock)
        case config.SipSpeaker():
            from edge_agent.speakers.sip import RegisteredSipSpeaker, SipSpeaker

            return RegisteredSipSpeaker(section, clock) if section.register else SipSpeaker(section, clock)
        case config.AxisSpeaker():
            from edge_agent.speakers.axis import AxisSpeaker

            return AxisSpeaker(section, clock)
        case config.HikvisionSpeaker():
            from edge_agent.speakers.hikvision import HikvisionSpeaker

            return HikvisionSpeaker(section, clock)
        case config.DahuaSpeaker():
            from edge_agent.speakers.dahua import DahuaSpeaker

            return DahuaSpeaker(section, clock)
        case config.OnvifSpeaker():
            from edge_agent.speakers.onvif import OnvifSpeaker

            return OnvifSpeaker(section, clock)
        case config.AlgoSpeaker():
            from edge_agent.speakers.algo import AlgoSpeaker

            return AlgoSpeaker(section, clock)
        case config.Gb28181Speaker():
            from edge_agent.speakers.gb28181 import Gb28181Speaker

            return Gb28181Speaker(section, clock)
        case config.DjiSpeaker():
            from edge_agent.speakers.dji import DjiSpeaker

            return DjiSpeaker(section, clock)
        case config.TuneSpeaker():
            from edge_agent.speakers.tune import TuneSpeaker

            return TuneSpeaker(section, clock)
        case config.LocalSpeaker():
            from edge_agent.speakers.local import LocalSpeaker

            return LocalSpeaker(section, clock)
        case config.SimulatedSpeaker():
            from edge_agent.speakers.simulated import SimulatedSpeaker

            return SimulatedSpeaker(
                section.name,
                section.directory or data_dir / "speakers" / section.name,
                clock,
                realtime=section.realtime,
            )
        case _:
            assert_never(section)
