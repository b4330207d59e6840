"""Where reports on the autopilot's settings lie on the disk: `params` below the data directory."""

from __future__ import annotations

from pathlib import Path

from edge_agent import keys
from edge_agent.files import left_to_owner_of, write_durably
from edge_agent.flight.param_report import APPLIED, Report, sealed, unsealed
from edge_agent.runtime import DriverError


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
    except OSError as error:
        raise DriverError(
            f"{error.filename or file}: {error.strerror}; the parameters are set, the report is not kept"
        ) from None
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
