"""Sets of evidence for who stayed too long: photographs, plate, warnings, clips and exit in one signed manifest.

While a set is open its facts are in a draft on the disk, written anew at each change; a restart closes it as
"interrupted" with what it has. What could not be kept is named in the manifest, never left out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from edge_agent import config, keys, manifest
from edge_agent.audit import Audit
from edge_agent.files import write_durably
from edge_agent.incidents.shots import Shot
from edge_agent.messages import Incident, Plate, Spoken, Track, Tracks, Video
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.timequality import time_quality
from edge_agent.topics import rfc3339
from edge_agent.witness import Witness

if TYPE_CHECKING:
    from edge_agent.vision.camera import Frame

log = logging.getLogger(__name__)

FOLDER, HEAD = "sets", ".head"
LOOK_S = 1.0
CLIP_S = 60.0  # how long a set that is over waits for its clips, after they should have ended
HELD_QUALITY = 95


ClipRole = Literal["clip", "clip_fired"]  # of the whole stay; around the moment at which the rule fired


class Books(Protocol):
    """Who takes charge of files: uploads them, and deletes them by rule."""

    async def keep(self, path: Path, *, kind: str, incident: str, sha256: str, bytes: int, wall_s: float) -> None: ...
    def refuses(self) -> str | None: ...


class Draft(msgspec.Struct, kw_only=True):
    """A set that is open; what ends up in the manifest is `body`."""

    incident: str
    body: dict[str, Any]
    blur: bool
    awaited: list[ClipRole] = []
    wait_s: float = CLIP_S
    photos: int = 0
    plate: float = 0.0  # confidence of the crop that is kept
    over_s: float | None = None  # Unix time of its end


@dataclass(frozen=True)
class _Held:
    """The entry of a stay that may become a set."""

    jpeg: bytes
    frame: Frame  # without its pixels
    tracks: Tracks
    shot: Shot


class Dossiers:
    """`take` what the rules want photographed, hear of warnings and clips; `run` closes sets, under `supervise`."""

    def __init__(
        self,
        data_dir: Path,
        settings: Callable[[], config.Agent],
        *,
        witness: Witness,
        books: Books,
        audit: Audit,
        clock: Clock,
        health: Health,
    ) -> None:
        self._data_dir, self._dir = data_dir, data_dir / FOLDER
        self._settings, self._witness, self._books = settings, witness, books
        self._audit, self._clock, self._health = audit, clock, health
        self._held: dict[tuple[str, int], _Held] = {}
        self._open: dict[str, Draft] = {}
        self._writing = threading.Lock()  # several parts tell of one set at the same moment

    # --- what happens ---------------------------------------------------------------------------------------------

    async def take(self, incidents: Iterable[Incident], shots: Iterable[Shot], frame: Frame, tracks: Tracks) -> None:
        """The photographs that are due in this frame; a disk that fails is a fault, and stands in the manifest."""
        found = {incident.id: incident for incident in incidents}
        for shot in shots:
            try:
                await self._take(found.get(shot.incident or ""), shot, frame, tracks)
            except DriverError as error:
                self._health.failed("sets", error)

    async def _take(self, fired: Incident | None, shot: Shot, frame: Frame, tracks: Tracks) -> None:
        if shot.incident is None:
            await self._hold(shot, frame, tracks)
            return
        if fired is not None and fired.id not in self._open:
            await self._begin(fired, shot)
        if (draft := self._open.get(shot.incident)) is None:
            return
        if shot.role == "lost":
            self._end(draft, "interrupted", None, shot.gap_s)
            await self._save(draft)
        else:
            await self._shoot(draft, shot, frame, tracks)

    async def spoken(self, spoken: Spoken) -> None:
        """A warning ended on one speaker."""
        if (draft := self._open.get(spoken.incident or "")) is None:
            return
        facts = {name: getattr(spoken, name) for name in ("announcement", "speaker", "text", "outcome", "proof", "by")}
        more = {"time": rfc3339(spoken.wall_s), "refusal": str(spoken.refusal) if spoken.refusal else None}
        draft.body["warnings"].append(facts | more)
        await self._save(draft)

    async def filmed(self, incident: str, role: ClipRole, found: Video | str, original: str | None) -> None:
        """A clip of the incident, and the hash of its original, if any; or why there is none."""
        if (draft := self._open.get(incident)) is None or role not in draft.awaited:
            return
        draft.awaited.remove(role)
        if isinstance(found, Video):
            facts = {"role": role, "name": Path(found.path).name, "sha256": found.sha256, "bytes": found.bytes}
            times = {"time": rfc3339(found.began_s), "lasts_s": found.lasts_s, "frames": found.frames}
            draft.body["files"].append(facts | times | ({"original_sha256": original} if original else {}))
        else:
            draft.body["missing"].append({"role": role, "why": found})
        await self._save(draft)

    # --- kept -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Close what is over, until cancelled; first of all what an earlier run left open."""
        await asyncio.to_thread(self._recover)
        while True:
            for draft in [draft for draft in self._open.values() if self._is_over(draft)]:
                await self._close(draft)
            await self._clock.sleep(LOOK_S)

    def _is_over(self, draft: Draft) -> bool:
        if draft.over_s is None:
            return False
        return not draft.awaited or self._clock.wall() - draft.over_s > draft.wait_s

    def _recover(self) -> None:
        for file in sorted(self._dir.glob(".*.draft")):
            try:
                draft = msgspec.json.decode(file.read_bytes(), type=Draft)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                log.error("%s: %s; its files are kept, without a manifest", file, error)
                file.replace(file.with_suffix(".damaged"))
                continue
            if draft.incident in self._open:
                continue
            if draft.over_s is None:
                draft.over_s = self._clock.wall()
                draft.body |= {"outcome": "interrupted", "ended": None}
            _give_up(draft, "the agent stopped before it was cut")  # what was to be cut was in memory
            self._open[draft.incident] = draft

    async def _hold(self, shot: Shot, frame: Frame, tracks: Tracks) -> None:
        if shot.role == "over":
            self._held.pop(shot.stay, None)
            return
        import numpy as np

        jpeg = await asyncio.to_thread(_encoded, frame, HELD_QUALITY)
        self._held[shot.stay] = _Held(jpeg, replace(frame, pixels=np.empty((0, 0, 3), np.uint8)), tracks, shot)

    async def _begin(self, incident: Incident, shot: Shot) -> None:
        settings = self._settings()
        rule = next(rule for rule in settings.rules if rule.id == incident.rule)
        facts = {"incident": "id", "rule": "rule", "kind": "kind", "camera": "camera", "zone": "zone", "label": "label"}
        body = {name: getattr(incident, of) for name, of in facts.items()} | {
            "device": settings.site.device,
            "site": settings.site.name,
            "org": settings.site.org,
            "purpose": settings.site.purpose,
            "entered": rfc3339(incident.began_s),
            "fired": rfc3339(incident.wall_s),
            "place": msgspec.to_builtins(incident.place),
            "plate": _plate_facts(incident.plate),
            "time_quality": msgspec.to_builtins(time_quality()),
            "warnings": [],
            "files": [],
            "missing": [],
        }
        draft = self._open[incident.id] = Draft(
            incident=incident.id,
            body=body,
            blur=settings.privacy.blur and rule.blur,
            awaited=_clips(settings, rule),
            wait_s=rule.clip_after_s + CLIP_S,
        )
        if (why := self._books.refuses()) is not None:
            _give_up(draft, why)
        held = self._held.pop(shot.stay, None)
        if held is None:
            why = "nobody knew yet that it would stay: too many stood in the zone"
            draft.body["missing"].append({"role": "entry", "why": why})
        else:
            frame = await asyncio.to_thread(_decoded, held.jpeg, held.frame)
            await self._shoot(draft, held.shot, frame, held.tracks)

    async def _shoot(self, draft: Draft, shot: Shot, frame: Frame, tracks: Tracks) -> None:
        """One photograph, and the plate where it is read better than before."""
        draft.photos += shot.role == "photo"
        role = f"photo{draft.photos}" if shot.role == "photo" else str(shot.role)
        track = shot.track
        try:
            if (why := self._books.refuses()) is not None:
                raise DriverError(why)
            name, subject = f"{draft.incident}.{role}", track.id if track else None
            picture, original = await self._witness.photograph(name, frame, tracks, subject, blur=draft.blur)
            facts: dict[str, Any] = {"role": role, "name": f"{name}.jpg", "time": rfc3339(frame.wall_s)}
            facts |= {"sha256": picture.sha256, "bytes": picture.bytes, "seen": track is not None}
            facts |= {"original_sha256": original} if original else {}
            if track is not None:
                facts |= {"box": [round(edge, 1) for edge in track.box], "moved": round(shot.moved, 3)}
                facts |= {"track": track.id, "place": msgspec.to_builtins(track.place)}
            draft.body["files"].append(facts)
            await self._keep(draft, facts, frame.wall_s)
            if track is not None:
                await self._crop(draft, track)
        except DriverError as error:
            self._health.failed("sets", error)
            draft.body["missing"].append({"role": role, "why": str(error)})
        if shot.role in ("exit", "stayed"):
            self._end(draft, "left" if shot.role == "exit" else "stayed", rfc3339(frame.wall_s), shot.gap_s)
        await self._save(draft)

    def _end(self, draft: Draft, outcome: str, ended: str | None, gap_s: float) -> None:
        draft.over_s = self._clock.wall()
        draft.body |= {"outcome": outcome, "ended": ended, "gap_s": round(gap_s, 3)}

    async def _crop(self, draft: Draft, track: Track) -> None:
        """The plate's best shot, of whatever moment."""
        plate, shot = track.plate, track.shot
        if plate is None or shot is None or plate.confidence <= draft.plate:
            return
        draft.plate, draft.body["plate"] = plate.confidence, _plate_facts(plate)
        sha256 = hashlib.sha256(shot.jpeg).hexdigest()
        before = [one["sha256"] for one in draft.body["files"] if one["role"] == "plate"]
        if sha256 in before:
            return
        name = f"{draft.incident}.plate{len(before) + 1}.jpg"  # one that was uploaded is never changed
        await asyncio.to_thread(_write, self._dir / name, shot.jpeg)
        facts = {"role": "plate", "name": name, "sha256": sha256, "bytes": len(shot.jpeg), "time": rfc3339(shot.wall_s)}
        draft.body["files"].append(facts)
        await self._keep(draft, facts, shot.wall_s)

    async def _close(self, draft: Draft) -> None:
        """Sign it, on disk first, and hand it over."""
        _give_up(draft, "was not cut in time")
        file = self._dir / f"{draft.incident}{manifest.SUFFIX}"
        data = await asyncio.to_thread(self._sign, draft, file)
        facts = {"role": "manifest", "name": file.name, "bytes": len(data)}
        await self._keep(draft, facts | {"sha256": hashlib.sha256(data).hexdigest()}, self._clock.wall())
        del self._open[draft.incident]
        log.info("evidence set %s is closed: %s", draft.incident, draft.body.get("outcome"))

    def _sign(self, draft: Draft, file: Path) -> bytes:
        """What a kill left signed, or the books did not take, is not signed anew: its place in the chain would go."""
        with self._writing:
            return self._sign_alone(draft, file)

    def _sign_alone(self, draft: Draft, file: Path) -> bytes:
        if not file.is_file():
            seq, prev = head(self._dir)
            facts = msgspec.json.decode(msgspec.json.encode(draft.body))  # what is told meanwhile comes too late
            body = facts | {"closed": rfc3339(self._clock.wall())}
            found = manifest.signed(body, seq=seq + 1, prev=prev, key=keys.device_key(self._data_dir))
            _write(file, json.dumps(found, ensure_ascii=False, indent=1).encode())
        found = manifest.read(file)
        newest, digest = head(self._dir)
        _write(self._dir / HEAD, json.dumps({"seq": newest, "hash": digest}).encode())
        facts = {"incident": draft.incident, "number": found["seq"], "hash": found["hash"]}
        self._audit.append([("set.signed", "agent", facts)])
        (self._dir / f".{draft.incident}.draft").unlink(missing_ok=True)
        return file.read_bytes()

    async def _keep(self, draft: Draft, facts: Mapping[str, Any], wall_s: float) -> None:
        """Hand a file over to the books, by what the manifest says of it."""
        name, kind = facts["name"], "manifest" if facts["role"] == "manifest" else "picture"
        sha256, size = facts["sha256"], facts["bytes"]
        await self._books.keep(
            self._dir / name, kind=kind, incident=draft.incident, sha256=sha256, bytes=size, wall_s=wall_s
        )

    async def _save(self, draft: Draft) -> None:
        try:
            await asyncio.to_thread(self._put, draft)
        except DriverError as error:
            self._health.failed("sets", error)
        else:
            self._health.set("sets", "running")

    def _put(self, draft: Draft) -> None:
        """As it is at this moment, so that what is written last is the newest; one that is signed has no draft."""
        with self._writing:
            if not (self._dir / f"{draft.incident}{manifest.SUFFIX}").is_file():
                _write(self._dir / f".{draft.incident}.draft", msgspec.json.encode(draft))


def head(directory: Path) -> tuple[int, str]:
    """Number and hash of the newest manifest of a device; a manifest that a kill left without its head counts."""
    seq, digest = 0, manifest.START
    try:
        found = json.loads((directory / HEAD).read_bytes())
        seq, digest = int(found["seq"]), str(found["hash"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.error("%s: %s; the manifests themselves tell where it stood", directory / HEAD, error)
    for file in directory.glob(f"*{manifest.SUFFIX}"):
        try:
            one = manifest.read(file)
            if int(one["seq"]) > seq:
                seq, digest = int(one["seq"]), str(one["hash"])
        except (DriverError, ValueError, KeyError, TypeError) as error:  # `verify` names it; the others go on
            log.error("%s: %s; the chain goes on from the others", file, error)
    return seq, digest


def _clips(settings: config.Agent, rule: config.Rule) -> list[ClipRole]:
    """The clips that a set will have."""
    films = settings.clips.seconds > 0 and rule.clip_before_s + rule.clip_after_s > 0
    return ["clip_fired", "clip"] if films else []


def _give_up(draft: Draft, why: str) -> None:
    """What clips are awaited will not come."""
    draft.body["missing"] += [{"role": role, "why": why} for role in draft.awaited]
    draft.awaited = []


def _plate_facts(plate: Plate | None) -> dict[str, Any] | None:
    if plate is None:
        return None
    names = ("text", "confidence", "votes", "country", "type", "color")
    return {name: getattr(plate, name) for name in names}


def _write(file: Path, data: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(file, data)
    except OSError as error:
        raise DriverError(f"{file}: cannot be written: {error.strerror}") from None


def _encoded(frame: Frame, quality: int) -> bytes:
    from edge_agent.vision.record import jpeg

    return jpeg(frame.pixels, quality)


def _decoded(data: bytes, frame: Frame) -> Frame:
    import cv2
    import numpy as np

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return replace(frame, pixels=np.asarray(pixels, dtype=np.uint8))
