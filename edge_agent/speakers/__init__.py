"""An incident becomes a voice: what is said, where and when, and the drivers that send it.

`announcer` queues and records, `voice` turns text into clips, and each driver plays a clip on one kind of speaker.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, assert_never

from msgspec import Struct

from edge_agent import config
from edge_agent.runtime import Clock

if TYPE_CHECKING:
    from edge_agent.speakers.sound import Clip

Proof = Literal["none", "accepted", "delivered", "playing", "tested", "heard"]


class Delivery(Struct, frozen=True, kw_only=True):
    """How one clip ended on one speaker: `played_s` of it went out; `proof` is what the far end has confirmed."""

    finished: bool
    played_s: float
    proof: Proof
    late_ms: float = 0.0  # by how much the worst step missed its time


class Speaker(Protocol):
    """A loudspeaker; it plays one clip at a time and keeps no connection between clips."""

    name: str

    async def play(self, clip: Clip, announcement: str, /) -> Delivery:
        """Play to the end, or until `stop` or cancelled; `DriverError` names the speaker and its address."""
        ...

    async def stop(self) -> None:
        """End the sound within 20 ms: the running `play` returns, not finished. Without one it does nothing."""
        ...


def open_speaker(section: config.Speaker, data_dir: Path, clock: Clock) -> Speaker:
    """The driver for a section of the config; it touches nothing before it plays."""
    match section:
        case config.RtpSpeaker():
            from edge_agent.speakers.rtp import RtpSpeaker

            return RtpSpeaker(section, clock)
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
