"""Contracts in the pipeline and the outbox: what breaks one is kept apart, and nothing else notices."""

from __future__ import annotations

import asyncio
import base64
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
from edge_fakes import POSITION, Rig, Script, rig
from test_pipeline import KEY, NOW, feed, pipeline, values_of

from millstream.bus import MemoryStream
from millstream.edge._pipeline import DeadLetter, Output, Pipeline
from millstream.kernel import StoreFullError
from millstream.model import BAD_OUT_OF_RANGE, BAD_TYPE_MISMATCH, Block, Quality, Sample
from millstream.protocols.contract import Contract, ContractBook
from millstream.protocols.uns_payload import ARROW_TYPE, decode_sample
from millstream.sdk.testing import run_virtual

UNCERTAIN, BAD = Quality(0x40000000), Quality(0x80000000)


def book(*contracts: dict[str, Any]) -> ContractBook:
    base = {"name": "c", "kind": "tag", "paths": ("acme/**:**",), "version": 3}
    return ContractBook([Contract(**{**base, **said}) for said in contracts or ({"schema": NUMBER},)])


NUMBER = {"type": "number", "minimum": 0, "maximum": 100}


def kept(made: Pipeline, contracts: ContractBook, *samples: Sample) -> Output:
    made.enforce(contracts)
    return feed(made, *samples)


def test_a_sample_that_breaks_a_contract_is_a_letter_and_the_tag_is_bad_once_a_run() -> None:
    made = pipeline(unit="bar")
    samples = [Sample(KEY, value, source_time_ns=NOW + n) for n, value in enumerate([1.0, 101.0, "x", 2.0, -1.0, 3.0])]
    out = kept(made, book(), *samples)
    records = [decode_sample(message.payload) for message in out.messages]
    assert [r.value for r in records] == [1.0, None, 2.0, None, 3.0]
    assert [r.quality for r in records if r.value is None] == [BAD_OUT_OF_RANGE] * 2
    assert [decode_sample(letter.payload).value for letter in out.dead] == [101.0, "x", -1.0]
    first = out.dead[0]
    assert (first.code, first.contract, first.subject) == ("MS-0330", "c/3", "uns.v1.acme.p1.line._tag.t")
    assert first.reason == "contract c/3: 101.0 is greater than the maximum of 100"
    assert (decode_sample(first.payload).timestamp_ns, decode_sample(first.payload).unit) == (NOW + 1, "bar")
    c = made.counters
    assert (c.received, c.dead, c.added) == (6, 3, 2)
    assert c.received - c.dead + c.added == len(out.messages)


def test_a_wrong_type_is_told_from_a_value_out_of_range() -> None:
    out = kept(pipeline(), book(), Sample(KEY, "x"))
    assert decode_sample(out.messages[0].payload).quality == BAD_TYPE_MISMATCH


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"\x00", 2**70, [1], {"a": 1}, "1", True])
def test_what_is_no_number_in_range_breaks_a_contract_of_numbers(value: Any) -> None:
    assert len(kept(pipeline(), book(), Sample(KEY, value)).dead) == 1


def test_a_bad_sample_promises_nothing_and_an_uncertain_one_does() -> None:
    out = kept(pipeline(), book(), Sample(KEY, None), Sample(KEY, "x", BAD), Sample(KEY, None, UNCERTAIN))
    assert (len(out.dead), len(out.messages)) == (0, 3)
    assert len(kept(pipeline(), book(), Sample(KEY, 500, UNCERTAIN)).dead) == 1


def test_the_value_is_checked_in_its_engineering_unit_and_a_wrong_one_is_no_base_of_the_deadband() -> None:
    made = pipeline(scale={"factor": 0.1}, deadband={"absolute": 5})
    out = kept(made, book(), *(Sample(KEY, value) for value in (900.0, 2000.0, 910.0, 911.0)))
    assert values_of(out.messages) == [90.0, None, 91.0]
    assert len(out.dead) == 1


def test_a_unit_that_is_another_breaks_the_contract_of_every_sample() -> None:
    contracts = book({"unit": "Pa"})
    assert "unit is 'bar', expected 'Pa'" in kept(pipeline(unit="bar"), contracts, Sample(KEY, 1.0)).dead[0].reason
    assert kept(pipeline(unit="Pa"), contracts, Sample(KEY, 1.0)).dead == []
    assert kept(pipeline(), contracts, Sample(KEY, 1.0)).dead == []


def test_all_contracts_of_a_subject_hold_and_only_the_newest_version_of_each() -> None:
    old, new = {"schema": False, "version": 1}, {"schema": {"type": "number"}, "version": 2}
    other = {"name": "other", "schema": {"type": "number", "maximum": 5}, "paths": ("acme/p1:**", "**:t")}
    elsewhere = {"name": "elsewhere", "schema": False, "paths": ("acme/p2",)}
    state = {"name": "state", "schema": False, "kind": "state"}
    out = kept(pipeline(), book(old, new, other, elsewhere, state), Sample(KEY, 4), Sample(KEY, 6))
    assert [letter.contract for letter in out.dead] == ["other/3"]


def test_collected_samples_before_a_wrong_one_stay_before_its_mark() -> None:
    made = pipeline(publishing_interval="1h")
    out = kept(made, book(), *(Sample(KEY, value) for value in (1.0, 2.0, 500.0, 3.0, 4.0)))
    made.flush_all(NOW, out)
    assert values_of(out.messages) == [1.0, 2.0, None, 3.0, 4.0]
    made.enforce(book({"columns": ("int64",)}))
    out = feed(made, Sample(KEY, 1.0), Sample(KEY, 2.0))
    made.flush_all(NOW, out)
    assert (out.dead[0].content_type, values_of(out.messages)) == (ARROW_TYPE, [None])


def test_a_block_is_checked_as_a_whole_and_only_its_usable_rows() -> None:
    made = pipeline()
    made.enforce(book())
    times, values = np.arange(4, dtype=np.int64) + NOW, np.array([1.0, 2.0, 300.0, np.nan])
    out = Output()
    made.feed_block(Block(KEY, times, values, np.array([0, 0, BAD, BAD], np.uint32)), NOW, NOW, out)
    made.feed_block(Block(KEY, times, np.array([1, 2, 3, 4], np.int16)), NOW, NOW, out)
    assert out.dead == []
    made.feed_block(Block(KEY, times, values), NOW, NOW, out)
    assert "row 2 of 4: 300.0 is greater than the maximum of 100" in out.dead[0].reason
    assert (made.counters.received, made.counters.dead, made.counters.added) == (12, 4, 1)


def test_tags_that_a_source_names_itself_keep_contracts_too() -> None:
    out = kept(pipeline(), book(), Sample("own/name", 500.0), Sample("own/other", 5.0))
    assert [letter.subject for letter in out.dead] == ["uns.v1.acme.p1.line._tag.own.name"]


def test_without_a_contract_nothing_is_looked_up_or_kept() -> None:
    made = pipeline()
    made.enforce(ContractBook())
    assert made._tags[KEY].check is None
    made.enforce(book())
    made.enforce(book({"schema": False, "is_enforced": False}))
    assert made._tags[KEY].check is None
    assert kept(made, ContractBook(), Sample(KEY, "x")).dead == []


def test_subjects_are_looked_up_once_and_contracts_compiled_once() -> None:
    contracts = book({"schema": {"type": "string", "pattern": "^(a+)+$"}})
    check = contracts.check_of("uns.v1.acme._tag.t")
    assert check is contracts.check_of("uns.v1.acme._tag.t")
    assert contracts.check_of("uns.v1.acme._tag.u") is not check
    assert contracts.check_of("no.subject") is None
    assert check is not None
    tracemalloc.start()
    try:
        assert check.find("a" * 100_000 + "b") is not None  # a pattern that takes a naive engine for ever
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# -- letters beside samples -------------------------------------------------------------------------------------------


@dataclass
class SlowLetters:
    """A dead-letter store that takes its time, and may refuse."""

    delay_s: float = 0.0
    refusals: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    writes: int = 0

    async def write(self, source: str, letter: DeadLetter) -> None:
        await self.write_all(source, (letter,))

    async def write_all(self, source: str, letters: Sequence[DeadLetter]) -> None:
        self.writes += 1
        await asyncio.sleep(self.delay_s)
        if self.refusals:
            self.refusals -= 1
            raise StoreFullError("no room for letters")
        self.letters += letters


def odd_rig(script: Script, letters: SlowLetters, stream: MemoryStream | None = None) -> Rig:
    """Rows 0.. of which those above 99 break the contract."""
    made = rig(script, stream=stream)
    made.supervisor.outbox._dead_letters = letters
    made.supervisor.pipeline.enforce(book({"schema": {"type": "number", "exclusiveMaximum": 100}}))
    return made


@pytest.mark.parametrize("has_positions", [True, False])
def test_samples_do_not_wait_for_letters_and_no_record_is_ahead_of_them(has_positions: bool) -> None:
    async def main() -> None:
        letters = SlowLetters(delay_s=3600.0)
        made = odd_rig(Script(rows_count=150, batch_rows=1, has_positions=has_positions), letters)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.supervisor.run())
            await asyncio.sleep(0.05)
            assert made.values == list(range(100))
            assert letters.letters == []
            positions = [m for m in made.stream.messages if m.subject == POSITION and b"null" not in m.payload]
            assert all(int(base64.b64decode(msgspec.json.decode(m.payload)["position"])) <= 100 for m in positions)
            await running
        assert len(letters.letters) == 50
        assert made.supervisor.lifecycle.state.value == "ended"
        if has_positions:
            assert made.stored_position == b"150"
            assert made.script.acks[-1] == 150

    run_virtual(main())


def test_a_crash_while_letters_wait_repeats_letters_and_no_sample() -> None:
    async def main() -> None:
        letters = SlowLetters(delay_s=3600.0)
        script = Script(rows_count=110, batch_rows=3)
        made = odd_rig(script, letters)
        running = asyncio.get_running_loop().create_task(made.supervisor.run())
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait([running])
        again = odd_rig(script, SlowLetters(), made.stream)
        await again.supervisor.run()
        assert again.values == list(range(100))
        assert again.bad == [BAD_OUT_OF_RANGE]
        store = again.supervisor.outbox._dead_letters
        assert isinstance(store, SlowLetters)
        assert sorted(decode_sample(x.payload).value for x in store.letters) == list(range(100, 110))
        assert again.stored_position == b"110"

    run_virtual(main())


def test_a_flood_of_letters_is_bounded_and_written_many_at_once() -> None:
    async def main() -> None:
        letters = SlowLetters(delay_s=1.0)
        made = odd_rig(Script(rows_count=10_100, batch_rows=100, has_positions=False), letters)
        made.supervisor.pipeline.enforce(book({"schema": {"type": "number", "maximum": 99}}))
        await made.supervisor.run()
        assert len(letters.letters) == 10_000
        assert letters.writes <= 60

    run_virtual(main())


def test_a_store_that_refuses_letters_for_a_while_loses_none() -> None:
    async def main() -> None:
        letters = SlowLetters(refusals=1)
        made = odd_rig(Script(rows_count=120, batch_rows=10, pause_s=5.0), letters)
        await made.supervisor.run()
        assert made.values == list(range(100))
        assert [decode_sample(x.payload).value for x in letters.letters] == list(range(100, 120))

    run_virtual(main())
