"""One launch: what each phase on the ground sets going, and how that stands. Sans-I/O.

Upload, read back and compare, rewind, arm, start: each is watched until the phase table has seen what it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent import config
from edge_agent.flight import helm, mission, params, safety, transfer
from edge_agent.flight.command import Command
from edge_agent.flight.fence import fence_items, rally_items
from edge_agent.flight.mavlink import Link
from edge_agent.flight.mission import Item
from edge_agent.flight.phases import Phase, Work
from edge_agent.messages import Refusal

UPLOADS = 3  # how often a mission is sent before the run fails
HOME_S = 3.0  # arming sets home anew: wait so long to hear where
AGAIN_S = 4.5  # somebody else may hold the transfer, for 8 s where he died: leave it time

Cargo = safety.UploadMission | safety.UploadFence | safety.UploadRally


class Launch:
    """The jobs of one run before it flies; `detail` says how the last one stands, `refusal` why it may not go on."""

    def __init__(
        self,
        link: Link,
        limits: config.Limits,
        flown: config.Route,
        items: tuple[Item, ...],
        blocked: Callable[[float], Sequence[Refusal]],
    ) -> None:
        self._link, self._limits, self._blocked = link, limits, blocked
        self.flown = flown
        self.items = items  # as sent, then as read back
        self.fence = flown.fence
        fence, rally = fence_items(flown), rally_items(flown)
        # What is put aboard, in this order; of a route without a fence, the one that is aboard stays.
        self._parts: list[tuple[int, Cargo]] = [
            *([(mission.FENCE, safety.UploadFence(fence))] if fence else []),
            *([(mission.RALLY, safety.UploadRally(rally))] if rally else []),
            (mission.MISSION, safety.UploadMission(self.items)),
        ]
        self._part = 0
        self._held: dict[int, list[mission.Item]] = {}  # as read back
        self._verified_s = float("-inf")
        self.aboard: str | None = None  # of mission, fence and rally points
        self.detail = ""
        self.refusal: Refusal | None = None
        self._job: helm.Job | None = None
        self._job_s = 0.0
        self._uploads = 0
        self._started = False

    @property
    def kinds(self) -> list[int]:
        """What of mission, fence and rally points is replaced."""
        return [kind for kind, _ in self._parts]

    def begin(self, phase: Phase, now: float) -> None:
        """A phase was entered."""
        self._job, self._job_s, self.detail = None, now, ""
        match phase:
            case Phase.UPLOADING:
                self._part = 0
                self._upload(now)
            case Phase.VERIFYING:
                self._part = 0
                self._job = self._link.download(now, self._parts[0][0])
            case Phase.READYING:
                fenced = [safety.EnableFence()] if self._held.get(mission.FENCE) else []
                orders: list[safety.Command] = [safety.SetMode("GUIDED"), *fenced, safety.SetCurrent(1)]
                for command in orders:
                    if not isinstance(self._job, Refusal):
                        self._do(command, now)
            case Phase.ARMING:
                blocked = [*self._rival(), *self._blocked(now)]
                self._job = blocked[0] if blocked else None
                if not blocked:
                    self._do(safety.Arm(), now)
            case Phase.STARTING:
                self._do(safety.SetMode("AUTO"), now)

    def work(self, phase: Phase, now: float) -> Work:
        """How the job of this phase stands."""
        match phase:
            case Phase.GATING:
                blocked = self._blocked(now)
                return self._refused(blocked[0]) if blocked else "done"
            case Phase.STARTING:
                self._start(now)
        match self._job:
            case None:
                return "none"
            case Refusal() as refusal:
                return self._refused(refusal)
            case Command(state="refused" | "silent") as command:
                self.detail = f"{command.name}: {command.detail}"
                return "failed"
            case Command(state=state):
                return "done" if state == "accepted" else "running"
            case params.Set(state=state) as setting:
                self.detail = setting.detail
                return state
            case transfer.Upload() as upload:
                return self._uploaded(upload, now)
            case transfer.Download() as download:
                return self._compared(download, now)

    def _do(self, command: safety.Command, now: float) -> None:
        self._job = helm.order(self._link, command, self._limits, now)

    def _refused(self, refusal: Refusal) -> Work:
        self.detail, self.refusal = str(refusal), refusal
        return "failed"

    def _upload(self, now: float) -> None:
        if self._part == 0:
            self._uploads += 1
        self._job_s = now
        self._do(self._parts[self._part][1], now)

    def _uploaded(self, upload: transfer.Upload, now: float) -> Work:
        """An upload whose ACK is missing is done as well: reading it back tells."""
        if upload.state == "running":
            return "running"
        if upload.state == "failed":
            self.detail = f"upload: {mission.KINDS[upload.kind]}: {upload.detail}"
            if self._uploads == UPLOADS:
                return "failed"
            if now - self._job_s > AGAIN_S:
                self._part = 0
                self._upload(now)
            return "running"
        self._part += 1
        if self._part == len(self._parts):
            return "done"
        self._upload(now)
        return "running"

    def _compared(self, download: transfer.Download, now: float) -> Work:
        if download.state == "running":
            return "running"
        kind, sent = self._parts[self._part]
        done = download.state == "done"
        difference = mission.compare(sent.items, download.items, kind) if done else download.detail
        if difference is not None:
            self.detail = difference
            return "mismatch" if self._uploads < UPLOADS else "failed"
        self._held[kind] = download.items
        self._part += 1
        if self._part < len(self._parts):
            self._job = self._link.download(now, self._parts[self._part][0])
            return "running"
        held = [self._held.get(kind, []) for kind in (mission.MISSION, mission.FENCE, mission.RALLY)]
        self.items, self.aboard, self._verified_s = tuple(held[0]), mission.digest(*held), now
        return "done"

    def _rival(self) -> list[Refusal]:
        """What was verified may be aboard no longer."""
        if self._link.rival_s < self._verified_s:
            return []
        reason = "another ground station has uploaded since the mission was read back"
        return [Refusal(gate="pilot.rival", reason=reason, remedy="let it finish, then fly again")]

    def _start(self, now: float) -> None:
        """Mode AUTO was seen, and home is still where it was: start the mission, once."""
        if self._started or self._link.mode != "AUTO" or not self._link.armed:
            return
        if self._link.home_s <= self._job_s and now - self._job_s < HOME_S:
            return  # what we know of home is older than the arming
        self._started = True
        moved = [refusal for refusal in self._blocked(now) if refusal.gate == "gate.home"]
        if moved:
            self._job = moved[0]
        else:
            self._do(safety.StartMission(), now)
