"""Only an operator whose role may, with a key that is good, over this very command of this very device."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import keys
from edge_agent.canonical import canonical_json, shallow, signed_bytes
from edge_agent.config import Operator
from edge_agent.messages import Refusal
from edge_agent.topics import Auth
from edge_agent.uplink.commands import NAMES
from edge_agent.uplink.signing import ROLES, UNSIGNED, Signatures, may

NOW_S = 1795310283.0  # 2026-11-22T01:18:03Z
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
FACTS: dict[str, Any] = {
    "id": "01KB0RE0000000000000000000",
    "name": "fly",
    "not_after": "2026-11-22T01:18:33.000Z",
    "by": "wang",
    "args": {"route": "river"},
}


def operator(id: str = "wang", role: Any = "pilot", not_after: str = "2026-11-22", key: Any = KEY) -> Operator:
    return Operator(id=id, name="Wang Li", role=role, public_key=keys.public_text(key), not_after=not_after)


def signed(key: Ed25519PrivateKey = KEY, device: str = "D-1", kid: str = "wang", **changes: Any) -> Auth:
    return Auth(kid=kid, sig=keys.sign(key, signed_bytes(device, **(FACTS | changes))))


def author(
    auth: Auth | None, *operators: Operator, wall_s: float = NOW_S, unsigned: bool = False, **changes: Any
) -> str | Refusal:
    signatures = Signatures("D-1", operators or (operator(),), unsigned=unsigned)
    return signatures.author(**(FACTS | changes), auth=auth, wall_s=wall_s)


def refused(auth: Auth | None, *operators: Operator, **options: Any) -> str:
    answer = author(auth, *operators, **options)
    assert isinstance(answer, Refusal), answer
    return str(answer)


# --- the bytes --------------------------------------------------------------------------------------------------------


def test_what_is_signed_is_one_line_of_json_in_a_fixed_order() -> None:
    args = {"text": "巡逻正常。", "speakers": ["b", "a"], "lang": "cmn", "level": -20.0}
    facts = FACTS | {"name": "say", "args": args}
    assert (
        signed_bytes("EA-000123", **facts)
        == (
            '["ea/1","EA-000123","01KB0RE0000000000000000000","say","2026-11-22T01:18:33.000Z","wang",'
            '{"lang":"cmn","level":-20,"speakers":["b","a"],"text":"巡逻正常。"}]'
        ).encode()
    )


def test_the_signature_of_the_readme() -> None:
    """RFC 8032 signatures are deterministic: the key whose seed is 00 01 … 1f gives this one."""
    assert keys.public_text(KEY) == "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    assert keys.sign(KEY, signed_bytes("EA-000123", **FACTS)) == (
        "c4GpQ12jT2E0fBHpGa69SjH2JspZxubdbjoFNhMH2Mdt/0jpgKdtyquh9tJ7+jKtmFwCcJkV/mt20A5je6bVBw=="
    )


def test_numbers_are_written_as_ecmascript_writes_them() -> None:
    """RFC 8785 appendix B, and what node 18 says to JSON.stringify."""
    numbers = [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27, 1e21, 1e20, 5e-324, 1.7976931348623157e308, -0.0, 100.0]
    numbers += [9.999999999999997e22, 0.000001, 1e-7, 9007199254740992, -1.5, 123456789012345680000.0]
    assert canonical_json(numbers).decode() == (
        "[333333333.3333333,1e+30,4.5,0.002,1e-27,1e+21,100000000000000000000,5e-324,1.7976931348623157e+308,0,100,"
        "9.999999999999997e+22,0.000001,1e-7,9007199254740992,-1.5,123456789012345680000]"
    )


def test_names_are_sorted_by_utf_16_and_text_is_left_as_it_is() -> None:
    """RFC 8785, 3.2.3."""
    names = {"€": "Euro Sign", "\r": "CR", "\ufb33": "Dalet", "1": "One", "😀": "Smile", "\x80": "Control", "ö": "o"}
    assert list(json.loads(canonical_json(names))) == ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]
    assert canonical_json('€$\x0f\nA\'B"\\"/') == r"""_€$\u000f\nA'B\"\\\"/_""".replace("_", '"').encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1, 10**400, "\ud800", b"x", object()])
def test_what_has_no_canonical_form_is_an_error(value: Any) -> None:
    with pytest.raises(ValueError):  # UnicodeEncodeError is one
        canonical_json([value])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-(2.0**53), 2.0**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_canonical_json_is_json_of_the_same_value_and_of_one_form(value: Any) -> None:
    try:
        form = canonical_json(value)
    except UnicodeEncodeError:
        return
    assert json.loads(form) == value
    assert canonical_json(json.loads(form)) == form


def test_what_is_deep_is_found_without_recursion() -> None:
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    assert not shallow(deep)
    assert shallow({"a": [{"b": [1, 2]}]})


# --- who may ----------------------------------------------------------------------------------------------------------


def test_a_signed_command_is_that_of_its_operator() -> None:
    assert author(signed()) == "operator:wang"
    assert author(signed(by="the night shift"), by="the night shift") == "operator:wang (the night shift)"


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "another"},
        {"name": "say"},
        {"not_after": "2026-11-22T01:18:34.000Z"},
        {"by": "li"},
        {"args": {"route": "sea"}},
        {"args": {"route": "river", "x": 1}},
        {"args": {}},
    ],
)
def test_a_signature_is_good_for_nothing_but_what_was_signed(changes: dict[str, Any]) -> None:
    assert "wrong signature" in refused(signed(), **changes)


def test_a_command_to_another_device_is_not_one_to_this() -> None:
    assert "wrong signature" in refused(signed(device="D-2"))


def test_a_key_that_is_not_the_operators_is_refused_also_where_it_is_another_operators() -> None:
    li = operator("li", key=OTHER)
    assert "wrong signature" in refused(signed(OTHER), operator(), li)
    assert "unknown kid 'zhao'" in refused(signed(kid="zhao"), operator(), li)
    assert author(signed(OTHER, kid="li"), operator(), li) == "operator:li (wang)"


@pytest.mark.parametrize("sig", ["", "x", "é", "AAAA", "A" * 88, "=" * 88])
def test_what_is_no_signature_is_a_wrong_one(sig: str) -> None:
    assert "wrong signature" in refused(Auth(kid="wang", sig=sig))


def test_a_key_is_good_until_the_end_of_its_last_day() -> None:
    assert author(signed(), wall_s=1795391999.0) == "operator:wang"  # 23:59:59Z
    assert "was good until 2026-11-22" in refused(signed(), wall_s=1795392001.0)


@pytest.mark.parametrize("name", [*NAMES, "desired"])
def test_each_role_may_what_the_table_says_and_all_that_the_one_before_it_may(name: str) -> None:
    allowed = [role for role in ROLES if may(role, name)]
    assert allowed == list(ROLES)[list(ROLES).index(allowed[0]) :], "a role lost what a lesser one has"
    for role in ROLES:
        answer = author(signed(name=name), operator(role=role), name=name)
        assert isinstance(answer, str) == (role in allowed)
        if role not in allowed:
            assert f"wang is {role}, which may not ask for `{name}`" in str(answer)


def test_every_command_has_exactly_one_least_role() -> None:
    assert sorted(name for names in ROLES.values() for name in names) == sorted([*NAMES, "desired"])


@pytest.mark.parametrize("name", [*NAMES, "desired"])
def test_unsigned_goes_only_what_moves_nothing_says_nothing_and_sets_nothing(name: str) -> None:
    answer = author(None, name=name)
    assert answer == "unsigned:wang" if name in UNSIGNED else "wants the signature of an operator" in str(answer)
    assert author(None, name=name, unsigned=True) == "unsigned:wang"


def test_nobody_passes_for_a_proven_operator_by_saying_so() -> None:
    assert author(None, name="acknowledge", by="operator:wang") == "unsigned:operator:wang"


def test_a_wrong_signature_is_refused_also_where_none_is_needed() -> None:
    assert "wrong signature" in refused(signed(OTHER), name="acknowledge")
    assert "wrong signature" in refused(signed(OTHER), unsigned=True)


def test_without_operators_the_way_out_is_named() -> None:
    answer = Signatures("D-1", ()).author(**FACTS, auth=None, wall_s=NOW_S)
    assert "[[operator]] of agent.toml" in str(answer)
