"""The part that takes originals to the centre: one at a time, the newest incident first, within what the link may cost.

Nothing but a receipt that names the same hash counts as arrived.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, assert_never

import msgspec

from edge_agent import config
from edge_agent.config import read_secret
from edge_agent.runtime import Clock, DriverError, Health
from edge_agent.topics import Grant, GrantRequest, Receipt, S3Grant, TusGrant, Unwanted
from edge_agent.twin import Answer
from edge_agent.uplink.evidence import Evidence, GoneError
from edge_agent.uplink.evidence_store import Item
from edge_agent.uplink.metered import is_metered
from edge_agent.uplink.pace import backoff_s
from edge_agent.uplink.s3 import S3
from edge_agent.uplink.transfer import Denied, Http, Outcome, ServerError, Stored, Yielded, tls_context
from edge_agent.uplink.tus import Tus

log = logging.getLogger(__name__)

IDLE_S = 5.0
LOOK_S = 30.0  # at the link
CUT_S = 1.0
GRANT_S = 15.0
TROUBLE_MAX_S = 60.0
RECEIPT_BASE_S, RECEIPT_MAX_S = 2.0, 3600.0
STRIKES = 3  # wrong hashes at the far end, until a file is set aside


Ask = Callable[[str, GrantRequest, float], Awaitable[Answer | None]]  # what, about what, within how many seconds


class Grants(Protocol):
    """Who says where a file may be put."""

    async def grant(self, ask: GrantRequest, /) -> Grant:
        """Raises `DriverError` where nobody answers."""
        ...


class StaticGrants:
    """Every file goes to the tus server of the configuration."""

    def __init__(self, section: config.Evidence) -> None:
        assert section.url is not None
        self._url, self._token = section.url, section.token

    async def grant(self, _ask: GrantRequest) -> Grant:
        try:
            token = None if self._token is None else await asyncio.to_thread(read_secret, self._token)
        except OSError as error:
            raise DriverError(f"evidence.token: {self._token}: {error.strerror}") from None
        return TusGrant(url=self._url, token=token)


class CentreGrants:
    """The centre is asked for each file; `ask` is `Uplink.ask`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def grant(self, ask: GrantRequest, /) -> Grant:
        answer = await self._ask("grant", ask, GRANT_S)
        if answer is None:
            raise DriverError(
                "evidence: the centre does not answer to a request for a grant; is it up, and grants any?"
            )
        if answer.state != "ok":
            raise DriverError(f"evidence: the centre grants nothing: {answer.reason}")
        try:
            grant: Grant = msgspec.convert(answer.data, type=Grant)
        except msgspec.ValidationError as error:
            raise DriverError(f"evidence: the centre's grant cannot be read: {error}") from None
        return grant


def open_grants(section: config.Evidence, ask: Ask | None) -> Grants:
    """Who grants by the configuration; `ask` is there where there is an [mqtt]."""
    match section.upload:
        case "static":
            return StaticGrants(section)
        case "mqtt":
            assert ask is not None  # the configuration was checked
            return CentreGrants(ask)
        case "off":
            raise ValueError('upload = "off" grants nothing')
        case _:
            assert_never(section.upload)


class Uploader:
    """Call `run` under `supervise`."""

    def __init__(
        self,
        evidence: Evidence,
        grants: Grants,
        section: config.Evidence,
        mqtt: config.Mqtt | None,
        *,
        device: str,
        clock: Clock,
        health: Health,
    ) -> None:
        self._evidence, self._grants, self._section, self._mqtt = evidence, grants, section, mqtt
        self._device, self._clock, self._health = device, clock, health
        self._rng = random.Random()
        self._wake = asyncio.Event()
        self._later: dict[str, tuple[float, int]] = {}  # id -> (not before, tries)
        self._strikes: dict[str, int] = {}
        self._granted: tuple[str, Grant] | None = None
        self._sending: Item | None = None
        self._newest_s = float("-inf")
        self._moved = False
        self._metered = section.link == "metered"
        self._looked_s = float("-inf")
        evidence.on_new = self._on_new
        if section.plain:
            log.warning("evidence: plain = true: pictures and tokens may cross the network in the clear")

    def sends_thumbs(self) -> bool:
        """Whether small pictures may go out with their events."""
        return not (self._metered and self._section.metered == "never")

    def status(self) -> dict[str, Any]:
        """What is on its way."""
        now = self._sending
        sending = now and {"id": now.id, "offset": now.offset, "bytes": now.bytes}
        return {"sending": sending, "metered": self._metered}

    async def run(self) -> None:
        """Upload until cancelled; `DriverError` when disk, link or centre fail."""
        section, rate = self._section, self._section.max_kib_per_s
        http = Http(
            await asyncio.to_thread(tls_context, section, self._mqtt),
            plain=section.plain,
            max_bytes_per_s=None if rate is None else rate * 1024,
            clock=self._clock,
        )
        tus, s3 = Tus(http, self._device, self._clock), S3(http)
        try:
            while True:
                self._wake.clear()
                await self._look_at_link()
                item = await self._next() if self._may_send() else None
                if item is None:
                    await self._rest()
                else:
                    await self._attempt(item, tus, s3)
        finally:
            self._sending = None
            await http.close()

    # --- which, and when ------------------------------------------------------------------------------------------

    def _on_new(self, item: Item) -> None:
        self._newest_s = max(self._newest_s, item.wall_s)
        self._wake.set()

    async def _next(self) -> Item | None:
        now = self._clock.monotonic()
        waiting = [id for id, (due_s, _) in self._later.items() if due_s > now]
        self._newest_s = float("-inf")
        return await self._evidence.on_disk(lambda store: store.next(waiting))

    def _may_send(self) -> bool:
        return not self._metered or self._section.metered == "all"

    async def _look_at_link(self) -> None:
        now = self._clock.monotonic()
        if self._section.link != "auto" or now - self._looked_s < LOOK_S:
            return
        self._looked_s = now
        metered = await is_metered(self._section.metered_file)
        if metered != self._metered:
            log.info("the link is %s", "metered" if metered else "not metered")
        self._metered = metered

    async def _rest(self) -> None:
        now = self._clock.monotonic()
        dues_s = [due_s - now for due_s, _ in self._later.values() if due_s > now]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(
                min([IDLE_S, *dues_s])
            ):  # not wait_for: in Python 3.11 it can swallow a cancellation
                await self._wake.wait()

    def _put_off(self, item: Item, base_s: float, most_s: float) -> None:
        tries = self._later.get(item.id, (0.0, 0))[1] + 1
        self._later[item.id] = (self._clock.monotonic() + backoff_s(tries, self._rng, base_s, most_s), tries)

    # --- one file -------------------------------------------------------------------------------------------------

    async def _attempt(self, item: Item, tus: Tus, s3: S3) -> None:
        """Upload one file; a link that is cut now and then but moves bytes in between is used again soon."""
        self._moved = False
        try:
            await self._upload(item, tus, s3)
        except ServerError:
            raise
        except DriverError as error:
            if not self._moved:
                raise
            log.debug("evidence %s: %s; going on", item.id, error)
            self._health.counts["evidence.cuts"] += 1
            await self._clock.sleep(self._rng.uniform(0.0, CUT_S))

    async def _upload(self, item: Item, tus: Tus, s3: S3) -> None:
        try:
            if item.url is None:
                await self._evidence.check(item)
            outcome = await self._transfer(item, tus, s3)
            if isinstance(outcome, Denied):  # a grant may lapse at any time: one more, then it is a fault
                self._granted = None
                outcome = await self._transfer(self._sending or item, tus, s3)
            await self._settle(item, outcome)
        except GoneError as error:
            await self._evidence.gone(item, str(error))
        except ServerError:
            self._put_off(item, 1.0, TROUBLE_MAX_S)
            raise
        finally:
            self._sending = None

    async def _transfer(self, item: Item, tus: Tus, s3: S3) -> Outcome:
        self._sending = item

        async def read(offset: int, count: int) -> bytes:
            return await self._evidence.read(item, offset, count)

        async def note(upload: str | None, offset: int) -> None:
            self._moved |= offset > item.offset
            self._sending = msgspec.structs.replace(item, url=upload, offset=offset)
            await self._evidence.on_disk(lambda store: store.progress(item.id, upload, offset))
            await self._look_at_link()

        def go_on() -> bool:
            return self._may_send() and self._newest_s <= item.wall_s

        grant = await self._grant(item)
        match grant:
            case TusGrant():
                return await tus.send(item, grant, read=read, note=note, go_on=go_on)
            case S3Grant():
                return await s3.send(item, grant, read=read, note=note, go_on=go_on)
            case Receipt() | Unwanted():
                return grant
            case _:
                assert_never(grant)

    async def _grant(self, item: Item) -> Grant:
        """The grant of this file: the one that it had until that is denied, else a new one."""
        if self._granted is not None and self._granted[0] == item.id:
            return self._granted[1]
        file = item.file()
        facts = {name: getattr(file, name) for name in file.__struct_fields__}
        grant = await self._grants.grant(GrantRequest(**facts, upload=item.url))
        self._granted = (item.id, grant)
        return grant

    async def _settle(self, item: Item, outcome: Outcome) -> None:
        match outcome:
            case Receipt():
                self._granted = None
                await self._take_receipt(item, outcome)
            case Stored():
                self._granted = None  # the next one may be the receipt
                self._put_off(item, RECEIPT_BASE_S, RECEIPT_MAX_S)
            case Unwanted(reason=reason):
                self._granted = None
                await self._evidence.refused(item, reason)
            case Denied(why=why):
                await self._forget_upload(item)
                self._put_off(item, 1.0, TROUBLE_MAX_S)
                raise DriverError(f"evidence: a fresh grant is refused: {why}; look at the token and the access rules")
            case Yielded():
                pass
            case _:
                assert_never(outcome)

    async def _take_receipt(self, item: Item, receipt: Receipt) -> None:
        if (receipt.sha256, receipt.bytes) == (item.sha256, item.bytes):
            await self._evidence.received(item, receipt)
            self._later.pop(item.id, None)
            return
        why = (
            f"the centre holds {receipt.bytes} bytes with sha256 {receipt.sha256}, this is {item.bytes}, {item.sha256}"
        )
        strikes = self._strikes[item.id] = self._strikes.get(item.id, 0) + 1
        if strikes >= STRIKES:
            await self._evidence.refused(item, f"{why}; {strikes} times")
            return
        await self._forget_upload(item)
        self._put_off(item, 1.0, TROUBLE_MAX_S)
        raise DriverError(f"evidence {item.id}: {why}; it is sent anew")

    async def _forget_upload(self, item: Item) -> None:
        self._granted = None
        await self._evidence.on_disk(lambda store: store.progress(item.id, None, 0))
