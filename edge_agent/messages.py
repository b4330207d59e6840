"""Every value that crosses a door between folders: frozen, with units in its field names.

`at_s` is seconds on the agent's monotonic clock when the fact was true; `wall_s` is the same instant as Unix time.
Durations come from `at_s` alone. Boxes are `(x1, y1, x2, y2)` in pixels of the frame they were seen in.
"""

from __future__ import annotations

from typing import Annotated, Literal

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
    """A licence plate as read: `text` is canonical (no dot, no space), `confidence` 0..1."""

    text: str
    confidence: float
    box: Box
    votes: int = 1


class Track(Struct, frozen=True, kw_only=True):
    """One object followed over frames; `seen` is false while it is only predicted."""

    id: int
    label: str
    score: float
    box: Box
    first_s: float
    last_s: float
    hits: int
    seen: bool = True
    plate: Plate | None = None


class Tracks(Struct, frozen=True, kw_only=True):
    """All confirmed tracks of one camera at one capture time; `ended` names those that left since the last one."""

    camera: str
    seq: int
    at_s: float
    wall_s: float
    width: int
    height: int
    tracks: tuple[Track, ...]
    ended: tuple[Track, ...] = ()


# --- judged -------------------------------------------------------------------------------------------------------


class Picture(Struct, frozen=True, kw_only=True):
    """An evidence file on disk, complete and named by its hash."""

    path: str
    sha256: str
    bytes: int
    width: int
    height: int


class Incident(Struct, frozen=True, kw_only=True):
    """A rule fired: what, where, when and the picture that shows it."""

    id: str  # ULID
    kind: Literal["forbidden_zone", "dwell"]
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


# --- spoken -------------------------------------------------------------------------------------------------------

AnnouncementClass = Literal["stop_all", "live", "danger", "rule", "scheduled", "test"]


class Phrase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sentence in one language: `cmn` (Mandarin) or `en`."""

    text: Annotated[str, Meta(min_length=1, max_length=500)]
    lang: Literal["cmn", "en"] = "cmn"


class Announcement(Struct, frozen=True, kw_only=True):
    """What to say on which speakers, why, and until when it is still true."""

    id: str  # ULID
    phrases: tuple[Phrase, ...]
    speakers: tuple[str, ...]
    cls: AnnouncementClass
    at_s: float
    not_after_s: float  # monotonic; later than this it is stale and is not said
    by: str  # the rule, operator or command that asked
    incident: str | None = None
    track: str | None = None  # "camera/track": the cool-down key


class Spoken(Struct, frozen=True, kw_only=True):
    """What became of one announcement on one speaker: the record of proof."""

    announcement: str
    speaker: str
    outcome: Literal["delivered", "refused", "failed", "interrupted"]
    proof: Literal["none", "accepted", "delivered", "playing", "tested", "heard"]
    text: str
    by: str
    wall_s: float
    duration_s: float = 0.0
    sha256: str | None = None  # of the PCM that was sent
    detail: str | None = None
    incident: str | None = None
    refusal: Refusal | None = None


# --- flown --------------------------------------------------------------------------------------------------------


class Telemetry(Struct, frozen=True, kw_only=True):
    """Where the vehicle is and how it does; a field is None until the autopilot has said it."""

    at_s: float
    armed: bool
    mode: str
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


# --- asked --------------------------------------------------------------------------------------------------------


class Fly(Struct, frozen=True, kw_only=True, tag_field="name", tag="fly", forbid_unknown_fields=True):
    """Fly a route of the config now."""

    route: str


class Recall(Struct, frozen=True, kw_only=True, tag_field="name", tag="recall", forbid_unknown_fields=True):
    """Return home."""


class Land(Struct, frozen=True, kw_only=True, tag_field="name", tag="land", forbid_unknown_fields=True):
    """Land where the vehicle is."""


class Pause(Struct, frozen=True, kw_only=True, tag_field="name", tag="pause", forbid_unknown_fields=True):
    """Hold position on the route; `resume` goes on."""


class Resume(Struct, frozen=True, kw_only=True, tag_field="name", tag="resume", forbid_unknown_fields=True):
    """Go on after `pause`."""


class Say(Struct, frozen=True, kw_only=True, tag_field="name", tag="say", forbid_unknown_fields=True):
    """Speak a text; an empty `speakers` means all of them."""

    text: Annotated[str, Meta(min_length=1, max_length=500)]
    lang: Literal["cmn", "en"] = "cmn"
    speakers: tuple[str, ...] = ()


Request = Fly | Recall | Land | Pause | Resume | Say


class Reply(Struct, frozen=True, kw_only=True):
    """The answer to one request, given exactly once per id."""

    state: Literal["accepted", "done", "failed", "rejected", "expired", "duplicate"]
    reason: str | None = None
    run: str | None = None
    refusal: Refusal | None = None


# --- words --------------------------------------------------------------------------------------------------------

GROUPS: dict[str, frozenset[str]] = {
    "vehicle": frozenset({"car", "bus", "truck", "van"}),
    "two-wheeler": frozenset({"bicycle", "motorcycle"}),
}


def is_a(label: str, name: str) -> bool:
    """Whether a model's label is what a rule or filter calls `name`: itself, or a member of that group."""
    return label == name or label in GROUPS.get(name, ())


def group_of(label: str) -> str:
    """The group of a label (car, bus and truck are mistaken for each other), or the label itself."""
    return next((name for name, members in GROUPS.items() if label in members), label)
