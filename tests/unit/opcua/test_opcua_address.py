"""Addresses survive their text form, whatever stands in them."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.connectors.opcua._address import BrowsePath, NodeAddress, Step, parse_address
from millstream.kernel import ConfigError

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


STEPS = st.builds(
    lambda name, uri, index: Step(name, uri, 0 if uri is not None else index),
    TEXTS.filter(lambda t: t == t.strip()), URIS, st.integers(0, 65535),
)  # fmt: skip


@given(st.lists(STEPS, min_size=1, max_size=5))
def test_a_path_survives_its_text(steps: list[Step]) -> None:
    path = BrowsePath(tuple(steps))
    assert parse_address(str(path)) == path


def test_a_path_is_written_by_index_by_uri_or_with_one_uri_for_all_names() -> None:
    by_index = BrowsePath((Step("Objects"), Step("Boiler", None, 2), Step("Temp", None, 2)))
    assert parse_address("/Objects/2:Boiler/2:Temp") == by_index
    assert parse_address("path=/Objects/2:Boiler/2:Temp") == by_index
    assert parse_address("ns=2;path=/Objects/Boiler/Temp") == by_index
    by_uri = BrowsePath((Step("Objects"), Step("Boiler", "http://a/b", 0), Step("Status", None, 0)))
    assert parse_address("nsu=http://a/b;path=/Objects/Boiler/0:Status") == by_uri
    assert parse_address("/Objects/nsu=http:%2F%2Fa%2Fb;Boiler/Status") == by_uri
    assert parse_address("/Objects/3:a&/b&:c&&d") == BrowsePath((Step("Objects"), Step("a/b:c&d", None, 3)))
    assert parse_address("nsu=urn:x;s=/Objects/a") == NodeAddress("s", "/Objects/a", "urn:x")


@pytest.mark.parametrize(
    "text", ["/", "/Objects/", "//a", "/Objects//a", "path=Objects", "nsu=;path=/a", "/70000:a", "/nsu=urn:x/a", "/a&"]
)
def test_a_path_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)
