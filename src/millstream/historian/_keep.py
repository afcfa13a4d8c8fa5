"""How long what is kept: rules by pattern, contracts, and which tags of which day have come to their end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from millstream.historian._store import DAY_NS
from millstream.historian._tags import TagEntry
from millstream.kernel import DecodeError
from millstream.model import TagPath
from millstream.protocols.uns_pattern import Pattern
from millstream.protocols.uns_subject import UnsAddress


@dataclass(frozen=True, slots=True)
class Keep:
    """How long samples, one-minute and one-hour rollups are kept, in seconds; None: for ever. A rollup is kept as long
    as its samples are, whatever is said here: questions for windows count on it."""

    samples_s: float | None = None
    minutes_s: float | None = None
    hours_s: float | None = None

    def ends(self, now_ns: int) -> Ends:
        """The days before which each is over."""
        samples = _day(self.samples_s, now_ns)
        return Ends(samples, min(samples, _day(self.minutes_s, now_ns)), min(samples, _day(self.hours_s, now_ns)))


@dataclass(frozen=True, slots=True)
class Ends:
    """What lies on days before these (counted since 1970) is over; NEVER when nothing is."""

    samples: int
    minutes: int
    hours: int


NEVER = -(2**40)  # no day is before it


def _day(seconds: float | None, now_ns: int) -> int:
    return NEVER if seconds is None else int(now_ns - seconds * 1e9) // DAY_NS


@dataclass(frozen=True, slots=True)
class KeepRule:
    """What fits one of `paths` is kept so; the first rule that fits decides."""

    paths: tuple[Pattern, ...]
    keep: Keep


@dataclass(frozen=True, slots=True)
class SaidKeep:
    """What a contract says: seconds (None: for ever) of `retention`, `minute_rollups` and `hour_rollups`, as far as it
    says them, for one kind of data."""

    kind: str
    paths: tuple[Pattern, ...]
    said: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Gone:
    """Of one day: the tags whose samples, minute rollups and hour rollups are over. `is_all`: nobody's samples stay."""

    samples: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    is_all: bool = False


TagsByKeep: TypeAlias = dict[Keep, list[int]]


class KeepBook:
    """Remembers how each tag is kept: a tag's name never changes. The first rule that fits decides; else what contracts
    say, of several the longest; else the default."""

    def __init__(
        self, default: Keep, rules: Sequence[KeepRule] = (), contracts: Sequence[SaidKeep] = ()
    ) -> None:  # fmt: skip
        self.default = default
        self.rules = rules
        self._contracts = tuple(contracts)
        self._known: dict[int, Keep] = {}

    def set_contracts(self, contracts: Sequence[SaidKeep]) -> None:
        """What contracts say from now on."""
        if tuple(contracts) != self._contracts:
            self._contracts = tuple(contracts)
            self._known = {}

    @property
    def keeps(self) -> list[Keep]:
        """All that may hold, the default last; of tags that several contracts cover, what they have together is not
        among them."""
        said = [self._together([each.said]) for each in self._contracts]
        return [*(rule.keep for rule in self.rules), *said, self.default]

    def of(self, entry: TagEntry) -> Keep:
        """How this tag is kept."""
        found = self._known.get(entry.tag_id)
        if found is None:
            found = self._known[entry.tag_id] = self._find(entry)
        return found

    def _find(self, entry: TagEntry) -> Keep:
        try:
            path = TagPath.parse(entry.path)
        except DecodeError:  # a name that is no path
            return self.default
        address = UnsAddress(path.asset, "_tag", path.names)
        for rule in self.rules:
            if any(pattern.matches(address) for pattern in rule.paths):
                return rule.keep
        fitting = [
            each.said
            for each in self._contracts
            if each.kind == entry.kind and any(pattern.matches(address) for pattern in each.paths)
        ]
        return self._together(fitting)

    def _together(self, said: Sequence[Mapping[str, float | None]]) -> Keep:
        """Nothing goes before all that say of it let it go."""

        def longest(name: str, default: float | None) -> float | None:
            found = [each[name] for each in said if name in each]
            ends = [seconds for seconds in found if seconds is not None]
            return default if not found else max(ends) if len(ends) == len(found) else None

        default = self.default
        return Keep(
            longest("retention", default.samples_s), longest("minute_rollups", default.minutes_s),
            longest("hour_rollups", default.hours_s),
        )  # fmt: skip

    def by_keep(self, entries: Iterable[TagEntry]) -> TagsByKeep:
        """The tags that are kept alike."""
        found: TagsByKeep = {}
        for entry in entries:
            found.setdefault(self.of(entry), []).append(entry.tag_id)
        return found

    def gone(self, day: int, tags: TagsByKeep, now_ns: int) -> Gone:
        """What of a day is over."""
        ends = {keep: keep.ends(now_ns) for keep in {*tags, *self.keeps}}

        def ids(over: Sequence[Keep]) -> tuple[int, ...]:
            return tuple(sorted(tag_id for keep in over for tag_id in tags.get(keep, ())))

        return Gone(
            ids([keep for keep, end in ends.items() if day < end.samples]),
            ids([keep for keep, end in ends.items() if day < end.minutes]),
            ids([keep for keep, end in ends.items() if day < end.hours]),
            all(day < end.samples for end in ends.values()),
        )
