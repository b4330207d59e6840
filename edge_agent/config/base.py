"""What all sections share: the types of their values, and the error that names every fault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

EX_CONFIG = 78  # sysexits.h: the service manager must not restart us on it


RESERVED = ("host", "grp")  # second levels of the topics that no device may take as its id


class ConfigError(Exception):
    """The configuration is wrong; `faults` holds one line for each fault."""

    def __init__(self, file: Path, faults: list[str]) -> None:
        self.file, self.faults = file, faults
        super().__init__("\n".join(f"{file}: {fault}" for fault in faults))


Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
Unit = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Lat = Annotated[float, Meta(ge=-90, le=90)]
Lon = Annotated[float, Meta(ge=-180, le=180)]
Alt = Annotated[float, Meta(gt=0, le=500)]
Speed = Annotated[float, Meta(gt=0, le=30)]
Positive = Annotated[float, Meta(gt=0)]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Day = Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
PatrolLevel = Literal["normal", "raised", "top"]
Secret = Annotated[str, Meta(pattern=r"^(credential:[A-Za-z0-9_.-]+|[^\x00]+)$")]  # a file, or credential:NAME


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Site(Section, frozen=True):
    """Where the device stands and what it is called; `lat`/`lon` are the take-off place."""

    device: Id
    name: str = "site"
    org: str | None = None  # on whose behalf, and for what, the device is there: stands in every event
    purpose: str | None = None
    time_zone: str = "UTC"
    lat: Lat | None = None
    lon: Lon | None = None
    alt_m: Annotated[float, Meta(ge=-500, le=9000)] | None = None  # of the take-off place, above the sea
    keep_days_min: Annotated[float, Meta(ge=0, le=36_500)] | None = (
        None  # how long originals must and may be kept here;
    )
    keep_days_max: Annotated[float, Meta(ge=0, le=36_500)] | None = None  # `edge-agent doctor` holds [evidence] to it
