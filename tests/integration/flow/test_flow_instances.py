"""Several instances share a flow; whoever comes, goes or is killed, every row counts once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from flow_site import FLOW, ask, edge_of, flow_status, instance, kill_now, outputs, recount, rows_of, until, write_site

from millstream.edge import EdgeNode

MACHINES = 8


def shares(edge: EdgeNode) -> dict[str, int]:
    """Instance -> how many partitions it runs."""
    found: dict[str, int] = {}
    for part in flow_status(edge)["partitions"]:
        found[part["instance"]] = found.get(part["instance"], 0) + 1
    return found


def is_even(edge: EdgeNode, instances: int, each: int) -> bool:
    return sorted(shares(edge).values()) == [each] * instances


def has_stopped(edge: EdgeNode) -> bool:
    """Each instance says that it is paused and runs nothing."""
    instances = flow_status(edge)["instances"]
    return bool(instances) and all(each["is_paused"] and not each["partitions_count"] for each in instances)


def rows_stored(edge: EdgeNode) -> int:
    connectors: Any = edge.status()["connectors"]
    return int(connectors[0]["samples_stored"])


def worker_pids(edge: EdgeNode) -> list[int]:
    return [worker["pid"] for worker in flow_status(edge)["workers"] if worker["pid"] is not None]


async def kill_one(edge: EdgeNode) -> None:
    """Kill a worker, and wait until its supervisor has seen it."""
    await until(lambda: bool(worker_pids(edge)), "a worker")
    pid = worker_pids(edge)[0]
    kill_now(pid)
    await until(lambda: pid not in worker_pids(edge), "its end")


async def all_rows(edge: EdgeNode, count: int) -> bool:
    found = await outputs(edge.server)
    return all(len(rows_of(found, m)) >= count for m in range(MACHINES))


async def check_rows(edge: EdgeNode, count: int) -> None:
    found = await outputs(edge.server)
    for machine in range(MACHINES):
        assert rows_of(found, machine) == list(range(1, count + 1)), f"machine {machine}"
    origins = [(subject, origin) for subject, _, _, origin in found]
    assert len(origins) == len(set(origins))


async def test_partitions_are_shared_and_taken_over_when_an_instance_is_killed(tmp_path: Path) -> None:
    log: list[str] = []
    flow: dict[str, Any] = {**FLOW, "partitions": 4, "instances": 2}
    path = write_site(tmp_path, flows=[flow], machines=MACHINES, rows=600, pause="30ms")
    async with edge_of(path, log) as edge:

        def tell() -> object:
            return flow_status(edge), log

        await until(lambda: is_even(edge, 2, 2), "two instances with two partitions each", tell=tell)
        for _ in range(3):
            await kill_one(edge)
            await until(lambda: is_even(edge, 2, 2), "both share again", tell=tell)
        await until(lambda: all_rows(edge, 600), "all rows", tell=tell)
        await check_rows(edge, 600)


async def test_instances_that_come_and_go_under_load_lose_and_repeat_nothing(tmp_path: Path) -> None:
    """The source goes on all the time; each change moves half of the partitions."""
    log: list[str] = []
    flow: dict[str, Any] = {**FLOW, "partitions": 4, "instances": 1}
    path = write_site(tmp_path, flows=[flow], machines=MACHINES, rows=100_000, pause="20ms")
    async with edge_of(path, log) as edge:

        def tell() -> object:
            return flow_status(edge), log

        async def goes_on() -> None:
            found = await outputs(edge.server)
            least = min(len(rows_of(found, machine)) for machine in range(MACHINES))
            await until(lambda: all_rows(edge, least + 20), "every machine goes on", tell=tell)

        await until(lambda: is_even(edge, 1, 4), "one has all", tell=tell)
        for how in (signal.SIGTERM, signal.SIGKILL):
            with instance(tmp_path, flow) as other:
                await until(lambda: is_even(edge, 2, 2), "both share", tell=tell)
                await goes_on()
                other.send_signal(how)
                await until(lambda: is_even(edge, 1, 4), "the one that stays has all", tell=tell)
            await goes_on()
        assert rows_stored(edge) < 100_000 * MACHINES, "the source has ended: nothing was under load"
        found = await outputs(edge.server)
        for machine in range(MACHINES):
            assert rows_of(found, machine) == list(range(1, len(rows_of(found, machine)) + 1)), f"machine {machine}"
        account = await recount(edge.server)
        assert account.is_clean, account
        assert account.messages >= len(found)


async def test_whoever_is_left_takes_over_at_once_when_a_process_of_the_node_ends(tmp_path: Path) -> None:
    """By their silence alone it would take two minutes here."""
    log: list[str] = []
    flow: dict[str, Any] = {**FLOW, "partitions": 4, "instances": 2, "step_timeout": "60s"}
    path = write_site(tmp_path, flows=[flow], machines=MACHINES, rows=300, pause="30ms")
    async with edge_of(path, log) as edge:

        def tell() -> object:
            return flow_status(edge), log

        await until(lambda: is_even(edge, 2, 2), "two instances with two partitions each", tell=tell)
        survivor = flow_status(edge)["workers"][1]["pid"]

        def has_all() -> bool:
            kill_now(flow_status(edge)["workers"][0]["pid"])  # not back before the other one has taken its share
            return any("flow runs" in line and "worker=1" in line and "[0, 1, 2, 3]" in line for line in log)

        await until(has_all, "the other one has all partitions", deadline_s=60, tell=tell)
        assert flow_status(edge)["workers"][1]["pid"] == survivor
        await until(lambda: all_rows(edge, 300), "all rows", tell=tell)
        await check_rows(edge, 300)


async def test_a_paused_flow_stops_and_goes_on_where_it_was_also_after_a_restart(tmp_path: Path) -> None:
    log: list[str] = []
    path = write_site(tmp_path, machines=MACHINES, rows=400, pause="20ms")
    async with edge_of(path, log) as edge:
        await until(lambda: all_rows(edge, 20), "some rows", tell=lambda: (flow_status(edge), log))
        assert (await ask(edge, "pause"))["is_paused"] is True
        await until(lambda: has_stopped(edge), "paused", tell=lambda: (flow_status(edge), log))
    async with edge_of(path, log) as edge:
        stands = len(await outputs(edge.server))  # what was under way when it was paused may have come later

        async def is_far_behind() -> bool:
            lag = await ask(edge, "lag")
            return bool(lag["partitions"][0]["behind_messages"] > 200)

        await until(is_far_behind, "rows pile up", tell=lambda: log)
        assert flow_status(edge)["state"] == "paused"
        assert len(await outputs(edge.server)) == stands
        assert (await ask(edge, "lag"))["partitions"][0]["behind_s"] > 0
        await ask(edge, "resume")
        await until(lambda: all_rows(edge, 400), "all rows", tell=lambda: (flow_status(edge), log))
        await check_rows(edge, 400)

        async def is_not_behind() -> bool:
            return (await ask(edge, "lag"))["partitions"][0]["behind_messages"] == 0  # type: ignore[no-any-return]

        await until(is_not_behind, "no lag", tell=lambda: (flow_status(edge), log))


async def test_a_replay_builds_a_new_version_and_says_nothing_twice(tmp_path: Path) -> None:
    log: list[str] = []
    flow: dict[str, Any] = {**FLOW, "partitions": 2}
    path = write_site(tmp_path, flows=[flow], machines=MACHINES, rows=500, pause="80ms")
    async with edge_of(path, log) as edge:

        def tell() -> object:
            return flow_status(edge), log

        await until(lambda: all_rows(edge, 50), "some rows", tell=tell)
        assert (await ask(edge, "replay", **{"from": "beginning"}))["version"] == 2
        await until(lambda: flow_status(edge)["state"] == "running", "the new version has caught up", tell=tell)
        await until(lambda: all_rows(edge, 200), "more rows", tell=tell)
        await kill_one(edge)
        await until(lambda: all_rows(edge, 300), "more rows", tell=tell)
        await until(lambda: flow_status(edge)["state"] == "running", "running", tell=tell)
        assert (await ask(edge, "replay"))["version"] == 3
        await kill_one(edge)  # in the middle of the switch
        await until(lambda: all_rows(edge, 500), "all rows", tell=tell)
        await check_rows(edge, 500)
        assert flow_status(edge)["version"] == 3


async def test_a_changed_number_of_partitions_needs_a_new_version_and_loses_nothing(tmp_path: Path) -> None:
    log: list[str] = []
    ramp: dict[str, Any] = {"machines": MACHINES, "rows": 400, "pause": "20ms"}
    async with edge_of(write_site(tmp_path, flows=[{**FLOW, "partitions": 2}], **ramp), log) as edge:
        await until(lambda: all_rows(edge, 50), "some rows", tell=lambda: (flow_status(edge), log))
    async with edge_of(write_site(tmp_path, flows=[{**FLOW, "partitions": 3}], **ramp), log) as edge:
        assert flow_status(edge)["state"] == "refused"
        assert "MS-0706" in {alarm["code"] for alarm in edge.status()["alarms"]}  # type: ignore[attr-defined]
    flow = {**FLOW, "partitions": 3, "version": 2}
    ramp["rows"] = 500  # version 1 may have had all that there was
    async with edge_of(write_site(tmp_path, flows=[flow], **ramp), log) as edge:
        await until(lambda: all_rows(edge, 500), "all rows", tell=lambda: (flow_status(edge), log))
        await check_rows(edge, 500)
        assert "rows/2/2" in {mark for _, _, mark, _ in await outputs(edge.server)}
