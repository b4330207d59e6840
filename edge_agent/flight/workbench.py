"""An autopilot on the workbench: its parameters read and set over a link of our own, by the road of every command."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_agent import config
from edge_agent.flight import helm, params, safety
from edge_agent.flight.claim import claim
from edge_agent.flight.command import Command
from edge_agent.flight.frames import Message
from edge_agent.flight.mavlink import Link
from edge_agent.flight.signing_key import open_signing
from edge_agent.flight.vehicle import Vehicle, open_vehicle
from edge_agent.messages import Refusal
from edge_agent.runtime import Clock, DriverError

TURN_S = 0.1
HEARD_S = 30.0
VERSION_S = 5.0
GONE_S = 3.0  # until an autopilot that restarts has let go of its ports
BACK_S = 60.0


class Workbench:
    """One open link; every call takes the turns that it needs."""

    def __init__(self, vehicle: Vehicle, link: Link, limits: config.Limits, clock: Clock) -> None:
        self._vehicle, self._limits, self._clock = vehicle, limits, clock
        self.link = link

    async def turn(self) -> None:
        """Read, do what is due, write; DriverError when the link dies."""
        self.link.receive(await self._vehicle.receive(TURN_S), self._clock.monotonic())
        self.link.tick(self._clock.monotonic())
        if out := self.link.data_to_send():
            await self._vehicle.send(out)

    async def hear(self, wait_s: float = HEARD_S) -> None:
        """Until the autopilot says where it is and whether it has landed; DriverError where it does not."""
        until_s = self._clock.monotonic() + wait_s
        while not (self.link.alive(self._clock.monotonic()) and self.link.located and self.link.landed is not None):
            if self._clock.monotonic() > until_s:
                what = "no autopilot was heard" if self.link.heard_s is None else "it says neither place nor landed"
                raise DriverError(f"{self._vehicle.url}: {what} in {wait_s:g} s; check power, cable, baud, system id")
            await self.turn()

    async def firmware(self) -> tuple[int, int, int] | None:
        """The version of the autopilot, as 4, 6, 0; None where it does not tell."""
        if (said := await self._version()) is None:
            return None
        number = said.flight_sw_version
        return number >> 24 & 0xFF, number >> 16 & 0xFF, number >> 8 & 0xFF

    async def serial(self) -> str:
        """The autopilot's own number (AUTOPILOT_VERSION.uid2, else uid) in hex; empty where it does not tell."""
        if (said := await self._version()) is None:
            return ""
        return bytes(said.uid2).hex().strip("0") or f"{said.uid:x}".strip("0")

    async def _version(self) -> Message | None:
        number, now = mavlink.MAVLINK_MSG_ID_AUTOPILOT_VERSION, self._clock.monotonic()
        asked = self.link.ask(number, now)
        while (said := self.link.said.get(number)) is None:
            if asked.state in ("refused", "silent") or self._clock.monotonic() > now + VERSION_S:
                return None
            await self.turn()
        return said[1]

    async def reboot(self) -> Refusal | str | None:
        """Start the autopilot anew and hear it again: None when it is back, else why it was not asked or does not obey.

        Raises DriverError where it does not come back.
        """
        job = helm.order(self.link, safety.Reboot(), self._limits, self._clock.monotonic())
        if isinstance(job, Refusal):
            return job
        assert isinstance(job, Command)
        try:
            while job.state == "waiting":
                await self.turn()
        except DriverError:
            pass  # it went down with its end of the connection: that is what was asked for
        if job.state == "refused":
            return job.detail or "it does not restart by command"
        await self._vehicle.close()
        await self._clock.sleep(GONE_S)
        self.link.forget()
        until_s = self._clock.monotonic() + BACK_S
        while True:
            try:
                await self._vehicle.open()
                await self.hear()
            except DriverError:
                if self._clock.monotonic() > until_s:
                    raise
                await self._vehicle.close()
                await self._clock.sleep(1.0)
            else:
                return None

    async def read_all(self, show: Callable[[int, int], None]) -> dict[str, float]:
        """Every parameter; DriverError where some do not come."""
        job = self.link.read_all_params(self._clock.monotonic())
        while job.state == "running":
            await self.turn()
            show(len(job.values), job.count or 0)
        if job.state == "failed":
            raise DriverError(f"{self._vehicle.url}: {job.detail}; try again, on a better link")
        return dict(job.values)

    def refusal(self, name: str, value: float) -> Refusal | None:
        """Why a parameter may not be set now; None where it may."""
        command = safety.SetParam(name=name, value=value)
        return safety.permit(command, self.link.telemetry(), self._limits, self._clock.monotonic())

    async def set(self, name: str, value: float) -> str | Refusal | None:
        """Set and read back: None when the autopilot says that value, else what it said, or why it was not asked."""
        job = helm.order(self.link, safety.SetParam(name=name, value=value), self._limits, self._clock.monotonic())
        if isinstance(job, Refusal):
            return job
        assert isinstance(job, params.Set)
        while job.state == "running":
            await self.turn()
        return None if job.state == "done" else job.detail


@asynccontextmanager
async def workbench(settings: config.Agent, clock: Clock) -> AsyncGenerator[Workbench, None]:
    """The configured vehicle; TakenError where an agent holds its link, DriverError where it cannot be opened."""
    assert settings.vehicle is not None
    vehicle = open_vehicle(settings.vehicle, settings.site, clock)
    signing = open_signing(settings.vehicle, settings.data_dir / "flight" / "signing", clock)
    if signing is not None:
        await asyncio.to_thread(signing.save)
    token = secrets.randbits(31)
    link = Link(vehicle.system_id, token, signing=signing.signing if signing is not None else None)
    with claim(vehicle.url):
        await vehicle.open()
        try:
            yield Workbench(vehicle, link, settings.limits, clock)
        finally:
            await vehicle.close()
            if signing is not None:
                await asyncio.to_thread(signing.save)
