"""BACnet addresses, plans, values and qualities."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pint
import pytest
from bacpypes3.basetypes import EngineeringUnits, PropertyIdentifier, StatusFlags
from bacpypes3.constructeddata import Any as AnyValue
from bacpypes3.primitivedata import (
    BitString,
    Boolean,
    CharacterString,
    ClosingTag,
    Date,
    Double,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    OctetString,
    OpeningTag,
    Real,
    TagList,
    Time,
    Unsigned,
)
from hypothesis import given
from hypothesis import strategies as st

from millstream.config._units import unit_problem
from millstream.connectors.bacnet import BacnetConfig, BacnetConnector
from millstream.connectors.bacnet._changes import CHANGES_COUNT_MAX, Changes
from millstream.connectors.bacnet._faults import error_quality, value_quality
from millstream.connectors.bacnet._values import NAMES, decode, encode
from millstream.kernel import ConfigError, DecodeError
from millstream.protocols.bacnet_plan import (
    PRESENT_VALUE,
    STATUS_FLAGS,
    PlanLimits,
    Property,
    Trouble,
    abort_trouble,
    answer_bytes,
    error_trouble,
    parse_address,
    plan_reads,
    reject_trouble,
    split_read,
)
from millstream.protocols.bacnet_units import UNITS, pint_unit
from millstream.sdk import ConnectorTools, Tag


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("analog-input:3", Property(0, 3)),
        ("AI:3", Property(0, 3)),
        (" ai:3 ", Property(0, 3)),
        ("device:1001.system-status", Property(8, 1001, 112)),
        ("device:4194303.system-status", Property(8, 4194303, 112)),
        ("binary-value:1.priority-array[8]", Property(5, 1, 87, 8)),
        ("bv:1[2]", Property(5, 1, PRESENT_VALUE, 2)),
        ("200:1.512", Property(200, 1, 512)),
        ("ai:4194302", Property(0, 4194302)),
    ],
)
def test_an_address_is_an_object_and_a_property(text: str, expected: Property) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "ai", "ai:", "ai:x", "ai:4194303", "device:4194304.object-name", "analog-imput:1",
        "ai:1.present-valu", "1024:1", "ai:1.4194304",
        "ai:1.",
        "ai:1[]", "ai:1[4294967296]", "device:1", "ai:1 2", "ai:1.object-name.x", "ä:1",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_offline(text: str) -> None:
    connector = BacnetConnector(BacnetConfig(host="192.0.2.1"), ConnectorTools())
    with pytest.raises(ConfigError) as caught:
        connector.check_tag(Tag("a", text))
    assert caught.value.code == "MS-1401"


def test_a_misspelt_word_is_answered_with_the_near_one() -> None:
    with pytest.raises(ConfigError, match="did you mean analog-input"):
        parse_address("analog-imput:1")


@pytest.mark.parametrize("options", [{"priority": 0}, {"priority": 17}, {"unit": 1}])
def test_wrong_options_are_refused_offline(options: dict[str, int]) -> None:
    connector = BacnetConnector(BacnetConfig(host="192.0.2.1"), ConnectorTools())
    with pytest.raises(ConfigError) as caught:
        connector.check_tag(Tag("a", "ai:1", options=options))
    assert caught.value.code == "MS-1401"


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"device_id": 7}, {"bind": "192.0.2.5/24"}, {"host": "192.0.2.1", "bind": "0.0.0.0"},
        {"host": "192.0.2.1", "bind": "192.0.2.5/24:x"}, {"host": "192.0.2.1", "bind": "nowhere"},
        {"host": "192.0.2.1", "device_id": 4194303}, {"host": "192.0.2.1", "cov_lifetime": "1s"},
    ],
)  # fmt: skip
def test_a_configuration_that_names_no_device_or_no_address_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        BacnetConfig.model_validate(wrong)


properties = st.builds(
    Property,
    st.integers(0, 5),
    st.integers(0, 50),
    st.sampled_from([85, 111, 77, 28, 1000]),
    st.none() | st.integers(0, 3),
)


@given(st.lists(properties, max_size=200), st.integers(50, 1476), st.integers(1, 100))
def test_a_plan_reads_each_property_once_within_its_bounds(items: list[Property], size: int, count: int) -> None:
    plan = plan_reads(items, PlanLimits(size, count))
    assert sorted((item for request in plan for item in request), key=repr) == sorted(set(items), key=repr)
    for request in plan:
        objects = {(item.object_type, item.instance) for item in request}
        assert len(request) <= count
        assert len(request) == 1 or 3 + 7 * len(objects) + sum(map(answer_bytes, request)) <= size


@given(st.lists(properties, min_size=1, max_size=60))
def test_a_split_goes_on_until_each_property_is_alone(items: list[Property]) -> None:
    waiting, alone = [tuple(dict.fromkeys(items))], []
    while waiting:
        parts = split_read(waiting.pop())
        if len(parts) == 1:
            alone += parts
        else:
            waiting += parts
    assert sorted((part[0] for part in alone), key=repr) == sorted(set(items), key=repr)


def test_a_thousand_values_take_the_requests_that_their_size_demands() -> None:
    values = [Property(0, number) for number in range(1000)]
    plan = plan_reads([*values, *(value.sibling(STATUS_FLAGS) for value in values)], PlanLimits(1476, 100))
    assert len(plan) == 1000 / 50, "a hundred properties each"
    plan = plan_reads([*values, *(value.sibling(STATUS_FLAGS) for value in values)], PlanLimits(1476, 500))
    assert len(plan) == math.ceil(1000 / ((1476 - 3) // (7 + 13 + 7)))


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (abort_trouble(4), Trouble.TOO_LONG), (abort_trouble(1), Trouble.TOO_LONG), (abort_trouble(0), Trouble.OTHER),
        (reject_trouble(9), Trouble.UNSUPPORTED), (reject_trouble(7), Trouble.TOO_LONG),
        (reject_trouble(5), Trouble.OTHER), (error_trouble(67), Trouble.UNSUPPORTED),
        (error_trouble(31), Trouble.OTHER),
    ],
)  # fmt: skip
def test_a_refusal_says_whether_less_would_be_taken(trouble: Trouble, expected: Trouble) -> None:
    assert trouble is expected


def any_of(*values: Any) -> AnyValue:
    """Encoded as in an answer, within the tags that enclose it there."""
    tags = TagList([])
    tags.append(OpeningTag(3))
    for value in values:
        tags.extend(value.encode())
    tags.append(ClosingTag(3))
    return AnyValue(tags)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (Real(21.5), 21.5), (Double(5e-324), 5e-324), (Unsigned(7), 7), (Integer(-7), -7), (Boolean(1), True),
        (Boolean(0), False), (CharacterString("größer"), "größer"), (OctetString(b"\x01\xff"), b"\x01\xff"),
        (BitString([1, 0, 1]), [True, False, True]), (Enumerated(3), 3), (ObjectIdentifier((2, 9)), "analog-value:9"),
        (Date((126, 11, 21, 6)), "2026-11-21"), (Date((255, 11, 255, 255)), "****-11-**"),
        (Time((8, 30, 0, 5)), "08:30:00.05"), (Null(()), None),
    ],
    ids=lambda value: f"{type(value).__name__}",
)  # fmt: skip
def test_a_value_says_itself_what_it_is(encoded: Any, expected: object) -> None:
    value, kind = decode(Property(2, 1), any_of(encoded))
    assert value == expected
    assert type(value) is type(expected)
    assert NAMES[kind]


def test_several_values_are_a_list_and_a_binary_value_is_a_boolean() -> None:
    assert decode(Property(2, 1, 87), any_of(Null(()), Real(1.0), Real(2.0)))[0] == [1.0, 2.0]
    assert decode(Property(8, 1, 76), any_of(ObjectIdentifier((0, 1))))[0] == ["analog-input:1"]
    assert decode(Property(5, 1), any_of(Enumerated(1)))[0] is True
    assert decode(Property(5, 1, 36), any_of(Enumerated(1)))[0] == 1


def test_a_structure_and_nothing_are_no_values() -> None:
    tags = TagList([])
    for tag in (OpeningTag(3), OpeningTag(0), *Real(1.0).encode(), ClosingTag(0), ClosingTag(3)):
        tags.append(tag)
    for content in (AnyValue(tags), any_of(), AnyValue()):
        with pytest.raises(DecodeError):
            decode(Property(2, 1), content)


@pytest.mark.parametrize(
    ("kind", "good", "wrong", "large"),
    [
        (4, 1, "x", 1e39), (5, 1e300, True, None), (2, 7, 1.5, -1), (3, -7, True, 2**31), (9, True, "x", -1),
        (1, False, 1, None), (7, "text", 1, None), (6, b"x", "x", None), (8, [True, False], [1], None),
        (10, "2026-11-21", "21.11.2026", None), (11, "08:30:00", 8, None),
    ],
)  # fmt: skip
def test_a_value_is_checked_before_it_is_written(kind: int, good: Any, wrong: Any, large: Any) -> None:
    value, read_kind = decode(Property(2, 1), any_of(encode(kind, good)))
    assert read_kind == kind
    assert value is not None
    with pytest.raises(TypeError):
        encode(kind, wrong)
    if large is not None:
        with pytest.raises(OverflowError):
            encode(kind, large)


def test_null_relinquishes_whatever_the_type() -> None:
    assert isinstance(encode(4, None), Null)


@pytest.mark.parametrize(
    ("bits", "reliability", "label"),
    [
        ("0000", None, "Good"), ("1000", None, "Good"), ("0100", None, "BadDeviceFailure"),
        ("0100", 2, "BadOutOfRange"), ("0111", 12, "BadNoCommunication"), ("0010", None, "Good(0x00960000)"),
        ("0011", None, "Uncertain(0x40910000)"), ("", None, "Good"),
    ],
)  # fmt: skip
def test_status_flags_and_reliability_are_a_quality(bits: str, reliability: int | None, label: str) -> None:
    assert value_quality([bit == "1" for bit in bits], reliability).label == label


@pytest.mark.parametrize(
    ("code", "label"), [(31, "BadNodeIdUnknown"), (40, "BadNotWritable"), (27, "BadNotReadable"), (999, "Bad")]
)
def test_an_error_code_is_a_quality(code: int, label: str) -> None:
    assert error_quality(code)[0].label == label


class ConfirmedChange(SimpleNamespace):
    """A notification as far as it is looked at."""


class UnconfirmedChange(SimpleNamespace):
    """The same, which nobody acknowledges."""


def change(kind: type[SimpleNamespace], value: float, instance: int = 1, process_id: int = 1) -> Any:
    """A notification of an analog value."""
    entries = [
        SimpleNamespace(propertyIdentifier=PropertyIdentifier(85), value=any_of(Real(value))),
        SimpleNamespace(propertyIdentifier=PropertyIdentifier(111), value=any_of(StatusFlags([0, 0, 0, 0]))),
    ]
    return kind(
        monitoredObjectIdentifier=ObjectIdentifier((2, instance)),
        subscriberProcessIdentifier=process_id,
        listOfValues=entries,
    )


def test_a_full_queue_refuses_what_can_be_sent_again_and_counts_what_cannot() -> None:
    changes = Changes()
    changes.want([Property(2, 1)])
    for number in range(CHANGES_COUNT_MAX):
        assert changes.take(change(UnconfirmedChange, float(number)))
    assert not changes.take(change(ConfirmedChange, -1.0))
    assert changes.take(change(UnconfirmedChange, -2.0))
    assert (changes.take_lost(), changes.take_lost()) == (1, 0)
    taken = changes.drain()
    assert (len(taken), taken[0][1], taken[-1][1]) == (CHANGES_COUNT_MAX, 1.0, -2.0)
    assert changes.drain() == []


def test_changes_of_others_are_acknowledged_and_dropped() -> None:
    changes = Changes()
    changes.want([Property(2, 1)])
    assert changes.take(change(ConfirmedChange, 1.0, instance=2))
    assert changes.take(change(ConfirmedChange, 1.0, process_id=2))
    assert changes.drain() == []


def test_every_unit_is_one_that_a_configuration_takes() -> None:
    assert {unit: unit_problem(unit) for unit in UNITS.values() if unit_problem(unit)} == {}
    assert (pint_unit(62), pint_unit(95), pint_unit(60_000)) == ("degC", None, None)


def test_each_unit_means_what_the_words_of_another_implementation_say() -> None:
    """So that no number stands for its neighbour; words that are no plain products of units were compared by eye."""
    registry = pint.UnitRegistry(cache_folder=None)
    compared = 0
    for number, ours in UNITS.items():
        above, *below = (product_of(part) for part in str(EngineeringUnits(number)).split("-per-"))
        try:
            theirs = registry.Quantity(1.0, "/".join([above, *below])).to_base_units()
        except pint.UndefinedUnitError:
            continue
        mine = registry.Quantity(1.0, ours).to_base_units()
        assert mine.units == theirs.units, (number, ours)
        assert math.isclose(mine.magnitude, theirs.magnitude), (number, ours)
        compared += 1
    assert compared >= 85


def product_of(words: str) -> str:
    """``cubic-meters`` as ``meter**3``, ``newton-meters`` as ``newton*meter``."""
    power, found = "", []
    irregular = {"feet": "foot", "inches": "inch", "degrees-": "", "tons": "tonne", "luxes": "lux", "us-": ""}
    for plural, single in irregular.items():
        words = words.replace(plural, single)
    for word in words.split("-"):
        if word in ("square", "cubic"):
            power = "**2" if word == "square" else "**3"
            continue
        single = word if word in ("siemens", "hertz", "celsius") else word.removesuffix("s")
        found.append(single + power)
        power = ""
    return "*".join(found)
