"""Which instance has which partition. Pure: every instance works it out for itself and comes to the same answer.

No vote and no lock: where two views differ for a moment, both may open a partition, and the fence of its publisher
lets one of them commit. The plan only has to come to rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


def plan_partitions(count: int, held: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """Divide the partitions 0 to `count` - 1 over the instances of `held` (instance -> what it has now): evenly, and
    everyone keeps as much of its own as fits. Of two that hold the same one, the first by name keeps it."""
    names = sorted(held)
    if not names:
        return {}
    base, extra = divmod(count, len(names))
    free = set(range(count))
    own: dict[str, list[int]] = {}
    for name in names:
        own[name] = sorted(free.intersection(held[name]))
        free.difference_update(own[name])
    # Whoever has most keeps one more than the others, so that nothing moves without need.
    ranked = sorted(names, key=lambda name: (-len(own[name]), name))
    quota = {name: base + (rank < extra) for rank, name in enumerate(ranked)}
    for name in names:
        free.update(own[name][quota[name] :])
        del own[name][quota[name] :]
    left = sorted(free)
    for name in names:
        while len(own[name]) < quota[name]:
            own[name].append(left.pop(0))
    return {name: sorted(partitions) for name, partitions in own.items()}


@dataclass(slots=True)
class _Seen:
    beat: int
    changed_ns: int
    version: int
    held: tuple[int, ...]


@dataclass(slots=True)
class LiveView:
    """Who is alive, by this observer's own monotonic clock: an instance is, while its beats go on."""

    ttl_ns: int
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def heard(self, instance: str, beat: int, version: int, held: Collection[int], now_ns: int) -> None:
        """A beat has come. One that is heard again is no sign of life."""
        known = self._seen.get(instance)
        changed_ns = known.changed_ns if known is not None and known.beat == beat else now_ns
        self._seen[instance] = _Seen(beat, changed_ns, version, tuple(held))

    def gone(self, instance: str) -> None:
        """It says itself that it ends."""
        self._seen.pop(instance, None)

    def live(self, now_ns: int) -> dict[str, tuple[int, tuple[int, ...]]]:
        """Instance -> version and partitions that it has."""
        self._seen = {name: seen for name, seen in self._seen.items() if now_ns - seen.changed_ns < self.ttl_ns}
        return {name: (seen.version, seen.held) for name, seen in self._seen.items()}


def partitions_to_take(
    me: str, version: int, count: int, live: Mapping[str, tuple[int, tuple[int, ...]]], mine: Collection[int]
) -> list[int]:
    """What `me` shall run now: its share of the plan, less what another live instance has not let go yet."""
    others = {name: held for name, (at, held) in live.items() if name != me and at == version}
    share = plan_partitions(count, {**others, me: tuple(mine)})[me]
    taken = {partition for held in others.values() for partition in held}
    return [partition for partition in share if partition in mine or partition not in taken]
