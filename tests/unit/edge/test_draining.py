"""A connector that is replaced while it runs stops at a boundary: its successor may map the tags otherwise."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from edge_fakes import POSITION, Rig, Script, rig

from millstream.bus import MemoryPublisher, MemoryStream
from millstream.config import ConnectorEntry
from millstream.edge import _connector_set
from millstream.edge._connector_set import ConnectorSet
from millstream.kernel import PlantError
from millstream.sdk.testing import LoopClock, run_virtual

BATCH_ROWS = 2000  # more than one unit


class SlowPublisher(MemoryPublisher):
    """A store that takes its time for each unit."""

    async def submit(self, *arguments: Any) -> Any:
        await asyncio.sleep(0.01)
        return await super().submit(*arguments)


def skip_of(made: Rig) -> int:
    found = made.stream.last(POSITION)
    return int(msgspec.json.decode(found.payload).get("skip", 0)) if found is not None else 0


async def replaced(after_s: float, *, how: str) -> tuple[Rig, int]:
    """One tag first, two behind it; the first is ended in the middle of its work. Gives the skip between the two."""
    clock = LoopClock()
    stream = MemoryStream(clock=clock)
    first = rig(
        Script(rows_count=3 * BATCH_ROWS, batch_rows=BATCH_ROWS), stream=stream, clock=clock,
        publisher=SlowPublisher(stream, clock=clock),
    )  # fmt: skip
    task = asyncio.ensure_future(first.supervisor.run())
    await asyncio.sleep(after_s)
    getattr(first.supervisor, how)()
    await asyncio.wait_for(task, 60)
    skip = skip_of(first)
    script = Script(rows_count=3 * BATCH_ROWS, batch_rows=BATCH_ROWS, tags_count=2)
    second = rig(script, stream=stream, clock=clock)
    await second.supervisor.run()
    return second, skip


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.015, 0.025, 0.045, 0.075])
def test_a_successor_with_other_tags_finds_a_position_with_nothing_behind_it(after_s: float) -> None:
    made, skip = run_virtual(replaced(after_s, how="drain"))
    assert skip == 0
    first = int(made.script.resumes[0] or 0)
    assert made.values == list(range(first)) + [row for row in range(first, 3 * BATCH_ROWS) for _ in range(2)]


def test_a_mere_stop_may_leave_samples_behind_a_position() -> None:
    """What `drain` is for: were this not so, the test above could not fail."""
    skips = [run_virtual(replaced(after_s, how="stop"))[1] for after_s in (0.015, 0.025, 0.045, 0.075)]
    assert any(skips)


ENTRY = ConnectorEntry.model_validate({"name": "fake", "type": "fake"})


def test_a_connector_that_does_not_come_to_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its store is full: nothing is changed, and the one that waits is the same as before."""
    monkeypatch.setattr(_connector_set, "DRAIN_TIMEOUT_S", 1.0)

    class FullPublisher(MemoryPublisher):
        gate = asyncio.Event()

        async def submit(self, *arguments: Any) -> Any:
            await self.gate.wait()
            return await super().submit(*arguments)

    async def drained() -> None:
        clock = LoopClock()
        stream = MemoryStream(clock=clock)
        publisher = FullPublisher(stream, clock=clock)
        publisher.gate = asyncio.Event()
        made = rig(Script(rows_count=50, batch_rows=10), stream=stream, clock=clock, publisher=publisher)
        connectors = ConnectorSet(lambda entry: made.supervisor, made.recorder)
        async with asyncio.TaskGroup() as group:
            connectors.prepare([ENTRY])
            connectors.start(group)
            await asyncio.sleep(0.1)
            with pytest.raises(PlantError) as caught:
                await connectors.drain(["fake"])
            assert caught.value.code == "MS-2411"
            assert len(connectors) == 1
            publisher.gate.set()
        assert made.values == list(range(50))

    run_virtual(drained())


def test_only_what_differs_is_changed() -> None:
    made = rig(Script())
    connectors = ConnectorSet(lambda entry: made.supervisor, made.recorder)
    connectors.prepare([ENTRY])
    assert connectors.changed([ENTRY]) == []
    assert connectors.changed([ENTRY.model_copy(update={"sampling_interval": 2.0})]) == ["fake"]
    assert connectors.changed([]) == ["fake"]
    assert connectors.prepare([ENTRY]) == []
