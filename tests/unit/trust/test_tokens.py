"""Tokens and keys: what is signed verifies, and nothing else does."""

from __future__ import annotations

import base64
import json

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.kernel import AuthError, ConfigError
from millstream.protocols.nats_jwt import (
    KeyPair,
    format_creds,
    is_public_key,
    parse_creds,
    read_token,
    sign_claims,
    verify_signature,
    verify_token,
)

SEEDS = st.binary(min_size=32, max_size=32)
KEY = KeyPair.make("account", b"\x01" * 32)
OTHER = KeyPair.make("account", b"\x02" * 32)


@given(SEEDS, st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=20), max_size=5))
def test_what_is_signed_verifies_and_reads_back(entropy: bytes, extra: dict[str, object]) -> None:
    key = KeyPair.make("account", entropy)
    token = verify_token(sign_claims({"sub": "U", "nats": extra}, key, 100), {key.public}, 100)
    assert (token.subject, token.issuer, token.issued_s, dict(token.nats)) == ("U", key.public, 100, extra)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_noticed(at: int, change: int) -> None:
    text = sign_claims({"sub": "U", "nats": {}}, KEY, 1)
    raw = bytearray(text.encode())
    raw[at % len(raw)] ^= change
    if raw.decode("latin-1") != text:
        with pytest.raises(AuthError):
            verify_token(raw.decode("latin-1"), {KEY.public}, 1)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "a.b", "....", "e30.e30.e30", "x" * (2 << 20)])
def test_what_is_no_token_is_an_auth_error(text: str) -> None:
    with pytest.raises(AuthError):
        verify_token(text, {KEY.public}, 1)


def test_another_algorithm_is_refused() -> None:
    head, body, signature = sign_claims({"sub": "U"}, KEY, 1).split(".")
    none = base64.urlsafe_b64encode(json.dumps({"typ": "JWT", "alg": "none"}).encode()).rstrip(b"=").decode()
    with pytest.raises(AuthError):
        verify_token(f"{none}.{body}.{signature}", {KEY.public}, 1)
    assert head != none


def test_time_and_issuer_count() -> None:
    text = sign_claims({"sub": "U", "exp": 10}, KEY, 1)
    assert verify_token(text, {KEY.public}, 9.9).expires_s == 10
    with pytest.raises(AuthError, match="expired"):
        verify_token(text, {KEY.public}, 10)
    with pytest.raises(AuthError, match="somebody else"):
        verify_token(text, {OTHER.public}, 1)


def test_a_signature_is_of_its_key_and_data() -> None:
    signature = KEY.sign(b"data")
    verify_signature(KEY.public, b"data", signature)
    for public, data, given_signature in (
        (OTHER.public, b"data", signature), (KEY.public, b"dat", signature), (KEY.public, b"data", b""),
        (KEY.public, b"data", signature[:-1] + b"x"), ("A", b"data", signature), ("", b"data", signature),
    ):  # fmt: skip
        with pytest.raises(AuthError):
            verify_signature(public, data, given_signature)


def test_keys_say_what_they_are_for_and_never_show_their_seed() -> None:
    user = KeyPair.make("user", b"\x03" * 32)
    assert (user.kind, user.public[0], user.seed[:2]) == ("user", "U", "SU")
    assert is_public_key(user.public, "user")
    assert not is_public_key(user.public, "account")
    assert not is_public_key(user.public[:-1] + ("A" if user.public[-1] != "A" else "B"), "user")
    assert user.seed not in repr(user)
    with pytest.raises(ConfigError):
        KeyPair("SU")
    with pytest.raises(ValueError, match="32 bytes"):
        KeyPair.make("user", b"short")


def test_creds_files_read_back_and_others_are_refused() -> None:
    user = KeyPair.make("user", b"\x03" * 32)
    token, key = parse_creds(format_creds("a.b.c", user.seed), where="x")
    assert (token, key.public) == ("a.b.c", user.public)
    for text in ("", "-----BEGIN NATS USER JWT-----", "nothing"):
        with pytest.raises(ConfigError):
            parse_creds(text, where="x")


def test_tags_are_read_by_name() -> None:
    token = read_token(sign_claims({"sub": "U", "nats": {"tags": ["site:a", "place:uns.v1.b", "bare"]}}, KEY, 1))
    assert (token.tag("site"), token.tag("place"), token.tag("bare")) == ("a", "uns.v1.b", None)


def test_keys_are_those_of_nkeys() -> None:
    for prefix in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_USER):
        for number in range(20):
            seed = nkeys.encode_seed(bytes([number]) * 32, prefix)
            theirs, ours = nkeys.from_seed(bytearray(seed)), KeyPair(seed.decode())
            assert ours.public.encode() == bytes(theirs.public_key)
            assert ours.sign(b"x") == theirs.sign(b"x")


@pytest.mark.parametrize("change", ["", "short", "prefix", "checksum", "kind", "letters"])
def test_what_is_no_seed_is_no_key(change: str) -> None:
    good = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER).decode()
    server = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_SERVER).decode()
    bad = {
        "": "", "short": good[:-8], "prefix": "X" + good[1:], "checksum": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "kind": server, "letters": "\u00e9" * 58,
    }[change]  # fmt: skip
    with pytest.raises(ConfigError):
        KeyPair(bad)
