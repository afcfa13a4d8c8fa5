"""The server dies and comes back; what it produced meanwhile is in its history."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from opcua_kit import Process, StartPlant, connector_for, counts_of, plant_command, read_until, tags_of

from millstream.connectors.opcua import OpcUaConnector
from millstream.kernel import Backoff, SystemClock, Unreachable
from millstream.model import Sample
from millstream.sdk import Position, Tag

RECOVERED_S_MAX = 30.0  # of a machine under load; without recovery there is no end


async def follow(
    connector: OpcUaConnector, tags: list[Tag], samples: list[Sample], resume: Position | None, until_count: int
) -> Position | None:
    """What the runtime does: open again with back-off from the last position, until all counters are that far."""
    backoff, clock = Backoff(ceiling_s=2.0), SystemClock()
    position = resume
    while True:
        try:
            async with connector.open() as session, aclosing(session.stream(tags, position)) as stream:
                backoff.reset()
                async for batch in stream:
                    samples += batch.samples
                    position = batch.position or position
                    reached = counts_of(samples)
                    if len(reached) == 10 and min(values[-1] for values in reached.values()) >= until_count:
                        return position
        except Unreachable:
            await clock.sleep(backoff.next_s())


async def test_kill_nine_and_restart_gives_data_within_seconds_without_gap_or_repeat(
    start_plant: StartPlant, tmp_path: Path
) -> None:
    history = str(tmp_path / "history.jsonl")
    plant = start_plant("--tags", "10", "--rate", "20", "--history", history)
    connector = connector_for(plant.endpoint)
    tags = tags_of(plant.ready["tags"], 0.05, 0.2)
    samples: list[Sample] = []
    position = await follow(connector, tags, samples, None, 10)
    plant.send(signal.SIGKILL)
    plant.end()
    port = str(plant.ready["port"])
    again = Process(plant_command("--port", port, "--tags", "10", "--rate", "20", "--history", history), {})
    try:
        again.start()
        started_s = time.monotonic()
        seen = len(samples)
        await follow(connector, tags, samples, position, counts_of(samples)["counter_000"][-1] + 20)
        first = next(sample for sample in samples[seen:] if sample.quality.is_good)
        assert first.source_time_ns is not None
        assert time.monotonic() - started_s < 20 / 20 + RECOVERED_S_MAX
    finally:
        again.end()
    for tag, values in counts_of(samples).items():
        assert values == list(range(values[0], values[0] + len(values))), tag


@pytest.fixture
def frozen_plant() -> Iterator[Process]:
    """A plant whose process can be stopped: it is no fork of another."""
    process = Process([sys.executable, "-m", "millstream.sim.opcua_plant", "--tags", "2", "--rate", "20"], {})
    process.start()
    yield process
    process.end(signal.SIGKILL)


async def test_a_session_notices_a_killed_server_at_once_and_a_frozen_one_soon(frozen_plant: Process) -> None:
    """At once: although the session would ask only after minutes whether the server is there."""
    plant = frozen_plant
    for number, patience, interval in ((signal.SIGSTOP, "1s", "500ms"), (signal.SIGKILL, "300s", "300s")):
        connector = connector_for(plant.endpoint, request_timeout=patience, check_interval=interval)
        raised: Unreachable | None = None
        async with connector.open() as session, aclosing(session.stream(tags_of(plant.ready["tags"]), None)) as stream:
            await anext(stream)
            plant.send(number)
            try:
                async with asyncio.timeout(60):
                    async for _ in stream:
                        pass
            except Unreachable as error:
                raised = error
        assert raised is not None
        plant.send(signal.SIGCONT)


async def test_history_is_paged_and_resumed_without_gap_or_repeat(start_plant: StartPlant) -> None:
    plant = start_plant("--tags", "10", "--rate", "200")
    connector = connector_for(plant.endpoint, backfill_page=50)
    tags = tags_of(plant.ready["tags"], 0.01, 0.1)
    samples: list[Sample] = []
    async with connector.open() as session:
        samples, position = await read_until(
            session, tags, lambda s: min(map(len, counts_of(s).values()), default=0) > 5
        )
    await SystemClock().sleep(1.5)  # the outage: some hundred values a tag
    newest = max(values[-1] for values in counts_of(samples).values())
    async with connector.open() as session:
        rest, _ = await read_until(
            session,
            tags,
            lambda s: min(map(max, counts_of(s).values()), default=0) > newest + 400,
            resume=position,
            within_s=90,
        )
    for tag, values in counts_of(samples + rest).items():
        assert values == list(range(values[0], values[0] + len(values))), tag


async def test_without_backfill_a_gap_stays_and_no_position_is_given(plant: Process) -> None:
    async with connector_for(plant.endpoint, backfill=False).open() as session:
        _, position = await read_until(session, tags_of(plant.ready["tags"]), lambda s: len(s) > 20)
    assert position is None
