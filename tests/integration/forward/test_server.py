"""The supervised nats-server: started, checked, restarted, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from forward_site import client_of, leaf_of, running_edge, running_hub, spawn_server, until, wait_all_at_hub

from millstream.bus import LeafListener, LeafRemote, LeafUser, NatsServer, ServerSettings, StreamApi, _server_looks
from millstream.bus._server_config import MqttUser, ServerSecrets, render_config
from millstream.bus._server_files import load_secret
from millstream.bus._server_program import TIMER_SLACK_NS
from millstream.kernel import PlantError
from millstream.sim import FaultProxy


async def test_a_killed_server_is_restarted_on_the_same_ports(tmp_path: Path) -> None:
    log: list[str] = []
    async with NatsServer(ServerSettings("s1", mqtt_port=0), tmp_path, on_log=log.append) as server:
        url, first = server.url, server.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: server.restarts_count == 1 and not server.alarms, "restarted")
        assert server.url == url
        assert server.pid not in (None, first)
        assert any("SIGKILL" in line for line in log)
        async with client_of(server) as connection:
            await StreamApi(connection).request("INFO")
    assert server.pid is None


async def test_a_node_started_again_keeps_its_ports_and_secrets(tmp_path: Path) -> None:
    async with NatsServer(ServerSettings("s1"), tmp_path) as server:
        before = (server.url, server.password)
    async with NatsServer(ServerSettings("s1"), tmp_path) as server:
        assert (server.url, server.password) == before
    for path in (tmp_path / "secrets" / "plant", tmp_path / "server" / "nats-server.conf"):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("listener", ["client", "monitor", "mqtt", "leaf", "websocket"])
async def test_a_taken_port_is_one_clear_error(tmp_path: Path, listener: str) -> None:
    taken = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    settings = {
        "client": ServerSettings("s1", port=port),
        "monitor": ServerSettings("s1", monitor_port=port),
        "mqtt": ServerSettings("s1", mqtt_port=port),
        "leaf": ServerSettings("s1", leaf_listener=LeafListener(port=port)),
        "websocket": ServerSettings("s1", websocket_port=port),
    }[listener]
    try:
        with pytest.raises(PlantError) as caught:
            async with NatsServer(settings, tmp_path):
                pass
        assert caught.value.code == "MS-0601"
        assert str(port) in str(caught.value)
        assert caught.value.next_step
    finally:
        taken.close()
        await taken.wait_closed()


async def test_two_nodes_on_one_data_directory_are_refused(tmp_path: Path) -> None:
    async with NatsServer(ServerSettings("s1"), tmp_path):
        with pytest.raises(PlantError) as caught:
            async with NatsServer(ServerSettings("s1"), tmp_path):
                pass
    assert caught.value.code == "MS-0603"
    assert str(os.getpid()) in str(caught.value)


async def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(PlantError) as caught:
        async with NatsServer(ServerSettings("s1"), tmp_path / "data"):
            pass
    assert caught.value.code == "MS-0602"


async def test_a_missing_program_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(PlantError) as caught:
        async with NatsServer(ServerSettings("s1"), tmp_path, program=str(tmp_path / "nowhere")):
            pass
    assert caught.value.code in ("MS-0600", "MS-0605")


async def test_the_running_server_syncs_every_message(tmp_path: Path) -> None:
    async with NatsServer(ServerSettings("s1"), tmp_path) as server:
        page = await server.monitor("/jsz?config=true")
        assert page["config"]["sync_always"] is True
        assert page["config"]["domain"] == "s1"


_NODE = """
import asyncio, sys
from pathlib import Path
from millstream.bus import NatsServer, ServerSettings
async def main():
    async with NatsServer(ServerSettings("s1"), Path(sys.argv[1])) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_node_killed_hard_leaves_no_server_behind(tmp_path: Path) -> None:
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _NODE, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert node.stdout is not None
    pid = int(await node.stdout.readline())
    node.kill()
    await node.wait()
    await until(lambda: not _runs(pid), "the server ends with its node", 15)


async def test_an_orphan_of_a_killed_node_is_ended_at_the_next_start(tmp_path: Path) -> None:
    """Where the operating system has no parent-death signal, the pid file does it."""
    async with NatsServer(ServerSettings("s1"), tmp_path):
        noted = tmp_path / "server" / "pid.json"
    config = tmp_path / "server" / "nats-server.conf"
    orphan = spawn_server(config)
    try:
        noted.write_text(json.dumps({"pid": orphan.pid, "created": psutil.Process(orphan.pid).create_time()}))
        await until(lambda: "nats-server" in psutil.Process(orphan.pid).name(), "the orphan runs")
        async with NatsServer(ServerSettings("s1"), tmp_path) as server:
            assert orphan.poll() is not None
            assert server.pid != orphan.pid
    finally:
        if orphan.poll() is None:
            orphan.kill()
        orphan.wait()


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_restart_can_be_asked_for_of_a_server_whose_timers_are_not_exact(tmp_path: Path) -> None:
    async with NatsServer(ServerSettings("s1"), tmp_path) as server:
        assert Path(f"/proc/{server.pid}/timerslack_ns").read_text().strip() == str(TIMER_SLACK_NS)
        server.restart("asked by a test")
        await until(lambda: server.restarts_count == 1 and not server.alarms, "restarted")
        await server.wait_ready()
        assert server.pid is not None


async def test_a_request_right_after_a_reload_is_answered(tmp_path: Path) -> None:
    """While the server swaps its accounts nobody answers; a node that starts must not meet that."""
    async with NatsServer(ServerSettings("s1", mqtt_port=0), tmp_path) as server, client_of(server) as connection:
        loads = set()
        for number in range(10):
            user = MqttUser(f"device{number}", "only-for-tests")
            await server.reconfigure(replace(server.settings, mqtt_users=(*server.settings.mqtt_users, user)))
            await StreamApi(connection).request("INFO")
            loads.add((await server.monitor("/varz"))["config_load_time"])
        assert len(loads) == 10  # each was over when `reconfigure` returned


async def test_a_leaf_ignores_the_addresses_that_a_hub_advertises(tmp_path: Path) -> None:
    """Else the edge leaves the address it was given (here a proxy) for one that may not lead anywhere."""
    folder = tmp_path / "hub"
    async with NatsServer(
        ServerSettings("h1", leaf_listener=LeafListener(users=(LeafUser("e1", "s"),))), folder
    ) as hub:
        settings = hub.settings
    secrets = ServerSecrets(plant="x", system="y")
    config = json.loads(render_config(settings, secrets, store_dir=str(folder / "js"), log_file=str(folder / "log")))
    assert settings.leaf_listener is not None
    assert config["leafnodes"].pop("no_advertise") is True
    config["leafnodes"]["advertise"] = f"127.0.0.1:{settings.leaf_listener.port}"
    (folder / "advertising.conf").write_text(json.dumps(config))
    advertising = spawn_server(folder / "advertising.conf")
    try:
        async with FaultProxy("127.0.0.1", settings.leaf_listener.port) as proxy:
            remote = LeafRemote(f"nats://127.0.0.1:{proxy.port}", "e1", "s")
            edge = NatsServer(ServerSettings("e1", leaf_remote=remote, leaf_reconnect_s=0.1), tmp_path / "e1")
            async with edge as server:

                async def is_linked() -> bool:
                    return bool((await server.monitor("/leafz"))["leafs"])

                await until(is_linked, "linked")
                proxy.cut()

                async def is_unlinked() -> bool:
                    return not (await server.monitor("/leafz"))["leafs"]

                await until(is_unlinked, "cut")
                dialled = proxy.accepted_count
                await until(lambda: proxy.accepted_count >= dialled + 5, "it dials the proxy, again and again")
                assert await is_unlinked()
    finally:
        advertising.terminate()
        advertising.wait()


async def test_an_edge_added_at_run_time_does_not_disturb_the_others(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, running_edge(tmp_path, *leaf_of(hub)) as first:
        await first.send(100)
        await wait_all_at_hub(hub, first)
        settings = hub.server.settings
        assert settings.leaf_listener is not None
        users = (*settings.leaf_listener.users, LeafUser("e2", load_secret(tmp_path / "hub", "e2"), "uns.v1.acme.e2"))
        await hub.server.reconfigure(replace(settings, leaf_listener=replace(settings.leaf_listener, users=users)))
        hub.sources.set_edges(["e1", "e2"])
        async with running_edge(tmp_path, *leaf_of(hub, "e2"), name="e2") as second:
            await asyncio.gather(first.send(100), second.send(100))
            await wait_all_at_hub(hub, first)
            await wait_all_at_hub(hub, second)
        assert first.forward.uplink.state in ("flowing", "idle")
        hub.sources.set_edges(["e1"])
        await until(lambda: not [s for s in hub.sources.sources() if "e2" in s["origin"]], "e2 is given up")
        await first.send(100)
        await wait_all_at_hub(hub, first)


async def test_a_stream_that_a_power_loss_has_torn_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    async with NatsServer(ServerSettings("s1"), tmp_path) as server, client_of(server) as connection:
        api = StreamApi(connection)
        for name, extra in (("KEPT", {}), ("TORN", {"persist_mode": "async"})):
            await api.request(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"], **extra})
    (tmp_path / "jetstream/jetstream/PLANT/streams/TORN/meta.sum").write_bytes(b"")  # as a power loss leaves it
    async with NatsServer(ServerSettings("s1"), tmp_path) as server, client_of(server) as connection:
        assert [alarm.code for alarm in server.alarms] == ["MS-0624"]
        assert "TORN" in server.alarms[0].message
        assert (await StreamApi(connection).state("KEPT")).last_seq == 0
    assert [path.name.partition("-")[0] for path in (tmp_path / "set-aside").iterdir()] == ["TORN"]


async def test_what_a_stream_is_stands_on_the_disk_once_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    async with NatsServer(ServerSettings("s1"), tmp_path) as server, client_of(server) as connection:
        await StreamApi(connection).request("STREAM.CREATE.ONE", {"name": "ONE", "persist_mode": "async"})
        monkeypatch.setattr(os, "fsync", note)
        await server.sync_descriptions()
    folder = tmp_path / "jetstream/jetstream/PLANT/streams"
    assert {str(folder), *(str(folder / name) for name in ("ONE", "ONE/meta.inf", "ONE/meta.sum"))} <= set(synced)


async def test_looking_after_a_server_for_long_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio keeps each waiter of a process until the process ends."""
    for name in ("LOOK_INTERVAL_S", "WELL_INTERVAL_S"):
        monkeypatch.setattr(_server_looks, name, 0.005)

    def futures() -> int:
        gc.collect()
        return sum(type(found) is asyncio.Future for found in gc.get_objects())

    async with NatsServer(ServerSettings("e1"), tmp_path / "e1"):
        await asyncio.sleep(0.2)
        before = futures()
        await asyncio.sleep(1.0)
        assert futures() < before + 10
