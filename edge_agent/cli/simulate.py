"""`edge-agent simulate`: the simulated autopilot as a process of its own, which outlives the agents that use it."""

from __future__ import annotations

import argparse
import json
import math
import selectors
import signal
import socket
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import IO

import msgspec

from edge_agent.flight.sim_messages import State
from edge_agent.flight.simulator import Autopilot

TURN_S = 0.01
SAVE_S = 0.3
EX_USAGE = 64
LIMITS = {
    "lat": (-90, 90), "lon": (-180, 180), "system_id": (1, 255), "speedup": (0.01, 100), "wind_mps": (0, 100),
    "wind_from_deg": (-360, 360), "battery_pct": (0, 100),
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lat", type=float, required=True, help="where it stands, degrees")
    parser.add_argument("--lon", type=float, required=True)
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--udpout", metavar="HOST:PORT", help="speak to an agent that listens by udpin")
    way.add_argument("--tcp-listen", metavar="HOST:PORT", help="wait for agents, one or several")
    parser.add_argument("--system-id", type=int, default=1)
    parser.add_argument("--speedup", type=float, default=1.0, help="how much faster than real time it lives")
    parser.add_argument("--wind-mps", type=float, default=0.0)
    parser.add_argument("--wind-from-deg", type=float, default=0.0)
    parser.add_argument("--battery-pct", type=float, default=100.0)
    parser.add_argument("--log", type=Path, help="append what truly happens, one JSON object a line")
    parser.add_argument("--state", type=Path, help="go on from this file, and save to it while it lives")


def main(args: argparse.Namespace) -> int:
    """Exit 0 when it is told to stop, 1 where a file or an address fails, 64 on an option out of its limits."""
    try:
        _check(args)
    except ValueError as error:
        return _fail(error, EX_USAGE)
    try:
        return _live(args)
    except (OSError, UnusableError) as error:
        return _fail(error, 1)


class UnusableError(Exception):
    """A file or an address that cannot be used; the text names it, and the way out."""


def _live(args: argparse.Namespace) -> int:
    autopilot = Autopilot(
        args.lat,
        args.lon,
        system_id=args.system_id,
        wind_mps=args.wind_mps,
        wind_from_deg=args.wind_from_deg,
        battery_pct=args.battery_pct,
        state=_load(args.state),
    )
    running = True

    def stop(_signal: int, _frame: object) -> None:
        nonlocal running
        running = False

    with closing(_open(args)) as wire, args.log.open("a", encoding="utf-8") if args.log else nullcontext() as log:
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        saved_s = 0.0
        while running:
            wire.turn(autopilot, time.monotonic() * args.speedup)
            _tell(autopilot, log)
            if args.state and time.monotonic() - saved_s > SAVE_S:
                saved_s = time.monotonic()
                _save(args.state, autopilot.state)
        if args.state:
            _save(args.state, autopilot.state)
    return 0


def _fail(error: Exception, code: int) -> int:
    print(f"edge-agent simulate: {error}", file=sys.stderr)
    return code


class Datagrams:
    """One agent at a known UDP address; that nobody listens there yet is no fault."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._place = place
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)

    def turn(self, autopilot: Autopilot, now: float) -> None:
        if self._selector.select(TURN_S):
            try:
                autopilot.receive(self._socket.recv(65536), now)
            except OSError:  # ICMP port unreachable: the agent is not there
                pass
        autopilot.step(now)
        if data := autopilot.data_to_send():
            try:
                self._socket.sendto(data, self._place)
            except OSError:
                pass

    def close(self) -> None:
        self._selector.close()
        self._socket.close()


class Listener:
    """Any number of agents over TCP; each hears everything, and may leave and come back."""

    def __init__(self, place: tuple[str, int]) -> None:
        self._server = socket.create_server(place)
        self._server.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._clients: dict[socket.socket, int] = {}
        self._count = 0

    def turn(self, autopilot: Autopilot, now: float) -> None:
        for key, _ in self._selector.select(TURN_S):
            assert isinstance(key.fileobj, socket.socket)
            if key.fileobj is self._server:
                self._accept()
            else:
                self._read(key.fileobj, autopilot, now)
        autopilot.step(now)
        if data := autopilot.data_to_send():
            for client in list(self._clients):
                try:
                    client.sendall(data)
                except OSError:  # gone, or it does not read: a serial line would drop the bytes too
                    self._drop(client, autopilot)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._selector.close()
        self._server.close()

    def _accept(self) -> None:
        client, _ = self._server.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ)
        self._count += 1
        self._clients[client] = self._count

    def _read(self, client: socket.socket, autopilot: Autopilot, now: float) -> None:
        if client not in self._clients:
            return
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            autopilot.receive(data, now, self._clients[client])
        else:
            self._drop(client, autopilot)

    def _drop(self, client: socket.socket, autopilot: Autopilot) -> None:
        autopilot.leave(self._clients.pop(client))
        self._selector.unregister(client)
        client.close()


Wire = Datagrams | Listener


def _tell(autopilot: Autopilot, log: IO[str] | None) -> None:
    if log and autopilot.happenings:
        for happening in autopilot.happenings:
            log.write(json.dumps({"wall_s": round(time.time(), 3), **happening}) + "\n")
        log.flush()
    autopilot.happenings.clear()


def _open(args: argparse.Namespace) -> Wire:
    if args.udpout:
        return Datagrams(_place("--udpout", args.udpout))
    try:
        return Listener(_place("--tcp-listen", args.tcp_listen))
    except OSError as error:
        raise UnusableError(f"--tcp-listen {args.tcp_listen}: {error}") from None


def _load(file: Path | None) -> State | None:
    if file is None or not file.exists():
        return None
    try:
        state = msgspec.json.decode(file.read_bytes(), type=State)
        _within("lat", state.lat)
        _within("lon", state.lon)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnusableError(f"--state {file}: {error}; move the file away to start a new world") from None
    return state


def _save(file: Path, state: State) -> None:
    """Replaced as a whole: a world that is killed while it saves goes on from the save before."""
    temporary = file.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.encode(state))
    temporary.replace(file)


def _check(args: argparse.Namespace) -> None:
    """ValueError names the option, the value and the limit."""
    for name in LIMITS:
        try:
            _within(name, getattr(args, name))
        except ValueError as error:
            raise ValueError(f"--{error}") from None
    _place("--udpout", args.udpout) if args.udpout else _place("--tcp-listen", args.tcp_listen)


def _within(name: str, value: float) -> None:
    low, high = LIMITS[name]
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{name.replace('_', '-')} {value:g} is not within {low:g} to {high:g}")


def _place(option: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{option}: HOST:PORT is wanted, got {text!r}")
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"{option} {text}: port {port} is not within 1 to 65535")
    return host, int(port)
