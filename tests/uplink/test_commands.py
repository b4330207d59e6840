"""What a command must be before it is obeyed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.messages import Fly, Say
from edge_agent.uplink.commands import MAX_BYTES, NAMES, Order, Refused
from edge_agent.uplink.commands import read as read_command
from edge_agent.uplink.signing import Signatures

NOW_S = 1795310283.0  # 2026-11-22T01:18:03Z
ANYONE = Signatures("D-1", (), unsigned=True)


def read(name: str, payload: bytes, *, retained: bool = False, expires: bool = True) -> Order | Refused:
    return read_command(name, payload, signatures=ANYONE, retained=retained, expires=expires, wall_s=NOW_S)


def payload(**changes: Any) -> bytes:
    fields = {"id": "c1", "name": "fly", "args": {"route": "r"}, "not_after": "2026-11-22T01:18:13Z", "by": "op"}
    return json.dumps({key: value for key, value in (fields | changes).items() if value is not None}).encode()


def refused(retained: bool = False, **changes: Any) -> Refused:
    order = read("fly", payload(**changes), retained=retained)
    assert isinstance(order, Refused)
    return order


def test_a_good_command_becomes_its_request() -> None:
    assert read("fly", payload()) == Order(id="c1", by="unsigned:op", request=Fly(route="r"))
    say = payload(name="say", args={"text": "请离开", "speakers": ["gate"]})
    assert read("say", say) == Order(id="c1", by="unsigned:op", request=Say(text="请离开", speakers=("gate",)))


def test_a_late_command_is_expired() -> None:
    order = refused(not_after="2026-11-22T01:18:02Z")
    assert order.reply.state == "expired"
    assert order.reply.reason == "`not_after` was 1.0 s ago; it is 2026-11-22T01:18:03.000Z here"


@pytest.mark.parametrize("not_after", [None, 7, "", "tomorrow", "2026-11-22T01:18:13", "9999-99-99T00:00:00Z"])
def test_a_command_without_a_proper_expiry_is_rejected(not_after: object) -> None:
    assert "not_after" in (refused(not_after=not_after).reply.reason or "")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"id": None}, "`id`"),
        ({"id": ""}, "`id`"),
        ({"id": 7}, "`id`"),
        ({"id": "x" * 65}, "`id`"),
        ({"by": None}, "`by`"),
        ({"name": "land"}, "topic says 'fly'"),
        ({"args": []}, "`args`"),
        ({"args": {}}, "`route`"),
        ({"args": {"route": 7}}, "route"),
        ({"args": {"route": "r", "speed": 9}}, "speed"),
        ({"args": {"route": "r", "name": "land"}}, "`name`"),
        ({"retained": True}, "retained"),
    ],
)
def test_a_wrong_command_is_rejected_and_told_why(changes: dict[str, Any], word: str) -> None:
    order = refused(**changes)
    assert order.reply.state == "rejected"
    assert word in (order.reply.reason or "")


def test_an_unknown_name_is_rejected_with_the_known_ones() -> None:
    order = read("dance", payload(name="dance"))
    assert isinstance(order, Refused)
    assert ", ".join(NAMES) in (order.reply.reason or "")


def test_too_long_a_command_is_not_even_read() -> None:
    order = read("fly", payload(args={"route": "r" * MAX_BYTES}))
    assert isinstance(order, Refused)
    assert order.id is None


@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode()),
    )
)
def test_garbage_is_refused_and_never_raises(garbage: bytes) -> None:
    assert isinstance(read("fly", garbage), Refused)


@given(
    st.dictionaries(
        st.sampled_from(["id", "name", "args", "not_after", "by", "x"]),
        st.text() | st.integers() | st.dictionaries(st.text(), st.text()),
    )
)
def test_any_object_is_answered(fields: dict[str, Any]) -> None:
    assert isinstance(read("fly", json.dumps(fields).encode()), Refused | Order)
