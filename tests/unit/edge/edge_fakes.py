"""A source whose every call can be made to fail, and a supervisor around it with a store in memory."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from millstream.bus import MemoryPublisher, MemoryStream
from millstream.config import ConnectorEntry, EdgeConfig, EdgeIdentity, MappedTag
from millstream.edge._lifecycle import Lifecycle
from millstream.edge._pipeline import DeadLetter, Pipeline
from millstream.edge._standing import OtherClass
from millstream.edge._supervisor import ConnectorPlan, Supervisor
from millstream.edge._tracing import Tracer
from millstream.kernel import Backoff, Clock
from millstream.model import Event, Sample
from millstream.sdk import Batch, ConnectorConfig, ConnectorInfo, ConnectorTools, Position, Tag
from millstream.sdk.testing import LoopClock

POSITION = "uns.v1.acme.p1._ledger.e1.integrity.fake"
POSITION_THROUGHPUT = "uns.v1.acme.p1._ledger.e1.throughput.fake"


@dataclass
class Script:
    """What the device does. `fail` maps "open", "read", "stream", "ack", "close" to errors that are raised once each,
    in order; `stream_fail_at` breaks the stream before that row once for each entry."""

    rows_count: int = 100
    batch_rows: int = 10
    tags_count: int = 1
    pause_s: float = 0.0
    has_positions: bool = True
    fail: dict[str, list[BaseException]] = field(default_factory=dict)
    stream_fail_at: list[tuple[int, BaseException]] = field(default_factory=list)
    frames_bad: dict[int, bytes] = field(default_factory=dict)
    events: dict[int, Event] = field(default_factory=dict)
    opens: int = 0
    closes: int = 0
    open_now: int = 0
    reads: list[int] = field(default_factory=list)
    resumes: list[bytes | None] = field(default_factory=list)
    acks: list[int] = field(default_factory=list)
    read_s: float = 0.0
    produced: int = 0
    gaps: int = 0
    bad_tags: frozenset[str] = frozenset()
    hangs_in: str = ""

    async def step(self, name: str) -> None:
        """One point at which the device may break or hang."""
        if self.hangs_in == name:
            self.hangs_in = ""
            await asyncio.Event().wait()
        if self.fail.get(name):
            raise self.fail[name].pop(0)


class StreamSession:
    """Rows numbered from 0; the position is the next row's number."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        script = self.script
        script.resumes.append(resume)
        row = int(resume) if resume is not None else 0
        await script.step("stream")
        while row < script.rows_count:
            if script.stream_fail_at and script.stream_fail_at[0][0] <= row:
                raise script.stream_fail_at.pop(0)[1]
            rows = range(row, min(row + script.batch_rows, script.rows_count))
            samples = [Sample(t.key, r) for r in rows for t in tags]
            script.produced += len(samples)
            row = rows.stop
            bad = [(script.frames_bad[r], "broken frame") for r in rows if r in script.frames_bad]
            position = Position(str(row).encode()) if script.has_positions else None
            events = [script.events[r] for r in rows if r in script.events]
            yield Batch(samples, position=position, frames_bad=bad, events=events)
            await asyncio.sleep(script.pause_s)

    async def ack(self, up_to: Position) -> None:
        await self.script.step("ack")
        self.script.acks.append(int(up_to))


class PollSession:
    """Every read gives the number of the read; tags of `bad_tags` are bad."""

    def __init__(self, script: Script, clock: Clock) -> None:
        self.script = script
        self.clock = clock

    async def read(self, tags: Sequence[Tag]) -> Sequence[Sample]:
        from millstream.model import BAD_NODE_ID_UNKNOWN

        await self.script.step("read")
        self.script.reads.append(self.clock.monotonic_ns())
        await asyncio.sleep(self.script.read_s)
        n = len(self.script.reads)
        return [
            Sample(t.key, None, BAD_NODE_ID_UNKNOWN) if t.address in self.script.bad_tags else Sample(t.key, n)
            for t in tags
        ]

    def take_source_gaps(self) -> int:
        gaps, self.script.gaps = self.script.gaps, 0
        return gaps


class FakeConnector:
    info: ClassVar[ConnectorInfo] = ConnectorInfo("fake", "for tests", "none")
    Config: ClassVar[type[ConnectorConfig]] = ConnectorConfig

    def __init__(self, script: Script, make: Callable[[Script], Any]) -> None:
        self.script = script
        self.make = make

    def check_tag(self, tag: Tag) -> None:
        """All are right."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        await self.script.step("open")
        self.script.opens += 1
        self.script.open_now += 1
        assert self.script.open_now == 1, "sessions overlap"
        try:
            yield self.make(self.script)
        finally:
            self.script.open_now -= 1
            self.script.closes += 1
            await self.script.step("close")


@dataclass
class Recorder:
    """A dead-letter store and a log that remember."""

    letters: list[DeadLetter] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)

    async def write(self, source: str, letter: DeadLetter) -> None:
        self.letters.append(letter)

    async def write_all(self, source: str, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(("info", event))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(("warning", event))

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(("error", event))


@dataclass
class Rig:
    """A supervisor and all around it. `values` are what the store holds, in order."""

    script: Script
    supervisor: Supervisor
    stream: MemoryStream
    recorder: Recorder
    mapped: list[MappedTag]

    def decoded(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(m.payload) for m in self.stream.messages if "._tag." in m.subject]

    @property
    def values(self) -> list[Any]:
        return [d["value"] for d in self.decoded() if d["value"] is not None]

    @property
    def bad(self) -> list[int]:
        return [d["quality"] for d in self.decoded() if d["value"] is None]

    @property
    def stored_position(self) -> bytes | None:
        found = self.stream.last(POSITION)
        return base64.b64decode(msgspec.json.decode(found.payload)["position"]) if found else None


def rig(
    script: Script, *, polled: bool = False, stream: MemoryStream | None = None, clock: Clock | None = None,
    sampling: list[str] | None = None, publishing: str | None = None, publisher: Any = None, seed: int = 1,
    make: Callable[[Script], Any] | None = None, tag: dict[str, Any] | None = None, tracer: Tracer | None = None,
    numbers: Sequence[int] | None = None, position: str = POSITION, other: OtherClass | None = None,
) -> Rig:  # fmt: skip
    """Build one; give `stream` again to continue after a crash. `make` makes another session than the usual ones;
    `tag` is added to each tag's configuration, `numbers` are those of the tags, `position` is where its records are."""
    clock = clock or LoopClock()
    tags = [
        {"name": f"t{i}", "address": str(i), "sampling_interval": (sampling or ["1s"])[i % len(sampling or ["1s"])]}
        | (tag or {})
        for i in (range(script.tags_count) if numbers is None else numbers)
    ]
    entry = ConnectorEntry.model_validate(
        {"name": "fake", "type": "fake", "tags": tags, **({"publishing_interval": publishing} if publishing else {})}
    )
    config = EdgeConfig(edge=EdgeIdentity(name="e1", path="acme/p1", data_dir="/x"), connectors=(entry,))
    mapped = config.mapped_tags(entry)
    stream = stream or MemoryStream(clock=clock)
    recorder = Recorder()
    make = make or ((lambda s: PollSession(s, clock)) if polled else StreamSession)
    supervisor = Supervisor(
        ConnectorPlan("fake", "fake", [m.tag for m in mapped], position, tracer=tracer, other=other),
        FakeConnector(script, make),  # type: ignore[arg-type]
        Pipeline(mapped, config.path),
        publisher=publisher or MemoryPublisher(stream, clock=clock),
        dead_letters=recorder,
        lifecycle=Lifecycle(Backoff(rng=random.Random(seed))),
        clock=clock,
        log=recorder,
    )
    return Rig(script, supervisor, stream, recorder, mapped)


__all__ = ["ConnectorTools", "FakeConnector", "PollSession", "Recorder", "Rig", "Script", "StreamSession", "rig"]
