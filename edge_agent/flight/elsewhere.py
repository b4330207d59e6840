"""A flight that is called elsewhere, or asked to stay longer: who may, how, and what becomes of the runs. Sans-I/O."""

from __future__ import annotations

from msgspec import structs

from edge_agent import config
from edge_agent.flight import reach, scene
from edge_agent.flight import route as routes
from edge_agent.flight.aboard import Aboard
from edge_agent.flight.facts import Facts
from edge_agent.flight.logbook import Logbook
from edge_agent.flight.mavlink import Link
from edge_agent.flight.phases import Phase
from edge_agent.flight.retask import Retask
from edge_agent.flight.run import Run
from edge_agent.messages import Dispatch, Refusal, Telemetry
from edge_agent.plans.model import Fence

HIGH_ENOUGH_M = 2.0  # below the way's height it need not rise first
GOES_ON = "the plan aboard goes on and ends at home"


class Elsewhere:
    """At most one change of the plan at a time; until the vehicle is seen on the new one the old one is flown."""

    def __init__(self, link: Link, limits: config.Limits, logbook: Logbook, aboard: Aboard) -> None:
        self._link, self._limits, self._logbook, self._aboard = link, limits, logbook, aboard
        self.task: Retask | None = None

    def call(self, run: Run, order: Dispatch, facts: Facts, phase: Phase) -> Refusal | None:
        """Begin to write the place; `run` is what the flight becomes (the same run: it only stays longer)."""
        flown, t = self._logbook.run, facts.telemetry
        if self.task is not None:
            return Refusal(gate="pilot.busy", reason="another place is being written", remedy="wait some seconds")
        if refusal := reach.aloft(facts):
            return refusal
        assert flown is not None and t is not None and t.lat is not None and t.lon is not None  # it is in flight
        if not self._aboard.plan or not self._aboard.ours:
            return Refusal(gate="pilot.aboard", reason="the mission aboard is not known", remedy="wait some seconds")
        place, target = (t.lat, t.lon), routes.target(order, self._limits)
        if not flown.head:
            first = flown.at
            writes = scene.growing(scene.block(first, *place, target))
        else:
            first = scene.spare(flown.at, t.mission_seq or 0)
            writes = [scene.group(first, *place, target)]
        step = scene.ROI if (t.alt_m or 0.0) >= target.transit_m - HIGH_ENOUGH_M else scene.RISE
        if run.id == flown.id and phase is Phase.ON_SCENE:
            step = scene.HOVER
        self.task = Retask(self._link, self._limits, self._aboard.plan, writes, (first, first + step))
        self._logbook.plan(run, self.task.written)
        return None

    def turn(self, leaving: str | None, wall: float, now: float) -> Run | None:
        """See it through, or give it up (`leaving`); returns the run that was left, once the new way is seen flown."""
        task, t = self.task, self._link.telemetry()
        if task is None:
            return None
        if leaving is not None:
            task.fail(leaving)
        else:
            task.turn(now)
        self._aboard.written(task.written_s)
        if task.state == "running":
            return None
        self.task = None
        left, following = self._logbook.run, self._logbook.next
        if task.state == "failed" or left is None or following is None:
            self._logbook.stay(f"{task.detail}; {GOES_ON}", wall, t)
            return None
        self._aboard.verified(task.wanted, Fence(), (), task.written_s)
        self._logbook.switch(task.wanted[left.at :], wall, t)
        return left if left.id != following.id else None

    def settle(self, t: Telemetry | None, wall: float) -> None:
        """The agent was restarted half way: did the vehicle get there?"""
        run, plan = self._logbook.run, self._aboard.plan
        if self._logbook.next is None or run is None or t is None or self.task is not None:
            return
        if run.switched(plan, t.mission_seq or 0):
            self._logbook.switch(plan[run.at :], wall, t)
        else:
            self._logbook.stay(f"interrupted; {GOES_ON}", wall, t)


def longer(run: Run, hover_s: float, stayed_s: float, limits: config.Limits) -> tuple[Run, Dispatch] | Refusal:
    """The run with its hover lengthened, and the order that flies what is left of it."""
    assert run.order is not None  # only a dispatch hovers
    whole_s = run.order.hover_s + hover_s
    if whole_s > limits.max_on_scene_s:
        limit = f"{limits.max_on_scene_s:g} s, limits.max_on_scene_s"
        return Refusal(
            gate="pilot.extend", reason="too long over one place", value=f"{whole_s:g} s", limit=limit,
            remedy="ask for less",
        )  # fmt: skip
    left = structs.replace(run.order, hover_s=max(whole_s - stayed_s, 1.0))
    return structs.replace(run, order=structs.replace(run.order, hover_s=whole_s)), left
