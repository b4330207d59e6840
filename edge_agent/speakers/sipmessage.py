"""SIP messages and the SDP of one audio stream as text (RFC 3261, RFC 4566). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from edge_agent.config import RtpCodec

MAX_HEADERS = 200
MAX_DIGITS = 10
SDP = "application/sdp"
_COMPACT = {
    "i": "call-id",
    "m": "contact",
    "f": "from",
    "t": "to",
    "v": "via",
    "l": "content-length",
    "c": "content-type",
}  # RFC 3261, 7.3.3
_NAMES: dict[str, RtpCodec] = {"PCMU/8000": "pcmu", "PCMA/8000": "pcma", "G722/8000": "g722", "OPUS/48000/2": "opus"}
_STATIC: dict[int, RtpCodec] = {0: "pcmu", 8: "pcma", 9: "g722"}
_MAPS: dict[RtpCodec, tuple[int, str]] = {
    "pcmu": (0, "PCMU/8000"),
    "pcma": (8, "PCMA/8000"),
    "g722": (9, "G722/8000"),
    "opus": (111, "opus/48000/2"),
}


class MalformedError(ValueError):
    """A datagram that is no SIP message, or a body that is no SDP of an audio stream."""


@dataclass(frozen=True)
class Message:
    """A request (`method`, `uri`) or a response (`status`, `reason`); header names are in lower case."""

    method: str = ""
    uri: str = ""
    status: int = 0
    reason: str = ""
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: str = ""

    def first(self, name: str) -> str:
        """The first value of a header, or nothing."""
        return self.headers.get(name, [""])[0]

    @property
    def cseq(self) -> tuple[int, str]:
        """The number and the method that it belongs to; (0, "") where it cannot be read."""
        number, _, method = self.first("cseq").partition(" ")
        return (n, method.strip()) if (n := whole(number)) is not None else (0, "")


def parse(data: bytes, encoding: str = "utf-8") -> Message:
    """A datagram as a message; raises `MalformedError`."""
    head, _, body = data.decode(encoding, "replace").partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers: dict[str, list[str]] = {}
    name = ""
    for line in lines[:MAX_HEADERS]:
        if line[:1] in " \t" and name:  # folded
            headers[name][-1] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedError(f"no SIP: a header without a colon: {line[:40]!r}")
        name = _COMPACT.get(name.strip().lower(), name.strip().lower())
        headers.setdefault(name, []).append(value.strip())
    words = first.split(" ", 2)
    if words[0] == "SIP/2.0" and len(words) >= 2 and re.fullmatch(r"[1-6]\d\d", words[1]):
        return Message(status=int(words[1]), reason=words[2] if len(words) > 2 else "", headers=headers, body=body)
    if len(words) == 3 and words[2] == "SIP/2.0":
        return Message(method=words[0], uri=words[1], headers=headers, body=body)
    raise MalformedError(f"no SIP: {first[:40]!r}")


def request(method: str, uri: str, headers: list[tuple[str, str]], body: str = "", kind: str = SDP) -> bytes:
    """A request as a datagram; `kind` is the media type of its body."""
    return _compose(f"{method} {uri} SIP/2.0", headers, body, kind)


def response(
    asked: Message, status: int, reason: str, *, tag: str = "", more: tuple[tuple[str, str], ...] = (), body: str = ""
) -> bytes:
    """An answer to a request of the far end: its own headers come back, To with our tag (RFC 3261, 8.2.6)."""
    kept = [("Via", via) for via in asked.headers.get("via", [])]
    kept += [(name, asked.first(name.lower())) for name in ("From", "To", "Call-ID", "CSeq")]
    if tag and "tag=" not in asked.first("to"):
        kept = [(name, f"{value};tag={tag}" if name == "To" else value) for name, value in kept]
    return _compose(f"SIP/2.0 {status} {reason}", [*kept, *more], body, SDP)


def tag(value: str) -> str | None:
    """The tag of a From or To."""
    found = re.search(r";\s*tag=([^;\s>]+)", value)
    return found[1] if found else None


def whole(text: str) -> int | None:
    """A number as strangers write it; None for all else (`isdigit` takes ², which no number is, and any length)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def expires(message: Message, otherwise: int) -> int:
    """How many seconds a registration is asked or kept for: by its Contact, else by Expires (RFC 3261, 10.2.1.1)."""
    inline = re.search(r";\s*expires=(\d+)", message.first("contact"))
    text = inline[1] if inline else message.first("expires")
    found = whole(text)
    return otherwise if found is None else min(found, 7 * 86_400)


def branch(via: str) -> str:
    """The transaction that a Via names."""
    found = re.search(r";\s*branch=([^;\s,]+)", via)
    return found[1] if found else ""


def target(contact: str) -> str | None:
    """The URI of a Contact or Record-Route."""
    found = re.search(r"<([^>]+)>", contact)
    return found[1] if found else (contact.partition(";")[0].strip() or None)


# --- SDP ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Media:
    """Where and how the far end wants the sound."""

    host: str
    port: int
    rtcp_port: int
    codec: RtpCodec
    payload_type: int


def offer(host: str, port: int, codecs: tuple[RtpCodec, ...], session: int, *, direction: str = "sendrecv") -> str:
    """What we can send, best first. `sendrecv`: some peers stay silent on a `sendonly` offer; what comes is dropped."""
    kinds = [_MAPS[codec] for codec in codecs]
    lines = ["v=0", f"o=edge-agent {session} 1 IN IP4 {host}", "s=announcement", f"c=IN IP4 {host}", "t=0 0"]
    lines.append(f"m=audio {port} RTP/AVP {' '.join(str(kind) for kind, _ in kinds)}")
    lines += [f"a=rtpmap:{kind} {name}" for kind, name in kinds]
    lines += ["a=ptime:20", f"a={direction}", f"a=rtcp:{port + 1}"]
    return "\r\n".join(lines) + "\r\n"


def answered(body: str, codecs: tuple[RtpCodec, ...]) -> Media:
    """The first of our codecs that an answer takes; raises `MalformedError` where it takes none."""
    host, media, maps, rtcp = "", "", dict(_STATIC), 0
    in_audio, seen = True, False
    for line in body.splitlines():
        key, _, value = line.partition("=")
        if key == "m":
            in_audio = value.startswith("audio ") and not seen
            if in_audio:
                media, seen = value, True
        elif key == "c" and in_audio:
            host = value.split()[-1].split("/")[0] if value.split() else ""
        elif in_audio and value.startswith("rtpmap:"):
            kind, _, name = value.removeprefix("rtpmap:").partition(" ")
            if (known := whole(kind)) is not None and (codec := _NAMES.get(_plain(name))):
                maps[known] = codec
        elif in_audio and value.startswith("rtcp:"):
            rtcp = whole((value.removeprefix("rtcp:").split() or [""])[0]) or 0
    words = media.split()
    port = whole(words[1]) if len(words) >= 4 else None
    if port is None or not host:
        raise MalformedError("its answer has no audio")
    rtcp = rtcp or port + 1
    if not 0 < port < 2**16 or rtcp >= 2**16:
        raise MalformedError(f"it takes no audio (port {port})")
    for number in map(whole, words[3:]):
        codec = maps.get(number) if number is not None else None
        if number is not None and codec is not None and codec in codecs:
            return Media(host, port, rtcp, codec, number)
    raise MalformedError(f"it takes none of {', '.join(codecs)} (its answer: {media})")


def _plain(name: str) -> str:
    """`PCMU/8000/1` as `PCMU/8000`; baresip calls G.722 `G722/16000/1`, which means the same."""
    name = name.strip().upper().replace("G722/16000", "G722/8000")
    return name.removesuffix("/1")


def _compose(first: str, headers: list[tuple[str, str]], body: str, kind: str) -> bytes:
    data = body.encode()
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if data:
        lines.append(f"Content-Type: {kind}")
    lines.append(f"Content-Length: {len(data)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + data
