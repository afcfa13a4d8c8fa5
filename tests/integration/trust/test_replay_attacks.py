"""Commands that were heard once and are played again; names that lead elsewhere, and configurations that are none, put
at a hub with tenants with the log-in of somebody who may."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg
from test_configs_of_people import document, put_raw, seen_by, signed
from trust_site import RawLeaf, client_of, hub_client, joined_edge, told, trusted_hub, until

from millstream.client import Signer
from millstream.client._desks import ask_desk
from millstream.kernel import PlantError
from millstream.protocols.below import CONFIG, ROLLOUT
from millstream.protocols.config_desk import ConfigAsk
from millstream.protocols.rollout_desk import RolloutAsk

attack = pytest.mark.attack


@attack("a command that was heard, delivered again to its site when it is over, by a commander's or the hub's log-in",
        layer="edge (journal of commands: each has one effect)")  # fmt: skip
@attack("a command's old record stored again at the hub, by a commander or a site",
        layer="server (publish permission of the role)")  # fmt: skip
@attack("a command of one site delivered by another site's box", layer="server (publish permission of the site)")
async def test_a_command_that_is_played_again_does_nothing_and_is_told(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        file = site.operator.join_file("acme", "plant1")
        other = await joined_edge(site, "acme", "plant2")
        cora = site.operator.user("acme", "cora", "commander")
        await site.taken()
        folder = await site.join(file)
        async with site.edge(file, folder) as edge, site.plant("acme") as plant, hub_client(site, "acme") as hub:
            heard: list[bytes] = []

            async def note(message: Msg) -> None:
                heard.append(message.data)

            await hub.subscribe("millstream.node.plant1.command", cb=note)
            await hub.flush()
            id = await plant.commands.send("diagnostics", {}, nodes=["plant1"], who="cora")
            (done,) = await plant.commands.wait(id)
            assert done.state == "done"
            delivery, count = heard[0], len(heard)
            counters = edge.status()["commands"]
            record = (await hub.jetstream().get_last_msg("H_CMD", f"millstream.command.plant1.{id}")).data
            async with client_of(site, cora) as commander:
                await commander.publish("millstream.node.plant1.command", delivery, reply="_INBOX.x")
                await commander.publish(f"millstream.command.plant1.{id}", record or b"")
                await commander.flush()
            await hub.publish("millstream.node.plant1.command", delivery)
            for subject in ("millstream.node.plant1.command", f"millstream.command.plant1.{id}"):
                async with RawLeaf(site.leaf_port, other) as leaf:  # the server hangs up
                    leaf.publish(subject, delivery.decode())
                    assert not await leaf.read("never")
            await until(lambda: len(heard) >= count + 2, "both have been delivered")

            async def is_told() -> bool:
                subject = "uns.v1.acme.plant1._event.millstream.audit.command.repeated"
                info = await hub.jetstream().stream_info("H_INTEGRITY", subjects_filter=subject)
                if (info.state.subjects or {}).get(subject) != 1:
                    return False
                event = json.loads((await hub.jetstream().get_last_msg("H_INTEGRITY", subject)).data or b"")
                return bool((event["id"], event["state"], event["who"]) == (id, "done", "cora"))

            await until(is_told, "the edge tells that it came again, once")
            now = edge.status()["commands"]
            assert now["begun"] == counters["begun"] == 1, "it had its effect once"
            assert now["repeated"] >= counters["repeated"] + 1
            await told(site, "acme", "permission.refused", subject=f"millstream.command.plant1.{id}", name="cora")
            await told(site, "acme", "permission.refused", subject=f"millstream.command.plant1.{id}", name="plant2")
            await told(site, "acme", "permission.refused", subject="millstream.node.plant1.command", name="plant2")


@attack("a configuration that is oversized, malformed, damaged or another site's, put with an engineer's log-in",
        layer="hub (bounds and codec of a revision), server (size of a message)")  # fmt: skip
@attack("names of sites and roll-outs that are paths or subjects, asked for with an engineer's log-in",
        layer="hub (rules of names)")  # fmt: skip
async def test_what_is_no_configuration_and_no_name_is_refused_and_told(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme") as site:
        for name in ("east", "west"):
            site.operator.join_file("acme", name)
        ann = site.operator.user("acme", "ann", "engineer")
        await site.taken()
        signer = Signer.of(ann)
        async with seen_by(site, ann, signer) as plant:
            link: Any = plant._link
            good = signed(signer, "east", 1)
            damaged = msgspec.structs.replace(good, document=document("1GiB"))
            for body, code in (
                (b"", "MS-2402"), (b"\xff" * 100, "MS-2402"), (b"[" * 100_000, "MS-2402"),
                (b" " * 1_000_000, "MS-2418"),
                (msgspec.json.encode(damaged), "MS-2402"),
                (msgspec.json.encode(signed(signer, "west", 1)), "MS-2403"),
            ):  # fmt: skip
                with pytest.raises(PlantError) as refused:
                    await ask_desk(link, CONFIG, "uns.v1.acme", ConfigAsk("put", "east"), body)
                assert refused.value.code == code
                await told(site, "acme", "config.refused", code=code, host="127.0.0.1")
            for name in ("../east", "east/..", "a.b", ">", "*", "$KV", "{{name()}}"):
                for what, ask in ((CONFIG, ConfigAsk("put", name)), (ROLLOUT, RolloutAsk("show", name))):
                    with pytest.raises(PlantError) as refused:
                        await ask_desk(link, what, "uns.v1.acme", ask, b"")
                    assert refused.value.code == "MS-2417", (what, name)
            for what in ("config", "rollout"):
                await told(site, "acme", f"{what}.refused", code="MS-2417", host="127.0.0.1")
            assert await plant.configs.history("east") == []
            await put_raw(plant, "uns.v1.acme", good)  # what is one gets in
            assert [one.revision.revision for one in await plant.configs.history("east")] == [1]
        await asyncio.sleep(0)
