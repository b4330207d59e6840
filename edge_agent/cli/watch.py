"""`edge-agent watch`: the pipeline in lock step over every frame of a video, with the rules of a configuration."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

PLAIN = """
data_dir = "."

[site]
device = "watch"

[[detector]]
name = "built-in"
type = "onnx"

[[camera]]
name = "video"
type = "video"
path = "."
detector = "built-in"
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video file, or a directory of pictures")
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help="detector, zones and rules (without it: people and vehicles as tracks, by the built-in detector)",
    )
    parser.add_argument("--camera", metavar="NAME", help="the [[camera]] whose zones apply (default: the only one)")
    parser.add_argument(
        "--json", action="store_true", help="one JSON line for each track that ended, incident and count"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="write the picture of each incident there, as it would leave"
    )
    parser.add_argument(
        "--began",
        type=_moment,
        metavar="TIME",
        help="when the video was taken, as 2026-11-22T21:30 (by the site's clock unless it says +08:00): rules hold at"
        " their times alone (default: at any time)",
    )


def main(args: argparse.Namespace) -> int:
    """Exit 0 at the end of the video, 1 where it cannot be read to its end, 78 on a bad configuration."""
    if args.config is None:
        with tempfile.TemporaryDirectory(prefix="edge-agent-watch-") as directory:
            return _main(
                args, config.parse(PLAIN, Path(directory) / "agent.toml"), "video", Path("the built-in settings")
            )
    try:
        return _main(args, config.load(args.config), args.camera, args.config)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG


def _main(args: argparse.Namespace, settings: config.Agent, name: str | None, file: Path) -> int:
    camera = _camera(settings, name, file)
    if blind := _unjudged(settings, camera):
        print(
            f"{', '.join(blind)}: on the map, and a video does not tell where the drone was: not judged",
            file=sys.stderr,
        )
    try:
        for happening in _watch(settings, camera, args.video, args.pictures, args.began):
            print_json(happening) if args.json else print(_readable(happening), flush=True)
    except DriverError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _watch(
    settings: config.Agent, camera: config.Camera, video: Path, pictures: Path | None, began: datetime | None
) -> Iterator[dict[str, Any]]:
    """What happens in the video, in order; times are seconds from its start, but for `wall_s`.

    Raises DriverError after the last of it where the video was not read whole.
    """
    import msgspec

    from edge_agent.audit import Audit
    from edge_agent.incidents.hotlist_store import HotLists
    from edge_agent.incidents.rules import Rules
    from edge_agent.vision.camera.video import read_frames
    from edge_agent.vision.pipeline import open_eye
    from edge_agent.vision.places import Places
    from edge_agent.vision.record import write_picture
    from edge_agent.witness import veiled

    lists = HotLists(settings.data_dir, audit=Audit(settings.data_dir))
    lists.refresh()
    zone = ZoneInfo(settings.site.time_zone)
    start_s = 0.0 if began is None else (began if began.tzinfo else began.replace(tzinfo=zone)).timestamp()
    eye = open_eye(settings, camera)
    rules = Rules(settings.zones, settings.rules, lists=lists, time_zone=zone if began else None)
    blurs = {rule.id: settings.privacy.blur and rule.blur for rule in settings.rules}
    places = Places([camera], settings.site)
    if fault := places.faults.get(camera.name):
        raise DriverError(f"{camera.name}: {fault}")
    fps = camera.fps if isinstance(camera, config.VideoCamera) else None
    seen: dict[int, dict[str, Any]] = {}
    frames, drops = 0, Counter[str]()
    failure: DriverError | None = None
    try:
        for found in _with_progress(read_frames(video, camera=camera.name, fps=fps, drops=drops)):
            frame = eye.veil(replace(found, wall_s=start_s + found.at_s))
            frames += 1
            tracks = places.locate(eye.process(frame))
            for track in tracks.ended:
                seen.pop(track.id, None)
                yield _track(track)
            seen |= {track.id: _track(track) for track in tracks.tracks if track.seen or track.id not in seen}
            yield from (_tally(tally, start_s) for tally in rules.count(tracks))
            for incident in rules.update(tracks):
                picture = None
                if pictures is not None:
                    marks = [(incident.box, f"{incident.rule} {incident.label} #{incident.track}")]
                    shown = veiled(frame, tracks, incident.track) if blurs[incident.rule] else frame
                    picture = write_picture(pictures, incident.id, shown, marks)
                told = msgspec.to_builtins(msgspec.structs.replace(incident, picture=picture))
                began_s, wall_s = incident.at_s - incident.lasted_s, incident.wall_s if began else None
                yield {"type": "incident"} | told | {"began_s": began_s, "wall_s": wall_s}
        failure = _incomplete(video, drops)
    except DriverError as error:
        failure = error
    lists.flush()
    yield from (_tally(tally, start_s) for tally in rules.close())
    yield from seen.values()
    yield {"type": "end", "frames": frames, "complete": failure is None}
    if failure:
        raise failure


def _incomplete(video: Path, drops: Counter[str]) -> DriverError | None:
    """What of the video was not to be had, if anything."""
    faults = []
    if missing := drops["missing"]:
        faults.append(f"ends early, {_some(missing, 'frame')} before the end that it promises")
    if broken := drops["broken"]:
        faults.append(f"{_some(broken, 'part')} of it cannot be decoded")
    return DriverError(f"{video}: {'; '.join(faults)}") if faults else None


def _some(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _track(track: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "id": track.id,
        "label": track.label,
        "score": round(track.score, 3),
        "first_s": round(track.first_s, 3),
        "last_s": round(track.last_s, 3),
        "hits": track.hits,
        "box": [round(edge, 1) for edge in track.box],
        "plate": track.plate.text if track.plate else None,
    }


def _tally(tally: Any, start_s: float) -> dict[str, Any]:
    return {
        "type": "count",
        "rule": tally.rule,
        "zone": tally.zone,
        "since_s": round(tally.since_s - start_s, 3),
        "lasted_s": round(tally.lasted_s, 3),
        "observed_s": round(tally.observed_s, 3),
        "total": tally.total,
        "labels": tally.labels,
        "to_left": tally.to_left,
        "to_right": tally.to_right,
    }


def _with_progress(frames: Iterator[Any]) -> Iterator[Any]:
    """Count frames on a terminal, and nowhere else."""
    if not sys.stderr.isatty():
        yield from frames
        return
    try:
        for frame in frames:
            if frame.seq % 10 == 0:
                print(f"\rframe {frame.seq}, {frame.at_s:.1f} s of video", end="", file=sys.stderr, flush=True)
            yield frame
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _readable(happening: dict[str, Any]) -> str:
    match happening["type"]:
        case "incident":
            return (
                f"{happening['at_s']:8.2f} s  incident {happening['id']}: {happening['kind']}, {happening['label']}"
                f" #{happening['track']} in {happening['zone']} for {happening['lasted_s']:.1f} s"
            )
        case "count":
            until_s, what = happening["since_s"] + happening["lasted_s"], happening["zone"] or "over the line"
            labels = ", ".join(f"{count} {label}" for label, count in happening["labels"].items()) or "nothing"
            return f"{until_s:8.2f} s  count {happening['rule']}: {labels} {what} since {happening['since_s']:.2f} s"
        case "track":
            plate = f", plate {happening['plate']}" if happening["plate"] else ""
            return (
                f"{happening['last_s']:8.2f} s  track #{happening['id']}: {happening['label']} from"
                f" {happening['first_s']:.2f} s, {happening['hits']} frames{plate}"
            )
        case _:
            return f"{happening['frames']} frames" + ("" if happening["complete"] else ", not all of the video")


def _unjudged(settings: config.Agent, camera: config.Camera) -> list[str]:
    """The rules on the map of a camera on a drone, by zone or by line."""
    if not isinstance(camera.view, config.DroneView):
        return []
    mapped = {zone.name for zone in settings.zones if zone.map and zone.camera == camera.name}
    return [
        rule.id
        for rule in settings.rules
        if getattr(rule, "zone", None) in mapped
        or (isinstance(rule, config.LineCrossing | config.Count) and rule.map and rule.camera == camera.name)
    ]


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a time is wanted, as 2026-11-22T21:30; got {text!r}") from None


def _camera(settings: config.Agent, name: str | None, file: Path) -> config.Camera:
    found = [camera for camera in settings.cameras if name in (None, camera.name)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(camera.name for camera in settings.cameras) or "none"
    problem = "is needed: whose zones apply?" if name is None else f"names no camera: {name}"
    raise config.ConfigError(file, [f"--camera {problem} (there is: {there})"])
