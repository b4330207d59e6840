"""Sections of what is to be noticed: zones, rules, clips, privacy."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from edge_agent.config.base import Alt, Id, Lat, Lon, Section, Unit
from edge_agent.config.flight import Span
from edge_agent.messages import Phrase

Corner = tuple[Unit, Unit]
MapLine = tuple[tuple[Lat, Lon], tuple[Lat, Lon]]


class Zone(Section, frozen=True):
    """A polygon in a camera's picture, or on the map (`map`), which needs the camera's `view`.

    Corners are fractions of the picture's width and height from the top left, or latitude and longitude. Who comes or
    goes is in it, or out of it, once that has lasted `inertia` seconds. `spoken` is what a voice calls it, by language.
    """

    name: Id
    camera: Id
    polygon: Annotated[tuple[Corner, ...], Meta(max_length=200)] = ()
    map: Annotated[tuple[tuple[Lat, Lon], ...], Meta(max_length=200)] = ()
    inertia: Annotated[float, Meta(ge=0, le=60)] = 0.0
    spoken: dict[Literal["cmn", "en"], Annotated[str, Meta(min_length=1, max_length=100)]] = field(default_factory=dict)


class Rung(Section, frozen=True):
    """What an object is told if it stays `after_s` after the incident; then every `every_s`, `times` in all."""

    after_s: Annotated[float, Meta(gt=0, le=86_400)]
    say: Annotated[tuple[Phrase, ...], Meta(min_length=1)]
    urgent: bool = False  # said as a danger: interrupts other warnings
    every_s: Annotated[float, Meta(ge=5, le=3600)] = 30.0
    times: Annotated[int, Meta(ge=1, le=100)] = 1


class Respond(Section, frozen=True):
    """Where the drone flies when the rule fires: over the incident's place, or around it (`orbit`), and then home.

    Only a patrol under way goes there, unless it may `take_off` for it. `lat` and `lon` are the place where the picture
    does not tell it, or not to within `worst_m`.
    """

    fly: Literal["hover", "orbit"] = "hover"
    alt_m: Alt = 30.0
    for_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    radius_m: Annotated[float, Meta(ge=5, le=200)] = 20.0  # of an orbit
    lat: Lat | None = None
    lon: Lon | None = None
    worst_m: Annotated[float, Meta(gt=0, le=1000)] = 50.0
    take_off: bool = False


class RuleSection(Section, frozen=True, kw_only=True):
    """What all rules have; `blur = false` lets the pictures of its incidents leave as they were taken.

    Those with `classes` judge who has at least `min_score` and is `min_size` tall, as a share of the picture's height.

    An incident that nobody has acknowledged `patrol_after_s` after it began, while the object is still there, calls for
    the patrol; one that nobody has handled after `expire_after_s` expires.
    """

    id: Id
    speakers: tuple[Id, ...] = ()
    say: tuple[Phrase, ...] = ()
    ladder: tuple[Rung, ...] = ()
    active: tuple[Span, ...] = ()  # when it holds, in the site's time zone; empty: always
    clip_before_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    clip_after_s: Annotated[float, Meta(ge=0, le=600)] = 10.0
    blur: bool = True
    respond: Respond | None = None
    patrol_after_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    expire_after_s: Annotated[float, Meta(ge=60, le=31_536_000)] = 86_400.0


class ForbiddenZone(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="forbidden_zone"):
    """Fires when one of `classes` stands in the zone for `after_s`."""

    zone: Id
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("person",)
    after_s: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    min_score: Unit = 0.0
    min_size: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0


class PhotoSet(Section, frozen=True):
    """What is kept of a stay so that it can be shown to have been one: photographs, from rest to exit, in one manifest.

    At the entry, when the rule fires, then every `every_s` (at least `photos` in all), and at the exit, or when
    `grace_s` after the rule fired are over.
    """

    photos: Annotated[int, Meta(ge=2, le=50)] = 2
    every_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    grace_s: Annotated[float, Meta(ge=1, le=86_400)] = 300.0


class Dwell(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="dwell"):
    """Fires when one of `classes` stays in the zone, within `radius` of its own size, for `after_s`."""

    zone: Id
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("vehicle",)
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 120.0
    radius: Annotated[float, Meta(gt=0, le=10)] = 0.5
    min_score: Unit = 0.0
    min_size: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0
    evidence: PhotoSet | None = None


class Loitering(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="loitering"):
    """Fires when one of `classes` stays in the zone for `after_s`, standing still or walking about."""

    zone: Id
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("person", "vehicle", "two-wheeler")
    after_s: Annotated[float, Meta(gt=0, le=86_400)] = 120.0
    min_score: Unit = 0.0
    min_size: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0


class Crowd(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="crowd"):
    """Fires when at least `count` of `classes`, or `per_m2` of them, are in the zone at once for `after_s`.

    A zone on the map has its area; of one that is drawn in the picture `area_m2` tells it.
    """

    zone: Id
    count: Annotated[int, Meta(ge=2, le=1000)] | None = None
    per_m2: Annotated[float, Meta(gt=0, le=10)] | None = None
    area_m2: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("person",)
    after_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    min_score: Unit = 0.0
    min_size: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0


class PlateSeen(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="plate_seen"):
    """Fires once for each passage of a vehicle whose plate was read, by at least `min_votes`; needs [plates]."""

    zone: Id | None = None  # anywhere, on every camera, where none is named
    min_votes: Annotated[int, Meta(ge=1, le=100)] = 3
    min_confidence: Unit = 0.6
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0  # unseen for so long, it comes by anew


class HotListed(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="hot_list"):
    """Fires when a plate is read that stands on one of `lists` (all, where none is named); needs [plates].

    `quality` is the weakest match that fires: "exact", "probable" (a character that is easily mistaken, or two that
    are very easily), or "possible" (any one character in doubt, or two that are easily mistaken).
    """

    zone: Id | None = None  # anywhere, on every camera, where none is named
    lists: tuple[Id, ...] = ()
    quality: Literal["exact", "probable", "possible"] = "probable"
    min_confidence: Unit = 0.6
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0


class LineCrossing(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="line_crossing"):
    """Fires when one of `classes` crosses a line with its feet: two places of the picture (`line`) or of the `map`.

    Both are given as corners of zones are. `to_left` and `to_right` are for who looks from the line's first end to its
    second.
    """

    camera: Id
    line: tuple[Corner, Corner] | None = None
    map: MapLine | None = None
    direction: Literal["either", "to_left", "to_right"] = "either"
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("person", "vehicle", "two-wheeler")
    min_score: Unit = 0.0
    min_size: Unit = 0.0
    cool_down_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0  # for who goes to and fro


class Count(RuleSection, frozen=True, kw_only=True, tag_field="type", tag="count"):
    """Counts those of `classes` who enter `zone`, or cross `line` or `map` of `camera`; tells of it every `interval_s`.

    Intervals begin with the full hour where they divide it. No incident comes of it, and nothing is said.
    """

    zone: Id | None = None
    camera: Id | None = None
    line: tuple[Corner, Corner] | None = None
    map: MapLine | None = None
    interval_s: Annotated[float, Meta(ge=1, le=86_400)] = 900.0
    classes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("person", "vehicle", "two-wheeler")
    min_score: Unit = 0.0
    min_size: Unit = 0.0


Rule = ForbiddenZone | Dwell | Loitering | Crowd | LineCrossing | PlateSeen | HotListed | Count


class Clips(Section, frozen=True):
    """The last `seconds` of each camera, kept in memory as H.264, from which clips are cut; 0 keeps nothing."""

    seconds: Annotated[float, Meta(ge=0, le=3600)] = 120.0
    fps: Annotated[float, Meta(gt=0, le=30)] = 8.0
    max_height: Annotated[int, Meta(ge=64, le=2160)] = 720
    max_mib: Annotated[int, Meta(ge=1, le=1024)] = 48  # of each camera


class Privacy(Section, frozen=True):
    """What of people leaves the device: with `blur` heads and the plates that no rule asked for cannot be made out.

    The originals stay in `data_dir/originals` for `keep_days`, at most `max_mib` of them. With `seal_to` (an age
    recipient, X25519) they are written as ciphertext that the holder of its secret key alone can open, and, where
    [evidence] uploads, go to the centre as such, when nothing else waits; they are kept by [evidence] then.
    """

    blur: bool = True
    keep_days: Annotated[float, Meta(ge=0, le=36_500)] = 30.0
    max_mib: Annotated[int, Meta(ge=0, le=16_777_216)] = 2048
    seal_to: str | None = None
    upload_sealed: bool = True
