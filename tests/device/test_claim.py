"""Claims: what a label says, read back, and what is mistyped or damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import claim

HASH = "ab" * 32


@given(st.sampled_from(["ca.example.org", "10.0.0.7", "fd00::7"]), st.integers(1, 65535))
def test_a_claim_reads_back_from_its_own_line(host: str, port: int) -> None:
    made = claim.Claim(host=host, port=port, ca_sha256=HASH, code=claim.new_code())
    assert claim.parse(str(made)) == made
    assert claim.parse(f" {str(made).lower()}\n") == made, "case, and what a scanner puts around it"


def test_a_code_that_begins_as_every_claim_does_is_a_code() -> None:
    symbols = "EA1" + "7F3KAAAABBBBCCCC"
    code = symbols + claim._check(symbols)
    assert claim.code(claim.grouped(code)) == code
    assert claim.code("EA1-" + claim.grouped(code)) == code


@given(st.data())
def test_one_wrong_symbol_or_two_swapped_are_seen_before_the_ca_is_asked(data: st.DataObject) -> None:
    code = claim.new_code()
    at = data.draw(st.integers(0, 18))
    wrong = data.draw(st.sampled_from(sorted(set(claim.ALPHABET) - {code[at]})))
    typed = code[:at] + wrong + code[at + 1 :]
    if {wrong, code[at]} != {"0", "Z"}:  # the one pair that is the same modulo 31
        with pytest.raises(ValueError, match="mistyped"):
            claim.code(typed)
    swapped = code[:at] + code[at + 1] + code[at] + code[at + 2 :] if at < 17 else code
    if {swapped[at], code[at]} not in ({"0", "Z"}, {code[at]}):
        with pytest.raises(ValueError, match="mistyped"):
            claim.code(swapped)


def test_what_people_confuse_is_taken_for_what_was_meant() -> None:
    code = next(code for code in iter(claim.new_code, "") if "0" in code and "1" in code)
    assert claim.code(claim.grouped(code).replace("0", "o").replace("1", "l").lower()) == code
    assert claim.code("EA1-" + claim.grouped(code)) == code


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "reads EA1:HOST"),
        ("EA2:ca:1:00:00", "reads EA1:HOST"),
        (f"EA1:ca:0:{HASH}:x", "port 0"),
        (f"EA1:ca:70000:{HASH}:x", "port 70000"),
        ("EA1:ca:8470:abcd:x", "64 hex digits, this has 4"),
        (f"EA1:ca:8470:{HASH}:ABCD", "20 letters and digits, this has 4"),
    ],
)
def test_a_damaged_claim_says_which_part(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        claim.parse(text)
