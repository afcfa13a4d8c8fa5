"""Runs one check of one case: not applicable, waived, stale, or held."""

from __future__ import annotations

import asyncio
from importlib.metadata import entry_points
from typing import Any, cast

from millstream.sdk import Connector
from millstream.sdk.testing._case import ConformanceCase, NotApplicable
from millstream.sdk.testing._checks import CHECKS

ENTRY_POINT_GROUP = "millstream.connectors"
CHECK_TIMEOUT_S = 120.0  # a check that hangs is a failed check


class StaleWaiverError(AssertionError):
    """A waived check holds: the waiver must go."""


async def run_check(case: ConformanceCase, name: str) -> str:
    """Run check `name`; returns "held", "waived: ..." or "not applicable: ...". Raises AssertionError otherwise."""
    check = CHECKS[name]
    reason = case.waivers.get(name)
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check(case)
    except NotApplicable as nothing:
        return f"not applicable: {nothing}"
    except Exception as error:
        if reason is None:
            raise
        assert len(reason) > 10, f"the waiver of {name} needs a reason"
        return f"waived: {reason} ({type(error).__name__})"
    if reason is not None:
        raise StaleWaiverError(f"{name} holds, its waiver is stale: {reason}")
    return "held"


def check_names() -> tuple[str, ...]:
    """All checks of the kit, in the order in which they help most."""
    return tuple(CHECKS)


def connector_names() -> tuple[str, ...]:
    """Every installed connector's entry point, sorted."""
    return tuple(sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP)))


def load_connector(name: str) -> type[Connector]:
    """The connector class behind an entry point. Raises ImportError when it or its client library is missing."""
    (point,) = entry_points(group=ENTRY_POINT_GROUP, name=name)
    found: Any = point.load()
    return cast("type[Connector]", found)
