"""Revisions of a site's configuration as they lie at the hub."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import msgspec
import pytest

from millstream.kernel import ConfigError, DecodeError
from millstream.protocols.site_config import (
    DOCUMENT_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    PLAIN_BYTES_MAX,
    Revision,
    Signature,
    decode_revision,
    document_digest,
    encode_revision,
    make_revision,
    signed_bytes,
)

TEXT = "connectors: []\n"


def made(text: str = TEXT, **more: Any) -> Revision:
    fields: dict[str, Any] = {
        "edge": "cologne", "revision": 4, "based_on": 3, "author": "ada", "comment": "faster", "time_ns": 17,
    }  # fmt: skip
    fields |= more
    return make_revision(fields.pop("edge"), text, **fields)


def changed(**fields: Any) -> bytes:
    return encode_revision(msgspec.structs.replace(made(), **fields))


def test_a_revision_comes_back_as_it_was() -> None:
    assert decode_revision(encode_revision(made()), "cologne") == (made(), TEXT)


def test_a_long_document_is_packed_and_comes_back() -> None:
    text = "# ä long one\n" * (PLAIN_BYTES_MAX // 10)
    revision = made(text)
    assert revision.document == ""
    assert len(encode_revision(revision)) < len(text) // 20
    assert decode_revision(encode_revision(revision), "cologne")[1] == text


def test_what_is_signed_is_fixed_to_the_byte() -> None:
    revision = make_revision("cologne", TEXT, revision=4, based_on=3, author="ädå", comment="1,2:3", time_ns=17)
    digest = document_digest(TEXT)
    assert signed_bytes(revision) == (
        b"24:millstream-site-config-1,7:cologne,1:4,1:3,71:" + digest.encode() + b",5:\xc3\xa4d\xc3\xa5,2:17,5:1,2:3,"
        b"3:put,1:0,5:60000,0:,"
    )


@pytest.mark.parametrize(
    "fields",
    [{"edge": "bonn"}, {"revision": 5}, {"based_on": 2}, {"author": "eve"}, {"comment": "x"}, {"time_ns": 18},
     {"kind": "rollback"}, {"restores": 1}, {"healthy_within_ms": 2000}, {"rollout": "r"}, {"digest": "sha256:0"}],
)  # fmt: skip
def test_what_is_signed_covers_each_field(fields: dict[str, Any]) -> None:
    assert signed_bytes(msgspec.structs.replace(made(), **fields)) != signed_bytes(made())


def test_what_is_signed_does_not_cover_the_signature_or_how_it_is_packed() -> None:
    packed = base64.b64encode(zlib.compress(TEXT.encode())).decode()
    same = msgspec.structs.replace(made(), document="", packed=packed, signature=Signature("U", "s"))
    assert signed_bytes(same) == signed_bytes(made())
    assert decode_revision(encode_revision(same), "cologne")[1] == TEXT


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "MS-2402"),
        (b"[]", "MS-2402"),
        (b"\xff\xfe", "MS-2402"),
        (b'{"edge":' + b"[" * 5000, "MS-2402"),
        (b" " * (PAYLOAD_BYTES_MAX + 1), "MS-2401"),
        (changed(edge="bonn"), "MS-2403"),
        (changed(document="connectors: [1]\n"), "MS-2402"),
        (changed(digest="md5:1"), "MS-2402"),
        (changed(revision=0, based_on=0), "MS-2402"),
        (changed(based_on=4), "MS-2402"),
        (changed(based_on=-1), "MS-2402"),
        (changed(author=""), "MS-2402"),
        (changed(author="a\nb"), "MS-2402"),
        (changed(author="\x1b[2J"), "MS-2402"),
        (changed(comment="x" * 600), "MS-2402"),
        (changed(healthy_within_ms=1), "MS-2402"),
        (changed(restores=9), "MS-2402"),
        (changed(packed="AAAA"), "MS-2402"),
        (changed(document="", packed="no base64 at all"), "MS-2402"),
        (changed(document="", packed=base64.b64encode(zlib.compress(b"x" * 99)[:-9]).decode()), "MS-2402"),
        (changed(document="", packed=base64.b64encode(zlib.compress(b" " * (DOCUMENT_BYTES_MAX + 9))).decode()),
         "MS-2401"),
        (encode_revision(made())[:-1] + b',"more":1}', "MS-2402"),
    ],
)  # fmt: skip
def test_what_is_no_revision_is_refused_with_its_code(payload: bytes, code: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_revision(payload, "cologne")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"edge": "../bonn"}, "MS-2402"), ({"edge": "a.b"}, "MS-2402"), ({"author": ""}, "MS-2402"),
     ({"text": "#" * (DOCUMENT_BYTES_MAX + 1)}, "MS-2401")],
)  # fmt: skip
def test_what_no_site_would_take_is_not_made(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**fields)
    assert caught.value.code == code
