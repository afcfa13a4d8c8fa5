"""Commands from a hub to its edges: stored, delivered, carried out once, told, cancelled, refused."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fleet_site import BenchSession, Site, site, until

import warm
from millstream.bus import get_batch
from millstream.client import NodeCommand, Plant
from millstream.kernel import NotFoundError, PlantError, SystemClock
from millstream.protocols.command import Command, Delivery
from millstream.protocols.nats_wire import WireMessage
from millstream.sdk import CommandContext


class Bell:
    """A command of one's own: rings, may take its time, may break."""

    description = "Ring."
    schema: Mapping[str, Any] = {
        "type": "object", "required": ["times"], "additionalProperties": False,
        "properties": {"times": {"type": "integer", "minimum": 1, "maximum": 10}, "how": {"type": "string"}},
    }  # fmt: skip
    time_limit_s = 20.0
    is_cancellable = True

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.gate = asyncio.Event()

    async def run(self, args: Mapping[str, Any], context: CommandContext) -> Any:
        self.rung.append(context.id)
        how = args.get("how", "")
        if how == "slowly":
            await context.progress(0.5, "half of it")
            await self.gate.wait()
        if how == "badly":
            raise PlantError("the rope is torn", code="MS-0500")
        if how == "buggy":
            raise ZeroDivisionError("no rope")
        return {"rung": args["times"], "by": context.who}


async def over(plant: Plant, id: str) -> NodeCommand:
    (found,) = await plant.commands.wait(id)
    return found


async def stored(made: Site, subjects: str) -> list[tuple[str, Any]]:
    """Last token and data of the events that lie at the hub, in order."""
    async with made.hub.server.connect("events") as connection:
        found, _ = await get_batch(connection, "H_INTEGRITY", subjects, seq=1)
    return [(message.subject.rpartition(".")[2], msgspec.json.decode(message.payload)) for message in found]


async def events(made: Site, name: str) -> list[tuple[str, str]]:
    """(id, state) of the commands' events of an edge."""
    found = await stored(made, f"uns.v1.acme.{name}._event.millstream.command.*")
    return [(data["id"], what) for what, data in found]


async def test_a_command_is_carried_out_once_and_told(tmp_path: Path) -> None:
    bell = Bell()
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", commands={"bell": bell}), made.plant() as plant:
        id = await plant.commands.send("bell", {"times": 3}, nodes=["e1"], who="ada")
        found = await over(plant, id)
        assert (found.state, found.result, found.who) == ("done", {"rung": 3, "by": "ada"}, "ada")
        assert bell.rung == [id]
        await until(lambda: made.edges["e1"].status()["commands"]["done"] == 1, "counted")  # type: ignore[index]
        assert await events(made, "e1") == [(id, w) for w in ("requested", "accepted", "running", "done")]
        again = await plant.commands.send("bell", {"times": 3}, nodes=["e1"], key=id)
        assert again == id
        assert (await over(plant, id)).state == "done"
        with pytest.raises(PlantError, match="MS-2301"):
            await plant.commands.send("bell", {"times": 4}, nodes=["e1"], key=id)
        assert bell.rung == [id]
        assert [c.id for c in await plant.commands.list()] == [id]
        assert await plant.commands.list(is_open=True) == []


async def test_what_cannot_be_done_is_refused_with_its_reason(tmp_path: Path) -> None:
    bell = Bell()
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", commands={"bell": bell}), made.plant() as plant:

        async def ended(type: str, args: dict[str, Any], **more: Any) -> tuple[str, str | None]:
            found = await over(plant, await plant.commands.send(type, args, nodes=["e1"], **more))
            return found.state, found.code

        assert await ended("bel", {}) == ("refused", "MS-2303")
        assert await ended("bell", {"times": 11}) == ("refused", "MS-2304")
        assert await ended("bell", {"times": 1, "evil": 1}) == ("refused", "MS-2304")
        assert await ended("bell", {"times": "1"}) == ("refused", "MS-2304")
        assert await ended("bell", {"times": 1, "how": "badly"}) == ("failed", "MS-0500")
        assert await ended("bell", {"times": 1, "how": "buggy"}) == ("unknown", "MS-2305")
        assert await ended("bell", {"times": 1}, where='labels.zone == "x"') == ("skipped", None)
        assert await ended("bell", {"times": 1}, where="os.name > 1") == ("refused", "MS-2206")
        assert await ended("restart_connector", {"connector": "none"}) == ("refused", "MS-0500")
        assert await ended("write", {"tag": "acme/e1/line:fixed", "value": 1}) == ("refused", "MS-2001")
        assert len(bell.rung) == 2
        for wrong in (
            {"type": "X Y"},
            {"args": {"x": "y" * 9000}},
            {"priority": 11},
            {"expires": "400d"},
            {"key": "a.b"},
        ):
            with pytest.raises(PlantError, match="MS-2300"):
                await plant.commands.send(**{"type": "bell", "args": {"times": 1}, "nodes": ["e1"], **wrong})
        with pytest.raises(NotFoundError, match="did you mean 'e1'"):
            await plant.commands.send("bell", nodes=["e11"])
        with pytest.raises(PlantError, match="MS-2201"):
            await plant.commands.send("bell", where="zone == 1")
        with pytest.raises(NotFoundError):
            await plant.commands.show("nothing")


async def test_an_edge_that_was_away_gets_its_commands_once_in_order_and_not_what_has_expired(tmp_path: Path) -> None:
    bell = Bell()
    async with site(tmp_path, ["e1", "e2"]) as made, made.plant() as plant:
        low = await plant.commands.send("bell", {"times": 1}, nodes=["e1"], priority=1)
        high = await plant.commands.send("bell", {"times": 1}, priority=9)  # to e2 too, which never comes
        late = await plant.commands.send("bell", {"times": 1}, nodes=["e1"], expires="1s")
        gone = await plant.commands.send("bell", {"times": 1}, nodes=["e1"])
        assert {c.state for c in await plant.commands.cancel(gone, who="bob")} <= {"pending", "cancelled"}
        assert ((await over(plant, late)).state, (await over(plant, gone)).state) == ("expired", "cancelled")
        async with made.edge("e1", commands={"bell": bell}):
            assert (await over(plant, low)).state == "done"
            await until(lambda: len(bell.rung) == 2, "both")
            assert bell.rung == [high, low]
        states = {c.node: c.state for c in await plant.commands.show(high)}
        assert states == {"e1": "done", "e2": "pending"}
        async with made.edge("e1", commands={"bell": bell}):  # back once more: nothing comes again
            after = await plant.commands.send("bell", {"times": 1}, nodes=["e1"])
            assert (await over(plant, after)).state == "done"
        assert bell.rung == [high, low, after]


async def test_cancelling_before_while_and_after(tmp_path: Path) -> None:
    bell = Bell()
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", commands={"bell": bell}), made.plant() as plant:
        done = await plant.commands.send("bell", {"times": 1}, nodes=["e1"])
        assert (await over(plant, done)).state == "done"
        assert [c.state for c in await plant.commands.cancel(done)] == ["done"]
        slow = [await plant.commands.send("bell", {"times": 1, "how": "slowly"}, nodes=["e1"]) for _ in range(4)]
        waiting = await plant.commands.send("bell", {"times": 1}, nodes=["e1"])

        async def is_half() -> bool:
            (found,) = await plant.commands.show(slow[0])
            return (found.state, found.progress, found.text) == ("running", 0.5, "half of it")

        await until(is_half, "progress at the hub")
        await plant.commands.cancel(waiting, who="bob")
        assert ((await over(plant, waiting)).state, waiting in bell.rung) == ("cancelled", False)
        await plant.commands.cancel(slow[0], who="bob")
        found = await over(plant, slow[0])
        assert (found.state, "part of it may have been done" in (found.reason or "")) == ("cancelled", True)
        bell.gate.set()
        assert [(await over(plant, id)).state for id in slow[1:]] == ["done"] * 3


async def test_a_replayed_delivery_changes_nothing(tmp_path: Path) -> None:
    bell = Bell()
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", commands={"bell": bell}), made.plant() as plant:
        id = await plant.commands.send("bell", {"times": 1}, nodes=["e1"])
        assert (await over(plant, id)).state == "done"
        (shown,) = await plant.commands.show(id)
        now_ns = SystemClock().now_ns()
        command = Command(id, "bell", "eve", now_ns, now_ns + 10**12, {"times": 9})
        async with made.hub.server.connect("replayer") as client:
            for payload in (
                msgspec.json.encode(Delivery("a1", command)),
                msgspec.json.encode(Delivery("a2", command, "eve")),
                b"\xff\xfe", b"{}", b"[" * 5000, msgspec.json.encode({"token": "a.b", "command": command}),
                msgspec.json.encode({"token": "a", "command": {"id": "x"}}),
                msgspec.json.encode(Delivery("a3", msgspec.structs.replace(command, id="../x"))),
            ):  # fmt: skip
                client.publish("millstream.node.e1.command", payload)
        after = await plant.commands.send("bell", {"times": 1}, nodes=["e1"])
        assert (await over(plant, after)).state == "done"  # behind the replayed ones in the edge's queue
        assert bell.rung == [id, after]
        assert await plant.commands.show(id) == [shown]


async def test_a_tag_is_written_by_a_command_and_told_beside_the_tag_too(tmp_path: Path) -> None:
    BenchSession.written.clear()
    async with site(tmp_path, ["e1"]) as made, made.edge("e1") as edge, made.plant() as plant:
        await until(lambda: edge.status()["connectors"][0]["state"] == "connected", "connected")  # type: ignore[index]
        id = await plant.commands.send("write", {"tag": "acme/e1/line:n", "value": 7}, nodes=["e1"], expires="30s")
        shown = await over(plant, id)
        assert shown.state == "done"
        assert BenchSession.written == [("acme/e1/line:n", 7)]
        again = await plant.write("acme/e1/line:n", 8, id=id)
        assert (again.state, BenchSession.written) == ("done", [("acme/e1/line:n", 7)])
        at_tag = await stored(made, "uns.v1.acme.e1.line._event.millstream.write.*")
        assert [(what, data["id"], data["who"]) for what, data in at_tag] == [
            ("requested", id, shown.who), ("done", id, shown.who),
        ]  # fmt: skip


async def test_a_connector_is_restarted_also_one_that_had_stopped(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1"]) as made, made.edge("e1") as edge, made.plant() as plant:
        await until(lambda: edge.status()["connectors"][0]["state"] == "connected", "connected")  # type: ignore[index]
        id = await plant.commands.send("restart_connector", {"connector": "bench"}, nodes=["e1"])
        found = await over(plant, id)
        assert (found.state, found.result["state"]) == ("done", "connected")
        assert edge.status()["connectors"][0]["opens"] == 2  # type: ignore[index]
        id = await plant.commands.send("diagnostics", nodes=["e1"])
        found = await over(plant, id)
        assert (found.state, found.result["ok"]) == ("done", True)


async def test_the_command_line_sends_lists_shows_and_cancels(tmp_path: Path) -> None:
    bell = Bell()
    async with site(tmp_path, ["e1"]) as made, made.edge("e1", commands={"bell": bell}):

        async def run(*more: str) -> subprocess.CompletedProcess[str]:
            command = warm.command("command", *more, "--node", str(tmp_path / "hub"))
            return await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
            )

        sent = await run("send", "bell", "--to", "e1", "--arg", "times=2", "--wait", "30s", "--json")
        assert sent.returncode == 0, sent.stderr
        command = json.loads(sent.stdout)
        assert (command["state"], command["result"]["rung"]) == ("done", 2)
        assert (await run("send", "bell", "--to", "e1", "--arg", "times=99", "--wait", "30s")).returncode == 6
        assert (await run("send", "bell")).returncode == 2
        listed = [json.loads(line) for line in (await run("list", "--json")).stdout.splitlines()]
        assert [c["state"] for c in listed] == ["done", "refused"]
        shown = await run("show", command["id"])
        assert "done" in shown.stdout
        assert '"rung":2' in shown.stderr
        assert (await run("cancel", command["id"])).returncode == 6
        assert (await run("show", "nothing")).returncode == 3


async def test_a_support_bundle_arrives_whole_and_without_secrets(tmp_path: Path) -> None:
    async with site(tmp_path, ["e1", "e2"]) as made, made.edge("e1", labels={"zone": "south"}), made.plant() as plant:
        id = await plant.commands.send("support_bundle", nodes=["e1"])
        found = await over(plant, id)
        assert found.state == "done", found
        content = await plant.commands.fetch(id, "e1")
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            texts = {name: file.read(name).decode() for name in file.namelist()}
        assert {"status.json", "configuration.json", "diagnostics.json", "logs/nats-server.log"} <= set(texts)
        assert json.loads(texts["configuration.json"])["edge"]["labels"] == {"zone": "south"}
        hidden = [made.secret("e1").read_text().strip()]
        hidden += [f.read_text().strip() for f in (tmp_path / "e1" / "secrets").rglob("*") if f.is_file()]
        assert len(hidden) > 2
        assert not [name for name, text in texts.items() for secret in hidden if secret in text]
        with pytest.raises(PlantError, match="MS-2312"):
            await plant.commands.fetch(await plant.commands.send("diagnostics", nodes=["e1"]), "e1")
        with pytest.raises(NotFoundError):
            await plant.commands.fetch(id, "e2")
        async with made.hub.server.connect("client") as client:
            for question in (b"", b"{}", b'{"id": "../../etc/passwd", "node": "e1"}', b'{"id": "a", "node": "e9"}'):
                answer = await client.request("millstream.node.h1.command_file", question)
                assert b"MS-23" in (answer[3] or b"")


async def test_an_edge_that_lies_about_a_command_speaks_for_itself_only(tmp_path: Path) -> None:
    """Somebody has the credentials of e2: its words about e1's command change nothing, about its own they count."""
    bell = Bell()
    async with (
        site(tmp_path, ["e1", "e2"]) as made, made.edge("e1", commands={"bell": bell}), made.rogue("e2") as rogue,
        made.plant() as plant,
    ):  # fmt: skip

        def lie(messages: list[WireMessage]) -> None:
            for message in messages:
                delivery = msgspec.json.decode(message[4], type=Delivery)
                for name in ("e1", "e2"):
                    subject = f"millstream.fleet.answer.{name}.{delivery.token}"
                    rogue.publish(subject, b"no answer")
                    rogue.publish(subject, msgspec.json.encode({"state": "done", "time_ns": 1}))
                event = {"id": delivery.command.id, "state": "done", "result": "forged"}
                for place in ("e1", "e2"):
                    subject = f"uns.v1.acme.{place}._event.millstream.command.done"
                    rogue.publish(subject, msgspec.json.encode(event))

        rogue.subscribe("millstream.node.e2.command", lie)
        await until(lambda: "e2" in made.hub.sources.reached(), "the rogue edge reached")
        both = await plant.commands.send("bell", {"times": 1, "how": "slowly"})
        await until(lambda: bell.rung == [both], "e1 runs it")
        mine = {c.node: c for c in await plant.commands.show(both)}["e1"]
        assert (mine.state, mine.result) in (("running", None), ("accepted", None))
        bell.gate.set()

        async def is_told() -> bool:
            found = {c.node: c for c in await plant.commands.show(both)}["e1"]
            return found.state == "done"

        await until(is_told, "e1's own word")
        found = {c.node: c for c in await plant.commands.show(both)}["e1"]
        assert found.result == {"rung": 1, "by": found.who}
