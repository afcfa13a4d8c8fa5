"""Every installed connector passes the conformance kit."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import faulty_wire

from millstream.sdk.testing import ConformanceCase, check_names, connector_names, load_connector, run_check

HERE = Path(__file__).resolve().parent


def case_modules() -> list[str]:
    """Connectors that have a case module."""
    return [name for name in connector_names() if (HERE / "cases" / f"{name}.py").is_file()]


def cases() -> Iterator[tuple[str, ConformanceCase]]:
    """Every case of every connector, with a readable name."""
    for name in case_modules():
        for case in importlib.import_module(f"cases.{name}").CASES:
            label = type(case).__name__ if type(case).__repr__ is object.__repr__ else repr(case)
            yield f"{name}-{label}", case


def parameters() -> list[object]:
    """Each check of each case; a case may name the foreign programs that it needs."""
    return [
        pytest.param(
            case, check, id=f"{label}-{check}", marks=[pytest.mark.needs(name) for name in getattr(case, "needs", ())]
        )
        for label, case in cases()
        for check in check_names()
    ]


@pytest.mark.parametrize("name", connector_names())
def test_every_installed_connector_has_a_case(name: str) -> None:
    assert name in case_modules(), f"tests/conformance/cases/{name}.py is missing"
    assert load_connector(name).info.name == name


@pytest.mark.parametrize(("case", "check"), parameters())
async def test_the_connector_holds_the_contract(
    case: ConformanceCase, check: str, record_property: pytest.RecordProperty
) -> None:
    record_property("result", await run_check(case, check, faulty_wire))
