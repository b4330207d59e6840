"""The words of the contract, byte for byte: a centre of another make relies on them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import topics
from edge_agent.messages import Refusal, Reply

# CloudEvents 1.0 (specversion, id, source, type, time are its names), then our place in the stream
EVENT = (
    b'{"specversion":"1.0","id":"01JD8Z5C2Q","source":"ea/D-000123","type":"ev.det",'
    b'"time":"2026-11-22T01:18:03.412Z","seq":48211,"epoch":7,"boot":"b6c1","data":{"score":0.91}}'
)


def test_an_event_has_these_bytes() -> None:
    assert (
        topics.encode_event(
            device="D-000123",
            kind="det",
            id="01JD8Z5C2Q",
            wall_s=1795310283.412,
            boot="b6c1",
            epoch=7,
            seq=48211,
            data=b'{"score":0.91}',
        )
        == EVENT
    )


def test_what_is_known_of_time_chain_and_context_stands_beside_it() -> None:
    body = topics.encode_event(
        device="D-1",
        kind="det",
        id="e",
        wall_s=0.0,
        boot="b",
        epoch=7,
        seq=1,
        data=b"{}",
        mono_us=8123344112,
        tq=topics.TimeQuality(src="ntp", err_ms=20),
        prev="sha256:9f",
        ctx=topics.Context(site="bank", org="acme"),
    )
    assert body.endswith(
        b'"boot":"b","mono_us":8123344112,"tq":{"src":"ntp","err_ms":20},"prev":"sha256:9f",'
        b'"ctx":{"site":"bank","org":"acme"},"data":{}}'
    )


def test_an_event_reads_back() -> None:
    envelope = msgspec.json.decode(EVENT, type=topics.Envelope)
    assert (envelope.epoch, envelope.seq, envelope.id) == (7, 48211, "01JD8Z5C2Q")
    assert msgspec.json.decode(envelope.data) == {"score": 0.91}


def test_an_acknowledgement_has_these_bytes() -> None:
    ack = topics.Ack(epoch=7, cum=1234, sel=((1240, 1242),), nack=(topics.Nack(1238, "schema"),))
    assert (
        msgspec.json.encode(ack)
        == b'{"stream":"ev","epoch":7,"cum":1234,"sel":[[1240,1242]],"nack":[{"seq":1238,"why":"schema"}],"all":false}'
    )


def test_an_answer_has_these_bytes() -> None:
    refusal = Refusal(gate="battery", reason="too low", value="41 %", limit="50 %")
    reply = Reply(state="rejected", reason="battery: too low", refusal=refusal)
    assert topics.encode_result("c1", reply, 0.0) == (
        b'{"id":"c1","state":"rejected","time":"1970-01-01T00:00:00.000Z","reason":"battery: too low",'
        b'"refusal":{"gate":"battery","reason":"too low","value":"41 %","limit":"50 %","age_s":null,"remedy":null}}'
    )


def test_the_topics_are_these() -> None:
    assert topics.status("D-1") == "ea/1/D-1/up/status"
    assert topics.tele("D-1", "pos") == "ea/1/D-1/up/tele/pos"
    assert topics.event("D-1", "det") == "ea/1/D-1/up/ev/det"
    assert topics.thumb("D-1", "01J", 7, 12) == "ea/1/D-1/up/thumb/01J/7/12"
    assert topics.result("D-1") == "ea/1/D-1/up/res"
    assert topics.command("D-1", "fly") == "ea/1/D-1/down/cmd/fly"
    assert topics.ack("D-1") == "ea/1/D-1/down/ack"
    assert topics.state("D-1", "gps") == "ea/1/D-1/up/state/gps"
    assert topics.request("D-1", "grant") == "ea/1/D-1/up/req/grant"
    assert topics.answer("D-1") == "ea/1/D-1/down/res"
    assert topics.desired("D-1") == "ea/1/D-1/down/desired"
    assert topics.reported("D-1") == "ea/1/D-1/up/reported"
    assert topics.host("main") == "ea/1/host/main/state"


@pytest.mark.parametrize(
    "topic",
    ["", "ea/1", "ea/2/D/up/ev/det", "ea/1/D", "ea/1/../up/status", "ea/1/D/up/ev/", "x/ea/1/D/up/status", "ea/1/D/up"],
)
def test_a_topic_of_another_contract_is_none(topic: str) -> None:
    assert topics.split(topic) is None


def test_a_topic_splits_into_device_and_rest() -> None:
    assert topics.split("ea/1/D-1/up/thumb/01J/7/12") == ("D-1", ["up", "thumb", "01J", "7", "12"])


@given(st.integers(0, 4_000_000_000_000))
def test_a_time_survives_the_wire_to_the_millisecond(wall_ms: int) -> None:
    text = topics.rfc3339(wall_ms / 1000)
    assert text.endswith("Z")
    assert round(topics.unix_s(text) * 1000) == wall_ms


@pytest.mark.parametrize("text", ["", "soon", "2026-11-22T01:18:03", "2026-11-22"])
def test_a_time_without_an_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        topics.unix_s(text)
