"""Live query: asked once, answered by every edge, with an account that says who did not."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fleet_site import CATALOG, site, until

import millstream
import warm
from millstream.client import FleetResult, Plant
from millstream.config import EdgeConfig
from millstream.edge import EdgeNode
from millstream.kernel import DecodeError, PlantError, free_port
from millstream.protocols.fleet_query import FleetQuery
from millstream.protocols.nats_wire import WireMessage

OPCUA: dict[str, Any] = {
    "name": "opcua", "type": "opcua", "path": "plc", "tags": [{"name": "speed", "address": "ns=2;s=speed"}],
}  # fmt: skip


async def asked(plant: Plant, *arguments: Any, **options: Any) -> FleetResult:
    """The answer of all that are there, who get the time of a busy machine; who is away is not waited for."""
    return await plant.fleet.query(*arguments, **{"deadline": "30s", **options}).all()


def names(found: FleetResult) -> list[str]:
    return [node.node for node in found.nodes if node.state == "match"]


async def test_only_nodes_that_fit_answer_and_the_rest_is_accounted_for(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1", "e2", "e3", "e4"]) as made, AsyncExitStack() as stack:
        for name, zone in (("e1", "south"), ("e2", "north"), ("e3", "south")):
            connectors = (
                [OPCUA | {"config": {"endpoint": f"opc.tcp://127.0.0.1:{free_port()}", "security": {"policy": "none"}}}]
                if name == "e3"
                else []
            )
            await stack.enter_async_context(made.edge(name, labels={"zone": zone}, connectors=connectors))
        plant = await stack.enter_async_context(made.plant())

        async def are_all_ok() -> bool:
            return names(await asked(plant, 'connectors.bench.state == "ok"')) == ["e1", "e2", "e3"]

        await until(are_all_ok, "three edges with a connector that is ok")
        found = await asked(
            plant, 'labels.zone == "south"', select=["labels", "connectors.*.state", "version.millstream"]
        )
        assert names(found) == ["e1", "e3"]
        assert found.nodes[0].facts == {
            "labels": {"zone": "south"}, "connectors": {"bench": {"state": "ok"}},
            "version": {"millstream": millstream.__version__},
        }  # fmt: skip
        summary = found.summary
        assert (summary.expected, summary.answered, summary.matching) == (4, 3, 2)
        assert (list(summary.silent), dict(summary.missing)) == ([], {"e4": None})
        await check_failing(plant)
        absent = (await asked(plant, 'labels.hall == "7"')).summary
        assert (absent.matching, list(absent.absent)) == (0, ["e1", "e2", "e3"])
        one = await asked(plant, nodes=["e2", "nobody"])
        assert names(one) == ["e2"]
        assert dict(one.summary.missing) == {"nobody": None}
        with pytest.raises(DecodeError, match="MS-2201"):
            plant.fleet.query("zone == 1")
        failing = await asked(plant, "labels.zone > 5")
        assert list(failing.summary.failed) == ["e1", "e2", "e3"]
        assert [node.state for node in failing.nodes] == ["error"] * 3


async def check_failing(plant: Plant) -> None:
    """An OPC UA server that is not there, as a person asks for it."""
    facts: dict[str, Any] = {}

    async def has_failed() -> bool:
        (node,) = (await asked(plant, select=["os.name", "connectors.opcua"], nodes=["e3"])).nodes
        facts.update(node.facts or {})
        return "error" in facts["connectors"]["opcua"]

    await until(has_failed, "the connector says why it waits")
    told = facts["connectors"]["opcua"]
    assert (told["type"], told["samples"]) == ("opcua", 0)
    assert told["state"] in ("opening", "waiting")
    assert "127.0.0.1" in told["error"]
    literal = 'os.name == "Debian" and connectors.opcua.state != "ok"'
    fitting = await asked(plant, literal.replace("Debian", facts["os"]["name"]))
    assert (names(fitting), list(fitting.summary.absent)) == (["e3"], ["e1", "e2"])
    assert names(await asked(plant, literal)) == (["e3"] if facts["os"]["name"] == "Debian" else [])
    assert names(await asked(plant, 'connectors.opcua.error.contains("zonk")')) == []


async def test_the_facts_of_a_node_are_those_of_this_machine(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", labels={"zone": "south"}), made.plant() as plant:

        async def facts() -> Mapping[str, Any]:
            (node,) = (await asked(plant, select=["*"])).nodes
            assert node.facts is not None
            return node.facts

        async def has_rate() -> bool:
            told = await facts()
            connector, stored = told["connectors"]["bench"], told["streams"]["integrity"]["messages"]
            return connector["samples"] == 20 and "samples_per_s" in connector and stored > 0  # looked at each 3 s

        await until(has_rate, "all samples, a rate, and what is stored")
        found = await facts()
        assert (found["name"], found["path"], found["role"]) == ("e1", "acme/e1", "edge")
        assert 0 < found["disk"]["free_bytes"] <= found["disk"]["total_bytes"]
        assert 0 < found["memory"]["node_bytes"] < found["memory"]["total_bytes"]
        assert found["hardware"]["cpus"] >= 1
        assert found["version"]["nats_server"].startswith("2.")
        assert found["link"]["state"] in ("idle", "flowing", "behind")
        assert "password" not in json.dumps(found)


async def test_an_edge_alone_is_a_fleet_of_one(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", labels={"zone": "south"}), made.plant("e1") as plant:
        found = await asked(plant, 'labels.zone == "south"', select=["name"])
        assert [(node.node, node.facts) for node in found.nodes] == [("e1", {"name": "e1"})]
        assert (found.summary.expected, found.summary.matching) == (1, 1)
        assert (await asked(plant, 'labels.zone == "north"')).summary.matching == 0


async def test_an_edge_that_lies_speaks_for_itself_only(tmp_path: Path) -> None:
    """Somebody has the credentials of e2. It answers for e1 too, twice, too large, and with no sense."""
    async with (
        site(tmp_path, ["e1", "e2"]) as made, made.edge("e1", labels={"zone": "south"}), made.rogue("e2") as rogue,
        made.plant() as plant,
    ):  # fmt: skip
        lies: list[bytes] = [msgspec.json.encode({"state": "match", "facts": {"name": "lie", "node": "e1"}})]
        heard: list[FleetQuery] = []

        def lie(messages: list[WireMessage]) -> None:
            for message in messages:
                query = msgspec.json.decode(message[4], type=FleetQuery)
                heard.append(query)
                for name in ("e1", "e2", "h1"):
                    for payload in lies:
                        rogue.publish(f"millstream.fleet.answer.{name}.{query.id}", payload)

        rogue.subscribe("millstream.fleet.query", lie)
        await until(lambda: "e2" in made.hub.sources.reached(), "the rogue edge reached")

        async def is_answered() -> bool:
            return (await asked(plant, select=["name"])).summary.answered == 2

        await until(is_answered, "an answer of both")
        found = await asked(plant, select=["name"])
        assert [(node.node, node.facts) for node in found.nodes] == [
            ("e1", {"name": "e1"}), ("e2", {"name": "lie", "node": "e1"}),
        ]  # fmt: skip
        for payload in (b"x" * 70_000, b"not json", b'{"state": "winning"}', b"", b"[" * 10_000):
            lies[:] = [payload, b'{"state": "no"}']
            summary = (await asked(plant)).summary
            assert (list(summary.unreadable), summary.answered, summary.matching) == (["e2"], 2, 1)
        assert heard
        lies.clear()  # it says nothing: what the other says is there long before the deadline
        run, clock = plant.fleet.query(deadline=2.0), asyncio.get_running_loop()
        answered = [(node.node, clock.time()) async for node in run]
        assert run.summary is not None
        assert ([name for name, _ in answered], list(run.summary.silent)) == (["e1"], ["e2"])
        assert clock.time() - answered[0][1] > 1.0


async def test_an_edge_cannot_ask_the_fleet_or_write_to_another(tmp_path: Path) -> None:
    """What the hub's server lets an edge publish: not the question, and not a request to another edge."""
    async with site(tmp_path, ["e1", "e2"]) as made, made.edge("e1"), made.rogue("e2") as rogue:
        heard: list[bytes] = []
        edge = made.edges["e1"].server
        async with edge.connect("listener") as listener, made.hub.server.connect("listener") as at_hub:
            for connection in (listener, at_hub):
                connection.subscribe("millstream.>", lambda messages: heard.extend(m[1] for m in messages))
            await until(lambda: "e2" in made.hub.sources.reached(), "the rogue edge reached")

            async def came() -> bool:
                for subject in ("fleet.query", "node.e1.write", "node.h1.fleet", "node.e1.facts", "fleet.answer.e1.x"):
                    rogue.publish(f"millstream.{subject}", b"forged")
                rogue.publish("millstream.fleet.answer.e2.x", b"its own")
                return b"millstream.fleet.answer.e2.x" in heard

            async with made.hub.server.connect("hub's ears") as ears:
                ears.subscribe("millstream.fleet.answer.e2.*", lambda messages: heard.extend(m[1] for m in messages))
                await until(came, "its own answer")
        assert {subject for subject in heard if b".cursor" not in subject} == {b"millstream.fleet.answer.e2.x"}


async def test_a_hostile_filter_is_refused_by_hub_and_edge_alike(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1"]) as made, made.edge("e1"), made.hub.server.connect("client") as client:
        for question, code in (
            ({"filter": "x" * 200_000}, "MS-2200"), ({"filter": "x" * 2_000}, "MS-2202"),
            ({"filter": "[1].all(a, [1].all(b, true))"}, "MS-2202"), ({"filter": 5}, "MS-2200"),
            ({"deadline_s": 1e9}, "MS-2200"), ({"select": ["a"] * 1000}, "MS-2200"), ({"evil": 1}, "MS-2200"),
        ):  # fmt: skip
            answer = await client.request("millstream.node.h1.fleet", msgspec.json.encode(question))
            assert code.encode() in (answer[3] or b""), question
        raw = msgspec.json.encode({"id": "a", "filter": "[1].all(a, [1].all(b, true))"})
        edge = await client.request("millstream.node.e1.facts", raw)
        assert msgspec.json.decode(edge[4])["code"] == "MS-2202"
        client.publish("millstream.fleet.query", b"\xff" * 100)
        client.publish("millstream.fleet.query", b'{"id": "a.b.>", "filter": null}')
        again = await client.request("millstream.node.e1.facts", b'{"id": "a"}')
        assert msgspec.json.decode(again[4])["state"] == "match"


async def test_an_answer_that_is_too_large_says_so(tmp_path: Path) -> None:
    labels = {f"l{i}": "é" * 256 for i in range(64)}
    connectors = [{"name": f"connector_of_a_long_name_{i}", "type": "bench"} for i in range(250)]
    async with site(tmp_path, ["e1"]) as made:
        config = made.edge_config("e1", labels=labels)
        raw = config.model_dump() | {"connectors": connectors}
        async with EdgeNode(EdgeConfig.model_validate(raw), connectors=CATALOG), made.plant() as plant:

            async def is_told() -> bool:
                found = await asked(plant, select=["*"])
                return [node.code for node in found.nodes] == ["MS-2204"] and list(found.summary.failed) == ["e1"]

            await until(is_told, "an answer that says it is too large")
            assert names(await asked(plant, select=["name"])) == ["e1"]


async def test_the_command_prints_who_fits_and_its_status_tells_whether_all_answered(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1", "e2"]) as made, made.edge("e1", labels={"zone": "south"}):
        command = warm.command("fleet", "query", "--node", str(tmp_path / "hub"))

        async def run(*more: str) -> tuple[int, str, str]:
            done = await asyncio.to_thread(
                subprocess.run, [*command, *more], capture_output=True, text=True, timeout=60, check=False
            )
            return done.returncode, done.stdout, done.stderr

        status, out, err = await run('labels.zone == "south"', "--select", "labels,os.name")
        assert (status, out.split()[:2]) == (6, ["e1", "labels.zone=south"]), err
        assert "not reached: e2" in err
        status, out, _ = await run("--of", "e1", "--json")
        lines = [json.loads(line) for line in out.splitlines()]
        assert (status, lines[0]["node"], lines[-1]["summary"]["matching"]) == (0, "e1", 1)
        status, _, err = await run("zonk == 1")
        assert (status, "MS-2201" in err) == (1, True)


async def test_more_questions_than_a_hub_gathers_are_refused_and_none_is_left_behind(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1", "e2"]) as made, made.rogue("e2"), made.plant() as plant:
        await until(lambda: "e2" in made.hub.sources.reached(), "e2 reached, which never answers")
        runs = [asyncio.ensure_future(asked(plant, deadline=2)) for _ in range(30)]
        ended = await asyncio.gather(*runs, return_exceptions=True)
        refused = [error for error in ended if isinstance(error, PlantError)]
        assert {error.code for error in refused} == {"MS-2205"}
        assert 0 < len(refused) < 30
        assert (await asked(plant, deadline=0.3)).summary.answered == 0
