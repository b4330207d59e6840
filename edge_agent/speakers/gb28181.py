"""GB/T 28181 loudspeakers: we are the platform that a device registers with, and announce each broadcast to it.

The device answers the announcement and then calls us for the sound (`gbwire`): RTP, over UDP or TCP as it asks. All
speakers with the same `listen` share one platform. Facts beyond the standard are those of WVP-PRO's users: send only
after ACK, a device may connect before it, `y=` may be missing, the INVITE may come in the device's name.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import gbwire, reason
from edge_agent.speakers import sipmessage as sip
from edge_agent.speakers.codecs import open_encoder
from edge_agent.speakers.gbplatform import BYE_S, Call, Platform
from edge_agent.speakers.http import short_of_breath
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.rtpstream import RtpStream
from edge_agent.speakers.sound import Pcm

REGISTER_S = 4.0  # for a device to register, where it was not seen yet
INVITE_S = 4.0  # from the device's agreement to its call
ACK_S = 4.0  # from our answer to its acknowledgement, and to a connection

Holding = AbstractAsyncContextManager[Platform]

T = TypeVar("T")

_PLATFORMS: dict[tuple[int, str], Platform] = {}  # by loop and address


class Gb28181Speaker(Paced):
    """An agreed broadcast whose call was acknowledged is `accepted`; the standard has no more to say."""

    best: Proof = "accepted"

    def __init__(self, section: config.Gb28181Speaker, clock: Clock, rng: random.Random | None = None) -> None:
        super().__init__(section.name, clock)
        self._section, self._rng = section, rng or random.SystemRandom()

    def where(self) -> str:
        return f"GB28181 device {self._section.device}"

    async def run(self) -> None:
        """Be the platform that the device registers with, until cancelled."""
        async with self._platform():
            await asyncio.Event().wait()

    async def health(self) -> None:
        """Whether the device is registered."""
        async with self._platform() as platform:
            await self._address(platform)

    async def open(self, _announcement: str, _samples: int | None, /) -> GbLine:
        holding = self._platform()
        platform = await holding.__aenter__()
        try:
            return await self._open(platform, holding)
        except BaseException:
            await holding.__aexit__(None, None, None)
            raise

    async def _open(self, platform: Platform, holding: Holding) -> GbLine:
        section = self._section
        address = await self._address(platform)
        with platform.awaiting(section.channel, section.device) as called:
            await self._announce(platform, address)
            told = "announced the broadcast, but it did not call for the sound"
            call = await self._in_time(called.get(), INVITE_S, told)
        try:
            to = gbwire.wanted(call.invite.body)
        except sip.MalformedError as error:
            call.refuse(488, "Not Acceptable Here")
            raise self._error(str(error)) from None
        try:
            ssrc = to.ssrc if to.ssrc is not None else self._rng.getrandbits(29)
            pipe = await GbPipe.prepared(to, call.local)
            try:
                call.accept(gbwire.agreed(section.platform, call.local, pipe.port, to, ssrc))
                await self._in_time(call.acked.wait(), ACK_S, "did not acknowledge our answer to its call")
                await self._in_time(pipe.connect(), ACK_S, "opened no connection for the sound")
            except BaseException:
                pipe.close()
                raise
        except BaseException:
            await call.bye()
            raise
        stream = RtpStream(open_encoder(to.codec, to.payload_type), self._clock, self._rng)
        stream.ssrc = ssrc
        return GbLine(call, stream, pipe, holding)

    async def _announce(self, platform: Platform, address: gbwire.Address) -> None:
        section = self._section
        number = self._rng.randrange(1, 2**31)
        with platform.expecting(number) as told:
            answer = await platform.message(
                section.device, address, gbwire.broadcast(number, section.platform, section.channel)
            )
            if answer is None:
                raise self._error("no answer to MESSAGE")
            if answer.status >= 300:
                raise self._error(f"{answer.reason or 'refused'} (SIP {answer.status})")
            xml = await self._in_time(told.get(), INVITE_S, "no answer to the announcement of the broadcast")
        if gbwire.element(xml, "Result").upper() != "OK":
            raise self._error(f"refused the broadcast: {gbwire.element(xml, 'Reason') or 'no reason given'}")

    async def _address(self, platform: Platform) -> gbwire.Address:
        """Where the device is: as it registered, or as the config says."""
        section = self._section
        if section.host is not None:
            found = await asyncio.get_running_loop().getaddrinfo(
                section.host, section.port, family=socket.AF_INET, type=socket.SOCK_DGRAM
            )
            return str(found[0][4][0]), int(found[0][4][1])
        until_s = self._clock.monotonic() + REGISTER_S
        while (address := platform.address(section.device)) is None:
            if refused := platform.registrar.refused.get(section.device):
                raise self._error(f"its registration: {refused}")
            if self._clock.monotonic() >= until_s:
                raise self._error(
                    f"no answer: it has not registered; its platform must be {section.platform} at {section.listen}"
                )
            await platform.news(0.1)
        return address

    async def _in_time(self, what: Awaitable[T], limit_s: float, otherwise: str) -> T:
        try:
            async with asyncio.timeout(limit_s):
                return await what
        except TimeoutError:
            raise self._error(f"{otherwise} in {limit_s:g} s") from None

    @asynccontextmanager
    async def _platform(self) -> AsyncIterator[Platform]:
        """The platform of our `listen`, open as long as anyone holds it."""
        section = self._section
        key = (id(asyncio.get_running_loop()), section.listen)
        platform = _PLATFORMS.get(key)
        if platform is None:
            platform = _PLATFORMS[key] = Platform(section.platform, section.listen, self._clock)
        platform.holders += 1
        try:
            try:
                await platform.opened()
            except OSError as error:
                raise self._error(f"{section.listen}: {reason(error)}; does the agent run already?") from None
            secret = section.password
            platform.registrar.expected[section.device] = partial(config.read_secret, secret) if secret else None
            yield platform
        finally:
            platform.holders -= 1
            if not platform.holders:
                await platform.close()
                if not platform.holders:
                    _PLATFORMS.pop(key, None)

    def _error(self, why: str) -> DriverError:
        return DriverError(f"speaker {self.name}: {self.where()}: {why}")


class GbPipe:
    """Where the packets go: a UDP socket, or a TCP connection with RFC 4571's length before each."""

    def __init__(self, to: gbwire.Wanted, port: int, sock: socket.socket | None) -> None:
        self._to, self.port, self._sock = to, port, sock
        self._server: asyncio.Server | None = None
        self._writers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def prepared(cls, to: gbwire.Wanted, host: str) -> GbPipe:
        """Ready to be named in our answer: `port` is ours (9 where we connect: RFC 4145)."""
        if not to.tcp:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8)
            sock.bind((host, 0))
            return cls(to, sock.getsockname()[1], sock)
        pipe = cls(to, 9, None)
        if to.connects:
            pipe._server = await asyncio.start_server(lambda _, w: pipe._writers.put_nowait(w), host, 0)
            pipe.port = pipe._server.sockets[0].getsockname()[1]
        return pipe

    async def connect(self) -> None:
        """Once the call is acknowledged."""
        if self._sock is not None:
            self._sock.connect((self._to.host, self._to.port))
        elif self._to.connects:
            self._writer = await self._writers.get()
            short_of_breath(self._writer)
        else:
            _, self._writer = await asyncio.open_connection(self._to.host, self._to.port)
            short_of_breath(self._writer)

    async def send(self, packet: bytes) -> None:
        if self._sock is not None:
            self._sock.send(packet)
        elif self._writer is not None:
            self._writer.write(len(packet).to_bytes(2, "big") + packet)
            await self._writer.drain()

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        if self._server is not None:
            self._server.close()
        while not self._writers.empty():
            self._writers.get_nowait().close()
        if self._writer is not None:
            self._writer.close()


class GbLine(Line):
    """A broadcast that goes on."""

    def __init__(self, call: Call, stream: RtpStream, pipe: GbPipe, holding: Holding) -> None:
        self._call, self._stream, self._pipe, self._holding = call, stream, pipe, holding

    async def send(self, step: Pcm) -> None:
        if self._call.over:
            raise ConnectionError("it hung up in the middle of the broadcast")
        await self._pipe.send(self._stream.packet(step))

    async def close(self, _finished: bool, /) -> Proof:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(BYE_S):
                    await self._call.bye()
            return "accepted"
        finally:
            self._pipe.close()
            await self._holding.__aexit__(None, None, None)
