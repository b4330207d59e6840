"""`edge-agent route`: bring routes in from other programs, look at them before they are flown, take them out again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_agent import config
from edge_agent.cli.check import print_json
from edge_agent.messages import Visit
from edge_agent.plans.model import Fault, Place, Plan, PlanError
from edge_agent.runtime import DriverError
from edge_agent.topics import rfc3339

if TYPE_CHECKING:
    from edge_agent.flight.review import Review
    from edge_agent.plans.terrain import Ground

REFUSED, UNREADABLE = 1, 2
EPILOG = """\
FILE is a QGroundControl .plan, a .waypoints list (QGC WPL 110), GeoJSON or KML; with -c also the id of a [[route]].
Of a map, points are visited, lines flown along, areas surveyed; shapes whose `role`, or the first word of whose name,
is fence, exclusion, rally or home are that.

exit codes:
   0  it may be flown (import, export, show: it was done)
   1  it is refused; every reason is named with item, value, limit and way out
   2  the file cannot be read as a route, or the command line is wrong
  78  the configuration is wrong
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's verbs and arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="may it be flown? length, time, energy, heights, fence, ways home")
    show = verbs.add_parser("show", help="draw it as a PNG: map, fence, home, heights")
    bring = verbs.add_parser("import", help="read a file, and write it as a .plan; or print its [[route]]")
    export = verbs.add_parser("export", help="write a route as a .plan or .waypoints that QGroundControl opens")
    listing = verbs.add_parser("list", help="the routes of the configuration")
    for verb in (check, show, bring, export):
        verb.formatter_class, verb.epilog = argparse.RawDescriptionHelpFormatter, EPILOG
        verb.add_argument("file", metavar="FILE", help="the route")
        _add_survey(verb)
    for verb in (check, show):
        ground = "heights of the ground: SRTM .hgt or ArduPilot .DAT; may stand more than once"
        verb.add_argument("--terrain", type=Path, action="append", default=[], metavar="FILE", help=ground)
    wind = "speed, and where it blows from in degrees; MPS alone: from ahead on every leg"
    check.add_argument("--wind", type=_wind, default=(0.0, None), metavar="MPS,DIR", help=wind)
    check.add_argument("--battery", type=float, default=100.0, metavar="PCT", help="charge at take-off (100)")
    for verb in (bring, export):
        verb.add_argument("-o", "--out", type=Path, required=verb is export, metavar="OUT", help=".plan or .waypoints")
    show.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.png", help="the picture")
    for verb in (show, bring, export):
        verb.add_argument("--force", action="store_true", help="replace OUT where it exists")
    for verb in (check, show, bring, export, listing):
        verb.add_argument("-c", "--config", type=Path, metavar="AGENT", help="site, limits, airframe and routes")
        verb.add_argument("--json", action="store_true", help="print JSON")


def _add_survey(verb: argparse.ArgumentParser) -> None:
    group = verb.add_argument_group("how the points, lines and areas of a map are flown")
    group.add_argument("--alt", type=float, default=30.0, metavar="M", help="metres above home (30)")
    group.add_argument("--hfov", type=float, metavar="DEG", help="the camera's angle of view across (70)")
    group.add_argument("--sensor", type=_pair, metavar="WxH", help="or its sensor in mm, as 6.3x4.7, with --focal")
    group.add_argument("--focal", type=float, metavar="MM", help="focal length")
    group.add_argument("--pixels", type=_pixels, default=(16, 9), metavar="WxH", help="the picture's shape (16x9)")
    group.add_argument("--overlap", type=float, default=70.0, metavar="PCT", help="along the path (70)")
    group.add_argument("--sidelap", type=float, default=30.0, metavar="PCT", help="between strips (30)")
    group.add_argument("--corridor", type=float, default=0.0, metavar="M", help="the width to be seen along lines (0)")
    group.add_argument("--angle", type=float, metavar="DEG", help="of the strips from north (the fewest turns)")


def main(args: argparse.Namespace) -> int:
    """The exit codes stand in `--help`."""
    verbs: dict[str, Callable[[argparse.Namespace], int]] = {
        "check": _check, "show": _show, "import": _import, "export": _export, "list": _list,
    }  # fmt: skip
    try:
        return verbs[args.verb](args)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return config.EX_CONFIG
    except PlanError as error:
        if args.json:
            print_json({"ok": False, "file": error.file, "faults": error.faults})
        else:
            print(error, file=sys.stderr)
        return UNREADABLE if error.unreadable else REFUSED
    except (OSError, ValueError, DriverError) as error:
        print(f"edge-agent route {args.verb}: {error}", file=sys.stderr)
        return UNREADABLE


# --- verbs ------------------------------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    from edge_agent.flight.energy import Wind
    from edge_agent.flight.review import Given, review

    settings, route, plan = _load(args)
    if not 0 < args.battery <= 100:
        raise ValueError(f"--battery {args.battery:g} is not within 0 to 100")
    given = Given(
        _home(settings, plan), settings.limits if settings else config.Limits(),
        settings.airframe if settings else config.Airframe(), Wind(*args.wind), _ground(args), args.battery,
    )  # fmt: skip
    found = review(route, given, plan.notes)
    if args.json:
        print_json({"file": args.file} | msgspec.structs.asdict(found))
    else:
        _tell(args.file, found)
    return 0 if found.ok else REFUSED


def _show(args: argparse.Namespace) -> int:
    from edge_agent.flight.chart import draw

    settings, route, plan = _load(args)
    home = _home(settings, plan) or (route.waypoints[0].lat, route.waypoints[0].lon)
    return _put(args, draw(route, home, _ground(args)), {"waypoints": len(route.waypoints)})


def _import(args: argparse.Namespace) -> int:
    from edge_agent.plans import files

    settings, route, plan = _load(args)
    faults = _faults(settings, route, plan)
    if faults:
        raise PlanError(args.file, faults)
    if args.out is None:
        stanza = f'[[route]]\nid = "{route.id}"\nfile = "{args.file}"\nalt_m = {route.alt_m:g}\n'
        print_json({"id": route.id, "waypoints": len(route.waypoints), "notes": plan.notes}) if args.json else print(
            stanza
        )
        return 0
    return _put(args, files.write(_plan(route, _home(settings, plan)), args.out), {"notes": plan.notes})


def _export(args: argparse.Namespace) -> int:
    from edge_agent.plans import files

    settings, route, plan = _load(args)
    return _put(args, files.write(_plan(route, _home(settings, plan)), args.out), {"notes": plan.notes})


def _list(args: argparse.Namespace) -> int:
    from edge_agent.flight import route as routes

    settings = config.load(args.config or Path("agent.toml"))
    visits, wanted = _visits(settings), {visit.id: visit.routes for visit in settings.visits}
    for route in settings.routes:
        home = _home(settings, Plan()) or (route.waypoints[0].lat, route.waypoints[0].lon)
        schedules = [schedule.id for schedule in settings.schedules if schedule.route == route.id]
        row = {
            "id": route.id, "waypoints": len(route.waypoints), "length_m": round(routes.length_m(route, *home)),
            "file": str(route.file) if route.file else None, "fence": bool(route.fence), "schedules": schedules,
            "visits": [visit for visit in visits if route.id in wanted[visit.target]],
        }  # fmt: skip
        if args.json:
            print_json(row)
        else:
            flown = f"{', '.join(schedules) or 'no schedule'}  {row['file'] or ''}"
            print(f"{route.id:16} {row['waypoints']:4} waypoints  {row['length_m']:6} m  {flown}".rstrip())
            for visit in (one for one in visits if route.id in wanted[one.target]):
                print(
                    f"  {visit.kind} {visit.target}: {visit.state}, {visit.share:.0%} seen, due {rfc3339(visit.due_s)}"
                )
    return 0


def _visits(settings: config.Agent) -> list[Visit]:
    """How each target that must be visited stands, as the agent last saved it."""
    from edge_agent.flight.visitor import load
    from edge_agent.flight.visits import Visits

    now_s = time.time()
    return Visits(settings.visits, load(settings.data_dir / "flight" / "visits.json"), now_s).rows(now_s)


# --- what is asked about ----------------------------------------------------------------------------------------------


def _load(args: argparse.Namespace) -> tuple[config.Agent | None, config.Route, Plan]:
    """The configuration if one is named, the route, and what its file says beyond it."""
    from edge_agent.plans import files

    settings = config.load(args.config) if args.config else None
    named = next((one for one in settings.routes if one.id == args.file), None) if settings else None
    if named is not None:
        return settings, named, Plan()
    if settings and not Path(args.file).is_file():
        ids = ", ".join(one.id for one in settings.routes) or "none"
        fault = Fault(where="FILE", reason=f"no such file, and no route is called so (there is: {ids})")
        raise PlanError(args.file, [fault], unreadable=True)
    plan = files.read(Path(args.file), files.survey_of(_survey(args), args.alt))
    if not plan.places:
        raise PlanError(args.file, [Fault(where="the file", reason="no place to fly to")])
    route = config.Route(
        id=Path(args.file).stem,
        waypoints=tuple(config.Waypoint(lat=p.lat, lon=p.lon, alt_m=p.alt_m, hold_s=p.hold_s) for p in plan.places),
        alt_m=args.alt, speed_mps=plan.speed_mps or config.Route(id="x").speed_mps, fence=plan.fence, rally=plan.rally,
    )  # fmt: skip
    return settings, route, plan


def _survey(args: argparse.Namespace) -> config.Survey:
    """As the options say, within the limits of the configuration; ValueError names what is out of them."""
    given = {
        "hfov_deg": args.hfov, "sensor_mm": args.sensor, "focal_mm": args.focal, "pixels": args.pixels,
        "front_overlap": _share("--overlap", args.overlap), "side_overlap": _share("--sidelap", args.sidelap),
        "corridor_m": args.corridor, "angle_deg": args.angle,
    }  # fmt: skip
    return msgspec.convert(given, config.Survey)


def _home(settings: config.Agent | None, plan: Plan) -> tuple[float, float] | None:
    """The site's take-off place, else the file's."""
    if settings and settings.site.lat is not None and settings.site.lon is not None:
        return settings.site.lat, settings.site.lon
    return plan.home


def _faults(settings: config.Agent | None, route: config.Route, plan: Plan) -> list[Fault]:
    from edge_agent.plans.judge import route_faults

    return route_faults(route, _home(settings, plan), settings.limits if settings else config.Limits())


def _plan(route: config.Route, home: tuple[float, float] | None) -> Plan:
    places = tuple(
        Place(lat=p.lat, lon=p.lon, alt_m=p.alt_m if p.alt_m is not None else route.alt_m, hold_s=p.hold_s)
        for p in route.waypoints
    )
    return Plan(places=places, home=home, speed_mps=route.speed_mps, fence=route.fence, rally=route.rally)


def _ground(args: argparse.Namespace) -> Ground | None:
    from edge_agent.plans.terrain import Dat, Hgt, Tiles

    tiles: list[Ground] = []
    for file in args.terrain:
        try:
            data = file.read_bytes()
            tiles.append(Hgt(file.name, data) if file.suffix.lower() == ".hgt" else Dat(data))
        except ValueError as error:
            raise ValueError(f"--terrain {file}: {error}") from None
    return Tiles(tiles) if tiles else None


def _wind(text: str) -> tuple[float, float | None]:
    speed, _, direction = text.partition(",")
    mps, deg = float(speed), float(direction) if direction else None
    if not 0 <= mps <= 60 or not (deg is None or -360 <= deg <= 360):
        raise ValueError
    return mps, deg


def _pair(text: str) -> tuple[float, float]:
    across, _, along = text.lower().partition("x")
    return float(across), float(along)


def _pixels(text: str) -> tuple[int, int]:
    across, _, along = text.lower().partition("x")
    return int(across), int(along)


def _share(option: str, percent: float) -> float:
    if not 0 <= percent <= 95:
        raise ValueError(f"{option} {percent:g} is not within 0 to 95 per cent")
    return percent / 100


# --- what is told -----------------------------------------------------------------------------------------------------


def _put(args: argparse.Namespace, data: bytes, facts: dict[str, object]) -> int:
    if args.out.exists() and not args.force:
        raise ValueError(f"{args.out}: exists; give another name, or --force to replace it")
    args.out.write_bytes(data)
    if args.json:
        print_json({"file": str(args.out), "bytes": len(data), **facts})
    else:
        print(f"{args.out}: {len(data)} bytes written")
    return 0


def _tell(file: str, found: Review) -> None:
    print(f"{file}: {found.waypoints} waypoints: " + ("may be flown" if found.ok else "REFUSED"))
    time = f"{found.time_s / 60:.1f} min" if found.time_s is not None else "never ends in this wind"
    energy = (
        f"{found.energy_wh:.1f} Wh, {found.energy_pct:.0f} % of the battery" if found.energy_wh is not None else "-"
    )
    print(f"  length   {found.length_m:.0f} m")
    print(f"  time     {time}")
    print(f"  energy   {energy} (and {found.reserve_pct:.0f} % reserve)")
    print(f"  height   {found.lowest_m:g} to {found.highest_m:g} m above home")
    over = found.terrain
    if over is None:
        print("  terrain  unknown" + ("" if found.notes and "terrain" in found.notes[-1] else "; give --terrain FILE"))
    else:
        print(f"  terrain  lowest {over.lowest_m:.0f} m over it ({over.lowest_at}),"
              f" highest {over.highest_m:.0f} m ({over.highest_at})")  # fmt: skip
    print(f"  fence    {found.fence or 'no'} area{'' if found.fence == 1 else 's'} to keep within or out of")
    blows = "from ahead on every leg" if found.wind_from_deg is None else f"from {found.wind_from_deg:g} degrees"
    worst = min(found.returns, key=lambda way: -1e9 if way.left_pct is None else way.left_pct)
    if worst.left_pct is None:
        print(f"  return   {worst.to} is never reached from {worst.start}")
    else:
        print(f"  return   at worst from {worst.start} to {worst.to}: {worst.length_m:.0f} m, {worst.time_s:.0f} s,"
              f" {worst.left_pct:.0f} % left beyond the reserve")  # fmt: skip
    print(f"  wind     {found.wind_mps:g} m/s" + (f" {blows}" if found.wind_mps else ""))
    for note in found.notes:
        print(f"  note     {note}")
    for fault in found.faults:
        print(f"  refused  {fault}")
