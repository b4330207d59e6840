"""The link to a vehicle as bytes: serial, UDP, TCP, or the simulated autopilot in this process."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from edge_agent import config
from edge_agent.runtime import Clock, DriverError

if TYPE_CHECKING:
    from edge_agent.flight.simulator import Autopilot

CONNECT_S = 5.0
SEND_S = 5.0
CHUNK = 65536
DATAGRAMS = 1000  # taken at a time


class Vehicle(Protocol):
    """A byte link. `url` names it in messages; every call may raise DriverError.

    Who waits for no answer reads every `gather_s`: to be woken for each of a hundred messages a second costs more than
    to read them.
    """

    url: str
    system_id: int
    gather_s: float

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


class _Wire:
    """What TCP, UDP and serial ports have in common: a descriptor that is read when asked, not for every packet."""

    url: str
    system_id: int
    gather_s = 0.1

    def __init__(self) -> None:
        self._fd: int | None = None

    async def receive(self, timeout_s: float, /) -> bytes:
        if self._fd is None:
            raise DriverError(f"{self.url}: not open")
        try:
            data = self._read()
            if not data and await _ready(self._fd, timeout_s):
                data = self._read() or self._nothing()
        except OSError as error:
            raise DriverError(f"{self.url}: {_reason(error)}") from None
        return data

    async def send(self, data: bytes) -> None:
        if self._fd is None:
            raise DriverError(f"{self.url}: not open")
        try:
            while data := data[self._write(data) :]:
                if not await _ready(self._fd, SEND_S, write=True):
                    raise DriverError(f"{self.url}: takes nothing for {SEND_S:g} s; is flow control set right?")
        except OSError as error:
            raise DriverError(f"{self.url}: {_reason(error)}") from None

    def _read(self) -> bytes:
        """What is there; b"" for nothing."""
        raise NotImplementedError

    def _nothing(self) -> bytes:
        """There was to be something, and there is nothing."""
        return b""

    def _write(self, data: bytes) -> int:
        """How many bytes went out now."""
        raise NotImplementedError


class Tcp(_Wire):
    """A TCP client, as for SITL or a router."""

    def __init__(self, host: str, port: int, system_id: int) -> None:
        super().__init__()
        self.url, self.system_id = f"tcp:{host}:{port}", system_id
        self._place = (host, port)
        self._socket: socket.socket | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                self._socket, address = await _socket(*self._place, socket.SOCK_STREAM)
                await loop.sock_connect(self._socket, address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, TimeoutError) as error:
            await self.close()
            raise DriverError(f"{self.url}: {_reason(error)}; is the autopilot or its router running?") from None
        self._fd = self._socket.fileno()

    async def close(self) -> None:
        self._fd = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self) -> bytes:
        assert self._socket is not None
        try:
            data = self._socket.recv(CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            raise DriverError(f"{self.url}: closed by the other end")
        return data

    def _write(self, data: bytes) -> int:
        assert self._socket is not None
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0


class Udp(_Wire):
    """UDP: `udpin` waits for the vehicle and answers whoever spoke last, `udpout` speaks first."""

    def __init__(self, host: str, port: int, system_id: int, *, listen: bool) -> None:
        super().__init__()
        self.url, self.system_id = f"{'udpin' if listen else 'udpout'}:{host}:{port}", system_id
        self._place, self._listen = (host, port), listen
        self._peer: Any = None
        self._socket: socket.socket | None = None

    async def open(self) -> None:
        try:
            self._socket, address = await _socket(*self._place, socket.SOCK_DGRAM)
            if self._listen:
                self._socket.bind(address)
            else:
                self._peer = address
        except OSError as error:
            await self.close()
            raise DriverError(f"{self.url}: {_reason(error)}; is the address ours, and the port free?") from None
        self._fd = self._socket.fileno()

    @property
    def port(self) -> int:
        """Our own port, once open."""
        assert self._socket is not None
        number: int = self._socket.getsockname()[1]
        return number

    async def close(self) -> None:
        self._fd = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self) -> bytes:
        assert self._socket is not None
        found: list[bytes] = []
        for _ in range(DATAGRAMS):
            try:
                data, peer = self._socket.recvfrom(CHUNK)
            except BlockingIOError:
                break
            except ConnectionRefusedError:  # ICMP: nobody is there yet
                continue
            found.append(data)
            if self._listen:
                self._peer = peer
        return b"".join(found)

    def _write(self, data: bytes) -> int:
        assert self._socket is not None
        if self._peer is not None:
            try:
                self._socket.sendto(data, self._peer)
            except (BlockingIOError, ConnectionRefusedError):
                pass  # as lost as any other datagram
        return len(data)


class Serial(_Wire):
    """A serial port, read in whole chunks: a read for each byte costs four times the CPU."""

    def __init__(self, device: str, baud: int, system_id: int) -> None:
        super().__init__()
        self.url, self.system_id = f"serial:{device}:{baud}", system_id
        self._device, self._baud = device, baud
        self._port: Any = None

    async def open(self) -> None:
        import serial

        try:
            self._port = await asyncio.to_thread(
                serial.Serial, self._device, self._baud, timeout=0, write_timeout=0, exclusive=True
            )
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise DriverError(
                f"{self.url}: {_reason(error)}; is it plugged in, and are we in the group `dialout`?"
            ) from None
        self._fd = self._port.fileno()

    async def close(self) -> None:
        self._fd = None
        if self._port is not None:
            port, self._port = self._port, None
            await asyncio.to_thread(port.close)

    def _read(self) -> bytes:
        assert self._fd is not None
        try:
            return os.read(self._fd, CHUNK)
        except BlockingIOError:
            return b""

    def _nothing(self) -> bytes:
        raise DriverError(f"{self.url}: the device is gone, or another program reads the port")

    def _write(self, data: bytes) -> int:
        assert self._fd is not None
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0


async def _socket(host: str, port: int, kind: socket.SocketKind) -> tuple[socket.socket, Any]:
    """A socket for a place and its address: IPv4 where there is one, as autopilots and their routers have it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock, address


async def _ready(fd: int, timeout_s: float, *, write: bool = False) -> bool:
    """Whether a descriptor can be read (or written) within the time."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    add(fd, _settle, ready, True)
    timer = loop.call_later(timeout_s, _settle, ready, False)
    try:
        return bool(await ready)
    finally:
        timer.cancel()
        remove(fd)


def _settle(future: asyncio.Future[bool], result: bool) -> None:
    if not future.done():
        future.set_result(result)


class Simulated:
    """The simulated autopilot in this process; its time runs `speedup` times the agent's."""

    gather_s = 0.0

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
