"""Set a device from afar: publish a desired document, signed and retained, and hear what the device says to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from ulid import ULID

from edge_agent import keys, topics
from edge_agent.canonical import signed_bytes
from edge_agent.centre.asker import Signer
from edge_agent.config import Mqtt
from edge_agent.pipe import Broker, Pipe
from edge_agent.twin import Desired, Reported

T = TypeVar("T")
RETAINED_S = 2.0  # what the broker keeps comes at once after the subscription


class Standing(Struct, frozen=True, kw_only=True):
    """What the broker keeps: the document that was published last, and how the device says that it is set."""

    desired: Desired | None = None
    reported: Reported | None = None

    @property
    def in_effect(self) -> dict[str, Any]:
        """The settings of the document that the device has taken; where it cannot be read, all that it reports."""
        if self.reported is None or self.reported.desired_version == 0:
            return {}
        known = self.desired is not None and self.desired.version == self.reported.desired_version
        return self.desired.settings if self.desired is not None and known else self.reported.settings

    def next_version(self) -> int:
        """Above all that the device has seen."""
        desired, reported = self.desired, self.reported
        seen = [reported.desired_version, reported.rejected_version or 0] if reported else []
        return max([*seen, desired.version if desired else 0], default=0) + 1


class Wish:
    """One connection for one device: use as `async with`; raises `DriverError`."""

    def __init__(self, section: Mqtt, device: str) -> None:
        self._broker, self._device = Broker(section), device
        self._wake = asyncio.Event()
        self.standing = Standing()

    async def __aenter__(self) -> Wish:
        wanted = [topics.desired(self._device), topics.reported(self._device)]
        self._pipe: Pipe = await self._broker.connect(f"desired-{ULID()}", wanted, self._wake)
        await self._until(lambda: self.standing.reported is not None, RETAINED_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pipe.close()

    async def set(self, settings: dict[str, Any], by: str, signer: Signer | None, wait_s: float) -> Reported | None:
        """Publish these settings as the whole document; the device's word on it, None where it says none in time.

        A document that was refused is taken back: what was kept before it is kept again.
        """
        before, version = self.standing.desired, self.standing.next_version()
        document = Desired(version=version, by=by, settings=settings)
        if signer is not None:
            message = signed_bytes(self._device, id=str(version), name="desired", not_after="", by=by, args=settings)
            auth = topics.Auth(kid=signer.kid, sig=keys.sign(signer.key, message))
            document = msgspec.structs.replace(document, auth=auth)
        self._publish(msgspec.json.encode(document))

        def said() -> bool:
            told = self.standing.reported
            return told is not None and version in (told.desired_version, told.rejected_version)

        if not await self._until(said, wait_s):
            return None
        told = self.standing.reported
        if told is not None and told.rejected_version == version:
            self._publish(b"" if before is None else msgspec.json.encode(before))
        return told

    def _publish(self, payload: bytes) -> None:
        facts = {"ContentType": topics.JSON, "UserProperty": [("schema", f"desired/{topics.VERSION}")]}
        self._pipe.publish(topics.desired(self._device), payload, facts, retain=True)

    async def _until(self, there: Callable[[], bool], within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    self._wake.clear()
                    self._hear()
                    if there():
                        return True
                    self._pipe.check()
                    await self._wake.wait()
        return there()

    def _hear(self) -> None:
        while self._pipe.messages:
            message = self._pipe.messages.popleft()
            if message.topic == topics.reported(self._device):
                told = _read(message.payload, Reported) or self.standing.reported
                self.standing = msgspec.structs.replace(self.standing, reported=told)
            elif message.retained:  # what we publish ourselves comes back too
                self.standing = msgspec.structs.replace(self.standing, desired=_read(message.payload, Desired))


def merged(settings: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`rules.no-parking.after_s` set to a value, all else as it is; ValueError where a value stands in the way."""
    name, dot, rest = path.partition(".")
    if not dot:
        return {**settings, name: value}
    inner = settings.get(name, {})
    if not isinstance(inner, dict):
        raise ValueError(f"{name} is a value: nothing can be below it")
    return {**settings, name: merged(inner, rest, value)}


def _read(payload: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, ValueError):
        return None
