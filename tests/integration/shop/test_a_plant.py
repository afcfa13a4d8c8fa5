"""Alarms, context and stops of an edge, asked at the edge and from its hub, with who asked what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flow_site import flow_status, kill_now, until

from millstream.cli import main
from millstream.client import AlarmRow, Plant, connect
from millstream.config import UplinkConfig, load_up
from millstream.edge import EdgeNode
from millstream.hub import HubNode
from millstream.kernel import NotFoundError, PlantError, SystemClock
from millstream.protocols.cloudevents import format_time
from millstream.sdk import SecretRef
from millstream.shop import Fact

FILE = """
edge: {name: e1, path: acme/p1, data_dir: edge}
hub: {name: hub, data_dir: hub}
streams: {integrity: {max_bytes: 64MiB}, flow_max_bytes: 64MiB}
connectors: []
flows:
  - name: watch
    type: alarm
    inputs: ["acme/p1/**"]
    config:
      names: {temperature: temperature}
      conditions: [{name: hi, of: temperature, above: 80, priority: high, message: oil is hot}]
  - name: stops
    type: downtime
    inputs: [{pattern: "acme/p1/**:state", kind: state}]
    config: {names: {state: state}}
  - name: oee
    type: oee
    inputs:
      - {pattern: "acme/p1/**:downtime/state", kind: state}
      - {pattern: "acme/p1/**:parts", kind: count}
      - {pattern: "acme/p1/**:quality/*", kind: count}
    config:
      names: {state: downtime/state, produced: parts, scrap: quality/scrap, rework: quality/rework}
      ideal_cycle: 60s
      windows: [hour]
      every: 0s
  - name: places
    type: oee_total
    inputs: [{pattern: "acme/p1/**:oee/*", kind: event}]
    config: {levels: [2], wait: 1s}
  - name: watch_place
    type: alarm
    inputs: [{pattern: "acme/p1:oee/**", kind: kpi}]
    config:
      names: {availability: oee/hour/availability}
      conditions: [{name: low, of: availability, below: 0.6, priority: high, message: below 60 %}]
  - name: agreed
    type: state_check
    inputs: [{pattern: "acme/p1/drill:state", kind: state}, "acme/p1/drill:power"]
    config: {seconds: {power: {of: power, above: 500}}, second: power, tolerance: 10s}
  - name: sure
    type: oee
    inputs: [{pattern: "acme/p1/drill:state/agreed", kind: state}]
    config: {names: {state: state/agreed}, windows: [hour], every: 0s, output: sure}
  - name: parts
    type: quality
    inputs: ["acme/p1/**:scrap", {pattern: "acme/p1/**:scrap", kind: count}]
    config: {names: {scrap: scrap}}
  - name: twins
    type: twin
    inputs: ["acme/p1/lathe:**", {pattern: "acme/p1/lathe:**", kind: alarm}]
    config: {every: 100ms}
"""

PLACES = 3  # among the flows


async def only(plant: Plant, state: str) -> AlarmRow:
    """The one alarm, once it is in this state."""
    found: list[AlarmRow] = []

    async def look() -> bool:
        found[:] = await plant.alarms.list(is_all=True)
        return [row.note.state for row in found] == [state]

    await until(look, f"one alarm that is {state}", tell=lambda: found)
    return found[0]


async def said(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> tuple[int, str]:
    """Exit status and standard output of a command."""
    capsys.readouterr()
    status = await asyncio.to_thread(main, ["alarm", *words, "--node", str(folder)])
    return status, capsys.readouterr().out


async def context_reaches_the_edge(folder: Path, edge: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables are imported at the hub, all or nothing, and stand at the edge, where flows read them."""
    tables = folder / "tables"
    tables.mkdir()
    (tables / "products.csv").write_text("product;ideal_cycle_s;name\nM6;1.5;bolt\n", encoding="utf-8")
    orders = "order,asset,product,start,end\n4711,acme/p1/press,M6,2026-01-01T06:00:00Z,\n"
    (tables / "orders.csv").write_text(f"{orders}4712,acme/p1/press,M7,2026-01-01T07:00:00Z,\n", encoding="utf-8")
    words = ["context", "import", str(tables), "--place", "acme/p1", "--who", "ada", "--json", "--node"]
    capsys.readouterr()
    assert await asyncio.to_thread(main, [*words, str(folder / "hub")]) == 6
    told = json.loads(capsys.readouterr().out)
    assert (told["stored"], told["problems"][0]["where"]) == (0, "orders.csv:3")
    (tables / "orders.csv").write_text(orders, encoding="utf-8")
    assert await asyncio.to_thread(main, [*words, str(folder / "hub")]) == 0
    assert json.loads(capsys.readouterr().out)["stored"] == 2

    async def stands() -> bool:
        return len(await edge.context.list("acme/p1")) == 2

    await until(stands, "two facts at the edge")
    (order,) = await edge.context.list("acme/p1/press", what="order")
    assert (order.path, order.who, order.data["ideal_cycle_s"]) == ("acme/p1/press:order/4711", "ada", 1.5)
    assert await asyncio.to_thread(main, [*words, str(folder / "edge")]) == 0
    assert json.loads(capsys.readouterr().out)["stored"] == 0, "it stands already"


async def a_stop_is_explained(
    folder: Path, box: EdgeNode, edge: Plant, above: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stop of hours ago is cut and explained from the hub; the figures that it touches say why they changed."""
    hour_ns = 3600 * 10**9
    start_ns = SystemClock().now_ns() // hour_ns * hour_ns - 2 * hour_ns
    for minutes, state in ((0, "Execute"), (20, "Aborted"), (50, "Execute")):
        await edge.publish("acme/p1/saw:state", state, kind="state", time=start_ns + minutes * 60 * 10**9)
    at = start_ns + 40 * 60 * 10**9

    async def is_explained(value: float, place: str = "acme/p1/saw") -> bool:
        try:
            return round((await above.downtime.why(f"{place}:oee/hour/availability", at))["value"] or 0, 3) == value
        except NotFoundError:
            return False

    await until(lambda: is_explained(0.5), "half of the hour available")
    await until(lambda: is_explained(0.5, "acme/p1"), "half of the hour available, of the place")
    kill_now(flow_status(box, PLACES)["workers"][0]["pid"])
    path = "acme/p1/saw:downtime"
    id = await above.downtime.ask(path, "split", at, who="ada")
    assert await above.downtime.outcome(path, id, timeout_s=60)
    node = ("--node", str(folder / "edge"), "--json")
    words = ["downtime", "reason", path, "meeting", "--at", str(at), "--category", "planned", "--wait", "60s", *node]
    capsys.readouterr()
    assert await asyncio.to_thread(main, words) == 0
    assert json.loads(capsys.readouterr().out)["stop"]["category"] == "planned"
    await until(lambda: is_explained(0.6), "ten of fifty minutes planned")  # 30 / 50 minutes
    found = await above.downtime.why("acme/p1/saw:oee/hour/availability", at)
    assert [(s["duration_s"], s["reason"]) for s in found["stops"]] == [(1200.0, None), (600.0, "meeting")]
    await the_plant_is_its_machines(start_ns, above, node, capsys)
    await its_figures_are_tags(start_ns, edge, above)
    was_there = {"operator": "7", "name": "Ada", "start": format_time(start_ns + 30 * 60 * 10**9)}
    await edge.context.put([Fact("acme/p1/saw:operator/7/1", "operator", was_there)])
    (who,) = (await edge.downtime.why("acme/p1/saw:oee/hour/availability", at))["operators"]
    assert (who["name"], who["seconds"]) == ("Ada", 1800.0)
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["downtime", "pareto", "acme/p1", "--by", "person", *node]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["reason"], row["seconds"]) for row in rows] == [("Ada", 1200.0), ("(nobody)", 600.0)]
    assert await asyncio.to_thread(main, ["downtime", "pareto", "acme/p1", *node]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["reason"], row["seconds"]) for row in rows] == [("(down)", 1200.0), ("meeting", 600.0)]
    words = ["why", "acme/p1/saw:oee/hour/availability", "--at", str(at), *node[:2]]
    assert await asyncio.to_thread(main, words) == 0
    assert "meeting" in capsys.readouterr().out
    id = await edge.downtime.ask(path, "merge", start_ns, who="ada")
    with pytest.raises(PlantError, match="no stop right before"):
        assert await edge.downtime.outcome(path, id, timeout_s=60)


async def the_plant_is_its_machines(
    start_ns: int, above: Plant, node: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The figures of a place above the machine, from the hub and by the command, as they were put right."""
    span = {"start": start_ns, "end": start_ns + 3600 * 10**9}
    found = await above.oee.total("acme/p1", **span)
    assert (round(found["availability"], 3), found["covered"], found["failures"]) == (0.6, 1.0, 1)
    assert found["doubts"][0]["doubt"] == "it was producing, and no part was counted"
    assert (found["is_sure"], [part["path"] for part in found["parts"]]) == (False, ["acme/p1/saw"])
    with pytest.raises(NotFoundError, match="no window of OEE"):
        await above.oee.total("acme/p2", **span)
    times = ["--start", str(span["start"]), "--end", str(span["end"])]
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["oee", "acme/p1", "--levels", "2", *times, *node]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["mttr_s"], [part["path"] for part in told["parts"]]) == (1200.0, ["acme/p1"])
    assert await asyncio.to_thread(main, ["oee", *times, *node[:2]]) == 0
    assert "acme/p1/saw" in capsys.readouterr().out


async def two_sources_disagree(folder: Path, edge: Plant, above: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    """A drill that says that it produces and draws nothing for half of an hour: no figure is sure of that time, and
    what its meter tells late puts that right."""
    hour_ns, minute_ns = 3600 * 10**9, 60 * 10**9
    start_ns = SystemClock().now_ns() // hour_ns * hour_ns - 2 * hour_ns
    figure, at = "acme/p1/drill:sure/hour/availability", start_ns + 30 * minute_ns
    await edge.publish("acme/p1/drill:power", 3000.0, time=start_ns)
    await edge.publish("acme/p1/drill:state", "Execute", kind="state", time=start_ns)
    for minute, watts in ((20, 40.0), (50, 3000.0)):
        await edge.publish("acme/p1/drill:power", watts, time=start_ns + minute * minute_ns)

    async def is_known(share: float) -> bool:
        try:
            return bool((await above.downtime.why(figure, at))["known"] == share)
        except NotFoundError:
            return False

    await until(lambda: is_known(0.5), "half of the hour known")
    found = await above.downtime.why(figure, at)
    assert found["states_s"] == {"Disputed": 1800.0, "Execute": 1800.0}
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["why", figure, "--at", str(at), "--node", str(folder / "edge")]) == 0
    assert "two sources of the state disagreed (1800 s)" in capsys.readouterr().out
    assert (await edge.get("acme/p1/drill:sure/hour/availability", kind="kpi")).quality.is_uncertain
    await edge.publish("acme/p1/drill:power", 2900.0, time=start_ns + 20 * minute_ns)
    await until(lambda: is_known(1.0), "all of it, once the meter has told what it drew")
    found = await above.downtime.why(figure, at)
    assert (found["revision"] > 0, [d for d in found["doubts"] if "disagreed" in d]) == (True, [])


async def its_figures_are_tags(start_ns: int, edge: Plant, above: Plant) -> None:
    """The same figures as tags of the place, put right with the machine's although their flow was killed meanwhile; a
    rule for the place has seen the first ones."""
    names = ("oee", "availability", "performance", "quality", "known", "planned_s", "losses_s", "failures", "is_sure")
    found = await above.oee.total("acme/p1", start=start_ns, end=start_ns + 3600 * 10**9)
    wanted = {name: found[name] for name in names}
    told: dict[str, Any] = {}

    async def is_told() -> bool:
        with suppress(NotFoundError):
            told.update(await above.downtime.why("acme/p1:oee/hour/availability", start_ns + 40 * 60 * 10**9))
        return {name: told.get(name) for name in names} == wanted

    await until(is_told, "the figures of the place", tell=lambda: (told, wanted))
    assert told["revision"] > 0
    assert [part["path"] for part in told["parts"]] == ["acme/p1/saw"]
    assert [stop["path"] for stop in told["stops"]] == ["acme/p1/saw:downtime"] * 2

    async def is_raised() -> bool:
        rows = await edge.alarms.history("acme/p1:**")
        return any(row.note.change == "raised" and float(row.note.value or 1) < 0.6 for row in rows)

    await until(is_raised, "an alarm of the place")


async def figures_outlive_the_streams(above: Plant) -> None:
    """The hub's stream has dropped all that it had of the windows: they are those of the history, as they were put
    right."""
    hour_ns = 3600 * 10**9
    start_ns = SystemClock().now_ns() // hour_ns * hour_ns - 2 * hour_ns
    span = {"start": start_ns, "end": start_ns + hour_ns}
    before = dict(await above.oee.total("acme/p1", **span))
    stops = await above.downtime.list("acme/p1", **span)
    assert (before["windows"] > 0, len(stops)) == (True, 2)
    last_seq = (await above._streams.info("H_INTEGRITY"))["state"]["last_seq"]

    async def is_kept() -> bool:
        table = await above.event_history("acme/**", start_ns, type="millstream.oee")
        return any(json.loads(row)["revision"] for row in table.column("data").to_pylist())

    await until(is_kept, "the corrected windows are in the history")
    config = (await above._streams.info("H_INTEGRITY"))["config"]
    await above._streams._api("STREAM.UPDATE.H_INTEGRITY", {**config, "max_msgs": 1})
    assert (await above._streams.info("H_INTEGRITY"))["state"]["first_seq"] >= last_seq
    assert dict(await above.oee.total("acme/p1", **span)) == before
    assert await above.downtime.list("acme/p1", **span) == stops


async def parts_are_explained(folder: Path, edge: Plant, above: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    """Scrap of hours ago is told from the hub and put right at the edge; the figures that it touches follow."""
    hour_ns = 3600 * 10**9
    start_ns = SystemClock().now_ns() // hour_ns * hour_ns - 2 * hour_ns
    path, figure, at = "acme/p1/saw:quality", "acme/p1/saw:oee/hour/quality", start_ns + hour_ns // 2
    for second, parts in ((1, 0), (1800, 20)):
        await edge.publish("acme/p1/saw:parts", parts, kind="count", time=start_ns + second * 10**9)
    for second, scrap in ((1, 0), (1200, 4)):
        await edge.publish("acme/p1/saw:scrap", scrap, kind="count", time=start_ns + second * 10**9)
    reasons = {"scratches": "scrap", "meeting": "planned"}
    await edge.context.put([Fact(f"acme/p1:reason/{name}", "reason", {"kind": kind}) for name, kind in reasons.items()])

    async def is_explained(quality: float) -> bool:
        found = await above.downtime.why(figure, at)
        return bool(found["value"] == quality)

    await until(lambda: is_explained(0.8), "four of twenty parts rejected")
    span = {"start": start_ns, "end": start_ns + hour_ns}
    id = await above.quality.say(path, 6, "scrap", **span, reason="scratches", who="ada")
    assert await above.quality.outcome(path, id, timeout_s=60)
    await until(lambda: is_explained(0.7), "six of twenty, four of which were counted")
    node = ("--node", str(folder / "edge"), "--json")
    words = ["quality", "correct", path, id, "--count", "5", "--who", "bob", "--wait", "60s", *node]
    capsys.readouterr()
    assert await asyncio.to_thread(main, words) == 0
    assert json.loads(capsys.readouterr().out)["lot"]["who"] == "bob"
    await until(lambda: is_explained(0.75), "five of twenty")
    found = await above.downtime.why(figure, at)
    assert [(lot["count"], lot["reason"], lot["who"]) for lot in found["rejects"]] == [(5.0, "scratches", "bob")]
    assert (found["scrap"], found["scrap_ratio"], found["first_pass_yield"]) == (5.0, 0.25, 0.75)
    times = ["--start", str(start_ns), "--end", str(start_ns + hour_ns)]
    words = ["quality", "say", path, "1", "--reason", "scratches", *times, "--wait", "60s", *node]
    assert await asyncio.to_thread(main, words) == 0, "the reason says that it is scrap"
    assert await asyncio.to_thread(main, ["quality", "say", path, "1", "--reason", "meeting", *node]) == 3
    words = ["quality", "say", path, "9", "good", *times, "--wait", "60s", *node]
    assert await asyncio.to_thread(main, words) == 1, "no part is left that nobody has explained"
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["quality", "pareto", "acme/p1", *node]) == 0
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["reason"], row["count"], row["share"]) == ("scratches", 6.0, 1.0)


async def a_twin_shows_what_is_and_what_was(
    folder: Path, edge: Plant, above: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest values with what is desired beside them, at the edge and from its hub, and as it was before that."""
    lathe = "acme/p1/lathe"

    async def shows(plant: Plant, desired: bool) -> bool:
        try:
            return bool((await plant.twins.show(lathe))["desired"]) is desired
        except NotFoundError:
            return False

    async def is_reported(plant: Plant, value: float) -> bool:
        return bool((await plant.twins.show(lathe))["tags"]["speed"]["value"] == value)

    with pytest.raises(NotFoundError, match="no twin is known"):
        await edge.twins.show(lathe)
    await edge.publish(f"{lathe}:speed", 1.0)
    await until(lambda: shows(edge, False), "a twin with a value")
    first = await edge.twins.show(lathe)
    assert (first["tags"]["speed"]["value"], first["health"]["is_well"]) == (1.0, True)
    await edge.publish(f"{lathe}:desired/speed", 2.0)
    for plant in (edge, above):
        await until(lambda plant=plant: shows(plant, True), "a twin with what is desired")
        found = await plant.twins.show(lathe)
        assert found["desired"]["speed"]["difference"] == -1.0
        assert found["health"]["not_as_desired"] == ["speed"]
        assert found["revision"] > first["revision"]
        assert await plant.twins.show(lathe, at=first["at"]) == first
    words = ["twin", "show", lathe, "--node", str(folder / "edge")]
    capsys.readouterr()
    assert await asyncio.to_thread(main, [*words, "--at", first["at"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert await asyncio.to_thread(main, words) == 0
    assert "not_as_desired" in capsys.readouterr().out
    await edge.publish(f"{lathe}:speed", 3.0)
    for plant in (edge, above):
        await until(lambda plant=plant: is_reported(plant, 3.0), "the next value")
    changes = await above.twins.history(lathe, "desired/speed/difference", start=first["at"])
    assert [row["value"] for row in changes] == [None, -1.0, 1.0]
    assert [row["path"] for row in await above.twins.list("acme")] == [lathe]
    assert await above.twins.list("acme/p2") == []
    node = ["--node", str(folder / "edge"), "--json"]
    assert await asyncio.to_thread(main, ["twin", "list", "--ill", *node]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == lathe
    assert await asyncio.to_thread(main, ["twin", "history", lathe, "tags/speed/value", *node]) == 0
    assert [json.loads(line)["value"] for line in capsys.readouterr().out.splitlines()][-2:] == [1.0, 3.0]


async def test_what_people_say_at_the_edge_or_at_the_hub_counts_once_at_the_edge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "up.yaml"
    path.write_text(FILE, encoding="utf-8")
    config, findings = load_up(path, {})
    assert config is not None, [str(f) for f in findings]
    async with HubNode(config.hub_config()) as hub, asyncio.TaskGroup() as group:
        running = group.create_task(hub.run())
        listener = hub.server.settings.leaf_listener
        assert listener is not None
        secret = SecretRef(file=config.hub.data_dir / "secrets" / "edges" / "e1")
        uplink = UplinkConfig(url=f"nats://127.0.0.1:{listener.port}", secret=secret)
        async with (
            EdgeNode(config.edge_config(uplink), connectors={}) as box,
            connect(tmp_path / "edge") as edge,
            connect(tmp_path / "hub") as above,
        ):
            await edge.publish("acme/p1/press:temperature", 81.0)
            row = await only(edge, "unacknowledged")
            assert (row.path, row.flow, row.note.value) == ("acme/p1/press:alarm/hi", "watch", 81.0)

            id = await edge.alarms.ask(row, "acknowledge", who="ada", why="seen")
            after = await edge.alarms.outcome(row, id, timeout_s=60)
            assert after is not None
            assert (after.note.state, after.note.who, after.note.why) == ("acknowledged", "ada", "seen")
            id = await edge.alarms.ask(row, "acknowledge", who="ada")
            with pytest.raises(PlantError, match="nothing to acknowledge"):
                assert await edge.alarms.outcome(row, id, timeout_s=60)

            row = await only(above, "acknowledged")
            id = await above.alarms.ask(row, "shelve", who="bob", why="sensor is exchanged", shelf="2h")
            after = await above.alarms.outcome(row, id, timeout_s=60)
            assert after is not None
            assert (after.note.state, after.note.who) == ("shelved", "bob")
            (command,) = await above.commands.wait(id)
            assert (command.type, command.who, command.state) == ("alarm", "bob", "done")
            assert await edge.alarms.list("acme/p2/**:**", is_all=True) == []

            status, out = await said(capsys, tmp_path / "edge", "unshelve", "acme/p1", "--wait", "60s", "--json")
            assert (status, json.loads(out)["state"]) == (0, "unacknowledged")
            status, out = await said(capsys, tmp_path / "edge", "list")
            assert (status, "oil is hot" in out) == (0, True)
            assert (await said(capsys, tmp_path / "edge", "reset", "acme/p1"))[0] == 3, "nothing is latched"
            assert (await said(capsys, tmp_path / "edge", "shelve", "acme/p1"))[0] == 2, "a shelf takes a reason"
            words = ("comment", "acme/p1/press:alarm/hi", "oil is ordered", "--who", "bob", "--wait", "60s")
            assert (await said(capsys, tmp_path / "edge", *words))[0] == 0
            status, out = await said(capsys, tmp_path / "edge", "history", "acme/p1", "--json")
            assert json.loads(out.splitlines()[-1])["why"] == "oil is ordered"
            await context_reaches_the_edge(tmp_path, edge, capsys)
            await a_stop_is_explained(tmp_path, box, edge, above, capsys)
            await parts_are_explained(tmp_path, edge, above, capsys)
            await two_sources_disagree(tmp_path, edge, above, capsys)
            await a_twin_shows_what_is_and_what_was(tmp_path, edge, above, capsys)
            await figures_outlive_the_streams(above)
            rows = await edge.alarms.history("acme/p1")
            told = [(row.note.change, row.note.who) for row in rows if row.path == "acme/p1/press:alarm/hi"]
            assert told[:3] == [("raised", None), ("acknowledged", "ada"), ("shelved", "bob")]
        running.cancel()
