"""Attempts to configure a site, and to command one, by those who may not: each against a real hub in operator mode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeout
from trust_site import RawLeaf, Site, client_of, hub_client, joined_edge, told, trusted_hub, until

from millstream.client import connect
from millstream.protocols.nats_jwt import parse_creds
from millstream.trust import Role

attack = pytest.mark.attack
OTHERS = "$KV.config.plant2"
CREATE = "$JS.API.CONSUMER.CREATE.H_INTEGRITY"
EVIL: dict[str, Any] = {
    "name": "EVIL", "subjects": ["flow.evil"], "storage": "memory", "retention": "limits",
    "republish": {"src": "flow.evil", "dest": OTHERS},
}  # fmt: skip


def consumer(deliver: str) -> bytes:
    """What is asked for a consumer that pushes all there is to a subject."""
    config = {"deliver_subject": deliver, "ack_policy": "none", "deliver_policy": "all", "replay_policy": "instant"}
    return json.dumps({"stream_name": "H_INTEGRITY", "config": config}).encode()


async def try_as(client: Client, *attempts: tuple[str, bytes]) -> None:
    """Say each, and wait until the server has taken or refused all of it."""
    for subject, payload in attempts:
        await client.publish(subject, payload, reply="_INBOX.x")
    await client.flush()


@attack(
    "a site, a person, a worker of flows or a bridge writing the configuration of a site: by the bucket, by a stream "
    "that republishes into it, by a consumer that delivers into it",
    layer="server (publish permission of the role)",
)
async def test_nobody_but_the_hub_writes_into_the_configurations(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        leaf = await joined_edge(site, "acme", "plant1")
        site.operator.join_file("acme", "plant2")
        roles: tuple[Role, ...] = ("viewer", "engineer", "commander", "flow", "bridge")
        creds = {role: site.operator.user("acme", f"a-{role}", role) for role in roles}
        await site.taken()
        async with hub_client(site, "acme") as hub:
            streams = hub.jetstream()
            assert (await streams.stream_info("KV_config")).state.last_seq == 0
            for subject in (
                OTHERS, "$KV.config.plant1", "$JS.hub.API.STREAM.CREATE.EVIL", "$JS.hub.API.STREAM.PURGE.KV_config",
                f"$JS.hub.API.DIRECT.GET.KV_config.{OTHERS}",
            ):  # fmt: skip
                async with RawLeaf(site.leaf_port, leaf) as one:  # the server hangs up
                    one.publish(subject, json.dumps(EVIL))
                    assert not await one.read("never")
            for role, path in creds.items():
                async with client_of(site, path) as client:
                    await try_as(
                        client, (OTHERS, b"evil"), ("$JS.API.STREAM.CREATE.EVIL", json.dumps(EVIL).encode()),
                        ("flow.evil", b"evil"), ("$JS.API.STREAM.DELETE.KV_config", b""),
                        ("$JS.API.STREAM.UPDATE.H_LOCAL", json.dumps({**EVIL, "name": "H_LOCAL"}).encode()),
                        (f"JSP.API.DIRECT.GET.KV_config.{OTHERS}", b""),
                    )  # fmt: skip
                    if role in ("flow", "bridge"):
                        await deliver_elsewhere(site, hub, client, path)
            assert "EVIL" not in [info.config.name for info in await streams.streams_info()]
            written = await streams.publish("$KV.config.control", b"x")
            assert written.seq == 1  # the first that ever got in is the hub's own
        await told(site, "acme", "permission.refused", subject=OTHERS)


async def deliver_elsewhere(site: Site, hub: Client, client: Client, creds: Path) -> None:
    """A consumer that should deliver into the bucket, and one beside it that delivers to its owner: once the second has
    got what there is, the first has had its turn."""
    got: list[bytes] = []
    _, key = parse_creds(creds.read_text(encoding="ascii"), where="test")
    inbox = f"_INBOX.{key.public}.mine"

    async def note(message: Any) -> None:
        got.append(message.data)

    await client.subscribe(inbox, cb=note)
    assert b"consumer_create_response" in (await client.request(CREATE, consumer(OTHERS), timeout=60)).data
    assert b'"error"' not in (await client.request(CREATE, consumer(inbox), timeout=60)).data
    mark = f"evil {key.public}".encode()
    await hub.jetstream().publish("uns.v1.acme._raw.x", mark)
    await until(lambda: mark in got, "what the hub has, at who asked for it")
    assert (await hub.jetstream().stream_info("KV_config")).state.last_seq == 0


@attack("a viewer sending or cancelling a command", layer="server (publish permission), hub (list and show only)")
async def test_a_viewer_lists_commands_and_sends_none(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        site.operator.join_file("acme", "plant1")
        creds = site.operator.user("acme", "ann", "viewer")
        await site.taken()
        async with site.plant("acme") as owner:
            id = await owner.commands.send("diagnostics", {}, nodes=["plant1"], who="test")
            async with connect(url=site.hub.server.url, creds_file=creds) as viewer:
                assert [(one.id, one.node) for one in await viewer.commands.list()] == [(id, "plant1")]
                (shown,) = await viewer.commands.show(id)
                assert (shown.type, shown.who, shown.cancel_who) == ("diagnostics", "test", None)
            async with client_of(site, creds) as ann:
                for ask in ({"action": "cancel", "id": id}, {"action": "send", "type": "diagnostics"}):
                    payload = json.dumps(ask).encode()
                    answer = json.loads((await ann.request("millstream.node.h1.commands", payload, timeout=60)).data)
                    assert answer["error"]["code"] == "MS-2300"
                    with pytest.raises(NatsTimeout):
                        await ann.request("millstream.node.h1.command", payload, timeout=1)
            assert [(one.id, one.cancel_who) for one in await owner.commands.list()] == [(id, None)]
        await told(site, "acme", "permission.refused", subject="millstream.node.h1.command")
