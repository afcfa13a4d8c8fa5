"""Raw data from the edges that hold it: complete, each sample once, bounded, and nothing of a liar's but its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pa_parquet
from fleet_site import Site, site, until

import warm
from millstream.client import Plant
from millstream.edge import EdgeNode
from millstream.kernel import DecodeError, SystemClock
from millstream.protocols.fleet_data import PageAsk
from millstream.protocols.nats_wire import WireMessage
from millstream.protocols.uns_payload import ARROW_TYPE


def has_all(edge: EdgeNode, count: int) -> bool:
    connectors: Any = edge.status()["connectors"]
    return bool(connectors[0]["samples_stored"] == count)


async def told(plant: Plant, *patterns: str, **options: Any) -> tuple[list[tuple[str, Any]], Any]:
    run = plant.fleet.data(*patterns, **options)
    table = await run.table()
    assert run.summary is not None
    rows = zip(table.column("tag").to_pylist(), table.column("value").to_pylist(), strict=True) if len(table) else ()
    return list(rows), run.summary


@asynccontextmanager
async def two_edges(folder: Path, rows: int) -> AsyncIterator[Site]:
    async with site(folder, ["e1", "e2", "e3"]) as made, AsyncExitStack() as stack:
        for name in ("e1", "e2"):
            edge = await stack.enter_async_context(made.edge(name, rows=rows))
            await until(lambda edge=edge: has_all(edge, 2 * rows), f"{name} stored")  # type: ignore[misc]
        yield made


async def test_each_sample_comes_once_from_the_edge_that_holds_it(tmp_path: Path) -> None:
    rows = 1500  # several pages
    async with two_edges(tmp_path, rows) as made, made.plant() as plant:
        found, summary = await told(plant, "acme/*/line:n", "acme/**:n", last="1h")
        assert sorted(found) == sorted((f"acme/{e}/line:n", i) for e in ("e1", "e2") for i in range(rows))
        assert {name: account.rows for name, account in summary.nodes.items()} == {"e1": rows, "e2": rows, "e3": 0}
        assert summary.nodes["e3"].error == "not reached"
        assert not summary.is_whole
        found, summary = await told(plant, "acme/e2", last="1h")
        assert len(found) == 2 * rows
        assert list(summary.nodes) == ["e2"]
        assert summary.is_whole
        assert (await told(plant, "acme/e1/line:nothing"))[0] == []
        now_ns = SystemClock().now_ns()
        assert (await told(plant, "acme/e1", start=now_ns - 10**18, end=now_ns - 3600 * 10**9))[0] == []
        assert (await told(plant, "other/**"))[1].nodes == {}
    # the hub is gone, the edge's own folder is asked
    async with site(tmp_path / "b", ["e1"]) as made, made.edge("e1", rows=rows) as edge, made.plant("e1") as plant:
        await until(lambda: has_all(edge, 2 * rows), "stored")
        found, summary = await told(plant, "acme/**:n", last="1h")
        assert [value for _, value in found] == list(range(rows))
        assert summary.is_whole


async def test_the_answer_is_bounded_and_says_what_was_cut(tmp_path: Path) -> None:
    async with two_edges(tmp_path, 1500) as made, made.plant() as plant:
        _, summary = await told(plant, "acme/e1", "acme/e2", last="1h", bytes_max=10_000)
        assert not summary.is_whole
        assert any(account.truncated for account in summary.nodes.values())
        assert sum(account.rows for account in summary.nodes.values()) < 6000


async def test_blocks_and_values_of_several_types_come_as_one_table(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", rows=1) as edge, made.plant() as plant:
        await until(lambda: has_all(edge, 2), "stored")
        async with edge.server.connect("writer") as writer:
            times = pa.array([SystemClock().now_ns() - 10**9 + i for i in range(30_000)], pa.timestamp("ns", "UTC"))
            block = pa.table({"timestamp": times, "value": pa.array(float(i) for i in range(30_000))})
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, block.schema) as out:
                out.write_table(block)
            lines = f"Content-Type: {ARROW_TYPE}\r\nMs-Count: 30000\r\nMs-Writer: test\r\n".encode()
            payload = sink.getvalue().to_pybytes()
            await writer.request("uns.v1.acme.e1.line._tag.raw", payload, header_lines=lines)
            text = msgspec.json.encode({"timestamp_ms": SystemClock().now_ns() // 10**6, "value": "on"})
            await writer.request("uns.v1.acme.e1.line._tag.mode", text, header_lines=b"Ms-Writer: test\r\n")
            await writer.request("uns.v1.acme.e1.line._tag.bad", b"no sample", header_lines=b"Ms-Writer: test\r\n")
        found, summary = await told(plant, "acme/e1/line:raw")
        assert [value for _, value in found] == [float(i) for i in range(30_000)]
        assert summary.is_whole
        found, summary = await told(plant, "acme/e1/line:mode", "acme/e1/line:n")
        assert dict(found) == {"acme/e1/line:mode": '"on"', "acme/e1/line:n": "0"}
        assert (await told(plant, "acme/e1/line:bad"))[1].nodes["e1"].error == "1 messages could not be read"


async def test_an_edge_that_lies_or_never_ends_is_told_apart(tmp_path: Path) -> None:
    async with (
        site(tmp_path, ["e1", "e2"]) as made, made.edge("e1", rows=5) as edge, made.rogue("e2") as rogue,
        made.plant() as plant,
    ):  # fmt: skip
        await until(lambda: has_all(edge, 10), "stored")
        say: list[tuple[str, bytes]] = [("done", b"\xff" * 100)]

        def lie(messages: list[WireMessage]) -> None:
            for message in messages:
                ask = msgspec.json.decode(message[4], type=PageAsk)
                for status, payload in say:
                    lines = f"Ms-Status: {status}\r\nMs-Cursor: x\r\nMs-Rows: -5\r\n".encode()
                    for name in ("e1", "e2"):
                        rogue.publish(f"millstream.fleet.answer.{name}.{ask.id}", payload, header_lines=lines)

        rogue.subscribe("millstream.node.e2.data", lie)
        await until(lambda: "e2" in made.hub.sources.reached(), "the rogue edge reached")

        async def is_refused() -> bool:
            try:
                await told(plant, "acme/**")
            except DecodeError as error:
                return error.code == "MS-2211" and error.where == "e2"
            return False

        await until(is_refused, "the liar's name")
        assert len((await told(plant, "acme/**", nodes=["e1"]))[0]) == 10
        say[:] = [("part", b"")] * 100  # parts without an end
        found, summary = await told(plant, "acme/**", deadline=4)
        assert (len(found), summary.nodes["e2"].rows) == (10, 0)
        assert "MS-2211" in (summary.nodes["e2"].error or "")
        say[:] = [("more", b"")]  # pages without an end
        found, summary = await told(plant, "acme/**", deadline=30)
        assert (len(found), summary.nodes["e1"].error) == (10, None)
        assert "MS-2211" in (summary.nodes["e2"].error or "")
        say.clear()
        found, summary = await told(plant, "acme/**", deadline=1)
        assert (len(found), "no answer" in (summary.nodes["e2"].error or "")) == (10, True)


async def test_a_hostile_question_for_data_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1"]) as made, made.edge("e1"), made.hub.server.connect("client") as client:
        ok: dict[str, Any] = {"patterns": ["acme/**"], "last_ns": 10**9}
        wrong: list[dict[str, Any]] = [
            {"patterns": []}, {"patterns": ["x"] * 17}, {"patterns": ["x" * 600]}, {"patterns": ["a:b:c"]},
            {"kind": "event"}, {"last_ns": 10**18}, {"last_ns": -1}, {"start_ns": 1}, {"more": 1},
            {"last_ns": None}, {"last_ns": None, "start_ns": 5, "end_ns": 4},
        ]  # fmt: skip
        for change in wrong:
            answer = await client.request("millstream.node.h1.fleet_data", msgspec.json.encode({**ok, **change}))
            assert b"MS-2210" in (answer[3] or b"") or b"MS-0580" in (answer[3] or b""), change
            asked = msgspec.json.encode({"id": "a", **ok, **change})
            answer = await client.request("millstream.node.e1.data", asked)
            assert b"MS-2210" in (answer[3] or b"") or b"MS-0580" in (answer[3] or b""), change
        for cursor in ("", "[]", "[9,0,0,1]", "[0,-1,0,1]", "[0,0,5,1]", "[0,0,0,1,1]", "x" * 1000, "null"):
            asked = msgspec.json.encode({"id": "a", **ok, "cursor": cursor})
            assert b"MS-2210" in ((await client.request("millstream.node.e1.data", asked))[3] or b""), cursor
        assert (await client.request("millstream.node.e1.data", b"\xff"))[4] == b""


async def test_the_command_writes_what_the_edges_hold(tmp_path: Path) -> None:
    async with two_edges(tmp_path, 20):
        command = warm.command("fleet", "data", "--node", str(tmp_path / "hub"), "acme/**:n")

        async def run(*more: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(
                subprocess.run, [*command, *more], capture_output=True, text=True, timeout=60, check=False
            )

        done = await run("--json", "--last", "1h", "--of", "e1,e2")
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.returncode, len(rows)) == (0, 40), done.stderr
        assert "40 samples of 2 nodes" in done.stderr
        done = await run("--file", str(tmp_path / "all.parquet"))
        assert done.returncode == 6
        assert "e3: not reached" in done.stderr
        assert pa_parquet.read_table(tmp_path / "all.parquet").num_rows == 40
