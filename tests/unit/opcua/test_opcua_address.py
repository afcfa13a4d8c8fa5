"""Addresses survive their text form, whatever stands in them."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from millstream.connectors.opcua._address import NodeAddress

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30)
URIS = st.none() | TEXTS
IDENTIFIERS = st.one_of(
    st.tuples(st.just("i"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("s"), TEXTS.filter(lambda t: t == t.strip())),
    st.tuples(st.just("g"), st.uuids()),
    st.tuples(st.just("b"), st.binary(max_size=20)),
)


@given(IDENTIFIERS, URIS.filter(lambda u: u is None or u == u.strip()), st.integers(0, 65535))
def test_an_address_survives_its_text(
    identifier: tuple[str, int | str | bytes | uuid.UUID], uri: str | None, index: int
) -> None:
    address = NodeAddress(identifier[0], identifier[1], uri, 0 if uri is not None else index)  # type: ignore[arg-type]
    assert NodeAddress.parse(str(address)) == address


def test_the_namespace_is_found_by_uri_or_is_unknown() -> None:
    namespaces = ["http://opcfoundation.org/UA/", "urn:server", "urn:plant"]
    assert NodeAddress.parse("nsu=urn:plant;s=x").index_in(namespaces) == 2
    assert NodeAddress.parse("nsu=urn:gone;s=x").index_in(namespaces) is None
    assert NodeAddress.parse("ns=7;s=x").index_in(namespaces) == 7
