"""How the device stands and is set: states and `reported` up, `desired` down; all of it retained at the broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec
from msgspec import Struct

from edge_agent import topics
from edge_agent.canonical import shallow
from edge_agent.desired import Wishes, settings_of
from edge_agent.messages import Refusal, Reply
from edge_agent.runtime import Clock, DriverError
from edge_agent.twin import Desired, Rejected, Reported, State
from edge_agent.uplink.commands import MAX_BYTES
from edge_agent.uplink.envelope import decoded
from edge_agent.uplink.obey import Obey
from edge_agent.uplink.signing import Signatures

log = logging.getLogger(__name__)

Keep = Callable[[str, str, bytes], None]  # topic, schema, payload: published retained while the link is up


class Shadow:
    """What newcomers find at the broker about this device."""

    def __init__(
        self,
        device: str,
        boot: str,
        *,
        signatures: Signatures,
        obey: Obey,
        wishes: Wishes | None,
        key: str | None,
        clock: Clock,
        keep: Keep,
    ) -> None:
        self._device, self._boot, self._key = device, boot, key
        self._signatures, self._obey, self._wishes = signatures, obey, wishes
        self._clock, self._keep = clock, keep
        self._states: dict[str, Struct] = {}
        self._rejected: tuple[int | None, tuple[Rejected, ...]] = (None, ())  # of the last document that was refused

    def introduce(self, link: Struct) -> None:
        """After the birth: every state, that of the link too, and how we are set."""
        self._states["link"] = link
        for group, data in self._states.items():
            self._tell(group, data)
        self._report()

    def state(self, group: str, data: Struct) -> None:
        """A group of parts stands so; told if that is news."""
        if self._states.get(group) != data:
            self._states[group] = data
            self._tell(group, data)

    async def take(self, payload: bytes) -> None:
        """Put a desired document into effect, or say path and reason why not; the last good one stays."""
        if not payload or self._wishes is None:
            return
        document = decoded(payload, Desired, "the desired configuration")
        if document is None or len(payload) > MAX_BYTES or not shallow(document.settings):
            why = "is no desired document: {version, by, settings, auth}, at most 64 KiB, not deeply nested"
            self._rejected = (document.version if document else None, (Rejected(path="", why=why),))
        elif not self._wishes.known(document):
            self._rejected = (document.version, await self._wish(document, self._wishes))
            if not self._rejected[1]:
                self._rejected = (None, ())
        self._report()

    async def _wish(self, document: Desired, wishes: Wishes) -> tuple[Rejected, ...]:
        who = self._signatures.author(
            id=str(document.version),
            name="desired",
            not_after="",
            by=document.by,
            args=document.settings,
            auth=document.auth,
            wall_s=self._clock.wall(),
        )
        if isinstance(who, Refusal):
            await self._obey.deny("desired", None, document.by[:200], Reply(state="rejected", reason=str(who)))
            return (Rejected(path="auth", why=str(who)),)
        try:
            rejected = await asyncio.to_thread(wishes.take, document)
        except DriverError as error:
            rejected = (Rejected(path="", why=str(error)),)
        if not rejected:
            wishes.apply(wishes.effective)
            log.info("uplink: desired configuration %d by %s is in effect", document.version, who)
        for one in rejected:
            log.warning("uplink: desired configuration %d by %s: %s: %s", document.version, who, one.path, one.why)
        return rejected

    def _tell(self, group: str, data: Struct) -> None:
        state = State(time=topics.rfc3339(self._clock.wall()), boot=self._boot, data=data)
        self._keep(topics.state(self._device, group), f"state.{group}", msgspec.json.encode(state))

    def _report(self) -> None:
        if self._wishes is None:
            return
        version, rejected = self._rejected
        reported = Reported(
            time=topics.rfc3339(self._clock.wall()),
            desired_version=self._wishes.version,
            settings=settings_of(self._wishes.effective),
            rejected_version=version,
            rejected=rejected,
            key=self._key,
        )
        self._keep(topics.reported(self._device), "reported", msgspec.json.encode(reported))
