"""A history of many tags that answers while it takes samples in, as the historian's process does both: messages are
decoded and committed on the writer's thread at a steady rate, and questions are answered one after the other.

What the messages cost before they are decoded (the wire and the stream) is not in it; the rows about reading have that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from millstream.historian._columns import to_columns
from millstream.historian._decode import StreamDecoder
from millstream.historian._engine import QueryEngine
from millstream.historian._query import Window
from millstream.historian._rows import Rows
from millstream.historian._seal import Sealer
from millstream.historian._store import Commit, HistoryStore, Position
from millstream.historian._tags import TagDictionary
from millstream.protocols.ledger import LedgerVerifier
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Received

DAY = 20_000  # since 1970: that which is sealed; the next one runs
DAY_NS, EVERY_NS = 86_400 * 10**9, 20 * 10**9
WINDOW_NS = 900 * 10**9
HOT_SHARE = 4  # the running day is so far: a quarter
STREAM = "H_BENCH"
FILL_ROWS = 100_000  # of one commit before the clock runs
PACE_S = 0.1


@dataclass(slots=True)
class Asked:
    """Times of the answers about a sealed day and about the newest 24 hours, in ms, and what the whole process took of
    the processor in that time."""

    sealed_ms: list[float] = field(default_factory=list)
    newest_ms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0


@dataclass(slots=True)
class TakenIn:
    """Samples that were decoded and stored, in how many seconds, and what the whole process took of the processor."""

    rows: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0

    @property
    def rows_per_s(self) -> float:
        """The rate that was held."""
        return self.rows / self.seconds


@dataclass(slots=True)
class Beside:
    """Each of the two alone, and both at once; `buckets` of an answer."""

    quiet: Asked
    alone: TakenIn
    asked: Asked
    taken: TakenIn
    buckets: int


class History:
    """One sealed day of each tag and a part of the next one, with a sample each 20 s."""

    def __init__(self, folder: Path, tags: int, samples: int) -> None:
        self.paths = [f"acme/site/area:t{number}" for number in range(tags)]
        self.tags = TagDictionary()
        self._ids = np.array([self.tags.intern(path) for path in self.paths], np.uint32)
        self._store = HistoryStore(folder)
        self._store.open()
        self.engine = QueryEngine(self._store, self.tags)
        self._seq = 0
        first_ns = (DAY + 1) * DAY_NS - samples * EVERY_NS
        self.until_ns = (DAY + 1) * DAY_NS + samples // HOT_SHARE * EVERY_NS
        self._fill(first_ns, (DAY + 1) * DAY_NS)
        sealer = Sealer(self._store)
        sealed = sealer.write(DAY, self._store.next_order)
        assert sealed is not None
        sealer.remove(sealer.name(sealed))
        self._fill((DAY + 1) * DAY_NS, self.until_ns)

    def close(self) -> None:
        """End the writer's connection."""
        self._store.close()

    def _fill(self, start_ns: int, end_ns: int) -> None:
        """All tags in turn, in the order of time."""
        count = (end_ns - start_ns) // EVERY_NS * len(self._ids)
        for first in range(0, count, FILL_ROWS):
            number = np.arange(first, min(first + FILL_ROWS, count))
            columns = to_columns(20.0 + number % 977 / 10)
            rows = Rows(
                self._ids[number % len(self._ids)], start_ns + number // len(self._ids) * EVERY_NS,
                np.arange(len(number)), np.zeros(len(number), np.uint32), columns.kind, columns.value, columns.whole,
                columns.text,
            )  # fmt: skip
            self._commit(rows)

    def _commit(self, rows: Rows) -> None:
        before, self._seq = self._seq, self._seq + len(rows)
        tags = self.tags.dirty()
        self._store.commit(Commit(Position(STREAM, 1, self._seq), before, rows, tags))
        self.tags.stored(tags)

    def ask(self, path: str, start_ns: int) -> tuple[float, int]:
        """Means of 15 min of one tag over a day: how long that took in ms, and how many there are."""
        query = Window(
            tags=(path,), start_ns=start_ns, end_ns=start_ns + DAY_NS, every_ns=WINDOW_NS, aggregates=("mean",)
        )
        begun = time.perf_counter()
        found = self.engine.answer(query, self.engine.plan(query))
        return (time.perf_counter() - begun) * 1000, found.num_rows

    def take_in(self, rate: int, stop: threading.Event, taken: TakenIn) -> None:
        """Messages at a steady rate until told to stop: decoded and committed ten times a second."""
        batch = self._messages(int(rate * PACE_S))
        decoder = StreamDecoder(STREAM, 1, tags=self.tags, ledger=LedgerVerifier(), now_ns=time.time_ns)
        begun, count = time.perf_counter(), 0
        while not stop.is_set():
            first = self._seq + 1
            messages = [Received(m[0], m[1], None, first + n, self.until_ns) for n, m in enumerate(batch)]
            self._commit(decoder.decode(messages).rows)
            count += len(batch)
            behind_s = count / rate - (time.perf_counter() - begun)
            if behind_s > 0:
                stop.wait(behind_s)
        taken.rows, taken.seconds = count, time.perf_counter() - begun

    def _messages(self, count: int) -> Sequence[tuple[str, bytes]]:
        return [
            (
                f"uns.v1.acme.site.area._tag.t{n % len(self.paths)}",
                encode_sample(
                    20.0 + n % 977 / 10, quality=0, source_time_ns=self.until_ns + n, ingest_time_ns=self.until_ns + n
                ),
            )
            for n in range(count)
        ]


def answer_beside_ingest(folder: Path, tags: int, samples: int, *, rate: int, seconds: float) -> Beside:
    """Questions for a third of the time, samples for a third, then both at once."""
    history = History(folder, tags, samples)
    try:
        quiet, buckets = _ask(history, seconds / 3)
        alone = _take_in(history, rate, lambda: time.sleep(seconds / 3))
        asked: list[Asked] = []
        taken = _take_in(history, rate, lambda: asked.append(_ask(history, seconds)[0]))
    finally:
        history.close()
    return Beside(quiet, alone, asked[0], taken, buckets)


def _ask(history: History, seconds: float) -> tuple[Asked, int]:
    """Questions about the sealed day and about the newest 24 hours take turns, each of another tag."""
    found, buckets, rng = Asked(), 0, np.random.default_rng(1)
    began, until = time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until or not found.newest_ms:
        path = history.paths[int(rng.integers(len(history.paths)))]
        for start_ns, times in ((DAY * DAY_NS, found.sealed_ms), (history.until_ns - DAY_NS, found.newest_ms)):
            took_ms, count = history.ask(path, start_ns)
            times.append(took_ms)
            buckets = max(buckets, count)
    found.cpu_s = time.process_time() - began
    return found, buckets


def _take_in(history: History, rate: int, meanwhile: Callable[[], None]) -> TakenIn:
    taken, stop = TakenIn(), threading.Event()
    writer = threading.Thread(target=history.take_in, args=(rate, stop, taken))
    began = time.process_time()
    writer.start()
    try:
        meanwhile()
    finally:
        stop.set()
        writer.join()
    taken.cpu_s = time.process_time() - began
    return taken
