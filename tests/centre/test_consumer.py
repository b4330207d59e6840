"""What the consumer answers to events that it cannot read."""

import pytest

from edge_agent.centre.consumer import place_in
from edge_agent.topics import Place, encode_event

EVENT = encode_event(device="D", kind="det", id="e", wall_s=0.0, boot="b", epoch=7, seq=41, data=b'{"seq":1,"epoch":2')


def test_an_event_that_is_no_json_is_still_told_by_its_place() -> None:
    assert place_in(EVENT) == Place(seq=41, epoch=7)


@pytest.mark.parametrize(
    "payload", [b"", b"\xff" * 50, b"{}", b'{"seq":', b'{"seq":0,"epoch":1', b'{"seq":1}', b"[" * 9999]
)
def test_what_names_no_place_is_answered_by_nothing(payload: bytes) -> None:
    assert place_in(payload) is None
