"""A real Tryton: orders come in from it, and what was made is set in it once, whoever is killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flow_site import until
from tryton_peer import PASSWORD, Door, door_before, send, tryton

from millstream.client import Plant, connect
from millstream.config import CloseConfig, ErpConfig, TrytonConfirm, load_edge, load_erp
from millstream.edge import EdgeNode
from millstream.erp import open_erp
from millstream.erp._production import confirm_production
from millstream.erp._systems import Confirmation, Refused
from millstream.erp._tryton import TrytonServer, open_tryton
from millstream.erp._work import tell_work
from millstream.kernel import AuthError, SystemClock

MIN = 60 * 10**9
HOUR = 60 * MIN
EDGE = """
edge: {name: e1, path: acme/p1, data_dir: data}
streams: {integrity: {max_bytes: 64MiB}, flow_max_bytes: 64MiB}
connectors: []
flows:
  - name: oee
    type: oee
    inputs:
      - {pattern: "acme/p1/*:*", kind: state}
      - {pattern: "acme/p1/*:*", kind: count}
      - {pattern: "acme/p1/*:order/*", kind: context}
    config:
      names: {state: state, produced: parts, rejected: scrap}
      orders: true
      windows: [hour]
      every: 0s
  - name: made
    type: order_made
    inputs: [{pattern: "acme/p1/*:oee/hour", kind: event}]
"""
ERP = """
journal: erp.jsonl
place: acme/p1
systems:
  tryton: {type: tryton, url: "http://127.0.0.1:PORT", database: plant, user: admin, password: {env: ERP_PASSWORD}}
reads:
  - name: products
    system: tryton
    what: product
    every: 200ms
    tryton: {model: product.product}
    cells: {product: code, name: rec_name, ideal_cycle_s: {value: "1.5"}}
  - name: orders
    system: tryton
    what: order
    every: 200ms
    page_rows: 3
    tryton: {model: production, where: [[state, "!=", done], [works, "=", null]]}
    removed: {field: state, values: [cancelled]}
    cells:
      order: number
      asset: {field: location.code, names: {PRESS: acme/p1/press, SAW: acme/p1/saw}}
      product: product.code
      quantity: quantity
      start: {field: planned_start_date, zone: Europe/Berlin, at: "06:00"}
  - name: works
    system: tryton
    what: order
    every: 200ms
    tryton: {model: production.work, where: [[production.state, "!=", done]]}
    cells:
      order: production.number
      operation: operation.name
      asset: {field: work_center.name, names: {"Mill 1": acme/p1/mill}}
      product: production.product.code
      quantity: production.quantity
      start: {field: production.planned_start_date, zone: Europe/Berlin, at: "06:00"}
confirms:
  - name: quantities
    system: tryton
    every: 200ms
    reads: ["acme/p1/press:made/*", "acme/p1/saw:made/*"]
    tryton: {start: true}
  - name: works-done
    system: tryton
    every: 200ms
    reads: ["acme/p1/mill:made/*"]
    tryton: {work: {operation.name: "{operation}"}, close: {when: quantity, after: 0s}}
"""


def erp_of(folder: Path, port: int) -> ErpConfig:
    (folder / "erp.yaml").write_text(ERP.replace("PORT", str(port)), encoding="utf-8")
    config, findings = load_erp(folder / "erp.yaml")
    assert config is not None, [str(f) for f in findings]
    return config


async def made(server: TrytonServer, number: str) -> tuple[str, dict[str, float]]:
    """State of a production in Tryton, and its outputs by the code of where they go."""
    (found,) = await server.call(
        "model.production.search_read", [["number", "=", number]], 0, 2, None, ["state", "outputs"]
    )
    names = ["quantity", "to_location.code", "to_location.type"]
    moves = await server.call("model.stock.move.read", found["outputs"], names)
    return found["state"], {m["to_location."]["code"] or m["to_location."]["type"]: m["quantity"] for m in moves}


async def publish(plant: Plant, machine: str, start_ns: int, *rows: tuple[int, int, int]) -> None:
    """Minute, parts and scrap of a machine that runs; one of the two changes at once, since each makes a total."""
    await plant.publish(f"acme/p1/{machine}:state", "Execute", kind="state", time=start_ns)
    for minute, parts, scrap in rows:
        await plant.publish(f"acme/p1/{machine}:parts", parts, kind="count", time=start_ns + minute * MIN)
        await plant.publish(f"acme/p1/{machine}:scrap", scrap, kind="count", time=start_ns + minute * MIN)


async def orders_come_in(plant: Plant, process: subprocess.Popen[bytes], log: Path) -> None:
    """Those of known machines, by code and name; the one of a machine that nobody knows is put aside, once."""

    async def stand() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        return [f.path for f in await plant.context.list(what="order")] == [
            "acme/p1/mill:order/4715-Milling", "acme/p1/press:order/4711", "acme/p1/saw:order/4712",
        ]  # fmt: skip

    await until(stand, "three orders", tell=lambda: log.read_text()[-900:])
    order = (await plant.context.list("acme/p1/press", what="order"))[0]
    assert order.who == "erp orders"
    assert order.data == {
        "order": "4711", "product": "M6", "ideal_cycle_s": 1.5, "quantity": 100.0, "start": "2026-01-02T05:00:00Z",
    }  # fmt: skip

    async def is_aside() -> bool:
        letters, _ = await plant.dead_letters()
        return [letter.source for letter in letters if "OVEN" in letter.reason] == ["erp-orders"]

    await until(is_aside, "one dead letter")


async def killed_between_effect_and_answer(folder: Path, plant: Plant, server: TrytonServer, door: Door) -> None:
    """A process of its own is killed when Tryton has stored the quantities and before it was told so."""
    words = ["-m", "millstream", "erp", "run", "-c", str(folder / "erp.yaml"), "--node", "data", "--json"]
    given = {**os.environ, "ERP_PASSWORD": PASSWORD}
    with (folder / "erp.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - begun at once, and killed
            [sys.executable, *words], cwd=folder, stdout=log, stderr=log, env=given
        )
        try:
            await orders_come_in(plant, process, folder / "erp.log")
            door.let_go.clear()
            start_ns = SystemClock().now_ns() // HOUR * HOUR - 2 * HOUR
            await publish(plant, "press", start_ns, (1, 1000, 5), (20, 1060, 5))
            await until(
                door.held.is_set, "a write that is answered", tell=lambda: (folder / "erp.log").read_text()[-900:]
            )
            assert process.poll() is None
        finally:
            process.kill()
            process.wait()
    assert await made(server, "4711") == ("running", {"STO": 60.0})
    assert len(door.writes) == 1
    door.let_go.set()


@pytest.mark.needs("tryton")
async def test_what_was_made_is_set_in_tryton_once_also_when_the_process_is_killed_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERP_PASSWORD", PASSWORD)
    (tmp_path / "edge.yaml").write_text(EDGE, encoding="utf-8")
    config, findings = load_edge(tmp_path / "edge.yaml", {})
    assert config is not None, [str(f) for f in findings]
    told: list[dict[str, Any]] = []

    def tell(what: Mapping[str, Any]) -> None:
        told.append(dict(what))

    clock = SystemClock()
    with tryton(tmp_path / "tryton") as direct, door_before(direct) as (port, door):
        system = erp_of(tmp_path, direct).systems["tryton"]
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(EdgeNode(config, connectors={}))
            plant = await stack.enter_async_context(connect(tmp_path / "data"))
            server = await stack.enter_async_context(open_tryton(system, clock))  # type: ignore[arg-type]
            loaded = erp_of(tmp_path, port)
            await killed_between_effect_and_answer(tmp_path, plant, server, door)

            # A connection of its own: it ends in the middle of what it asks.
            async with connect(tmp_path / "data") as own, open_erp(own, loaded, clock, tell) as erp:
                (due,) = (await erp.check())["confirms"][0]["due"]
                assert (due["order"], due["good"]) == ("4711", 60.0), "it was begun, and has no end"
                running = asyncio.create_task(erp.run())
                try:
                    await until(lambda: any(t.get("how") == "known" for t in told), "taken as known", tell=lambda: told)
                    assert len(door.writes) == 1, "Tryton had it, so it was not written again"
                    await what_comes_later(plant, server)
                    await until(lambda: confirmed(told) == 3, "three confirmations", tell=lambda: told)
                    assert len(door.writes) == 3, "each total was written once"
                    await an_operation_takes_its_time_and_is_closed(plant, server, told)
                finally:
                    running.cancel()
                    with suppress(asyncio.CancelledError):
                        await running
            await a_late_request_changes_nothing(server, door, direct)
            await a_late_time_changes_nothing(server, door, direct)
            async with open_erp(plant, loaded, clock, tell) as erp:
                assert (await erp.check())["confirms"][0]["due"] == []
            await log_ins_are_judged(server, erp_of(tmp_path, direct), monkeypatch)


def confirmed(told: list[dict[str, Any]]) -> int:
    """How many confirmations were told to be taken."""
    return sum(each.get("state") == "confirmed" for each in told)


async def what_comes_later(plant: Plant, server: TrytonServer) -> None:
    """Three of them are found to be scrap, and the order at the saw is started with its first parts."""
    start_ns = SystemClock().now_ns() // HOUR * HOUR - 2 * HOUR
    await publish(plant, "press", start_ns, (40, 1060, 8))
    await publish(plant, "saw", start_ns, (1, 0, 0), (30, 40, 0))

    async def is_right() -> bool:
        return (await made(server, "4711"), await made(server, "4712")) == (
            ("running", {"STO": 57.0, "lost_found": 3.0}),
            ("running", {"STO": 40.0}),
        )

    await until(is_right, "what is right by now")


async def an_operation_takes_its_time_and_is_closed(
    plant: Plant, server: TrytonServer, told: list[dict[str, Any]]
) -> None:  # fmt: skip
    """An operation runs for half an hour: a cycle with that time; when all that was ordered is good, it is closed."""
    start_ns = SystemClock().now_ns() // HOUR * HOUR - 2 * HOUR
    await publish(plant, "mill", start_ns, (1, 0, 0), (20, 24, 0))
    await plant.publish("acme/p1/mill:state", "Stopped", kind="state", time=start_ns + 30 * MIN)

    async def takes_its_time() -> bool:
        return (await made(server, "4715"), await cycles(server)) == (
            ("running", {"STO": 24.0}), [("running", 1800.0, None)],
        )  # fmt: skip

    await until(takes_its_time, "parts and time of the operation", tell=lambda: told)
    await plant.publish("acme/p1/mill:parts", 100, kind="count", time=start_ns + 25 * MIN)
    await until(lambda: any(each.get("is_final") for each in told), "its end", tell=lambda: told)
    assert await made(server, "4715") == ("done", {"STO": 100.0})
    assert await cycles(server) == [("done", 1800.0, 30.0)], "half an hour of 60 an hour"


async def cycles(server: TrytonServer) -> list[tuple[str, float, float | None]]:
    """State, seconds and cost of all cycles of works."""
    rows = await server.call("model.production.work.cycle.search_read", [], 0, 9, None, ["state", "duration", "cost"])
    return [(row["state"], row["duration"], None if row["cost"] is None else float(row["cost"])) for row in rows]


async def a_late_time_changes_nothing(server: TrytonServer, door: Door, port: int) -> None:
    """The cycle is not made again by a request that arrives once more; nor by a confirmation whose answer was lost."""
    status, answer = send(port, "/plant/", door.works[0], door.work_headers[0])
    assert (status, json.loads(answer)["error"][0]) == (200, "ConcurrencyException")
    values = {"operation": "Milling", "production_s": 1800.0, "setup_s": 0.0}
    again = Confirmation("4715-Milling", "k", 9, 100.0, 0.0, {"order": "4715", **values}, is_final=True)
    config = TrytonConfirm(work={"operation.name": "{operation}"}, close=CloseConfig())
    assert await confirm_production(server, config, again) == "known"
    with pytest.raises(Refused, match="does not run"):
        await confirm_production(server, config, replace(again, good=101.0))
    with pytest.raises(Refused, match="done, with another time"):
        await tell_work(server, {"operation.name": "Milling"}, "4715", replace(again, values={"production_s": 9.0}))
    assert len(await cycles(server)) == 1


async def a_late_request_changes_nothing(server: TrytonServer, door: Door, port: int) -> None:
    """The first write arrives once more, behind the newer one: Tryton itself refuses it by its time."""
    status, answer = send(port, "/plant/", door.writes[0], door.headers[0])
    assert (status, json.loads(answer)["error"][0]) == (200, "ConcurrencyException")
    assert await made(server, "4711") == ("running", {"STO": 57.0, "lost_found": 3.0})


async def log_ins_are_judged(server: TrytonServer, config: ErpConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that was taken away is begun again; a wrong password is told as one."""
    server._session = "bm9ib2R5OjE6bm9uZQ=="
    assert (await made(server, "4711"))[0] == "running"
    monkeypatch.setenv("ERP_PASSWORD", "wrong")
    async with open_tryton(config.systems["tryton"], SystemClock()) as other:  # type: ignore[arg-type]
        with pytest.raises(AuthError, match="refuses the log-in"):
            await made(other, "4711")
