"""What a flow says has to keep the contracts; what does not is in quarantine once, and everything else goes on."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from flow_bench import FLOW, SECOND, T0, Bench, Killed, parts

from millstream.flow import EmitEvent, Event, Flow, Input, TimePolicy
from millstream.protocols.contract import Contract, ContractBook
from millstream.protocols.nats_wire import parse_headers
from millstream.protocols.uns_payload import decode_sample

EVEN = Contract("parts", "count", ("acme/**:parts",), {"type": "integer", "multipleOf": 2}, version=1)
SMALL = Contract("parts", "count", ("acme/**:parts",), {"type": "integer", "maximum": 3}, version=2)
TOTAL = Contract("total", "kpi", ("acme/**:parts_last",), {"type": "integer", "maximum": 1}, version=1)


def bench_with(*contracts: Contract, flow: Flow[Any] = FLOW, partitions: int = 1) -> Bench:
    bench = Bench(flow, partitions)
    book = ContractBook(contracts)
    bench.contracts = lambda: book
    return bench


def letters(bench: Bench) -> list[tuple[str, Any, str, str]]:
    return [
        (each.contract, decode_sample(each.received.payload).value, f"{each.stream}:{each.received.seq}", each.reason)
        for each in bench.rejected
    ]


async def test_an_output_that_breaks_a_contract_is_quarantined_and_state_and_neighbours_go_on() -> None:
    bench = bench_with(EVEN)
    other = Contract("other", "count", ("acme/**:other",), False, version=1)
    book = ContractBook([EVEN, other])
    bench.contracts = lambda: book
    for i in range(8):
        bench.feed("press:barrier", i % 2 == 0, T0 + i)
        bench.feed("saw:barrier", i < 7, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
        counts = runner.running[0].core.counts
        assert (counts.broken, counts.rejected, counts.events) == (3, 0, 16)
    assert parts(bench) == [None, 2, None, 4]
    assert parts(bench, "saw") == [None]
    assert letters(bench) == [
        ("parts/1", 1, "IN:1", "contract parts/1: 1 is not a multiple of 2"),
        ("parts/1", 1, "IN:2", "contract parts/1: 1 is not a multiple of 2"),
        ("parts/1", 3, "IN:9", "contract parts/1: 3 is not a multiple of 2"),
    ]
    rejected = bench.rejected[0]
    assert (rejected.code, rejected.flow) == ("MS-0330", "parts/1/0")
    assert rejected.received.subject == "uns.v1.acme.site.press._count.parts"


async def test_a_result_of_bad_quality_stands_where_the_broken_one_would() -> None:
    bench = bench_with(SMALL)
    for i in range(10):
        bench.feed("press:barrier", i % 2 == 0, T0 + i)
    async with bench.running() as runner:
        await bench.done(runner)
    found = [m for m in bench.output.messages if m.subject.endswith("._count.parts")]
    records = [decode_sample(m.payload) for m in found]
    assert [r.value for r in records] == [1, 2, 3, None, None]
    assert [r.quality >> 30 for r in records] == [0, 0, 0, 2, 2]
    assert [parse_headers(m.headers).values["Ms-Flow-In"] for m in found][3:] == ["IN:7:0", "IN:9:0"]
    assert [r.time_ns for r in records] == [T0 + i for i in range(0, 10, 2)]


async def test_an_event_that_breaks_a_contract_is_quarantined_with_its_attributes_and_nothing_takes_its_place() -> None:
    def tell(state: int, event: Event) -> tuple[int, list[Any]]:
        return state, [EmitEvent(f"{event.key}:order", "com.acme.order", {"order": event.value}, event.time_ns)]

    flow = Flow("orders", (Input("acme/**:order"),), tell, int, int, outputs=("event",), time=TimePolicy(idle_ns=None))
    schema = {"type": "object", "properties": {"order": {"type": "string"}}}
    bench = bench_with(Contract("orders", "event", ("acme/**",), schema, version=4), flow=flow)
    for value in ("A", 7, "B"):
        bench.feed("press:order", value, T0)
    async with bench.running() as runner:
        await bench.done(runner)
    said = [m for m in bench.output.messages if "._event." in m.subject]
    assert [msgspec.json.decode(m.payload) for m in said] == [{"order": "A"}, {"order": "B"}]
    [rejected] = bench.rejected
    headers = parse_headers(rejected.received.headers).values
    assert (rejected.contract, headers["ce-type"]) == ("orders/4", "com.acme.order")
    assert msgspec.json.decode(rejected.received.payload) == {"order": 7}


async def test_a_muted_version_puts_nothing_into_quarantine_again() -> None:
    bench = bench_with(EVEN)
    for i in range(4):
        bench.feed("press:barrier", i % 2 == 0, T0 + i)
    bench.muted = {"of": 1, "0/IN": 3, "0/tick": 0}
    async with bench.running() as runner:
        await bench.done(runner)
    assert (parts(bench), bench.rejected) == ([], [])


@pytest.mark.parametrize("seed", range(40))
async def test_crashes_while_contracts_change_leave_each_output_in_one_place_once(seed: int) -> None:
    rng = random.Random(seed)
    reference, bench = Bench(partitions=2), Bench(partitions=2)
    inputs = [(f"m{rng.randrange(5)}:barrier", rng.random() < 0.5, T0 + i * SECOND) for i in range(400)]
    for made in (reference, bench):
        for tag, value, at in inputs:
            made.feed(tag, value, at)
    async with reference.running() as runner:
        await reference.done(runner)
    bench.rng = rng
    books = [ContractBook(), ContractBook([EVEN, TOTAL]), ContractBook([SMALL])]
    for _ in range(10):
        book = rng.choice(books)
        bench.contracts = lambda book=book: book  # type: ignore[misc]
        bench.kill_after = rng.randint(0, 2)
        async with bench.running() as runner:
            with suppress(TimeoutError, Killed):
                async with asyncio.timeout(0.02):
                    await bench.done(runner)
    bench.kill_after = None
    async with bench.running() as runner:
        await bench.done(runner)
    wanted = {(subject, origin): value for subject, value, origin in reference.outputs()}
    said = [(subject, origin) for subject, _, origin in bench.outputs()]
    kept = {(m.received.subject, f"{m.stream}:{m.received.seq}:{m.sample}"): m for m in bench.rejected}
    assert sorted(said) == sorted(wanted)
    assert len(kept) == len(bench.rejected), "a letter stands twice"
    for subject, value, origin in bench.outputs():
        if value is None:
            assert decode_sample(kept[(subject, origin)].received.payload).value == wanted[(subject, origin)]
        else:
            assert value == wanted[(subject, origin)]
            assert (subject, origin) not in kept, "in both places"


class Least(random.Random):
    """Of a torn commit nothing is there."""

    def randint(self, a: int, b: int) -> int:
        return a


async def test_a_tick_that_was_cut_off_after_its_letters_is_done_again_at_the_same_moment() -> None:
    bench = bench_with(TOTAL)
    for i in range(4):
        bench.feed("press:barrier", i % 2 == 0, T0 + i * SECOND)
    async with bench.running() as runner:
        await bench.done(runner)
    bench.flow, bench.rng = replace(FLOW, time=TimePolicy(idle_ns=0)), Least()
    # Each run dies right after the letter of its tick was written, before its commit; the next one's clock is later.
    for _ in range(3):
        bench.kill_after = 0
        async with bench.running():
            done, _ = await asyncio.wait([bench.task], timeout=60)
            assert done
    bench.kill_after = None
    async with bench.running():
        async with asyncio.timeout(60):
            while not any(s.endswith("parts_last") for s, _, _ in bench.outputs()):
                await asyncio.sleep(0.01)
    assert [value for subject, value, _ in bench.outputs() if subject.endswith("parts_last")] == [None]
    assert len(bench.rejected) == 1
