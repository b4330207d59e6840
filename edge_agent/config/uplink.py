"""Sections of the reporting: broker, operators, outbox, evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from edge_agent.config.base import Id, Port, Secret, Section


class Mqtt(Section, frozen=True):
    """The broker. `version` "auto" tries MQTT 5 and falls back to 3.1.1; `plain = true` allows no TLS and says so."""

    host: str = "127.0.0.1"
    port: Port = 1883
    version: Literal["auto", "5", "3.1.1"] = "auto"
    plain: bool = False
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keep_alive_s: Annotated[int, Meta(ge=5, le=3600)] = 30
    telemetry_period_s: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0
    ack: Literal["centre", "broker"] = "centre"  # who must confirm before an event is deleted
    groups: tuple[Id, ...] = ()  # commands to these groups are obeyed as those to the device itself
    unsigned_commands: bool = False  # obey flight and speaker commands without a signature: for development


class Operator(Section, frozen=True):
    """Who may send commands over MQTT: `public_key` is Ed25519 in base64, good until the end of `not_after` (UTC)."""

    id: Id
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    role: Literal["viewer", "operator", "pilot", "admin"]
    public_key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=$")]
    not_after: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]


class Outbox(Section, frozen=True):
    """The store of events that are not confirmed yet."""

    max_mib: Annotated[int, Meta(ge=1, le=65_536)] = 256
    window: Annotated[int, Meta(ge=1, le=10_000)] = 1000  # at most so many unconfirmed; it opens as the link allows
    ballast_mib: Annotated[int, Meta(ge=0, le=4096)] = 64  # given up when the disk is full; 0 for none


class Metrics(Section, frozen=True):
    """Where Prometheus may scrape the agent: "127.0.0.1:9464" or "unix:/run/edge-agent/metrics.sock"."""

    listen: Annotated[str, Meta(pattern=r"^(unix:/[^\x00]{1,100}|(\[[0-9A-Fa-f:]+\]|[^\s:/]+):[0-9]{1,5})$")]


Days = Annotated[float, Meta(ge=0, le=36_500)]


class Evidence(Section, frozen=True):
    """The originals of incidents: where they are uploaded, what the link may cost, and how long they stay here.

    `upload` "static" takes them to the tus server at `url` with the bearer token in `token`; "mqtt" asks the centre
    for each file where to put it. TLS files fall back to those of [mqtt]. Clips, manifests and sealed originals stay as
    long as pictures (`keep_days` after the receipt) where nothing else is said.
    """

    upload: Literal["off", "static", "mqtt"] = "off"
    url: Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")] | None = None
    token: Secret | None = None
    plain: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    max_kib_per_s: Annotated[float, Meta(gt=0)] | None = None
    link: Literal["auto", "metered", "free"] = "auto"  # auto: what `metered_file` says, else NetworkManager, else free
    metered_file: Path | None = None  # holds `yes` or `no`; whoever manages the modem writes it
    metered: Literal["never", "thumbs_only", "all"] = "thumbs_only"  # what may cross a metered link
    keep_days: Days = 30.0
    keep_clips_days: Days | None = None
    keep_manifests_days: Days | None = None
    keep_originals_days: Days | None = None
    unsent_days: Days | None = None  # what no centre has confirmed goes after so long, with a gap record; else never
    max_mib: Annotated[int, Meta(ge=1, le=16_777_216)] = 4096
    min_free_mib: Annotated[int, Meta(ge=0, le=1_048_576)] = 256  # of the disk, for the events
    hold: bool = False  # nothing is deleted while this is set
