"""Against asyncua's server in a process of its own, whose tags count."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import aclosing, suppress
from pathlib import Path

import pytest
from opcua_kit import Process, StartPlant, connector_for, counts_of, read_until, tags_of

from millstream.kernel import Unreachable
from millstream.model import BAD_NODE_ID_UNKNOWN, Sample
from millstream.sdk import Position, Tag

CLOCK = Tag("clock", "i=2258", 0.2, 0.2, {"mode": "poll"})  # goes on when the plant has stopped
PRODUCED_S = 3.0


async def test_every_count_arrives_once_and_the_truth_agrees(start_plant: StartPlant, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    plant = start_plant("--tags", "20", "--rate", "20", "--paused", "--truth", str(truth))
    tags = [*tags_of(plant.ready["tags"], 0.05, 0.2), CLOCK]
    samples: list[Sample] = []
    async with connector_for(plant.endpoint).open() as session, aclosing(session.stream(tags, None)) as stream:
        started_s = time.monotonic()
        is_started = is_stopped = False
        async for batch in stream:
            samples += [sample for sample in batch.samples if sample.tag != CLOCK.key]
            if not is_started:
                plant.send(signal.SIGUSR2)
                is_started = True
            if time.monotonic() - started_s > 2 and not is_stopped:
                plant.send(signal.SIGUSR1)
                is_stopped = True
            if is_stopped and truth.exists() and (produced := json.loads(truth.read_text()))["final"]:
                good = sum(sample.quality.is_good for sample in samples)
                if good >= sum(produced["produced"].values()):
                    break
        assert session.take_source_gaps() == 0
    counts = counts_of(samples)
    assert {tag: len(values) for tag, values in counts.items()} == {
        tag: count for tag, count in produced["produced"].items() if tag.startswith("counter")
    }
    assert all(values == list(range(1, len(values) + 1)) for values in counts.values())


async def test_a_bad_tag_gives_one_bad_sample_and_the_others_go_on(plant: Process) -> None:
    nowhere = Tag("nowhere", "nsu=urn:nobody:knows;s=x", 0.1, 0.2)
    missing = Tag("missing", "nsu=urn:millstream:sim:plant;s=missing", 0.1, 0.2)
    tags = [nowhere, *tags_of(plant.ready["tags"]), missing]
    async with connector_for(plant.endpoint, bad_tag_retry="200ms").open() as session:
        samples, _ = await read_until(session, tags, lambda s: len(counts_of(s).get("counter_001", ())) > 20)
    for tag in (nowhere, missing):
        bad = [sample for sample in samples if sample.tag == tag.key]
        assert [(sample.value, sample.quality) for sample in bad] == [(None, BAD_NODE_ID_UNKNOWN)]


async def test_a_thousand_tags_at_ten_hertz_lose_nothing(start_plant: StartPlant, tmp_path: Path) -> None:
    """Also on a machine that stands still for seconds: then the link is opened anew, and history has the rest. The
    plant stops after some seconds, so that no machine is too slow for it."""
    truth = tmp_path / "truth.json"
    plant = start_plant("--tags", "996", "--rate", "10", "--paused", "--truth", str(truth))
    tags = [*tags_of(plant.ready["tags"], 0.1, 0.5), CLOCK]
    assert len(tags) == 1001
    samples: list[Sample] = []
    position: Position | None = None
    newest: dict[str, int] = {}
    connector = connector_for(plant.endpoint)
    plant.send(signal.SIGUSR2)
    started_s, is_stopped, is_whole = time.monotonic(), False, False
    cpu_s = time.process_time()
    async with asyncio.timeout(180):
        while not is_whole:
            with suppress(Unreachable):
                async with connector.open() as session, aclosing(session.stream(tags, position)) as stream:
                    async for batch in stream:
                        samples += batch.samples
                        position = batch.position or position
                        newest.update((s.tag, s.value) for s in batch.samples if s.tag.startswith("counter"))  # type: ignore[misc]
                        if not is_stopped and len(newest) == 996 and time.monotonic() - started_s > PRODUCED_S:
                            plant.send(signal.SIGUSR1)
                            is_stopped = True
                        is_whole = is_stopped and newest == final_counts(truth)
                        if is_whole:
                            break
                    assert session.take_source_gaps() == 0
    cpu_s = time.process_time() - cpu_s
    counts = counts_of(samples)
    assert len(counts) == 996
    for values in counts.values():
        assert values == list(range(values[0], values[0] + len(values)))
    # No bound on the machine's speed here: bench measures. This only notices a hundredfold regression.
    assert cpu_s / len(samples) < 1e-3


def final_counts(truth: Path) -> dict[str, int] | None:
    """How many values each counter got in all; None while the plant produces."""
    if not truth.exists():
        return None
    found = json.loads(truth.read_text())
    return {tag: n for tag, n in found["produced"].items() if tag.startswith("counter")} if found["final"] else None


async def test_browsing_gives_addresses_types_and_units(plant: Process) -> None:
    async with connector_for(plant.endpoint).open() as session:
        found = {info.name: info async for info in session.browse()}
        below = [info.name async for info in session.browse("nsu=urn:millstream:sim:plant;s=plant")]
    assert sorted(found) == sorted(below)
    assert found["counter_000"].address == "nsu=urn:millstream:sim:plant;s=counter_000"
    assert (found["counter_000"].data_type, found["counter_000"].groups) == ("Int64", ("plant",))
    assert (found["coolant_pressure"].data_type, found["coolant_pressure"].unit) == ("Double", "bar")


async def test_a_polled_tag_and_a_deadband_deliver(plant: Process) -> None:
    polled = tags_of(plant.ready["tags"][:1], 0.1, 0.1, mode="poll")
    still = tags_of(plant.ready["tags"][-1:], 0.1, 0.1, deadband_absolute=1e9)
    async with connector_for(plant.endpoint).open() as session:
        samples, _ = await read_until(session, [*polled, *still], lambda s: len(counts_of(s)["counter_000"]) >= 10)
    counts = counts_of(samples)["counter_000"]
    assert counts == sorted(counts)
    assert sum(sample.tag == still[0].key and sample.quality.is_good for sample in samples) <= 1


async def test_back_pressure_bounds_memory_and_history_fills_what_the_server_dropped(start_plant: StartPlant) -> None:
    plant = start_plant("--tags", "20", "--rate", "50")
    connector = connector_for(plant.endpoint, subscription={"samples_held_max": 2000})
    tags = tags_of(plant.ready["tags"], 0.02, 0.1)
    samples: list[Sample] = []
    async with connector.open() as session:
        samples, position = await read_until(session, tags, lambda s: len(s) > 500)
    async with connector.open() as session, aclosing(session.stream(tags, position)) as stream:
        batch = await anext(stream)
        samples += batch.samples
        position = batch.position or position
        deadline_s = time.monotonic() + 4
        while time.monotonic() < deadline_s:  # the consumer is away; only the loop turns
            await asyncio.sleep(0.1)
        with pytest.raises(Unreachable, match="new link"):  # noqa: PT012 (the loop keeps what came before)
            async for batch in stream:
                samples += batch.samples
                position = batch.position or position
    newest = max(max(values) for values in counts_of(samples).values())
    async with connector.open() as session:
        rest, _ = await read_until(
            session, tags, lambda s: min(map(max, counts_of(s).values()), default=0) > newest + 150, resume=position
        )
    for values in counts_of(samples + rest).values():
        assert values == list(range(values[0], values[0] + len(values)))
