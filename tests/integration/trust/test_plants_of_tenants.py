"""What a hub does in the plants of its tenants: flows with rights of their own, and devices that speak MQTT."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from trust_site import DEADLINE_S, Site, client_of, hub_client, told, trusted_hub, until

from millstream.kernel import AuthError
from millstream.protocols.nats_jwt import format_creds
from millstream.protocols.trust_chain import CHAIN_SUBJECT
from millstream.trust import new_key

attack = pytest.mark.attack

SUMS = '''
from millstream.flow import Emit, Flow, Input


def add(state, event):
    """The sum of all that came, however it is called in the plant."""
    return state + event.value, [Emit(f"{event.key}:sum", state + event.value, event.time_ns, kind="kpi")]


flow = Flow(name="sums", inputs=(Input("**:row"),), step=add, initial=int, state_type=int, outputs=("kpi",))
'''


def hub_file(folder: Path, *tenants: str) -> dict[str, Any]:
    """One flow, by the same name in each plant, and a listener for devices."""
    (folder / "sums.py").write_text(SUMS, encoding="utf-8")
    flow = {"name": "sums", "python": f"{folder}/sums.py:flow"}
    return {"tenants": {name: {"flows": [flow]} for name in tenants}, "server": {"mqtt_port": 0}}


async def said(client: Client, subject: str) -> list[int]:
    """What the flow said, from the hub's stream of all data."""
    stream = client.jetstream()
    state = (await stream.stream_info("H_INTEGRITY")).state
    found = [await stream.get_msg("H_INTEGRITY", seq) for seq in range(1, state.last_seq + 1)]
    return [json.loads(one.data or b"")["value"] for one in found if one.subject == subject]


async def mosquitto(site: Site, token: Path, program: str, *words: str) -> tuple[int, str]:
    """A client of mosquitto, run to its end: its exit status, which does not tell what the server let through, and its
    output."""
    process = await asyncio.create_subprocess_exec(
        program, "-h", "127.0.0.1", "-p", str(site.hub.server.settings.mqtt_port), "-u", "press", "-P",
        token.read_text(encoding="ascii").strip(), *words, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.returncode is None:
                process.kill()
                await process.wait()
    return process.returncode or 0, out.decode().strip()


async def device(site: Site, token: Path, topic: str, payload: str, *more: str) -> int:
    """Publish once, with QoS 1."""
    return (await mosquitto(site, token, "mosquitto_pub", "-q", "1", "-t", topic, "-m", payload, *more))[0]


async def devices_said(client: Client) -> list[tuple[str, bytes]]:
    """What devices published in this plant."""
    stream = client.jetstream()
    state = (await stream.stream_info("H_MQTT")).state
    found = [await stream.get_msg("H_MQTT", seq) for seq in range(1, state.last_seq + 1)]
    return [(one.subject or "", one.data or b"") for one in found]


@attack("a worker of flows at the hub with more than its role: streams, edges, keys", layer="server (role 'flow')")
async def test_flows_of_two_tenants_run_apart_with_rights_of_their_own(tmp_path: Path) -> None:
    more = hub_file(tmp_path, "acme", "beta", "gone")
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(trusted_hub(tmp_path, "acme", "beta", more=more))
        acme = await stack.enter_async_context(hub_client(site, "acme"))
        beta = await stack.enter_async_context(hub_client(site, "beta"))
        for name, values in (("acme", (1, 2, 3)), ("beta", (10,))):
            async with site.plant(name) as plant:
                for value in values:
                    await plant.publish(f"{name}/line1:row", value)
        for name, client, sums in (("acme", acme, [1, 3, 6]), ("beta", beta, [10])):
            where = f"uns.v1.{name}.line1._kpi.sum"

            async def are_there(client: Client = client, where: str = where, sums: list[int] = sums) -> bool:
                return await said(client, where) == sums

            await until(are_there, f"the sums of {name}")
        async with site.plant("acme") as plant:

            async def is_shown() -> bool:
                nodes = await plant.flows()
                return [flow["name"] for node in nodes if node["node"] == "h1" for flow in node["flows"]] == ["sums"]

            await until(is_shown, "the flow, to who asks the plant for its flows")
        tenants = site.hub.tenants
        assert tenants is not None
        assert [alarm.message for alarm in tenants.alarms if alarm.code == "MS-2111" and "gone" in alarm.message]

        login = tmp_path / "hub" / "secrets" / "flows" / "acme.creds"
        async with client_of(site, login) as worker:
            for subject in (
                "$KV.config.east", CHAIN_SUBJECT, "$JS.API.STREAM.CREATE.EVIL", "$JS.API.STREAM.PURGE.H_INTEGRITY",
                "millstream.node.east.command", "millstream.node.east.write",
            ):  # fmt: skip
                await worker.publish(subject, b"{}")
            await worker.flush()
            await told(site, "acme", "permission.refused", subject="millstream.node.east.write")


@pytest.mark.needs("mosquitto_pub")
@attack("a device writing as the plant: values, configurations, keys, commands", layer="server (role 'device')")
@attack("a device asking the server ($SYS), JetStream, or for the replies of others", layer="server (role 'device')")
@attack("a device of one tenant in another's plant", layer="server (account of the token)")
@attack("a device's token at the port of clients", layer="server (connection type of the role)")
async def test_devices_speak_mqtt_into_their_own_tenants_plant(tmp_path: Path) -> None:
    async with trusted_hub(tmp_path, "acme", "beta", more={"server": {"mqtt_port": 0}}) as site:
        tokens = {name: site.operator.user(name, "press", "device") for name in ("acme", "beta")}
        await site.taken()
        async with hub_client(site, "acme") as acme, hub_client(site, "beta") as beta:
            assert await device(site, tokens["acme"], "press/1/state", "acme's") == 0
            assert await device(site, tokens["beta"], "press/1/state", "beta's") == 0
            for client, payload in ((acme, b"acme's"), (beta, b"beta's")):

                async def is_there(client: Client = client, payload: bytes = payload) -> bool:
                    return [text for _, text in await devices_said(client)] == [payload]

                await until(is_there, "what the device said, in its own plant alone")

            for topic in (
                "uns/v1/acme/line1/row", "live/uns/v1/acme/line1/row", "$KV/config/east", "$KV/trust/chain",
                "$MQTT/msgs/press/1/state", "millstream/node/east/command", "$JS/API/STREAM/PURGE/H_INTEGRITY",
                "$SYS/REQ/CLAIMS/LIST", "_INBOX/hub/x",
            ):  # fmt: skip
                await device(site, tokens["acme"], topic, "evil")
            last = ("-q", "2", "-t", "press/1/state", "-m", "the last", "--retain")
            assert (await mosquitto(site, tokens["acme"], "mosquitto_pub", *last))[0] == 0
            heard = await mosquitto(site, tokens["acme"], "mosquitto_sub", "-q", "2", "-C", "1", "-t", "press/#")
            assert heard == (0, "the last")  # what carries QoS 1 and 2 is not forbidden with the rest

            async def has_last() -> bool:
                return (await devices_said(acme))[-1][1] == b"the last"

            await until(has_last, "what it said after that")
            assert {text for _, text in await devices_said(acme)} == {b"acme's", b"the last"}
            assert (await acme.jetstream().stream_info("KV_config")).state.last_seq == 0
            for subject in (
                "$KV.config.east",
                "$SYS.REQ.CLAIMS.LIST",
                "$JS.API.STREAM.PURGE.H_INTEGRITY",
                "_INBOX.hub.x",
            ):
                await told(site, "acme", "permission.refused", subject=subject)

            stolen = tmp_path / "stolen.creds"
            stolen.write_text(format_creds(tokens["acme"].read_text(encoding="ascii"), new_key("user").seed))
            with pytest.raises(AuthError):
                async with client_of(site, stolen):
                    pass
