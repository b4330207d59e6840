"""What no section can see alone: names that must exist, values that must fit each other."""

from __future__ import annotations

import os
import stat
from datetime import date, datetime
from importlib import util
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from edge_agent import geo, spans
from edge_agent.calendar import rule_fault
from edge_agent.config.agent import Agent
from edge_agent.config.base import RESERVED, Site
from edge_agent.config.flight import Airframe, Limits, MavlinkVehicle, MustVisit, Schedule
from edge_agent.config.incidents import (
    Count,
    Crowd,
    Dwell,
    ForbiddenZone,
    HotListed,
    LineCrossing,
    Loitering,
    PhotoSet,
    PlateSeen,
    Respond,
    Zone,
)
from edge_agent.config.secret import secret_path
from edge_agent.config.speakers import DjiSpeaker, Gb28181Speaker, SipSpeaker, Speaker, TuneSpeaker
from edge_agent.config.uplink import Evidence, Mqtt, Operator
from edge_agent.config.vision import (
    Camera,
    DroneView,
    OnnxDetector,
    PiCamera,
    Plates,
    PointsView,
    RtspCamera,
    SimulatedCamera,
    SimulatedDetector,
    View,
)
from edge_agent.messages import GROUPS, is_a
from edge_agent.phrases import phrase_faults, pronounceable
from edge_agent.plans.judge import route_faults
from edge_agent.plate_types import known_types
from edge_agent.sealing import SealError, check_recipient

BUILT_IN_LABELS = ("person", "vehicle", "two-wheeler")  # of the detector without a `model`


def cross_check(config: Agent, table: dict[str, Any]) -> list[str]:
    """What no single value shows: names that must exist, be unique, and make sense together.

    Names are taken from the file itself, so that a section refused for another fault still counts as there.
    """
    faults: list[str] = []

    def names(kind: str) -> set[str]:
        sections = table.get(kind, ())
        found = (
            [s.get("name") or s.get("id") for s in sections if isinstance(s, dict)]
            if isinstance(sections, list)
            else []
        )
        given = [name for name in found if isinstance(name, str)]
        faults.extend(
            f"{kind}: the name `{name}` stands {given.count(name)} times"
            for name in sorted({*given})
            if given.count(name) > 1
        )
        return set(given)

    def known(where: str, name: str, among: set[str], kind: str) -> None:
        if name not in among:
            there = ", ".join(sorted(among)) or "none is configured"
            faults.append(f"{where}: no {kind} is called `{name}` (there is: {there})")

    cameras, detectors, zones, speakers, routes = map(names, ("camera", "detector", "zone", "speaker", "route"))
    names("rule"), names("blackout"), names("visit")
    schedules = names("schedule")
    vehicle = "vehicle" in table
    site = table["site"] if isinstance(table.get("site"), dict) else {}

    try:
        ZoneInfo(config.site.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        faults.append(f"site.time_zone: no such IANA zone: {config.site.time_zone!r} (one is `Asia/Shanghai`)")
    if ("lat" in site) != ("lon" in site):
        faults.append("site: `lat` and `lon` go together")
    if not vehicle and not cameras:
        faults.append("the file: neither a [vehicle] nor a [[camera]]: there is nothing to run")
    if vehicle and "lat" not in site:
        faults.append("site.lat: required with a [vehicle]: it is the take-off place that flights are checked against")
    for camera in config.cameras:
        known(f"camera[{camera.name}].detector", camera.detector, detectors, "detector")
        faults += [f"camera[{camera.name}]{fault}" for fault in _profile_faults(camera, config.site)]
        for number, profile in enumerate(camera.profiles):
            if profile.detector is not None:
                known(f"camera[{camera.name}].profile[{number}].detector", profile.detector, detectors, "detector")
    for camera in config.cameras:
        if isinstance(camera, RtspCamera):
            faults += [f"camera[{camera.name}].url: {fault}" for fault in _address_faults(camera.url)]
            if camera.credentials is not None:
                faults += _secret_faults(f"camera[{camera.name}].credentials", camera.credentials)
    simulated = {d.name for d in config.detectors if isinstance(d, SimulatedDetector)}
    for camera in config.cameras:
        if camera.detector in simulated and not isinstance(camera, SimulatedCamera):
            faults.append(
                f"camera[{camera.name}].detector: a simulated detector sees only a simulated camera's truth;"
                " give this camera one of type `onnx`"
            )
    for zone in config.zones:
        known(f"zone[{zone.name}].camera", zone.camera, cameras, "camera")
        faults += [f"zone[{zone.name}].{fault}" for fault in _zone_faults(zone, config)]
        for lang, words in zone.spoken.items():
            try:
                pronounceable(words, lang)
            except ValueError as error:
                faults.append(f"zone[{zone.name}].spoken.{lang}: {error}")
    for camera in config.cameras:
        if camera.view is not None:
            faults += [f"camera[{camera.name}].view{fault}" for fault in _view_faults(camera.view, vehicle=vehicle)]
    spoken_to = speakers.union(*(s.groups for s in config.speakers))
    spoken_to |= {"drone"} if any(s.airborne for s in config.speakers) else set()
    for rule in config.rules:
        if isinstance(rule, LineCrossing | Count):
            if rule.camera is not None:
                known(f"rule[{rule.id}].camera", rule.camera, cameras, "camera")
            faults += [f"rule[{rule.id}]{fault}" for fault in _line_faults(rule, config)]
        if isinstance(rule, Crowd):
            faults += [f"rule[{rule.id}]{fault}" for fault in _crowd_faults(rule, config)]
        if not isinstance(rule, HotListed | PlateSeen):
            faults += [f"rule[{rule.id}].classes: {fault}" for fault in _class_faults(rule, config)]
        if isinstance(rule, Count):
            faults += [f"rule[{rule.id}]{fault}" for fault in _count_faults(rule)]
        if not isinstance(rule, LineCrossing) and rule.zone is not None:
            known(f"rule[{rule.id}].zone", rule.zone, zones, "zone")
        if isinstance(rule, HotListed | PlateSeen) and not config.plates.enabled:
            faults.append(f"plates.enabled: rule[{rule.id}] needs plates to be read: set it to true")
        if isinstance(rule, Dwell) and rule.evidence is not None:
            faults += [f"rule[{rule.id}].evidence{fault}" for fault in _set_faults(rule.evidence)]
        for name in rule.speakers:
            known(f"rule[{rule.id}].speakers", name, spoken_to, "speaker")
        for number, rung in enumerate(rule.ladder):
            faults += [f"rule[{rule.id}].ladder[{number}].{fault}" for fault in phrase_faults(rung.say)]
        if rule.respond is not None:
            faults += [f"rule[{rule.id}].respond{fault}" for fault in _respond_faults(rule.respond, config)]
        if rule.speakers and not rule.say:
            faults.append(f"rule[{rule.id}].say: required with `speakers`: what shall they say?")
        faults += [f"rule[{rule.id}].{fault}" for fault in phrase_faults(rule.say)]
        faults += [
            f"rule[{rule.id}].active[{n}]: {why}" for n, span in enumerate(rule.active) if (why := spans.fault(span))
        ]
    for schedule in config.schedules:
        known(f"schedule[{schedule.id}].route", schedule.route, routes, "route")
        faults += _schedule_faults(schedule, config.site)
    for blackout in config.blackouts:
        for name in blackout.schedules:
            known(f"blackout[{blackout.id}].schedules", name, schedules, "schedule")
        faults += [f"blackout[{blackout.id}]: {fault}" for fault in (spans.fault(blackout),) if fault]
    for number, span in enumerate(config.levels):
        faults += [f"level[{number}]: {fault}" for fault in (spans.fault(span),) if fault]
    for visit in config.visits:
        for name in visit.routes:
            known(f"visit[{visit.id}].routes", name, routes, "route")
        faults += _visit_faults(visit, config.site, config.limits)
    if (config.routes or config.schedules) and not vehicle:
        faults.append("vehicle: required with a [[route]] or a [[schedule]]")
    take_off = None if config.site.lat is None or config.site.lon is None else (config.site.lat, config.site.lon)
    for route in config.routes:
        faults += [f"route[{route.id}].{fault}" for fault in route_faults(route, take_off, config.limits)]
    if config.limits.return_battery_pct >= config.limits.takeoff_battery_pct:
        faults.append(
            f"limits.return_battery_pct: {config.limits.return_battery_pct:g} is not below"
            f" takeoff_battery_pct {config.limits.takeoff_battery_pct:g}: every flight would turn back at once"
        )
    faults += _airframe_faults(config.airframe)
    if isinstance(config.vehicle, MavlinkVehicle) and config.vehicle.signing is not None:
        faults += _secret_faults("vehicle.signing.key", config.vehicle.signing.key)
    if config.mqtt is not None:
        faults += _mqtt_faults(config.mqtt)
    faults += _speaker_faults(config.speakers)
    for one in config.announcements.scheduled:
        where = f"announcements.scheduled[{one.id}]"
        faults += _rule_faults(where, one.when, config.site)
        for number, phrase in enumerate(one.say):
            try:
                pronounceable(phrase.text, phrase.lang)
            except ValueError as error:
                faults.append(f"{where}.say[{number}].text: {error}")
        for name in one.speakers:
            known(f"{where}.speakers", name, spoken_to, "speaker")
    faults += [
        f"speaker[{one.name}].type: a tune sounds from the vehicle, and there is no [vehicle]"
        for one in config.speakers
        if isinstance(one, TuneSpeaker) and config.vehicle is None
    ]
    faults += _plates_faults(config.plates)
    faults += _evidence_faults(config.evidence, config.mqtt)
    faults += _operator_faults(config.operators)
    faults += _privacy_faults(config)
    if config.metrics is not None and not config.metrics.listen.startswith("unix:"):
        port = int(config.metrics.listen.rpartition(":")[2])
        if not 1 <= port <= 65535:
            faults.append(f"metrics.listen: port {port} is not within 1 to 65535")
    if config.site.device in RESERVED:
        faults.append(f"site.device: {config.site.device!r} is a level of the topics themselves; give another name")
    return faults


def _zone_faults(zone: Zone, config: Agent) -> list[str]:
    """Of one zone, as far as its own corners and its camera's view go."""
    if bool(zone.polygon) == bool(zone.map):
        return ["polygon: give either `polygon` (in the picture) or `map` (latitude and longitude)"]
    name = "map" if zone.map else "polygon"
    corners: tuple[tuple[float, float], ...] = zone.map or zone.polygon
    if len(corners) < 3:
        return [f"{name}: 3 corners are the least, got {len(corners)}"]
    if geo.crosses_itself(corners):
        return [f"{name}: its edges cross each other"]
    if geo.is_flat(corners):
        return [f"{name}: its corners lie on one line: nobody can stand in it"]
    camera = next((camera for camera in config.cameras if camera.name == zone.camera), None)
    if zone.map and camera is not None and camera.view is None:
        return [f"map: camera[{zone.camera}].view is required: how does it look at the ground?"]
    return []


def _view_faults(view: View, *, vehicle: bool) -> list[str]:
    faults: list[str] = []
    if view.lens is not None and view.hfov_deg is not None:
        faults.append(".lens: contradicts `hfov_deg`: give one of them")
    if not isinstance(view, PointsView) and view.lens is None and view.hfov_deg is None:
        faults.append(".lens: required, or `hfov_deg` where the lens does not bend lines")
    files = [("lens", view.lens), ("file", getattr(view, "file", None))]
    files += [("terrain", file) for file in getattr(view, "terrain", ())]
    faults += [f".{key}: no such file: {file}" for key, file in files if file is not None and not file.is_file()]
    if isinstance(view, DroneView) and view.servo and not view.gimbal:
        faults.append(".servo: true says what kind of `gimbal` there is: set that too")
    if isinstance(view, DroneView) and not vehicle:
        faults.append('.type: "drone" wants the [vehicle] that carries the camera')
    if isinstance(view, PointsView):
        if (view.file is None) == (not view.points):
            faults.append(".points: give either `points` or the `file` of `edge-agent camera calibrate --points`")
        if 0 < len(view.points) < 4:
            faults.append(f".points: 4 are the least, got {len(view.points)}")
    return faults


def _profile_faults(camera: Camera, site: Site) -> list[str]:
    """Profiles that exclude each other, or ask of a camera or site what it does not have."""
    faults = []
    named = [profile.when for profile in camera.profiles]
    faults += [f".profile: `{one}` stands {named.count(one)} times" for one in sorted({*named}) if named.count(one) > 1]
    if camera.light == "sun" and site.lat is None:
        faults.append(".light: the sun's height needs `lat` and `lon` of [site]")
    for number, mask in enumerate(camera.masks):
        if geo.crosses_itself(mask.polygon):
            faults.append(f".mask[{number}].polygon: its edges cross each other")
        elif geo.is_flat(mask.polygon):
            faults.append(f".mask[{number}].polygon: its corners lie on one line")
    for number, profile in enumerate(camera.profiles):
        if profile.max_exposure_ms is not None and not isinstance(camera, PiCamera):
            faults.append(f".profile[{number}].max_exposure_ms: only a camera of type `picamera` can be told")
    return faults


def _set_faults(wanted: PhotoSet) -> list[str]:
    """An evidence set whose photographs do not fit into its grace."""
    needed_s = (wanted.photos - 1) * wanted.every_s
    if needed_s <= wanted.grace_s:
        return []
    return [f".grace_s: {wanted.photos} photographs every {wanted.every_s:g} s take {needed_s:g} s, which is longer"]


def _crowd_faults(rule: Crowd, config: Agent) -> list[str]:
    """A crowd that nothing says the size of."""
    if rule.count is None and rule.per_m2 is None:
        return [": one of `count` and `per_m2` is required"]
    zone = next((zone for zone in config.zones if zone.name == rule.zone), None)
    if rule.per_m2 is not None and rule.area_m2 is None and zone is not None and not zone.map:
        return [f".area_m2: required with `per_m2`: zone[{zone.name}] is drawn in the picture, not on the map"]
    return []


def _class_faults(rule: ForbiddenZone | Dwell | Loitering | Crowd | LineCrossing | Count, config: Agent) -> list[str]:
    """Classes that no detector of the rule's camera ever tells: nothing would come of it, and nobody would know."""
    zone = None if isinstance(rule, LineCrossing) else next((z for z in config.zones if z.name == rule.zone), None)
    name = zone.camera if zone is not None else getattr(rule, "camera", None)
    camera = next((camera for camera in config.cameras if camera.name == name), None)
    if camera is None:
        return []
    eyes = {camera.detector, *(profile.detector for profile in camera.profiles)}
    told = set[str]()
    for detector in (detector for detector in config.detectors if detector.name in eyes):
        if not isinstance(detector, OnnxDetector) or (detector.model is not None and not detector.classes):
            return []  # whatever the model knows
        named = detector.classes or BUILT_IN_LABELS
        mine = BUILT_IN_LABELS if detector.model is None else {*named}.union(*(GROUPS.get(one, ()) for one in named))
        told |= {label for label in mine if any(is_a(label, one) for one in named)}
    if not told or any(is_a(label, wanted) for label in told for wanted in rule.classes):
        return []
    wants = ", ".join(f"`{wanted}`" for wanted in rule.classes)
    return [f"{wants}: the detector of camera[{camera.name}] tells {', '.join(sorted(told))} alone"]


def _line_faults(rule: LineCrossing | Count, config: Agent) -> list[str]:
    """A line that is none, or one on the map of a camera that does not know the ground."""
    if rule.line is not None and rule.map is not None:
        return [".map: contradicts `line`: give one of them"]
    if rule.line is None and rule.map is None:
        return [] if isinstance(rule, Count) else [".line: required, or `map`: which line?"]
    key, ends = ("line", rule.line) if rule.line is not None else ("map", rule.map)
    if ends is not None and ends[0] == ends[1]:
        return [f".{key}: its ends are the same place"]
    camera = next((camera for camera in config.cameras if camera.name == rule.camera), None)
    if rule.map is not None and camera is not None and camera.view is None:
        return [f".map: camera[{camera.name}].view is required: how does it look at the ground?"]
    return []


def _count_faults(rule: Count) -> list[str]:
    faults = []
    lined = rule.line is not None or rule.map is not None
    if (rule.zone is None) != lined or lined != (rule.camera is not None):
        faults.append(": a count wants either `zone`, or `camera` and `line` (or `map`)")
    if rule.speakers or rule.say or rule.ladder or rule.respond:
        faults.append(
            ".speakers: a count is told to the centre alone: leave out `speakers`, `say`, `ladder` and `respond`"
        )
    return faults


def _respond_faults(respond: Respond, config: Agent) -> list[str]:
    """What of a rule's flight could never be flown."""
    faults, limits = [], config.limits
    if config.vehicle is None:
        faults.append(": there is no [vehicle] that could fly")
    if (respond.lat is None) != (respond.lon is None):
        faults.append(".lat: `lat` and `lon` go together")
    if not limits.min_alt_m <= respond.alt_m <= limits.max_alt_m:
        faults.append(f".alt_m: {respond.alt_m:g} is not within limits.min_alt_m..max_alt_m")
    if respond.for_s > limits.max_on_scene_s:
        faults.append(f".for_s: {respond.for_s:g} is more than limits.max_on_scene_s {limits.max_on_scene_s:g}")
    return faults


def _schedule_faults(schedule: Schedule, site: Site) -> list[str]:
    where = f"schedule[{schedule.id}]"
    faults = [f"{where}.windows[{n}]: {why}" for n, span in enumerate(schedule.windows) if (why := spans.fault(span))]
    if schedule.time_zone is not None:
        try:
            ZoneInfo(schedule.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            faults.append(f"{where}.time_zone: no such IANA zone: {schedule.time_zone!r}")
    for day in schedule.exdate:
        try:
            datetime.fromisoformat(day)
        except ValueError as error:
            faults.append(f"{where}.exdate: {error}, got {day!r}")
    return faults + _rule_faults(where, schedule, site)


def _rule_faults(where: str, schedule: Schedule, site: Site) -> list[str]:
    sunny = schedule.sun is not None
    if (schedule.cron is None) == (schedule.rrule is None and not sunny):
        return [f"{where}: give either `cron` or `rrule`, or `sun`"]
    if not sunny and (schedule.offset_min or schedule.not_before or schedule.not_after):
        return [f"{where}.sun: required with `offset_min`, `not_before` or `not_after`"]
    if sunny and site.lat is None:
        return [f"{where}.sun: the sun of what place? give site.lat and site.lon"]
    if schedule.not_before and schedule.not_after and schedule.not_before > schedule.not_after:
        return [f"{where}.not_before: {schedule.not_before} is later than not_after {schedule.not_after}"]
    if schedule.cron is not None:
        try:
            if len(schedule.cron.split()) != 5:
                raise CronSimError("five fields are wanted: minute hour day month weekday")
            CronSim(schedule.cron, datetime(2026, 1, 1))  # noqa: DTZ001 (a naive start only parses the line)
        except CronSimError as error:
            return [f"{where}.cron: {error}, got {schedule.cron!r}"]
        return []
    if schedule.rrule is None:
        return []
    if schedule.dtstart is None:
        return [f"{where}.dtstart: required with `rrule` (local time, as 2026-11-22T21:30)"]
    fault = rule_fault(schedule.rrule, schedule.dtstart)
    return [f"{where}.{fault}"] if fault else []


def _visit_faults(visit: MustVisit, site: Site, limits: Limits) -> list[str]:
    where, count = f"visit[{visit.id}]", len(visit.corners)
    least, most = {"point": (1, 1), "line": (2, 200), "area": (3, 200)}[visit.kind]
    if not least <= count <= most:
        return [f"{where}.corners: a {visit.kind} has {least} to {most}, got {count}"]
    if visit.dwell_s and visit.kind != "point":
        return [f"{where}.dwell_s: a {visit.kind} is passed, not stayed at; use `share`"]
    if visit.kind == "area" and geo.crosses_itself(visit.corners):
        return [f"{where}.corners: its edges cross each other"]
    if site.lat is None or site.lon is None:
        return []
    away_m = max(geo.distance_m(site.lat, site.lon, *corner) for corner in visit.corners)
    if away_m <= limits.max_distance_m:
        return []
    return [f"{where}: {away_m:.0f} m from the take-off place, limits.max_distance_m is {limits.max_distance_m:g}"]


def _airframe_faults(frame: Airframe) -> list[str]:
    return [
        f"airframe.{key}: {watts:g} is below hover_w {frame.hover_w:g}: nothing is cheaper than hovering here"
        for key, watts in (("climb_w", frame.climb_w), ("cruise_w", frame.cruise_w))
        if watts < frame.hover_w
    ]


def _mqtt_faults(mqtt: Mqtt) -> list[str]:
    faults: list[str] = []
    if mqtt.ca_file is None and not mqtt.plain:
        faults.append("mqtt.ca_file: required; for a broker without TLS, in development only, set `plain = true`")
    if mqtt.ca_file is not None and mqtt.plain:
        faults.append("mqtt.plain: true contradicts `ca_file`: with a CA the link is TLS")
    faults += _tls_faults("mqtt", mqtt)
    if mqtt.password is not None:
        faults += _secret_faults("mqtt.password", mqtt.password)
        if mqtt.username is None:
            faults.append("mqtt.username: required with `password`")
    return faults


def _speaker_faults(speakers: tuple[Speaker, ...]) -> list[str]:
    faults: list[str] = []
    after = {speaker.name: speaker.fallback for speaker in speakers}
    platforms: dict[str, str] = {}
    for speaker in speakers:
        where = f"speaker[{speaker.name}]"
        if (speaker.lat is None) != (speaker.lon is None):
            faults.append(f"{where}: `lat` and `lon` go together")
        if speaker.fallback is not None and speaker.fallback not in after:
            faults.append(f"{where}.fallback: no speaker is called `{speaker.fallback}`")
        way, name = [speaker.name], speaker.fallback
        while name is not None and name not in way:
            way.append(name)
            name = after.get(name)
        if name == speaker.name:
            faults.append(f"{where}.fallback: goes round in a circle: {' → '.join([*way, name])}")
        if speaker.microphone is not None and "@" in speaker.microphone.partition("://")[2].partition("/")[0]:
            faults.append(f"{where}.microphone: without user and password: they stand in `microphone_credentials`")
        if speaker.microphone_credentials is not None:
            faults += _secret_faults(f"{where}.microphone_credentials", speaker.microphone_credentials)
        if (ambient := speaker.ambient) is not None:
            if speaker.microphone is None:
                faults.append(f"{where}.microphone: required with `ambient`: what hears the noise?")
            if ambient.quiet_dbfs >= ambient.loud_dbfs:
                limits = f"{ambient.quiet_dbfs:g} is not below loud_dbfs {ambient.loud_dbfs:g}"
                faults.append(f"{where}.ambient.quiet_dbfs: {limits}")
        for key in ("url", "uri", "proxy", "listen", "serve"):
            if (address := getattr(speaker, key, None)) is not None:
                faults += [f"{where}.{key}: {fault}" for fault in _address_faults(address)]
        if isinstance(speaker, SipSpeaker) and speaker.register and speaker.proxy is None:
            faults.append(f"{where}.proxy: required with `register`: where to?")
        if isinstance(speaker, DjiSpeaker) and (speaker.ca_file is None) != speaker.plain:
            faults.append(f"{where}.ca_file: the broker's CA is required; without TLS, in development, `plain = true`")
        if isinstance(speaker, Gb28181Speaker) and platforms.setdefault(speaker.listen, speaker.platform) != (
            speaker.platform
        ):
            other = platforms[speaker.listen]
            faults.append(
                f"{where}.platform: there is one platform at {speaker.listen}, and another speaker says {other}"
            )
        password: str | None = getattr(speaker, "password", None)
        if password is not None:
            faults += _secret_faults(f"{where}.password", password)
            if getattr(speaker, "username", "") is None:
                faults.append(f"{where}.username: required with `password`")
        ca_file: Path | None = getattr(speaker, "ca_file", None)
        if ca_file is not None and not ca_file.is_file():
            faults.append(f"{where}.ca_file: no such file: {ca_file}")
    return faults


def _address_faults(address: str) -> list[str]:
    """Why nothing can be reached at `SCHEME://HOST[:PORT]…`, `sip:NAME@HOST[:PORT]` or `HOST[:PORT]`."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address.rpartition('@')[2]}")
        port = parts.port
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        return [f"{address}: a part of the host's name is empty, or longer than 63 letters"]
    except ValueError as error:
        return [f"{address}: {error}"]
    return [f"{address}: there is no port 0"] if port == 0 else []


def _plates_faults(plates: Plates) -> list[str]:
    """Files of kinds of plates that are none, countries that no table knows, a reader that is not installed."""
    try:
        known = {one.country for one in known_types(plates.types)}
    except ValueError as error:
        return [f"plates.types: {fault}" for fault in str(error).splitlines()]
    there = ", ".join(sorted(known))
    strangers = sorted({*plates.countries} & known - {"CN"})
    if plates.enabled and plates.reader == "built-in" and strangers:
        what = "the built-in reader knows plates of CN alone"
        return [f'plates.reader: {what}, not of {", ".join(strangers)}; set it to "rapidocr" (edge-agent[rapidocr])']
    if plates.enabled and plates.reader == "rapidocr" and util.find_spec("rapidocr_onnxruntime") is None:
        return ["plates.reader: rapidocr is not installed: pip install 'edge-agent[rapidocr]', or take \"built-in\""]
    return [
        f"plates.countries: no plates of {country} are known (there is: {there}); describe them in a file of `types`"
        for country in plates.countries
        if country not in known
    ]


def _privacy_faults(config: Agent) -> list[str]:
    """What leaves unblurred would lie in plain on the disk until it has left."""
    if config.privacy.seal_to is None:
        return []
    try:
        check_recipient(config.privacy.seal_to)
    except SealError as error:
        return [f"privacy.seal_to: {error}; make one with `edge-agent centre seal-key new FILE`"]
    plain = [f"rule[{rule.id}].blur" for rule in config.rules if not rule.blur]
    plain += [] if config.privacy.blur else ["privacy.blur"]
    return [f"{key}: false contradicts privacy.seal_to: the original would not be sealed" for key in plain]


def _operator_faults(operators: tuple[Operator, ...]) -> list[str]:
    faults: list[str] = []
    ids = [operator.id for operator in operators]
    for operator in operators:
        where = f"operator[{operator.id}]"
        if ids.count(operator.id) > 1:
            faults.append(f"{where}: the id stands {ids.count(operator.id)} times")
        try:
            date.fromisoformat(operator.not_after)
        except ValueError as error:
            faults.append(f"{where}.not_after: {error}, got {operator.not_after!r}")
    return list(dict.fromkeys(faults))


def _evidence_faults(evidence: Evidence, mqtt: Mqtt | None) -> list[str]:
    faults = _tls_faults("evidence", evidence)
    if evidence.upload == "static" and evidence.url is None:
        faults.append('evidence.url: required with upload = "static": the tus endpoint that takes the files')
    if evidence.upload != "static" and evidence.url is not None:
        faults.append(f'evidence.url: upload = "{evidence.upload}" does not use it; set upload = "static"')
    if evidence.upload == "mqtt" and mqtt is None:
        faults.append('evidence.upload: "mqtt" asks the centre for grants, and there is no [mqtt]')
    if evidence.url is not None and evidence.url.startswith("http:") and not evidence.plain:
        faults.append("evidence.url: is http://; use https://, or set `plain = true` in development only")
    if evidence.token is not None:
        faults += _secret_faults("evidence.token", evidence.token)
    return faults


def _tls_faults(where: str, section: Mqtt | Evidence) -> list[str]:
    faults: list[str] = []
    if (section.cert_file is None) != (section.key_file is None):
        faults.append(f"{where}: `cert_file` and `key_file` go together")
    for key in ("ca_file", "cert_file", "key_file"):
        path: Path | None = getattr(section, key)
        if path is not None and not path.is_file():
            faults.append(f"{where}.{key}: no such file: {path}")
    return faults


def _secret_faults(where: str, secret: str) -> list[str]:
    if secret.startswith("credential:") and "CREDENTIALS_DIRECTORY" not in os.environ:
        return []  # only the service that runs has it: whoever looks by hand, and its timers, cannot judge it
    path = secret_path(secret)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return [  # without its value, which may be the secret itself
            f"{where}: {error.strerror}; a secret is never written here, only the file that holds it"
            " (or credential:NAME)"
        ]
    if mode & (stat.S_IRWXO | stat.S_IWGRP) and not secret.startswith("credential:"):
        return [f"{where}: {path} is open to others (mode {stat.S_IMODE(mode):04o}); chmod 600 it"]
    return []
