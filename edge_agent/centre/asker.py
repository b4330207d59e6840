"""Send one command to a device and wait for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from ulid import ULID

from edge_agent import keys, topics
from edge_agent.canonical import signed_bytes
from edge_agent.config import Mqtt
from edge_agent.keys import Ed25519PrivateKey
from edge_agent.pipe import Broker
from edge_agent.runtime import Clock

FINAL = ("done", "failed", "rejected", "expired")


class Signer(Struct, frozen=True, kw_only=True):
    """An operator's key and the id that devices know it by."""

    kid: str
    key: Ed25519PrivateKey

    def sign(self, device: str, command: topics.Command) -> topics.Command:
        """The same command with the operator's signature."""
        facts = {"id": command.id, "name": command.name, "not_after": command.not_after, "by": command.by}
        sig = keys.sign(self.key, signed_bytes(device, **facts, args=command.args))
        return msgspec.structs.replace(command, auth=topics.Auth(kid=self.kid, sig=sig))


async def ask(
    section: Mqtt,
    device: str,
    name: str,
    args: dict[str, Any],
    *,
    by: str,
    id: str,
    expires_s: float,
    clock: Clock,
    signer: Signer | None = None,
    follow_s: float = 0.0,
    on_answer: Callable[[topics.Result], None] = lambda _: None,
) -> topics.Result | None:
    """The device's answer, or None where none came before the command expired; raises `DriverError`.

    With `follow_s` one that was accepted is followed for so long to its end; `on_answer` is told of each answer.
    """
    wake = asyncio.Event()
    answers = topics.result(device)
    command = topics.Command(id=id, name=name, args=args, by=by, not_after=topics.rfc3339(clock.wall() + expires_s))
    if signer is not None:
        command = signer.sign(device, command)
    pipe = await Broker(section).connect(f"ask-{ULID()}", [answers], wake)
    newest: topics.Result | None = None
    try:
        async with asyncio.timeout(expires_s) as limit:
            facts = {**_facts(command, expires_s), "ResponseTopic": answers}
            pipe.publish(topics.command(device, name), msgspec.json.encode(command), facts)
            while True:
                wake.clear()
                while pipe.messages:
                    message = pipe.messages.popleft()
                    if message.topic != answers or not (result := _read(message.payload)) or result.id != id:
                        continue
                    on_answer(result)
                    if newest is None and follow_s:
                        limit.reschedule(asyncio.get_running_loop().time() + follow_s)
                    newest = result
                    if not follow_s or (result.recorded or result).state in FINAL:
                        return result
                pipe.check()
                await wake.wait()
    except TimeoutError:
        return newest
    finally:
        await pipe.close()


async def ask_group(
    section: Mqtt,
    group: str,
    command: topics.Command,
    *,
    expires_s: float,
    signer: Signer | None = None,
    on_answer: Callable[[str, topics.Result], None] = lambda *_: None,
) -> dict[str, topics.Result]:
    """The newest answer of each device of a group that answers within `expires_s`; raises `DriverError`.

    Nobody knows who belongs to a group but its members, so all of the time is waited.
    """
    wake = asyncio.Event()
    if signer is not None:
        command = signer.sign(f"{topics.GROUP}/{group}", command)
    pipe = await Broker(section).connect(f"ask-{ULID()}", [topics.result("+")], wake)
    found: dict[str, topics.Result] = {}
    try:
        payload, facts = msgspec.json.encode(command), _facts(command, expires_s)
        pipe.publish(topics.group_command(group, command.name), payload, facts)
        async with asyncio.timeout(expires_s):
            while True:
                wake.clear()
                while pipe.messages:
                    message = pipe.messages.popleft()
                    place, result = topics.split(message.topic), _read(message.payload)
                    if place is not None and result is not None and result.id == command.id:
                        found[place[0]] = result
                        on_answer(place[0], result)
                pipe.check()
                await wake.wait()
    except TimeoutError:
        return found
    finally:
        await pipe.close()


def _facts(command: topics.Command, expires_s: float) -> dict[str, Any]:
    return {
        "ContentType": topics.JSON,
        "PayloadFormatIndicator": 1,
        "MessageExpiryInterval": max(1, round(expires_s)),
        "CorrelationData": command.id.encode(),
        "UserProperty": [("schema", f"cmd.{command.name}/{topics.VERSION}")],
    }


def _read(payload: bytes) -> topics.Result | None:
    try:
        return msgspec.json.decode(payload, type=topics.Result)
    except (msgspec.DecodeError, ValueError):
        return None
