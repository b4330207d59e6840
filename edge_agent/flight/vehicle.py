"""The link to a vehicle as bytes: serial, UDP, TCP, or the simulated autopilot in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from edge_agent import config
from edge_agent.runtime import Clock, DriverError

if TYPE_CHECKING:
    from edge_agent.flight.simulator import Autopilot

CONNECT_S = 5.0
CHUNK = 4096
SERIAL_CHUNK_S = 0.05
INBOX = 1000  # datagrams kept for a reader that is late; the oldest go first


class Vehicle(Protocol):
    """A byte link. `url` names it in messages; every call may raise DriverError."""

    url: str
    system_id: int

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def send(self, data: bytes) -> None: ...
    async def receive(self, timeout_s: float, /) -> bytes:
        """What came, as soon as something did; b"" after `timeout_s`."""
        ...


def open_vehicle(section: config.Vehicle, site: config.Site, clock: Clock) -> Vehicle:
    """The driver that the configuration names; nothing is connected before `open`."""
    match section:
        case config.MavlinkVehicle(url=url, system_id=system_id):
            return _by_url(url, system_id)
        case config.SimulatedVehicle():
            from edge_agent.flight.simulator import Autopilot

            assert site.lat is not None and site.lon is not None  # config.load saw to it
            autopilot = Autopilot(
                site.lat,
                site.lon,
                system_id=section.system_id,
                wind_mps=section.wind_mps,
                wind_from_deg=section.wind_from_deg,
            )
            return Simulated(autopilot, section.system_id, clock, section.speedup)
        case _:
            assert_never(section)


def _by_url(url: str, system_id: int) -> Vehicle:
    kind, place, number = url.split(":")
    match kind:
        case "serial":
            return Serial(place, int(number), system_id)
        case "tcp":
            return Tcp(place, int(number), system_id)
        case _:
            return Udp(place, int(number), system_id, listen=kind == "udpin")


class Tcp:
    """A TCP client, as for SITL or a router."""

    def __init__(self, host: str, port: int, system_id: int) -> None:
        self.url, self.system_id = f"tcp:{host}:{port}", system_id
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                self._streams = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise DriverError(f"{self.url}: {_reason(error)}; is the autopilot or its router running?") from None

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def send(self, data: bytes) -> None:
        _, writer = self._opened()
        try:
            writer.write(data)
            await writer.drain()
        except OSError as error:
            raise DriverError(f"{self.url}: {_reason(error)}") from None

    async def receive(self, timeout_s: float, /) -> bytes:
        reader, _ = self._opened()
        try:
            async with asyncio.timeout(timeout_s):
                data = await reader.read(CHUNK)
        except TimeoutError:
            return b""
        except OSError as error:
            raise DriverError(f"{self.url}: {_reason(error)}") from None
        if not data:
            raise DriverError(f"{self.url}: closed by the other end")
        return data

    def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            raise DriverError(f"{self.url}: not open")
        return self._streams


class Udp(asyncio.DatagramProtocol):
    """UDP: `udpin` waits for the vehicle and answers whoever spoke last, `udpout` speaks first."""

    def __init__(self, host: str, port: int, system_id: int, *, listen: bool) -> None:
        self.url, self.system_id = f"{'udpin' if listen else 'udpout'}:{host}:{port}", system_id
        self._place, self._listen = (host, port), listen
        self._peer: Any = None if listen else (host, port)
        self._transport: asyncio.DatagramTransport | None = None
        self._inbox: deque[bytes] = deque(maxlen=INBOX)
        self._came = asyncio.Event()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._listen:
            self._peer = addr
        self._inbox.append(data)
        self._came.set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._listen:
                made = await loop.create_datagram_endpoint(lambda: self, local_addr=self._place)
            else:
                made = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._place)
        except OSError as error:
            raise DriverError(f"{self.url}: {_reason(error)}; is the address ours, and the port free?") from None
        self._transport = made[0]

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        self._inbox.clear()

    async def send(self, data: bytes) -> None:
        if self._transport is None:
            raise DriverError(f"{self.url}: not open")
        if self._peer is not None:
            self._transport.sendto(data, self._peer if self._listen else None)

    async def receive(self, timeout_s: float, /) -> bytes:
        if not self._inbox:
            self._came.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._came.wait()
            except TimeoutError:
                return b""
        data = b"".join(self._inbox)
        self._inbox.clear()
        return data


class Serial:
    """A serial port, read in chunks of 50 ms by a thread: a read for each byte costs four times the CPU."""

    def __init__(self, device: str, baud: int, system_id: int) -> None:
        self.url, self.system_id = f"serial:{device}:{baud}", system_id
        self._device, self._baud = device, baud
        self._port: Any = None

    async def open(self) -> None:
        import serial

        try:
            self._port = await asyncio.to_thread(
                serial.Serial, self._device, self._baud, timeout=SERIAL_CHUNK_S, write_timeout=1.0, exclusive=True
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise DriverError(
                f"{self.url}: {_reason(error)}; is it plugged in, and are we in the group `dialout`?"
            ) from None

    async def close(self) -> None:
        if self._port is not None:
            port, self._port = self._port, None
            await asyncio.to_thread(port.close)

    async def send(self, data: bytes) -> None:
        await self._call("write", data)

    async def receive(self, _timeout_s: float, /) -> bytes:
        """What came within the port's own timeout: to change that for a call would set up the port anew."""
        data: bytes = await self._call("read", CHUNK)
        return data

    async def _call(self, name: str, argument: Any) -> Any:
        if self._port is None:
            raise DriverError(f"{self.url}: not open")
        try:
            return await asyncio.to_thread(getattr(self._port, name), argument)
        except (OSError, TypeError) as error:  # pyserial raises TypeError where the port was closed under a read
            raise DriverError(f"{self.url}: {_reason(error)}") from None


class Simulated:
    """The simulated autopilot in this process; its time runs `speedup` times the agent's."""

    def __init__(self, autopilot: Autopilot, system_id: int, clock: Clock, speedup: float = 1.0) -> None:
        self.url, self.system_id = "simulated", system_id
        self.autopilot, self._clock, self._speedup = autopilot, clock, speedup
        self._began_s = clock.monotonic()

    async def open(self) -> None:
        """There is nothing to connect."""

    async def close(self) -> None:
        """It flies on, as a real one would."""

    async def send(self, data: bytes) -> None:
        self.autopilot.receive(data, self._now())

    async def receive(self, timeout_s: float, /) -> bytes:
        await self._clock.sleep(min(timeout_s, 0.05))
        self.autopilot.step(self._now())
        return self.autopilot.data_to_send()

    def _now(self) -> float:
        return (self._clock.monotonic() - self._began_s) * self._speedup


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
