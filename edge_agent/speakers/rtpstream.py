"""One RTP stream that we send, with its RTCP: what was sent, and what the far end says of it (RFC 3550)."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

from edge_agent.messages import Proof
from edge_agent.runtime import Clock
from edge_agent.speakers import rtpwire
from edge_agent.speakers.codecs import Encoder
from edge_agent.speakers.paced import Line
from edge_agent.speakers.sound import Pcm

REPORT_S = 1.0  # between our reports; shorter than the RFC's 5 s, so that a short warning is confirmed too
ANSWER_S = 0.4  # at the end, for the far end's last word
MOST_LOST = 0.03
BEHIND = 25  # packets that a report may be behind what was sent last: its interval is the receiver's affair


class RtpStream:
    """The bytes of one stream, and the judgement of its reports. Pure but for its clock."""

    def __init__(self, encoder: Encoder, clock: Clock, rng: random.Random) -> None:
        self.encoder = encoder
        self._clock = clock
        self.ssrc, self._seq, self._timestamp = (rng.getrandbits(bits) for bits in (32, 16, 32))  # RFC 3550, 5.1
        self._first_seq = self._seq
        self.sent, self._octets = 0, 0
        self._report: rtpwire.Report | None = None
        self.lie: str | None = None

    def packet(self, step: Pcm) -> bytes:
        """The next 20 ms; the marker begins the talk (RFC 3551, 4.1)."""
        payload = self.encoder.encode(step)
        packet = rtpwire.Packet(
            self.encoder.payload_type, self._seq, self._timestamp, self.ssrc, payload, marker=self.sent == 0
        )
        self._seq, self._timestamp = self._seq + 1, self._timestamp + self.encoder.clock_step
        self.sent, self._octets = self.sent + 1, self._octets + len(payload)
        return packet.pack()

    def report(self) -> bytes:
        """Our sender report."""
        return rtpwire.sender_report(
            self.ssrc,
            wall_s=self._clock.wall(),
            timestamp=self._timestamp,
            packets=self.sent,
            octets=self._octets,
        )

    def hear(self, data: bytes) -> None:
        """Take what came by RTCP; what is not about this stream, or malformed, proves nothing."""
        with suppress(rtpwire.MalformedError):
            for report in rtpwire.read_rtcp(data).reports:
                if report.about != self.ssrc:
                    continue
                # Receivers count the wrap-arounds of the sequence number from their own first packet: compare 16 bits.
                ahead = (report.newest - self._first_seq) & 0xFFFF
                if self.sent < 0x8000 and ahead >= self.sent:
                    self.lie = f"it reports packet {ahead + 1} of {self.sent}"
                else:
                    self._report = report

    def proof(self) -> Proof:
        """`delivered` where the newest report covers the stream and next to nothing is lost."""
        report = self._report
        if self.lie or report is None:
            return "none"
        behind = (self._seq - 1 - report.newest) & 0xFFFF
        lost = max(report.lost, 0) / max(self.sent, 1)
        return "delivered" if behind <= max(BEHIND, self.sent // 4) and lost < MOST_LOST else "none"

    def doubt(self) -> str | None:
        """Why it is not proven; None where it is."""
        if self.lie:
            return f"its RTCP lies: {self.lie}"
        if self._report is None:
            return "no RTCP report came"
        if self.proof() == "none":
            return f"its last RTCP report misses {self._report.lost} packets, or the end"
        return None

    @property
    def covered(self) -> bool:
        """Whether a report has come that knows the very last packet."""
        return self._report is not None and (self._seq - 1 - self._report.newest) & 0xFFFF == 0


class RtpLine(Line):
    """A stream on a connected UDP socket; reports go to an address of their own, by a socket that is not connected.

    A far end with several addresses may answer from another one than it was called at; reports name their stream.
    """

    def __init__(
        self,
        stream: RtpStream,
        media: socket.socket,
        reports: socket.socket | None,
        reports_to: tuple[str, int],
        clock: Clock,
    ) -> None:
        self.stream, self._media, self._reports, self._reports_to = stream, media, reports, reports_to
        self._clock = clock
        self._report_due_s = clock.monotonic() + REPORT_S / 2

    async def send(self, step: Pcm) -> None:
        """One packet, and a report where one is due."""
        self._media.send(self.stream.packet(step))
        if self._reports is not None and self._clock.monotonic() >= self._report_due_s:
            self._report_due_s = self._clock.monotonic() + REPORT_S
            self._say(self.stream.report())
            self._hear()

    async def close(self, _finished: bool, /) -> Proof:
        """Ask for a last report, wait for it a little, and say goodbye."""
        try:
            if self._reports is not None and self.stream.sent:
                self._say(self.stream.report())
                until_s = self._clock.monotonic() + ANSWER_S
                while not self.stream.covered and not self.stream.lie and self._clock.monotonic() < until_s:
                    await self.listen(0.02)
                self._say(rtpwire.bye(self.stream.ssrc))
                self.doubt = self.stream.doubt()
            return self.stream.proof()
        finally:
            self._media.close()
            if self._reports is not None:
                self._reports.close()

    async def listen(self, for_s: float) -> None:
        """Give the far end time, and take what it reports."""
        await self._clock.sleep(for_s)
        if self._reports is not None:
            self._hear()

    def _say(self, data: bytes) -> None:
        assert self._reports is not None
        with suppress(OSError):  # nobody listens to reports: that proves nothing, and costs nothing
            self._reports.sendto(data, self._reports_to)

    def _hear(self) -> None:
        assert self._reports is not None
        with suppress(OSError):
            while True:
                self.stream.hear(self._reports.recv(2048))
