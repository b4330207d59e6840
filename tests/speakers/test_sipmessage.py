"""SIP and SDP as text: by the book, and no crash on what strangers send."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.speakers.sipmessage import MalformedError, Media, answered, offer, parse, request, response, tag, target

C = "c=IN IP4 192.0.2."
BAD_NEWS = (
    b"SIP/2.0 486 Busy Here\r\nv: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8\r\n"
    b"To: Bob <sip:bob@b.com>;tag=a6c\r\nFrom: Alice <sip:alice@a.com>;tag=192\r\ni: a84b4c76e66710\r\n"
    b"CSeq: 314159 INVITE\r\nContact:\r\n <sip:x@y>\r\n\r\nbody"
)


def test_a_response_with_compact_and_folded_headers_is_read() -> None:
    message = parse(BAD_NEWS)
    assert (message.status, message.reason, message.body) == (486, "Busy Here", "body")
    assert message.cseq == (314159, "INVITE")
    assert message.first("call-id") == "a84b4c76e66710"
    assert message.first("via").endswith("z9hG4bKnashds8")
    assert tag(message.first("to")) == "a6c"
    assert target(message.first("contact")) == "sip:x@y"


def test_an_answer_gives_the_askers_headers_back() -> None:
    asked = parse(BAD_NEWS.replace(b"SIP/2.0 486 Busy Here", b"BYE sip:x@y SIP/2.0"))
    text = response(asked, 200, "OK").decode()
    assert text.startswith("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8\r\n")
    assert "Call-ID: a84b4c76e66710\r\n" in text
    assert text.endswith("Content-Length: 0\r\n\r\n")


def test_a_request_counts_its_body_in_bytes() -> None:
    data = request("INVITE", "sip:horn@h", [("Subject", "警告")], "v=0 警告")
    assert data.startswith(b"INVITE sip:horn@h SIP/2.0\r\n")
    assert b"Content-Length: 10\r\n\r\n" in data


def test_the_offer_names_what_we_can_send() -> None:
    lines = offer("192.0.2.1", 5004, ("pcmu", "pcma"), 7).split("\r\n")
    assert lines[:5] == ["v=0", "o=edge-agent 7 1 IN IP4 192.0.2.1", "s=announcement", "c=IN IP4 192.0.2.1", "t=0 0"]
    assert "m=audio 5004 RTP/AVP 0 8" in lines
    assert "a=rtcp:5005" in lines


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (f"{C}9\nm=audio 4000 RTP/AVP 8 0", Media("192.0.2.9", 4000, 4001, "pcma", 8)),
        (f"{C}9\nm=audio 4000 RTP/AVP 0\na=rtcp:4100", Media("192.0.2.9", 4000, 4100, "pcmu", 0)),
        (f"m=audio 4000 RTP/AVP 97\n{C}8\na=rtpmap:97 PCMA/8000/1", Media("192.0.2.8", 4000, 4001, "pcma", 97)),
        ("c=IN IP4 239.1.1.1/1\nm=video 9 RTP\nm=audio 4000 RTP/AVP 0", Media("239.1.1.1", 4000, 4001, "pcmu", 0)),
    ],
)  # fmt: skip
def test_an_answer_says_where_and_in_which_codec(body: str, media: Media) -> None:
    assert answered(body, ("pcmu", "pcma")) == media


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "no audio"),
        (f"{C}9\nm=audio 0 RTP/AVP 0", "port 0"),
        (f"{C}9\nm=audio \u00b2 RTP/AVP 0", "no audio"),
        (f"{C}9\nm=audio 4000 RTP/AVP \u00b2", "takes none of"),
        (f"{C}9\nm=audio 65535 RTP/AVP 0", "port 65535"),
        (f"{C}9\nm=audio 4000 RTP/AVP 18", "none of pcmu, pcma"),
        ("m=audio 4000 RTP/AVP 0", "no audio"),
    ],
)
def test_an_answer_that_takes_nothing_is_told(body: str, why: str) -> None:
    with pytest.raises(MalformedError, match=why):
        answered(body, ("pcmu", "pcma"))


@given(st.binary(max_size=200), st.sampled_from([b"", b"SIP/2.0 200 OK\r\n", b"INVITE sip:x SIP/2.0\r\nvia"]))
def test_hostile_bytes_raise_nothing_else(data: bytes, start: bytes) -> None:
    with contextlib.suppress(MalformedError):
        message = parse(start + data)
        assert message.cseq[0] >= 0
    with contextlib.suppress(MalformedError):
        answered((b"c=IN IP4 1.2.3.4\nm=audio " + data).decode("utf-8", "replace"), ("pcmu",))
