"""The link between edge and hub in every bad state; nothing is lost, doubled or reordered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

from forward_site import (
    client_of,
    leaf_of,
    running_edge,
    running_hub,
    spawn_server,
    until,
    values_at_hub,
    wait_all_at_hub,
)

from millstream.bus import (
    FAST_PREFIX,
    FastIngestPublisher,
    LeafListener,
    LeafUser,
    NatsServer,
    ServerSettings,
    StreamApi,
    StreamBounds,
    get_batch,
)
from millstream.bus._server_config import ServerSecrets, render_config
from millstream.kernel import Unreachable
from millstream.sdk import Message
from millstream.sim import FaultProxy


async def test_a_closed_link_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with FaultProxy("127.0.0.1", port) as proxy, running_edge(tmp_path, proxy.port, secret) as edge:
            await edge.send(300)
            await until(lambda: edge.forward.uplink.state in ("flowing", "idle"), "flowing")
            await wait_all_at_hub(hub, edge)
            proxy.cut()
            await edge.send(700)
            await until(lambda: edge.forward.uplink.state == "cut" and edge.forward.uplink.data_age_ms > 300, "cut")
            assert edge.alarm("MS-0618") is not None
            proxy.restore()
            await wait_all_at_hub(hub, edge)
            await until(lambda: edge.forward.uplink.behind_messages == 0, "nothing waits")
            await until(lambda: edge.alarm("MS-0618") is None, "the alarm is over")
        assert await values_at_hub(hub) == list(range(1, 1001))


async def test_a_black_holed_link_shows_growing_data_age_and_recovers(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with FaultProxy("127.0.0.1", port) as proxy, running_edge(tmp_path, proxy.port, secret) as edge:
            await edge.send(100)
            await wait_all_at_hub(hub, edge)
            proxy.swallow()
            await edge.send(200)
            await until(lambda: edge.forward.uplink.data_age_ms > 2000, "the age of waiting data grows")
            await until(lambda: edge.forward.uplink.state == "cut", "cut, although the server believes in its link")
            proxy.restore()
            await wait_all_at_hub(hub, edge)


async def test_a_hung_leaf_is_dialled_again_when_the_cursor_does_not_move(tmp_path: Path) -> None:
    """A router that lost its state: the connection looks open at both ends and carries nothing (nats-server 7615)."""
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with (
            FaultProxy("127.0.0.1", port) as proxy,
            running_edge(tmp_path, proxy.port, secret, hang_s=1.5) as edge,
        ):
            await edge.send(100)
            await wait_all_at_hub(hub, edge)
            dialled = proxy.accepted_count
            proxy.freeze()
            await edge.send(200)
            await until(lambda: edge.alarm("MS-0613") is not None, "the hang is told")
            await until(lambda: proxy.accepted_count > dialled, "a new connection")
            await wait_all_at_hub(hub, edge)
            await until(lambda: edge.alarm("MS-0613") is None, "the alarm is over")
            assert edge.server.restarts_count == 0


async def test_a_hub_server_killed_loses_nothing(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(300)
            await wait_all_at_hub(hub, edge)
            await edge.send(200)
            assert hub.server.pid is not None
            os.kill(hub.server.pid, signal.SIGKILL)
            await edge.send(500)
            await until(lambda: hub.server.restarts_count == 1 and hub.server.pid is not None, "restarted")
            await wait_all_at_hub(hub, edge)
        assert await values_at_hub(hub) == list(range(1, 1001))


async def test_an_edge_server_killed_while_publishing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await edge.send(100)
            sending = asyncio.ensure_future(edge.send(30_000))
            await until(lambda: edge.publisher.stats().messages_stored > 300, "in the middle")
            assert edge.server.pid is not None
            os.kill(edge.server.pid, signal.SIGKILL)
            await sending
            await until(lambda: edge.server.restarts_count == 1, "restarted")
            await wait_all_at_hub(hub, edge)
        assert await values_at_hub(hub) == list(range(1, 30_101))


async def test_wrong_leaf_credentials_are_told_once_and_data_is_kept(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, "wrong", boot_wait_s=0.2) as edge:
            await edge.send(200)
            await until(lambda: edge.alarm("MS-0615") is not None, "the refusal is told")
            assert sum("MS-0615" in line for line in edge.log) == 1
            settings = edge.server.settings
            assert settings.leaf_remote is not None
            await edge.server.reconfigure(replace(settings, leaf_remote=replace(settings.leaf_remote, secret=secret)))
            await wait_all_at_hub(hub, edge)
            await until(lambda: edge.alarm("MS-0615") is None, "the alarm is over")


async def test_plain_subjects_of_the_namespace_never_cross_the_link(tmp_path: Path) -> None:
    """Else a value would be stored twice: by its source and by a stream that hears it live."""
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with (
            running_edge(tmp_path, port, secret) as edge,
            client_of(hub.server) as at_hub,
            client_of(edge.server) as at_edge,
        ):
            await edge.send(1)
            await wait_all_at_hub(hub, edge)
            heard: list[str] = []
            for connection, side in ((at_hub, "hub"), (at_edge, "edge")):
                for subject in ("live.uns.v1.>", "uns.>", "dlq.>", "fast.>", "probe.>"):
                    connection.subscribe(
                        subject, lambda messages, side=side: heard.extend(f"{side} {m[1].decode()}" for m in messages)
                    )
            await at_hub.request("$JS.API.INFO")
            await at_edge.request("$JS.API.INFO")
            await at_hub.request("uns.v1.acme.hub._tag.n", b'{"timestamp_ms":1,"value":1}')
            await at_edge.request("uns.v1.acme.e1._tag.m", b'{"timestamp_ms":1,"value":1}')
            await at_edge.request("dlq.e1.x", b"?")

            async def is_sourced() -> bool:
                return (await StreamApi(at_hub).state("H_DLQ")).messages == 1

            await until(is_sourced, "the dead letter at the hub's stream")
            assert "edge uns.v1.acme.hub._tag.n" not in heard
            assert "hub uns.v1.acme.e1._tag.m" not in heard
            assert not [h for h in heard if h.startswith("hub dlq.") or h == "edge live.uns.v1.acme.hub._tag.n"]
            # The live value comes once, straight from the edge, and not a second time from the stream that sourced it.
            await until(lambda: "hub live.uns.v1.acme.e1._tag.m" in heard, f"live at the hub {heard}", 10)
            await wait_all_at_hub(hub, edge)
            assert heard.count("hub live.uns.v1.acme.e1._tag.m") == 1
            state = await edge.api.state(edge.streams.integrity)
            assert state.messages == 3  # the value, its record, and what the edge's own client sent


async def test_a_throughput_stream_whose_server_is_killed_is_forwarded_whole(tmp_path: Path) -> None:
    """It is acknowledged before it is written; what is stored again must get the numbers that the hub has seen."""
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        bounds = StreamBounds(64 << 20)
        async with running_edge(tmp_path, port, secret, throughput=bounds) as edge:
            assert edge.streams.throughput is not None
            subject = "uns.v1.acme.e1._ledger.e1.fast"
            async with FastIngestPublisher(
                edge.connection, edge.streams.throughput, ledger_subject=subject, publish_prefix=FAST_PREFIX
            ) as publisher:

                async def send_all() -> None:
                    for start in range(0, 100_000, 500):
                        values = range(start + 1, start + 501)
                        await publisher.submit(
                            [Message("uns.v1.acme.e1._tag.n", b'{"timestamp_ms":1,"value":%d}' % v) for v in values]
                        )
                    await publisher.flush()

                sending = asyncio.ensure_future(send_all())
                await until(lambda: publisher.stats().messages_stored > 10_000, "in the middle")
                assert edge.server.pid is not None
                os.kill(edge.server.pid, signal.SIGKILL)
                await sending
            await until(lambda: hub.ledger().get("E_e1_T", {}).get("messages", 0) >= 100_000, "all at the hub")
            assert hub.ledger()["E_e1_T"]["is_clean"], hub.ledger()
            assert await values_at_hub(hub, stream="H_THROUGHPUT") == list(range(1, 100_001))


async def test_stalled_flow_control_is_an_alarm(tmp_path: Path) -> None:
    """Without `$JS.FC.>` a source stops after about 2 MB, with a lag of 0 (nats-server 8630)."""
    folder = tmp_path / "hub"
    listener = LeafListener(users=(LeafUser("e1", "s"),))
    async with NatsServer(ServerSettings("h1", domain="hub", leaf_listener=listener), folder) as ready:
        settings = ready.settings
    secrets = ServerSecrets(plant="x", system="y")
    config = json.loads(render_config(settings, secrets, store_dir=str(folder / "js"), log_file=str(folder / "log")))
    for user in config["accounts"]["PLANT"]["users"]:
        for allowed in user.get("permissions", {}).values():
            allowed["allow"] = [subject for subject in allowed["allow"] if subject != "$JS.FC.>"]
    (folder / "narrow.conf").write_text(json.dumps(config))
    narrow = spawn_server(folder / "narrow.conf")
    try:
        (tmp_path / "secret").write_text("x", encoding="ascii")
        given = {
            "url": f"nats://127.0.0.1:{settings.port}", "user": "millstream",
            "secret": {"file": str(tmp_path / "secret")},
        }  # fmt: skip
        assert settings.leaf_listener is not None
        async with (
            running_edge(tmp_path, settings.leaf_listener.port, "s") as edge,
            running_hub(tmp_path / "node", **given) as hub,
            client_of(hub.server) as client,
        ):
            for _ in range(40):
                await edge.send(1000)
            await until(lambda: edge.alarm("MS-0614") is not None, "the stall is told")
            assert edge.forward.uplink.behind_messages > 0

            async def is_told() -> bool:
                subject = "uns.v1.acme._event.millstream.server.alarm_raised"
                found, _ = await get_batch(client, "H_LOCAL", subject, seq=1)
                return any(b"MS-0614" in one.payload for one in found)

            await until(is_told, "it is an event of the hub")
    finally:
        narrow.terminate()
        narrow.wait()


async def test_edges_with_the_same_tags_have_streams_of_unique_names(tmp_path: Path) -> None:
    """Two sources of the same stream name in one hub stream would share a cursor."""
    async with running_hub(tmp_path, edges=("e1", "e2")) as hub:
        async with (
            running_edge(tmp_path, *leaf_of(hub, "e1")) as first,
            running_edge(tmp_path, *leaf_of(hub, "e2"), name="e2") as second,
        ):
            await asyncio.gather(first.send(200), second.send(300))
            await wait_all_at_hub(hub, first)
            await wait_all_at_hub(hub, second)
            assert {first.streams.integrity, second.streams.integrity} == {"E_e1_I", "E_e2_I"}
        assert await values_at_hub(hub, "e1") == list(range(1, 201))
        assert await values_at_hub(hub, "e2") == list(range(1, 301))


async def test_a_hub_tells_an_edge_its_cursors_so_that_it_need_not_ask(tmp_path: Path) -> None:
    """Each answer would hold the sources of all edges: that grows with the square of their number."""
    async with running_hub(tmp_path) as hub:
        port, secret = leaf_of(hub)
        async with running_edge(tmp_path, port, secret) as edge:
            await until(lambda: edge.forward.uplink.state == "idle", "the hub has been seen")

            async def refuse(subject: str, *_: object, **__: object) -> None:
                raise Unreachable("not to be asked")

            edge.forward._hub.request = refuse  # type: ignore[method-assign, assignment]
            await edge.send(100)
            await until(lambda: edge.forward.uplink.cursor_seq >= 100, "the cursor moves")
