"""Which writes may go out: an allow-list, bounds, a pace, an expiry. Pure; what is refused here reaches no machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millstream.config import MappedTag
from millstream.kernel import PlantError
from millstream.model import Value
from millstream.protocols.write_request import WritableTag, WriteRequest


class WriteRefused(PlantError):
    """The edge does not send this write to the machine."""

    default_code = "MS-2001"


@dataclass(slots=True)
class _Pace:
    next_ns: int = 0


class WriteGate:
    """The tags whose configuration has a `write` section, and when each was written last."""

    def __init__(self, tags: Sequence[MappedTag]) -> None:
        self._tags: Mapping[str, MappedTag] = {m.tag.key: m for m in tags if m.config.write is not None}
        self._pace = {key: _Pace() for key in self._tags}

    def listed(self) -> list[WritableTag]:
        """What may be written here."""
        found = []
        for key, mapped in sorted(self._tags.items()):
            rule = mapped.config.write
            assert rule is not None
            unit, bounds = mapped.config.unit, (rule.minimum, rule.maximum)
            found.append(WritableTag(key, rule.interval, unit, *bounds, allow_null=rule.allow_null))
        return found

    def find(self, key: str) -> MappedTag:
        """The tag that may be written. Raises WriteRefused (MS-2001)."""
        try:
            return self._tags[key]
        except KeyError:
            raise WriteRefused(
                "this tag may not be written", where=key, expected="a tag with a 'write' section in the edge's file"
            ) from None

    def admit(self, request: WriteRequest, now_ns: int, monotonic_ns: int) -> Value | None:
        """The raw value for the machine; the tag's pace counts from now. Raises WriteRefused."""
        mapped = self.find(request.tag)
        rule = mapped.config.write
        assert rule is not None
        check_expiry(request, now_ns)
        if request.expires_ns - now_ns > rule.lifetime_max * 1e9:
            raise WriteRefused(
                "write would wait for too long", where=request.tag, code="MS-2004",
                expected=f"an expiry within {rule.lifetime_max:g} s",
                got=f"{(request.expires_ns - now_ns) / 1e9:.0f} s from now",
            )  # fmt: skip
        if request.value is not None:
            _check_bounds(request, rule.minimum, rule.maximum)
        elif not rule.allow_null:
            raise WriteRefused(
                "no null may be written to this tag", where=request.tag, code="MS-2010",
                expected="a value, or 'allow_null: true' in its 'write' section",
            )  # fmt: skip
        pace = self._pace[request.tag]
        if monotonic_ns < pace.next_ns:
            raise WriteRefused(
                "tag was written a moment ago", where=request.tag, expected=f"one write in {rule.interval:g} s",
                code="MS-2003",
            )  # fmt: skip
        pace.next_ns = monotonic_ns + int(rule.interval * 1e9)
        scale = mapped.config.scale
        value: Value | None = request.value
        return value if scale is None or value is None else unscale_value(value, scale.factor, scale.offset)


def check_expiry(request: WriteRequest, now_ns: int) -> None:
    """Raises WriteRefused (MS-2004) when it is too late."""
    if now_ns >= request.expires_ns:
        raise WriteRefused(
            "write has expired", where=request.tag, code="MS-2004",
            got=f"{(now_ns - request.expires_ns) / 1e9:.1f} s too late by the edge's clock",
        )  # fmt: skip


def _check_bounds(request: WriteRequest, minimum: float | None, maximum: float | None) -> None:
    if minimum is None and maximum is None:
        return
    values = request.value if isinstance(request.value, list) else [request.value]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WriteRefused(
                "not a number", where=request.tag, expected="a number, since the tag has bounds", got=repr(value)[:40],
                code="MS-2002",
            )  # fmt: skip
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise WriteRefused(
                "value out of bounds", where=request.tag, expected=f"{minimum} to {maximum}", got=f"{value}",
                code="MS-2002",
            )  # fmt: skip


def unscale_value(value: Value, factor: float, offset: float) -> Value:
    """From the tag's unit back to what the machine holds; integers stay integers where that is exact."""
    if isinstance(value, list):
        return [unscale_value(item, factor, offset) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    moved = value - offset
    if isinstance(moved, int) and isinstance(factor, int) and moved % factor == 0:
        return moved // factor
    return moved / factor
