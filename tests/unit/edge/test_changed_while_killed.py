"""Other tags, or another class of durability, behind a kill in the middle of a batch: nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
from edge_fakes import POSITION, POSITION_THROUGHPUT, Rig, Script, rig

from millstream.bus import MemoryPublisher, MemoryStream
from millstream.edge._progress import BEHIND_TAGS_MAX, Behind, Mark, Progress, decode_progress, encode_progress
from millstream.edge._taken import MIXED, OTHERS_MIN, Taken
from millstream.model import Block, Sample
from millstream.protocols.uns_payload import encode_sample
from millstream.sdk import Position, Received, Tag
from millstream.sdk.testing import LoopClock, run_virtual

ROWS = 2200
SEEDS = 10
CLASSES = ((POSITION, POSITION_THROUGHPUT), (POSITION_THROUGHPUT, POSITION))


class SlowPublisher(MemoryPublisher):
    """A store that takes its time for each unit."""

    async def submit(self, *arguments: Any) -> Any:
        await asyncio.sleep(0.01)
        return await super().submit(*arguments)


class LoosePublisher(MemoryPublisher):
    """A store of the class of throughput: the record comes a little later than what it tells of."""

    async def submit(self, messages: Any, control: Any = None, **more: Any) -> Any:
        await asyncio.sleep(0.005)
        stored = await super().submit(messages, **more)
        await asyncio.sleep(0.005)
        return stored if control is None else await super().submit((), control)


@dataclass
class Elsewhere:
    """The other class's stream in memory."""

    stream: MemoryStream
    subject: str

    async def last(self) -> bytes | None:
        """The newest record."""
        found = self.stream.last(self.subject)
        return None if found is None else found.payload

    async def after(self) -> Sequence[Received]:
        """What stands behind it."""
        found = self.stream.last(self.subject)
        return [] if found is None else self.stream.messages[found.seq :]


@dataclass
class Site:
    """Two classes of durability, and lives of one connector."""

    clock: LoopClock = field(default_factory=LoopClock)
    streams: list[MemoryStream] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.streams = [MemoryStream(f"E_e1_{kind}", self.clock) for kind in "IT"]

    def begin(self, numbers: Sequence[int], batch_rows: int, kind: int = 0) -> Rig:
        """A life with these tags in one of the classes."""
        stream, (mine, others) = self.streams[kind], CLASSES[kind]
        return rig(
            Script(rows_count=ROWS, batch_rows=batch_rows), stream=stream, clock=self.clock, numbers=numbers,
            publisher=(SlowPublisher, LoosePublisher)[kind](stream, clock=self.clock), position=mine,
            other=Elsewhere(self.streams[1 - kind], others),
        )  # fmt: skip

    async def live(self, made: Rig, seconds: float) -> None:
        """Until it is killed."""
        task = asyncio.ensure_future(made.supervisor.run())
        await asyncio.sleep(seconds)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def rows(self, number: int) -> list[int]:
        """What both streams hold of a tag; without what tells of a lost link."""
        found = [m for stream in self.streams for m in stream.messages if m.subject.endswith(f"._tag.t{number}")]
        return [row for m in found if (row := msgspec.json.decode(m.payload)["value"]) is not None]

    def records(self) -> list[Progress]:
        """All that was said of progress."""
        subjects = (POSITION, POSITION_THROUGHPUT)
        return [decode_progress(m.payload) for s in self.streams for m in s.messages if m.subject in subjects]


async def many_lives(seed: int, *, changes_class: bool, cuts_anew: bool) -> tuple[Site, Rig]:
    """Tags come and go between lives that end anywhere; the first tag is always there, and the last life ends well.
    `cuts_anew`: in each life the source gives batches of another size."""
    rng = random.Random(seed)
    site, sizes = Site(), [rng.choice((200, 600, 1100)) for _ in range(6)]
    sizes = sizes if cuts_anew else sizes[:1] * 6
    for _ in range(rng.randint(2, 5)):
        numbers = [0, *rng.sample((1, 2, 3), rng.randint(0, 3))]
        rng.shuffle(numbers)
        kind = rng.randint(0, 1) if changes_class else 0
        await site.live(site.begin(numbers, sizes.pop(), kind), rng.choice((0.0, 0.01, 0.02, 0.035)))
    made = site.begin([2, 0, 1], sizes.pop(), rng.randint(0, 1) if changes_class else 0)
    await made.supervisor.run()
    return site, made


@pytest.mark.parametrize(("changes_class", "cuts_anew"), [(False, False), (True, False), (True, True)])
def test_no_order_of_kills_and_changes_loses_or_doubles_a_sample(changes_class: bool, cuts_anew: bool) -> None:
    """Where the source cuts anew nobody can know how much of a tag that was gone meanwhile lies before a position that
    was reached without it; the tag that was always there is exact even then."""
    mixed = skipped = moved = 0
    for seed in range(SEEDS):
        site, made = run_virtual(many_lives(seed, changes_class=changes_class, cuts_anew=cuts_anew))
        assert sorted(site.rows(0)) == list(range(ROWS)), seed
        last = int(made.script.resumes[0] or 0)
        for number in () if cuts_anew else (1, 2, 3):
            found = Counter(site.rows(number))
            assert max(found.values(), default=1) == 1, (seed, number)
            assert number == 3 or set(range(last, ROWS)) <= set(found), (seed, number)
        records = site.records()
        mixed += any(record.behind.mapping == MIXED for record in records)
        skipped += any(record.mark.skip for record in records)
        moved += any(record.is_moved for record in records)
    assert mixed > 1, "the kills met batches that were cut, and other tags behind them"
    assert skipped > 4
    assert (moved > 4) is changes_class


@pytest.mark.parametrize("last_kind", [0, 1])
def test_what_a_crash_left_without_a_record_is_known_in_the_other_class_and_back_again(last_kind: int) -> None:
    async def lives() -> Site:
        site = Site()
        throughput = site.streams[1]
        throughput.append(POSITION_THROUGHPUT, encode_progress(Progress(Mark(Position(b"0")))))
        for row in range(50):  # stored, and their record is not
            payload = encode_sample(row, quality=0, source_time_ns=None, ingest_time_ns=row)
            throughput.append("uns.v1.acme.p1._tag.t0", payload)
        await site.live(site.begin([0], 300, kind=0), 0.011)  # killed once its class has the record, and nothing else
        assert sorted(record.is_moved for record in site.records()) == [False, True]
        await site.begin([0], 300, kind=last_kind).supervisor.run()
        return site

    site = run_virtual(lives())
    assert sorted(site.rows(0)) == list(range(ROWS))


def tags(*keys: str, address: str = "a") -> list[Tag]:
    return [Tag(key, address) for key in keys]


def samples(*keys: str) -> list[Sample]:
    return [Sample(key, 1) for key in keys]


def test_of_the_same_tags_the_first_samples_are_left_out_by_their_number() -> None:
    before, now = Taken(tags("x", "y")), Taken(tags("x", "y"))
    before.fed(samples("x", "y", "x"))
    mark = now.adopt(Mark(Position(b"p"), 3), before.behind())
    assert (mark.skip, now.begin_session(mark), now.is_picking) == (3, 3, False)
    now.skipped(samples("x", "y"))
    assert now.reached(1) == 1
    assert now.behind().counts == {"x\na": 1}


def test_of_other_tags_those_are_left_out_that_were_stored() -> None:
    before, now = Taken(tags("x", "y")), Taken(tags("z", "x"))
    before.fed(samples("x", "y", "x", "named by the source"))
    mark = now.adopt(Mark(Position(b"p"), 4), before.behind())
    assert (mark.skip, now.begin_session(mark), now.is_picking) == (4, 0, True)
    assert [s.tag for s in now.without_stored(samples("z", "x", "z", "x", "x"))] == ["z", "z", "x"]
    assert now.behind().mapping == MIXED
    assert now.reached(0) == 0, "what does not come is not waited for behind the batch"
    assert (now.behind().mapping == MIXED, now.is_picking) == (False, False)


def test_a_name_that_the_source_brings_is_told_apart_as_long_as_it_comes() -> None:
    before, now = Taken(tags("x")), Taken(tags("y"))
    before.fed(samples("own", "own", "own"))
    now.begin_session(now.adopt(Mark(None, 3), before.behind()))
    assert now.without_stored(samples("own")) == []
    assert now.reached(0) == 2, "the source cuts its batches anew"
    assert [s.tag for s in now.without_stored(samples("own", "y", "own", "own"))] == ["y", "own"]
    assert now.reached(0) == 0


def test_a_tag_that_reads_something_else_now_begins_anew() -> None:
    before, now = Taken(tags("x")), Taken(tags("x", address="b"))
    before.fed(samples("x", "x"))
    mark = now.adopt(Mark(None, 2), before.behind())
    assert (mark.skip, now.is_picking) == (0, False)


def test_blocks_are_cut_where_they_are_stored() -> None:
    before, now = Taken(tags("x", "y")), Taken(tags("x"))
    block = Block("x", np.arange(10), np.arange(10.0))
    before.fed_block(block)
    now.begin_session(now.adopt(Mark(None, 10), before.behind()))
    assert now.stored_of(Block("x", np.arange(4), np.arange(4.0))) == 4
    assert now.reached(0) == 6
    assert (now.stored_of(block), now.reached(0)) == (6, 0)


def test_what_never_comes_again_is_not_waited_for_for_ever() -> None:
    before, now = Taken(tags("x", "y")), Taken(tags("x", "z"))
    before.fed(samples("x"))
    now.begin_session(now.adopt(Mark(None, 1), before.behind()))
    assert len(now.without_stored(samples("z") * (OTHERS_MIN + 20))) == OTHERS_MIN + 20
    assert now.reached(0) == 0


def test_a_record_of_too_many_tags_or_of_an_older_version_counts_by_number() -> None:
    counts = {f"t{n}\na": 1 for n in range(BEHIND_TAGS_MAX + 1)}
    whole = Progress(Mark(None, len(counts)), behind=Behind("other", counts))
    for behind in (decode_progress(encode_progress(whole)).behind, Behind()):
        now = Taken(tags("x"))
        mark = now.adopt(Mark(None, len(counts)), behind)
        assert (now.begin_session(mark), now.is_picking) == (len(counts), False)
