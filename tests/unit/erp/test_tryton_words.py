"""What Tryton answers is told as what it means, and its own classes of values are read."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from millstream.erp import Refused
from millstream.erp._tryton import Changed, _decoded, _fault, _nested
from millstream.kernel import ProtocolViolation, Unreachable


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (["UserError", ["not in stock", "M6", None]], Refused, "not in stock M6"),
        (["UserWarning", ["name", "really?", ""]], Refused, "really"),
        (["ConcurrencyException", "Records were modified in the meanwhile"], Changed, "modified"),
        (["database is locked", "Traceback ..."], Unreachable, "locked"),
        (["'no_such_field'", "Traceback ..."], Refused, "no_such_field"),
        ("broken", Refused, "broken"),
    ],
)
def test_an_error_is_a_refusal_or_worth_another_try(error: Any, kind: type[Exception], says: str) -> None:
    found = _fault(error, "model.production.write")
    assert type(found) is kind
    assert says in str(found)


def test_values_of_trytons_own_classes_are_read() -> None:
    moment = {"year": 2026, "month": 7, "day": 1, "hour": 6, "minute": 0, "second": 0, "microsecond": 5}
    row = {
        "a": {"__class__": "date", "year": 2026, "month": 7, "day": 1}, "b": {"__class__": "datetime", **moment},
        "c": [{"__class__": "Decimal", "decimal": "1.50"}], "d": {"__class__": "timedelta", "seconds": 90},
        "e": {"__class__": "bytes", "base64": "eA=="}, "f": {"plain": 1},
    }  # fmt: skip
    assert _decoded(row) == {
        "a": date(2026, 7, 1), "b": datetime(2026, 7, 1, 6, 0, 0, 5, tzinfo=UTC), "c": [Decimal("1.50")], "d": 90.0,
        "e": None, "f": {"plain": 1},
    }  # fmt: skip
    with pytest.raises(ProtocolViolation):
        _decoded({"__class__": "date", "year": "x"})


def test_what_a_record_points_to_takes_its_place() -> None:
    row = {"product": 1, "product.": {"id": 1, "template": 2, "template.": {"id": 2, "name": "Bolt"}}, "bom.": None}
    assert _nested(row) == {"product": {"id": 1, "template": {"id": 2, "name": "Bolt"}}, "bom": None}
