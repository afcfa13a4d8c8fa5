"""An edge site of three boxes under an operator, each with processes of its own that are killed: each box joins with a
file of its own, and what one of them accepted is at the hub, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from cluster_site import MEMBERS, Boxes, free_ports
from forward_site import until
from roaming_device import TOPIC, RoamingDevice
from trust_site import Operator, Site, hub_of, now_s

from millstream.bus import START_PATIENCE_S, Credentials, RawConnection, StreamApi, StreamReader
from millstream.client import joined_keys
from millstream.edge import join_hub
from millstream.kernel import PlantError
from millstream.protocols.nats_jwt import KeyPair, parse_creds, read_token
from millstream.trust import note_change, rekey_tenant

ROWS_S = 20
CLASSES = {"I": "integrity", "T": "throughput", "S": "site"}
SCALE = {
    "name": "scale", "type": "mqtt", "path": "scale", "config": {"source": "stream"},
    "tags": [{"name": "n", "address": f"{TOPIC}#$.n"}],
}  # fmt: skip


class EdgeBoxes(Boxes):
    """`millstream edge` three times. Recordings are its machines, one a class of durability: each goes on behind the
    position that was stored."""

    role = "edge"
    node = "plant1"

    def __init__(self, folder: Path, leaf_url: str) -> None:
        super().__init__(folder)
        lines = [f"{at * 1000 // ROWS_S},{at}" for at in range(600 * ROWS_S)]
        (folder / "counter.csv").write_text("\n".join(["ms,n", *lines]) + "\n", encoding="ascii")
        self._leaf_url = leaf_url

    def document(self, member: str) -> dict[str, Any]:
        made = super().document(member)
        return made | {
            "edge": {**made["edge"], "path": "acme/plant1"},
            "uplink": {"url": self._leaf_url, "credentials": str(self.folder / member / "secrets" / "uplink.creds")},
            "streams": {"integrity": {"max_bytes": "64MiB"}},
            "connectors": [
                {
                    "name": name, "type": "replay", "tags": [{"name": "n", "address": "n"}], "path": name,
                    "durability": name,
                    "config": {"file": str(self.folder / "counter.csv"), "times": "shift", "time_unit": "ms"},
                }
                for name in CLASSES.values()
            ] + [SCALE],
            "server": {"mqtt_port": 0},
        }  # fmt: skip

    async def wait_worker(self) -> str:
        """The one that works, as it says itself."""
        found: list[str] = []

        async def does_one() -> bool:
            found[:] = [m for m in self.running if (await self.status(m)).get("state") == "works"]
            return len(found) == 1

        await until(does_one, "one member works")
        return found[0]

    async def accepted(self, member: str) -> dict[str, int]:
        """Messages in the site's stream of each class, as a member says: each was acknowledged by a majority, or soon
        will be."""
        found: dict[str, int] = {}

        async def is_told() -> bool:
            with contextlib.suppress(PlantError):  # a stream has no leader for a moment, and then nobody answers
                async with self.connection(member) as connection:
                    for kind in CLASSES:
                        found[kind] = (await StreamApi(connection).state(f"E_plant1_{kind}")).last_seq
            return len(found) == len(CLASSES)

        await until(is_told, f"{member} says what the site has accepted")
        return found

    async def wait_more(self, member: str, what: str) -> dict[str, int]:
        """Until the site has accepted a second's rows more in each class."""
        before = await self.accepted(member)

        async def are_there() -> bool:
            return all(seq > before[kind] + ROWS_S for kind, seq in (await self.accepted(member)).items())

        await until(are_there, what)
        return await self.accepted(member)


@contextlib.asynccontextmanager
async def running_boxes(folder: Path, leaf_url: str) -> AsyncIterator[EdgeBoxes]:
    boxes = EdgeBoxes(folder, leaf_url)
    try:
        await boxes.start(*MEMBERS)
        yield boxes
    finally:
        await boxes.stop_all()


@contextlib.asynccontextmanager
async def tenant(site: Site) -> AsyncIterator[RawConnection]:
    """The hub's own rights in the tenant's plant."""
    await site.ready("acme")
    assert site.hub.tenants is not None
    login = Credentials(creds_file=site.hub.tenants.creds_dir / "acme.creds")
    async with RawConnection(site.hub.server.url, credentials=login, patience_s=START_PATIENCE_S) as connection:
        yield connection


async def accounts(connection: RawConnection) -> dict[str, Any]:
    """Of the site's streams, as the hub says."""
    with contextlib.suppress(PlantError):
        answer = await connection.request("millstream.node.h1.ledger", timeout_s=2.0)
        return dict(msgspec.json.decode(answer[4]))
    return {}


async def wait_at_hub(connection: RawConnection, seqs: dict[str, int]) -> None:
    async def are_there() -> bool:
        found = await accounts(connection)
        return all(int(found.get(f"E_plant1_{kind}", {}).get("last_seq", 0)) >= seqs[kind] for kind in "IT")

    await until(are_there, f"what the site has accepted ({seqs}) at the hub")


async def values_in(connection: RawConnection, stream: str, name: str) -> list[int]:
    """Of a connector's tag, in the order of the stream."""
    last_seq = (await StreamApi(connection).state(stream)).last_seq
    subject, values = f"uns.v1.acme.plant1.{name}._tag.n", []
    async with contextlib.aclosing(StreamReader(connection).read(stream)) as batches:
        async for messages in batches:
            values += [int(msgspec.json.decode(m.payload)["value"]) for m in messages if m.subject == subject]
            if messages and messages[-1].seq >= last_seq:
                break
    return values


async def has_all(connection: RawConnection, stream: str, name: str, count: int = 1) -> bool:
    """Whether a connector's numbers are there, each once and in order, so many at least."""
    values = await values_in(connection, stream, name)
    return values == list(range(len(values))) and len(values) >= count


async def has_all_of(device: RoamingDevice, connection: RawConnection) -> bool:
    """Whether the hub has what a box acknowledged to the device; twice at most what that sent again."""
    values = await values_in(connection, "H_INTEGRITY", "scale")
    twice = {value for value, count in Counter(values).items() if count > 1}
    assert twice <= device.sent_again
    return set(range(device.next)) <= set(values)


async def keys_are_replaced(operator: Operator, site: Site, boxes: EdgeBoxes, worker: str) -> None:
    """While one box is off. Each box goes on with a new token for the key that it has, that one when it is back."""
    off, other = (m for m in MEMBERS if m != worker)
    creds = {m: boxes.folder / m / "secrets" / "uplink.creds" for m in MEMBERS}
    plant, before = operator.trust.tenants["acme"], {m: path.read_text("ascii") for m, path in creds.items()}
    await boxes.kill(off)
    with operator.changing() as trust:
        rekey_tenant(plant, ["edge"], now_s())
        note_change(trust, "test", "tenant_rekeyed", "acme", "acme", {}, now_s())
    await site.taken()

    async def are_back(*members: str) -> bool:
        found = {m: parse_creds(creds[m].read_text("ascii"), where=m) for m in members}
        assert all(key.public == parse_creds(before[m], where=m)[1].public for m, (_, key) in found.items())
        issuer = KeyPair(plant.roles["edge"]).public
        linked = (await site.hub.server.monitor("/leafz")).get("leafs") or []
        return all(read_token(token).issuer == issuer for token, _ in found.values()) and len(linked) == len(members)

    await until(
        lambda: are_back(worker, other), "the boxes that are there have new tokens, and are at the hub with them"
    )
    assert creds[off].read_text("ascii") == before[off]
    await boxes.start(off)
    await until(lambda: are_back(*MEMBERS), "the box that was off has its new token, too")


async def test_boxes_of_a_site_are_killed_one_by_one_and_two_at_once(tmp_path: Path) -> None:
    operator = Operator(tmp_path)
    listen = {"server": {"leaf_port": free_ports(1)[0]}}
    operator.trust.hub_url = f"nats://127.0.0.1:{listen['server']['leaf_port']}"
    operator.sign()
    async with contextlib.AsyncExitStack() as stack:
        async with hub_of(operator, listen) as site:
            files = [operator.join_file("acme", "plant1") for _ in MEMBERS]
            await site.taken()
            keys = {(await join_hub(file, tmp_path / m)).public for m, file in zip(MEMBERS, files, strict=True)}
            known = await joined_keys(
                operator.trust, plant := operator.trust.tenants["acme"], plant.sites["plant1"], site.hub.server.url
            )
            assert (len(keys), set(known)) == (3, keys)  # `site revoke` locks out each of them
            boxes = await stack.enter_async_context(running_boxes(tmp_path, operator.trust.hub_url))
            worker = await boxes.wait_worker()
            first = worker  # which is killed next
            device = RoamingDevice(lambda: [tmp_path / m for m in sorted(boxes.running, key=lambda m: m != first)])
            publishing = asyncio.ensure_future(device.run())
            stack.callback(publishing.cancel)
            async with tenant(site) as connection:
                await wait_at_hub(connection, await boxes.wait_more(worker, "the first values"))

        # Without its hub the site accepts what it reads: who works is killed, then one that stands by.
        await boxes.kill(worker)
        second = await boxes.wait_worker()
        await boxes.wait_more(second, "values of the next one")
        await boxes.start(worker)
        await boxes.wait_current(worker)
        standby = next(m for m in MEMBERS if m not in (worker, second))
        await boxes.kill(standby)
        accepted = await boxes.wait_more(second, "values while one that stands by is gone")

        # The majority is lost, the one that works is left: it stops, says so, and what was accepted is not lost.
        await boxes.kill(worker)

        async def says_so() -> bool:
            told = await boxes.status(second)
            is_alone = "MS-2600" in str(told.get("alarms")) and not told["is_current"]
            return is_alone and (told["works"], told["state"]) == (None, "stands by")

        await until(says_so, "the last box says that it is without the others, and stops")
        await boxes.start(standby, worker)
        worker = await boxes.wait_worker()
        last = await boxes.wait_more(worker, "values again")
        assert all(last[kind] > seq for kind, seq in accepted.items())
        async with hub_of(operator, listen) as site, tenant(site) as connection:
            await wait_at_hub(connection, last)
            await keys_are_replaced(operator, site, boxes, worker)
            publishing.cancel()
            await asyncio.wait([publishing])
            assert await has_all(connection, "H_INTEGRITY", "integrity")
            assert await has_all(connection, "H_THROUGHPUT", "throughput")
            assert device.next > 0
            assert len(device.seen_at) > 1
            await until(lambda: has_all_of(device, connection), "what was acknowledged to the device")
            found = await accounts(connection)
            assert {name: account["is_clean"] for name, account in found.items() if "plant1" in name} == {
                "E_plant1_I": True, "E_plant1_T": True,
            }  # fmt: skip
        async with boxes.connection(worker) as connection:  # what stays at the site is with the boxes, and only there
            assert await has_all(connection, "E_plant1_S", "site", accepted["S"] // 2)
