"""Loudspeakers of several makes as real servers on loopback: they check every byte, and share no code with the agent.

`fault` makes one go wrong: "busy", "mute" (takes everything, never answers), "deaf" (connects, then reads nothing),
"stalls" (begins, then takes no sound any more).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import socket
import struct
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime

import numpy as np

USER, PASSWORD = "op", "geheim-42"


def _ulaw(code: int) -> int:
    """G.711, table 2."""
    code ^= 0xFF
    value = (((code & 0xF) * 2 + 33) << ((code >> 4) & 7)) - 33
    return 4 * (-value if code & 0x80 else value)


def _alaw(code: int) -> int:
    """G.711, table 1."""
    code ^= 0x55
    segment, step = (code >> 4) & 7, code & 0xF
    value = step * 2 + 1 if segment == 0 else (step * 2 + 33) << (segment - 1)
    return 8 * (value if code & 0x80 else -value)


TABLES = {"pcmu": np.array([_ulaw(c) for c in range(256)]), "pcma": np.array([_alaw(c) for c in range(256)])}


class Fake:
    """What all of them have: what was heard, what was asked, what was wrong."""

    codec = "pcmu"
    skips = 0  # samples of silence that a device adds

    def __init__(self) -> None:
        self.fault = ""
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.heard = b""
        self.plays = 0
        self.password = PASSWORD

    def expect(self, true: object, what: str) -> None:
        if not true:
            self.wrong.append(what)

    def samples(self) -> np.ndarray:
        return TABLES[self.codec][np.frombuffer(self.heard, np.uint8)]


class Nonces:
    """Digest as RFC 2617 describes it, at the server's end: each nonce count once, and rising."""

    def __init__(self, fake: Fake, realm: str = "device") -> None:
        self.fake, self.realm = fake, realm
        self.counts: dict[str, int] = {}

    @property
    def challenge(self) -> str:
        nonce = f"n0nce+/={len(self.counts)}"
        self.counts[nonce] = 0
        return f'Digest realm="{self.realm}", nonce="{nonce}", algorithm=MD5, qop="auth", opaque="0paque"'

    def good(self, method: str, uri: str, header: str) -> bool:
        facts = dict(re.findall(r'(\w+)="?([^",]+)"?', header.removeprefix("Digest ")))

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        if int(facts.get("nc", "0"), 16) <= self.counts.get(facts.get("nonce", ""), 2**31):
            return False
        self.counts[facts["nonce"]] = int(facts["nc"], 16)
        secret = md5(f"{USER}:{self.realm}:{self.fake.password}")
        tail = f"{facts['nonce']}:{facts['nc']}:{facts['cnonce']}:auth:{md5(f'{method}:{uri}')}"
        self.fake.expect(facts.get("uri") == uri, f"digest uri {facts.get('uri')} is not {uri}")
        self.fake.expect(facts.get("opaque") == "0paque", "opaque is not given back")
        return facts.get("username") == USER and facts.get("response") == md5(f"{secret}:{tail}")


class Http(Fake):
    """A web server with digest; each make answers `serve`."""

    scheme = "http"

    async def __aenter__(self) -> Http:
        self.nonces = Nonces(self)
        self.tasks: set[asyncio.Task[None]] = set()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # a small device, that stalls soon
        sock.bind(("127.0.0.1", 0))
        self.server = await asyncio.start_server(self._accept, sock=sock, limit=4096)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        try:
            if self.fault == "deaf":
                await asyncio.sleep(30)
            await self.handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.tasks.discard(task)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, path, version = first.split(" ")
        headers = {key.lower(): value.strip() for key, value in (line.split(":", 1) for line in lines)}
        self.expect(version == "HTTP/1.1", version)
        self.expect(headers.get("host") == f"127.0.0.1:{self.port}", "host")
        self.expect(self.password not in head, "the password is sent in clear")
        if not self.let_in(method, path, headers):
            self.reply(writer, 401, headers=self.refusal())
        else:
            self.asked.append(f"{method} {path}")
            await self.serve(method, path, headers, reader, writer)
        await writer.drain()
        if self.fault == "mute":
            await asyncio.sleep(30)

    def let_in(self, method: str, path: str, headers: dict[str, str]) -> bool:
        return self.nonces.good(method, path, headers.get("authorization", ""))

    def refusal(self) -> dict[str, str]:
        return {"WWW-Authenticate": self.nonces.challenge}

    def reply(
        self, writer: asyncio.StreamWriter, status: int, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        if self.fault == "mute":
            return
        lines = [
            f"HTTP/1.1 {status} x",
            f"Content-Length: {len(body)}",
            *(f"{k}: {v}" for k, v in (headers or {}).items()),
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def serve(self, method, path, headers, reader, writer) -> None:
        raise NotImplementedError

    async def listen(self, reader: asyncio.StreamReader, size: int | None = None) -> None:
        """Take a body as it comes; a pause of a second ends it, as Audio.ReceiverTimeout does on Axis."""
        self.heard, self.plays = b"", self.plays + 1
        if self.fault == "stalls":
            await asyncio.sleep(30)
        while size is None or len(self.heard) < size:
            try:
                data = await asyncio.wait_for(reader.read(4096), 1)
            except TimeoutError:
                break
            if not data:
                break
            self.heard += data


class Keeps(Http):
    """A device that stores WAV files, and plays them by number: what was heard is then 16-bit PCM."""

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[int, tuple[str, bytes]] = {}
        self.full = False
        self.stored = False  # what was played last came from the store
        self.timer: asyncio.Task[None] | None = None

    def samples(self) -> np.ndarray:
        return np.frombuffer(self.heard, "<i2") if self.stored else super().samples()

    async def listen(self, reader: asyncio.StreamReader, size: int | None = None) -> None:
        self.stored = False
        await super().listen(reader, size)

    async def form(self, headers: dict[str, str], reader: asyncio.StreamReader) -> dict[str, bytes]:
        """RFC 7578: the parts by their names."""
        body = await reader.readexactly(int(headers["content-length"]))
        boundary = headers["content-type"].removeprefix("multipart/form-data; boundary=").encode()
        self.expect(body.endswith(b"--" + boundary + b"--\r\n"), "the last boundary")
        parts = {}
        for part in body.split(b"--" + boundary + b"\r\n")[1:]:
            head, _, data = part.partition(b"\r\n\r\n")
            name = re.search(rb'name="(\w+)"', head)
            parts[name[1].decode() if name else ""] = data.split(b"\r\n--" + boundary)[0].removesuffix(b"\r\n")
        return parts

    def keep(self, name: str, wav: bytes) -> int:
        self.expect(wav[:4] == b"RIFF" and wav[8:16] == b"WAVEfmt " and wav[20:24] == b"\1\0\1\0", "PCM, mono")
        self.expect(int.from_bytes(wav[40:44], "little") == len(wav) - 44, "WAV length")
        number = max(self.store, default=0) + 1
        self.store[number] = (name, wav)
        return number

    def play(self, number: int, volume: int) -> None:
        wav = self.store[number][1]
        self.heard = (np.frombuffer(wav[44:], "<i2") * (volume / 100)).astype("<i2").tobytes()
        self.stored, self.plays = True, self.plays + 1
        self.timer = asyncio.create_task(self.until_over(len(wav) / 2 / int.from_bytes(wav[24:28], "little")))
        self.tasks.add(self.timer)

    async def until_over(self, seconds: float) -> None:
        self.tell(True)
        await asyncio.sleep(seconds)
        self.tell(False)

    def stop(self) -> None:
        if self.timer:
            self.timer.cancel()
        self.heard = b""
        self.tell(False)

    def tell(self, playing: bool) -> None:
        """Events, where the make has them."""


class Axis(Keeps):
    """VAPIX: transmit.cgi wants raw mu-law and exactly Content-Length bytes, then it answers; clips, events, tests."""

    def __init__(self) -> None:
        super().__init__()
        self.tested = {"SpeakerTestStatus": "Uncalibrated", "TestTimestamp": "", "CalibrationTimestamp": ""}
        self.events: asyncio.StreamWriter | None = None

    async def serve(self, method, path, headers, reader, writer) -> None:
        if path == "/axis-cgi/param.cgi?action=list&group=Properties.Audio":
            self.expect(method == "GET", "param.cgi is a GET")
            return self.reply(writer, 200, b"root.Properties.Audio.Decoder.Format=g711,axis-mulaw-128,g726,opus\n")
        if path != "/axis-cgi/audio/transmit.cgi":
            return await self.clip(method, path, headers, reader, writer)
        self.expect(method == "POST", f"{method} {path}")
        if self.fault == "busy":
            return self.reply(writer, 503)
        self.expect(headers.get("content-type") in ("audio/basic", "audio/axis-mulaw-128"), "content-type")
        size = int(headers["content-length"])
        await self.listen(reader, size)
        if len(self.heard) == size and self.fault != "closes":  # else it closes without an answer
            self.reply(writer, 200)
        return None

    async def clip(self, method, path, headers, reader, writer) -> None:
        """The media clip API, the event stream, the auto speaker test service: their documents' own examples."""
        if path == "/axis-cgi/param.cgi?action=list&group=MediaClip":
            rows = [f"root.MediaClip.M{n}.Name={name}\n" for n, (name, _) in self.store.items()]
            return self.reply(writer, 200, "".join(rows).encode())
        if found := re.fullmatch(r"/axis-cgi/mediaclip\.cgi\?action=upload&media=audio&name=([\w-]+)", path):
            parts = await self.form(headers, reader)
            if self.full:
                return self.reply(writer, 200, b"Error: no space left\n")
            return self.reply(writer, 200, f"OK\nuploaded={self.keep(found[1], parts['file'])}\n".encode())
        if found := re.fullmatch(r"/axis-cgi/mediaclip\.cgi\?action=remove&clip=(\d+)", path):
            del self.store[int(found[1])]
            return self.reply(writer, 200, b"OK\n")
        if found := re.fullmatch(r"/axis-cgi/playclip\.cgi\?clip=(\d+)&repeat=0&volume=(\d+)", path):
            self.play(int(found[1]), int(found[2]))
            return self.reply(writer, 200, f"OK\nplaying={found[1]}\n".encode())
        if path == "/axis-cgi/stopclip.cgi":
            self.stop()
            return self.reply(writer, 200, b"OK\n")
        if path == "/vapix/axast":
            asked = json.loads(await reader.readexactly(int(headers["content-length"])))
            if "axast:PerformSpeakerTest" in asked:
                self.tested = {**self.tested, "SpeakerTestStatus": "OK", "TestTimestamp": f"{self.date()}"}
                return self.reply(writer, 200, b"{}")
            self.expect(asked == {"axast:GetSpeakerTestReport": {}}, f"{asked}")
            return self.reply(writer, 200, json.dumps({"SpeakerTestReport": self.tested}).encode())
        self.expect((method, path) == ("GET", "/vapix/ws-data-stream?sources=events"), path)
        if self.fault == "old":
            return self.reply(writer, 404)
        return await self.stream(headers, reader, writer)

    @staticmethod
    def date() -> str:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def stream(self, headers, reader, writer) -> None:
        """RFC 6455: the key with its GUID hashed; a client's frames are masked, ours are not."""
        self.expect(headers["upgrade"] == "websocket" and headers["connection"] == "Upgrade", "upgrade")
        self.expect(headers["sec-websocket-version"] == "13", "version")
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        proof = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + guid).encode()).digest()).decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {proof}\r\n\r\n".encode()
        )
        head = await reader.readexactly(2)
        self.expect(head[0] == 0x81 and head[1] & 0x80, "a masked text frame")
        size = head[1] & 0x7F
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        mask, data = await reader.readexactly(4), await reader.readexactly(size)
        asked = json.loads(bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
        self.expect(
            asked["params"] == {"eventFilterList": [{"topicFilter": "tnsaxis:MediaClip/tnsaxis:Playing"}]}, "filter"
        )
        self.events = writer
        self.event({"apiVersion": "1.0", "method": "events:configure", "data": {}})
        await reader.read()
        self.events = None

    def event(self, body: dict) -> None:
        data = json.dumps(body).encode()
        assert self.events
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2, "big")
        self.events.write(b"\x81" + size + data)

    def tell(self, playing: bool) -> None:
        if self.events is None or self.fault == "silent":
            return
        message = {
            "source": {"audiodeviceid": "0", "audiooutputid": "0"},
            "key": {},
            "data": {"Playing": f"{playing:d}"},
        }
        notification = {"topic": "tnsaxis:MediaClip/Playing", "timestamp": 1668087150446, "message": message}
        self.event({"apiVersion": "1.0", "method": "events:notify", "params": {"notification": notification}})


class Hikvision(Keeps):
    """ISAPI: one session at a time, and it blocks the next until it is closed; an IP speaker's store of clips."""

    CLIPS = "/ISAPI/AccessControl/EventCardLinkageCfg/CustomAudio"

    codec = "pcma"
    BASE = "/ISAPI/System/TwoWayAudio/channels"

    def __init__(self) -> None:
        super().__init__()
        self.session = True  # somebody forgot to close theirs

    async def serve(self, method, path, headers, reader, writer) -> None:
        ok = b"<ResponseStatus><statusCode>1</statusCode><statusString>OK</statusString></ResponseStatus>"
        match method, path:
            case "GET", "/ISAPI/System/deviceInfo":
                self.reply(writer, 200, b"<DeviceInfo><deviceName>horn</deviceName></DeviceInfo>")
            case "GET", self.BASE:
                one = "<TwoWayAudioChannel version='2.0'><id>1</id><enabled>true</enabled>"
                one += "<audioCompressionType>G.711alaw</audioCompressionType></TwoWayAudioChannel>"
                xml = f'<TwoWayAudioChannelList xmlns="http://www.hikvision.com/ver20/XMLSchema">{one}</TwoWayAudioChannelList>'
                self.reply(writer, 200, xml.encode())
            case "PUT", str(p) if p == f"{self.BASE}/1/close":
                self.reply(writer, 200 if self.session else 403, ok)
                self.session = False
            case "PUT", str(p) if p == f"{self.BASE}/1/open":
                if self.fault == "busy" or self.session:
                    return self.reply(writer, 503, b"<ResponseStatus><statusCode>2</statusCode></ResponseStatus>")
                self.session = True
                self.reply(writer, 200, b"<TwoWayAudioSession><sessionId>s-7</sessionId></TwoWayAudioSession>")
            case "PUT", str(p) if p == f"{self.BASE}/1/audioData?sessionId=s-7":
                self.expect(headers.get("content-length") == "0", "content-length is 0")
                self.expect(headers.get("content-type") == "application/octet-stream", "content-type")
                self.expect(self.session, "data without a session")
                await self.listen(reader)
            case _ if path.startswith(self.CLIPS):
                await self.clip(method, path, headers, reader, writer)
            case _:
                self.wrong.append(f"{method} {path}")
                self.reply(writer, 404)
        return None

    async def clip(self, method, path, headers, reader, writer) -> None:
        """As the web pages of a DS-QA speaker ask: JSON, and an upload of two parts."""
        rest = path.removeprefix(self.CLIPS)
        if (method, rest) == ("GET", "?format=json"):
            rows = [{"customAudioID": n, "customAudioName": name} for n, (name, _) in self.store.items()]
            return self.reply(writer, 200, json.dumps({"CustomAudioInfoList": rows}).encode())
        if (method, rest) == ("POST", "?format=json"):
            parts = await self.form(headers, reader)
            info = json.loads(parts["CustomAudioInfo"])["CustomAudioInfo"]
            self.expect(info["audioFileFormat"] == "wav" and info["audioFileSize"] == len(parts["audioData"]), "info")
            if self.full:
                return self.reply(writer, 403, b'{"statusCode": 4}')
            number = self.keep(info["customAudioName"], parts["audioData"])
            return self.reply(writer, 200, json.dumps({"statusCode": 1, "customAudioID": number}).encode())
        found = re.fullmatch(r"/(\d+)/(play|stop)\?format=json", rest)
        self.expect(found and method == "PUT", f"{method} {path}")
        if found and found[2] == "play":
            asked = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.expect(asked["audioOutID"] == [1] and 1 <= asked["audioVolume"] <= 100, f"{asked}")
            self.play(int(found[1]), asked["audioVolume"])
        else:
            self.stop()
        return self.reply(writer, 200, b'{"statusCode": 1, "statusString": "OK"}')


class Dahua(Http):
    """audio.cgi: takes all, answers nothing; an early answer is a refusal."""

    codec = "pcma"

    async def serve(self, method, path, headers, reader, writer) -> None:
        if (method, path) == ("GET", "/cgi-bin/devAudioOutput.cgi?action=getCollect"):
            return self.reply(writer, 200, b"result=1\n")
        many = "httptype=multipart" in path
        kind = "multipart" if many else "singlepart"
        self.expect((method, path) == ("POST", f"/cgi-bin/audio.cgi?action=postAudio&httptype={kind}&channel=1"), path)
        content_type = headers.get("content-type", "")
        self.boundary = content_type.removeprefix("multipart/x-mixed-replace; boundary=") if many else ""
        self.expect(self.boundary if many else content_type == "Audio/G.711A", f"content-type {content_type}")
        self.expect(headers.get("content-length") == "9999999", "content-length")
        if self.fault == "busy":
            return self.reply(writer, 503)
        await self.listen(reader)
        return None

    def parts(self) -> list[bytes]:
        """The bodies of a multipart message, each as long as its header says."""
        found, rest = [], self.heard
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            size = re.fullmatch(rb"--(\w+)\r\nContent-Type: Audio/AAC\r\nContent-Length: (\d+)", head)
            assert size, head
            self.expect(size[1].decode() == self.boundary, "boundary")
            found.append(rest[: int(size[2])])
            self.expect(rest[int(size[2]) : int(size[2]) + 2] == b"\r\n", "the end of a part")
            rest = rest[int(size[2]) + 2 :]
        return found


class RtpSink(asyncio.DatagramProtocol):
    """Two ports that take RTP and RTCP, and report what they have if asked to."""

    def __init__(self, fake: Fake, payload_type: int = 0, *, reports: bool = True, lies: bool = False) -> None:
        self.fake, self.payload_type, self.reports, self.lies = fake, payload_type, reports, lies
        self.last: tuple[int, int] | None = None  # ssrc, seq
        self.farewells = 0

    async def open(self) -> int:
        """Two neighbouring ports; the even one is returned."""
        loop = asyncio.get_running_loop()
        while True:
            media, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
            try:
                media.bind(("127.0.0.1", 0))
                port = media.getsockname()[1]
                if port % 2 == 0:
                    rtcp.bind(("127.0.0.1", port + 1))
                    break
            except OSError:
                pass
            media.close()
            rtcp.close()
        self.media, _ = await loop.create_datagram_endpoint(lambda: self, sock=media)
        self.rtcp, _ = await loop.create_datagram_endpoint(lambda: Rtcp(self), sock=rtcp)
        return port

    def close(self) -> None:
        self.media.close()
        self.rtcp.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.rtp(data)

    def rtp(self, data: bytes) -> None:
        first, second, seq, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
        marked, kind = second >> 7, second & 0x7F
        new = self.last is None or self.last[0] != ssrc
        self.fake.expect(first == 0x80 and kind == self.payload_type, f"header {first:#x} {kind}")
        self.fake.expect(marked == new, "the marker begins a stream, and nothing else")
        self.fake.expect(new or seq == (self.last[1] + 1) & 0xFFFF, "a hole in the sequence")
        if new:
            self.fake.heard, self.start, self.fake.plays = b"", timestamp, self.fake.plays + 1
        expected = (self.start + len(self.fake.heard)) & 0xFFFFFFFF
        self.fake.expect(timestamp == expected or len(data) != 172, "timestamp")
        self.last = (ssrc, seq)
        self.fake.heard += data[12:]

    def report(self) -> bytes:
        """RFC 3550, 6.4.2: one block, nothing lost."""
        assert self.last
        ssrc, seq = self.last
        return struct.pack("!BBHIIIIIII", 0x81, 201, 7, 0xAA, ssrc, 0, seq + 1000 if self.lies else seq, 0, 0, 0)


class Rtcp(asyncio.DatagramProtocol):
    """The odd port."""

    def __init__(self, sink: RtpSink) -> None:
        self.sink = sink

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        fake = self.sink.fake
        fake.expect(data[0] in (0x80, 0x81) and data[1] in (200, 201), "RTCP begins with a report")
        if b"\xcb\x00\x01" in data:
            self.sink.farewells += 1
        if data[1] == 200:
            count, octets = struct.unpack_from("!II", data, 20)
            fake.expect(octets == 160 * count or self.sink.payload_type not in (0, 8), "octets of the sender report")
            if self.sink.reports and self.sink.last:
                self.transport.sendto(self.sink.report(), addr)


class Rtp(Fake):
    """A speaker that listens to RTP and sends reports."""

    async def __aenter__(self) -> Rtp:
        self.sink = RtpSink(self)
        self.port = await self.sink.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sink.close()


class Algo(Http):
    """The REST API wants an HMAC over a clock of its own; RTP comes beside."""

    offset_s = 0.0

    async def __aenter__(self) -> Algo:
        await super().__aenter__()
        self.sink = RtpSink(self, reports=False)
        self.rtp_port = await self.sink.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sink.close()
        await super().__aexit__()

    def now(self) -> float:
        import time

        return time.time() + self.offset_s

    def refusal(self) -> dict[str, str]:
        return {"Date": formatdate(self.now(), usegmt=True)}

    def let_in(self, method: str, path: str, headers: dict[str, str]) -> bool:
        try:
            user, nonce, mac = headers["authorization"].removeprefix("hmac ").split(":")
            stamp = int(parsedate_to_datetime(headers["date"]).timestamp())
        except (KeyError, ValueError):
            return False
        want = hmac.new(self.password.encode(), f"{method}:{path}:{stamp}:{nonce}".encode(), hashlib.sha256)
        return user == USER and abs(stamp - self.now()) <= 30 and mac == want.hexdigest()

    async def serve(self, method, path, headers, reader, writer) -> None:
        self.expect((method, path) == ("GET", "/api/info/status"), f"{method} {path}")
        if self.fault == "busy":
            return self.reply(writer, 503)
        playing = len(self.heard) > 0 and self.fault != "silent"
        self.reply(writer, 200, json.dumps({"Current Action": "Multicast" if playing else "Idle"}).encode())
        return None


class Onvif(Http):
    """An RTSP server with a backchannel; digest; interleaved."""

    scheme = "rtsp"
    SDP = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=stream\r\nt=0 0\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\na=recvonly\r\n"
        "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:trackID=1\r\na=recvonly\r\n"
    )
    BACK = (
        "m=audio 0 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=control:trackID=2\r\na=sendonly\r\n"
    )
    codec = "pcma"

    async def __aenter__(self) -> Onvif:
        await super().__aenter__()
        self.url += "/live"
        self.sink = RtpSink(self, 8)
        return self

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        playing = False
        while first := await reader.readexactly(1):
            if first == b"$":
                channel, size = struct.unpack("!BH", await reader.readexactly(3))
                data = await reader.readexactly(size)
                self.expect(playing, "sound before PLAY was answered")
                if channel == 0:
                    self.sink.rtp(data)
                    if len(self.heard) % 800 == 0 and self.fault != "silent":
                        writer.write(struct.pack("!cBH", b"$", 1, 32) + self.sink.report())
                continue
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            method, url, version = request.split(" ")
            headers = {key.lower(): value.strip() for key, value in (line.split(":", 1) for line in lines)}
            self.expect(version == "RTSP/1.0", version)
            facts = [f"CSeq: {headers['cseq']}"]
            status, body = 200, ""
            if not self.nonces.good(method, url, headers.get("authorization", "")):
                status = 401
                facts.append(f"WWW-Authenticate: {self.nonces.challenge}")
            else:
                self.asked.append(f"{method} {url}")
                back = headers.get("require") == "www.onvif.org/ver20/backchannel"
                self.expect(back or method == "TEARDOWN", f"{method} without Require")
                match method:
                    case "DESCRIBE":
                        body = self.SDP + (self.BACK if back and self.fault != "none" else "")
                        facts += [f"Content-Base: {self.url}/", "Content-Type: application/sdp"]
                    case "SETUP":
                        self.expect(url == f"{self.url}/trackID=2", url)
                        self.expect(headers["transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1", "transport")
                        status = 453 if self.fault == "busy" else 200
                        facts += ["Session: 77;timeout=60", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
                    case "PLAY":
                        self.expect(headers.get("session") == "77", "session")
                        playing = True
            if self.fault == "mute":
                continue
            writer.write(
                "\r\n".join([f"RTSP/1.0 {status} x", *facts, f"Content-Length: {len(body)}", "", body]).encode()
            )
            await writer.drain()
            if method == "TEARDOWN" and status == 200:
                return


class Sip(Fake, asyncio.DatagramProtocol):
    """A SIP speaker that answers by itself, behind a password."""

    async def __aenter__(self) -> Sip:
        self.nonces = Nonces(self)
        self.in_call = False
        self.acknowledged = 0
        self.media_host = "127.0.0.1"
        self.registrations: list[int] = []
        self.least_s, self.registered = 0, False
        self.sink = RtpSink(self)
        self.media_port = await self.sink.open()
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self.port = self.transport.get_extra_info("sockname")[1]
        self.uri = f"sip:horn@127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sink.close()
        self.transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        head, _, body = data.decode().partition("\r\n\r\n")
        request, *lines = head.split("\r\n")
        if request.startswith("SIP/2.0 "):
            self.expect(request == "SIP/2.0 200 OK", request)  # to our BYE
            return
        method, uri, version = request.split(" ")
        headers = {key.lower(): value.strip() for key, value in (line.split(":", 1) for line in lines)}
        if self.fault in ("mute", "deaf"):
            return
        self.expect(version == "SIP/2.0", version)
        self.expect(int(headers["content-length"]) == len(body.encode()), "content-length")
        self.expect(
            headers["via"].startswith(f"SIP/2.0/UDP 127.0.0.1:{addr[1]};") and "z9hG4bK" in headers["via"], "via"
        )
        self.expect(headers["max-forwards"] == "70" and headers["cseq"].endswith(f" {method}"), "max-forwards, cseq")
        if method == "ACK":
            self.acknowledged += 1
            return
        self.asked.append(f"{method} {uri}")

        def reply(status: int, *more: str, text: str = "") -> None:
            kept = [f"{name}: {headers[name.lower()]}" for name in ("Via", "From", "Call-ID", "CSeq")]
            to = f"To: {headers['to']}" + ("" if "tag=" in headers["to"] or status == 100 else ";tag=peer")
            lines = [f"SIP/2.0 {status} x", *kept, to, *more, f"Content-Length: {len(text)}", "", text]
            self.transport.sendto("\r\n".join(lines).encode(), addr)

        match method:
            case "INVITE" | "OPTIONS" | "REGISTER" if not self.nonces.good(
                method, uri, headers.get("authorization", "")
            ):
                reply(401, f"WWW-Authenticate: {self.nonces.challenge}")
            case "OPTIONS":
                reply(200)
            case "REGISTER":
                self.register(uri, headers, reply)
            case "INVITE":
                self.invited(headers, body, reply, addr)
            case "BYE":
                self.expect(self.in_call and headers["to"].endswith("tag=peer"), "BYE belongs to the call")
                self.in_call = False
                reply(200)
            case "CANCEL":
                reply(200)
            case _:
                self.wrong.append(method)

    def register(self, uri: str, headers: dict[str, str], reply) -> None:
        """RFC 3261, 10.2 and 10.3: the domain in the request line, From and To alike, Min-Expires where it is brief."""
        at = f"127.0.0.1:{self.port}"
        self.expect(uri == f"sip:{at}", f"REGISTER {uri}")
        self.expect(headers["to"] == f"<sip:{USER}@{at}>", "To is who registers")
        self.expect(headers["from"].startswith(f"<sip:{USER}@{at}>;tag="), "From is who registers")
        self.expect(re.fullmatch(r"<sip:[^@]+@127\.0\.0\.1:\d+>", headers["contact"]), "Contact")
        asked_s = int(headers["expires"])
        if 0 < asked_s < self.least_s:
            return reply(423, f"Min-Expires: {self.least_s}")
        self.registrations.append(asked_s)
        self.registered = asked_s > 0
        return reply(200, f"Contact: {headers['contact']};expires={asked_s}")

    def hang_up(self) -> None:
        headers, addr = self.caller
        lines = [
            f"BYE {headers['contact'].strip('<>')} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bKbye",
            f"From: {headers['to']};tag=peer",
            f"To: {headers['from']}",
            f"Call-ID: {headers['call-id']}",
            "CSeq: 1 BYE",
            "Content-Length: 0",
        ]
        self.transport.sendto("\r\n".join([*lines, "", ""]).encode(), addr)

    def invited(self, headers: dict[str, str], body: str, reply, addr: tuple[str, int]) -> None:
        lines = body.split("\r\n")
        self.expect("answer-after=0" in headers.get("call-info", ""), "call-info")
        self.expect("alert-autoanswer" in headers.get("alert-info", ""), "alert-info")
        self.expect(headers.get("content-type") == "application/sdp", "content-type")
        self.expect("c=IN IP4 127.0.0.1" in lines and "a=ptime:20" in lines, "sdp")
        self.expect(any(re.fullmatch(r"m=audio \d+ RTP/AVP 0 8", line) for line in lines), "m=audio")
        reply(100)
        if self.fault == "busy":
            return reply(486)
        if self.fault == "rings":
            return reply(180)
        self.in_call, self.caller = True, (headers, addr)
        sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n"
        sdp += f"c=IN IP4 {self.media_host}\r\nt=0 0\r\nm=audio {self.media_port} RTP/AVP 0\r\n"
        return reply(200, f"Contact: <{self.uri}>", "Content-Type: application/sdp", text=sdp)
