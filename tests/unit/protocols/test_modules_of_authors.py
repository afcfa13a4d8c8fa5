"""What stands with a module: a manifest for each author, within a bound."""

from __future__ import annotations

import msgspec
import pytest

from millstream.kernel import DecodeError
from millstream.protocols.module import (
    INFO_BYTES_MAX,
    VOUCHERS_COUNT_MAX,
    Manifest,
    decode_info,
    encode_info,
    info_name,
    info_subject,
    manifest_trouble,
    module_digest,
    with_manifest,
)
from millstream.protocols.site_config import Signature

DIGEST = module_digest(b"code")
TOKEN = "t" * 1500


def manifest(author: str, key: str = "", **more: object) -> Manifest:
    signature = Signature(key, "s" * 86, TOKEN) if key else None
    made = Manifest(digest=DIGEST, size_bytes=4, kind="wasm", file="m.wasm", author=author, time_ns=1)
    return msgspec.structs.replace(made, signature=signature, **more)


def test_each_key_has_one_manifest_and_what_nobody_signed_gives_way() -> None:
    unsigned, ann, bea, again = manifest("me"), manifest("ann", "A"), manifest("bea", "B"), manifest("ann2", "A")
    assert with_manifest((), unsigned) == (unsigned,)
    assert with_manifest((unsigned,), ann) == (ann,)
    assert with_manifest((ann,), bea) == (ann, bea)
    assert with_manifest((ann, bea), again) == (bea, again)
    assert with_manifest((ann, bea), unsigned) == (unsigned,)


def test_a_module_of_many_authors_stays_within_its_bounds() -> None:
    said: tuple[Manifest, ...] = ()
    for number in range(VOUCHERS_COUNT_MAX + 3):
        said = with_manifest(said, manifest(f"author {number}", f"KEY{number}"))
    assert [one.author for one in said] == [f"author {n}" for n in range(3, VOUCHERS_COUNT_MAX + 3)]
    info = encode_info(said, "nuid", 1, "2026-01-01T00:00:00Z")
    assert len(info) < INFO_BYTES_MAX
    stored = decode_info(info, DIGEST)
    assert stored is not None
    assert stored.manifests == said
    assert stored.of_author("author 5", "KEY5") == said[2]
    assert stored.of_author("author 5", "KEY6") is None


def test_a_manifest_of_another_module_among_them_is_told() -> None:
    other = manifest("eve", "E", digest=module_digest(b"other"))
    with pytest.raises(DecodeError, match="of a module is none"):
        decode_info(encode_info((manifest("ann", "A"), other), "nuid", 1, ""), DIGEST)


def test_the_digest_comes_back_from_its_subject() -> None:
    assert info_name(info_subject(DIGEST)) == DIGEST
    assert [info_name(subject) for subject in ("$O.modules.M.%%%", "$O.modules.M._w==")] == ["", ""]


@pytest.mark.parametrize(
    "change",
    [{"digest": "sha256:1"}, {"file": ""}, {"file": "x" * 121}, {"file": "a\nb"}, {"author": ""}, {"author": "x" * 129},
     {"time_ns": -1}],
)  # fmt: skip
def test_what_is_wrong_with_a_manifest_is_told(change: dict[str, object]) -> None:
    assert manifest_trouble(manifest("ann", "A")) is None
    assert manifest_trouble(msgspec.structs.replace(manifest("ann", "A"), **change)) is not None
