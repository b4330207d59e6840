"""Algo speakers: RTP carries the sound, and their REST API says whether they play it.

Requests are signed with an HMAC over method, path, body, the device's clock and a nonce; a clock that differs by more
than 30 s is refused, and then the device's own `Date` is taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from email.utils import formatdate, parsedate_to_datetime

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers.http import Answer, Device
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.rtp import RtpSpeaker
from edge_agent.speakers.sound import Pcm

LOOK_AT_STEP = 15  # 300 ms after the first sound the device has begun to play it


class AlgoSpeaker(Paced):
    """What it does ("Current Action") changes while it plays: that makes it `playing`."""

    best: Proof = "playing"

    def __init__(self, section: config.AlgoSpeaker, clock: Clock) -> None:
        super().__init__(section.name, clock)
        self._section, self._device = section, Device(section, digest=False)
        self._rtp = RtpSpeaker(
            config.RtpSpeaker(
                name=section.name,
                host=section.host,
                port=section.port,
                codec=section.codec,
                ttl=section.ttl,
                interface=section.interface,
            ),
            clock,
        )
        self.rate_hz = self._rtp.rate_hz

    def where(self) -> str:
        return f"{self._section.url} ({self._rtp.where()})"

    async def health(self) -> None:
        """Whether it answers this user."""
        await self.action()

    async def action(self) -> str:
        """What it does now, in its own words."""
        answer = await self._ask("GET", "/api/info/status")
        try:
            status = json.loads(answer.body)
        except (ValueError, RecursionError):
            raise self._device.refused("its status is no JSON; is it an Algo, and is its API on?") from None
        return str(status.get("Current Action", "")) if isinstance(status, dict) else ""

    async def open(self, announcement: str, samples: int | None, /) -> AlgoLine:
        before = await self.action()
        return AlgoLine(self, await self._rtp.open(announcement, samples), before)

    async def _ask(self, method: str, path: str) -> Answer:
        answer = await self._device.request(method, path, headers=self._signed(method, path, self._clock.wall()))
        if answer.status == 401 and (date := answer.headers.get("date")):
            try:
                theirs = parsedate_to_datetime(date[0]).timestamp()
            except ValueError:
                raise self._device.refused(answer) from None
            answer = await self._device.request(method, path, headers=self._signed(method, path, theirs))
        if answer.status >= 300:
            raise self._device.refused(answer)
        return answer

    def _signed(self, method: str, path: str, wall_s: float) -> dict[str, str]:
        """`Authorization: hmac USER:NONCE:HMAC-SHA256(password, METHOD:PATH:TIMESTAMP:NONCE)` of a bodiless request."""
        section = self._section
        password = config.read_secret(section.password) if section.password else ""
        stamp, nonce = str(int(wall_s)), secrets.token_hex(8)
        text = f"{method}:{path}:{stamp}:{nonce}"
        mac = hmac.new(password.encode(), text.encode(), hashlib.sha256).hexdigest()
        return {
            "Authorization": f"hmac {section.username or 'admin'}:{nonce}:{mac}",
            "Date": formatdate(int(wall_s), usegmt=True),
        }


class AlgoLine(Line):
    """RTP, with one look at the device while it plays."""

    def __init__(self, speaker: AlgoSpeaker, media: Line, before: str) -> None:
        self._speaker, self._media, self._before = speaker, media, before
        self._sent = 0
        self._look: asyncio.Task[str] | None = None

    async def send(self, step: Pcm) -> None:
        await self._media.send(step)
        self._sent += 1
        if self._sent == LOOK_AT_STEP:
            self._look = asyncio.create_task(self._speaker.action())

    async def close(self, finished: bool, /) -> Proof:
        await self._media.close(finished)
        if self._look is None:
            return "accepted"
        try:
            doing = await self._look
        except DriverError as error:
            self.doubt = str(error)
            return "none"
        if doing in ("", self._before):
            self.doubt = f"it says {doing or 'nothing'!r} while it should play"
            return "accepted"
        return "playing"
