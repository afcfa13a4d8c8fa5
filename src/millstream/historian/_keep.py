"""How long what is kept: rules by pattern, and which tags of which day they have come to an end for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from millstream.historian._store import DAY_NS
from millstream.historian._tags import TagEntry
from millstream.kernel import DecodeError
from millstream.protocols.uns_pattern import Pattern


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
class Gone:
    """Of one day: the tags whose samples, minute rollups and hour rollups are over. `is_all`: nobody's samples stay."""

    samples: tuple[int, ...] = ()
    minutes: tuple[int, ...] = ()
    hours: tuple[int, ...] = ()
    is_all: bool = False


TagsByKeep: TypeAlias = dict[Keep, list[int]]


@dataclass(slots=True)
class KeepBook:
    """Remembers how each tag is kept: a tag's name never changes."""

    default: Keep
    rules: Sequence[KeepRule] = ()
    _known: dict[int, Keep] = field(default_factory=dict)

    @property
    def keeps(self) -> list[Keep]:
        """All that may hold, the default last."""
        return [*(rule.keep for rule in self.rules), self.default]

    def of(self, entry: TagEntry) -> Keep:
        """How this tag is kept."""
        found = self._known.get(entry.tag_id)
        if found is None:
            found = self._known[entry.tag_id] = self._find(entry)
        return found

    def _find(self, entry: TagEntry) -> Keep:
        try:
            return next((r.keep for r in self.rules if any(p.fits_path(entry.path) for p in r.paths)), self.default)
        except DecodeError:  # a name that is no path
            return self.default

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
