"""A DJI dock with a loudspeaker under its drone, and the MQTT 3.1.1 broker between it and us: one server on loopback.

The dock's messages are those of DJI's cloud API (dock 3, "PSDK Function", and the aircraft's properties); the packets
those of the OASIS standard MQTT 3.1.1 (section 3). It shares no code with the agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import urllib.parse

import numpy as np
from speakers.fake_devices import USER, Fake

GATEWAY, AIRCRAFT = "7CTDM3D00BVY4Z", "1581F6Q8D23AK00A5N49"
CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 0x10, 0x30, 0x40, 0x82, 0xC0, 0xE0


def utf8(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def packet(kind: int, body: bytes) -> bytes:
    """A fixed header with its length in groups of seven bits (2.2.3)."""
    size, length = len(body), b""
    while True:
        size, low = divmod(size, 128)
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([kind]) + length + body


class Dji(Fake):
    """`fault`: "mute" answers nothing, "refuses" answers 1, "breaks" fails at the upload, "quiet" tells no progress."""

    async def __aenter__(self) -> Dji:
        self.volume, self.text, self.pcm = 100, "", b""
        self.confirmed: list[str] = []
        self.topics: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.playing: asyncio.Task[None] | None = None
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def samples(self) -> np.ndarray:
        return (np.frombuffer(self.heard, "<i2") * (self.volume / 100)).astype(np.int16)

    # --- the broker ---------------------------------------------------------------------------------------------------

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.spawn(self.serve(reader, writer))

    def spawn(self, job) -> asyncio.Task[None]:
        task = asyncio.ensure_future(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind = (await reader.readexactly(1))[0]
                size = shift = 0
                while True:
                    (more,) = await reader.readexactly(1)
                    size |= (more & 127) << shift
                    shift += 7
                    if more < 128:
                        break
                body = await reader.readexactly(size)
                if kind == CONNECT:
                    self.expect(body.startswith(b"\x00\x04MQTT\x04"), "MQTT 3.1.1")
                    good = utf8(USER) + utf8(self.password) in body
                    writer.write(b"\x20\x02\x00" + (b"\x00" if good else b"\x05"))  # 3.2.2.3: 5 is not authorised
                    self.writer = writer
                elif kind == SUBSCRIBE:
                    self.topics, at = [], 2
                    while at < len(body):
                        length = int.from_bytes(body[at : at + 2], "big")
                        self.topics.append(body[at + 2 : at + 2 + length].decode())
                        at += 3 + length
                    writer.write(packet(0x90, body[:2] + b"\x01" * len(self.topics)))
                elif kind & 0xF0 == PUBLISH:
                    length = int.from_bytes(body[:2], "big")
                    writer.write(packet(PUBACK, body[2 + length : 4 + length]))
                    self.published(body[2 : 2 + length].decode(), json.loads(body[4 + length :]))
                elif kind == PINGREQ:
                    writer.write(b"\xd0\x00")
                elif kind == DISCONNECT:
                    return
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def tell(self, topic: str, body: dict[str, object]) -> None:
        if topic in self.topics and not self.writer.is_closing():
            self.writer.write(packet(PUBLISH, utf8(topic) + json.dumps(body).encode()))

    # --- the dock -----------------------------------------------------------------------------------------------------

    def published(self, topic: str, asked: dict) -> None:
        if topic == f"thing/product/{GATEWAY}/events_reply":
            self.confirmed.append(asked["method"])
            return self.expect(asked["data"] == {"result": 0}, "events_reply")
        self.expect(topic == f"thing/product/{GATEWAY}/services", topic)
        self.expect({"bid", "tid", "timestamp", "method", "data"} <= set(asked), "envelope")
        self.expect(abs(asked["timestamp"] - time.time() * 1000) < 60_000, "timestamp in ms")
        method, data = asked["method"], asked["data"]
        self.expect(data["psdk_index"] == 2, "psdk_index")
        self.asked.append(method)
        if self.fault == "mute":
            return None
        reply = {key: asked[key] for key in ("bid", "tid", "timestamp", "method")}
        result = 1 if self.fault == "refuses" else 0
        self.tell(f"thing/product/{GATEWAY}/services_reply", {**reply, "gateway": GATEWAY, "data": {"result": result}})
        match method:
            case "speaker_play_volume_set":
                self.volume = data["play_volume"]
                self.expect(0 <= self.volume <= 100, "play_volume")
            case "speaker_play_mode_set":
                self.expect(data["play_mode"] == 0, "once")
            case "speaker_play_stop":
                if self.playing:
                    self.playing.cancel()
                self.heard = b""
                self.state(0, "")
            case "speaker_audio_play_start" if not result:
                self.playing = self.spawn(self.play(asked, data["file"]))
            case "speaker_tts_play_start" if not result:
                tts = data["tts"]
                self.expect(tts["md5"] == hashlib.md5(tts["text"].encode()).hexdigest(), "md5 of the text")
                self.text = tts["text"]
                self.playing = self.spawn(self.play(asked, tts))
            case _:
                self.expect(result, method)
        return None

    async def play(self, asked: dict, what: dict) -> None:
        pcm = b""
        if "url" in what:
            self.expect(what["format"] == "pcm", "format")
            pcm = await self.fetch(what["url"])
            self.expect(hashlib.md5(pcm).hexdigest() == what["md5"], "md5 of the file")
        for step in ("change_work_mode", "upload"):
            self.progress(asked, what["md5"], step, "in_progress")
            await asyncio.sleep(0)
        if self.fault == "breaks":
            return self.progress(asked, what["md5"], "upload", "in_progress", result=325005)
        self.heard, self.plays = pcm, self.plays + 1
        self.progress(asked, what["md5"], "play", "success")
        self.state(2, what["md5"])
        await asyncio.sleep(len(pcm) / 32000)
        return self.state(0, "")

    async def fetch(self, url: str) -> bytes:
        parts = urllib.parse.urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
        writer.close()
        self.expect(head.startswith(b"HTTP/1.1 200 OK\r\n"), "GET")
        self.expect(f"Content-Length: {len(body)}\r\n".encode() in head, "Content-Length")
        return body

    def progress(self, asked: dict, md5: str, step: str, status: str, result: int = 0) -> None:
        if self.fault == "quiet":
            return
        output = {"psdk_index": 2, "status": status, "md5": md5, "progress": {"percent": 100, "step_key": step}}
        method = asked["method"] + "_progress"
        head = {"bid": asked["bid"], "tid": asked["tid"], "timestamp": 1, "gateway": GATEWAY, "need_reply": 1}
        body = {**head, "method": method, "data": {"result": result, "output": output}}
        self.tell(f"thing/product/{GATEWAY}/events", body)

    def state(self, state: int, md5: str) -> None:
        if self.fault == "quiet":
            return
        speaker = {"work_mode": 1, "play_mode": 0, "play_volume": self.volume, "system_state": state}
        widget = {"psdk_index": 2, "speaker": {**speaker, "play_file_name": "x", "play_file_md5": md5}}
        body = {"bid": "b", "tid": "t", "timestamp": 1, "data": {"psdk_widget_values": [widget]}}
        self.tell(f"thing/product/{AIRCRAFT}/state", body)
