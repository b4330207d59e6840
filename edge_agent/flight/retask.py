"""Another place while it flies: slots written, read back and compared, and only then jumped to. Sans-I/O.

Whatever fails, and wherever the agent dies, the mission aboard leads home: before the jump as it did, after it by way
of the new place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edge_agent import config
from edge_agent.flight import helm, mission, safety, scene, transfer
from edge_agent.flight.command import Command
from edge_agent.flight.mavlink import Link
from edge_agent.flight.mission import Item
from edge_agent.messages import Refusal

TRIES = 4  # for each write, and for the whole
AGAIN_S = 1.0  # somebody else may hold the transfer: leave it time
GIVE_UP_S = 45.0


class Retask:
    """Takes a flight from `aboard` to the slots in `writes`; `enter` is the first of the five that are flown then, and
    the one to begin with.

    `done` when the vehicle is seen there; `failed`, with `detail`, when it flies on as before.
    """

    def __init__(
        self,
        link: Link,
        limits: config.Limits,
        aboard: Sequence[Item],
        writes: Sequence[Sequence[Item]],
        enter: tuple[int, int],
    ) -> None:
        self._link, self._limits = link, limits
        self._writes = [tuple(write) for write in writes]
        self._first = min(write[0].seq for write in writes)
        self.wanted = tuple(aboard)  # what is to be aboard at the end
        for write in self._writes:
            self.wanted = scene.replaced(self.wanted, write)
        self.aboard = tuple(aboard)
        self.to, self._until = enter[1], enter[0] + scene.GROUP
        self.state: Literal["running", "done", "failed"] = "running"
        self.detail = ""
        self.written_s = float("-inf")  # the autopilot says "Flight plan received" for our own writes, too
        self._step, self._tries, self._rounds = 0, 0, 1
        self._job: helm.Job | None = None
        self._due_s = float("-inf")
        self._began_s: float | None = None

    @property
    def written(self) -> tuple[Item, ...]:
        """The slots as they are to be, from the first that changes on."""
        return self.wanted[self._first :]

    def turn(self, now: float) -> None:
        """Do what is due."""
        self._began_s = now if self._began_s is None else self._began_s
        if self.state != "running" or now < self._due_s:
            return
        if now - self._began_s > GIVE_UP_S:
            self.fail(f"not done after {GIVE_UP_S:g} s ({self.detail or 'no answer'})")
        elif self._step < len(self._writes):
            self._write(now)
        elif self._step == len(self._writes):
            self._read(now)
        else:
            self._jump(now)

    def fail(self, why: str) -> None:
        """It flies on as before."""
        self.state, self.detail = "failed", why

    def _next(self) -> None:
        self._step, self._tries, self._job = self._step + 1, 0, None

    def _write(self, now: float) -> None:
        items = self._writes[self._step]
        match self._job:
            case None:
                self._tries += 1
                self._order(safety.WriteSlots(self.aboard, items), now)
            case transfer.Upload(state="done"):
                self.aboard, self.written_s = scene.replaced(self.aboard, items), now
                self._next()
            case transfer.Upload(state="unsettled" | "failed" as state, detail=detail):
                self.written_s = now
                if state == "unsettled":  # it holds the item, or asks for it again: both are well
                    self.aboard = scene.replaced(self.aboard, items)
                self._again(f"slot {items[0].seq}: {detail}", now)

    def _read(self, now: float) -> None:
        match self._job:
            case None:
                self._tries += 1
                self._job = self._link.download(now, first=self._first)
            case transfer.Download(state="done", items=items):
                self._compare(items)
            case transfer.Download(state="failed", detail=detail):
                self._again(detail, now)

    def _compare(self, held: Sequence[Item]) -> None:
        wanted = self.written
        differs = next((a.seq for a, b in zip(wanted, held, strict=False) if not mission.same(a, b)), None)
        if len(held) == len(wanted) and differs is None:
            self._next()
            return
        self.detail = f"slot {differs} aboard is not the one sent" if differs else f"{len(held)} slots aboard"
        if self._rounds == TRIES:
            self.fail(self.detail)
            return
        self._rounds, self._step, self._tries, self._job = self._rounds + 1, 0, 0, None

    def _jump(self, now: float) -> None:
        t = self._link.telemetry()
        if t is not None and self.to <= (t.mission_seq or 0) < self._until:
            self.state = "done"
            return
        match self._job:
            case None:
                self._tries += 1
                self._order(safety.Jump(self.wanted, self.to), now)
            case Command(state="accepted") if now - self._due_s < 3 * AGAIN_S:
                pass  # accepted is not done: MISSION_CURRENT says when
            case Command(state="accepted" | "refused" | "silent", detail=detail):
                self._again(f"jump to item {self.to}: {detail or 'not seen there'}", now)

    def _order(self, command: safety.Command, now: float) -> None:
        self._due_s = now
        self._job = helm.order(self._link, command, self._limits, now)
        if isinstance(self._job, Refusal):
            self.fail(str(self._job))

    def _again(self, why: str, now: float) -> None:
        self.detail, self._job, self._due_s = why, None, now + AGAIN_S
        if self._tries >= TRIES:
            self.fail(why)
