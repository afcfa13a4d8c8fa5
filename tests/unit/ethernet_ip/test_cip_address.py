"""Names of Logix tags, identities, and what the libraries' words mean."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycomm3.tag import Tag as Answer

from millstream.connectors.ethernet_ip import EtherNetIpConfig, EtherNetIpConnector
from millstream.connectors.ethernet_ip._faults import fault
from millstream.connectors.ethernet_ip._pycomm3_driver import error_quality, nodes_of, reading
from millstream.kernel import ConfigError, DecodeError
from millstream.protocols.cip_address import TagAddress, parse_address, writable_value
from millstream.protocols.cip_identity import Mode, decode_identity, mode_of
from millstream.sdk import ConnectorTools, Tag

# Sent by cpppo 5.2.5 in answer to a List Identity request.
CPPPO_IDENTITY = bytes.fromhex(
    "63002f000000000000000000000000000000000000000000"
    "01000c0029000100000 2af120000000000000000000000000100 0e003600140b70301a066c00074d6978657220 34ff".replace(" ", "")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Speed", TagAddress("Speed", "Speed")),
        ("Status.5", TagAddress("Status.5", "Status", bit=5)),
        ("Status.05", TagAddress("Status.5", "Status", bit=5)),
        ("A[1,2,3]", TagAddress("A[1,2,3]", "A", (1, 2, 3))),
        ("A[3].7", TagAddress("A[3].7", "A", (3,), bit=7)),
        ("R.Step[2].Name", TagAddress("R.Step[2].Name", "R.Step[2].Name")),
        ("R.Step[2]", TagAddress("R.Step[2]", "R.Step", (2,))),
        ("Values[0]{10}", TagAddress("Values[0]{10}".removesuffix("{10}"), "Values", (0,), count=10)),
        ("Program:Main.Count", TagAddress("Program:Main.Count", "Program:Main.Count")),
        ("Local:1:I.Data.0", TagAddress("Local:1:I.Data.0", "Local:1:I.Data", bit=0)),
        (" Speed ", TagAddress("Speed", "Speed")),
    ],
)
def test_an_address_is_a_tags_name(text: str, expected: TagAddress) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "1Speed", "Speed.", ".Speed", "A[1", "A[]", "A[1,2,3,4]", "A[-1]", "A[4294967296]", "A{0}", "A{10001}",
        "A.64", "A.3{2}", "A B", "A..B", "Ü", "A\nB", "A" * 513, "A[1][2]", "A{2}.B",
    ],
)  # fmt: skip
def test_what_is_no_tags_name_is_refused_offline(text: str) -> None:
    connector = EtherNetIpConnector(EtherNetIpConfig(host="192.0.2.1"), ConnectorTools())
    with pytest.raises(ConfigError) as caught:
        connector.check_tag(Tag("a", text))
    assert caught.value.code == "MS-1301"


def test_options_are_refused_offline() -> None:
    connector = EtherNetIpConnector(EtherNetIpConfig(host="192.0.2.1"), ConnectorTools())
    with pytest.raises(ConfigError):
        connector.check_tag(Tag("a", "Speed", options={"slot": 1}))


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ConfigError:
        return
    assert text.strip().startswith(address.base)


@pytest.mark.parametrize(
    ("data_type", "good", "wrong", "large"),
    [
        ("BOOL", True, 1, None),
        ("SINT", -128, 1.0, 128),
        ("USINT", 255, "1", -1),
        ("DINT", 2**31 - 1, True, -(2**31) - 1),
        ("ULINT", 2**64 - 1, None, 2**64),
        ("REAL", 3.4e38, "x", 3.5e38),
        ("LREAL", 1.7e308, True, None),
        ("REAL", float("inf"), [1.0], None),
        ("STRING", "é" * 41, 5, "é" * 42),
    ],
)
def test_a_value_is_checked_before_it_is_written(data_type: str, good: object, wrong: object, large: object) -> None:
    plain = TagAddress("A", "A")
    assert writable_value(plain, data_type, good) == good  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        writable_value(plain, data_type, wrong)  # type: ignore[arg-type]
    if large is not None:
        with pytest.raises(OverflowError):
            writable_value(plain, data_type, large)  # type: ignore[arg-type]


def test_lists_and_bits_are_checked_before_they_are_written() -> None:
    assert writable_value(parse_address("A[0]{2}"), "INT", [1, 2]) == [1, 2]
    assert writable_value(parse_address("A.3"), "DINT", True) is True
    for address, value in (("A[0]{2}", [1]), ("A[0]{2}", 1), ("A.3", 1), ("A", [1])):
        with pytest.raises(TypeError):
            writable_value(parse_address(address), "INT", value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="structure cannot be written"):
        writable_value(parse_address("A"), "structure", 1)


def test_an_identity_is_read_as_another_implementation_writes_it() -> None:
    found = decode_identity(CPPPO_IDENTITY)
    assert (found.vendor_id, found.device_type, found.product_code) == (1, 14, 54)
    assert (found.revision, found.serial, found.product_name) == ("20.011", "006c061a", "Mixer 4")
    assert mode_of(found.status) is Mode.PROGRAM


@given(st.integers(0, len(CPPPO_IDENTITY) - 2) | st.binary(max_size=120))
def test_a_cut_or_foreign_datagram_is_no_identity(cut: int | bytes) -> None:
    data = CPPPO_IDENTITY[:cut] if isinstance(cut, int) else cut
    with pytest.raises(DecodeError):
        decode_identity(data)


@pytest.mark.parametrize(
    ("status", "mode"),
    [(0x3160, Mode.RUN), (0x3070, Mode.PROGRAM), (0x0C50, Mode.FAULT), (0x0000, Mode.UNKNOWN), (0x0C60, Mode.RUN)],
)
def test_the_status_word_says_what_the_controller_does(status: int, mode: Mode) -> None:
    assert mode_of(status) is mode


@pytest.mark.parametrize(
    ("config", "hops"),
    [
        ({}, [(1, 0)]),
        ({"slot": 3}, [(1, 3)]),
        ({"route": "1/2/2/192.168.5.10/1/0"}, [(1, 2), (2, "192.168.5.10"), (1, 0)]),
        ({"micro800": True}, []),
    ],
)
def test_the_way_to_the_controller_is_ports_and_links(config: dict[str, object], hops: list[object]) -> None:
    assert EtherNetIpConfig.model_validate({"host": "192.0.2.1", **config}).hops() == hops


@pytest.mark.parametrize("wrong", [{"route": "1"}, {"route": "1/300"}, {"route": "x/0"}, {"connection_size": 50}])
def test_a_wrong_route_or_size_is_refused_offline(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        EtherNetIpConfig.model_validate({"host": "192.0.2.1", **wrong})


@pytest.mark.parametrize(
    ("status", "is_write", "label"),
    [
        (0x04, False, "BadNodeIdUnknown"), (0x05, True, "BadNodeIdUnknown"), (0x0F, False, "BadNotReadable"),
        (0x0F, True, "BadNotWritable"), (0xFF, False, "BadOutOfRange"), (0x99, False, "Bad"),
    ],
)  # fmt: skip
def test_a_cip_status_is_a_quality(status: int, is_write: bool, label: str) -> None:
    assert fault(status, is_write=is_write)[0].label == label


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("Tag doesn't exist - Nope", "BadNodeIdUnknown"),
        ("Path destination unknown", "BadNodeIdUnknown"),
        ("Privilege violation", "BadNotReadable"),
        ("Service not supported", "BadNotReadable"),
        ("something new", "Bad"),
    ],
)
def test_the_words_of_pycomm3_are_qualities(words: str, label: str) -> None:
    assert error_quality(words).label == label


def test_answers_of_pycomm3_become_values_of_ours() -> None:
    plain, three = parse_address("A"), parse_address("A[0]{3}")
    assert reading(plain, Answer("A", {"Step": 4, "Times": (1, 2)}, "Recipe", None))[0] == {"Step": 4, "Times": [1, 2]}
    assert reading(three, Answer("A", [1, 2, 3], "DINT[3]", None))[0] == [1, 2, 3]
    assert reading(three, Answer("A", [1, 2], "DINT[3]", None))[1].label == "BadDecodingError"
    assert reading(plain, Answer("A", None, None, "Privilege violation"))[1].label == "BadNotReadable"
    assert reading(plain, Answer("A", None, None, None))[1].label == "BadDecodingError"


@dataclass
class Definitions:
    """Tag definitions as pycomm3 holds them after an upload."""

    members: tuple[tuple[str, dict[str, object]], ...] = (
        ("Step", {"tag_type": "atomic", "data_type_name": "DINT", "array": 0}),
        ("ZZZZhidden", {"tag_type": "atomic", "data_type_name": "SINT", "array": 0}),
        ("Times", {"tag_type": "atomic", "data_type_name": "REAL", "array": 4}),
    )

    def structure(self) -> dict[str, object]:
        """A structure with one hidden member."""
        return {
            "tag_type": "struct", "data_type_name": "Recipe", "dimensions": [0, 0, 0], "external_access": "Read/Write",
            "data_type": {"internal_tags": dict(self.members), "attributes": ["Step", "Times"]},
        }  # fmt: skip


def test_a_structure_of_the_uploaded_list_is_its_visible_members() -> None:
    assert [node.address for node in nodes_of("R", Definitions().structure())] == ["R.Step", "R.Times[0]{4}"]


def test_a_structure_that_contains_itself_comes_to_an_end() -> None:
    inner = Definitions().structure()
    inner["data_type"]["internal_tags"]["Step"] = inner  # type: ignore[index]
    assert len(list(nodes_of("R", inner))) < 20


def test_an_array_of_structures_and_a_tag_without_access_are_listed_as_they_are() -> None:
    array = Definitions().structure() | {"dimensions": [3, 0, 0]}
    assert [node.address for node in nodes_of("R", array)] == ["R[0]{3}"]
    closed = {"tag_type": "atomic", "data_type_name": "DINT", "dimensions": [0, 0, 0], "external_access": "Read Only"}
    (node,) = nodes_of("Program:Main.X", closed)
    assert (node.is_writable, node.groups, node.data_type) == (False, ("Program:Main",), "DINT")
