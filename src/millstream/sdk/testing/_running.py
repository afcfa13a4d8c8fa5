"""Runs one check of one case: not applicable, waived, stale, or held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from importlib.metadata import entry_points
from typing import Any, cast

from millstream.sdk import Connector
from millstream.sdk.testing._case import ConformanceCase, NotApplicable
from millstream.sdk.testing._checks import CHECKS
from millstream.sdk.testing._faults import FAULT_CHECKS, FaultLayer

ENTRY_POINT_GROUP = "millstream.connectors"
CHECK_TIMEOUT_S = 120.0  # a check that hangs is a failed check


class StaleWaiverError(AssertionError):
    """A waived check holds: the waiver must go."""


async def run_check(case: ConformanceCase, name: str, layer: FaultLayer | None = None) -> str:
    """Run check `name`; returns "held", "waived: ..." or "not applicable: ...". Raises AssertionError otherwise.

    Some checks need a fault `layer` to put between the session and its device; without one they do not apply.
    """
    reason = case.waivers.get(name)
    if name in CHECKS:
        failure = await _failure(CHECKS[name](case))
    elif layer is None:
        return "not applicable: there is no fault layer"
    else:
        failure = await _failure(FAULT_CHECKS[name](case, layer))
    if isinstance(failure, NotApplicable):
        return f"not applicable: {failure}"
    if failure is not None:
        if reason is None:
            raise failure
        assert len(reason) > 10, f"the waiver of {name} needs a reason"
        return f"waived: {reason} ({type(failure).__name__})"
    if reason is not None:
        raise StaleWaiverError(f"{name} holds, its waiver is stale: {reason}")
    return "held"


async def _failure(checking: Awaitable[None]) -> Exception | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await checking
    except Exception as error:  # noqa: BLE001  (a waiver foresees any failure; without one it is raised again)
        return error
    return None


def check_names() -> tuple[str, ...]:
    """All checks of the kit, in the order in which they help most."""
    return (*CHECKS, *FAULT_CHECKS)


def connector_names() -> tuple[str, ...]:
    """Every installed connector's entry point, sorted."""
    return tuple(sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP)))


def load_connector(name: str) -> type[Connector]:
    """The connector class behind an entry point. Raises ImportError when it or its client library is missing."""
    (point,) = entry_points(group=ENTRY_POINT_GROUP, name=name)
    found: Any = point.load()
    return cast("type[Connector]", found)
