"""ONVIF Profile T devices: the audio backchannel of an RTSP stream (ONVIF Streaming Spec 5.3; RFC 2326, interleaved).

DESCRIBE with `Require: www.onvif.org/ver20/backchannel` adds an audio section that is `a=sendonly`, by the server's own
word: that one is for us to fill.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import struct
from urllib.parse import urljoin, urlsplit

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import PROOFS
from edge_agent.speakers import sipmessage as sdp
from edge_agent.speakers.codecs import open_encoder
from edge_agent.speakers.digest import Digest, challenge
from edge_agent.speakers.g711 import Codec
from edge_agent.speakers.http import Answer, short_of_breath
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.rtpstream import RtpStream
from edge_agent.speakers.sound import Pcm

REQUIRE = {"Require": "www.onvif.org/ver20/backchannel"}
TIMEOUT_S = 4.0
CODECS: tuple[Codec, ...] = ("pcmu", "pcma")
MAX_BODY = 2**18

_MEANINGS = {
    401: "wrong user name or password",
    404: "no stream of this name; take the URL that the device's ONVIF service gives",
    453: "busy: the device has no room for another talker",
    551: "this device has no audio backchannel",
}


class OnvifSpeaker(Paced):
    """Playing begins once PLAY was answered (`accepted`); devices that send RTCP reports make it `delivered`."""

    best: Proof = "delivered"

    def __init__(self, section: config.OnvifSpeaker, clock: Clock) -> None:
        super().__init__(section.name, clock)
        self._section = section

    def where(self) -> str:
        return self._section.url

    async def health(self) -> None:
        """Whether the stream is there and has a backchannel."""
        session = await Session.connect(self, self._section)
        try:
            await session.backchannel()
        finally:
            await session.close()

    async def open(self, _announcement: str, _samples: int | None, /) -> OnvifLine:
        session = await Session.connect(self, self._section)
        try:
            codec, payload_type = await session.begin()
        except BaseException:
            await session.close()
            raise
        stream = RtpStream(open_encoder(codec, payload_type), self._clock, random.SystemRandom())
        return OnvifLine(session, stream)

    def refused(self, why: str | Answer) -> DriverError:
        """The device said no."""
        if isinstance(why, Answer):
            why = f"{_MEANINGS.get(why.status, 'refused')} (RTSP {why.status})"
        return DriverError(f"speaker {self.name}: {self.where()}: {why}")


class Session:
    """One RTSP connection; what comes between the answers on channel 1 is RTCP."""

    def __init__(
        self,
        speaker: OnvifSpeaker,
        section: config.OnvifSpeaker,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._speaker, self._section, self._reader, self.writer = speaker, section, reader, writer
        self._cseq, self._session = 0, ""
        self._digest: Digest | None = None
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue()
        self.reports: list[bytes] = []
        self.over = False
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, speaker: OnvifSpeaker, section: config.OnvifSpeaker) -> Session:
        """To the device of the URL."""
        parts = urlsplit(section.url)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 554)
        except UnicodeError as error:  # a host that cannot be a name
            raise speaker.refused(str(error)) from None
        short_of_breath(writer)
        return cls(speaker, section, reader, writer)

    async def backchannel(self) -> tuple[str, Codec, int]:
        """The control URL of the section that we may fill, its codec and payload type."""
        answer = await self._ask("DESCRIBE", self._section.url, {**REQUIRE, "Accept": "application/sdp"})
        base = answer.headers.get("content-base", [self._section.url])[0]
        _, *sections = answer.body.decode("utf-8", "replace").replace("\r\n", "\n").split("\nm=")
        mine = [s for s in sections if s.startswith("audio ") and "\na=sendonly" in s]
        if not mine:
            raise self._speaker.refused("this stream has no audio backchannel; is the device's audio output on?")
        for section in mine:
            control = next((line[10:] for line in section.splitlines() if line.startswith("a=control:")), "")
            with contextlib.suppress(sdp.MalformedError):
                media = sdp.answered(f"c=IN IP4 0.0.0.0\nm={_with_port(section)}", CODECS)
                assert media.codec in CODECS
                return urljoin(base if base.endswith("/") else base + "/", control), media.codec, media.payload_type
        raise self._speaker.refused("its backchannel speaks no G.711; set its audio codec to G.711")

    async def begin(self) -> tuple[Codec, int]:
        """Until we may send."""
        control, codec, payload_type = await self.backchannel()
        transport = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        answer = await self._ask("SETUP", control, {**REQUIRE, **transport})
        self._session = answer.headers.get("session", [""])[0].partition(";")[0]
        await self._ask("PLAY", self._section.url, {**REQUIRE, "Range": "npt=0.000-"})
        return codec, payload_type

    async def send(self, channel: int, data: bytes) -> None:
        """A packet between the requests (RFC 2326, 10.12)."""
        if self.over:
            raise self._speaker.refused("the device hung up")
        self.writer.write(struct.pack("!cBH", b"$", channel, len(data)) + data)
        await self.writer.drain()

    async def teardown(self) -> None:
        """End the session as one should, if it still listens."""
        with contextlib.suppress(DriverError, OSError, TimeoutError):
            await self._ask("TEARDOWN", self._section.url, {})

    async def close(self) -> None:
        """Hang up."""
        self._reading.cancel()
        self.writer.close()
        await asyncio.wait([self._reading])

    async def _ask(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        answer = await self._once(method, url, headers)
        if answer.status == 401 and self._section.username is not None:
            self._digest = challenge(answer.headers.get("www-authenticate", []))
            if self._digest is None:
                raise self._speaker.refused("it asks for the password in clear (no digest); switch digest on")
            answer = await self._once(method, url, headers)
        if answer.status >= 300:
            raise self._speaker.refused(answer)
        return answer

    async def _once(self, method: str, url: str, headers: dict[str, str]) -> Answer:
        self._cseq += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._cseq}", "User-Agent: edge-agent"]
        lines += [f"{key}: {value}" for key, value in headers.items()]
        lines += [f"Session: {self._session}"] if self._session else []
        if self._digest is not None and self._section.username is not None:
            secret = config.read_secret(self._section.password) if self._section.password else ""
            user = self._section.username
            lines.append(f"Authorization: {self._digest.authorize(user, secret, method, url, secrets.token_hex(8))}")
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.writer.drain()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await self._answers.get()
        except TimeoutError:
            raise self._speaker.refused(f"no answer to {method} in {TIMEOUT_S:g} s") from None
        if answer is None:
            raise self._speaker.refused(f"hung up at {method}")
        return answer

    async def _read(self) -> None:
        try:
            while first := await self._reader.readexactly(1):
                if first == b"$":
                    channel, size = struct.unpack("!BH", await self._reader.readexactly(3))
                    data = await self._reader.readexactly(size)
                    if channel == 1:
                        self.reports.append(data)
                else:
                    self._answers.put_nowait(await self._answer(first))
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            pass
        finally:
            self.over = True
            self._answers.put_nowait(None)

    async def _answer(self, first: bytes) -> Answer:
        lines = (first + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        if not version.startswith("RTSP/1."):
            raise ValueError("no RTSP")
        headers: dict[str, list[str]] = {}
        for line in lines[1:]:
            key, colon, value = line.partition(":")
            if colon:
                headers.setdefault(key.strip().lower(), []).append(value.strip())
        size = int(headers.get("content-length", ["0"])[0])
        if not 0 <= size <= MAX_BODY:
            raise ValueError("its answer is too long")
        return Answer(int(status), headers, await self._reader.readexactly(size))


class OnvifLine(Line):
    """A session that plays."""

    def __init__(self, session: Session, stream: RtpStream) -> None:
        self._session, self._stream = session, stream

    async def send(self, step: Pcm) -> None:
        await self._session.send(0, self._stream.packet(step))
        if self._stream.sent % 50 == 25:
            await self._session.send(1, self._stream.report())

    async def close(self, _finished: bool, /) -> Proof:
        try:
            await self._session.teardown()
            for data in self._session.reports:
                self._stream.hear(data)
            self.doubt = self._stream.doubt()
            return max(self._stream.proof(), "accepted", key=PROOFS.index)
        finally:
            await self._session.close()


def _with_port(section: str) -> str:
    """A described section has port 0, which elsewhere means refused: any other will do."""
    words = section.split(" ", 2)
    return " ".join([words[0], "1", *words[2:]])
