"""What `params apply` leaves on the disk, `params` below the data directory: what is under way, and signed reports."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_agent import keys
from edge_agent.files import left_to_owner_of, write_durably
from edge_agent.flight.param_report import APPLIED, Report, sealed, unsealed
from edge_agent.runtime import DriverError

UNDER_WAY = "under-way.json"  # from before the first setting until the report is kept


class UnderWay(msgspec.Struct, frozen=True):
    """An apply that has begun: whatever ends it before its report, the next one goes on from here."""

    time: str
    backup: str  # what was aboard before it
    restart: tuple[str, ...]  # may be set, and act only from a start that has not been yet
    autopilot: str = ""  # its own number, as far as it told one

    def of(self, autopilot: str) -> bool:
        """Whether it was this autopilot, as far as is known: a bench sees many, and a vehicle gets a new one."""
        return not self.autopilot or not autopilot or self.autopilot == autopilot


def begin(data_dir: Path, under_way: UnderWay) -> None:
    """Write it down before anything is set: DriverError where the disk does not take it, or what comes after."""
    file = data_dir / "params" / UNDER_WAY
    try:
        with left_to_owner_of(data_dir):
            keys.device_key(data_dir)  # without it there is no report: better known now
            file.parent.mkdir(parents=True, exist_ok=True)
            write_durably(file, msgspec.json.encode(under_way))
    except OSError as error:
        raise DriverError(f"{file}: {error.strerror}; nothing more is set: mend that, and apply again") from None


def unfinished(data_dir: Path) -> UnderWay | None:
    """The apply that did not come to its end, if there is one that we may read of."""
    file = data_dir / "params" / UNDER_WAY
    try:
        return msgspec.json.decode(file.read_bytes(), type=UnderWay)
    except (FileNotFoundError, PermissionError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise DriverError(f"{file}: cannot be read: {error}; move it away, and restart the autopilot") from None


def keep(data_dir: Path, report: Report, stem: str) -> Path:
    """Sign the report and write it; one of an apply that was done is what drift is measured by from now on."""
    file = data_dir / "params" / f"{stem}.report.json"
    try:
        with left_to_owner_of(data_dir):
            key = keys.device_key(data_dir)
            data = sealed(report, keys.public_text(key), lambda message: keys.sign(key, message))
            file.parent.mkdir(parents=True, exist_ok=True)
            for place in (file, file.with_name(APPLIED)) if report.state == "done" else (file,):
                write_durably(place, data)
            if report.state == "done":
                file.with_name(UNDER_WAY).unlink(missing_ok=True)
    except OSError as error:
        raise DriverError(f"{file}: {error.strerror}; what was to be set is set, its report is not kept") from None
    return file


def applied(data_dir: Path) -> Report:
    """What was applied last by this device; DriverError where nothing was, or the record is not to be believed."""
    file = data_dir / "params" / APPLIED
    if not file.exists():
        raise DriverError(f"{file}: not there: nothing was applied yet (edge-agent params apply FILE…)")
    public = keys.public_text(keys.device_key(data_dir))
    return read(file, public)


def read(file: Path, public_key: str | None = None) -> Report:
    """A report from its file, verified; DriverError."""
    try:
        return unsealed(file.read_bytes(), keys.verify, public_key)
    except OSError as error:
        raise DriverError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise DriverError(f"{file}: {error}") from None
