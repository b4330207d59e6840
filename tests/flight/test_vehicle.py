"""The drivers on loopback and on a pseudo terminal, against peers made of plain sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import tty

import pytest

from edge_agent import config
from edge_agent.flight.vehicle import Serial, Simulated, Tcp, Udp, open_vehicle
from edge_agent.runtime import DriverError, SystemClock
from tests.flight.conftest import SITE


async def read(vehicle, size: int) -> bytes:
    data = b""
    async with asyncio.timeout(30):
        while len(data) < size:
            data += await vehicle.receive(0.1)
    return data


async def test_tcp_carries_bytes_both_ways_and_an_end_is_a_fault():
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"from the vehicle")
        arrived.put_nowait(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    vehicle = Tcp("127.0.0.1", port, 1)
    await vehicle.open()
    assert await read(vehicle, 16) == b"from the vehicle"
    await vehicle.send(b"to the vehicle")
    assert await asyncio.wait_for(arrived.get(), 5) == b"to the vehicle"
    with pytest.raises(DriverError, match=f"tcp:127.0.0.1:{port}: closed"):
        await read(vehicle, 1)
    await vehicle.close()
    server.close()
    await server.wait_closed()


async def test_tcp_without_a_listener_names_the_place():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(DriverError, match=f"tcp:127.0.0.1:{port}: .*; is the autopilot"):
        await Tcp("127.0.0.1", port, 1).open()


async def test_a_driver_that_is_not_open_says_so():
    for vehicle in (Tcp("127.0.0.1", 9, 1), Serial("/dev/null", 57600, 1)):
        with pytest.raises(DriverError, match="not open"):
            await vehicle.receive(0.1)
        with pytest.raises(DriverError, match="not open"):
            await vehicle.send(b"x")


async def test_udpin_answers_whoever_spoke_last():
    vehicle = Udp("127.0.0.1", 0, 1, listen=True)
    await vehicle.open()
    port = vehicle.port
    loop = asyncio.get_running_loop()
    await vehicle.send(b"to nobody yet")
    assert await vehicle.receive(0.01) == b""
    for word in (b"first", b"second"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.setblocking(False)
            peer.sendto(word, ("127.0.0.1", port))
            assert await read(vehicle, len(word)) == word
            await vehicle.send(b"answer")
            assert await asyncio.wait_for(loop.sock_recv(peer, 100), 5) == b"answer"
    await vehicle.close()


async def test_udpout_speaks_first_and_outlives_a_peer_that_is_not_there():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        port = peer.getsockname()[1]
        vehicle = Udp("127.0.0.1", port, 1, listen=False)
        await vehicle.open()
        await vehicle.send(b"hello")
        data, back = await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(peer, 100), 5)
        assert data == b"hello"
        peer.sendto(b"answer", back)
        assert await read(vehicle, 6) == b"answer"
    for _ in range(3):  # the port is closed by now: ICMP unreachable
        await vehicle.send(b"anybody?")
        assert await vehicle.receive(0.02) == b""
    await vehicle.close()


async def test_a_port_that_is_taken_is_named():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DriverError, match=f"udpin:127.0.0.1:{port}.*the port free"):
            await Udp("127.0.0.1", port, 1, listen=True).open()


async def test_serial_carries_bytes_both_ways_and_a_cable_that_is_pulled_is_a_fault():
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    vehicle = Serial(os.ttyname(theirs), 57600, 1)
    await vehicle.open()
    os.write(ours, b"from the vehicle")
    assert await read(vehicle, 16) == b"from the vehicle"
    await vehicle.send(b"to the vehicle")
    assert os.read(ours, 100) == b"to the vehicle"
    os.close(theirs)
    os.close(ours)
    with pytest.raises(DriverError, match="serial:"):
        await read(vehicle, 1)
    await vehicle.close()


async def test_a_serial_port_that_is_not_there_is_named():
    with pytest.raises(DriverError, match=r"serial:/dev/nothing:57600: .*dialout"):
        await Serial("/dev/nothing", 57600, 1).open()


@pytest.mark.parametrize(
    ("url", "kind"),
    [("udpin:127.0.0.1:1", Udp), ("udpout:h:1", Udp), ("tcp:h:1", Tcp), ("serial:/dev/x:57600", Serial)],
)
def test_each_url_opens_its_driver(url, kind):
    vehicle = open_vehicle(config.MavlinkVehicle(url=url, system_id=7), SITE, SystemClock())
    assert isinstance(vehicle, kind)
    assert (vehicle.url, vehicle.system_id) == (url, 7)


async def test_the_simulated_vehicle_speaks_without_any_wire():
    vehicle = open_vehicle(config.SimulatedVehicle(speedup=20), SITE, SystemClock())
    assert isinstance(vehicle, Simulated)
    await vehicle.open()
    assert (await read(vehicle, 20))[0] == 0xFD
    await vehicle.close()
