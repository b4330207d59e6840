"""Digest by the examples of its RFCs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.speakers.digest import challenge

RFC_2617 = (
    'Digest realm="testrealm@host.com", qop="auth,auth-int",'
    ' nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)
RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={},'
    ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def test_the_example_of_rfc_2617_3_5() -> None:
    digest = challenge([RFC_2617])
    assert digest is not None
    header = digest.authorize("Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b")
    assert 'response="6629fae49393a05397450978507c4ef1"' in header
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in header
    assert "nc=00000001" in header
    assert "nc=00000002" in digest.authorize("Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b")


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_3_9_1(algorithm: str, response: str) -> None:
    digest = challenge([RFC_7616.format(algorithm)])
    assert digest is not None
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    header = digest.authorize("Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce)
    assert f'response="{response}"' in header


def test_the_strongest_of_several_challenges_is_taken_and_basic_never() -> None:
    found = challenge(['Basic realm="x"', RFC_7616.format("MD5"), RFC_7616.format("SHA-256")])
    assert found is not None
    assert found.algorithm == "SHA-256"
    assert challenge(['Basic realm="x"']) is None
    assert challenge(['Digest realm="x", nonce="y", qop="auth-int"']) is None
    assert challenge(['Digest realm="x", nonce="y", algorithm=MD5-sess, qop="auth"']) is None


def test_without_qop_it_is_that_of_rfc_2069() -> None:
    digest = challenge(['Digest realm="r", nonce="n"'])
    assert digest is not None
    header = digest.authorize("u", "p", "GET", "/", "ignored")
    assert "cnonce" not in header
    assert 'username="u", realm="r", nonce="n", uri="/"' in header


@given(st.text(max_size=80))
def test_hostile_challenges_are_no_crash(text: str) -> None:
    found = challenge(["Digest " + text, text])
    assert found is None or found.authorize("u", "p", "GET", "/", "c").startswith("Digest ")
