"""The SDK against a real server: what is published is seen live, as last value, in the tree and in the ledger."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fake_node import NOW_NS, PASSWORD, USER, FakeNode
from nats.errors import FlushTimeoutError
from nats.js.api import StreamConfig

import millstream
from millstream.cli import main
from millstream.client import Plant, Reading
from millstream.kernel import AuthError, DecodeError, NotFoundError, PlantError, Unreachable
from millstream.model import BAD, BAD_DECODING_ERROR, Block
from millstream.protocols.cloudevents import JSON_TYPE, CloudEvent
from millstream.protocols.ledger import LedgerRecord, encode_record
from millstream.protocols.uns_payload import ARROW_TYPE, encode_block, encode_sample

TEMPERATURE = "acme/plant1/press:temperature"


async def take(plant: Plant, count: int, *patterns: str, **options: str) -> list[Reading]:
    """The next readings that are live."""
    found: list[Reading] = []
    async with asyncio.timeout(60), aclosing(plant.live(*patterns, **options)) as readings:
        async for reading in readings:
            found.append(reading)
            if len(found) == count:
                break
    return found


async def publish_until_seen(plant: Plant, task: asyncio.Task[list[Reading]], *paths: str) -> list[Reading]:
    """Publish one value after the other until the listener has what it wants."""
    value = 0
    while not task.done():
        for path in paths:
            await plant.publish(path, value)
        value += 1
        await asyncio.sleep(0.01)
    return task.result()


async def test_what_is_published_is_the_last_value(hub: FakeNode) -> None:
    async with millstream.connect(hub.folder) as plant:
        stored = await plant.publish(TEMPERATURE, 21.5, unit="degC", time=datetime(2026, 1, 2, tzinfo=UTC))
        reading = await plant.get(TEMPERATURE)
    assert (stored.stream, stored.last_seq) == ("H_LOCAL", 1)
    assert (reading.path, reading.value, reading.unit) == (TEMPERATURE, 21.5, "degC")
    assert reading.time == datetime(2026, 1, 2, tzinfo=UTC)
    assert reading.quality.is_good


async def test_an_edge_is_read_the_same_way(edge: FakeNode) -> None:
    async with millstream.connect(edge.folder / "node.json") as plant:
        await plant.publish(TEMPERATURE, None, quality=BAD)
        assert (await plant.get(TEMPERATURE)).quality.is_bad
        assert plant.node.role == "edge"


async def test_live_shows_stored_values_and_nothing_else(hub: FakeNode) -> None:
    async with millstream.connect(hub.folder) as plant, asyncio.TaskGroup() as scope:
        task = scope.create_task(take(plant, 3, "acme/plant1"))
        found = await publish_until_seen(plant, task, TEMPERATURE, "acme/plant2/oven:temperature")
    assert {reading.path for reading in found} == {TEMPERATURE}
    values = [reading.value for reading in found]
    assert values == sorted(values, key=float)


async def test_patterns_that_overlap_give_no_reading_twice(hub: FakeNode) -> None:
    async with millstream.connect(hub.folder) as plant, asyncio.TaskGroup() as scope:
        task = scope.create_task(take(plant, 4, "acme/*/press:temperature", "acme/plant1/*:temperature"))
        found = await publish_until_seen(plant, task, TEMPERATURE)
    values = [reading.value for reading in found]
    assert len(set(values)) == 4


async def test_live_begins_with_the_last_values_when_asked(hub: FakeNode) -> None:
    async with millstream.connect(hub.folder) as plant:
        await plant.publish(TEMPERATURE, 5)
        await hub.stored("H_INTEGRITY", 1)
        async with asyncio.timeout(60), aclosing(plant.live("**", initial=True)) as readings:
            assert (await anext(readings)).value == 5


async def test_a_block_is_as_many_readings_as_it_has_samples(edge: FakeNode) -> None:
    block = Block("x", np.arange(3, dtype=np.int64) + NOW_NS, np.array([1.0, math.nan, 3.0]))
    payload = encode_block(block, ingest_time_ns=NOW_NS, unit="mm/s")
    async with millstream.connect(edge.folder) as plant, asyncio.TaskGroup() as scope:
        task = scope.create_task(take(plant, 3, "**:vibration"))
        while not task.done():
            await edge.client.publish(
                "uns.v1.acme._tag.vibration", payload, headers={"Content-Type": ARROW_TYPE, "Ms-Count": "3"}
            )
            await asyncio.sleep(0.02)
        last = await plant.get("acme:vibration")
    assert [r.time_ns - NOW_NS for r in task.result()] == [0, 1, 2]
    assert (last.value, last.unit) == (3.0, "mm/s")


async def test_a_payload_that_is_garbage_is_one_bad_reading(edge: FakeNode) -> None:
    async with millstream.connect(edge.folder) as plant:
        await edge.client.jetstream().publish("uns.v1.acme._tag.broken", b"\xff{")
        assert (await plant.get("acme:broken")).quality == BAD_DECODING_ERROR


async def test_a_path_without_a_value_names_a_similar_one(edge: FakeNode) -> None:
    async with millstream.connect(edge.folder) as plant:
        await plant.publish(TEMPERATURE, 1)
        with pytest.raises(NotFoundError, match="did you mean 'acme/plant1/press:temperature'"):
            await plant.get("acme/plant1/press:temperatur")
        with pytest.raises(DecodeError, match="use `last`"):
            await plant.get("acme/**")


async def test_last_reads_more_tags_than_one_answer_of_the_server_holds(edge: FakeNode) -> None:
    payload = encode_sample(1, quality=0, source_time_ns=NOW_NS, ingest_time_ns=NOW_NS)
    for number in range(1300):  # the server gives at most 1,024 subjects in one batched get
        await edge.client.publish(f"uns.v1.acme.many._tag.t{number}", payload)
    await edge.stored("E_edge1_I", 1300)
    async with millstream.connect(edge.folder) as plant:
        assert len(await plant.last("acme/many")) == 1300


async def test_the_tree_shows_places_kinds_and_descriptions(edge: FakeNode) -> None:
    meta = {"unit": "degC", "data_type": "float", "description": "oil", "source": {"address": "40001"}}
    async with millstream.connect(edge.folder) as plant:
        await edge.client.jetstream().publish("uns.v1.acme.plant1.press._meta.temperature", json.dumps(meta).encode())
        await plant.publish(TEMPERATURE, 1)
        await plant.publish("acme/plant1/press:parts", 7, kind="count")
        tree = await plant.tree()
        reading = await plant.get(TEMPERATURE)
    press = tree.children["acme"].children["plant1"].children["press"]
    assert [(e.path, e.kind, e.unit) for e in press.entries] == [
        ("acme/plant1/press:parts", "count", None),
        (TEMPERATURE, "tag", "degC"),
    ]
    assert reading.unit == "degC"


async def test_an_event_is_stored_once_and_read_back(edge: FakeNode) -> None:
    async with millstream.connect(edge.folder) as plant, asyncio.TaskGroup() as scope:
        first = await plant.event("acme/plant1/press", "com.acme.stopped", {"reason": "jäm"}, id="7")
        again = await plant.event("acme/plant1/press", "com.acme.stopped", {"reason": "jäm"}, id="7")

        async def listen() -> list[object]:
            async with aclosing(plant.events("acme", type="com.acme.*")) as events:
                async for event in events:
                    return [event.type, event.source, event.data]
            return []

        task = scope.create_task(listen())
        number = 0
        while not task.done():
            await plant.event("acme/plant1/press", "org.other", {})
            await plant.event("acme/plant1/press", "com.acme.started", {"n": [1]}, id=f"s{number}")
            number += 1
            await asyncio.sleep(0.01)
    assert first.last_seq == again.last_seq
    assert task.result() == ["com.acme.started", "/acme/plant1/press", {"n": [1]}]


async def test_history_is_one_table_of_all_parts(hub: FakeNode) -> None:
    async with millstream.connect(hub.folder) as plant:
        table = await plant.history(TEMPERATURE, "2026-01-01", "2026-01-02", every="10s", aggregate="mean")
        await plant.asof([TEMPERATURE], ["2026-01-01", NOW_NS])
    assert table.column("value").to_pylist() == [20.5, 21.0]
    assert hub.queries[0] == {
        "kind": "window",
        "data_kind": "tag",
        "tags": [TEMPERATURE],
        "start_ns": 1_767_225_600_000_000_000,
        "end_ns": 1_767_312_000_000_000_000,
        "every_ns": 10_000_000_000,
        "aggregates": ["mean"],
    }
    assert hub.queries[1]["times_ns"] == [1_767_225_600_000_000_000, NOW_NS]


async def test_events_of_the_history_end_by_themselves(hub: FakeNode) -> None:
    row = {"id": "1", "source": "/press", "type": "com.acme.stopped", "subject": None, "content_type": JSON_TYPE}
    times = pa.array([NOW_NS + 1], pa.timestamp("ns", "UTC"))
    columns = {name: pa.array([value], pa.string()) for name, value in row.items()}
    more = {"data": pa.array(['{"n":1}']), "extensions": pa.array(['{"rank":"2"}'])}
    hub.history = pa.table({"tag": ["acme/plant1/press:stopped"], "timestamp": times, **columns, **more})
    async with millstream.connect(hub.folder) as plant:
        found = [event async for event in plant.events("acme/plant1/press:stopped", start="-1d", kind="alarm")]
        with pytest.raises(DecodeError, match="no such kind"):
            await plant.event_history("acme:x", "-1d", kind="tag")
        with pytest.raises(DecodeError, match="no such kind"):
            await plant.history(TEMPERATURE, "-1d", kind="event")
    assert found == [CloudEvent("1", "/press", "com.acme.stopped", {"n": 1}, NOW_NS + 1, extensions={"rank": "2"})]
    assert (hub.queries[0]["kind"], hub.queries[0]["data_kind"]) == ("events", "alarm")


async def test_a_pattern_of_history_is_resolved_by_levels_not_by_shell_stars(hub: FakeNode) -> None:
    async with millstream.connect(hub.folder) as plant:
        await plant.history("acme/*/press:**", "-1h")
        with pytest.raises(NotFoundError, match="no tag with history fits"):
            await plant.history("acme/*:**", "-1h")
    assert hub.queries[1]["tags"] == [TEMPERATURE]


async def test_a_refused_query_is_the_historians_own_error(hub: FakeNode) -> None:
    hub.error = {"code": "MS-0320", "message": "window is empty", "hint": "ask for more"}
    async with millstream.connect(hub.folder) as plant:
        with pytest.raises(PlantError, match=r"window is empty; ask for more \[MS-0320\]"):
            await plant.history(TEMPERATURE, "-1h")


async def test_a_node_without_historian_says_where_history_is(edge: FakeNode) -> None:
    async with millstream.connect(edge.folder) as plant:
        with pytest.raises(Unreachable, match="ask a hub"):
            await plant.history(TEMPERATURE, "-1h")


async def test_the_ledger_shows_records_and_recounts_them(edge: FakeNode) -> None:
    js = edge.client.jetstream()
    async with millstream.connect(edge.folder) as plant:
        for batch in (1, 2):
            sample = encode_sample(batch, quality=0, source_time_ns=NOW_NS, ingest_time_ns=NOW_NS)
            await js.publish("uns.v1.acme.press._tag.temperature", sample)  # as a publisher that keeps records does
            record = LedgerRecord(batch, 1, 1, batch, batch, NOW_NS)
            await js.publish("uns.v1.acme._ledger.edge1.integrity", encode_record(record))
        ledger = await plant.ledger(recounted=True)
        assert ledger.is_clean
        assert [(row.publisher, row.total_messages) for row in ledger.rows] == [("integrity", 2)]
        assert ledger.accounts["E_edge1_I"].samples == 2
        await plant.publish(TEMPERATURE, 3)  # by a person: counted as a guest, and clean
        ledger = await plant.ledger(recounted=True)
        assert (ledger.is_clean, ledger.accounts["E_edge1_I"].guests) == (True, 1)
        await js.publish("uns.v1.acme._ledger.edge1.integrity", encode_record(LedgerRecord(3, 5, 5, 7, 7, NOW_NS)))
        ledger = await plant.ledger(recounted=True)
    assert not ledger.is_clean
    assert ledger.accounts["E_edge1_I"].gaps == 5


async def test_the_accounts_of_a_hub_are_taken_from_its_status(hub: FakeNode) -> None:
    hub.status["ledger"] = {"E_edge1_I": {"messages": 3, "gaps": 1, "is_clean": False}}
    async with millstream.connect(hub.folder) as plant:
        ledger = await plant.ledger()
    assert ledger.accounts["E_edge1_I"].gaps == 1
    assert not ledger.is_clean


async def test_status_lists_the_nodes_that_answer(hub: FakeNode) -> None:
    async with millstream.connect(hub.folder) as plant:
        nodes = await plant.status()
    assert [(node["name"], node["role"]) for node in nodes] == [("hub1", "hub")]


async def test_an_explicit_address_needs_no_file(hub: FakeNode) -> None:
    async with millstream.connect(url=hub.url, user=USER, password=PASSWORD) as plant:
        assert [node["name"] for node in await plant.status()] == ["hub1"]


async def test_wrong_credentials_are_refused_with_a_next_step(hub: FakeNode) -> None:
    with pytest.raises(AuthError, match="refused the credentials") as caught:
        async with millstream.connect(url=hub.url, user=USER, password="wrong"):
            pass
    assert "wrong" not in str(caught.value)


async def test_a_leftover_node_file_is_recognised(hub: FakeNode) -> None:
    hub.write_node_file(2**22 + 1)  # no such process: beyond the largest pid
    await hub.stop()
    with pytest.raises(Unreachable, match="is a leftover"):
        async with millstream.connect(hub.folder, timeout_s=2):
            pass


async def test_a_path_that_no_stream_takes_is_refused(edge: FakeNode) -> None:
    await edge.client.jetstream().delete_stream("E_edge1_I")
    async with millstream.connect(edge.folder) as plant:
        with pytest.raises(Unreachable, match="no stream takes this path"):
            await plant.publish(TEMPERATURE, 1)
        with pytest.raises(NotFoundError, match="no stream of plant data"):
            await plant.last()


async def test_the_synchronous_twin_gives_the_same(hub: FakeNode) -> None:
    def work(folder: Path) -> tuple[object, ...]:
        with millstream.connect_sync(folder) as plant:
            plant.publish(TEMPERATURE, 1.5)
            live = plant.live("acme", initial=True)
            first = next(live)
            live.close()
            table = plant.history(TEMPERATURE, "-1h")
            return first.value, len(table), plant.status()[0]["name"], plant.get(TEMPERATURE).value

    assert await asyncio.to_thread(work, hub.folder) == (1.5, 2, "hub1", 1.5)


async def test_a_call_after_closing_says_so(hub: FakeNode) -> None:
    def work() -> None:
        with millstream.connect_sync(hub.folder) as plant:
            pass
        plant.last()

    with pytest.raises(Unreachable, match="was closed"):
        await asyncio.to_thread(work)


async def test_a_value_whose_answer_was_lost_is_not_stored_twice(
    edge: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with millstream.connect(edge.folder) as plant:
        link = plant._link
        asked = link.request

        async def lose_the_answer(subject: str, *args: object, **options: object) -> object:
            frame = await asked(subject, *args, **options)  # type: ignore[arg-type]
            if subject.startswith("uns."):
                raise Unreachable("no answer in time")
            return frame

        monkeypatch.setattr(link, "request", lose_the_answer)
        stored = await plant.publish(TEMPERATURE, 1)
    info = await edge.client.jetstream().stream_info("E_edge1_I")
    assert (stored.last_seq, info.state.messages) == (1, 1)


async def test_a_replay_that_was_cut_off_is_not_stored_twice(edge: FakeNode) -> None:
    js = edge.client.jetstream()
    payload = encode_sample(7, quality=0, source_time_ns=NOW_NS, ingest_time_ns=NOW_NS)
    headers = {"Ms-Subject": "uns.v1.acme._tag.x", "Ms-Reason": "r"}
    await js.publish("dlq.edge1.plc", payload, headers=headers)
    async with millstream.connect(edge.folder) as plant:
        letters, _ = await plant.dead_letters()
        await plant.replay(letters[0], keep=True)
        await plant.replay(letters[0])
        assert (await plant.dead_letters())[1] == 0
    assert (await js.stream_info("E_edge1_I")).state.messages == 1


async def test_clocks_are_compared(edge: FakeNode) -> None:
    await edge.client.jetstream().publish("uns.v1.acme._tag.x", b"{}")
    async with millstream.connect(edge.folder) as plant:
        skews = await plant.clock_skews()
    assert abs(skews["edge1"]) < 1.0


async def test_a_listener_whose_link_is_lost_at_once_asks_again(hub: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async with millstream.connect(hub.folder) as plant:
        client = plant._link._client
        flush, asked = client.flush, 0

        async def lose_the_first_answer(timeout: float = 10) -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise FlushTimeoutError
            await flush(timeout)  # type: ignore[arg-type]

        monkeypatch.setattr(client, "flush", lose_the_first_answer)
        async with asyncio.TaskGroup() as scope:
            seen = scope.create_task(take(plant, 1, "acme"))
            await publish_until_seen(plant, seen, TEMPERATURE)
    assert asked == 2


async def test_live_goes_on_after_the_server_was_killed(edge: FakeNode) -> None:
    async with millstream.connect(edge.folder) as plant, asyncio.TaskGroup() as scope:
        first = scope.create_task(take(plant, 1, "acme"))
        await publish_until_seen(plant, first, TEMPERATURE)
        seen = scope.create_task(take(plant, 2, "acme"))
        await asyncio.sleep(0)
        await edge.restart_server()
        async with asyncio.timeout(60):
            while not seen.done():
                with suppress(Unreachable):
                    await plant.publish(TEMPERATURE, 1)
                await asyncio.sleep(0.02)
    assert len(seen.result()) == 2


def an_hour(start: str, end: str, production_s: float) -> dict[str, object]:
    """A window as the flow `oee` tells it."""
    return {
        "window": "hour", "revision": 0, "start": start, "end": end, "planned_s": 3600.0,
        "spent_s": {"production": production_s, "down": 3600.0 - production_s}, "produced": 60.0, "rejected": 0.0,
        "ideal_s": 1800.0, "losses_s": {}, "small_stops": 0, "failures": 1, "doubts": [],
    }  # fmt: skip


async def lists_say_since_when_they_are_whole(
    edge: FakeNode, plant: Plant, day: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of stops and rejects, also those without a row."""
    for found in (await plant.downtime.listed("acme", **day), await plant.quality.listed("acme", **day)):
        assert (found.since or "").startswith("20")
        assert "no historian answers" in found.doubt
    times = ["--start", day["start"], "--end", day["end"], "--node", str(edge.folder)]
    for words in (["downtime", "list"], ["quality", "list"], ["downtime", "pareto"], ["quality", "pareto"]):
        capsys.readouterr()
        assert await asyncio.to_thread(main, [*words, "acme", *times]) == 0
        assert "not sure" in capsys.readouterr().err
    assert await asyncio.to_thread(main, ["downtime", "list", "acme", *times, "--json"]) == 0
    told = capsys.readouterr()
    assert "not sure" in told.err
    assert "no historian answers" in json.loads(told.out)["doubt"]


async def test_no_total_is_sure_of_a_time_that_the_stream_has_dropped_and_no_history_has(
    edge: FakeNode, capsys: pytest.CaptureFixture[str]
) -> None:
    js = edge.client.jetstream()
    day = {"start": "2026-01-02T00:00:00Z", "end": "2026-01-02T02:00:00Z"}
    async with millstream.connect(edge.folder) as plant:
        for hour, machine in ((0, "press"), (1, "press"), (0, "saw"), (1, "saw")):
            data = an_hour(f"2026-01-02T0{hour}:00:00Z", f"2026-01-02T0{hour + 1}:00:00Z", 1800.0 + 1800 * hour)
            await plant.event(f"acme/{machine}:oee/hour", "millstream.oee", data)
        found = await plant.oee.total("acme", **day)
        assert (found["machines"], found["is_sure"], found["availability"]) == (2, True, 0.75)
        assert (await plant.downtime.listed("acme", **day)).since is None
        config = (await js.stream_info("E_edge1_I")).config
        await js.update_stream(config=StreamConfig(**{**config.__dict__, "max_msgs": 2}))
        found = await plant.oee.total("acme", **day)
        assert (found["machines"], found["is_sure"]) == (1, False), "the press is not told of any more"
        (doubt,) = found["doubts"]
        assert doubt["doubt"].startswith("the streams reach back to 20")
        assert "no historian answers" in doubt["doubt"]
        stop = {"start": day["start"], "end": None, "duration_s": None, "state": "Aborted", "category": "down"}
        await plant.event("acme/saw:downtime", "millstream.stop", stop)
        await lists_say_since_when_they_are_whole(edge, plant, day, capsys)
        await js.update_stream(config=StreamConfig(**{**config.__dict__, "max_msgs": 1}))
        await plant.event("acme/press:other", "acme.other", {})
        for ask in (plant.oee.total("acme", **day), plant.downtime.why("acme/press:oee/hour/oee", day["end"])):
            with pytest.raises(NotFoundError, match=r"the streams reach back to 20.*no historian answers"):
                await ask
