"""Whether a flow says the same however it is run: what recovery after a crash stands on. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from millstream.flow._drive import Item, Kills, Outcome, drive, drive_all
from millstream.flow._model import Flow
from millstream.sdk import Message

KILLS_MAX = 100  # points of one run; of a longer input some are chosen, evenly
_DATA_HEADERS = ("Content-Type", "Ms-Revision", "ce-type", "ce-time", "ce-subject")


def verify(make: Callable[[], Flow[Any]], items: Sequence[Item]) -> tuple[Outcome, list[str]]:
    """The outcome of one run, and every way of running that gives another: a second time, in units of other sizes,
    killed and restored in the middle of commits, over partitions. `make` builds the flow anew for each run."""
    once = drive(make(), items)
    problems: list[str] = []
    for what, again in _ways(make, items):
        if again.said() != once.said():
            problems.append(f"{what}: {_first_difference(once.messages, again.messages)}")
        elif again.refused() != once.refused():
            problems.append(f"{what}: other inputs are refused")
    for partitions in (2, 5):
        apart = [message for one in drive_all(make(), items, partitions) for message in one.messages]
        if sorted(map(_data, apart)) != sorted(map(_data, once.messages)):
            problems.append(f"not the same over {partitions} partitions: a key's result depends on other keys")
    return once, problems


def _ways(make: Callable[[], Flow[Any]], items: Sequence[Item]) -> Iterator[tuple[str, Outcome]]:
    yield "not the same when it is run again", drive(make(), items)
    for size in (1, 2, 3, 7):
        yield f"not the same with a commit after each {size} inputs", drive(make(), items, unit_items=size)
    for index in _spread(len(items)):
        kills = Kills({index: index % 3})
        yield (
            f"not the same when killed behind input {index + 1}",
            drive(make(), items, unit_items=1 + index % 4, kills=kills),
        )
    kills = Kills({index: index % 3 for index in _spread(len(items))})
    yield "not the same when killed again and again", drive(make(), items, unit_items=2, kills=kills)


def _spread(count: int) -> Iterable[int]:
    return range(0, count, max(1, -(-count // KILLS_MAX)))


def _data(message: Message) -> tuple[str, bytes, tuple[tuple[str, str], ...]]:
    """Without the number of the output, which depends on the partition, and the partition's name."""
    return message.subject, message.payload, tuple(h for h in message.headers if h[0] in _DATA_HEADERS)


def _first_difference(one: Sequence[Message], other: Sequence[Message]) -> str:
    for index, (a, b) in enumerate(zip(one, other, strict=False), 1):
        if a != b:
            return f"output {index} is {_short(b)} instead of {_short(a)}"
    return f"{len(other)} outputs instead of {len(one)}"


def _short(message: Message) -> str:
    return f"{message.subject} {message.payload[:120].decode('utf-8', 'replace')}"
