"""SIP loudspeakers that answer by themselves: INVITE, RTP with RTCP, BYE; OPTIONS for their health (RFC 3261, UDP).

Makes ask for automatic answer in different words, so all of them are sent: `answer-after` (Grandstream, Snom, Gigaset),
`alert-autoanswer` (Yealink, Aastra), `Answer-Mode` (RFC 5373). A horn usually answers by its own setting.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from edge_agent import config
from edge_agent.messages import Proof
from edge_agent.runtime import Clock, DriverError
from edge_agent.speakers import PROOFS, reason
from edge_agent.speakers import sipmessage as sip
from edge_agent.speakers.codecs import open_encoder, rate_hz
from edge_agent.speakers.digest import challenge
from edge_agent.speakers.paced import Line, Paced
from edge_agent.speakers.rtpstream import RtpLine, RtpStream
from edge_agent.speakers.sound import Pcm

T1_S = 0.5  # RFC 3261, 17: the first repetition; each later one after twice as long
ANSWER_S = 4.0  # a speaker that answers by itself does so at once; one that still rings after this is a telephone
BYE_S = 1.0
REGISTERED_S = 600
REFRESH_SHARE = 0.8  # of what the PBX keeps, then we register again
DRAIN_S = 0.2  # what a far end may still hold back when the last packet was sent

_MEANINGS = {
    401: "wrong user name or password",
    403: "wrong user name or password, or this caller may not call it",
    407: "wrong user name or password",
    404: "no such user there",
    408: "the proxy does not reach it",
    415: "it does not take this codec",
    480: "not available now",
    486: "busy: another call goes on",
    488: "it does not take this codec",
    503: "out of service",
    600: "busy: another call goes on",
    603: "declined",
}


class SipSpeaker(Paced):
    """An answered call is `accepted`; RTCP reports that know the last packets make it `delivered`."""

    best: Proof = "delivered"

    def __init__(self, section: config.SipSpeaker, clock: Clock, rng: random.Random | None = None) -> None:
        super().__init__(section.name, clock)
        self._section, self._rng = section, rng or random.SystemRandom()
        self._us: str | None = None  # who calls; else nobody but this address
        self.rate_hz = rate_hz(section.codec)

    def where(self) -> str:
        return self._section.uri

    async def health(self) -> None:
        """OPTIONS: any answer says that it is there; a wrong password is told too."""
        with self._told():
            dialog = await self._dialog()
            try:
                answer = await dialog.ask("OPTIONS")
                if answer.status in (401, 403, 404, 407, 408, 480, 503):
                    raise self.refused(answer)
            finally:
                dialog.close()

    async def open(self, _announcement: str, _samples: int | None, /) -> SipLine:
        dialog = await self._dialog()
        pair: tuple[socket.socket, socket.socket] | None = None
        try:
            pair = even_pair(dialog.local[0])
            codec = self._section.codec
            # Both kinds of G.711 are offered: the far end takes the one it has.
            codecs: tuple[config.RtpCodec, ...] = (codec,)
            if codec in ("pcmu", "pcma"):
                codecs = ("pcmu", "pcma") if codec == "pcmu" else ("pcma", "pcmu")
            port = pair[0].getsockname()[1]
            answer = await dialog.invite(sip.offer(dialog.local[0], port, codecs, self._rng.getrandbits(31)))
            try:
                media = sip.answered(answer.body, codecs)
                host = await _ipv4(media.host)
                pair[0].connect((host, media.port))
            except (sip.MalformedError, OSError, UnicodeError) as error:
                await dialog.bye()
                raise self.error(reason(error)) from None
            stream = RtpStream(open_encoder(media.codec, media.payload_type), self._clock, self._rng)
            return SipLine(dialog, RtpLine(stream, *pair, (host, media.rtcp_port), self._clock))
        except BaseException:
            for sock in pair or ():
                sock.close()
            dialog.close()
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the network says is told as this speaker's fault."""
        try:
            yield
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name
            raise self.error(reason(error)) from None

    def error(self, why: str) -> DriverError:
        """What went wrong, for a person."""
        return DriverError(f"speaker {self.name}: {self.where()}: {why}")

    def refused(self, answer: sip.Message) -> DriverError:
        """The far end said no."""
        return self.error(f"{_MEANINGS.get(answer.status, answer.reason or 'refused')} (SIP {answer.status})")

    async def _dialog(self, to: str | None = None, target: str | None = None) -> Dialog:
        section, loop = self._section, asyncio.get_running_loop()
        at = section.proxy or section.uri.partition("@")[2]
        host, _, port = at.partition(":")
        address = await _ipv4(host)
        dialog = Dialog(self, section, to or section.uri, target or section.uri, self._us)
        await loop.create_datagram_endpoint(lambda: dialog, remote_addr=(address, int(port or 5060)))
        return dialog


class RegisteredSipSpeaker(SipSpeaker):
    """One that is called through a PBX which wants to know its callers: we register there (RFC 3261, 10.2).

    Nobody calls us: the PBX's OPTIONS are answered, its INVITEs are not.
    """

    def __init__(self, section: config.SipSpeaker, clock: Clock, rng: random.Random | None = None) -> None:
        super().__init__(section, clock, rng)
        self._registrar = f"sip:{section.proxy}"
        self._us = f"sip:{section.username or section.caller}@{section.proxy}"
        self._until_s = float("-inf")

    async def run(self) -> None:
        """Stay registered until cancelled, then take leave; raises `DriverError` where the PBX refuses."""
        with self._told():
            dialog = await self._registering()
            try:
                while True:
                    await self._clock.sleep(await self._register(dialog, REGISTERED_S) * REFRESH_SHARE)
            finally:
                with suppress(DriverError, OSError):
                    if self._clock.monotonic() < self._until_s:
                        await self._register(dialog, 0)
                dialog.close()

    async def health(self) -> None:
        """Registered, and the speaker answers."""
        with self._told():
            await self._registered()
        await super().health()

    async def open(self, announcement: str, samples: int | None, /) -> SipLine:
        await self._registered()
        return await super().open(announcement, samples)

    async def _registered(self) -> None:
        """Register, if nobody keeps us registered."""
        if self._clock.monotonic() >= self._until_s:
            dialog = await self._registering()
            try:
                await self._register(dialog, REGISTERED_S)
            finally:
                dialog.close()

    async def _registering(self) -> Dialog:
        assert self._us is not None
        return await self._dialog(self._us, self._registrar)

    async def _register(self, dialog: Dialog, for_s: int) -> int:
        """Register for a while, or with 0 no longer; how long the PBX keeps it."""
        answer = await dialog.ask("REGISTER", extra=[("Expires", str(for_s))])
        least = sip.whole(answer.first("min-expires"))
        if answer.status == 423 and least is not None:  # interval too brief (10.3)
            for_s = least
            answer = await dialog.ask("REGISTER", extra=[("Expires", str(for_s))])
        if answer.status >= 300:
            raise self.error(f"{self._registrar} does not register us: {self.refused(answer)}")
        kept_s = sip.expires(answer, for_s) if for_s else 0
        self._until_s = self._clock.monotonic() + kept_s
        return kept_s


class Dialog(asyncio.DatagramProtocol):
    """One conversation with one peer, from a UDP port of its own."""

    def __init__(self, speaker: SipSpeaker, section: config.SipSpeaker, to: str, target: str, us: str | None) -> None:
        self._speaker, self._section = speaker, section
        self._call_id, self._tag = secrets.token_hex(12), secrets.token_hex(6)
        self._cseq = 0
        self._us, self._peer = us, f"<{to}>"
        self._to = self._peer
        self._target, self._routes = target, list[str]()
        self._ack: bytes | None = None
        self._answers: asyncio.Queue[sip.Message | OSError] = asyncio.Queue()
        self.over = False  # the far end hung up
        self.local = ("", 0)

    # --- the wire -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.local = transport.get_extra_info("sockname")

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._answers.put_nowait(exc)

    def datagram_received(self, data: bytes, _addr: tuple[str, int]) -> None:
        try:
            message = sip.parse(data)
        except sip.MalformedError:
            return
        if message.first("call-id") != self._call_id:
            if message.method == "OPTIONS":  # a PBX looks after those that are registered
                self._transport.sendto(sip.response(message, 200, "OK"))
            return
        if message.status:
            if message.status >= 200 and message.cseq[1] == "INVITE" and self._ack is not None:
                self._transport.sendto(self._ack)  # our ACK was lost: it repeats its answer (13.2.2.4)
            else:
                self._answers.put_nowait(message)
        elif message.method == "BYE":
            self.over = True
            self._transport.sendto(sip.response(message, 200, "OK"))
        elif message.method == "OPTIONS":
            self._transport.sendto(sip.response(message, 200, "OK"))
        elif message.method == "INVITE":  # it wants the call otherwise; it stays as it is
            self._transport.sendto(sip.response(message, 488, "Not Acceptable Here"))
        elif message.method != "ACK":
            self._transport.sendto(sip.response(message, 405, "Method Not Allowed"))

    def close(self) -> None:
        """Forget it all."""
        self._transport.close()

    # --- requests -------------------------------------------------------------------------------------------------

    async def invite(self, body: str) -> sip.Message:
        """Call, until it is answered and acknowledged; raises `DriverError` where it is refused, or only rings."""
        try:
            answer = await self.ask("INVITE", body)
        except asyncio.CancelledError:
            self._cancel()
            raise
        if answer.status >= 300:
            raise self._speaker.refused(answer)
        self._to = answer.first("to")
        self._target = sip.target(answer.first("contact")) or self._target
        self._routes = [one for value in answer.headers.get("record-route", []) for one in value.split(",")][::-1]
        self._ack = self._request("ACK", cseq=self._cseq)
        self._transport.sendto(self._ack)
        return answer

    async def bye(self) -> None:
        """Hang up, and wait for the answer a little."""
        if not self.over:
            self._ack = None
            try:
                async with asyncio.timeout(BYE_S):
                    await self.ask("BYE")
            except (TimeoutError, DriverError):
                pass

    async def ask(self, method: str, body: str = "", extra: list[tuple[str, str]] | None = None) -> sip.Message:
        """The final answer to a request, asked again with a password where one is wanted."""
        authorization: tuple[str, str] | None = None
        for _ in range(2):
            answer = await self._transaction(
                method, body, [*(extra or []), *([authorization] if authorization else [])]
            )
            if answer.status not in (401, 407) or self._section.username is None or authorization:
                break
            name = "www-authenticate" if answer.status == 401 else "proxy-authenticate"
            found = challenge(answer.headers.get(name, []))
            if found is None:
                raise self._speaker.error("it asks for the password in a way that is not known here (digest is)")
            secret = config.read_secret(self._section.password) if self._section.password else ""
            value = found.authorize(self._section.username, secret, method, self._target, secrets.token_hex(8))
            authorization = ("Authorization" if answer.status == 401 else "Proxy-Authorization", value)
        return answer

    async def _transaction(self, method: str, body: str, extra: list[tuple[str, str]]) -> sip.Message:
        """Send until something answers (17.1), then wait for the final answer."""
        self._cseq += 1
        branch = "z9hG4bK" + secrets.token_hex(8)
        data = self._request(method, branch=branch, body=body, extra=extra)
        self._pending = branch
        provisional, wait_s = "", T1_S
        try:
            async with asyncio.timeout(ANSWER_S):
                self._transport.sendto(data)
                while True:
                    try:
                        async with asyncio.timeout(wait_s):
                            answer = await self._answers.get()
                    except TimeoutError:
                        wait_s *= 2
                        if not provisional:
                            self._transport.sendto(data)
                        continue
                    if isinstance(answer, OSError):
                        raise answer
                    if answer.cseq != (self._cseq, method):
                        continue
                    if answer.status >= 200:
                        break
                    provisional = f"{answer.status} {answer.reason}"
        except TimeoutError:
            self._cancel()
            if provisional:
                raise self._speaker.error(
                    f"rang for {ANSWER_S:g} s and was not answered ({provisional}); switch automatic answer on"
                ) from None
            raise self._speaker.error(f"no answer to {method} in {ANSWER_S:g} s") from None
        if method == "INVITE" and answer.status >= 300:  # 17.1.1.3: in the same transaction
            self._to = answer.first("to")
            self._transport.sendto(self._request("ACK", branch=branch, cseq=self._cseq))
            self._to = self._peer
        return answer

    def _cancel(self) -> None:
        """Give up a call that still rings (9.1)."""
        self._transport.sendto(self._request("CANCEL", branch=self._pending, cseq=self._cseq))

    def _request(
        self,
        method: str,
        *,
        branch: str | None = None,
        cseq: int | None = None,
        body: str = "",
        extra: list[tuple[str, str]] | None = None,
    ) -> bytes:
        host, port = self.local
        here = f"<sip:{self._section.caller}@{host}:{port}>"
        branch = branch or "z9hG4bK" + secrets.token_hex(8)
        headers = [
            ("Via", f"SIP/2.0/UDP {host}:{port};rport;branch={branch}"),
            *(("Route", route.strip()) for route in self._routes),
            ("Max-Forwards", "70"),
            ("From", f"{f'<{self._us}>' if self._us else here};tag={self._tag}"),
            ("To", self._to),
            ("Call-ID", self._call_id),
            ("CSeq", f"{cseq or self._cseq} {method}"),
            ("Contact", here),
            ("User-Agent", "edge-agent"),
            *(extra or []),
        ]
        if method == "INVITE":
            headers += [
                ("Call-Info", f"{here};answer-after=0"),
                ("Alert-Info", "<http://localhost>;info=alert-autoanswer;delay=0"),
                ("Answer-Mode", "Auto"),
                ("Priority", "emergency"),
                ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS"),
            ]
        return sip.request(method, self._target, headers, body)


class SipLine(Line):
    """An answered call."""

    def __init__(self, dialog: Dialog, media: RtpLine) -> None:
        self._dialog, self._media = dialog, media

    async def send(self, step: Pcm) -> None:
        if self._dialog.over:
            raise ConnectionError("it hung up in the middle of the call")
        await self._media.send(step)

    async def close(self, finished: bool, /) -> Proof:
        """Hang up once the far end's jitter buffer is empty; many peers send their last report only then."""
        try:
            await self._media.listen(DRAIN_S)
            await self._dialog.bye()
            proof = await self._media.close(finished)
            self.doubt = self._media.doubt
            return max(proof, "accepted", key=PROOFS.index)
        finally:
            self._dialog.close()


async def _ipv4(host: str) -> str:
    """The address of a name, looked up beside the loop; raises OSError, or UnicodeError where it can be no name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    return str(found[0][4][0])


def even_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets on an even port and the next one (RFC 3550, section 11)."""
    for _ in range(50):
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        try:
            socks[0].bind((host, 0))
            port = socks[0].getsockname()[1]
            if port % 2 == 0:
                socks[1].bind((host, port + 1))
                for sock in socks:
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xB8)
                return socks[0], socks[1]
        except OSError:
            pass
        for sock in socks:
            sock.close()
    raise OSError("no free pair of UDP ports")
