"""What is built for a fleet works within one tenant, and reaches no other."""

from __future__ import annotations

from pathlib import Path

from trust_site import Site, trusted_hub, until

from millstream.client import Plant, connect


async def fits(plant: Plant) -> list[str]:
    """Names of the nodes that answer."""
    run = plant.fleet.query(None, deadline="5s")
    return [node.node async for node in run]


async def test_a_query_and_a_command_reach_the_tenants_edges_only(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme", "beta") as site:
        files = [site.operator.join_file("acme", "east"), site.operator.join_file("beta", "west")]
        engineer = site.operator.user("acme", "eve", "commander")
        await site.taken()
        folders = [await site.join(file) for file in files]
        async with (
            site.edge(files[0], folders[0]),
            site.edge(files[1], folders[1]),
            site.plant("acme") as acme,
            site.plant("beta") as beta,
        ):
            await until(lambda: answers(acme, ["east"]), "acme's edge")
            await until(lambda: answers(beta, ["west"]), "beta's edge")
            id = await acme.commands.send("diagnostics", {}, nodes=["east"], who="test")
            assert [(command.node, command.state) for command in await acme.commands.wait(id)] == [("east", "done")]
            await as_a_person(site, engineer)


async def answers(plant: Plant, names: list[str]) -> bool:
    """These nodes and no others answer."""
    found = await fits(plant)
    assert set(found) <= set(names)
    return found == names


async def as_a_person(site: Site, creds: Path) -> None:
    """A commander asks by an account of people, and gets the same."""
    async with connect(url=site.hub.server.url, creds_file=creds) as plant:
        await until(lambda: answers(plant, ["east"]), "acme's edge, asked by a person")
