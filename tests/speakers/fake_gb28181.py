"""A GB/T 28181 device on loopback: it registers with a platform, agrees to broadcasts, and calls for their sound.

Written after GB/T 28181-2016 (9.1 registration, 9.12 voice broadcast, annex D's numbers) and captures of devices that
work with WVP-PRO; it shares no code with the agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import struct

from speakers.fake_devices import Fake, RtpSink

PLATFORM, DEVICE, CHANNEL = "34020000002000000001", "34020000001110000001", "34020000001370000001"


class Gb28181(Fake, asyncio.DatagramProtocol):
    """`media` is how it wants the sound: "udp", "active" (it connects), "passive" (it listens)."""

    codec = "pcma"
    media = "udp"

    async def __aenter__(self) -> Gb28181:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            self.platform = sock.getsockname()
        self.sink = RtpSink(self, 8, reports=False)
        self.media_port = await self.sink.open()
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self.port = self.transport.get_extra_info("sockname")[1]
        self.tasks: set[asyncio.Task[None]] = set()
        self.ssrc = 100000000
        self.in_call, self.cseq, self.challenge, self.registered = False, 0, "", 0
        self.tcp: asyncio.StreamWriter | None = None
        self.server = await asyncio.start_server(self.listen, "127.0.0.1", 0)
        self.spawn(self.keep_registered())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.server.close()
        if self.tcp:
            self.tcp.close()
        self.sink.close()
        self.transport.close()

    def spawn(self, job) -> None:
        task = asyncio.ensure_future(job)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def send(self, first: str, *lines: str, body: str = "", kind: str = "application/sdp") -> None:
        more = [f"Content-Type: {kind}"] if body else []
        text = "\r\n".join([first, *lines, *more, f"Content-Length: {len(body)}", "", body])
        self.transport.sendto(text.encode("gb2312"), self.platform)

    def request(self, method: str, call: str, *more: str, body: str = "", kind: str = "application/sdp") -> None:
        self.cseq += 1
        self.send(
            f"{method} sip:{PLATFORM}@3402000000 SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};rport;branch=z9hG4bK{self.ssrc}{call}{self.cseq}",
            f"From: <sip:{DEVICE}@3402000000>;tag=device",
            f"To: <sip:{PLATFORM}@3402000000>",
            f"Call-ID: {call}",
            f"CSeq: {self.cseq} {method}",
            f"Contact: <sip:{DEVICE}@127.0.0.1:{self.port}>",
            "Max-Forwards: 70",
            *more,
            body=body,
            kind=kind,
        )

    async def keep_registered(self) -> None:
        """Again and again, as the platform may come and go; the second time with the password (RFC 2617, no qop)."""
        while True:
            more = ["Expires: 3600"]
            if self.challenge:
                facts = dict(re.findall(r'(\w+)="?([^",]+)"?', self.challenge.removeprefix("Digest ")))
                uri = f"sip:{PLATFORM}@3402000000"

                def md5(text: str) -> str:
                    return hashlib.md5(text.encode()).hexdigest()

                secret = md5(f"{DEVICE}:{facts['realm']}:{self.password}")
                answer = md5(f"{secret}:{facts['nonce']}:{md5(f'REGISTER:{uri}')}")
                more.append(
                    f'Authorization: Digest username="{DEVICE}", realm="{facts["realm"]}", nonce="{facts["nonce"]}",'
                    f' uri="{uri}", response="{answer}", algorithm=MD5'
                )
                self.challenge = ""
            self.request("REGISTER", "reg", *more)
            await asyncio.sleep(0.02)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        head, _, body = data.decode("gb2312").partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers = {key.lower(): value.strip() for key, value in (line.split(":", 1) for line in lines)}
        self.expect(int(headers["content-length"]) == len(body.encode("gb2312")), "content-length")
        if first.startswith("SIP/2.0 "):
            return self.answered(int(first.split()[1]), headers, body)
        if self.fault in ("mute", "deaf"):
            return None
        method = first.split()[0]
        self.asked.append(method)
        kept = [f"{name}: {headers[name.lower()]}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
        self.send("SIP/2.0 200 OK", *kept)
        if method == "BYE":
            self.expect(self.in_call and headers["call-id"] == "call", "BYE belongs to the call")
            self.expect(not self.sink.last or self.sink.last[0] == self.ssrc, "the SSRC is that of y=")
            self.in_call = False
        elif method == "MESSAGE":
            self.announced(headers, body)
        else:
            self.wrong.append(method)
        return None

    def announced(self, headers: dict[str, str], body: str) -> None:
        self.expect(headers["content-type"] == "Application/MANSCDP+xml", "content-type")
        self.expect(body.startswith('<?xml version="1.0" encoding="GB2312"?>'), "xml")
        self.expect(f"<SourceID>{PLATFORM}</SourceID>" in body, "SourceID")
        self.expect(f"<TargetID>{CHANNEL}</TargetID>" in body and "<CmdType>Broadcast</CmdType>" in body, "TargetID")
        number = re.search(r"<SN>(\d+)</SN>", body)
        result = "<Result>ERROR</Result><Info><Reason>busy</Reason></Info>"
        xml = (
            '<?xml version="1.0" encoding="GB2312"?>\r\n<Response><CmdType>Broadcast</CmdType>'
            f"<SN>{number[1] if number else 0}</SN><DeviceID>{CHANNEL}</DeviceID>"
            f"{result if self.fault == 'busy' else '<Result>OK</Result>'}</Response>"
        )
        self.request("MESSAGE", f"m{self.cseq}", body=xml, kind="Application/MANSCDP+xml")
        if self.fault in ("busy", "silent"):
            return
        self.ssrc += 1
        tcp = self.media != "udp"
        port = self.server.sockets[0].getsockname()[1] if tcp else self.media_port
        sdp = f"v=0\r\no={CHANNEL} 0 0 IN IP4 127.0.0.1\r\ns=Play\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        sdp += f"m=audio {port} {'TCP/' if tcp else ''}RTP/AVP {96 if self.fault == 'ps' else 8}\r\na=recvonly\r\n"
        sdp += f"a=rtpmap:8 PCMA/8000\r\n{f'a=setup:{self.media}' if tcp else ''}\r\na=connection:new\r\n"
        sdp += f"y={self.ssrc:010d}\r\nf=v/////a/1/8/1\r\n"
        self.cseq = 100
        self.request("INVITE", "call", f"Subject: {CHANNEL}:{self.ssrc:010d},{PLATFORM}:0", body=sdp)

    def answered(self, status: int, headers: dict[str, str], body: str) -> None:
        number, method = headers["cseq"].split()
        if method == "REGISTER":
            self.registered += status == 200
            self.challenge = headers.get("www-authenticate", "")
        if method != "INVITE" or status < 200:
            return
        if status >= 300:
            self.asked.append(f"refused {status}")
        elif not self.in_call:
            lines = body.split("\r\n")
            self.expect(f"y={self.ssrc:010d}" in lines and "a=sendonly" in lines, "y=, sendonly")
            found = re.search(r"m=audio (\d+) (TCP/)?RTP/AVP 8", body)
            self.expect(found and bool(found[2]) == (self.media != "udp"), "m=audio")
            roles = {"active": "a=setup:passive", "passive": "a=setup:active", "udp": "a=sendonly"}
            self.expect(roles[self.media] in lines, "setup")
            self.in_call = True
            if self.fault == "no ack":
                return
            if self.media == "active" and found:  # some connect before they acknowledge
                self.spawn(self.connect(int(found[1])))
        self.cseq = int(number) - 1
        self.request("ACK", "call")

    async def connect(self, port: int) -> None:
        reader, self.tcp = await asyncio.open_connection("127.0.0.1", port)
        await self.take(reader)

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tcp = writer
        await self.take(reader)

    async def take(self, reader: asyncio.StreamReader) -> None:
        """RFC 4571: a length of two bytes before each packet."""
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                packet = await reader.readexactly(size)
                self.expect(struct.unpack_from("!I", packet, 8)[0] == self.ssrc, "ssrc")
                self.sink.rtp(packet)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def hang_up(self) -> None:
        self.request("BYE", "call")
