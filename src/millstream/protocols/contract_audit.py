"""Who published a version of a contract, as it is told to the audit, and kept with the version for whoever tells it
later. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millstream.protocols.audit import act_data
from millstream.protocols.contract import Contract, compare

BY_HEADER = "Ms-By"
"""Of the message in the bucket: who published it, and from where, as JSON."""


def by_header(who: str, origin: str) -> dict[str, str]:
    """The header, in ASCII."""
    return {BY_HEADER: json.dumps([who, origin])}


def published_by(header: str | None) -> tuple[str, str]:
    """Who and from where; "" for what is not said."""
    try:
        who, origin = json.loads(header or "")
    except (ValueError, TypeError):
        return "", ""
    return (who, origin) if isinstance(who, str) and isinstance(origin, str) else ("", "")


def published_told(old: Contract | None, new: Contract, who: str, origin: str) -> Mapping[str, Any]:
    """The data of ``millstream.audit.contract.put``."""
    verdict, changes = compare(old, new)
    return act_data(
        who, origin, None if old is None else old.as_dict(), new.as_dict(), name=new.name, verdict=verdict,
        changes=[f"{change.where}: {change.what}" for change in changes] or None,
    )  # fmt: skip
