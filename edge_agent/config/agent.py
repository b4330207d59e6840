"""The whole file: its sections in one value."""

from __future__ import annotations

from pathlib import Path

from msgspec import field

from edge_agent.config.base import Section, Site
from edge_agent.config.flight import (
    Airframe,
    Blackout,
    LevelSpan,
    Limits,
    MustVisit,
    NoFly,
    Route,
    Schedule,
    Tlog,
    Vehicle,
    WeatherLimits,
)
from edge_agent.config.incidents import Clips, Privacy, Rule, Zone
from edge_agent.config.speakers import Announcements, Speaker, Voice
from edge_agent.config.uplink import Evidence, Metrics, Mqtt, Operator, Outbox
from edge_agent.config.vision import Camera, Detector, Load, Plates


class Agent(Section, frozen=True):
    """The whole file."""

    site: Site
    data_dir: Path
    vehicle: Vehicle | None = None
    tlog: Tlog = field(default_factory=Tlog)
    limits: Limits = field(default_factory=Limits)
    airframe: Airframe = field(default_factory=Airframe)
    weather: WeatherLimits = field(default_factory=WeatherLimits)
    no_fly: tuple[NoFly, ...] = ()
    routes: tuple[Route, ...] = field(default=(), name="route")
    schedules: tuple[Schedule, ...] = field(default=(), name="schedule")
    blackouts: tuple[Blackout, ...] = field(default=(), name="blackout")
    levels: tuple[LevelSpan, ...] = field(default=(), name="level")
    visits: tuple[MustVisit, ...] = field(default=(), name="visit")
    cameras: tuple[Camera, ...] = field(default=(), name="camera")
    detectors: tuple[Detector, ...] = field(default=(), name="detector")
    plates: Plates = field(default_factory=Plates)
    load: Load = field(default_factory=Load)
    zones: tuple[Zone, ...] = field(default=(), name="zone")
    rules: tuple[Rule, ...] = field(default=(), name="rule")
    clips: Clips = field(default_factory=Clips)
    privacy: Privacy = field(default_factory=Privacy)
    speakers: tuple[Speaker, ...] = field(default=(), name="speaker")
    voice: Voice = field(default_factory=Voice)
    announcements: Announcements = field(default_factory=Announcements)
    mqtt: Mqtt | None = None
    operators: tuple[Operator, ...] = field(default=(), name="operator")
    outbox: Outbox = field(default_factory=Outbox)
    metrics: Metrics | None = None
    evidence: Evidence = field(default_factory=Evidence)


def sealed_leave(config: Agent) -> bool:
    """Whether sealed originals are uploaded, and kept as evidence is; else they stay, and are kept by [privacy]."""
    privacy = config.privacy
    return privacy.seal_to is not None and privacy.upload_sealed and config.evidence.upload != "off"
