"""Did every link work? Read at the far ends: the vehicle's own log, the centre's database, the speaker's WAVs."""

from __future__ import annotations

import hashlib
import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from edge_agent import geo
from edge_agent.demo import scenario

HOME_M = 5.0  # landed within this of where it took off
DOWN_M = 0.5  # lower than this it stands
VISITED_M = 5.0  # came this close to each corner
TONE_TOLERANCE = 0.01
OBEYED = ("accepted", "progress", "done")
SPEECH_S = 0.5  # of sound after the attention tone


@dataclass(frozen=True)
class Verdict:
    """One link: did it work, and what the far end shows."""

    link: str
    ok: bool
    shows: str
    files: tuple[Path, ...] = ()


@dataclass
class FarEnds:
    """What stands at the far ends now; read anew for each look."""

    directory: Path
    plate: str
    tone_hz: float
    replies: list[dict[str, Any]] = field(default_factory=list)  # that the asker of commands got
    died: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vehicle = list(_json_lines(self.directory / "world" / "vehicle.jsonl"))
        self.events: list[dict[str, Any]] = []
        self.thumbs: dict[str, bytes] = {}
        self.missing: int = 0
        centre = self.directory / "centre" / "centre.db"
        self.events = [json.loads(body) for (body,) in _rows(centre, "SELECT body FROM event ORDER BY epoch, seq")]
        self.thumbs = {str(event): bytes(body) for event, body in _rows(centre, "SELECT event, body FROM thumb")}
        for last, count in _rows(centre, "SELECT max(seq), count(*) FROM place GROUP BY device, epoch"):
            self.missing += int(last) - int(count)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind, as the centre has them."""
        return [event["data"] for event in self.events if event["type"] == f"ev.{kind}"]

    def found(self) -> list[dict[str, Any]]:
        """The incidents, without what became of them."""
        return [data for data in self.of("det") if not data.get("rev")]

    def incidents(self, kind: str) -> list[dict[str, Any]]:
        return [data for data in self.found() if data["kind"] == kind]

    def waiting(self) -> set[str]:
        """Incidents that the agent's outbox holds; it is the agent's alone while the agent runs."""
        box = self.directory / "agent" / "events.db"
        return {str(id) for (id,) in _rows(box, "SELECT id FROM event WHERE kind = 'det' AND id NOT LIKE '%.%'")}

    def left(self) -> int:
        """What the centre has not confirmed: events and thumbs, once the agent has stopped."""
        rows = _rows(self.directory / "agent" / "events.db", "SELECT count(*) FROM event")
        return int(rows[0][0]) if rows else 0

    def spoken(self) -> list[dict[str, Any]]:
        return [data for data in self.of("voice") if data["outcome"] == "delivered"]

    def wavs(self) -> list[Path]:
        return sorted((self.directory / "agent" / "speakers").rglob("*.wav"))


def headline(far: FarEnds) -> str:
    """The demo in one line; an incident is raised once it is in the agent's outbox, or was."""
    delivered = {data["id"] for data in far.found()}
    spoken = {data["incident"] for data in far.spoken()} & delivered
    raised = delivered | far.waiting()
    flight = "completed" if _flight(far).ok else "not completed"
    return f"flight {flight}; incidents: {len(raised)} raised, {len(spoken)} spoken, {len(delivered)} delivered"


def verdicts(far: FarEnds) -> list[Verdict]:
    """All links, in the order in which things happen; processes that died come first, for they explain the rest."""
    links = [
        _schedule(far),
        _flight(far),
        _progress(far),
        _camera(far),
        _plates(far),
        _pictures(far),
        _voice(far),
        _commands(far),
        _delivery(far),
    ]
    dead = {name: f"its process was {how}" for name, how in far.died.items()}
    alive = [
        replace(link, ok=False, shows=f"{dead.pop(link.link)}; {link.shows}") if link.link in dead else link
        for link in links
    ]
    return [Verdict(name, False, how) for name, how in dead.items()] + alive


def _rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    """The answer of a database that others write; one that is not there, locked or without tables yet has none."""
    if not database.exists():
        return []
    db = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(2000)
    try:
        return list(db.execute(query))
    except (apsw.SQLError, apsw.BusyError):
        return []
    finally:
        db.close()


def _schedule(far: FarEnds) -> Verdict:
    asked = [event for event in far.of("mission") if event["by"].startswith("schedule:")]
    shows = f"the flight was begun by {asked[0]['by']}" if asked else "no flight was begun by the schedule"
    return Verdict("schedule", bool(asked), shows)


def _flight(far: FarEnds) -> Verdict:
    log = far.directory / "world" / "vehicle.jsonl"
    places = [line for line in far.vehicle if "lat" in line]
    height_m = max((line["alt_m"] for line in places), default=0.0)
    if not any(line["event"] == "armed" for line in far.vehicle):
        return Verdict("vehicle", False, "it never armed", (log,))
    near_m = [
        min(geo.distance_m(lat, lon, line["lat"], line["lon"]) for line in places) for lat, lon in scenario.waypoints()
    ]
    visited = sum(m <= VISITED_M for m in near_m)
    last = far.vehicle[-1]
    down = not last["armed"] and last["alt_m"] < DOWN_M and last["distance_home_m"] <= HOME_M
    shows = f"climbed to {height_m:.0f} m, passed {visited} of {len(near_m)} corners, " + (
        f"landed {last['distance_home_m']:.1f} m from home, disarmed"
        if down
        else f"ended in {last['mode']}, not at home"
    )
    return Verdict("vehicle", down and visited == len(near_m) and height_m > 0.9 * scenario.ALT_M, shows, (log,))


def _progress(far: FarEnds) -> Verdict:
    """The flight as the centre was told of it; `seq` counts the phases of a run, also over a restart of the agent."""
    told = [event for event in far.of("mission") if event["run"] == far.of("mission")[-1]["run"]]
    phases = sorted(told, key=lambda event: int(event["seq"]))
    whole = [event["seq"] for event in phases] == list(range(1, len(phases) + 1))
    last = phases[-1]["phase"] if phases else "nothing"
    shows = f"{_count(phases, 'phase')} reported, the last of them: {last}"
    return Verdict("progress", whole and last == "landed", shows)


def _camera(far: FarEnds) -> Verdict:
    people, vehicles = far.incidents("forbidden_zone"), far.incidents("dwell")
    shows = f"{_count(people, 'person', 'people')} in the water and {_count(vehicles, 'vehicle')} by the kerb reported"
    return Verdict("camera", bool(people and vehicles), shows)


def _plates(far: FarEnds) -> Verdict:
    read = {data["plate"]["text"]: data["plate"]["confidence"] for data in far.incidents("dwell") if data.get("plate")}
    text = ", ".join(f"{plate} ({confidence:.2f})" for plate, confidence in read.items()) or "none"
    return Verdict("plates", far.plate in read, f"read: {text}; the parked car's is {far.plate}")


def _pictures(far: FarEnds) -> Verdict:
    """Each reported incident has its picture on the device's disk, byte for byte, and a thumb at the centre."""
    found = far.found()
    good = [Path(data["picture"]["path"]) for data in found if _same(data["picture"])]
    thumbs = sum(data["id"] in far.thumbs for data in found)
    shows = f"{len(good)} of {len(found)} pictures have the reported hash, {thumbs} thumbs arrived"
    return Verdict("pictures", bool(found) and len(good) == thumbs == len(found), shows, tuple(good))


def _voice(far: FarEnds) -> Verdict:
    """What the centre was told was spoken is what the WAVs hold: the same samples, the tone, and sound after it."""
    told = {data["announcement"]: data["sha256"] for data in far.spoken()}
    wavs = {path.stem: path for path in far.wavs()}
    good = [wavs[name] for name, sha in told.items() if name in wavs and _speaks(wavs[name], far.tone_hz, sha)]
    shows = f"{len(good)} of {_count(list(told), 'text')} in the WAVs: a tone at {far.tone_hz:.0f} Hz, then speech"
    return Verdict("speaker", bool(good) and len(good) == len(told), shows, tuple(good))


def _commands(far: FarEnds) -> Verdict:
    """Obeyed once: the first answer, or the one that was recorded of it (a kill may take the first on its way)."""
    states = [str(reply["state"]) for reply in far.replies]
    first = (far.replies[0].get("recorded") or far.replies[0]) if states else {"state": ""}
    obeyed = [data for data in far.spoken() if data["text"] == scenario.ORDER]
    shows = f"the centre's command was answered: {', '.join(states) or 'not at all'}; obeyed {_count(obeyed, 'time')}"
    return Verdict("command", first["state"] in OBEYED and states[1:] == ["duplicate"] and len(obeyed) == 1, shows)


def _delivery(far: FarEnds) -> Verdict:
    """The stream at the centre has no holes, and nothing is left on the device that the centre has not confirmed."""
    left = far.left()
    shows = f"{len(far.events)} events and {len(far.thumbs)} thumbs at the centre, {far.missing} missing"
    shows += f", {left} still on the device" if left else ""
    centre = far.directory / "centre" / "centre.db"
    return Verdict("delivery", bool(far.events) and far.missing == 0 and not left, shows, (centre,))


def _speaks(path: Path, tone_hz: float, sha256: str) -> bool:
    with wave.open(str(path)) as file:
        rate_hz = file.getframerate()
        pcm = file.readframes(file.getnframes())
    if hashlib.sha256(pcm).hexdigest() != sha256:
        return False
    samples = np.frombuffer(pcm, "<i2").astype(float)
    tone, speech = samples[: int(0.25 * rate_hz)], samples[int(0.8 * rate_hz) :]
    if len(tone) < 100 or not np.any(tone):
        return False
    peak_hz = np.argmax(np.abs(np.fft.rfft(tone * np.hanning(len(tone)), 8 * len(tone)))) * rate_hz / (8 * len(tone))
    loud_s = np.sum(np.abs(speech) > 0.02 * 32768) / rate_hz
    return abs(peak_hz - tone_hz) <= TONE_TOLERANCE * tone_hz and bool(loud_s >= SPEECH_S)


def _same(picture: dict[str, Any] | None) -> bool:
    if picture is None:
        return False
    path = Path(picture["path"])
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == picture["sha256"]


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a log that may still be written to."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield json.loads(line)


def _count(found: list[Any], one: str, many: str | None = None) -> str:
    return f"{len(found)} {one if len(found) == 1 else many or one + 's'}"
