"""Addresses, statuses, pauses and signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import DecodeError
from millstream.model import BAD_DATA_UNAVAILABLE, BAD_NO_COMMUNICATION, BAD_NODE_ID_UNKNOWN, BAD_NOT_READABLE, GOOD
from millstream.protocols.http_rules import (
    RETRY_AFTER_S_MAX,
    Resource,
    is_bearer,
    is_signed,
    parse_resource,
    quality_of,
    retry_after_s,
)

NOW_NS = 1_445_412_480 * 10**9  # Wed, 21 Oct 2015 07:28:00 GMT, the date of RFC 9110's own example


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("$.a", Resource("", ("a",))),
        ("values#$.a[0]", Resource("values", ("a", 0))),
        ("a/b?c=d", Resource("a/b?c=d", None)),
        ("", Resource("", None)),
        ("x#$", Resource("x", ())),
    ],
)
def test_an_address_is_a_path_and_a_place_in_the_body(text: str, resource: Resource) -> None:
    assert parse_resource(text) == resource


@pytest.mark.parametrize("text", ["a b", "a#b", "a#$.", "http://other/", "//other/x", "a\r\nb", "$.a b["])
def test_an_address_that_leaves_the_server_or_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_resource(text)


def test_a_status_says_how_good_a_value_is() -> None:
    expected = {
        200: GOOD, 204: GOOD, 301: BAD_NOT_READABLE, 400: BAD_NOT_READABLE, 404: BAD_NODE_ID_UNKNOWN,
        410: BAD_NODE_ID_UNKNOWN, 429: BAD_DATA_UNAVAILABLE, 503: BAD_DATA_UNAVAILABLE, 501: BAD_NO_COMMUNICATION,
    }  # fmt: skip
    assert {status: quality_of(status) for status in expected} == expected
    assert int(quality_of(403)) == 0x801F0000
    assert quality_of(999).is_bad


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [
        (None, 0.0),
        ("120", 120.0),
        ("999999999999999", RETRY_AFTER_S_MAX),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
    ],
)
def test_a_pause_that_a_server_asks_for_is_bounded(text: str | None, pause_s: float) -> None:
    assert retry_after_s(text, NOW_NS) == pause_s


def test_a_token_has_to_be_the_whole_one() -> None:
    assert is_bearer("Bearer right", "right")
    assert is_bearer("bearer  right", "right")
    for header in (None, "", "right", "Bearer", "Bearer righ", "Basic right", "Bearer rightt", "Bearer rïght"):
        assert not is_bearer(header, "right")


def test_a_signature_is_over_the_body() -> None:
    digest = hmac.new(b"key", b"body", hashlib.sha256).digest()
    for header in (digest.hex(), f"sha256={digest.hex()}", base64.b64encode(digest).decode()):
        assert is_signed(b"body", header, "key")
        assert not is_signed(b"bodY", header, "key")
        assert not is_signed(b"body", header, "kez")
    for header in (None, "", "sha256=", "zz", digest.hex()[:-2]):
        assert not is_signed(b"body", header, "key")


@given(st.text(max_size=60))
def test_no_header_does_more_than_be_refused(text: str) -> None:
    assert not is_signed(b"body", text, "key")
    assert not is_bearer(text, "a secret that no text is")
    assert 0 <= retry_after_s(text, NOW_NS) <= RETRY_AFTER_S_MAX
