"""The SIP side of a GB/T 28181 platform: one UDP port that devices register with and call (RFC 3261)."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from edge_agent.runtime import Clock
from edge_agent.speakers import gbwire
from edge_agent.speakers import sipmessage as sip

T1_S = 0.5  # RFC 3261, 17: the first repetition; each later one after twice as long
ANSWER_S = 4.0
BYE_S = 1.0
KEPT_ANSWERS = 64  # a request that comes again gets the same answer (17.2)

Told = asyncio.Queue[str]
Called = asyncio.Queue["Call"]


class Platform(asyncio.DatagramProtocol):
    """Opened with its first holder, closed with its last."""

    def __init__(self, name: str, listen: str, clock: Clock) -> None:
        self.name, self._listen, self._clock = name, listen, clock
        self.registrar = gbwire.Registrar(name[:10])  # the realm: the first ten digits of a platform's number
        self.holders = 0
        self._transport: asyncio.DatagramTransport | None = None
        self._opening, self._closed = asyncio.Lock(), asyncio.Event()
        self._news = asyncio.Event()
        self._asked: dict[str, asyncio.Queue[sip.Message]] = {}  # by branch
        self._told: dict[int, Told] = {}  # by SN
        self._awaited: dict[str, tuple[str, Called]] = {}  # channel: its device, and who waits for its call
        self._calls: dict[str, Call] = {}  # by Call-ID
        self._answers: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    # --- what drivers ask ---------------------------------------------------------------------------------------------

    async def opened(self) -> None:
        """Listen, if nobody did before; raises OSError."""
        async with self._opening:
            if self._transport is None:
                host, _, port = self._listen.rpartition(":")
                loop = asyncio.get_running_loop()
                await loop.create_datagram_endpoint(lambda: self, local_addr=(host, int(port)))

    async def close(self) -> None:
        """Free the port; it may be opened again."""
        async with self._opening:
            if self._transport is not None and not self.holders:
                self._transport.close()
                await self._closed.wait()
                self._transport = None

    def address(self, device: str) -> gbwire.Address | None:
        """Where a device is now, if it is registered."""
        return self.registrar.address(device, self._clock.monotonic())

    async def news(self, for_s: float) -> None:
        """Wait until anything has come in, or for a while."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await self._news.wait()

    async def message(self, device: str, address: gbwire.Address, xml: str) -> sip.Message | None:
        """MESSAGE to a device; None where nothing answers."""
        return await self.ask("MESSAGE", f"sip:{device}@{address[0]}:{address[1]}", address, body=xml)

    @contextmanager
    def expecting(self, number: int) -> Iterator[Told]:
        """The XML that answers our message of this SN."""
        told = self._told[number] = asyncio.Queue()
        try:
            yield told
        finally:
            del self._told[number]

    @contextmanager
    def awaiting(self, channel: str, device: str) -> Iterator[Called]:
        """The call of a device for this channel's sound."""
        called: Called = asyncio.Queue()
        self._awaited[channel] = device, called
        try:
            yield called
        finally:
            del self._awaited[channel]
            while not called.empty():
                called.get_nowait().refuse(480, "Temporarily Unavailable")

    async def ask(
        self,
        method: str,
        uri: str,
        address: gbwire.Address,
        *,
        body: str = "",
        headers: tuple[tuple[str, str], ...] | None = None,
        cseq: int = 1,
    ) -> sip.Message | None:
        """A request and its final answer (17.1.2); None where there is none in `ANSWER_S`."""
        host, port = self.local(address)
        branch = "z9hG4bK" + secrets.token_hex(8)
        us = f"<sip:{self.name}@{host}:{port}>"
        named = headers or (
            ("From", f"{us};tag={secrets.token_hex(6)}"),
            ("To", f"<{uri}>"),
            ("Call-ID", secrets.token_hex(12)),
        )
        common = [("Via", f"SIP/2.0/UDP {host}:{port};rport;branch={branch}"), ("Max-Forwards", "70"), *named]
        common += [("CSeq", f"{cseq} {method}"), ("Contact", us), ("User-Agent", "edge-agent")]
        data = sip.request(method, uri, common, body, gbwire.KIND)
        answers = self._asked[branch] = asyncio.Queue[sip.Message]()
        wait_s = T1_S
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    self.send(data, address)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait_s):
                            while (answer := await answers.get()).status < 200:
                                pass
                            return answer
                    wait_s *= 2
        except TimeoutError:
            return None
        finally:
            del self._asked[branch]

    def send(self, data: bytes, address: gbwire.Address) -> None:
        """One datagram."""
        if self._transport is not None:
            self._transport.sendto(data, address)

    def local(self, address: gbwire.Address) -> gbwire.Address:
        """What a device must call us: the address by which the kernel would reach it."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        if ipaddress.ip_address(host).is_unspecified:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect(address)
                host = probe.getsockname()[0]
        return host, port

    # --- what devices send --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._closed.clear()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._closed.set()

    def datagram_received(self, data: bytes, addr: gbwire.Address) -> None:
        try:
            message = sip.parse(data, "gb18030")
        except sip.MalformedError:
            return
        branch = sip.branch(message.first("via"))
        if message.status:
            if (waiting := self._asked.get(branch)) is not None:
                waiting.put_nowait(message)
            return
        key = (branch, message.method)
        if branch and (before := self._answers.get(key)) is not None:
            self.send(before, addr)
        elif message.method == "INVITE":
            self._invited(message, addr, key)
        elif message.method == "ACK":
            if (call := self._calls.get(message.first("call-id"))) is not None:
                call.acked.set()
        else:
            self.answer(key, self._requested(message, addr), addr)
        self._news.set()

    def answer(self, key: tuple[str, str], data: bytes, address: gbwire.Address) -> None:
        """Send, and keep it for a request that comes again."""
        self._answers[key] = data
        while len(self._answers) > KEPT_ANSWERS:
            self._answers.popitem(last=False)
        self.send(data, address)

    def forget(self, call_id: str) -> None:
        """A call is over."""
        self._calls.pop(call_id, None)

    def _requested(self, message: sip.Message, addr: gbwire.Address) -> bytes:
        tag = secrets.token_hex(6)
        match message.method:
            case "REGISTER":
                try:
                    status, more = self.registrar.register(message, addr, self._clock.monotonic())
                except OSError as error:  # the file of its password
                    self.registrar.refused[gbwire.user(message.first("from"))] = str(error)
                    return sip.response(message, 500, "Server Internal Error", tag=tag)
                words = {200: "OK", 401: "Unauthorized", 403: "Forbidden"}
                return sip.response(message, status, words[status], tag=tag, more=more)
            case "MESSAGE":
                self.registrar.heard(gbwire.user(message.first("from")), addr)
                number = sip.whole(gbwire.element(message.body, "SN"))
                told = self._told.get(number) if number is not None else None
                if told is not None and gbwire.element(message.body, "CmdType") == "Broadcast":
                    told.put_nowait(message.body)
                return sip.response(message, 200, "OK", tag=tag)
            case "BYE" | "CANCEL":
                if (call := self._calls.pop(message.first("call-id"), None)) is None:
                    return sip.response(message, 481, "Call/Transaction Does Not Exist", tag=tag)
                call.over = True
                return sip.response(message, 200, "OK", tag=tag)
            case "OPTIONS":
                return sip.response(message, 200, "OK", tag=tag)
            case _:
                return sip.response(message, 405, "Method Not Allowed", tag=tag)

    def _invited(self, message: sip.Message, addr: gbwire.Address, key: tuple[str, str]) -> None:
        """A device calls: for the channel that it names (Subject, From), or for any of its own that is awaited."""
        caller = gbwire.user(message.first("from"))
        said = f"{message.first('subject')} {caller}"
        waits = [one for one, (device, _) in self._awaited.items() if one in said] or [
            one for one, (device, _) in self._awaited.items() if device == caller
        ]
        call = Call(self, message, addr, key)
        if not waits:
            return call.refuse(480, "Temporarily Unavailable")  # nothing was announced
        self.answer(key, sip.response(message, 100, "Trying"), addr)
        self._calls[message.first("call-id")] = call
        return self._awaited[waits[0]][1].put_nowait(call)


class Call:
    """A device's call for sound."""

    def __init__(self, platform: Platform, invite: sip.Message, address: gbwire.Address, key: tuple[str, str]) -> None:
        self._platform, self.invite, self._address, self._key = platform, invite, address, key
        self._tag = secrets.token_hex(6)
        self._answered: asyncio.Task[None] | None = None
        self.acked = asyncio.Event()
        self.over = False
        self.local = platform.local(address)[0]

    def refuse(self, status: int, reason: str) -> None:
        """Not now, or not this."""
        self.over = True
        self._platform.answer(self._key, sip.response(self.invite, status, reason, tag=self._tag), self._address)
        self._platform.forget(self.invite.first("call-id"))

    def accept(self, sdp: str) -> None:
        """200, until the ACK comes (13.3.1.4)."""
        host, port = self._platform.local(self._address)
        contact = ("Contact", f"<sip:{self._platform.name}@{host}:{port}>")
        data = sip.response(self.invite, 200, "OK", tag=self._tag, more=(contact,), body=sdp)
        self._platform.answer(self._key, data, self._address)
        self._answered = asyncio.create_task(self._until_acked(data))

    async def bye(self) -> None:
        """Hang up, or refuse what was not accepted yet."""
        if self._answered is None:
            return None if self.over else self.refuse(480, "Temporarily Unavailable")
        self._answered.cancel()
        await asyncio.wait([self._answered])
        self._platform.forget(self.invite.first("call-id"))
        if not self.over:
            self.over = True
            headers = (
                ("From", f"{self.invite.first('to')};tag={self._tag}"),
                ("To", self.invite.first("from")),
                ("Call-ID", self.invite.first("call-id")),
            )
            uri = sip.target(self.invite.first("contact")) or f"sip:{gbwire.user(self.invite.first('from'))}"
            await self._platform.ask("BYE", uri, self._address, headers=headers)
        return None

    async def _until_acked(self, data: bytes) -> None:
        wait_s = T1_S
        while not self.acked.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self.acked.wait()
                    return
            self._platform.send(data, self._address)
            wait_s = min(wait_s * 2, 4.0)
