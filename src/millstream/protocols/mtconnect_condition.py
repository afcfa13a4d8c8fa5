"""Which conditions of a data item hold at once (MTConnect Part 2, 6.2: Condition). Pure.

A data item may have several conditions at a time, told apart by their native code. A NORMAL with a code ends that one,
a NORMAL without a code ends all, UNAVAILABLE ends what is known of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from millstream.model import Value

ACTIVE_MAX = 1000  # of one data item; a machine with more reports each alarm anew, and further ones count as passing
UNAVAILABLE = "UNAVAILABLE"
_ACTIVE = ("WARNING", "FAULT")
Fields = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Change:
    """A condition begins, changes, or ends. `fields` are level, native_code, native_severity, qualifier and text: of an
    ended one as they were, but for the level."""

    item: str
    fields: Fields
    is_active: bool


class ConditionBook:
    """The conditions that hold, by data item and native code."""

    def __init__(self) -> None:
        self._active: dict[str, dict[str, Fields]] = {}

    def active(self, item: str) -> list[Fields]:
        """Those of one data item, oldest first."""
        return list(self._active.get(item, {}).values())

    def take(self, item: str, fields: Fields | None) -> list[Change]:
        """One observation; None means UNAVAILABLE. Gives what it changes, nothing when it says what is known."""
        held = self._active.setdefault(item, {})
        if fields is None:
            return self._end(item, list(held), UNAVAILABLE)
        level, code = str(fields.get("level", "")), str(fields.get("native_code", ""))
        if level not in _ACTIVE:
            return self._end(item, [code] if code else list(held), level)
        if held.get(code) == fields:
            return []
        if code in held or len(held) < ACTIVE_MAX:
            held[code] = fields
        return [Change(item, fields, is_active=True)]

    def replace(self, shown: Mapping[str, Iterable[Fields]]) -> list[Change]:
        """All that holds now, by data item. Gives what began and ended meanwhile."""
        changes: list[Change] = []
        for item in {*self._active, *shown}:
            now = {str(f.get("native_code", "")): f for f in shown.get(item, ()) if f.get("level") in _ACTIVE}
            gone = [code for code in self._active.get(item, {}) if code not in now]
            changes += self._end(item, gone, "NORMAL")
            for fields in now.values():
                changes += self.take(item, fields)
        return changes

    def _end(self, item: str, codes: Iterable[str], level: str) -> list[Change]:
        held = self._active.get(item, {})
        ended = [held.pop(code) for code in codes if code in held]
        return [Change(item, {**fields, "level": level}, is_active=False) for fields in ended]
