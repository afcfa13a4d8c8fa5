"""Subscriptions as they are planned, and values as they are written."""

from __future__ import annotations

import math

import pytest
from asyncua import ua

from millstream.connectors.opcua import TagOptions
from millstream.connectors.opcua._config import Subscription
from millstream.connectors.opcua._following import Followed
from millstream.connectors.opcua._mapping import WriteRefused, to_variant
from millstream.connectors.opcua._subscriptions import plan, queue_size
from millstream.model import Value
from millstream.sdk import Tag

T = ua.VariantType


@pytest.mark.parametrize(
    ("sampling_s", "publishing_s", "options", "expected"),
    [
        (0.01, 1.0, {}, 201),
        (1.0, 1.0, {}, 50),
        (0.0, 1.0, {}, 101),
        (0.00001, 10.0, {}, 10_000),
        (0.01, 1.0, {"queue_size": 1}, 1),
    ],
)
def test_the_queue_holds_two_publishing_intervals(
    sampling_s: float, publishing_s: float, options: dict[str, int], expected: int
) -> None:
    tag = Tag("t", "i=1", sampling_s, publishing_s)
    assert queue_size(tag, TagOptions.model_validate(options), Subscription()) == expected


def test_one_subscription_a_publishing_interval_and_no_more_items_than_allowed() -> None:
    items = [Followed(Tag(f"t{n}", "i=1", 0.1, 1.0 if n % 2 else 5.0), n) for n in range(10)]
    planned = [(interval, [item.handle for item in part]) for interval, part in plan(items, 3)]
    assert planned == [(5.0, [0, 2, 4]), (5.0, [6, 8]), (1.0, [1, 3, 5]), (1.0, [7, 9])]


@pytest.mark.parametrize(
    ("value", "kind", "quality"),
    [
        (256, T.Byte, "BadOutOfRange"),
        (-1, T.UInt64, "BadOutOfRange"),
        (1e39, T.Float, "BadOutOfRange"),
        (True, T.Int32, "BadTypeMismatch"),
        (1, T.Boolean, "BadTypeMismatch"),
        ("1", T.Double, "BadTypeMismatch"),
        (1.5, T.Int32, "BadTypeMismatch"),
        ("yesterday", T.DateTime, "BadTypeMismatch"),
        ("nsu=urn:gone;i=1", T.NodeId, "BadTypeMismatch"),
        ({"a": 1}, T.ExtensionObject, "BadTypeMismatch"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value: Value, kind: ua.VariantType, quality: str) -> None:
    with pytest.raises(WriteRefused) as caught:
        to_variant(value, kind, is_array=False, namespaces=[])
    assert caught.value.quality.label == quality


def test_values_that_fit_become_variants() -> None:
    assert to_variant(2.0, T.Int32, is_array=False, namespaces=[]).Value == 2
    assert math.isinf(to_variant(math.inf, T.Float, is_array=False, namespaces=[]).Value)
    grid = to_variant([[1, 2], [3, 4]], T.Int16, is_array=True, namespaces=[])
    assert (grid.Value, grid.Dimensions) == ([1, 2, 3, 4], [2, 2])
    with pytest.raises(WriteRefused, match="differ in length"):
        to_variant([[1, 2], [3]], T.Int16, is_array=True, namespaces=[])
    assert (
        to_variant("nsu=urn:a;n", T.QualifiedName, is_array=False, namespaces=["", "urn:a"]).Value.NamespaceIndex == 1
    )
