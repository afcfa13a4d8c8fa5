"""What a system is to this package: pages of rows come in, confirmations go out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from millstream.config import ConfirmConfig, ReadConfig
from millstream.erp._rows import SystemRow
from millstream.kernel import PlantError


class Refused(PlantError):
    """The system does not take it as it stands: somebody has to do something first."""

    default_code = "MS-2803"


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and from where on to ask the next time once they are taken (None: from the beginning)."""

    rows: Sequence[SystemRow]
    position: str | None = None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The total of one order, to be told as it is now. `key` is the same whenever this total is told again; `values`
    are what texts may name: order, operation, name, product, asset, good, rejected, produced, revision, until, key, and
    production_s and setup_s (seconds), end, and good_more, rejected_more, produced_more, production_s_more and
    setup_s_more, which are the differences to what was confirmed before. `is_final`: the order is over, and what can be
    closed is to be closed."""

    order: str
    key: str
    revision: int
    good: float
    rejected: float
    values: Mapping[str, Any]
    is_final: bool = False


class Source(Protocol):
    """Reads rows."""

    def pages(self, read: ReadConfig, position: str | None) -> AsyncGenerator[Page, None]:
        """What there is (since that position). Raises Unreachable, AuthError, ProtocolViolation, Refused."""
        ...


class Sink(Protocol):
    """Takes confirmations."""

    async def confirm(self, config: ConfirmConfig, confirmation: Confirmation) -> str:
        """Have it taken; a word on how ("set", "known": it was there already). Raises Unreachable, AuthError, Refused:
        not taken, or nobody knows; telling it again with the same key is right."""
        ...


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with its names replaced; a text that is one name alone becomes that value as it is. Raises Refused for
    a name that there is not."""
    if isinstance(template, Mapping):
        return {key: filled(each, values) for key, each in template.items()}
    if isinstance(template, list | tuple):
        return [filled(each, values) for each in template]
    if not isinstance(template, str):
        return template
    try:
        if template.startswith("{") and template.endswith("}") and template[1:-1] in values:
            return values[template[1:-1]]
        return template.format_map({name: _words(value) for name, value in values.items()})
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise Refused(
            "the text names something that there is not", where=template[:80], got=str(error)[:80],
            expected=", ".join(sorted(values)),
        ) from error  # fmt: skip


def _words(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
