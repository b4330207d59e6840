"""The link of an event is what the document says, byte for byte."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.chain import NO_LINK, link

EVENT = {"seq": 48211, "id": "01JD8Z5C2Q", "kind": "det", "time": "2026-11-22T01:18:03.412Z", "boot": "b6c1"}
LINES = "0" * 64 + "\n48211\n01JD8Z5C2Q\ndet\n2026-11-22T01:18:03.412Z\nb6c1\n"


def test_a_link_is_the_hash_of_the_lines_and_the_data() -> None:
    plain = hashlib.sha256(LINES.encode() + b'{"n":1}').digest()
    assert link(prev=NO_LINK, **EVENT, data=b'{"n":1}') == plain  # type: ignore[arg-type]


def test_a_thumb_has_no_time_of_its_own() -> None:
    thumb = EVENT | {"id": "01JD8Z5C2Q/thumb", "kind": "thumb"}
    plain = hashlib.sha256(b"0" * 64 + b"\n48211\n01JD8Z5C2Q/thumb\nthumb\n\n\n\xff\xd8").digest()
    assert link(prev=NO_LINK, **thumb, data=b"\xff\xd8") == plain  # type: ignore[arg-type]


@given(st.sampled_from(["prev", "seq", "id", "kind", "time", "boot", "data"]))
def test_whatever_is_changed_changes_the_link(name: str) -> None:
    event = {"prev": NO_LINK, **EVENT, "data": b"{}"}
    changed = {"prev": bytes([1]) * 32, "seq": 48212, "data": b"[]"}.get(name, "other")
    assert link(**event) != link(**(event | {name: changed}))  # type: ignore[arg-type]
