"""Why an order of a person cannot be followed now, in that person's words, and what they can do instead. Pure."""

from __future__ import annotations

from collections.abc import Collection

from edge_agent.flight.phases import BEFORE_ARMING, Phase
from edge_agent.messages import Refusal

_LINK = "check the vehicle's power, cable and baud rate"
_HOMEWARD = "it is on its way to the ground: let it land, then fly again"
_REMEDIES: dict[Phase, str] = {
    Phase.BOOT: _LINK,
    Phase.LINK_DOWN: _LINK,
    Phase.ATTACHING: "wait some seconds",
    Phase.GROUND: "fly a route first",
    **dict.fromkeys((*BEFORE_ARMING, Phase.ARMING, Phase.STARTING), "wait until it flies; recall calls the flight off"),
    Phase.CLIMB: "wait for the route; recall brings it home",
    Phase.ROUTE: "it flies its route: pause holds it, recall brings it home",
    Phase.TRANSIT: "it is on its way to a place: pause holds it, dispatch sends it elsewhere, recall brings it home",
    Phase.ON_SCENE: "it is over its place: extend keeps it there, dispatch sends it elsewhere, recall brings it home",
    Phase.PAUSED: "it is paused: resume goes on, recall brings it home",
    Phase.RETURNING: _HOMEWARD,
    Phase.LANDING: _HOMEWARD,
    Phase.YIELDED: "somebody else flies: resume takes over again, recall brings it home",
    Phase.ABORTING: "wait until it is disarmed",
    Phase.FOREIGN: "somebody else armed it: wait until it is on the ground and disarmed",
    Phase.LANDED: "wait some seconds",
    Phase.CHECKED: "wait some seconds",
    Phase.FAILED: "wait some seconds",
    Phase.LOCKOUT: "look at the vehicle, then clear the lockout",
}


def not_now(asked: str, phase: Phase, wanted: Collection[Phase]) -> Refusal:
    """`asked` is what the person typed; it is followed in the phases `wanted` only."""
    limit = ", ".join(one for one in Phase if one in wanted)
    return Refusal(
        gate="pilot.phase", reason=f"cannot {asked} in this phase", value=phase, limit=limit, remedy=_REMEDIES[phase]
    )


def in_words(refusal: Refusal, asked: str, mode: str, *, landed: bool) -> Refusal:
    """A refusal of a flight mode as one of what was asked: nobody who typed `pause` knows of BRAKE."""
    if refusal.gate != "safety.mode":
        return refusal
    if landed:
        reason, remedy = f"cannot {asked} on the ground", _REMEDIES[Phase.GROUND]
    else:
        reason, remedy = f"cannot {asked}: the vehicle is in mode {mode}, which only a safer one may end", _HOMEWARD
    return Refusal(gate="pilot.mode", reason=reason, value=mode, remedy=remedy)
