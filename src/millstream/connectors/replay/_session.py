"""A replay under way: rows at their time, as batches, each with the position right behind it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np

from millstream.connectors.replay._config import ReplayConfig
from millstream.connectors.replay._recording import Recording, Timeline
from millstream.connectors.replay._rows import Row
from millstream.kernel import DecodeError
from millstream.model import BAD_NODE_ID_UNKNOWN, Block, Sample
from millstream.sdk import Batch, ConnectorTools, NodeInfo, Position, Tag

SAMPLES_BATCH_MAX = 800  # one unit of the store holds 900 messages, and a position must lie in the unit of its data
ROWS_BATCH_MAX = 500  # rows of one batch: bounds its size, and how long the loop is held (some 10 ms)
BLOCKS_BATCH_MAX = 64
LINGER_S = 0.02  # rows that fall due within this time of each other travel together
Wanted: TypeAlias = "dict[str, list[str]]"
CATCH_UP_MAX_NS = 3600 * 1_000_000_000  # a replay interrupted for longer goes on where it stood, late


@dataclass(frozen=True, slots=True)
class ReplayPosition:
    """Right behind row `row` of pass `pass_count` over the file with `digest`; `base_ns` is where its start was put."""

    digest: str
    row: int
    pass_count: int
    base_ns: int

    def encode(self) -> Position:
        """As it is stored."""
        return Position(json.dumps(asdict(self), separators=(",", ":")).encode())

    @classmethod
    def decode(cls, raw: Position) -> ReplayPosition:
        """Inverse of `encode`. Raises DecodeError."""
        try:
            fields = json.loads(raw)
            return cls(str(fields["digest"]), int(fields["row"]), int(fields["pass_count"]), int(fields["base_ns"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError(f"not a replay position: {error}", got=repr(bytes(raw)[:80]), code="MS-0307") from error


class ReplaySession:
    """Streamed and browsable; rewinds to any row."""

    def __init__(self, config: ReplayConfig, recording: Recording, tools: ConnectorTools) -> None:
        self._config = config
        self._recording = recording
        self._tools = tools
        self._clock = tools.clock

    async def browse(self, root: str | None = None) -> AsyncGenerator[NodeInfo, None]:
        """Every tag in the file whose address starts with `root`."""
        for node in self._recording.nodes():
            if root is None or node.address.startswith(root):
                yield node

    async def stream(self, tags: Sequence[Tag], resume: Position | None) -> AsyncGenerator[Batch, None]:
        """Replay from the start, or from right after `resume`; ends with the file unless it loops."""
        wanted = _wanted(tags)
        position = self._start(resume)
        if resume is None and (unknown := self._unknown(tags)):
            yield Batch(unknown, position=position.encode())
        rows, timeline = await asyncio.to_thread(self._skip_to, position.row)
        pace = self._pace(position, timeline.offset_ns)
        while True:
            one_pass = self._one_pass(rows, timeline, position, pace, wanted)
            with closing(rows):
                async with aclosing(one_pass) as batches:
                    async for batch in batches:
                        yield batch
            if not self._config.loop or self._recording.rows_count == 0:
                return
            position = ReplayPosition(position.digest, 0, position.pass_count + 1, position.base_ns)
            rows, timeline = self._recording.rows(), self._recording.timeline()

    def _start(self, resume: Position | None) -> ReplayPosition:
        if resume is not None:
            position = ReplayPosition.decode(resume)
            if position.digest == self._recording.digest:
                return position
            self._tools.log.warning("recording changed, replaying it from its start", file=str(self._config.file))
        base_ns = self._clock.now_ns()
        if self._config.speed == "max":
            base_ns -= self._recording.span_ns
        return ReplayPosition(self._recording.digest, 0, 0, base_ns)

    def _unknown(self, tags: Sequence[Tag]) -> list[Sample]:
        now_ns = self._clock.now_ns()
        return [
            Sample(tag.key, None, BAD_NODE_ID_UNKNOWN, now_ns)
            for tag in tags
            if tag.address not in self._recording.keys
        ]

    def _skip_to(self, row: int) -> tuple[Generator[Row, None, None], Timeline]:
        """Read up to `row`, so that the timeline stands where it stood. Blocking."""
        rows, timeline = self._recording.rows(), self._recording.timeline()
        for skipped in islice(rows, row):
            timeline.place(skipped.time_ns)
        return rows, timeline

    def _speed(self) -> float:
        return 1.0 if self._config.speed == "max" else self._config.speed

    def _scaled_ns(self, offset_ns: int, pass_count: int) -> int:
        return round((offset_ns + pass_count * self._recording.span_ns) / self._speed())

    def _pace(self, position: ReplayPosition, offset_ns: int) -> int:
        """The monotonic time that stands for the replay's very start.

        With shifted times a short interruption is caught up, so that the replay is live again afterwards.
        """
        done_ns = self._scaled_ns(offset_ns, position.pass_count)
        behind_ns = self._clock.now_ns() - (position.base_ns + done_ns)
        is_caught_up = self._config.times == "shift" and position.row > 0 and 0 < behind_ns < CATCH_UP_MAX_NS
        return self._clock.monotonic_ns() - done_ns - (behind_ns if is_caught_up else 0)

    async def _one_pass(
        self,
        rows: Generator[Row, None, None],
        timeline: Timeline,
        position: ReplayPosition,
        pace_ns: int,
        wanted: Wanted,
    ) -> AsyncGenerator[Batch, None]:
        """Batches of one pass with the row behind each. Rows without a wanted tag only move the position."""
        number = position.row
        draft = _Draft()
        for row in rows:
            offset_ns = timeline.place(row.time_ns)
            scaled_ns = self._scaled_ns(offset_ns, position.pass_count)
            wait_s = 0.0 if self._config.speed == "max" else (pace_ns + scaled_ns - self._clock.monotonic_ns()) / 1e9
            if draft.is_full or not draft.has_room(row) or wait_s > LINGER_S:
                if draft.has_content:
                    yield draft.batch(position, number)
                    draft = _Draft()
                    wait_s = (pace_ns + scaled_ns - self._clock.monotonic_ns()) / 1e9
                elif draft.is_full:
                    await asyncio.sleep(0)
                    draft = _Draft()
                if self._config.speed != "max" and wait_s > LINGER_S:
                    await self._clock.sleep(wait_s)
            number += 1
            self._add(draft, row, position, scaled_ns, wanted)
        if draft.has_content or draft.rows_count:
            yield draft.batch(position, number)

    def _add(self, draft: _Draft, row: Row, position: ReplayPosition, scaled_ns: int, wanted: Wanted) -> None:
        draft.rows_count += 1
        if row.bad is not None:
            draft.frames_bad.append(row.bad)
        time_ns = row.time_ns
        if time_ns is not None and self._config.times == "shift":
            time_ns = position.base_ns + scaled_ns
        for key, value, quality in row.items:
            for name in wanted.get(key, ()):
                draft.samples.append(Sample(name, value, quality, time_ns))
        if row.array_offsets_ns is None:
            return
        times = row.array_offsets_ns
        if self._config.times == "shift":
            shifted = (times + float(position.pass_count * self._recording.span_ns)) / self._speed()
            times_ns = np.rint(shifted).astype(np.int64) + position.base_ns
        else:
            start_ns = self._recording.waveform.start_ns if self._recording.waveform is not None else 0
            times_ns = np.rint(times).astype(np.int64) + start_ns
        for key, values in row.arrays.items():
            for name in wanted.get(key, ()):
                draft.blocks.append(Block(name, times_ns, values))


class _Draft:
    """A batch in the making."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.blocks: list[Block] = []
        self.frames_bad: list[tuple[bytes, str]] = []
        self.rows_count = 0

    @property
    def is_full(self) -> bool:
        """It is time to hand over."""
        return self.rows_count >= ROWS_BATCH_MAX or len(self.blocks) >= BLOCKS_BATCH_MAX

    def has_room(self, row: Row) -> bool:
        """`row` fits, or has to stand alone."""
        return not self.samples or len(self.samples) + len(row.items) <= SAMPLES_BATCH_MAX

    @property
    def has_content(self) -> bool:
        """It holds anything that the runtime would store."""
        return bool(self.samples or self.blocks or self.frames_bad)

    def batch(self, position: ReplayPosition, row: int) -> Batch:
        """As the runtime gets it."""
        behind = ReplayPosition(position.digest, row, position.pass_count, position.base_ns)
        return Batch(self.samples, self.blocks, behind.encode(), self.frames_bad)


def _wanted(tags: Sequence[Tag]) -> Wanted:
    """Address -> keys of the tags that read it."""
    found: Wanted = {}
    for tag in tags:
        found.setdefault(tag.address, []).append(tag.key)
    return found
