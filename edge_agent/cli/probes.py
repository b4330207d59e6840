"""What the doctor tries out: autopilot, cameras, models, speakers.

Where the agent runs it holds all of these, and is asked; else each is tried here, within a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from edge_agent import config, control
from edge_agent.device.doctor.facts import Gate, Params, Senses
from edge_agent.runtime import DriverError, SystemClock

LOOK_S, SPEAK_S, HEAR_S = 10.0, 10.0, 8.0
RUNNING = "running"


def status(settings: config.Agent) -> dict[str, Any] | None:
    """What a running agent says of itself."""
    try:
        return control.ask(settings.data_dir, control.Status(), timeout_s=5.0)
    except (DriverError, OSError):
        return None


def senses(settings: config.Agent, told: dict[str, Any] | None, quick: bool) -> Senses:
    """Autopilot, cameras, models, speakers."""
    found = Senses()
    _vehicle(found, settings, told, quick)
    if isinstance(settings.vehicle, config.MavlinkVehicle):
        _params(found.params, settings, ask=not quick and bool(found.gates))
    found.cameras_open = tuple(
        one.name for one in settings.cameras if isinstance(one, config.RtspCamera) and one.credentials is None
    )
    if told is not None:
        parts: dict[str, str] = told["parts"]
        found.cameras = {one.name: _part(parts, f"camera.{one.name}") for one in settings.cameras}
        found.speakers = {one.name: _part(parts, f"speaker {one.name}") for one in settings.speakers}
    elif not quick:
        found.cameras = {one.name: asyncio.run(_look(one)) for one in settings.cameras}
        found.speakers = {one.name: asyncio.run(_ask_speaker(one, settings)) for one in settings.speakers}
    if not quick:
        _models(found, settings)
    return found


def _part(parts: dict[str, str], name: str) -> str | None:
    """Why a part of the running agent does not work; one that was not needed yet has not failed."""
    how = parts.get(name, RUNNING)
    return None if how == RUNNING or not how.startswith("failed") else how


def _vehicle(found: Senses, settings: config.Agent, told: dict[str, Any] | None, quick: bool) -> None:
    section = settings.vehicle
    if section is None:
        return
    url = section.url if isinstance(section, config.MavlinkVehicle) else "simulated"
    found.vehicle = url
    if url.startswith("serial:"):
        found.serial_port = url.split(":")[1]
        found.serial_port_there = Path(found.serial_port).exists()
        found.serial_port_ours = os.access(found.serial_port, os.R_OK | os.W_OK)
    if told is not None:
        with contextlib.suppress(DriverError):
            answer = control.ask(settings.data_dir, control.Preflight())
            found.gates = _gates(answer.get("checks", []))
    elif not quick and url != "simulated":
        found.gates, found.vehicle_fault = _preflight(url, section.system_id)


def _params(found: Params, settings: config.Agent, *, ask: bool) -> None:
    """Whether the settings aboard are still those that were applied last."""
    from edge_agent.cli.tuning import ask_drift
    from edge_agent.flight import param_shelf
    from edge_agent.flight.param_report import APPLIED, Drift

    try:
        unfinished = param_shelf.unfinished(settings.data_dir)
        found.unfinished = None if unfinished is None else unfinished.time
        if not (settings.data_dir / "params" / APPLIED).exists():
            return
        found.applied = param_shelf.applied(settings.data_dir).time
        answer = asyncio.run(ask_drift(settings)) if ask else {}
        found.fault = answer.get("reason")
        if "drift" in answer:
            found.drift = tuple(str(Drift(**one)) for one in answer["drift"])
    except DriverError as error:
        found.fault = str(error)


def _preflight(url: str, system_id: int) -> tuple[dict[str, Gate] | None, str | None]:
    """`edge-agent preflight`, as a process of its own: it opens the link and closes it."""
    command = [sys.executable, "-m", "edge_agent", "preflight", "--connection", url, "--system-id", str(system_id)]
    command += ["--wait", f"{HEAR_S:g}", "--json"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HEAR_S * 4)
    except subprocess.TimeoutExpired:
        return None, f"{url}: no answer in {HEAR_S * 4:g} s"
    rows = []
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    gates = _gates(rows)
    return (
        (gates, None)
        if gates
        else (None, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "nothing heard")
    )


def _gates(rows: list[Any]) -> dict[str, Gate]:
    found = [msgspec.convert(row, Gate) for row in rows if isinstance(row, dict) and "gate" in row and "state" in row]
    return {one.gate: one for one in found}


async def _look(section: config.Camera) -> str | None:
    """Whether a camera shows one picture."""
    from contextlib import aclosing

    from edge_agent.vision.camera import open_camera

    try:
        async with asyncio.timeout(LOOK_S), aclosing(open_camera(section, SystemClock()).frames()) as frames:
            async for _ in frames:
                return None
    except TimeoutError:
        return f"no picture in {LOOK_S:g} s"
    except (DriverError, OSError) as error:
        return str(error)
    return "it ended without one picture"


async def _ask_speaker(section: config.Speaker, settings: config.Agent) -> str | None:
    """Whether a speaker says that it could play; nothing sounds."""
    from edge_agent.speakers import open_speaker

    try:
        async with asyncio.timeout(SPEAK_S):
            await open_speaker(section, settings.data_dir, SystemClock()).health()
    except TimeoutError:
        return f"no answer in {SPEAK_S:g} s"
    except (DriverError, OSError) as error:
        return str(error)
    return None


def _models(found: Senses, settings: config.Agent) -> None:
    """Load each model and time it; how many ms its cameras leave for a frame."""
    from edge_agent.vision.detect import open_detector

    found.models = {}
    for one in settings.detectors:
        if not isinstance(one, config.OnnxDetector):
            continue
        try:
            found.model_ms[one.name] = _time(open_detector(one))
            found.models[one.name] = None
        except DriverError as error:
            found.models[one.name] = str(error)
        theirs = [camera for camera in settings.cameras if camera.detector == one.name]
        rates = [getattr(camera, "max_fps", None) or getattr(camera, "fps", None) for camera in theirs]
        if total := sum(rate for rate in rates if rate):
            found.wanted_ms[one.name] = 1000.0 / total


def _time(detector: Any) -> float:
    """Milliseconds a frame of 1280 x 720, all of it: the best of three, after one to warm up."""
    import numpy as np

    from edge_agent.vision.camera import Frame

    frame = Frame(camera="doctor", seq=0, at_s=0.0, wall_s=0.0, pixels=np.zeros((720, 1280, 3), np.uint8))
    took_s = []
    for _ in range(4):
        began_s = time.perf_counter()
        detector.detect(frame)
        took_s.append(time.perf_counter() - began_s)
    return min(took_s[1:]) * 1000
