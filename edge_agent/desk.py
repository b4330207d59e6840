"""What is asked of the agent, by the centre or the local socket: carried out, refused, and followed to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, assert_never, get_args

from msgspec import Struct
from ulid import ULID

from edge_agent import config, topics
from edge_agent.cases import Cases
from edge_agent.desired import Wishes
from edge_agent.messages import (
    Acknowledge,
    Announcement,
    CheckConfig,
    ClearLockout,
    Clip,
    Dispatch,
    Extend,
    FlightEvent,
    FlightRequest,
    Fly,
    Handled,
    HotList,
    Hush,
    Land,
    Level,
    Pause,
    Phrase,
    Proof,
    Recall,
    Refusal,
    Reply,
    Request,
    Resume,
    Revision,
    Say,
    SightRequest,
    Skip,
    Snapped,
    Snapshot,
    Spoken,
    Talk,
    VoiceRequest,
    Zones,
)

if TYPE_CHECKING:
    from edge_agent.incidents.hotlist_store import HotLists
    from edge_agent.vision.clips import Clips
    from edge_agent.witness import Witness

KEPT_RUNS = 100  # announcements whose end may still be asked for


class Pilot(Protocol):
    """What the desk asks of the flight."""

    def fly(self, route_id: str, by: str, *, from_breakpoint: bool = ..., rehearse: bool = ...) -> str | Refusal: ...
    def dispatch(self, order: Dispatch, by: str, *, rehearse: bool = ...) -> str | Refusal: ...
    def refuse(self, name: str, by: str, cause: str) -> object: ...
    def extend(self, hover_s: float) -> Refusal | None: ...
    def recall(self, by: str) -> Refusal | None: ...
    def land(self, by: str) -> Refusal | None: ...
    def pause(self, by: str) -> Refusal | None: ...
    def resume(self, by: str) -> Refusal | None: ...
    def clear(self) -> Refusal | None: ...
    def level(self, level: config.PatrolLevel, until_s: float | None, by: str) -> Refusal | None: ...
    def skip(self, schedule: str, when_s: float | None, by: str) -> Refusal | None: ...
    @property
    def run_id(self) -> str | None: ...


class Announcer(Protocol):
    """What the desk asks of the speakers."""

    def offer(self, announcement: Announcement) -> Refusal | None: ...
    def hush(self, reason: str = ...) -> tuple[str, ...]: ...
    def targets(self, announcement: Announcement) -> tuple[str, ...]: ...


class Desk:
    """`execute` answers a request at once; what takes time is told by `tell(run, reply)` until it is done or failed."""

    def __init__(
        self,
        settings: config.Agent,
        *,
        pilot: Pilot | None,
        grounded: str,
        announcer: Announcer,
        cases: Cases,
        wishes: Wishes,
        newest: Mapping[str, Any],
        lists: HotLists,
        clips: Clips | None,
        witness: Witness,
        full: Callable[[], str | None],
        now: Callable[[], tuple[float, float]],
        report: Callable[..., Awaitable[None]],
        tell: Callable[[str, Reply], Awaitable[None]],
    ) -> None:
        self._settings, self._pilot, self._grounded = settings, pilot, grounded
        self._announcer, self._cases, self._wishes, self._newest = announcer, cases, wishes, newest
        self._lists, self._clips, self._witness, self._full = lists, clips, witness, full
        self._now, self._report, self._tell = now, report, tell
        self._spoken: dict[str, dict[str, Spoken | None]] = {}  # announcement: speaker: what became of it, if it has
        self._ended = asyncio.Condition()

    async def execute(self, request: Request, by: str) -> Reply:
        """One request; whoever asks, the pilot's gates and the announcer's queue decide. Raises DriverError."""
        match request:
            case Say() | Talk():
                return self._speak(request, by)
            case Hush():
                return self._hush(by)
            case Acknowledge() | Handled():
                return await self._revise(request, by)
            case Snapshot():
                return await self._snap(request, by)
            case CheckConfig():
                return self._check(request)
            case Clip():
                return self._clip(request, by)
            case HotList():
                return await asyncio.to_thread(self._list, request, by)
            case Zones():
                return await self._move(request, by)
            case (
                Fly()
                | Dispatch()
                | Recall()
                | Land()
                | Pause()
                | Resume()
                | Extend()
                | ClearLockout()
                | Level()
                | Skip()
            ):
                return self._steer(self._pilot, request, by) if self._pilot else _rejected(self._grounded)
            case _:
                assert_never(request)

    def caps(self) -> tuple[str, ...]:
        """The commands that this device can carry out, as it is equipped."""
        without: set[type[Struct]] = set() if self._pilot else set(get_args(FlightRequest))
        without |= set() if self._settings.speakers else set(get_args(VoiceRequest))
        without |= set() if self._settings.cameras else set(get_args(SightRequest))
        return tuple(sorted(str(kind.__struct_config__.tag) for kind in set(get_args(Request)) - without))

    # --- followed -------------------------------------------------------------------------------------------------

    async def flown(self, event: FlightEvent) -> None:
        """A flight entered a phase: whoever asked for it is told."""
        match event.phase:
            case "landed" | "checked":
                reply = Reply(state="done", reason=event.cause, run=event.run, phase=event.phase)
            case "failed" | "lockout" | "preempted":
                reply = Reply(
                    state="failed", reason=event.cause, run=event.run, phase=event.phase, refusal=event.refusal
                )
            case "missed":
                return
            case _:
                reply = Reply(
                    state="progress", reason=event.cause, run=event.run, phase=event.phase, to_go_m=event.to_go_m
                )
        await self._tell(event.run, reply)

    async def spoken(self, spoken: Spoken) -> None:
        """An announcement ended on one speaker; on the last of them whoever asked for it is told."""
        speakers = self._spoken.get(spoken.announcement)
        if speakers is None or speakers.get(spoken.speaker):
            return
        speakers[spoken.speaker] = spoken
        if spoken.next is not None:
            speakers.setdefault(spoken.next)
        records = [record for record in speakers.values() if record is not None]
        if len(records) < len(speakers):
            return
        async with self._ended:
            self._ended.notify_all()
        bad = [f"{record.speaker}: {_became(record)}" for record in records if _failed(record)]
        await self._tell(
            spoken.announcement,
            Reply(state="failed" if bad else "done", reason="; ".join(bad) or None, run=spoken.announcement),
        )

    async def became(self, run: str, wait_s: float) -> tuple[Spoken, ...] | None:
        """What became of an announcement on each speaker, as far as it is over after `wait_s`; `None`: never heard of.

        The last `KEPT_RUNS` that were asked for here are known.
        """
        speakers = self._spoken.get(run)
        if speakers is None:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._ended:
                await self._ended.wait_for(lambda: None not in speakers.values())
        return tuple(record for record in speakers.values() if record is not None)

    # --- each -----------------------------------------------------------------------------------------------------

    def _steer(self, pilot: Pilot, request: FlightRequest, by: str) -> Reply:
        run = pilot.run_id
        match request:
            case Fly(route=route, from_breakpoint=from_breakpoint, dry_run=dry_run):
                answer = pilot.fly(route, by, from_breakpoint=from_breakpoint, rehearse=dry_run)
                return _begun(pilot, route, by, answer)
            case Dispatch(dry_run=dry_run):
                return _begun(pilot, "dispatch", by, pilot.dispatch(request, by, rehearse=dry_run))
            case Extend(hover_s=hover_s):
                refusal = pilot.extend(hover_s)
                return _refused(refusal) if refusal else Reply(state="accepted", run=run)
            case Recall():
                refusal = pilot.recall(by)
                return _refused(refusal) if refusal else Reply(state="accepted", run=run)
            case Land():
                refusal = pilot.land(by)
                return _refused(refusal) if refusal else Reply(state="accepted", run=run)
            case Pause():
                refusal = pilot.pause(by)
            case Resume():
                refusal = pilot.resume(by)
            case ClearLockout():
                refusal = pilot.clear()
                return _refused(refusal) if refusal else Reply(state="done")
            case Level(level=level, until=until):
                try:
                    refusal = pilot.level(level, None if until is None else topics.unix_s(until), by)
                except (ValueError, OverflowError) as error:
                    return _rejected(f"`until` must be a time as RFC 3339 (2026-11-22T21:30:00+08:00): {error}")
                return _refused(refusal) if refusal else Reply(state="done")
            case Skip(schedule=schedule, when=when):
                try:
                    refusal = pilot.skip(schedule, None if when is None else topics.unix_s(when), by)
                except (ValueError, OverflowError) as error:
                    return _rejected(f"`when` must be a time as RFC 3339 (2026-11-22T21:30:00+08:00): {error}")
                return _refused(refusal) if refusal else Reply(state="done")
            case _:
                assert_never(request)
        return _refused(refusal) if refusal else Reply(state="accepted")

    def _speak(self, request: Say | Talk, by: str) -> Reply:
        if not self._settings.speakers:
            return _rejected("this device has no [[speaker]]")
        now, _ = self._now()
        say = request if isinstance(request, Say) else None
        if say is not None and (say.text is None) == (say.clip is None):
            return _rejected("`say` wants either a `text` or a `clip`")
        announcement = Announcement(
            id=str(ULID()),
            phrases=(Phrase(text=say.text, lang=say.lang),) if say is not None and say.text is not None else (),
            clip=say.clip if say is not None else None,
            near=say.near if say is not None else None,
            source=request.source if isinstance(request, Talk) else None,
            for_s=request.for_s if isinstance(request, Talk) else 0.0,
            speakers=request.speakers,
            cls="live",
            at_s=now,
            not_after_s=now + self._settings.voice.stale_s,
            by=by,
        )
        if refusal := self._announcer.offer(announcement):
            return _refused(refusal)
        self._spoken[announcement.id] = dict.fromkeys(self._announcer.targets(announcement))
        while len(self._spoken) > KEPT_RUNS:
            del self._spoken[next(iter(self._spoken))]
        return Reply(state="accepted", run=announcement.id)

    def _hush(self, by: str) -> Reply:
        if not self._settings.speakers:
            return _rejected("this device has no [[speaker]]")
        silenced = self._announcer.hush(f"hushed by {by}")
        told = f"interrupted: {', '.join(silenced)}" if silenced else "nothing was being said"
        return Reply(state="done", reason=told)

    async def _revise(self, request: Acknowledge | Handled, by: str) -> Reply:
        found = await asyncio.to_thread(self._cases.revise, request, by, self._now()[1])
        if isinstance(found, Refusal):
            return _refused(found)
        await self.report_revision(found)
        return Reply(state="done", phase=f"rev {found.rev}")

    async def report_revision(self, revision: Revision) -> None:
        """A new revision of an incident is an event of its own."""
        await self._report("det", revision, id=f"{revision.id}.{revision.rev}", wall_s=revision.wall_s)

    async def _snap(self, request: Snapshot, by: str) -> Reply:
        there = ", ".join(self._newest) or "none has shown a picture yet"
        names = [name for name in self._newest if request.camera in (None, name)]
        if len(names) != 1:
            which = f"no camera {request.camera!r} has a picture" if request.camera else "`camera` is needed"
            return _rejected(f"{which} (there is: {there})")
        if (why := self._full()) is not None:
            return _refused(_no_room("snapshot", why))
        (frame, tracks), id = self._newest[names[0]], str(ULID())
        picture, thumb = await self._witness.snapshot(id, frame, tracks, blur=self._settings.privacy.blur)
        snapped = Snapped(id=id, camera=names[0], by=by, wall_s=frame.wall_s, picture=picture)
        await self._report("snapshot", snapped, id=id, wall_s=frame.wall_s, thumb=thumb)
        return Reply(state="done", run=id)

    def _clip(self, request: Clip, by: str) -> Reply:
        if self._clips is None:
            return _rejected("this device has no [[camera]]")
        if (why := self._full()) is not None:
            return _refused(_no_room("clip", why))
        id, blur = str(ULID()), self._settings.privacy.blur
        refusal = self._clips.last(id, request.camera, request.last_s, blur=blur, by=by)
        return _refused(refusal) if refusal else Reply(state="accepted", run=id)

    def _list(self, request: HotList, by: str) -> Reply:
        found = self._lists.take(
            request.list,
            plates=request.plates,
            by=by,
            version=request.version,
            replace=request.mode == "replace",
            remove=request.remove,
        )
        if isinstance(found, str):
            return _refused(Refusal(gate="hot_list", reason=found, value=request.list))
        counts = f"{found.added} added, {found.changed} changed, {found.removed} removed"
        return Reply(state="done", reason=f"{request.list} {found.to.version}: {counts}")

    async def _move(self, request: Zones, by: str) -> Reply:
        rejected = await asyncio.to_thread(self._wishes.move, request.zones, by, self._now()[1])
        if rejected:
            return _rejected("; ".join(f"{one.path}: {one.why}" for one in rejected))
        self._wishes.apply(self._wishes.effective)
        return Reply(state="done")

    def _check(self, request: CheckConfig) -> Reply:
        rejected = self._wishes.check(request.desired)
        if rejected:
            return _rejected("; ".join(f"{one.path}: {one.why}" for one in rejected))
        return Reply(state="done", reason="it would be taken; publish it on down/desired to apply it")


def shortfall(spoken: Spoken) -> str | None:
    """Why a person must be told of a warning: it is not proven as far as it was to be, and nothing else tries."""
    proofs = get_args(Proof)
    if spoken.next is not None or spoken.asked in (None, "none") or spoken.outcome not in ("delivered", "failed"):
        return None
    if spoken.outcome == "delivered" and proofs.index(spoken.proof) >= proofs.index(spoken.asked):
        return None
    return f"announcement {spoken.announcement} {spoken.outcome}: proof {spoken.proof}, asked for {spoken.asked}"


def _failed(spoken: Spoken) -> bool:
    """Not said, and not handed on to another speaker."""
    return spoken.outcome != "delivered" and spoken.next is None


def _became(spoken: Spoken) -> str:
    why = spoken.detail or (str(spoken.refusal) if spoken.refusal else None)
    return spoken.outcome + (f", {why}" if why else "")


def _begun(pilot: Pilot, name: str, by: str, answer: str | Refusal) -> Reply:
    """A flight that was asked for: it has begun, or a record says why not."""
    if isinstance(answer, Refusal):
        pilot.refuse(name, by, str(answer))
        return _refused(answer)
    return Reply(state="accepted", run=answer)


def _no_room(gate: str, why: str) -> Refusal:
    """Originals are refused before events are: what somebody asks to see, too."""
    remedy = "delete originals (edge-agent evidence purge) or give them more room ([evidence] max_mib)"
    return Refusal(gate=gate, reason=why, remedy=remedy)


def _rejected(reason: str) -> Reply:
    return Reply(state="rejected", reason=reason)


def _refused(refusal: Refusal) -> Reply:
    return Reply(state="rejected", reason=str(refusal), refusal=refusal)
