"""The states of a flight as a table: from where, to where, because of what was observed. Pure.

An acknowledgement confirms nothing: every step is taken on what the vehicle is seen to do, and each state on the
ground has a deadline. In the air a deadline only ever asks for the return (`overdue`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Literal, NamedTuple

from msgspec import Struct


class Phase(StrEnum):
    """What the pilot takes the flight to be."""

    BOOT = "boot"  # never heard the autopilot
    ATTACHING = "attaching"  # listens only, to find out what this flight is
    LINK_DOWN = "link_down"
    GROUND = "ground"  # ready for a flight
    GATING = "gating"  # go or no go
    UPLOADING = "uploading"
    VERIFYING = "verifying"  # reads the mission back and compares
    READYING = "readying"  # rewinds the mission, mode GUIDED
    ARMING = "arming"
    STARTING = "starting"  # mode AUTO, mission start, until it has left the ground
    CLIMB = "climb"
    ROUTE = "route"
    TRANSIT = "transit"  # a dispatch on its way to the place
    ON_SCENE = "on_scene"  # seen over the place, at the height that was asked for
    PAUSED = "paused"
    RETURNING = "returning"
    LANDING = "landing"
    YIELDED = "yielded"  # somebody else flies: report, never fight
    ABORTING = "aborting"  # armed on the ground, and shall not fly
    FOREIGN = "foreign"  # armed, and no flight of ours
    LANDED = "landed"  # ends a run: on the ground, disarmed
    CHECKED = "checked"  # ends a dry run: all gates pass, the mission is aboard, nothing was armed
    FAILED = "failed"  # ends a run: it never flew
    LOCKOUT = "lockout"  # ends a run: disarmed in the air; a person clears it


RUN_ENDS = frozenset({Phase.LANDED, Phase.CHECKED, Phase.FAILED, Phase.LOCKOUT})
OUTWARD = frozenset({Phase.ROUTE, Phase.TRANSIT, Phase.ON_SCENE})  # the plan is flown, and it does not lead home yet
BEFORE_ARMING = frozenset({Phase.GATING, Phase.UPLOADING, Phase.VERIFYING, Phase.READYING})
IDLING = frozenset({Phase.ARMING, Phase.STARTING})  # ArduCopter stops idle motors after DISARM_DELAY, 10 s
IN_FLIGHT = OUTWARD | {Phase.CLIMB, Phase.PAUSED, Phase.RETURNING, Phase.LANDING, Phase.YIELDED}
LOOKING = frozenset({Phase.BOOT, Phase.ATTACHING, Phase.LINK_DOWN})  # says nothing about the run itself

LEADS_HOME = "the mission leads home"
LIFTED = "left the ground although it should not"
HANDS_OFF = "the pilot's switch takes the agent's hands off"
AWAY = "landed and disarmed away from home"
PLANNED = (LEADS_HOME, "attached: on the way home")  # causes of a return that nobody asked for

RETURN_MODES = ("RTL", "SMART_RTL", "AUTO_RTL")
HOLD_MODES = ("BRAKE", "LOITER")

Work = Literal["none", "running", "done", "mismatch", "failed"]
Leg = Literal["climb", "route", "transit", "scene", "home"]
Stands = Literal["home", "rally", "away"]


class Seen(Struct, frozen=True, kw_only=True):
    """What a step may depend on; all of it observed, but `work` and `paused`, which are what we did."""

    link: bool = True
    settled: bool = False  # enough was heard since the link came up to say what this flight is
    run: bool = False  # a run of ours is open
    rehearsal: bool = False  # a dry run: it ends before arming
    flew: bool = False  # it had left the ground
    paused: bool = False  # we asked it to hold
    resumed: bool = False  # a person asked to go on after YIELDED
    hands_off: bool = False  # the pilot's switch says so
    ours: bool = False  # the mission aboard is the one that was verified
    armed: bool = False
    landed: bool | None = None
    landing: bool = False
    mode: str = ""
    alt_m: float = 0.0
    seq: int = 0  # the current mission item
    leg: Leg = "climb"  # and what it is a part of
    arrived: bool = False  # over the place of the leg `scene`, at its height
    work: Work = "none"  # how the job of this phase stands
    stands: Stands = "home"  # where it is: where it took off, at a rally point that was known then, or elsewhere

    @property
    def down(self) -> bool:
        return self.landed is True and not self.armed

    @property
    def up(self) -> bool:
        return self.armed and self.landed is False

    @property
    def homing(self) -> bool:
        return self.mode in RETURN_MODES or (self.mode == "AUTO" and self.leg == "home")


class Step(NamedTuple):
    """Go to `to` when `when` was seen; `cause` may name {mode}, {detail} and {why} (who or what changed the mode)."""

    to: Phase
    cause: str
    when: Callable[[Seen], bool]


class Deadline(NamedTuple):
    """Go to `to` when the phase has lasted `after_s`."""

    after_s: float
    to: Phase
    cause: str


_LOST = Step(Phase.LINK_DOWN, "no heartbeat", lambda s: not s.link)
_DOWN = (
    Step(Phase.LANDED, AWAY, lambda s: s.down and s.stands == "away"),
    Step(Phase.LANDED, "landed and disarmed at a rally point", lambda s: s.down and s.stands == "rally"),
    Step(Phase.LANDED, "landed and disarmed", lambda s: s.down),
)
_FALLEN = Step(
    Phase.LOCKOUT, "disarmed in the air", lambda s: not s.armed and s.landed is False and s.alt_m > FALLEN_ALT_M
)
_MUTED = Step(Phase.YIELDED, HANDS_OFF, lambda s: s.hands_off)
_ENDING = (
    Step(Phase.LANDING, "{why}", lambda s: s.mode == "LAND"),
    Step(Phase.RETURNING, "{why}", lambda s: s.homing),
)
_OUTWARD = (
    _LOST, *_DOWN, _FALLEN, _MUTED, *_ENDING,
    Step(Phase.PAUSED, "{why}", lambda s: s.paused and s.mode in HOLD_MODES),
    Step(Phase.YIELDED, "{why}", lambda s: not _flies_ours(s)),
)  # fmt: skip
_ONWARD = (
    Step(Phase.ROUTE, "at height", lambda s: s.leg == "route"),
    Step(Phase.TRANSIT, "at height", lambda s: s.leg in ("transit", "scene")),
)
_USURPED = Step(Phase.FAILED, "armed by somebody else", lambda s: s.armed)
_WORK_FAILED = Step(Phase.FAILED, "{detail}", lambda s: s.work == "failed")
FALLEN_ALT_M = 3.0
LIFTED_ALT_M = 0.5

TABLE: Mapping[Phase, tuple[Step, ...]] = {
    Phase.BOOT: (Step(Phase.ATTACHING, "heartbeat heard", lambda s: s.link),),
    Phase.LINK_DOWN: (Step(Phase.ATTACHING, "heartbeat heard again", lambda s: s.link),),
    Phase.ATTACHING: (
        _LOST,
        Step(Phase.GROUND, "on the ground", lambda s: s.settled and not s.run and not s.armed),
        Step(Phase.FOREIGN, "armed by somebody else", lambda s: s.settled and not s.run and s.armed),
        Step(Phase.LANDED, "landed and disarmed while it was not watched", lambda s: s.settled and s.down and s.flew),
        Step(Phase.FAILED, "interrupted before take-off", lambda s: s.settled and s.down),
        Step(Phase.LOCKOUT, "disarmed in the air", lambda s: s.settled and not s.armed),
        Step(Phase.ABORTING, "interrupted before take-off", lambda s: s.settled and s.landed is True and not s.flew),
        Step(Phase.YIELDED, f"attached: {HANDS_OFF}", lambda s: s.settled and s.hands_off),
        Step(Phase.LANDING, "attached: mode LAND", lambda s: s.settled and (s.mode == "LAND" or s.landing)),
        Step(Phase.RETURNING, "attached: mode {mode}", lambda s: s.settled and s.mode in RETURN_MODES),
        Step(Phase.PAUSED, "attached: still held", lambda s: s.settled and s.paused and s.mode in HOLD_MODES),
        Step(Phase.YIELDED, "attached: {mode}, not our mission", lambda s: s.settled and not _flies_ours(s)),
        Step(Phase.RETURNING, PLANNED[1], lambda s: s.settled and s.homing),
        Step(Phase.CLIMB, "attached: climbing", lambda s: s.settled and s.leg == "climb"),
        Step(Phase.ON_SCENE, "attached: over the place", lambda s: s.settled and s.leg == "scene" and s.arrived),
        Step(Phase.TRANSIT, "attached: on the way to the place", lambda s: s.settled and s.leg in ("transit", "scene")),
        Step(Phase.ROUTE, "attached: on the route", lambda s: s.settled),
    ),
    Phase.GROUND: (_LOST, Step(Phase.FOREIGN, "armed by somebody else", lambda s: s.armed)),
    Phase.FOREIGN: (_LOST, Step(Phase.GROUND, "on the ground", lambda s: s.down)),
    Phase.GATING: (
        _LOST, _USURPED, _WORK_FAILED,
        Step(Phase.UPLOADING, "all gates pass", lambda s: s.work == "done"),
    ),
    Phase.UPLOADING: (
        _LOST, _USURPED, _WORK_FAILED,
        Step(Phase.VERIFYING, "mission sent", lambda s: s.work == "done"),
    ),
    Phase.VERIFYING: (
        _LOST, _USURPED, _WORK_FAILED,
        Step(Phase.CHECKED, "dry run: the mission aboard is the one sent", lambda s: s.rehearsal and s.work == "done"),
        Step(Phase.READYING, "the mission aboard is the one sent", lambda s: s.work == "done"),
        Step(Phase.UPLOADING, "the mission aboard differs: {detail}", lambda s: s.work == "mismatch"),
    ),
    Phase.READYING: (
        _LOST, _USURPED, _WORK_FAILED,
        Step(Phase.ARMING, "rewound, mode GUIDED", lambda s: s.mode == "GUIDED" and s.seq <= 1 and s.work == "done"),
    ),
    Phase.ARMING: (
        _LOST,
        Step(Phase.ABORTING, HANDS_OFF, lambda s: s.armed and s.hands_off),
        Step(Phase.YIELDED, "{why}", lambda s: s.armed and s.mode != "GUIDED"),
        Step(Phase.FAILED, "{why}", lambda s: s.mode != "GUIDED"),
        Step(Phase.STARTING, "armed", lambda s: s.armed),
        _WORK_FAILED,
    ),
    Phase.STARTING: (
        _LOST,
        Step(Phase.FAILED, "the autopilot disarmed itself before take-off", lambda s: s.down),
        Step(Phase.YIELDED, "{why}", lambda s: s.mode not in ("GUIDED", "AUTO")),
        Step(Phase.ABORTING, HANDS_OFF, lambda s: s.hands_off and s.landed is True),
        Step(Phase.CLIMB, "left the ground", lambda s: s.up and s.mode == "AUTO" and s.alt_m > LIFTED_ALT_M),
        Step(Phase.ABORTING, "{detail}", lambda s: s.work == "failed"),
    ),
    Phase.CLIMB: (
        _LOST, *_DOWN, _FALLEN, _MUTED, *_ENDING,
        Step(Phase.PAUSED, "{why}", lambda s: s.paused and s.mode in HOLD_MODES),
        Step(Phase.YIELDED, "{why}", lambda s: not _flies_ours(s)),
        *_ONWARD,
    ),
    Phase.ROUTE: (
        *_OUTWARD,
        Step(Phase.TRANSIT, "called to a place", lambda s: s.leg in ("transit", "scene")),
    ),
    Phase.TRANSIT: (
        *_OUTWARD,
        Step(Phase.ON_SCENE, "over the place, at its height", lambda s: s.leg == "scene" and s.arrived),
    ),
    Phase.ON_SCENE: (
        *_OUTWARD,
        Step(Phase.TRANSIT, "called to another place", lambda s: s.leg == "transit"),
    ),
    Phase.PAUSED: (
        _LOST, *_DOWN, _FALLEN, _MUTED, *_ENDING,
        Step(Phase.ROUTE, "{why}", lambda s: not s.paused and _flies_ours(s) and s.leg in ("climb", "route")),
        Step(Phase.TRANSIT, "{why}", lambda s: not s.paused and _flies_ours(s)),
        Step(Phase.YIELDED, "{why}", lambda s: s.mode not in HOLD_MODES and not (s.mode == "AUTO" and not s.paused)),
    ),
    Phase.RETURNING: (
        _LOST, *_DOWN, _FALLEN, _MUTED,
        Step(Phase.LANDING, "over home, descending", lambda s: s.landing and s.mode != "LAND"),
        Step(Phase.LANDING, "{why}", lambda s: s.mode == "LAND"),
        Step(Phase.YIELDED, "{why}", lambda s: not s.homing and not _flies_ours(s)),
    ),
    Phase.LANDING: (
        _LOST, *_DOWN, _FALLEN, _MUTED,
        # At touchdown ArduCopter's mission is over: AUTO at item 0, and still armed.
        Step(Phase.YIELDED, "{why}", lambda s: s.mode != "LAND" and not s.homing and not _flies_ours(s)),
    ),
    Phase.YIELDED: (
        _LOST, *_DOWN, _FALLEN,
        Step(Phase.LANDING, "{why}", lambda s: s.mode == "LAND" and not s.hands_off),
        Step(Phase.RETURNING, "{why}", lambda s: s.homing and not s.hands_off),
        Step(Phase.ROUTE, "{why}", lambda s: s.resumed and _flies_ours(s) and s.leg in ("climb", "route")),
        Step(Phase.TRANSIT, "{why}", lambda s: s.resumed and _flies_ours(s)),
    ),
    Phase.ABORTING: (
        _LOST,
        Step(Phase.FAILED, "disarmed before take-off", lambda s: s.down),
        Step(Phase.CLIMB, LIFTED, lambda s: s.up and s.alt_m > LIFTED_ALT_M and _flies_ours(s) and not s.hands_off),
        Step(Phase.YIELDED, LIFTED, lambda s: s.up and s.alt_m > LIFTED_ALT_M),
    ),
    Phase.LANDED: (Step(Phase.GROUND, "ready", lambda s: s.link and s.settled),),
    Phase.CHECKED: (Step(Phase.GROUND, "ready", lambda s: s.link and s.settled),),
    Phase.FAILED: (Step(Phase.ATTACHING, "look again", lambda _: True),),
    Phase.LOCKOUT: (),
}  # fmt: skip

# Where the world owes us an answer; a person or the autopilot ends the other phases in their own time.
DEADLINES: Mapping[Phase, Deadline] = {
    Phase.UPLOADING: Deadline(90.0, Phase.FAILED, "the mission is not aboard after {after_s:g} s"),
    Phase.VERIFYING: Deadline(60.0, Phase.FAILED, "the mission was not read back in {after_s:g} s"),
    Phase.READYING: Deadline(12.0, Phase.FAILED, "not rewound and in GUIDED after {after_s:g} s: {detail}"),
    Phase.ARMING: Deadline(12.0, Phase.FAILED, "not armed after {after_s:g} s: {detail}"),
    Phase.STARTING: Deadline(20.0, Phase.ABORTING, "still on the ground {after_s:g} s after the start: {detail}"),
}

# How long an airborne phase may last before the drone is called home; a restart of the agent changes nothing in it.
RETURN_AFTER_S: Mapping[Phase, float] = {Phase.CLIMB: 180.0, Phase.PAUSED: 300.0}


def step(phase: Phase, seen: Seen) -> Step | None:
    """The first step whose observation holds."""
    return next((step for step in TABLE[phase] if step.when(seen)), None)


def expired(phase: Phase, lasted_s: float) -> Deadline | None:
    """The phase's deadline, once it has passed."""
    deadline = DEADLINES.get(phase)
    return deadline if deadline is not None and lasted_s > deadline.after_s else None


def overdue(phase: Phase, lasted_s: float) -> bool:
    """Whether an airborne phase has lasted so long that the drone must come home."""
    return lasted_s > RETURN_AFTER_S.get(phase, float("inf"))


def _flies_ours(seen: Seen) -> bool:
    return seen.mode == "AUTO" and seen.ours
