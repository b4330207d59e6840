"""`edge-agent zones draw`: the zones and lines of a configuration over a picture of their camera, as a PNG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.runtime import DriverError

if TYPE_CHECKING:
    from edge_agent.vision.locate import Sight

PATIENCE_S = 15.0  # for a camera's first picture


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb and its arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    draw = verbs.add_parser("draw", help="draw zones and lines over a frame of their camera")
    draw.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the configuration")
    draw.add_argument("-o", "--out", type=Path, default=Path("zones.png"), metavar="FILE", help="default: zones.png")
    draw.add_argument("--camera", metavar="NAME", help="which [[camera]] (default: the first that has zones)")
    draw.add_argument("--frame", type=Path, metavar="PICTURE", help="draw over this picture instead of the camera's")
    draw.add_argument(
        "--pose",
        type=_pose,
        metavar="LAT,LON,ALT_M,HEADING_DEG",
        help="where the drone is, for zones on the map seen by its camera",
    )
    draw.add_argument("--json", action="store_true", help="print what was drawn as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Exit 0; 1 where no picture can be had or written; 78 on a bad configuration."""
    try:
        settings = config.load(args.config)
        camera = _camera(settings, args.camera, args.config)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    try:
        drawn = _draw(settings, camera, args.frame, args.out, args.pose)
    except DriverError as error:
        print(f"edge-agent zones: {error}", file=sys.stderr)
        return 1
    if args.json:
        print_json(drawn)
    else:
        names = ", ".join([*drawn["zones"], *drawn["lines"]]) or "none"
        beyond = f"; not in the picture: {', '.join(drawn['not_seen'])}" if drawn["not_seen"] else ""
        print(f"{args.out}: {drawn['width']}x{drawn['height']} of {camera.name}, zones: {names}{beyond}")
    return 0


def _camera(settings: config.Agent, name: str | None, file: Path) -> config.Camera:
    zoned = {zone.camera for zone in settings.zones} | {getattr(rule, "camera", None) for rule in settings.rules}
    found = [camera for camera in settings.cameras if camera.name == name or (name is None and camera.name in zoned)]
    if found:
        return found[0]
    there = ", ".join(camera.name for camera in settings.cameras) or "none"
    problem = "no camera has a zone" if name is None else f"--camera names no camera: {name}"
    raise config.ConfigError(file, [f"{problem} (there is: {there})"])


def _draw(
    settings: config.Agent, camera: config.Camera, picture: Path | None, out: Path, pose: tuple[float, ...] | None
) -> dict[str, Any]:
    """Moved zones are drawn where they are now, if the configuration's agent has a data directory here."""
    from edge_agent.desired import Wishes
    from edge_agent.vision.masks import Masks
    from edge_agent.vision.picture import read_picture
    from edge_agent.vision.places import outline
    from edge_agent.vision.record import draw_zones, write_png

    pixels = Masks(camera.masks).painted(read_picture(picture) if picture else _frame(camera))
    zones = Wishes(settings.data_dir / "desired.json", settings).effective.zones
    mine = [zone for zone in zones if zone.camera == camera.name]
    crossed = [
        rule
        for rule in settings.rules
        if isinstance(rule, config.LineCrossing | config.Count) and rule.camera == camera.name
    ]
    rules = {
        zone.name: [rule.id for rule in settings.rules if getattr(rule, "zone", None) == zone.name] for zone in mine
    }
    height, width = pixels.shape[:2]
    mapped = any(zone.map for zone in mine) or any(rule.map for rule in crossed)
    sight = _sight(settings, camera, width, height, pose) if mapped else None
    outlines = {zone.name: outline(zone, sight) for zone in mine}
    seen = [
        (outlines[zone.name], f"{zone.name}: {', '.join(rules[zone.name])}") for zone in mine if outlines[zone.name]
    ]
    lines = {rule.id: line for rule in crossed if (line := _line(rule, sight)) is not None}
    write_png(out, draw_zones(pixels, [*seen, *((line, name) for name, line in lines.items())]))
    return {
        "file": str(out),
        "camera": camera.name,
        "width": width,
        "height": height,
        "zones": [name for name, corners in outlines.items() if corners],
        "not_seen": [name for name, corners in outlines.items() if not corners],
        "lines": list(lines),
    }


def _line(rule: config.LineCrossing | config.Count, sight: Sight | None) -> list[tuple[float, float]] | None:
    """The ends of a rule's line in fractions of the picture; None for one on the map of which an end is behind."""
    if rule.map is None or sight is None:
        return list(rule.line) if rule.line is not None else None
    ends = [end for place in rule.map if (end := sight.pixel(*place)) is not None]
    return ends if len(ends) == 2 else None


def _sight(
    settings: config.Agent, camera: config.Camera, width: int, height: int, pose: tuple[float, ...] | None
) -> Sight:
    """How the camera looks at the ground: as its view says, and of a drone as `--pose` says."""
    import math

    from edge_agent.messages import Attitude, Position
    from edge_agent.vision.places import Places

    places = Places([camera], settings.site)
    if pose is not None:
        lat, lon, alt_m, heading_deg = pose
        places.hear(Position(heard_s=0.0, boot_s=0.0, lat=lat, lon=lon, alt_m=alt_m))
        places.hear(Attitude(heard_s=0.0, boot_s=0.0, roll=0.0, pitch=0.0, yaw=math.radians(heading_deg)))
    late_s = camera.view.late_s if isinstance(camera.view, config.DroneView) else 0.0
    sight = places.sight(camera.name, late_s, width, height)
    if sight is None:
        why = places.faults.get(camera.name, "is on a drone: say where with --pose LAT,LON,ALT_M,HEADING_DEG")
        raise DriverError(f"{camera.name}: {why}")
    return sight


def _pose(text: str) -> tuple[float, ...]:
    try:
        lat, lon, alt_m, heading_deg = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"four numbers are wanted, as 30.2461,120.1552,40,90; got {text!r}") from None
    return lat, lon, alt_m, heading_deg


def _frame(camera: config.Camera) -> Any:
    """The first picture that a camera shows."""
    import asyncio
    from contextlib import aclosing

    from edge_agent.runtime import SystemClock
    from edge_agent.vision.camera import open_camera

    async def first() -> Any:
        try:
            async with asyncio.timeout(PATIENCE_S), aclosing(open_camera(camera, SystemClock()).frames()) as frames:
                async for frame in frames:
                    return frame.pixels
        except TimeoutError:
            raise DriverError(f"{camera.name}: no picture for {PATIENCE_S:g} s") from None
        raise DriverError(f"{camera.name}: shows no picture")

    return asyncio.run(first())
