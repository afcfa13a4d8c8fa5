"""A flow that does not run keeps its streams from forgetting what it has still to read: who, where, how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from millstream.bus import StreamApi, StreamInfo, find_stream, trim_below
from millstream.kernel import Clock
from millstream.sdk import Log
from millstream.worker._names import floor_of
from millstream.worker._needs import newest_commits, unread_seq

CODE = "MS-0709"


@dataclass(frozen=True, slots=True)
class Hold:
    """`from_seq` is the first message of `stream` that waits, `fill` how full the stream is. `is_tight` when it should
    be trimmed beyond that message by now. With `is_lossy` the stream does not wait: it will forget the oldest of it."""

    stream: str
    from_seq: int
    fill: float
    is_tight: bool
    is_lossy: bool

    def as_dict(self) -> dict[str, object]:
        """As the node's status shows it."""
        return {**asdict(self), "fill": round(self.fill, 3)}


def hold_of(info: StreamInfo, from_seq: int) -> Hold:
    """What it means for a stream that everything from a sequence on is needed. Pure."""
    max_bytes = int(info.config.get("max_bytes", -1))
    wanted = trim_below(replace(info, config={**info.config, "discard": "new"}), info.last_seq)
    is_tight = wanted is not None and from_seq < wanted
    fill = info.bytes / max_bytes if max_bytes > 0 else 0.0
    return Hold(info.name, from_seq, fill, is_tight, info.config.get("discard") != "new")


async def holds_of(
    api: StreamApi, streams: tuple[Sequence[str], str], subjects: Sequence[str], filters: Sequence[str]
) -> list[Hold]:
    """What a flow with these state records holds. `streams` are the inputs and the output. Raises PlantError."""
    inputs, output = streams
    found: list[Hold] = []
    commits = await newest_commits(api, output, subjects)
    for name in dict.fromkeys((*inputs, output)):
        info = await find_stream(api, name)
        if info is None:
            continue
        if name != output:
            seq = await unread_seq(api, info, commits, filters)
        else:
            seq = await floor_of(api, output, subjects) if commits else None
        if seq is not None:
            found.append(hold_of(info, seq))
    return found


def hold_text(flow: str, reason: str, next_step: str, holds: Sequence[Hold]) -> str | None:
    """What an alarm says; None while nothing that matters is held. Pure."""
    parts = []
    for hold in holds:
        end = "forgets its oldest messages" if hold.is_lossy else "cannot be trimmed"
        if hold.is_tight:
            parts.append(f"{hold.stream} is {hold.fill:.0%} full and {end}: message {hold.from_seq} waits for it")
    return f"flow {flow} {reason}: {'; '.join(parts)}; {next_step}" if parts else None


class HoldAlarms:
    """Remembers since when."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self._found: dict[str, tuple[str, int]] = {}

    def note(self, flow: str, text: str | None) -> None:
        """What holds now, by flow."""
        if text is None:
            if self._found.pop(flow, None) is not None:
                self._log.info(f"{CODE} is over", flow=flow)
            return
        if flow not in self._found:
            self._log.warning(f"{text} [{CODE}]")
        self._found[flow] = (text, self._found.get(flow, ("", self._clock.now_ns()))[1])

    @property
    def active(self) -> list[tuple[str, int]]:
        """Text and since when, of each."""
        return list(self._found.values())
