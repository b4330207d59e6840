"""The loudspeaker under a DJI or Autel drone, through the MQTT broker that its dock or remote controller reports to.

With `serve` the dock fetches the rendered sound from us (16 kHz, 16 bits, mono: what the payload's own encoder takes);
without, the payload speaks the text in its own voice. There is no live voice in this API.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.pipe import Broker, Pipe
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import Delivery, Ready, djiwire, reason
from edge_agent.speakers.live import Live
from edge_agent.speakers.sound import Clip

RATE_HZ = 16_000
REPLY_S = 4.0
STOP_S = 1.0  # for the answer to a stop, where nobody waits for us any more
START_S = 8.0  # download, encoding and upload take 3 to 6 s: after this it plays, or will never say
IDLE_S = 3.0  # beyond the sound's own length, for the report that it is over (every 2 s)


class DjiSpeaker:
    """A result of 0 is `accepted`; progress or state that names our sound is `playing`."""

    rate_hz = RATE_HZ
    best: Proof = "playing"

    def __init__(self, section: config.DjiSpeaker, clock: Clock) -> None:
        self.name, self._section, self._clock = section.name, section, clock
        mqtt = config.Mqtt(
            host=section.host,
            port=section.port,
            version="3.1.1",
            plain=section.ca_file is None,
            ca_file=section.ca_file,
            username=section.username,
            password=section.password,
        )
        self._broker = Broker(mqtt)
        self._percent = 100
        self._stopping = asyncio.Event()

    async def play(self, clip: Clip, announcement: str, /, ready: Ready | None = None) -> Delivery:
        """Start it there, and follow what the device tells of it."""
        if clip.rate_hz != self.rate_hz:
            raise ValueError(f"speaker {self.name} takes {self.rate_hz} samples a second, this clip has {clip.rate_hz}")
        self._stopping.clear()
        pcm = clip.samples.astype("<i2").tobytes()
        async with self._served(pcm) as url, self._talk() as talk:
            if ready is not None:
                await ready()
            if not pcm:
                return Delivery(finished=True, played_s=0.0, proof="accepted")
            name = announcement[-20:]
            index = self._section.psdk_index
            try:
                data = djiwire.audio(index, name, url, pcm) if url else djiwire.tts(index, name, clip.text)
            except ValueError as error:
                raise self._error(str(error)) from None
            if not url and (clip.recorded or not clip.text):
                raise self._error("it speaks texts alone; with `serve` it fetches recordings, too")
            kind = "audio" if url else "tts"
            await talk.ask("speaker_play_volume_set", {"psdk_index": index, "play_volume": self._percent})
            await talk.ask("speaker_play_mode_set", {"psdk_index": index, "play_mode": 0})
            talk.playback = djiwire.Playback(index, (data.get("file") or data["tts"])["md5"])
            try:
                began_s = self._clock.monotonic()
                await talk.ask(f"speaker_{kind}_play_start", data)
                return await self._followed(talk, talk.playback, began_s, clip.duration_s)
            except asyncio.CancelledError:
                with suppress(
                    DriverError, TimeoutError
                ):  # its answer: a connection closed at once may lose the request
                    async with asyncio.timeout(STOP_S):
                        await talk.ask("speaker_play_stop", {"psdk_index": index})
                raise

    async def live(self, _voice: Live, _announcement: str, /, ready: Ready | None = None) -> Delivery:  # noqa: ARG002
        """The cloud API has no way to put a voice through."""
        raise self._error("this make takes no live voice: say a text or a clip, or talk through another speaker")

    async def stop(self) -> None:
        """The running sound is stopped by the device; it does not fade."""
        self._stopping.set()

    async def volume(self, percent: float) -> None:
        """Set before each sound: the dock may be away now."""
        self._percent = round(min(max(percent, 0.0), 100.0))

    async def health(self) -> None:
        """Whether the broker lets us in; a drone in its dock answers nothing."""
        async with self._talk():
            return

    async def _followed(self, talk: Talk, playback: djiwire.Playback, began_s: float, duration_s: float) -> Delivery:
        """Until it is over, as the device says or by the sound's length; or until it is stopped."""
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            if playback.failed:
                raise self._error(playback.failed)
            heard = playback.played is not None
            since_s = playback.played if playback.played is not None else began_s
            patience_s = START_S if not heard else IDLE_S if self._section.aircraft else 0.0
            if playback.over is not None or now - since_s >= duration_s + patience_s:
                proof: Proof = "playing" if heard else "accepted"
                return Delivery(finished=True, played_s=duration_s, proof=proof, first_s=playback.played)
            await talk.news(self._stopping)
        await talk.ask("speaker_play_stop", {"psdk_index": self._section.psdk_index})
        played_s = self._clock.monotonic() - playback.played if playback.played is not None else 0.0
        proof = "playing" if playback.played is not None else "accepted"
        return Delivery(finished=False, played_s=played_s, proof=proof, first_s=playback.played)

    @asynccontextmanager
    async def _talk(self) -> AsyncIterator[Talk]:
        section, wake = self._section, asyncio.Event()
        topics = [djiwire.topic(section.gateway, name) for name in ("services_reply", "events")]
        if section.aircraft is not None:
            topics += [djiwire.topic(section.aircraft, name) for name in ("osd", "state")]
        try:
            pipe = await self._broker.connect(f"edge-agent-{self.name}", topics, wake)
        except DriverError as error:
            raise self._error(str(error)) from None
        try:
            yield Talk(self, pipe, wake, section.gateway, self._clock)
        finally:
            await pipe.close()

    @asynccontextmanager
    async def _served(self, pcm: bytes) -> AsyncIterator[str | None]:
        """A web server for this one file, for as long as it plays; None where no address is configured."""
        if self._section.serve is None:
            yield None
            return
        host, _, port = self._section.serve.rpartition(":")
        path = f"/{hashlib.sha256(pcm).hexdigest()}.pcm"

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.partition(b" ")
                good = rest.startswith(path.encode() + b" ") and method in (b"GET", b"HEAD")
                writer.write(f"HTTP/1.1 {'200 OK' if good else '404 Not Found'}\r\nConnection: close\r\n".encode())
                body = pcm if good else b""
                writer.write(f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n".encode())
                writer.write(body if method == b"GET" else b"")
                await writer.drain()
            writer.close()

        try:
            server = await asyncio.start_server(serve, host, int(port))
        except OSError as error:
            raise self._error(f"serve = {self._section.serve}: {reason(error)}") from None
        async with server:
            yield f"http://{self._section.serve}{path}"

    def _error(self, why: str) -> DriverError:
        return DriverError(f"speaker {self.name}: gateway {self._section.gateway}: {why}")

    def refused(self, method: str, result: object) -> DriverError:
        """The device said no, by a number of its own."""
        return self._error(f"refused {method} (result {result})")

    def silent(self, method: str) -> DriverError:
        """Nothing came back."""
        return self._error(f"no answer to {method} in {REPLY_S:g} s; is the drone on, and its dock at this broker?")


class Talk:
    """One connection to the broker: requests with their answers, and what the device tells meanwhile."""

    def __init__(self, speaker: DjiSpeaker, pipe: Pipe, wake: asyncio.Event, gateway: str, clock: Clock) -> None:
        self._speaker, self._pipe, self._wake = speaker, pipe, wake
        self._gateway, self._clock = gateway, clock
        self._replies: dict[str, Any] = {}
        self.playback: djiwire.Playback | None = None

    def send(self, method: str, data: djiwire.Data) -> str:
        """A request; returns its `tid`."""
        tid, payload = djiwire.request(method, data, round(self._clock.wall() * 1000))
        self._pipe.publish(djiwire.topic(self._gateway, "services"), payload, {})
        return tid

    async def ask(self, method: str, data: djiwire.Data) -> None:
        """A request that must succeed."""
        tid = self.send(method, data)
        until_s = self._clock.monotonic() + REPLY_S
        while tid not in self._replies:
            if self._clock.monotonic() >= until_s:
                raise self._speaker.silent(method)
            await self.news()
        if (result := self._replies.pop(tid)) != 0:
            raise self._speaker.refused(method, result)

    async def news(self, or_this: asyncio.Event | None = None) -> None:
        """Take what has come, or wait for it a little."""
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05 if or_this is not None else 0.2):
                await self._wake.wait()
        self._wake.clear()
        self._pipe.check()
        while self._pipe.messages:
            message = self._pipe.messages.popleft()
            self._take(message.topic, djiwire.read(message.payload))

    def _take(self, topic: str, envelope: dict[str, Any]) -> None:
        name, now = topic.rpartition("/")[2], self._clock.monotonic()
        if name == "services_reply":
            data = envelope.get("data")
            self._replies[str(envelope.get("tid"))] = data.get("result") if isinstance(data, dict) else None
        elif name == "events":
            if (reply := djiwire.confirmation(envelope, round(self._clock.wall() * 1000))) is not None:
                self._pipe.publish(djiwire.topic(self._gateway, "events_reply"), reply, {})
            if self.playback is not None and str(envelope.get("method")).endswith("_play_start_progress"):
                self.playback.progress(envelope, now)
        elif self.playback is not None:
            self.playback.state(envelope, now)
