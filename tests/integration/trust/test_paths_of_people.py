"""People of some paths ask and command the sites that lie there, and the server lets them reach no other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from login_site import LoginSite, Person, person
from nats.aio.msg import Msg
from trust_site import Site, hub_client, told, trusted_hub, until

from millstream.client import Plant, connect
from millstream.kernel import NotFoundError
from millstream.protocols.nats_jwt import parse_creds

attack = pytest.mark.attack
EAST, WEST = "uns.v1.acme.east", "uns.v1.acme.west"
ELSEWHERE = (WEST, "uns.v1.acme", "uns.v1", "uns.v1.acme.eas", "uns.v1.acme.east2", "*.>")


async def asked(plant: Plant, **more: Any) -> tuple[list[str], int]:
    """Who answers a live query, and how many were expected."""
    result = await plant.fleet.query("true", deadline="20s", **more).all()
    return [node.node for node in result.nodes], result.summary.expected


async def until_asked(plant: Plant, names: list[str], **more: Any) -> None:
    """These answer, of as many; asked again, since an edge that the hub has not reached of late is not waited for."""

    async def do() -> bool:
        found, expected = await asked(plant, **more)
        assert set(found) <= set(names)
        assert expected == len(names)
        return found == names

    await until(do, f"{names} answer")


@asynccontextmanager
async def by_hand(site: Site, creds: Path) -> AsyncIterator[Person]:
    """Somebody with these credentials, past the SDK."""
    token, key = parse_creds(creds.read_text(encoding="ascii"), where="test")
    async with person(LoginSite(site, ""), {"jwt": token, "inbox_prefix": f"_INBOX.{key.public}"}, key) as found:
        yield found


def send(*nodes: str, type: str = "diagnostics") -> bytes:
    """A command as a client asks for it."""
    return json.dumps({"action": "send", "type": type, "nodes": list(nodes) or None, "who": "evil"}).encode()


@attack("a viewer of one path asking the fleet elsewhere, or sending a command anywhere",
        layer="server (paths in the scope of the signing key)")  # fmt: skip
@attack("a commander of one path sending, cancelling or looking at commands elsewhere, by subject, name or id",
        layer="server (paths in the scope of the signing key), hub (sites below the path)")  # fmt: skip
async def test_who_is_bounded_to_a_path_asks_and_commands_the_sites_there_only(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        site = await enter(trusted_hub(tmp_path, "acme"))
        files = [site.operator.join_file("acme", name) for name in ("east", "west")]
        east, both = ("acme/east",), ("acme/east", "acme/west", "acme/west/line1")
        roles: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
            ("vic", "viewer", east), ("eve", "engineer", east), ("cora", "commander", east),
            ("dora", "commander", both),
        )  # fmt: skip
        creds = {name: site.operator.user("acme", name, role, paths=paths) for name, role, paths in roles}
        await site.taken()
        for file in files:
            await enter(site.edge(file, await site.join(file)))
        owner = await enter(site.plant("acme"))
        vic, eve, cora, dora = [
            await enter(connect(url=site.hub.server.url, creds_file=creds[name])) for name, *_ in roles
        ]
        await until_asked(owner, ["east", "west"])
        heard: list[str] = []
        hub = await enter(hub_client(site, "acme"))

        async def note(message: Msg) -> None:
            heard.append(message.subject)

        for subject in ("millstream.fleet.query", "millstream.node.*.query"):
            await hub.subscribe(subject, cb=note)
        await hub.flush()
        await until_asked(vic, ["east"])
        assert await asked(vic, nodes=["west"]) == ([], 0)
        await until_asked(cora, ["east"], nodes=["west", "east"])
        await hub.flush()
        assert set(heard) == {"millstream.node.east.query"}  # the other edge does not even hear the question
        await until_asked(dora, ["east", "west"])
        data = eve.fleet.data("acme/**", last="1m")
        assert [part async for part in data] == []
        assert data.summary is not None
        assert list(data.summary.nodes) == ["east"]

        theirs = await owner.commands.send("diagnostics", {}, nodes=["west"], who="owner")
        await owner.commands.wait(theirs)
        mine = await cora.commands.send("diagnostics", {}, who="cora")
        assert [(one.node, one.state) for one in await cora.commands.wait(mine)] == [("east", "done")]
        assert [one.id for one in await vic.commands.list()] == [mine]
        for refused in (
            cora.commands.send("diagnostics", {}, nodes=["east", "west"]), cora.commands.show(theirs),
            cora.commands.cancel(theirs), cora.commands.fetch(mine, "west"),
        ):  # fmt: skip
            with pytest.raises(NotFoundError):
                await refused
        wide = await dora.commands.send("diagnostics", {}, nodes=["west", "east"], who="dora")
        assert sorted(one.node for one in await dora.commands.wait(wide)) == ["east", "west"]
        assert [one.node for one in await vic.commands.show(wide)] == ["east"]
        assert sorted(one.id for one in await dora.commands.list()) == sorted([theirs, mine, wide, wide])
        assert {one.id for one in await owner.commands.list()} == {theirs, mine, wide}

        at_cora = await enter(by_hand(site, creds["cora"]))
        for what in ("fleet", "fleet_data", "commands", "command", "command_file"):
            for place in ELSEWHERE:
                assert await at_cora.outcome(f"millstream.below.{what}.{place}", send()) == "violation", (what, place)
        for subject in (
            "millstream.node.h1.command", "millstream.node.h1.commands", "millstream.node.h1.fleet",
            "millstream.node.west.command", "millstream.node.west.query", "millstream.fleet.query",
        ):  # fmt: skip
            assert await at_cora.outcome(subject, send()) == "violation", subject
        answer = await at_cora.client.request(f"millstream.below.command.{EAST}", send("west"), timeout=60)
        assert json.loads(answer.data)["error"]["code"] == "MS-2311"
        for name in ("vic", "eve"):
            at_them = await enter(by_hand(site, creds[name]))
            for place in (EAST, f"{EAST}.line1", *ELSEWHERE):
                assert await at_them.outcome(f"millstream.below.command.{place}", send()) == "violation", (name, place)
        assert {one.id for one in await owner.commands.list()} == {theirs, mine, wide}
        await told(site, "acme", "permission.refused", subject=f"millstream.below.command.{WEST}")
