"""Every value that crosses a door between folders: frozen, with units in its field names.

`at_s` is seconds on the agent's monotonic clock when the fact was true; `wall_s` is the same instant as Unix time.
Durations come from `at_s` alone. Boxes are `(x1, y1, x2, y2)` in pixels of the frame they were seen in.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Box = tuple[float, float, float, float]


class Refusal(Struct, frozen=True, kw_only=True):
    """The domain said no: which gate, what it saw, what it wants, and what would make it pass."""

    gate: str
    reason: str
    value: str | None = None
    limit: str | None = None
    age_s: float | None = None
    remedy: str | None = None

    def __str__(self) -> str:
        facts = [
            f"{name} {fact}"
            for name, fact in (("value", self.value), ("limit", self.limit), ("remedy:", self.remedy))
            if fact is not None
        ]
        return f"{self.gate}: {self.reason}" + (f" ({'; '.join(facts)})" if facts else "")


# --- seen ---------------------------------------------------------------------------------------------------------


class Detection(Struct, frozen=True, kw_only=True):
    """One object in one frame."""

    label: str
    score: float
    box: Box


class Plate(Struct, frozen=True, kw_only=True):
    """A licence plate as read: `text` is canonical (no dot, no space), `confidence` 0..1.

    `country` is ISO 3166 (two letters), `type` one of that country's kinds, `color` that of the ground; `corners` run
    from the top left, clockwise.
    """

    text: str
    confidence: float
    box: Box
    votes: int = 1
    country: str | None = None
    type: str | None = None
    color: str | None = None
    corners: tuple[tuple[float, float], ...] = ()


class PlateShot(Struct, frozen=True, kw_only=True):
    """The crop from which a plate was read best, as JPEG, and when it was taken."""

    jpeg: bytes
    wall_s: float


class Fix(Struct, frozen=True, kw_only=True):
    """A place on the ground as seen in a picture, with the ellipse that holds the truth 95 times in 100.

    Half axes in metres; `azimuth_deg` is that of the longer one, 0..180 clockwise from true north. `wide_m` is how wide
    the object is there.
    """

    lat: float
    lon: float
    major_m: float
    minor_m: float
    azimuth_deg: float
    method: Literal["drone", "pole", "points"]  # a moving camera, a surveyed one, or marked points on the ground
    height_ref: Literal["home", "terrain", "plane"]  # what was taken for the height of the ground
    wide_m: float = 0.0


class Track(Struct, frozen=True, kw_only=True):
    """One object followed over frames; `seen` is false while it is only predicted; `first_box`: at `first_s`."""

    id: int
    label: str
    score: float
    box: Box
    first_s: float
    last_s: float
    hits: int
    seen: bool = True
    first_box: Box | None = None
    plate: Plate | None = None
    shot: PlateShot | None = None  # of that plate
    place: Fix | None = None  # of its feet or wheels, where the camera's view is known


class Tracks(Struct, frozen=True, kw_only=True):
    """All confirmed tracks of one camera at one capture time; `ended` names those that left since the last one.

    `unsure` are objects that were seen too seldom yet to be tracks: what is private of them is hidden all the same.
    """

    camera: str
    seq: int
    at_s: float
    wall_s: float
    width: int
    height: int
    tracks: tuple[Track, ...]
    ended: tuple[Track, ...] = ()
    unsure: tuple[Track, ...] = ()


# --- judged -------------------------------------------------------------------------------------------------------


class Picture(Struct, frozen=True, kw_only=True):
    """An evidence file on disk, complete and named by its hash."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int


class Video(Struct, frozen=True, kw_only=True):
    """A video file on disk, complete and named by its hash; `began_s` is the Unix time of its first picture."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int
    frames: int
    began_s: float
    lasts_s: float


class Hit(Struct, frozen=True, kw_only=True):
    """A plate that stands on a hot list: whose list, why, and how sure the match is.

    `probable` differs in one character that readers mistake for the one read, `possible` in any one: a person looks.
    """

    list: str
    version: int
    entry: str  # the entry's name: the beginning of its keyed hash
    authority: str
    reason: str
    expires: str  # RFC 3339
    quality: Literal["exact", "probable", "possible"]
    distance: float  # 0 for exact; 0.25 and 0.5 for what is easily mistaken, 1 for any other character
    doubt: str | None = None


class Incident(Struct, frozen=True, kw_only=True):
    """A rule fired: what, where, when and the picture that shows it. `zone` is empty for the whole picture."""

    id: str  # ULID
    kind: Literal["forbidden_zone", "dwell", "loitering", "crowd", "line_crossing", "plate_seen", "hot_list"]
    rule: str
    camera: str
    zone: str
    track: int
    label: str
    score: float
    box: Box
    began_s: float  # Unix time when the object entered the zone
    wall_s: float  # Unix time when the rule fired
    at_s: float  # monotonic time when the rule fired
    lasted_s: float  # time in the zone when the rule fired
    frame: int
    plate: Plate | None = None
    picture: Picture | None = None
    hit: Hit | None = None
    direction: Literal["to_left", "to_right"] | None = None  # of a crossing, from the line's first end to its second
    count: int | None = None  # of a crowd: how many there are; `track` is who was first seen, `box` goes around all
    per_m2: float | None = None  # of a crowd in a zone whose size is known
    place: Fix | None = None
    gap_s: float | None = None  # of a stay: the longest time within it that nobody saw the object


class Tally(Struct, frozen=True, kw_only=True):
    """How many entered a zone or crossed a line in a stretch of time. `zone` is empty for a line."""

    id: str  # ULID
    rule: str
    camera: str
    zone: str
    since_s: float  # Unix time
    lasted_s: float
    observed_s: float  # of it with pictures: less means that some may not have been counted
    total: int
    labels: dict[str, int]
    to_left: int | None = None  # of a line, for who looks from its first end to its second
    to_right: int | None = None


CaseState = Literal["new", "announced", "acknowledged", "handled", "closed", "expired"]
Escalation = Literal["none", "polite", "firm", "patrol"]  # spoken to, spoken to again, the patrol was called


class Revision(Struct, frozen=True, kw_only=True):
    """An incident went on: reported under the incident's own kind, with `rev` 1, 2, … (0 is the incident).

    `updated` (a plate was read, or read better) and `escalated` leave the state as it is. The device itself closes what
    was handled once nobody is there any more, and lets expire what nobody handled.
    """

    id: str  # of the incident
    rev: Annotated[int, Meta(ge=1)]
    state: CaseState | Literal["updated", "escalated"]
    by: str
    wall_s: float
    outcome: str | None = None
    note: str = ""
    level: Escalation | None = None
    plate: Plate | None = None


class Snapped(Struct, frozen=True, kw_only=True):
    """A picture that was asked for."""

    id: str  # ULID
    camera: str
    by: str
    wall_s: float
    picture: Picture


class Clipped(Struct, frozen=True, kw_only=True):
    """A video that was asked for, or that goes with an incident: its id is then the incident's.

    That of a whole stay, from before the entry to after the end, has `.stay` behind it.
    """

    id: str  # ULID
    camera: str
    wall_s: float  # Unix time of the incident, or of the last picture
    video: Video
    by: str | None = None
    incident: str | None = None


# --- spoken -------------------------------------------------------------------------------------------------------

AnnouncementClass = Literal["stop_all", "live", "danger", "rule", "scheduled", "test"]
Proof = Literal["none", "accepted", "delivered", "playing", "tested", "heard"]  # each says more than the one before


class Phrase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sentence in one language: `cmn` (Mandarin) or `en`."""

    text: Annotated[str, Meta(min_length=1, max_length=500)]
    lang: Literal["cmn", "en"] = "cmn"


class Place(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somewhere on the ground."""

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


class Announcement(Struct, frozen=True, kw_only=True):
    """What to say on which speakers, why, and until when it is still true.

    `speakers` may name groups, and "drone"; with `near`, the nearest of them speaks. `place` is where those are who are
    meant. In place of phrases there may be a `clip` of the device's store, or a `source` (`rtp://HOST:PORT`): a live
    voice, for at most `for_s`.
    """

    id: str  # ULID
    phrases: tuple[Phrase, ...]
    speakers: tuple[str, ...]
    cls: AnnouncementClass
    at_s: float
    not_after_s: float  # monotonic; later than this it is stale and is not said
    by: str  # the rule, operator or command that asked
    incident: str | None = None
    track: str | None = None  # "camera/track": the cool-down key
    rung: int = 0  # of a warning that goes on: a later one passes the cool-down
    near: Place | None = None
    place: Place | None = None
    clip: str | None = None
    source: str | None = None
    for_s: float = 0.0


class Spoken(Struct, frozen=True, kw_only=True):
    """What became of one announcement on one speaker: the record of proof."""

    announcement: str
    speaker: str
    outcome: Literal["delivered", "refused", "failed", "interrupted"]
    proof: Proof
    text: str
    by: str
    wall_s: float
    duration_s: float = 0.0
    sha256: str | None = None  # of the clip's PCM, however much of it was sent; of a live voice, of what came
    detail: str | None = None
    incident: str | None = None
    refusal: Refusal | None = None
    cls: AnnouncementClass | None = None
    latency_ms: float | None = None  # from the moment it was asked for to the first sound that was sent
    asked: Proof | None = None  # how far it was to be proven
    next: str | None = None  # it was not, or not said at all: this speaker tries next
    rung: int = 0  # of a warning that goes on
    interlock: str | None = None  # what was seen of the flight before the drone spoke
    heard_delay_ms: int | None = None  # from the first sound sent to its chirp at the microphone
    heard_level_dbfs: float | None = None
    volume_pct: float | None = None  # where the noise around the speaker set it
    noise_dbfs: float | None = None  # at its microphone, before it spoke
    lat: float | None = None  # where the speaker stands; `interlock` says where the drone was
    lon: float | None = None


# --- flown --------------------------------------------------------------------------------------------------------


class Telemetry(Struct, frozen=True, kw_only=True):
    """Where the vehicle is and how it does; a field is None until the autopilot has said it."""

    at_s: float
    armed: bool
    mode: str
    boot_s: float | None = None  # the vehicle's own clock, since it was switched on
    landed: bool | None = None
    lat: float | None = None
    lon: float | None = None
    alt_m: float | None = None  # above home
    alt_msl_m: float | None = None
    speed_mps: float | None = None
    heading_deg: float | None = None
    battery_pct: float | None = None
    battery_v: float | None = None
    gps_fix: int | None = None
    satellites: int | None = None
    home_lat: float | None = None
    home_lon: float | None = None
    mission_seq: int | None = None
    mission_total: int | None = None
    margin_pct: float | None = None  # of the battery, beyond the way home and the reserve
    to_go_m: float | None = None  # along the rest of the mission, home included


class Attitude(Struct, frozen=True, kw_only=True):
    """How the vehicle stood at `boot_s` of its own clock (radians, aerospace convention), as heard at `heard_s`."""

    heard_s: float
    boot_s: float
    roll: float
    pitch: float
    yaw: float  # from true north
    rates: tuple[float, float, float] = (0.0, 0.0, 0.0)  # rad/s about its own axes


class Position(Struct, frozen=True, kw_only=True):
    """Where the vehicle was at `boot_s` of its own clock, and how it moved; heights above home."""

    heard_s: float
    boot_s: float
    lat: float
    lon: float
    alt_m: float
    north_mps: float = 0.0
    east_mps: float = 0.0
    up_mps: float = 0.0


class GimbalAttitude(Struct, frozen=True, kw_only=True):
    """How the camera's gimbal stood: a quaternion (w, x, y, z) from the horizon and north (`earth`), or the heading."""

    heard_s: float
    boot_s: float
    q: tuple[float, float, float, float]
    earth: bool


Posed = Attitude | Position | GimbalAttitude


class FlightEvent(Struct, frozen=True, kw_only=True):
    """One transition of one flight; `run` is its ULID, `phase` the state that was entered, `cause` why."""

    run: str
    route: str
    seq: int
    phase: str
    previous: str
    cause: str
    by: str
    wall_s: float
    lat: float | None = None
    lon: float | None = None
    alt_m: float | None = None
    battery_pct: float | None = None
    refusal: Refusal | None = None
    to_go_m: float | None = None  # to the place of a dispatch, or home
    say: str | None = None  # to be spoken here and now, once
    lang: Literal["cmn", "en"] | None = None  # of `say`


VisitStateName = Literal["visited", "due_soon", "overdue", "missed", "owed", "open"]


class Visit(Struct, frozen=True, kw_only=True):
    """A target that must be visited: it was, is due soon, is overdue, or a run left it out."""

    target: str
    kind: Literal["point", "line", "area"]
    state: VisitStateName
    wall_s: float
    due_s: float  # Unix time until which it is to be visited
    share: float  # of it that was seen since the last visit, 0..1
    visited_s: float | None = None  # Unix time of the last visit
    closest_m: float | None = None
    dwell_s: float = 0.0
    carried: bool = False  # the next run takes it on
    route: str | None = None
    run: str | None = None


# --- asked --------------------------------------------------------------------------------------------------------

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Note = Annotated[str, Meta(max_length=500)]
MAX_TEXT = 500
Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
Lat = Annotated[float, Meta(ge=-90, le=90)]
Lon = Annotated[float, Meta(ge=-180, le=180)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class Asked(Struct, frozen=True, kw_only=True, tag_field="name", forbid_unknown_fields=True):
    """What may be asked of a device; the fields are the command's `args`."""


class Fly(Asked, frozen=True, tag="fly"):
    """Fly a route of the config now; `from_breakpoint` goes on where its last run was called away.

    A `dry_run` is all of it, from the gates to the mission read back, but nothing is armed.
    """

    route: str
    from_breakpoint: bool = False
    dry_run: bool = False


class Dispatch(Asked, frozen=True, tag="dispatch"):
    """Fly to a place, hover there, say something if asked to, and come home."""

    lat: Lat
    lon: Lon
    alt_m: Annotated[float, Meta(gt=0, le=500)]
    hover_s: Annotated[float, Meta(ge=0, le=3600)] = 30.0
    orbit_m: Annotated[float, Meta(ge=0, le=200)] = 0.0  # flies around the place so far out; 0: hovers over it
    say: Text | None = None
    lang: Literal["cmn", "en"] = "cmn"
    incident: Name | None = None
    dry_run: bool = False


class Recall(Asked, frozen=True, tag="recall"):
    """Return home."""


class Land(Asked, frozen=True, tag="land"):
    """Land where the vehicle is."""


class Pause(Asked, frozen=True, tag="pause"):
    """Hold position on the route; `resume` goes on."""


class Resume(Asked, frozen=True, tag="resume"):
    """Go on after `pause`."""


class Extend(Asked, frozen=True, tag="extend"):
    """Stay longer where the vehicle hovers."""

    hover_s: Seconds


class ClearLockout(Asked, frozen=True, tag="clear_lockout"):
    """A person has looked at the vehicle after a disarm in the air: flights are possible again."""


class Skip(Asked, frozen=True, tag="skip"):
    """Leave out one occurrence of a schedule: the next, or the one planned at `when` (RFC 3339)."""

    schedule: str
    when: str | None = None


class Say(Asked, frozen=True, tag="say"):
    """Speak a text, or play a `clip` of the device's store.

    An empty `speakers` means all of them; there may be groups among them, and "drone". With `near` the nearest speaks.
    """

    text: Text | None = None
    clip: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    lang: Literal["cmn", "en"] = "cmn"
    speakers: tuple[str, ...] = ()
    near: Place | None = None


class Talk(Asked, frozen=True, tag="talk"):
    """Put a live voice through for at most `for_s`: RTP (PCMU or PCMA) from `source` (`rtp://HOST:PORT`), or WebSocket.

    PORT is also where the device listens: on HOST where that is its own address or a group, else for HOST alone. From
    `wss://…` or `ws://…` the device fetches it: binary messages of mu-law at 8 kHz, until the other end closes.
    """

    source: Annotated[str, Meta(pattern=r"^(rtp://[^/\s]+:\d{1,5}|wss?://[^/\s?#@]+(/\S*)?)$", max_length=200)]
    for_s: Seconds = 60.0
    speakers: tuple[str, ...] = ()


class Hush(Asked, frozen=True, tag="hush"):
    """Silence: what plays is interrupted, what waits is not said."""


class Level(Asked, frozen=True, tag="level"):
    """Switch the patrol level, until a time (RFC 3339) or until the next switch; each level has its own schedules."""

    level: Literal["normal", "raised", "top"]
    until: str | None = None


class Listed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plate to look out for: on whose authority, why, and until when (RFC 3339)."""

    plate: Annotated[str, Meta(min_length=2, max_length=32)]
    authority: Annotated[str, Meta(min_length=1, max_length=100)]
    reason: Annotated[str, Meta(min_length=1, max_length=100)]
    expires: Annotated[str, Meta(min_length=20, max_length=40)]


class HotList(Asked, frozen=True, tag="hot_list"):
    """The plates to look out for: replaces the whole of a list, or amends it; each time with a higher version.

    A command has at most 64 KiB, some 400 plates: a longer list is replaced by the first and amended by the others.
    """

    version: Annotated[int, Meta(ge=1, le=2**53)]
    list: Name = "main"
    mode: Literal["replace", "amend"] = "replace"
    plates: Annotated[tuple[Listed, ...], Meta(max_length=1000)] = ()
    remove: Annotated[tuple[Annotated[str, Meta(min_length=2, max_length=32)], ...], Meta(max_length=1000)] = ()


class Corners(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zone of a camera: a `polygon` in fractions of the picture from the top left, or on the `map` (lat, lon)."""

    name: Name
    camera: Name
    polygon: Annotated[
        tuple[tuple[Annotated[float, Meta(ge=0, le=1)], Annotated[float, Meta(ge=0, le=1)]], ...],
        Meta(max_length=200),
    ] = ()
    map: Annotated[tuple[tuple[Lat, Lon], ...], Meta(max_length=200)] = ()


class Zones(Asked, frozen=True, tag="zones"):
    """Move zones that the config names."""

    zones: Annotated[tuple[Corners, ...], Meta(min_length=1, max_length=100)]


class Snapshot(Asked, frozen=True, tag="snapshot"):
    """Report a camera's newest picture; without `camera` that of the only one."""

    camera: Name | None = None


class Clip(Asked, frozen=True, tag="clip"):
    """Report the last seconds of a camera as a video."""

    camera: Name
    last_s: Annotated[float, Meta(gt=0, le=600)] = 30.0


class CheckConfig(Asked, frozen=True, tag="config"):
    """Would this be taken as a desired configuration? Nothing is applied: `down/desired` does that."""

    desired: dict[str, Any]


class Acknowledge(Asked, frozen=True, tag="acknowledge"):
    """A person has taken an incident on."""

    incident: Name
    note: Note = ""


class Handled(Asked, frozen=True, tag="handled"):
    """A person has dealt with an incident."""

    incident: Name
    outcome: Literal["resolved", "false_alarm", "passed_on", "no_action"] = "resolved"
    note: Note = ""


FlightRequest = Fly | Dispatch | Recall | Land | Pause | Resume | Extend | ClearLockout | Level | Skip
VoiceRequest = Say | Talk | Hush
SightRequest = Snapshot | Clip | HotList | Zones
CaseRequest = Acknowledge | Handled
Request = FlightRequest | VoiceRequest | SightRequest | CaseRequest | CheckConfig


class Originals(Struct, frozen=True, tag_field="name", tag="originals", kw_only=True):
    """Hold these originals whatever the rules say, let them go by the rules again, or delete them now.

    `ids` are names of files or ids of incidents; `unconfirmed` deletes also what the centre has not.
    """

    verb: Literal["hold", "release", "delete"]
    ids: Annotated[tuple[str, ...], Meta(min_length=1, max_length=500)]
    reason: Annotated[str, Meta(max_length=500)] = ""
    unconfirmed: bool = False
    dry_run: bool = False


class Reply(Struct, frozen=True, kw_only=True):
    """An answer to a request: what became of it, or, for `progress`, how far it is.

    `accepted` and `progress` are followed by `done` or `failed`; `run` is the flight or the announcement that was
    begun.
    """

    state: Literal["accepted", "progress", "done", "failed", "rejected", "expired", "duplicate"]
    reason: str | None = None
    run: str | None = None
    phase: str | None = None
    refusal: Refusal | None = None
    to_go_m: float | None = None


# --- words --------------------------------------------------------------------------------------------------------

GROUPS: dict[str, frozenset[str]] = {
    "vehicle": frozenset({"car", "bus", "truck", "van"}),
    "two-wheeler": frozenset({"bicycle", "motorcycle"}),
}
_GROUP_OF = {label: name for name, members in GROUPS.items() for label in members}


def is_a(label: str, name: str) -> bool:
    """Whether a model's label is what a rule or filter calls `name`: itself, or a member of that group."""
    return label == name or label in GROUPS.get(name, ())


def group_of(label: str) -> str:
    """The group of a label (car, bus and truck are mistaken for each other), or the label itself."""
    return _GROUP_OF.get(label, label)
